"""The store in a PostgreSQL database, shared by any number of processes on any number of machines.

Every call is one statement, and so one transaction, of the server's: nobody holds a lock while the server waits for
a client, and a process that is killed or stands still keeps nothing from the others.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]  # it has no types
import msgspec
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting
from pairlock._core.states import LIVE
from pairlock.errors import ConfigurationError, StoreError, TemporarilyUnavailable
from pairlock.stores.contract import MAX_BATCH, Add, Batch, Conflict, Hits, Log, R, Swap, Write
from pairlock.stores.postgres_pool import FAILURES, Connection, Pool
from pairlock.stores.postgres_schema import VERSION, check_version, prepare, quoted, weaknesses
from pairlock.stores.postgres_url import SPELLING, parse

logger = logging.getLogger("pairlock")

HEARTBEAT = 0.5  # half of what is promised, so that a slow machine keeps the promise too

LAST_ID = "\U0010ffff"
LAST_SEQ = 2**63 - 1

FIND = "SELECT data, seen_at FROM {schema}.records WHERE kind = $1 AND id = $2"
FIND_CODE = "SELECT data, seen_at FROM {schema}.records WHERE code = $1"
# None of these lists says of which kind: only requests have a `live_until`, only devices a `name`.
LIST_REQUESTS = (
    "SELECT data, seen_at FROM {schema}.records WHERE live_until IS NOT NULL AND live_until > $1 AND id < $2"
    " ORDER BY id DESC LIMIT $3"
)
LIST_PAIRED = "SELECT data, seen_at FROM {schema}.records WHERE name IS NOT NULL AND id < $1 ORDER BY id DESC LIMIT $2"
SEARCH_PAIRED = (
    "SELECT data, seen_at FROM {schema}.records WHERE name >= $1 AND name > $2 AND name < $3 ORDER BY name LIMIT $4"
)
LIST_EVENTS = "SELECT seq, data FROM {schema}.events WHERE seq < $1 ORDER BY seq DESC LIMIT $2"
# With them, without data, the last number given, also to events that were purged.
EVENTS_AFTER = (
    "SELECT last AS seq, NULL AS data FROM {schema}.feed"
    " UNION ALL (SELECT seq, data FROM {schema}.events WHERE seq > $1 ORDER BY seq LIMIT $2)"
)
COMMIT = "SELECT {schema}.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
# Locked in the order of ids, as commits do it: neither waits for the other in a circle.
TOUCH = """
    WITH seen AS (SELECT id, at FROM unnest($1::text[], $2::text[]) AS seen (id, at)),
    locked AS (
        SELECT id FROM {schema}.records WHERE kind = 'devices' AND id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE {schema}.records AS kept SET seen_at = greatest(kept.seen_at, seen.at::float8)
    FROM seen JOIN locked USING (id) WHERE kept.kind = 'devices' AND kept.id = seen.id
"""
COUNT = """
    INSERT INTO {schema}.counters AS kept (key, count, resets_at) VALUES ($1, $2, $3) ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN kept.resets_at <= $4 THEN excluded.count ELSE kept.count + excluded.count END,
        resets_at = CASE WHEN kept.resets_at <= $4 THEN excluded.resets_at ELSE kept.resets_at END
    RETURNING count, resets_at
"""
LOOK = "SELECT count, resets_at FROM {schema}.counters WHERE key = $1 AND resets_at > $2"
TAKE_BACK = (
    "UPDATE {schema}.counters SET count = greatest(count + $3, 0) WHERE key = $1 AND resets_at > $2"
    " RETURNING count, resets_at"
)
PURGES = tuple(
    f"WITH dropped AS (DELETE FROM {{schema}}.{table} WHERE ctid = ANY (ARRAY("  # noqa: S608  # constants
    f"SELECT ctid FROM {{schema}}.{table} WHERE {due} <= $1 ORDER BY {due} LIMIT $2 FOR UPDATE SKIP LOCKED))"
    f" RETURNING {kind} AS kind)"  # ordered: without fresh statistics the planner would read the whole table else
    " SELECT kind, count(*) FROM dropped GROUP BY kind"
    for table, due, kind in (
        ("records", "purge_at", "kind"),
        ("events", "purge_at", "'events'"),
        ("counters", "resets_at", "'counters'"),
    )
)

NOT_THERE = (asyncpg.InvalidSchemaNameError, asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
LOST_RACES = (asyncpg.UniqueViolationError, asyncpg.TransactionRollbackError)
ANOTHER_VERSION = "PLK01"  # raised by the function that commits

KINDS: dict[type[Record], str] = {PairingRequest: "requests", Device: "devices", Setting: "settings"}
DECODERS: dict[type[Record], Callable[[str], Any]] = {kind: msgspec.json.Decoder(kind).decode for kind in KINDS}
_decode_event = msgspec.json.Decoder(AuditEvent).decode
_seq = attrgetter("seq")


class PostgresStore:
    """Records in one schema of a PostgreSQL database, which is made where it is missing.

    The URL is one of libpq's, with any number of hosts; `schema`, `pool_size`, `timeout` and `pgbouncer` in it are
    ours, and go before what is said here. A call takes at most `timeout` seconds.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, pool_size: int = 10) -> None:
        self.address = parse(url, timeout=timeout, pool_size=pool_size)
        self._pool: Pool | None = None
        self._wakes: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"PostgresStore({self.address!r})"

    async def open(self) -> None:
        """Connect, create or migrate. Raises StoreError when that cannot work; an open store stays as it is."""
        if self._pool is not None:
            if self._pool.loop is asyncio.get_running_loop():
                return
            self._pool.terminate()  # of an event loop that is gone
        pool = Pool(self.address)
        try:
            with _explained(repr(self.address)):
                await self._prepare(pool)
        except BaseException:
            await pool.aclose()
            raise
        self._pool = pool

    async def _prepare(self, pool: Pool) -> None:
        async with pool.lease() as connection:
            await prepare(connection, self.address.schema)
            for weakness in await weaknesses(connection):
                logger.warning("%s is off: a crash of the database server may lose what was answered", weakness)

    async def check(self) -> None:
        """Ask whether the database answers and has this version's tables. Raises TemporarilyUnavailable, StoreError."""
        rows: list[Any] = []
        with _answering(), contextlib.suppress(*NOT_THERE):
            rows = await self._ask(VERSION)
        check_version(rows[0][0] if rows else None, self.address.schema)

    async def aclose(self) -> None:
        """Let what was asked for finish, then close; a second call does nothing."""
        pool, self._pool = self._pool, None
        self._wake()
        if pool is not None:
            await pool.aclose()

    async def commit(self, *writes: Write) -> None:
        """Do all of these writes or none. Raises Conflict when one of them came too late."""
        arguments = (*_columns_of_records(writes), *_columns_of_events(writes))
        try:
            with _answering(), _deciding():
                await self._ask(COMMIT, uuid4(), *arguments)
        finally:
            self._wake()

    async def find(self, kind: type[R], id: str) -> R | None:
        """The record of this kind with this id."""
        found = await self._records(kind, FIND, KINDS[kind], id)
        return found[0] if found else None

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        """The pairing request with this code digest."""
        found = await self._records(PairingRequest, FIND_CODE, digest)
        return found[0] if found else None

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        """Requests pending or approved at that time, newest first, with ids below `before`."""
        return await self._records(PairingRequest, LIST_REQUESTS, live_at, _below(before), limit)

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired, newest first, with ids below `before`."""
        return await self._records(Device, LIST_PAIRED, _below(before), limit)

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired and whose `name_key` begins with this, in the order of these keys, beyond `after`."""
        return await self._records(Device, SEARCH_PAIRED, prefix, after or "", prefix + LAST_ID, limit)

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Audit events, newest first, with a `seq` below `before`."""
        with _answering():
            rows = await self._ask(LIST_EVENTS, LAST_SEQ if before is None else before, limit)
        return [_event(*row) for row in rows]

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        """Count so many hits; the count starts anew once `window` seconds have passed since its first.

        When the connection is lost meanwhile it is not counted once more: nobody pays twice for one guess.
        """
        with _answering():
            if amount > 0:
                found = await self._ask(COUNT, key, amount, now + window, now, again=False)
            elif amount:
                found = await self._ask(TAKE_BACK, key, now, amount, again=False)
            else:
                found = await self._ask(LOOK, key, now)
        return Hits(*found[0]) if found else Hits(0, now)

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note when devices were seen, by id: of several times the latest counts. Ids of none are passed over."""
        with _answering():
            await self._ask(TOUCH, list(seen), list(map(_text, seen.values())))

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        """Drop at most so many of what is due; how many of each kind."""
        dropped: Counter[str] = Counter()
        for purge in PURGES:
            with _answering():
                dropped.update(dict(await self._ask(purge, now, limit - dropped.total())))
        return dropped

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        """Batches of what any process commits, as soon as the server tells; an empty one at least every second."""
        wake, cursor = asyncio.Event(), since
        self._wakes.add(wake)
        try:
            async with _following(self._opened(), self.address.schema, wake.set) as connection:
                while True:
                    wake.clear()
                    batch = await self._batch_after(connection, cursor)
                    cursor = batch.cursor
                    yield batch
                    if len(batch.events) < MAX_BATCH:
                        await _rest(wake)
        finally:
            self._wakes.discard(wake)

    async def _batch_after(self, connection: Connection, cursor: int | None) -> Batch:
        self._opened()
        after = LAST_SEQ if cursor is None else cursor
        with _answering():
            async with asyncio.timeout(self.address.timeout):
                rows = await connection.fetch(self._sql(EVENTS_AFTER), after, MAX_BATCH)
        (last,) = (seq for seq, data in rows if data is None)
        events = tuple(sorted((_event(*row) for row in rows if row[1] is not None), key=_seq))
        # It falls where the database was put back to an older state: the caller must know.
        return Batch(events[-1].seq if events else min(after, last), events)

    async def _records(self, kind: type[R], statement: str, *arguments: Any) -> list[R]:
        """The records of all rows. No text of PostgreSQL's holds NUL: what is asked for with one is not there."""
        without_nul = (said.replace("\0", "\1") if isinstance(said, str) else said for said in arguments)
        with _answering():
            rows = await self._ask(statement, *without_nul)
        return [_record(kind, *row) for row in rows]

    async def _ask(self, statement: str, *arguments: Any, again: bool = True) -> list[Any]:
        return await self._opened().ask(self._sql(statement), *arguments, again=again)

    def _sql(self, statement: str) -> str:
        return quoted(statement, self.address.schema)

    def _opened(self) -> Pool:
        if self._pool is None:
            cause = StoreError(f"{self!r} is not open: await its open() first")
            raise TemporarilyUnavailable(retry_after=1) from cause
        return self._pool

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()


@contextlib.asynccontextmanager
async def _following(pool: Pool, channel: str, heard: Callable[[], None]) -> AsyncIterator[Connection]:
    with _answering():
        async with pool.listening(channel, heard) as connection:
            yield connection


async def _rest(wake: asyncio.Event) -> None:
    """Until there may be something new, or a heartbeat is due."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARTBEAT):
            await wake.wait()


def _below(before: str | None) -> str:
    return LAST_ID if before is None else before


def _record(kind: type[R], data: str, seen_at: float | None) -> R:
    record: R = DECODERS[kind](data)
    return replace(record, seen_at=seen_at) if isinstance(record, Device) else record


def _event(seq: int, data: str) -> AuditEvent:
    return replace(_decode_event(data), seq=seq)


def _columns_of_records(writes: Iterable[Write]) -> Iterable[list[Any]]:
    """The columns of all adds and swaps, in one order for all processes: none waits for another in a circle.

    Swaps come first: a code that is given up is free for an add.
    """
    rows = sorted((_row(write) for write in writes if not isinstance(write, Log)), key=lambda row: row[:3])
    return [list(map(_text, column)) for column in zip(*rows, strict=True)] or [[] for _ in range(9)]


def _row(write: Add | Swap) -> tuple[Any, ...]:
    record = write.record
    return (
        isinstance(write, Add),
        KINDS[type(record)],
        record.id,
        record.version,
        record.purge_at,
        record.code_digest if isinstance(record, PairingRequest) else None,
        record.expires_at if isinstance(record, PairingRequest) and record.state in LIVE else None,
        record.name_key if isinstance(record, Device) and record.revoked_at is None else None,
        _encode(record),
    )


def _columns_of_events(writes: Iterable[Write]) -> Iterable[list[Any]]:
    events = [write.event for write in writes if isinstance(write, Log)]
    return [_text(event.purge_at) for event in events], [_encode(event) for event in events]


def _text(value: Any) -> str | None:
    """A value as PostgreSQL reads it."""
    if value is None:
        return None
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _encode(record: msgspec.Struct) -> str:
    return msgspec.json.encode(record).decode()


@contextlib.contextmanager
def _deciding() -> Iterator[None]:
    """What tells that somebody else wrote first."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if isinstance(error, LOST_RACES) or error.sqlstate == ANOTHER_VERSION:
            raise Conflict from error
        raise


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Away, overloaded, full, read-only: whatever keeps it from it, the store cannot answer now."""
    try:
        yield
    except FAILURES as error:
        raise TemporarilyUnavailable(retry_after=1) from error


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except asyncpg.ClientConfigurationError as error:  # of what the URL or the environment says
        raise ConfigurationError(f"store: {error}") from None
    except ValueError:  # the same, but it may repeat a part of it
        raise ConfigurationError(SPELLING) from None
    except FAILURES as error:
        raise StoreError(
            f"PostgreSQL at {place} cannot be used: {str(error) or 'it does not answer'}."
            " See that the server runs, takes connections from here, and lets this role make or use the schema"
        ) from error
