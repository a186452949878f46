"""How PostgreSQL does what it is asked: by an index, and without sorting, however many rows there are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest

from pairlock._core.records import Device
from pairlock._core.states import State
from pairlock.stores import postgres
from pairlock.stores.contract import Add, Log, Swap, Write
from pairlock.stores.postgres import PostgresStore
from pairlock.stores.postgres_schema import quoted
from pairlock.testing import a_device, a_request, an_event
from tests.servers import Postgres

pytestmark = pytest.mark.anyio

MANY = 20_000
NOW = 1_700_000_000.0

# Each statement with arguments as they come, and the index it goes by.
ASKED: dict[str, tuple[str, list[Any], str]] = {
    "find": (postgres.FIND, ["devices", "00000100"], "records_pkey"),
    "find_code": (postgres.FIND_CODE, [b"00000100"], "records_code"),
    "list_requests": (postgres.LIST_REQUESTS, [NOW, postgres.LAST_ID, 100], "records_live"),
    "list_devices": (postgres.LIST_PAIRED, [postgres.LAST_ID, 100], "records_paired"),
    "a later page": (postgres.LIST_PAIRED, ["00010000", 100], "records_paired"),
    "search_devices": (postgres.SEARCH_PAIRED, ["phone 1", "", "phone 1\U0010ffff", 100], "records_named"),
    "search for all": (postgres.SEARCH_PAIRED, ["", "", "\U0010ffff", 100], "records_named"),
    "list_events": (postgres.LIST_EVENTS, [postgres.LAST_SEQ, 100], "events_pkey"),
    "watch": (postgres.EVENTS_AFTER, [MANY - 5, 500], "events_pkey"),
    "watch from long ago": (postgres.EVENTS_AFTER, [5, 500], "events_pkey"),
    "count": (postgres.COUNT, ["key 100", 1, NOW + 60, NOW], "counters_pkey"),
    "look": (postgres.LOOK, ["key 100", NOW], "counters_pkey"),
    "take back": (postgres.TAKE_BACK, ["key 100", NOW, -1], "counters_pkey"),
    "touch": (postgres.TOUCH, [["00000100", "00000200"], [NOW, NOW]], "records_pkey"),
    "purge records": (postgres.PURGES[0], [NOW + 9, 100], "records_due"),
    "purge events": (postgres.PURGES[1], [NOW + 9, 100], "events_due"),
    "purge counters": (postgres.PURGES[2], [NOW + 9, 100], "counters_due"),
}
ONE_ROW = {"feed"}  # tables of which a scan is right
SORTED_TO_LOCK = {"touch"}  # the ids that it is given


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """A store with many rows of every kind."""
    url = postgres.url()
    asyncio.run(fill(url))
    return url


async def fill(url: str) -> None:
    store = PostgresStore(url, timeout=60)
    await store.open()
    for start in range(0, MANY, 5000):
        await store.commit(*(write for number in range(start, start + 5000) for write in writes(number)))
    counters = "INSERT INTO {schema}.counters SELECT 'key ' || n, 1, $1 + n FROM generate_series(1, $2::int) AS n"
    async with asking(store) as connection:
        await connection.execute(quoted(counters, schema(store)), NOW, MANY)
        await connection.execute("ANALYZE")
    await store.aclose()


def writes(number: int) -> Iterator[Write]:
    """One of each kind; of requests and devices, some are listed."""
    name, due = f"{number:08}", NOW + number
    state = tuple(State)[number % len(State)]
    yield Add(a_device(id=name, name=f"Phone {number}", revoked_at=NOW if number % 2 else None, purge_at=due))
    yield Add(a_request(id=name, code_digest=name.encode(), state=state, expires_at=due, purge_at=due))
    yield Log(an_event(purge_at=due))


def schema(store: PostgresStore) -> str:
    return store.address.schema


@contextlib.asynccontextmanager
async def asking(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection of our own to the database of a store."""
    connection = await asyncpg.connect(store.address.dsns[0].partition("?")[0])
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open()
    yield store
    await store.aclose()


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("name", ASKED)
async def test_a_statement_goes_by_its_index(store: PostgresStore, name: str, mode: str) -> None:
    statement, arguments, index = ASKED[name]
    async with asking(store) as connection:
        await connection.execute(f"SET plan_cache_mode = {mode}")
        lines = await explained(connection, quoted(statement, schema(store)), arguments)
    plan = "\n".join(lines)
    assert index in plan, plan
    for line in lines:
        assert "Seq Scan" not in line or any(f" on {table}" in line for table in ONE_ROW), plan
        assert "Sort" not in line or name in SORTED_TO_LOCK, plan


async def explained(connection: Any, statement: str, arguments: list[Any]) -> list[str]:
    """The plan for these arguments, or for any, as the mode has it."""
    await connection.execute(f"PREPARE asked AS {statement}")
    written = ", ".join(map(literal, arguments))
    return [line for (line,) in await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE asked ({written})")]


def literal(argument: Any) -> str:
    """An argument as SQL has it."""
    if isinstance(argument, list):
        return f"ARRAY[{', '.join(map(literal, argument))}]"
    if isinstance(argument, bytes):
        return f"'\\x{argument.hex()}'"
    return f"'{argument}'" if isinstance(argument, str) else repr(argument)


SEEN = range(40, MANY, 40)  # such as others do not purge
COUNTED = {"records", "events", "counters"}  # the tables that grow


async def test_no_call_reads_a_table_from_end_to_end(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    before = await counted(store, "seq_scan")
    device = await store.find(Device, "00000100")
    request = await store.find_code(b"00000102")
    assert device is not None
    assert request is not None
    await store.commit(Swap(device.evolve()), Swap(request.evolve()), Add(a_device()), Log(an_event()))
    await store.list_requests(live_at=NOW)
    await store.list_devices()
    await store.search_devices("phone 1")
    await store.list_events()
    for amount in (1, 0, -1):
        await store.hit("key 7", 60, NOW, amount)
    await store.touch({device.id: NOW})
    await store.purge(NOW + 7)
    await (feed := store.watch(MANY - 5)).__anext__()
    await feed.aclose()
    await store.aclose()
    await told(store)
    after = await counted(store, "seq_scan")
    assert {table: after[table] - before[table] for table in COUNTED} == dict.fromkeys(COUNTED, 0)


async def test_being_seen_and_being_counted_mostly_touch_no_index(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    before, before_hot = await counted(store, "n_tup_upd"), await counted(store, "n_tup_hot_upd")
    for turn in range(8):
        await store.touch({f"{number:08}": NOW + turn for number in SEEN})
        await asyncio.gather(*(store.hit(f"key {number}", 60, NOW) for number in range(15, 515, 10)))
    await store.aclose()
    await told(store)
    after, after_hot = await counted(store, "n_tup_upd"), await counted(store, "n_tup_hot_upd")
    for table, changes in (("records", 8 * len(SEEN)), ("counters", 8 * 50)):
        assert after[table] - before[table] == changes
        assert after_hot[table] - before_hot[table] > changes * 0.8


async def told(store: PostgresStore) -> None:
    """Wait until all connections of the store are gone: then what they did is counted."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pairlock'"
    async with asking(store) as connection, asyncio.timeout(10):
        while await connection.fetchval(others):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)


async def counted(store: PostgresStore, what: str) -> dict[str, int]:
    """What PostgreSQL counts, of each table."""
    asked = f"SELECT relname, {what} FROM pg_stat_user_tables WHERE schemaname = $1"
    async with asking(store) as connection:
        return dict(await connection.fetch(asked, schema(store)))
