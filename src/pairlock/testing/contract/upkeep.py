"""Counters, and what a purge drops."""

import pytest

from pairlock._core.records import Device, PairingRequest, Setting
from pairlock.stores.contract import Add, Hits, Log, Store, Swap
from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.contract.handles import Handles, NewStore, all_events

NOW = 1000.0


class Upkeep(Handles):
    async def test_hits_are_counted_through_every_handle(self, store: Store, other: Store) -> None:
        assert await store.hit("key", 60, NOW) == Hits(1, NOW + 60)
        assert await other.hit("key", 60, NOW + 10) == Hits(2, NOW + 60)
        assert await store.hit("key", 60, NOW + 59.999) == Hits(3, NOW + 60)

    async def test_a_count_starts_anew_once_its_window_has_passed(self, store: Store) -> None:
        await store.hit("key", 60, NOW)
        await store.hit("key", 60, NOW + 30)
        assert await store.hit("key", 60, NOW + 60) == Hits(1, NOW + 120)
        assert await store.hit("key", 60, NOW + 500) == Hits(1, NOW + 560)
        assert await store.hit("key", 60, NOW + 501) == Hits(2, NOW + 560)

    async def test_several_hits_are_counted_at_once(self, store: Store, other: Store) -> None:
        assert await store.hit("key", 60, NOW, 3) == Hits(3, NOW + 60)
        assert await other.hit("key", 60, NOW + 10, 2) == Hits(5, NOW + 60)
        assert await store.hit("key", 60, NOW + 60, 4) == Hits(4, NOW + 120)

    async def test_looking_counts_nothing(self, store: Store, other: Store) -> None:
        await store.hit("key", 60, NOW, 2)
        for handle in (store, other, store):
            assert await handle.hit("key", 5, NOW + 10, 0) == Hits(2, NOW + 60)
        assert await other.hit("key", 60, NOW + 10) == Hits(3, NOW + 60)

    async def test_looking_begins_no_window_and_keeps_nothing(self, store: Store) -> None:
        assert await store.hit("key", 60, NOW, 0) == Hits(0, NOW)
        assert await store.hit("key", 60, NOW + 10) == Hits(1, NOW + 70)
        assert await store.hit("key", 60, NOW + 70, 0) == Hits(0, NOW + 70)
        await store.hit("other key", 60, NOW, 0)
        assert await store.purge(1e12) == 1

    async def test_hits_are_taken_back(self, store: Store, other: Store) -> None:
        await store.hit("key", 60, NOW, 5)
        assert await other.hit("key", 5, NOW + 10, -1) == Hits(4, NOW + 60)
        assert await store.hit("key", 60, NOW + 10, -2) == Hits(2, NOW + 60)
        assert await store.hit("key", 60, NOW + 10) == Hits(3, NOW + 60)

    async def test_no_more_is_taken_back_than_was_counted(self, store: Store) -> None:
        await store.hit("key", 60, NOW, 2)
        assert await store.hit("key", 60, NOW + 10, -3) == Hits(0, NOW + 60)
        assert await store.hit("key", 60, NOW + 10, -1) == Hits(0, NOW + 60)
        assert await store.hit("key", 60, NOW + 10) == Hits(1, NOW + 60)

    async def test_taking_back_where_no_window_runs_does_nothing(self, store: Store) -> None:
        assert await store.hit("key", 60, NOW, -1) == Hits(0, NOW)
        assert await store.hit("key", 60, NOW + 10, 3) == Hits(3, NOW + 70)
        assert await store.hit("key", 60, NOW + 70, -1) == Hits(0, NOW + 70)
        assert await store.hit("key", 60, NOW + 80) == Hits(1, NOW + 140)
        await store.hit("other key", 60, NOW, -1)
        assert await store.purge(1e12) == 1

    async def test_each_key_has_a_count_of_its_own(self, store: Store) -> None:
        await store.hit("pin:192.0.2.1", 60, NOW)
        assert await store.hit("pin:192.0.2.2", 60, NOW) == Hits(1, NOW + 60)
        assert await store.hit("", 60, NOW) == Hits(1, NOW + 60)
        assert await store.hit("pin:192.0.2.1", 60, NOW) == Hits(2, NOW + 60)

    async def test_counts_survive_the_handle(self, store: Store, new_store: NewStore) -> None:
        await store.hit("key", 60, NOW)
        await store.aclose()
        again = new_store()
        await again.open()
        assert await again.hit("key", 60, NOW + 1) == Hits(2, NOW + 60)
        await again.aclose()

    async def test_a_purge_drops_exactly_what_is_due(self, store: Store, other: Store) -> None:
        kept, due = (None, NOW + 0.001, NOW + 1e6), (NOW - 1, NOW)
        for purge_at in (*kept, *due):
            name = str(purge_at)
            await store.commit(
                Add(a_request(id=name, purge_at=purge_at, code_digest=name.encode())),
                Add(a_device(id=name, purge_at=purge_at)),
                Add(a_setting(id=name, purge_at=purge_at)),
                Log(an_event(name=name, purge_at=purge_at)),
            )
            await store.hit(name, (purge_at or NOW + 1) - 500, 500)
        assert await other.purge(NOW) == 5 * len(due)
        for purge_at in (*kept, *due):
            for kind in (PairingRequest, Device, Setting):
                assert (await store.find(kind, str(purge_at)) is None) == (purge_at in due)
            assert (await store.find_code(str(purge_at).encode()) is None) == (purge_at in due)
            hits = await store.hit(str(purge_at), 1, 500)
            assert hits.count == (1 if purge_at in due else 2)
        assert [event.name for event in await all_events(store)] == [str(purge_at) for purge_at in kept]

    async def test_a_purge_with_nothing_due_drops_nothing(self, store: Store) -> None:
        device = a_device()
        await store.commit(Add(device), Log(an_event()))
        assert await store.purge(1e12) == 0
        assert await store.list_devices() == [device]

    async def test_a_purge_goes_by_the_newest_version(self, store: Store) -> None:
        kept_after_all, given_up = a_device(purge_at=NOW), a_device()
        await store.commit(Add(kept_after_all), Add(given_up))
        await store.commit(Swap(kept_after_all.evolve(purge_at=None)), Swap(given_up.evolve(purge_at=NOW)))
        assert await store.purge(NOW) == 1
        assert await store.list_devices() == [kept_after_all.evolve(purge_at=None)]

    @pytest.mark.parametrize("version", [1, 5])
    async def test_what_was_purged_can_be_added_again(self, store: Store, version: int) -> None:
        request = a_request(purge_at=NOW, code_digest=b"code")
        await store.commit(Add(request))
        await store.purge(NOW)
        again = a_request(id=request.id, code_digest=b"code", version=version)
        await store.commit(Add(again))
        assert await store.find_code(b"code") == again

    async def test_the_numbers_of_purged_events_are_not_given_again(self, store: Store) -> None:
        await store.commit(*(Log(an_event(purge_at=NOW)) for _ in range(3)))
        last = (await all_events(store))[-1].seq
        await store.purge(NOW)
        assert await all_events(store) == []
        await store.commit(Log(an_event()))
        (event,) = await all_events(store)
        assert event.seq > last
