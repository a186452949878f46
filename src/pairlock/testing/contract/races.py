"""Races through two handles, and callers that are cancelled."""

import asyncio
import itertools
import random
import time

from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.stores.contract import Add, Log, Store, Swap
from pairlock.testing.builders import a_device, a_request, an_event
from pairlock.testing.contract.handles import Handles, all_events, succeeds

ATTEMPTS = 50
CANCELLATIONS = 60


class Races(Handles):
    async def test_of_many_swaps_one_wins(self, store: Store, other: Store) -> None:
        request = a_request()
        await store.commit(Add(request))
        swaps = [request.evolve(name=str(number)) for number in range(ATTEMPTS)]
        won = await asyncio.gather(
            *(
                succeeds(handle, Swap(swap))
                for handle, swap in zip(itertools.cycle((store, other)), swaps, strict=False)
            )
        )
        assert won.count(True) == 1
        assert await store.find(PairingRequest, request.id) == swaps[won.index(True)]

    async def test_of_many_adds_one_wins(self, store: Store, other: Store) -> None:
        adds = [a_device(id="same", name=str(number)) for number in range(ATTEMPTS)]
        won = await asyncio.gather(
            *(succeeds(handle, Add(add)) for handle, add in zip(itertools.cycle((store, other)), adds, strict=False))
        )
        assert won.count(True) == 1
        assert await store.find(Device, "same") == adds[won.index(True)]

    async def test_of_many_adds_of_one_code_one_wins(self, store: Store, other: Store) -> None:
        adds = [a_request(code_digest=b"code") for _ in range(ATTEMPTS)]
        won = await asyncio.gather(
            *(succeeds(handle, Add(add)) for handle, add in zip(itertools.cycle((store, other)), adds, strict=False))
        )
        assert won.count(True) == 1
        assert await store.find_code(b"code") == adds[won.index(True)]

    async def test_a_request_is_redeemed_once_with_one_device(self, store: Store, other: Store) -> None:
        request = a_request(state=State.APPROVED)
        await store.commit(Add(request))
        redeemed = request.evolve(state=State.REDEEMED)
        won = await asyncio.gather(
            *(
                succeeds(handle, Add(a_device(request_id=request.id)), Log(an_event()), Swap(redeemed))
                for handle in (store, other) * (ATTEMPTS // 2)
            )
        )
        assert won.count(True) == len(await store.list_devices()) == len(await all_events(store)) == 1

    async def test_approving_and_denying_have_one_winner(self, store: Store, other: Store) -> None:
        for _ in range(ATTEMPTS):
            request = a_request()
            await store.commit(Add(request))
            approved, denied = request.evolve(state=State.APPROVED), request.evolve(state=State.DENIED)
            won = await asyncio.gather(succeeds(store, Swap(approved)), succeeds(other, Swap(denied)))
            assert won.count(True) == 1
            assert await store.find(PairingRequest, request.id) == (approved if won[0] else denied)

    async def test_parallel_hits_are_all_counted(self, store: Store, other: Store) -> None:
        hits = await asyncio.gather(*(handle.hit("key", 60, 1000) for handle in (store, other) * (ATTEMPTS // 2)))
        assert sorted(hit.count for hit in hits) == list(range(1, ATTEMPTS + 1))

    async def test_parallel_hits_and_those_taken_back_are_all_counted(self, store: Store, other: Store) -> None:
        await store.hit("key", 60, 1000, ATTEMPTS)
        await asyncio.gather(
            *(handle.hit("key", 60, 1000, amount) for handle in (store, other) for amount in (3, -1) * (ATTEMPTS // 4))
        )
        assert (await other.hit("key", 60, 1000, 0)).count == ATTEMPTS + (3 - 1) * 2 * (ATTEMPTS // 4)

    async def test_a_cancelled_commit_happened_whole_or_not_at_all(self, store: Store, other: Store) -> None:
        begun = time.perf_counter()
        await store.commit(Add(a_request()), Add(a_device()), Log(an_event()))
        usual = time.perf_counter() - begun
        requests = [a_request(name="cancelled") for _ in range(CANCELLATIONS)]
        for request in requests:
            writes = (Add(request), Add(a_device(id=request.id)), Log(an_event(request_id=request.id)))
            commit = asyncio.create_task(store.commit(*writes))
            await asyncio.sleep(random.random() * usual * 1.5)  # noqa: S311  # any moment of the commit
            commit.cancel()
            await asyncio.wait([commit])
        await store.commit(Add(a_device()))  # the handle still works
        logged = {event.request_id for event in await all_events(other)}
        for request in requests:
            happened = await other.find(PairingRequest, request.id) is not None
            assert (await other.find(Device, request.id) is not None) == happened
            assert (request.id in logged) == happened

    async def test_a_cancelled_read_leaves_the_handle_working(self, store: Store) -> None:
        device = a_device()
        await store.commit(Add(device))
        for turns in range(5):
            read = asyncio.create_task(store.list_devices())
            for _ in range(turns):
                await asyncio.sleep(0)
            read.cancel()
            await asyncio.wait([read])
        assert await store.list_devices() == [device]
