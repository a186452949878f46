"""The default store: one SQLite file, shared by any number of processes on one machine.

All work runs on the one thread of one connection, in the order in which it was asked for. A commit
is a single call there: no read of this handle falls into it, and no cancelled caller leaves it half done.
"""

import asyncio
import contextlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

import aiosqlite
import msgspec
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores.contract import MAX_BATCH, Batch, Conflict, Hits, Log, R, Swap, Write
from pairlock.stores.sqlite_schema import IS_LIVE, TABLES, check_schema, connect, encode, prepare, transaction

BUSY_TIMEOUT = 5.0  # seconds that a write waits for another process's, on the worker thread
POLL_INTERVAL = 0.05
POLLS_PER_HEARTBEAT = 10  # half of what is promised, so that a slow machine keeps the promise too

LAST_ID = "\U0010ffff"
LAST_SEQ = 2**63 - 1

# INDEXED BY: a query that loses its index fails, rather than slowing down as the file grows.
FIND_CODE = "SELECT data FROM requests WHERE code_digest = ?"
LIST_REQUESTS = (
    "SELECT data FROM requests INDEXED BY requests_live"  # noqa: S608  # a constant
    f" WHERE {IS_LIVE} AND expires_at > ? AND id < ? ORDER BY id DESC LIMIT ?"
)
LIST_PAIRED = (
    f"SELECT {TABLES[Device].read_columns} FROM devices INDEXED BY devices_paired"  # noqa: S608  # as above
    " WHERE revoked_at IS NULL AND id < ? ORDER BY id DESC LIMIT ?"
)
SEARCH_PAIRED = (
    f"SELECT {TABLES[Device].read_columns} FROM devices INDEXED BY devices_named"  # noqa: S608  # as above
    " WHERE revoked_at IS NULL AND name_key >= ? AND name_key < ? ORDER BY name_key LIMIT ?"
)
TOUCH = "UPDATE devices SET seen_at = max(ifnull(seen_at, ?), ?) WHERE id = ?"
LIST_EVENTS = "SELECT seq, data FROM events WHERE seq < ? ORDER BY seq DESC LIMIT ?"
EVENTS_AFTER = "SELECT seq, data FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
LAST_EVENT = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"  # also of those purged
APPEND = "INSERT INTO events (purge_at, data) VALUES (?, ?)"
COUNT = (
    "INSERT INTO counters (key, count, resets_at) VALUES (:key, :amount, :resets_at) ON CONFLICT (key) DO UPDATE SET"
    " count = CASE WHEN resets_at <= :now THEN :amount ELSE count + :amount END,"
    " resets_at = CASE WHEN resets_at <= :now THEN :resets_at ELSE resets_at END"
    " RETURNING count, resets_at"
)
LOOK = "SELECT count, resets_at FROM counters WHERE key = :key AND resets_at > :now"
TAKE_BACK = (
    "UPDATE counters SET count = max(count + :amount, 0) WHERE key = :key AND resets_at > :now"
    " RETURNING count, resets_at"
)
PURGES = {
    name: f"DELETE FROM {name} WHERE {key} IN (SELECT {key} FROM {name} INDEXED BY {name}_due"  # noqa: S608  # as above
    f" WHERE {due} <= ? LIMIT ?)"
    for name, key, due in (
        *((table.name, "rowid", "purge_at") for table in TABLES.values()),
        ("events", "seq", "purge_at"),
        ("counters", "key", "resets_at"),
    )
}

_read_request = TABLES[PairingRequest].read
_read_device = TABLES[Device].read
_decode_event = msgspec.json.Decoder(AuditEvent).decode

P = ParamSpec("P")
T = TypeVar("T")


class Connection(aiosqlite.Connection):
    """aiosqlite's connection, and a way to run several statements in one hop to its thread."""

    async def perform(self, patience: float, function: Callable[[sqlite3.Connection], T]) -> T:
        """What this function of the plain connection returns, run on the thread from begin to end.

        It is given up when so many seconds have passed, those included that others before it have waited.

        aiosqlite has one call per statement in public: a read could fall between two of them, and a
        cancelled caller would leave its transaction open. Its own methods are made from `_execute`.
        """
        deadline = time.monotonic() + patience
        result: T = await self._execute(_in_time, self._conn, deadline, function)  # type: ignore[no-untyped-call]  # aiosqlite's
        return result


class SQLiteStore:
    """Records in one SQLite file, made with mode 0600 where it is missing; its folder must exist.

    A write waits up to `busy_timeout` seconds for those of other processes.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = BUSY_TIMEOUT) -> None:
        self.path = os.fspath(path)
        self._busy_timeout = busy_timeout
        self._connection: Connection | None = None
        self._wakes: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"SQLiteStore({self.path!r})"

    async def open(self) -> None:
        """Create or migrate the file. Raises StoreError when that cannot work; an open store stays as it is."""
        if self._connection is None:
            with _explained(self.path):
                self._connection = await self._connect()

    async def _connect(self) -> Connection:
        # Made here and not on the thread: whenever the caller is cancelled, we hold what must be closed.
        plain = connect(self.path, self._busy_timeout)
        connection = Connection(lambda: plain, 64)
        opening = asyncio.ensure_future(connection)
        try:
            await asyncio.shield(opening)
            await connection.perform(self._busy_timeout, lambda plain: prepare(plain, self.path, self._busy_timeout))
        except BaseException:
            await opening  # its thread is to end before the loop does, to which it answers
            await connection.close()
            plain.close()
            raise
        return connection

    async def check(self) -> None:
        """Ask whether the file answers and has this version's schema. Raises TemporarilyUnavailable, StoreError."""
        await self._perform(check_schema, self.path)

    async def aclose(self) -> None:
        """Finish what has been asked for, then close; a second call does nothing."""
        connection, self._connection = self._connection, None
        self._wake()
        if connection is not None:
            await connection.close()

    async def commit(self, *writes: Write) -> None:
        """Do all of these writes or none. Raises Conflict when one of them came too late."""
        try:
            await self._perform(_write_all, writes)
        finally:
            self._wake()  # for a cancelled caller too: its writes are queued, and a read comes after them

    async def find(self, kind: type[R], id: str) -> R | None:
        """The record of this kind with this id."""
        table = TABLES[kind]
        found = await self._fetch(table.select, (id,), table.read)
        return found[0] if found else None

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        """The pairing request with this code digest."""
        found = await self._fetch(FIND_CODE, (digest,), _read_request)
        return found[0] if found else None

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        """Requests pending or approved at that time, newest first, with ids below `before`."""
        return await self._fetch(LIST_REQUESTS, (live_at, _below(before), limit), _read_request)

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired, newest first, with ids below `before`."""
        return await self._fetch(LIST_PAIRED, (_below(before), limit), _read_device)

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired and whose `name_key` begins with this, in the order of these keys, beyond `after`."""
        start = (
            prefix if after is None else max(prefix, after + "\0")
        )  # one bound: SQLite seeks by one, and steps over the rest
        return await self._fetch(SEARCH_PAIRED, (start, prefix + LAST_ID, limit), _read_device)

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Audit events, newest first, with a `seq` below `before`."""
        return await self._fetch(LIST_EVENTS, (LAST_SEQ if before is None else before, limit), _event)

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        """Count so many hits; the count starts anew once `window` seconds have passed since its first."""
        statement = COUNT if amount > 0 else TAKE_BACK if amount else LOOK
        values = {"key": key, "amount": amount, "resets_at": now + window, "now": now}
        found = await self._fetch(statement, values, Hits)
        return found[0] if found else Hits(0, now)

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note when devices were seen, by id: of several times the latest counts. Ids of none are passed over."""
        await self._perform(_touch_all, [(at, at, device_id) for device_id, at in seen.items()])

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        """Drop at most so many of what is due; how many of each kind."""
        return await self._perform(_purge_some, now, limit)

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        """Batches of what any process commits, seen within 0.05 s; an empty one at least every second."""
        wake = asyncio.Event()
        self._wakes.add(wake)
        try:
            version = await self._data_version()
            cursor = await self._last_seq() if since is None else since
            while True:
                wake.clear()
                events = await self._fetch(EVENTS_AFTER, (cursor, MAX_BATCH), _event)
                # It falls where an older copy was put in the place of the database: the caller must know.
                cursor = events[-1].seq if events else min(cursor, await self._last_seq())
                yield Batch(cursor, tuple(events))
                if len(events) < MAX_BATCH:
                    version = await self._change(wake, version)
        finally:
            self._wakes.discard(wake)

    async def _change(self, wake: asyncio.Event, seen: int) -> int:
        """Wait for a commit, at most until a heartbeat is due; the version of the data then.

        That version does not change with what this connection commits: `wake` tells of it.
        """
        version = seen
        for _ in range(POLLS_PER_HEARTBEAT):
            if version != seen or wake.is_set():
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await wake.wait()
            version = await self._data_version()
        return version

    async def _data_version(self) -> int:
        (version,) = await self._fetch("PRAGMA data_version", (), int)
        return version

    async def _last_seq(self) -> int:
        (seq,) = await self._fetch(LAST_EVENT, (), int)
        return seq

    async def _fetch(
        self, sql: str, parameters: tuple[Any, ...] | Mapping[str, Any], read: Callable[..., T]
    ) -> list[T]:
        """Every row, read from its columns."""
        rows: Iterable[Iterable[Any]] = await self._perform(_rows, sql, parameters)
        return [read(*row) for row in rows]

    async def _perform(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with _answering():
            return await self._opened().perform(self._busy_timeout, lambda plain: function(plain, *args, **kwargs))

    def _opened(self) -> Connection:
        if self._connection is None:
            cause = StoreError(f"{self!r} is not open: await its open() first")
            raise TemporarilyUnavailable(retry_after=1) from cause
        return self._connection

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()


def _below(before: str | None) -> str:
    return LAST_ID if before is None else before


def _event(seq: int, data: str) -> AuditEvent:
    return replace(_decode_event(data), seq=seq)


def _in_time(connection: sqlite3.Connection, deadline: float, function: Callable[[sqlite3.Connection], T]) -> T:
    """Each waits for other processes only as long as it has time left: what is queued behind it waits as well."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise sqlite3.OperationalError("database is locked")
    connection.execute(f"PRAGMA busy_timeout = {left * 1000:.0f}")
    return function(connection)


def _rows(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...] | Mapping[str, Any]) -> list[Any]:
    return connection.execute(sql, parameters).fetchall()


def _write_all(connection: sqlite3.Connection, writes: Iterable[Write]) -> None:
    try:
        with transaction(connection):
            for write in writes:
                _write(connection, write)
    except sqlite3.IntegrityError as error:  # the id or the code digest exists
        raise Conflict from error


def _write(connection: sqlite3.Connection, write: Write) -> None:
    if isinstance(write, Log):
        connection.execute(APPEND, (write.event.purge_at, encode(write.event)))
        return
    record, table = write.record, TABLES[type(write.record)]
    if not isinstance(write, Swap):
        connection.execute(table.insert, table.row(record))
    elif not connection.execute(table.update, (*table.row(record), record.id, record.version - 1)).rowcount:
        raise Conflict


def _touch_all(connection: sqlite3.Connection, seen: list[tuple[float, float, str]]) -> None:
    with transaction(connection):
        connection.executemany(TOUCH, seen)


def _purge_some(connection: sqlite3.Connection, now: float, limit: int) -> Counter[str]:
    dropped: Counter[str] = Counter()
    with transaction(connection):
        for name, purge in PURGES.items():
            dropped[name] = connection.execute(purge, (now, limit - dropped.total())).rowcount
    return +dropped


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Locked, full, read-only, broken: whatever SQLite reports, the store cannot answer now."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise TemporarilyUnavailable(retry_after=1) from error


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"{path} cannot be opened: {error}."
            " Give the path of a pairlock database, or of a new file in a folder that exists and may be written"
        ) from error
