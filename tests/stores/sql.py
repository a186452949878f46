"""What SQLite itself says of an open store."""

from pairlock.stores.sqlite import SQLiteStore


async def rows(store: SQLiteStore, sql: str) -> list[tuple[object, ...]]:
    """The rows of a statement on the connection of the store."""
    assert store._connection is not None
    return [tuple(row) for row in await store._connection.execute_fetchall(sql)]


async def values(store: SQLiteStore, sql: str) -> list[object]:
    """The one value of each row."""
    return [value for (value,) in await rows(store, sql)]
