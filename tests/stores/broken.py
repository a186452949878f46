"""Stores that break one promise each, under the suite that should notice: run by test_teeth.py, not by itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest
from hypothesis import Phase, settings

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record
from pairlock.stores.contract import Batch, Conflict, Hits, Log, Store, Swap, Write
from pairlock.stores.memory import Counters, MemoryData, MemoryStore
from pairlock.testing import StoreContract
from pairlock.testing.contract import feed, model

# That a test fails is known here; it need not be patient, nor find the smallest example.
feed.PATIENCE = 1.0
REPEATABLE = settings(model.ENOUGH, phases=[Phase.generate], report_multiple_bugs=False, derandomize=True)


class AnyCodeData(MemoryData):
    """Lets requests share a code digest."""

    def _index(self, record: Record, id: str | None) -> None:
        if isinstance(record, PairingRequest) and id is not None and record.code_digest is not None:
            self.codes.setdefault(record.code_digest, id)

    def _before(self, write: Any) -> Record | None:
        return _check_version(self, write)


class CheckThenWrite(MemoryStore):
    """Looks first and writes afterwards, as with SELECT and then UPDATE."""

    async def commit(self, *writes: Write) -> None:
        for write in writes:
            if not isinstance(write, Log):
                self._data._before(write)
        await asyncio.sleep(0)
        _write_unchecked(self._data, writes)


class NoVersionCheck(MemoryStore):
    """Swaps whatever is there."""

    async def commit(self, *writes: Write) -> None:
        records = self._data.records
        for write in writes:
            if isinstance(write, Swap) and write.record.id not in records[type(write.record)]:
                raise Conflict
            if not isinstance(write, Log | Swap):
                self._data._before(write)
        _write_unchecked(self._data, writes)


class LockPerHandle(CheckThenWrite):
    """Is safe from itself only."""

    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self._lock = asyncio.Lock()

    async def commit(self, *writes: Write) -> None:
        async with self._lock:
            await super().commit(*writes)


class OneByOne(MemoryStore):
    """Does the writes of a commit in turn."""

    async def commit(self, *writes: Write) -> None:
        for write in writes:
            await super().commit(write)
            await asyncio.sleep(0.001)


class PurgesNothing(MemoryStore):
    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        return Counter()


class PurgesEarly(MemoryStore):
    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        return await super().purge(now + 1, limit)


class CountsPerHandle(MemoryStore):
    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self._own = Counters()

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        return self._own.hit(key, window, now, amount)


class NeverResets(MemoryStore):
    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        return await super().hit(key, 1e9, now, amount)


class CountsOneByOne(MemoryStore):
    """Counts a hit of any amount once."""

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        return await super().hit(key, window, now, min(amount, 1))


class CountsLooks(MemoryStore):
    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        return await super().hit(key, window, now, amount or 1)


class KeepsLooks(MemoryStore):
    """Begins a window when it is only to look."""

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        if amount == 0:
            await super().hit(key, window, now, 1)
        return await super().hit(key, window, now, amount or -1)


class TakesNothingBack(MemoryStore):
    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        return await super().hit(key, window, now, max(amount, 0))


class GoesBelowZero(MemoryStore):
    """Keeps in mind what could not be taken back."""

    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self._debts: Counter[str] = Counter()

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        before = await super().hit(key, window, now, 0)
        self._debts[key] += max(-amount - before.count, 0)
        hits = await super().hit(key, window, now, amount)
        return Hits(hits.count - self._debts[key], hits.resets_at)


class TakesBackFromNothing(MemoryStore):
    """Begins a window when there is nothing to take back."""

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        if amount < 0 and (await super().hit(key, window, now, 0)).count == 0:
            await super().hit(key, window, now, 1)
        return await super().hit(key, window, now, amount)


class LooksThenCounts(MemoryStore):
    """Looks first and counts afterwards, as with SELECT and then UPDATE."""

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        before = await super().hit(key, window, now, 0)
        await asyncio.sleep(0)
        between = await super().hit(key, window, now, 0)
        return await super().hit(key, window, now, before.count - between.count + amount)


class DropsEvents(MemoryStore):
    """Tells only of the newest."""

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async for batch in super().watch(since):
            yield Batch(batch.cursor, batch.events[-1:])


class RepeatsEvents(MemoryStore):
    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async for batch in super().watch(since):
            yield batch
            if batch.events:
                yield batch


class DeafToOthers(MemoryStore):
    """Tells only of what its own handle commits."""

    def __init__(self, data: MemoryData) -> None:
        super().__init__(data)
        self._mine: set[int] = set()

    async def commit(self, *writes: Write) -> None:
        before = self._data.last_seq
        await super().commit(*writes)
        self._mine |= set(range(before + 1, self._data.last_seq + 1))

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async for batch in super().watch(since):
            yield Batch(batch.cursor, tuple(event for event in batch.events if event.seq in self._mine))


class NoHeartbeat(MemoryStore):
    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        first = True
        async for batch in super().watch(since):
            if first or batch.events:
                yield batch
            first = False


class BeginsInThePast(MemoryStore):
    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async for batch in super().watch(since or 0):
            yield batch


class OldestFirst(MemoryStore):
    async def list_devices(self, **how: Any) -> list[Device]:
        return (await super().list_devices(**how))[::-1]


class OverlapsPages(MemoryStore):
    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        return await super().list_events(before=None if before is None else before + 1, limit=limit)


class ShowsRevoked(MemoryStore):
    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        devices = [device for device in self._all(Device) if before is None or device.id < before]
        return sorted(devices, key=lambda device: device.id, reverse=True)[:limit]


class ListsExpired(MemoryStore):
    async def list_requests(self, *, live_at: float, **how: Any) -> list[PairingRequest]:
        return await super().list_requests(live_at=live_at - 1, **how)


class FindsInnerWords(MemoryStore):
    """Searches for names that have it anywhere."""

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        found = {device.name_key: device for device in self._paired() if prefix in device.name_key}
        return [found[key] for key in sorted(key for key in found if key > (after or ""))[:limit]]


class SearchesRevoked(MemoryStore):
    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        found = {device.name_key: device for device in self._all(Device) if device.name_key.startswith(prefix)}
        return [found[key] for key in sorted(key for key in found if key > (after or ""))[:limit]]


class SearchesByName(MemoryStore):
    """Goes on after a name, and leaves others of that name out."""

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        last = None if after is None else after.partition("\n")[0] + "\n\U0010ffff"
        return await super().search_devices(prefix, after=last, limit=limit)


class SeenInCommits(MemoryStore):
    """Takes from a commit when a device was seen."""

    async def commit(self, *writes: Write) -> None:
        await super().commit(*writes)
        for write in writes:
            if not isinstance(write, Log) and isinstance(write.record, Device) and write.record.seen_at is not None:
                self._data.seen[write.record.id] = write.record.seen_at


class SeenLast(MemoryStore):
    """The last that is told counts, not the latest."""

    async def touch(self, seen: Mapping[str, float]) -> None:
        kept = self._data.records[Device]
        self._data.seen.update({device_id: at for device_id, at in seen.items() if device_id in kept})


class SeenAsAChange(MemoryStore):
    """Makes a new version of what was seen."""

    async def touch(self, seen: Mapping[str, float]) -> None:
        await super().touch(seen)
        for device_id in seen:
            if device := await self.find(Device, device_id):
                await self.commit(Swap(device.evolve()))


class PurgesAll(MemoryStore):
    """Drops all at once, however much it is."""

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        return await super().purge(now, 10**9)


class ForgetsToClose(MemoryStore):
    """Says that all is well when it is not open."""

    async def check(self) -> None:
        return None


def _check_version(data: MemoryData, write: Any) -> Record | None:
    before = data.records[type(write.record)].get(write.record.id)
    expected = write.record.version - 1 if isinstance(write, Swap) else None
    if expected != (None if before is None else before.version):
        raise Conflict
    return before


def _write_unchecked(data: MemoryData, writes: tuple[Write, ...]) -> None:
    for write in writes:
        if isinstance(write, Log):
            data._append(write.event)
        else:
            record = write.record
            before = data.records[type(record)].get(record.id)
            if before is not None:
                del data.records[type(record)][record.id]
            if isinstance(before, PairingRequest) and before.code_digest is not None:
                data.codes.pop(before.code_digest, None)
            data.exchange(None, record)
    data.wake()


def suite_for(store: Callable[[MemoryData], Store], data: type[MemoryData] = MemoryData) -> type[StoreContract]:
    """The suite for a store."""

    class Suite(StoreContract):
        model_settings = REPEATABLE

        @pytest.fixture
        def new_store(self) -> Callable[[], Store]:
            kept = data()
            return lambda: store(kept)

    return Suite


TestAnyCode = suite_for(MemoryStore, AnyCodeData)
TestCheckThenWrite = suite_for(CheckThenWrite)
TestNoVersionCheck = suite_for(NoVersionCheck)
TestLockPerHandle = suite_for(LockPerHandle)
TestOneByOne = suite_for(OneByOne)
TestPurgesNothing = suite_for(PurgesNothing)
TestPurgesEarly = suite_for(PurgesEarly)
TestCountsPerHandle = suite_for(CountsPerHandle)
TestNeverResets = suite_for(NeverResets)
TestCountsOneByOne = suite_for(CountsOneByOne)
TestCountsLooks = suite_for(CountsLooks)
TestKeepsLooks = suite_for(KeepsLooks)
TestTakesNothingBack = suite_for(TakesNothingBack)
TestGoesBelowZero = suite_for(GoesBelowZero)
TestTakesBackFromNothing = suite_for(TakesBackFromNothing)
TestLooksThenCounts = suite_for(LooksThenCounts)
TestDropsEvents = suite_for(DropsEvents)
TestRepeatsEvents = suite_for(RepeatsEvents)
TestDeafToOthers = suite_for(DeafToOthers)
TestNoHeartbeat = suite_for(NoHeartbeat)
TestBeginsInThePast = suite_for(BeginsInThePast)
TestOldestFirst = suite_for(OldestFirst)
TestOverlapsPages = suite_for(OverlapsPages)
TestShowsRevoked = suite_for(ShowsRevoked)
TestListsExpired = suite_for(ListsExpired)
TestFindsInnerWords = suite_for(FindsInnerWords)
TestSearchesRevoked = suite_for(SearchesRevoked)
TestSearchesByName = suite_for(SearchesByName)
TestSeenInCommits = suite_for(SeenInCommits)
TestSeenLast = suite_for(SeenLast)
TestSeenAsAChange = suite_for(SeenAsAChange)
TestPurgesAll = suite_for(PurgesAll)
TestForgetsToClose = suite_for(ForgetsToClose)
