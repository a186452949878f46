"""The store for tests and demonstrations: everything in this process, gone when it ends."""

import asyncio
import contextlib
import heapq
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import cast

import msgspec
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting
from pairlock._core.states import LIVE
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores.contract import Add, Batch, Conflict, Hits, Log, R, Swap, Write

HEARTBEAT = 0.5  # half of what is promised, so that a slow machine keeps the promise too
MAX_COUNTERS = 2**17
SHELVES = 2**8
PURGED_AT_ONCE = 64  # counters, before others may run
KINDS: dict[type[Record], str] = {PairingRequest: "requests", Device: "devices", Setting: "settings"}

_id = attrgetter("id")
_seq = attrgetter("seq")


class Counters:
    """At most MAX_COUNTERS counts; past that, the one that ends first leaves.

    They lie on many small shelves, for a dict of 100,000 takes milliseconds to grow. `_ends` is a heap with one
    entry for each; that of a count which began anew is too early, and is put right when its turn comes.
    """

    def __init__(self) -> None:
        self._shelves: tuple[dict[str, Hits], ...] = tuple({} for _ in range(SHELVES))
        self._ends: list[tuple[float, str]] = []

    def hit(self, key: str, window: float, now: float, amount: int) -> Hits:
        """Count, look or take back."""
        shelf = self._shelves[hash(key) % SHELVES]
        hits = shelf.get(key)
        if hits is not None and now < hits.resets_at:
            count = hits.count + amount
            hits = Hits(0 if count < 0 else count, hits.resets_at)  # noqa: FURB136  # max() is a third of a hit
        elif amount > 0:
            if hits is None:
                self._note(key, now + window)
            hits = Hits(amount, now + window)
        else:
            return Hits(0, now)
        shelf[key] = hits
        return hits

    def purge(self, now: float) -> Iterator[bool]:
        """Drop what has ended, one after the other; False is for one that has begun anew."""
        while self._ends and self._ends[0][0] <= now:
            key = self._ends[0][1]
            shelf = self._shelves[hash(key) % SHELVES]
            ended = shelf[key].resets_at <= now
            if ended:
                heapq.heappop(self._ends)
                del shelf[key]
            else:
                heapq.heapreplace(self._ends, (shelf[key].resets_at, key))
            yield ended

    def _note(self, key: str, end: float) -> None:
        if len(self._ends) < MAX_COUNTERS:
            heapq.heappush(self._ends, (end, key))
        else:
            _, leaving = heapq.heapreplace(self._ends, (end, key))
            del self._shelves[hash(leaving) % SHELVES][leaving]


class MemoryData:
    """What handles share: two on the same data are to each other as two processes are."""

    def __init__(self) -> None:
        self.records: dict[type[Record], dict[str, Record]] = defaultdict(dict)
        self.codes: dict[bytes, str] = {}
        self.seen: dict[str, float] = {}
        self.events: list[AuditEvent] = []
        self.last_seq = 0
        self.counters = Counters()
        self.wakes: set[asyncio.Event] = set()

    def write_all(self, writes: Iterable[Write]) -> None:
        """All or none: what was done is undone when a later write comes too late."""
        with contextlib.ExitStack() as undo:
            for write in writes:
                if not isinstance(write, Log):
                    before, after = self._before(write), _copy(write.record)
                    self.exchange(before, after)
                    undo.callback(self.exchange, after, before)
            undo.pop_all()
        for write in writes:
            if isinstance(write, Log):
                self._append(write.event)

    def _before(self, write: Add | Swap) -> Record | None:
        """The record that a write replaces. Raises Conflict when it is not the one expected."""
        record = write.record
        before = self.records[type(record)].get(record.id)
        expected = record.version - 1 if isinstance(write, Swap) else None
        if expected != (None if before is None else before.version):
            raise Conflict
        code = _code(record)
        if code is not None and self.codes.get(code, record.id) != record.id:
            raise Conflict
        return before

    def exchange(self, before: Record | None, after: Record | None) -> None:
        """Put one version in the place of the other; None where there is none."""
        if before is not None:
            del self.records[type(before)][before.id]
            self._index(before, None)
        if after is not None:
            self.records[type(after)][after.id] = after
            self._index(after, after.id)

    def _index(self, record: Record, id: str | None) -> None:
        code = _code(record)
        if code is not None and id is not None:
            self.codes[code] = id
        elif code is not None:
            del self.codes[code]

    def _append(self, event: AuditEvent) -> None:
        self.last_seq += 1
        self.events.append(replace(event, seq=self.last_seq))

    def purge(self, now: float, limit: int) -> Counter[str]:
        """Drop records and events that are due."""
        kept = (record for records in self.records.values() for record in records.values())
        due = list(islice((record for record in kept if _is_due(record, now)), limit))
        for record in due:
            self.exchange(record, None)
            if isinstance(record, Device):
                self.seen.pop(record.id, None)
        past = set(islice((event.seq for event in self.events if _is_due(event, now)), limit - len(due)))
        self.events = [event for event in self.events if event.seq not in past]
        return Counter(KINDS[type(record)] for record in due) + Counter(events=len(past))

    def wake(self) -> None:
        """Tell every watcher that there may be something new."""
        for wake in self.wakes:
            wake.set()


class MemoryStore:
    """Records in memory. Handles on one `MemoryData` share them; all must run in one event loop."""

    def __init__(self, data: MemoryData | None = None) -> None:
        self._kept = MemoryData() if data is None else data
        self._is_open = False

    @property
    def _data(self) -> MemoryData:
        if not self._is_open:
            cause = StoreError("this MemoryStore is not open: await its open() first")
            raise TemporarilyUnavailable(retry_after=1) from cause
        return self._kept

    async def open(self) -> None:
        """Begin."""
        self._is_open = True

    async def check(self) -> None:
        """It answers while it is open. Raises TemporarilyUnavailable."""
        _ = self._data  # for what it raises

    async def aclose(self) -> None:
        """End; the data stays with the other handles. A second call does nothing."""
        self._is_open = False
        self._kept.wake()

    async def commit(self, *writes: Write) -> None:
        """Do all of these writes or none. Raises Conflict when one of them came too late."""
        self._data.write_all(writes)
        self._data.wake()

    async def find(self, kind: type[R], id: str) -> R | None:
        """The record of this kind with this id."""
        found = cast("R | None", self._data.records[kind].get(id))
        return None if found is None else self._copy(found)

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        """The pairing request with this code digest."""
        known_id = self._data.codes.get(digest)
        return None if known_id is None else await self.find(PairingRequest, known_id)

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        """Requests pending or approved at that time, newest first, with ids below `before`."""
        live = (
            request for request in self._all(PairingRequest) if request.state in LIVE and request.expires_at > live_at
        )
        return self._newest(live, before, limit)

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired, newest first, with ids below `before`."""
        return self._newest(self._paired(), before, limit)

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired and whose `name_key` begins with this, in the order of these keys, beyond `after`."""
        found = {device.name_key: device for device in self._paired() if device.name_key.startswith(prefix)}
        return [self._copy(found[key]) for key in sorted(key for key in found if key > (after or ""))[:limit]]

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Audit events, newest first, with a `seq` below `before`."""
        events = self._data.events
        end = len(events) if before is None else bisect_left(events, before, key=_seq)
        return events[max(end - limit, 0) : end][::-1]

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        """Count so many hits; the count starts anew once `window` seconds have passed since its first."""
        return self._data.counters.hit(key, window, now, amount)

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note when devices were seen, by id: of several times the latest counts. Ids of none are passed over."""
        data = self._data
        for device_id, at in seen.items():
            if device_id in data.records[Device]:
                data.seen[device_id] = max(at, data.seen.get(device_id, at))

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        """Drop at most so many of what is due; how many of each kind."""
        data = self._data
        dropped = data.purge(now, limit)
        for turn, ended in enumerate(islice(data.counters.purge(now), limit - dropped.total())):
            dropped["counters"] += ended
            if turn % PURGED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return +dropped

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        """Batches of what any handle commits, at once; an empty one at least every second."""
        wake, data = asyncio.Event(), self._data
        data.wakes.add(wake)
        try:
            cursor = data.last_seq if since is None else since
            while True:
                wake.clear()
                events = self._data.events[bisect_right(self._data.events, cursor, key=_seq) :]
                cursor = events[-1].seq if events else cursor
                yield Batch(cursor, tuple(events))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await wake.wait()
        finally:
            data.wakes.discard(wake)

    def _all(self, kind: type[R]) -> Iterable[R]:
        return cast("Iterable[R]", self._data.records[kind].values())

    def _paired(self) -> Iterator[Device]:
        return (device for device in self._all(Device) if device.revoked_at is None)

    def _newest(self, records: Iterable[R], before: str | None, limit: int) -> list[R]:
        listed = (record for record in records if before is None or record.id < before)
        return [self._copy(record) for record in heapq.nlargest(limit, listed, key=_id)]

    def _copy(self, record: R) -> R:
        copied = _copy(record)
        return replace(copied, seen_at=self._data.seen.get(record.id)) if isinstance(copied, Device) else copied


def _is_due(kept: Record | AuditEvent, now: float) -> bool:
    return kept.purge_at is not None and kept.purge_at <= now


def _code(record: Record) -> bytes | None:
    return record.code_digest if isinstance(record, PairingRequest) else None


def _copy(record: R) -> R:
    """The record as a file would give it back: what a caller does to a setting's value changes nothing kept."""
    return msgspec.json.decode(msgspec.json.encode(record), type=type(record))
