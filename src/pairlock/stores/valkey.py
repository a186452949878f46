"""The store in Valkey or Redis, for any number of processes on any number of machines.

Every call is one script, or several that need not be one; where things lie is said with the scripts.
"""

import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting
from pairlock._core.states import LIVE
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores import valkey_scripts as scripts
from pairlock.stores.contract import MAX_BATCH, Batch, Conflict, Hits, Log, R, Swap, Write
from pairlock.stores.valkey_link import Link
from pairlock.stores.valkey_opening import opened
from pairlock.stores.valkey_scripts import Script
from pairlock.stores.valkey_url import parse

STEP = 100  # records in one script: the server does nothing else meanwhile
FAR = 1e11  # seconds; what lies beyond is no sooner dropped by the server
LAST_BYTE = b"\xff"  # beyond all UTF-8

KINDS: dict[type[Record], str] = {PairingRequest: "request", Device: "device", Setting: "setting"}
WRITTEN = ("seq", "events", "due", "live", "paired", "names")

Word = str | bytes | int

_decoders: dict[type[Record], Callable[[bytes], Any]] = {kind: msgspec.json.Decoder(kind).decode for kind in KINDS}
_decode_event = msgspec.json.Decoder(AuditEvent).decode


class Index(Struct, frozen=True):
    """A list of records, and the command that reads it in the order of the list."""

    key: str
    kind: type[Record]
    command: str


LIVE_REQUESTS = Index("live", PairingRequest, "ZREVRANGEBYLEX")
PAIRED_DEVICES = Index("paired", Device, "ZREVRANGEBYLEX")
NAMED_DEVICES = Index("names", Device, "ZRANGEBYLEX")


class ValkeyStore:
    """Records in a Valkey or Redis server, under keys that begin with `{prefix}:`.

    `url` is one of docs/valkey.md. Raises ConfigurationError, which never repeats it. A call that is not answered
    within `timeout` seconds has failed.
    """

    def __init__(self, url: str, *, timeout: float = 5.0) -> None:
        self._address = parse(url, timeout=timeout)
        self._base = f"{{{self._address.prefix}}}:"
        self._link: Link | None = None

    def __repr__(self) -> str:
        return f"ValkeyStore({self._address!r})"

    async def open(self) -> None:
        """Connect, and mark a place that is new. Raises StoreError; an open store stays as it is."""
        if self._link is None:
            self._link = await opened(self._address, self._keys("schema", *WRITTEN, "place"))

    async def check(self) -> None:
        """Ask whether the server answers and keeps data of this version. Raises TemporarilyUnavailable, StoreError."""
        layout = await self._run(scripts.CHECK, ["schema"])
        if layout != scripts.LAYOUT.encode():
            raise StoreError(f"{self!r} holds no data of this version any more: start this process again")

    async def aclose(self) -> None:
        """Let those finish that have begun, then close; a second call does nothing."""
        link, self._link = self._link, None
        if link is not None:
            await link.aclose()

    async def commit(self, *writes: Write) -> None:
        """Do all of these writes or none. Raises Conflict when one of them came too late."""
        keys, words = ["schema", _once(), *WRITTEN], list[Word]()
        for write in writes:
            named, said = _log(write.event) if isinstance(write, Log) else _put(write.record, isinstance(write, Swap))
            keys += named
            words += said
        if not await self._run(scripts.COMMIT, keys, self._base, *words):
            raise Conflict

    async def find(self, kind: type[R], id: str) -> R | None:
        """The record of this kind with this id."""
        data, seen_at = await self._run(scripts.FIND, ["schema", f"{KINDS[kind]}:{id}"])
        return None if data is None else _record(kind, data, seen_at)

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        """The pairing request with this code digest."""
        keys = ["schema", f"code:{digest.hex()}"]
        data, _ = await self._run(scripts.FIND_CODE, keys, f"{self._base}request:")
        return None if data is None else _record(PairingRequest, data, None)

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        """Requests pending or approved at that time, newest first, with ids below `before`."""
        return await self._list(LIVE_REQUESTS, limit, start=_below(before), stop=b"-", live_at=live_at)

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired, newest first, with ids below `before`."""
        return await self._list(PAIRED_DEVICES, limit, start=_below(before), stop=b"-")

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired and whose `name_key` begins with this, in the order of these keys, beyond `after`."""
        start = f"[{prefix}" if after is None or after < prefix else f"({after}"
        return await self._list(NAMED_DEVICES, limit, start=start.encode(), stop=f"({prefix}".encode() + LAST_BYTE)

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Audit events, newest first, with a `seq` below `before`."""
        events: list[AuditEvent] = []
        highest = "+" if before is None else str(before - 1)
        while len(events) < limit and highest not in {"0", "-1"}:
            wanted = min(limit - len(events), MAX_BATCH)
            entries = await self._run(scripts.LIST_EVENTS, ["schema", "events"], highest, wanted)
            events += map(_event, entries)
            highest = str(events[-1].seq - 1) if len(entries) == wanted else "0"
        return events

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        """Count so many hits; the count starts anew once `window` seconds have passed since its first."""
        counter = f"counter:{key}"
        kept_for = int(min(window, FAR) * 1000) + scripts.COUNTER_SLACK
        keys = ["schema", _once(), counter, "due"]
        script = scripts.HIT if amount else scripts.LOOK
        count, resets_at = await self._run(script, keys, amount, _text(now), _text(now + window), kept_for, counter)
        return Hits(count, float(resets_at))

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note when devices were seen, by id: of several times the latest counts. Ids of none are passed over."""
        each = iter(seen.items())
        while some := dict(islice(each, MAX_BATCH)):
            devices = [f"device:{device_id}" for device_id in some]
            await self._run(scripts.TOUCH, ["schema", *devices], *map(_text, some.values()))

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        """Batches of what any process commits, told at once; an empty one at least every second.

        A connection that is lost ends it: whoever goes on from its cursor may find another server there.
        """
        last, events, place = await self._events_after(since, again=True)
        cursor, known = last if since is None else since, place
        while True:
            if place != known:  # emptied, and begun anew by somebody else: what we followed is gone
                known, last, events = place, 0, []
            cursor = events[-1].seq if events else min(cursor, last)
            yield Batch(cursor, tuple(events))
            if len(events) < MAX_BATCH:
                await self._opened().wait_for_event(f"{self._base}events", cursor)
            last, events, place = await self._events_after(cursor, again=False)

    async def _events_after(self, cursor: int | None, *, again: bool) -> tuple[int, list[AuditEvent], bytes]:
        """The highest number that was given, and events beyond the cursor; None is beyond all.

        A server that keeps a client waiting may no longer be the primary: what is told is asked for anew.
        """
        after, wanted = (0, 0) if cursor is None else (cursor, MAX_BATCH)
        keys = self._keys("seq", "events", "place")
        last, entries, place = await self._opened().run(scripts.FOLLOW, keys, after, wanted, again=again)
        return int(last), list(map(_event, entries or ())), place

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        """Drop at most so many of what is due; how many of each kind."""
        dropped: Counter[str] = Counter()
        keys = ["schema", "due", "events", "live", "paired", "names"]
        while (wanted := min(limit - dropped.total(), STEP)) > 0:
            kinds = await self._run(scripts.PURGE, keys, self._base, _text(now), wanted)
            dropped.update(f"{kind.decode()}s" for kind in kinds)
            if len(kinds) < wanted:
                break
        return dropped

    async def _list(
        self, index: Index, limit: int, *, start: bytes, stop: bytes, live_at: float | None = None
    ) -> list[Any]:
        """As many records of the index, from `start` towards `stop`."""
        found: list[Any] = []
        base, keys = f"{self._base}{KINDS[index.kind]}:", ["schema", index.key]
        from_here: bytes | None = start
        while from_here and len(found) < limit:
            wanted = min(limit - len(found), STEP)
            looked_at = wanted if live_at is None else STEP
            words = (index.command, from_here, stop, looked_at, base, wanted, _text(live_at))
            last, rows = await self._run(scripts.LIST, keys, *words)
            found += [_record(index.kind, *row) for row in rows]
            from_here = last and b"(" + last
        return found

    async def _run(self, script: Script, keys: list[str], *words: Word) -> Any:
        return await self._opened().run(script, self._keys(*keys), *words)

    def _keys(self, *names: str) -> list[str]:
        return [f"{self._base}{name}" for name in names]

    def _opened(self) -> Link:
        if self._link is None:
            cause = StoreError(f"{self!r} is not open: await its open() first")
            raise TemporarilyUnavailable(retry_after=1) from cause
        return self._link


def _once() -> str:
    """The key by which a call that is made again is known."""
    return f"done:{uuid.uuid4().hex}"


def _log(event: AuditEvent) -> tuple[list[str], list[Word]]:
    """The keys and words of a write."""
    return [], ["log", msgspec.json.encode(event), _text(event.purge_at)]


def _put(record: Record, is_next: bool) -> tuple[list[str], list[Word]]:
    kind = KINDS[type(record)]
    code = record.code_digest.hex() if isinstance(record, PairingRequest) and record.code_digest is not None else ""
    words: list[Word] = ["swap" if is_next else "add", kind, record.id, record.version - 1, record.version]
    words += [msgspec.json.encode(record), _text(record.purge_at), _milliseconds(record.purge_at)]
    words += [*_looked_up_by(record), code]
    return [f"{kind}:{record.id}", *([f"code:{code}"] if code else [])], words


def _looked_up_by(record: Record) -> Iterator[str]:
    """Whether it is listed; when it expires; what it is searched by."""
    if isinstance(record, PairingRequest):
        yield from ("1" if record.state in LIVE else "", _text(record.expires_at), "")
    elif isinstance(record, Device):
        yield from ("1" if record.revoked_at is None else "", "", record.name_key)
    else:
        yield from ("", "", "")


def _record(kind: type[R], data: bytes, seen_at: bytes | None) -> R:
    record: R = _decoders[kind](data)
    if not isinstance(record, Device):
        return record
    return replace(record, seen_at=None if seen_at is None else float(seen_at))


def _event(entry: tuple[bytes, list[bytes]]) -> AuditEvent:
    number, (_, data) = entry
    return replace(_decode_event(data), seq=int(number.partition(b"-")[0]))


def _below(before: str | None) -> bytes:
    return b"+" if before is None else f"({before}".encode()


def _text(at: float | None) -> str:
    """A time as the scripts take it; "" for none."""
    return "" if at is None else repr(float(at))


def _milliseconds(at: float | None) -> str:
    return "" if at is None else str(int(min(at, FAR) * 1000))
