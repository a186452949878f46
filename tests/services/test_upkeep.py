"""What is done beside the calls: by one process a minute, in small steps; and who was seen, by each."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from pairlock import Pairlock, Permissions
from pairlock._core.records import Device
from pairlock.services import upkeep, verifier
from pairlock.stores.contract import Add
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.testing import FakeClock, a_device
from tests.services.parts import FailingStore, Make, away, kept_devices, pair, paired_token, until
from tests.services.steps import do_chores

pytestmark = pytest.mark.anyio

LONG_AGO = 1.0


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


class SlowStore(MemoryStore):
    """One that takes its time to note who was seen."""

    touching = False

    async def touch(self, seen: Mapping[str, float]) -> None:
        self.touching = True
        await asyncio.sleep(0.02)
        await super().touch(seen)


async def fill(store: FailingStore, count: int) -> None:
    await store.open()
    await store.commit(*(Add(a_device(purge_at=LONG_AGO)) for _ in range(count)))


async def started(pairlock: Pairlock) -> None:
    """Start it, and wait until it has looked after its first minute."""
    await pairlock.start()
    await do_chores(pairlock)


# The minute


async def test_each_minute_is_taken_by_one_process(make: Make, clock: FakeClock) -> None:
    data, done = MemoryData(), []
    processes = [make(store=MemoryStore(data)) for _ in range(4)]
    for number, process in enumerate(processes):

        async def chore(now: float, number: int = number) -> None:
            done.append(number)

        process._runtime.upkeep.each_minute(chore)
        await process.start()
    for minute in range(1, 4):
        await do_chores(*processes)
        assert len(done) == minute
        clock.advance(60)


async def test_a_purge_goes_in_steps_and_says_what_it_did(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pairlock")
    await fill(store, 2 * upkeep.PURGED_AT_ONCE + 7)
    await started(pairlock := make(store=store))
    assert store.calls["purge"] == 4
    assert [record.getMessage() for record in caplog.records if "purged" in record.getMessage()] == [
        "purged 1007 devices"
    ]
    assert await pairlock.devices.list() == []


async def test_a_purge_with_nothing_to_do_says_nothing(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pairlock")
    await started(make(store=store))
    assert "purged" not in caplog.text


async def test_a_purge_leaves_what_is_left_when_the_minute_is_over_to_the_next(
    make: Make, store: FailingStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PURGED_AT_ONCE", 1)
    monkeypatch.setattr(upkeep, "BREATHER", 0.05)
    await fill(store, 6)
    pairlock = make(store=store)
    await pairlock.start()
    await until(lambda: store.calls["purge"] == 2)
    clock.advance(60)
    await until(lambda: store.calls["hit"] == 2)  # the next minute is taken
    left = store.calls["purge"]
    assert left < 6
    await do_chores(pairlock)
    assert store.calls["purge"] == 8  # with the counter of the first minute, and the last one finds nothing


async def test_others_reach_the_store_while_much_is_purged(make: Make, tmp_path: Path) -> None:
    pairlock = make()
    await pairlock.start()
    store = await pairlock._runtime.ready()
    for _ in range(10):
        await store.commit(*(Add(a_device(purge_at=LONG_AGO)) for _ in range(500)))
    purge = asyncio.create_task(pairlock._runtime.upkeep._purge(until=1e12))
    longest, loop = 0.0, asyncio.get_running_loop()
    while not purge.done():
        begun = loop.time()
        await store.list_devices(limit=1)
        longest = max(longest, loop.time() - begun)
    assert longest < 0.5


async def test_upkeep_waits_while_the_store_is_away(make: Make, store: FailingStore, clock: FakeClock) -> None:
    store.errors = {"hit": away()}
    pairlock = make(store=store)
    await pairlock.start()
    await until(lambda: store.calls["hit"] == 2)
    store.errors = {}
    await do_chores(pairlock)
    assert store.calls["purge"] == 1


async def test_upkeep_that_fails_is_logged_and_goes_on(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.once = {"purge": [ValueError("a mistake")]}
    await started(make(store=store))
    assert "upkeep failed" in caplog.text
    assert "a mistake" in caplog.text


# Who was seen


async def seen_at(pairlock: Pairlock, device_id: str) -> float | None:
    return (await pairlock.devices.find(device_id)).seen_at


async def look_around(pairlock: Pairlock, clock: FakeClock) -> None:
    """Wait until it is written down who was seen."""
    clock.advance(upkeep.SEEN_EVERY)
    await until(lambda: pairlock._runtime.upkeep._noted_at == clock())


async def test_when_a_device_was_seen_is_written_down_a_little_later_for_all_processes(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock, path: Path
) -> None:
    device = (await pair(pairlock)).device
    await pairlock.verify(pairlock.tokens.access(device)[0])
    await look_around(pairlock, clock)
    seen = clock()
    assert await seen_at(other, device.id) == seen
    await look_around(pairlock, clock)
    assert [each.seen_at for each in await kept_devices(path)] == [seen]


async def test_many_requests_write_once(make: Make, store: FailingStore, clock: FakeClock) -> None:
    pairlock = make(store=store)
    token = await paired_token(pairlock)
    for _ in range(50):
        await pairlock.verify(token)
    before = store.calls["touch"]
    await look_around(pairlock, clock)
    assert store.calls["touch"] == before + 1


async def test_a_refresh_is_a_sign_of_life(pairlock: Pairlock, clock: FakeClock) -> None:
    redeemed = await pair(pairlock)
    await pairlock.tokens.refresh(redeemed.refresh_token or "")
    await look_around(pairlock, clock)
    assert await seen_at(pairlock, redeemed.device.id) is not None


async def test_who_was_seen_is_not_forgotten_when_its_token_makes_room(
    pairlock: Pairlock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "MAX_GRANTS", 1)
    devices = [(await pair(pairlock)).device for _ in range(4)]
    for device in devices:
        await pairlock.verify(pairlock.tokens.access(device)[0])
    await look_around(pairlock, clock)
    assert None not in [await seen_at(pairlock, device.id) for device in devices]


async def test_who_was_seen_is_written_down_once_the_store_is_back(
    make: Make, store: FailingStore, clock: FakeClock
) -> None:
    pairlock = make(store=store)
    device = (await pair(pairlock)).device
    await pairlock.verify(pairlock.tokens.access(device)[0])
    store.errors = {"touch": away()}
    clock.advance(upkeep.SEEN_EVERY)
    seen = clock()
    await until(lambda: store.calls["touch"] >= 1)
    store.errors = {}
    await until(lambda: pairlock._runtime.upkeep._noted_at == clock())
    assert await seen_at(pairlock, device.id) == seen


async def test_who_was_seen_is_written_down_at_the_end(pairlock: Pairlock, path: Path, clock: FakeClock) -> None:
    device = (await pair(pairlock)).device
    await pairlock.verify(pairlock.tokens.access(device)[0])
    await pairlock.aclose()
    assert [each.seen_at for each in await kept_devices(path)] == [clock()]


async def test_who_is_seen_while_it_is_written_down_is_written_down_next(make: Make, clock: FakeClock) -> None:
    pairlock = make(store=(store := SlowStore()))
    device = (await pair(pairlock)).device
    work = pairlock._runtime.upkeep
    work.note_seen(device.id)
    both = [asyncio.create_task(work.write_down_seen()) for _ in range(2)]
    await until(lambda: store.touching)
    clock.advance(5)
    work.note_seen(device.id)
    await asyncio.gather(*both)
    await work.write_down_seen()
    assert await seen_at(pairlock, device.id) == clock()


async def test_being_seen_hinders_no_change(pairlock: Pairlock, clock: FakeClock) -> None:
    device = (await pair(pairlock)).device
    await pairlock.verify(pairlock.tokens.access(device)[0])
    await look_around(pairlock, clock)
    seen = clock()
    narrowed = await pairlock.devices.narrow(device.id, Permissions(read=("/sensors/a",)))
    assert (narrowed.version, narrowed.seen_at) == (device.version + 1, seen)
    assert isinstance(narrowed, Device)


async def test_whoever_was_not_seen_since_leaves_no_trace(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "MAX_GRANTS", 1)
    pairlock = make()
    silent, other = await paired_token(pairlock), await paired_token(pairlock)
    grant = await pairlock.verify(silent)
    grant.standing.seen = False  # as after it was written down
    await pairlock.verify(other)
    assert grant.device_id not in pairlock._runtime.upkeep._seen
