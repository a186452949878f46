"""The store in memory keeps every promise."""

import asyncio
import itertools
from collections.abc import Callable

import pytest

from pairlock.stores import memory
from pairlock.stores.contract import Hits, Store
from pairlock.stores.memory import Counters, MemoryData, MemoryStore
from pairlock.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def new_store(self) -> Callable[[], Store]:
        data = MemoryData()
        return lambda: MemoryStore(data)


class TestCounters:
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def counters(self, monkeypatch: pytest.MonkeyPatch) -> Counters:
        """As many as there may be."""
        monkeypatch.setattr(memory, "MAX_COUNTERS", 3)
        counters = Counters()
        for key, window in (("day", 86400), ("minute", 60), ("hour", 3600)):
            counters.hit(key, window, 1000, 5)
        return counters

    def kept(self, counters: Counters) -> set[str]:
        kept = {key for shelf in counters._shelves for key in shelf}
        assert sorted(key for _, key in counters._ends) == sorted(kept)
        return kept

    def test_past_the_bound_the_one_that_ends_first_leaves(self, counters: Counters) -> None:
        counters.hit("second", 1, 1000, 1)
        assert self.kept(counters) == {"day", "hour", "second"}
        counters.hit("year", 1e7, 1000, 1)
        assert self.kept(counters) == {"day", "hour", "year"}

    def test_at_the_bound_those_there_are_count_on_and_begin_anew(self, counters: Counters) -> None:
        assert counters.hit("minute", 60, 1059, 1) == Hits(6, 1060)
        assert counters.hit("minute", 60, 1060, 1) == Hits(1, 1120)
        assert self.kept(counters) == {"day", "minute", "hour"}

    def test_at_the_bound_looking_and_taking_back_drop_nothing(self, counters: Counters) -> None:
        counters.hit("new", 60, 1000, 0)
        counters.hit("new", 60, 1000, -1)
        assert self.kept(counters) == {"day", "minute", "hour"}

    def test_a_count_that_began_anew_is_dropped_by_its_new_end(self, counters: Counters) -> None:
        counters.hit("minute", 60, 1060, 1)
        assert list(counters.purge(1119)) == [False]
        assert list(counters.purge(1119)) == []
        assert list(counters.purge(1120)) == [True]
        assert self.kept(counters) == {"day", "hour"}

    def test_a_clock_that_jumps_back_breaks_nothing(self, counters: Counters) -> None:
        counters.hit("minute", 60, 2000, 1)
        assert counters.hit("minute", 60, 900, 1) == Hits(2, 2060)
        counters.hit("before", 60, 900, 1)
        assert self.kept(counters) == {"day", "hour", "before"}
        assert list(counters.purge(960)) == [True]
        assert list(counters.purge(1e6)) == [True, True]

    @pytest.mark.parametrize("ended", [10, 1000])
    async def test_a_purge_of_many_lets_others_run(self, ended: int) -> None:
        await (store := MemoryStore(data := MemoryData())).open()
        for number in range(ended):
            await store.hit(f"start:{number}", 60, 1000)
        purge, lengths = asyncio.create_task(store.purge(2000)), [ended]
        while not purge.done():
            await asyncio.sleep(0)
            lengths.append(len(data.counters._ends))
        assert await purge == {"counters": ended}
        steps = [before - after for before, after in itertools.pairwise(lengths)]
        assert max(steps) <= memory.PURGED_AT_ONCE
