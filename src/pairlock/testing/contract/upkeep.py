"""Counters, and what a purge drops."""

import asyncio
from collections import Counter

import pytest
from msgspec.structs import replace

from pairlock._core.records import Device, PairingRequest, Setting
from pairlock.stores.contract import Add, Hits, Log, Store, Swap
from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.contract.handles import Handles, NewStore, all_events

NOW = 1000.0
KINDS = ("requests", "devices", "settings", "events", "counters")


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
        assert await store.purge(1e12) == {"counters": 1}

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
        assert await store.purge(1e12) == {"counters": 1}

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
        assert await other.purge(NOW) == dict.fromkeys(KINDS, len(due))
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
        assert await store.purge(1e12) == {}
        assert await store.list_devices() == [device]

    async def test_a_purge_drops_no_more_at_once_than_it_is_told(self, store: Store) -> None:
        for number in range(7):
            name = str(number)
            await store.commit(
                Add(a_request(id=name, purge_at=NOW)),
                Add(a_device(id=name, purge_at=NOW)),
                Add(a_setting(id=name, purge_at=NOW)),
                Log(an_event(name=name, purge_at=NOW)),
            )
            await store.hit(name, 1, NOW - 1)
        steps = []
        while dropped := await store.purge(NOW, 4):
            steps.append(dropped)
        assert [step.total() for step in steps] == [4] * 8 + [3]
        assert sum(steps, Counter[str]()) == dict.fromkeys(KINDS, 7)
        assert (await store.list_devices(), await all_events(store)) == ([], [])

    async def test_a_purge_goes_by_the_newest_version(self, store: Store) -> None:
        kept_after_all, given_up = a_device(purge_at=NOW), a_device()
        await store.commit(Add(kept_after_all), Add(given_up))
        await store.commit(Swap(kept_after_all.evolve(purge_at=None)), Swap(given_up.evolve(purge_at=NOW)))
        assert await store.purge(NOW) == {"devices": 1}
        assert await store.list_devices() == [kept_after_all.evolve(purge_at=None)]

    @pytest.mark.parametrize("version", [1, 5])
    async def test_what_was_purged_can_be_added_again(self, store: Store, version: int) -> None:
        request = a_request(purge_at=NOW, code_digest=b"code")
        await store.commit(Add(request))
        await store.purge(NOW)
        again = a_request(id=request.id, code_digest=b"code", version=version)
        await store.commit(Add(again))
        assert await store.find_code(b"code") == again

    async def test_what_was_seen_shows_in_every_handle_and_list(self, store: Store, other: Store) -> None:
        seen, unseen = a_device(name="a"), a_device(name="b")
        await store.commit(Add(seen), Add(unseen))
        await store.touch({seen.id: NOW})
        shown = replace(seen, seen_at=NOW)
        assert await other.find(Device, seen.id) == shown
        assert await other.list_devices() == [unseen, shown]
        assert await other.search_devices("") == [shown, unseen]

    async def test_the_latest_time_of_being_seen_counts(self, store: Store, other: Store) -> None:
        await store.commit(Add(device := a_device()))
        for handle, at, shown in ((store, NOW, NOW), (other, NOW - 1, NOW), (other, NOW + 1, NOW + 1)):
            await handle.touch({device.id: at})
            assert await store.find(Device, device.id) == replace(device, seen_at=shown)

    async def test_being_seen_makes_no_new_version_and_no_event(self, store: Store, other: Store) -> None:
        await store.commit(Add(device := a_device()))
        await other.touch({device.id: NOW})
        await store.commit(Swap(replace(device.evolve(), seen_at=NOW - 9)))
        assert await store.find(Device, device.id) == replace(device.evolve(), seen_at=NOW)
        assert await all_events(store) == []

    async def test_a_commit_says_nothing_of_being_seen(self, store: Store) -> None:
        await store.commit(Add(device := a_device(seen_at=NOW)))
        assert await store.find(Device, device.id) == replace(device, seen_at=None)

    async def test_ids_of_no_device_are_passed_over(self, store: Store) -> None:
        request, device = a_request(), a_device()
        await store.commit(Add(request), Add(device))
        await store.touch({"nothing": NOW, request.id: NOW, device.id: NOW})
        await store.touch({})
        assert await store.find(Device, "nothing") is None
        assert await store.find(Device, device.id) == replace(device, seen_at=NOW)
        assert await store.purge(1e12) == {}

    async def test_what_was_seen_is_purged_with_its_device(self, store: Store) -> None:
        device = a_device(purge_at=NOW)
        await store.commit(Add(device))
        await store.touch({device.id: NOW})
        await store.purge(NOW)
        await store.commit(Add(device))
        assert await store.find(Device, device.id) == device

    async def test_many_are_seen_at_once_through_both_handles(self, store: Store, other: Store) -> None:
        devices = [a_device() for _ in range(60)]
        await store.commit(*map(Add, devices))
        rounds = [{device.id: NOW + turn for device in devices[:: (-1) ** turn]} for turn in range(8)]
        await asyncio.gather(*((store, other)[turn % 2].touch(seen) for turn, seen in enumerate(rounds)))
        assert {device.seen_at for device in await store.list_devices()} == {NOW + 7}

    async def test_the_numbers_of_purged_events_are_not_given_again(self, store: Store) -> None:
        await store.commit(*(Log(an_event(purge_at=NOW)) for _ in range(3)))
        last = (await all_events(store))[-1].seq
        await store.purge(NOW)
        assert await all_events(store) == []
        await store.commit(Log(an_event()))
        (event,) = await all_events(store)
        assert event.seq > last
