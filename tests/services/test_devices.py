"""Devices after pairing: renamed, narrowed, revoked; by operators and by themselves."""

import asyncio
from pathlib import Path

import pytest

from pairlock import Pairlock, Permissions
from pairlock._core.operators import APP
from pairlock._core.records import Device, EventType
from pairlock.errors import InvalidPermissions, InvalidRequest, InvalidToken, NotFound
from pairlock.stores.contract import Add, Conflict
from pairlock.testing import FakeClock, a_device
from tests.services.parts import SENSORS, FailingStore, Make, kept_devices, kept_events, pair, permitted, reading

pytestmark = pytest.mark.anyio

ONE_SENSOR = Permissions(read=("/sensors/a",))


@pytest.fixture
async def device(pairlock: Pairlock) -> Device:
    return (await pair(pairlock)).device


async def test_a_renamed_device_keeps_its_token_and_permissions(pairlock: Pairlock, device: Device, path: Path) -> None:
    token, _ = pairlock.tokens.access(device)
    renamed = await pairlock.devices.rename(device.id, " Old\x00 phone ", by="operator:alice")
    assert (renamed.name, renamed.permissions, renamed.epoch) == ("Old phone", device.permissions, 0)
    assert await kept_devices(path) == [renamed]
    assert permitted(await pairlock.verify(token)) == (True, True)
    event = (await kept_events(path))[-1]
    assert (event.type, event.name, event.by, event.device_id) == (
        EventType.RENAMED,
        "Old phone",
        "operator:alice",
        device.id,
    )


@pytest.mark.parametrize("name", ["", "\u200b", "x" * 65])
async def test_a_name_that_is_none_is_refused(pairlock: Pairlock, device: Device, path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await pairlock.devices.rename(device.id, name)
    assert await kept_devices(path) == [device]


async def test_the_token_of_a_narrowed_device_counts_for_what_is_left_at_once(
    pairlock: Pairlock, device: Device, path: Path, clock: FakeClock
) -> None:
    token, _ = pairlock.tokens.access(device)
    grant = await pairlock.verify(token)
    assert permitted(grant) == (True, True)
    narrowed = await pairlock.devices.narrow(device.id, ONE_SENSOR)
    assert (narrowed.permissions, narrowed.epoch) == (ONE_SENSOR, 1)
    assert await kept_devices(path) == [narrowed]
    assert permitted(grant) == permitted(await pairlock.verify(token)) == (True, False)
    assert not grant.allows("read", "/sensors/b")
    event = (await kept_events(path))[-1]
    assert (event.type, event.permissions, event.epoch, event.by, event.method) == (
        EventType.NARROWED,
        ONE_SENSOR,
        1,
        APP.actor,
        "pin",
    )


async def test_a_device_cannot_be_given_more_than_it_has(pairlock: Pairlock, device: Device, path: Path) -> None:
    await pairlock.devices.narrow(device.id, ONE_SENSOR)
    for wider in (Permissions.parse(SENSORS), Permissions(read=("/sensors/b",)), Permissions(write=("/sensors/a",))):
        with pytest.raises(InvalidPermissions):
            await pairlock.devices.narrow(device.id, wider)
    (kept,) = await kept_devices(path)
    assert (kept.permissions, kept.epoch) == (ONE_SENSOR, 1)


async def test_a_device_is_renamed_and_narrowed_in_one_write(pairlock: Pairlock, device: Device, path: Path) -> None:
    changed = await pairlock.devices.change(device.id, name="Old phone", permissions=ONE_SENSOR, by="operator:alice")
    assert (changed.name, changed.permissions, changed.version) == ("Old phone", ONE_SENSOR, 2)
    assert await kept_devices(path) == [changed]
    assert [(event.type, event.name) for event in (await kept_events(path))[-2:]] == [
        (EventType.RENAMED, "Old phone"),
        (EventType.NARROWED, "Old phone"),
    ]


async def test_changing_nothing_writes_nothing(pairlock: Pairlock, device: Device, path: Path) -> None:
    before = await kept_events(path)
    assert await pairlock.devices.change(device.id, by="operator:alice") == device
    assert await kept_events(path) == before


async def test_changes_at_once_in_two_processes_are_all_kept(
    pairlock: Pairlock, other: Pairlock, device: Device, path: Path
) -> None:
    await other.start()
    await asyncio.gather(
        *(pairlock.devices.rename(device.id, f"Phone {turn}") for turn in range(10)),
        other.devices.narrow(device.id, ONE_SENSOR),
    )
    (kept,) = await kept_devices(path)
    assert kept.permissions == ONE_SENSOR
    assert kept.version == 12


async def test_a_revoked_device_is_refused_at_once_and_is_not_there_any_more(
    pairlock: Pairlock, device: Device, path: Path, clock: FakeClock
) -> None:
    token, _ = pairlock.tokens.access(device)
    grant = await pairlock.verify(token)
    revoked = await pairlock.devices.revoke(device.id, by="operator:alice")
    assert revoked.revoked_at == clock.now
    assert permitted(grant) == (False, False)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)
    assert await pairlock.devices.list() == []
    assert await reading(path, lambda store: store.find(Device, device.id)) == revoked
    for change in (
        pairlock.devices.find(device.id),
        pairlock.devices.rename(device.id, "x"),
        pairlock.devices.narrow(device.id, ONE_SENSOR),
        pairlock.devices.revoke(device.id),
    ):
        with pytest.raises(NotFound):
            await change
    event = (await kept_events(path))[-1]
    assert (event.type, event.by, event.device_id) == (EventType.REVOKED, "operator:alice", device.id)


async def test_a_revocation_by_two_processes_at_once_is_one(
    pairlock: Pairlock, other: Pairlock, device: Device, path: Path
) -> None:
    await other.start()
    told = await asyncio.gather(
        pairlock.devices.revoke(device.id), other.devices.revoke(device.id), return_exceptions=True
    )
    assert {type(each) for each in told} == {Device, NotFound}
    assert [event.type for event in await kept_events(path)].count(EventType.REVOKED) == 1


async def test_a_device_that_never_was_cannot_be_found_or_changed(pairlock: Pairlock) -> None:
    for change in (pairlock.devices.find("unknown"), pairlock.devices.revoke("unknown")):
        with pytest.raises(NotFound):
            await change


async def test_all_devices_are_revoked_however_many_there_are(make: Make) -> None:
    pairlock = make(store="memory://")
    await pairlock.start()
    await pairlock._runtime.commit(*(Add(a_device()) for _ in range(250)))
    assert await pairlock.devices.revoke_all(by="operator:alice") == 250
    assert await pairlock.devices.list() == []
    assert await pairlock.devices.revoke_all() == 0


async def test_of_two_who_revoke_all_at_once_each_device_is_counted_by_one(make: Make, path: Path) -> None:
    first, second = make(), make()
    await first.start()
    await first._runtime.commit(*(Add(a_device()) for _ in range(30)))
    counts = await asyncio.gather(first.devices.revoke_all(), second.devices.revoke_all())
    assert sum(counts) == 30
    assert await kept_devices(path) == []


async def test_devices_are_listed_newest_first_in_pages(make: Make) -> None:
    pairlock = make(store="memory://")
    await pairlock.start()
    devices = [a_device() for _ in range(5)]
    await pairlock._runtime.commit(*(Add(device) for device in devices))
    newest_first = devices[::-1]
    assert await pairlock.devices.list() == newest_first
    assert await pairlock.devices.list(limit=2) == newest_first[:2]
    assert await pairlock.devices.list(before=newest_first[1].id) == newest_first[2:]


async def test_a_token_says_how_long_it_counts(make: Make, clock: FakeClock) -> None:
    pairlock = make(token_life=600.7)
    token, life = pairlock.tokens.access((await pair(pairlock)).device)
    assert life == 600
    assert (await pairlock.verify(token)).expires_at == clock.now + 600


async def test_a_change_that_the_store_refuses_counts_nowhere(make: Make) -> None:
    store = FailingStore()
    pairlock = make(store=store)
    device = (await pair(pairlock)).device
    token, _ = pairlock.tokens.access(device)
    store.errors = {"commit": ConnectionError("the network is gone")}
    with pytest.raises(ConnectionError):
        await pairlock.devices.revoke(device.id)
    assert permitted(await pairlock.verify(token)) == (True, True)


async def test_all_devices_are_revoked_though_some_of_them_change_meanwhile(make: Make) -> None:
    first, second = make(), make()
    redeemed = [await pair(first) for _ in range(12)]
    refreshes = [second.tokens.refresh(each.refresh_token or "") for each in redeemed]
    count, *_ = await asyncio.gather(first.devices.revoke_all(), *refreshes, return_exceptions=True)
    assert count == 12
    assert await first.devices.list() == []
    assert len([event for event in await first.audit.list() if event.type is EventType.REVOKED]) == 12


async def test_devices_that_have_expired_are_not_revoked_with_all(pairlock: Pairlock, clock: FakeClock) -> None:
    await pair(pairlock)
    clock.advance(91 * 86400)
    kept = (await pair(pairlock)).device
    assert await pairlock.devices.revoke_all() == 1
    assert (await pairlock.audit.list())[0].device_id == kept.id


async def test_devices_are_searched_by_how_their_names_begin(pairlock: Pairlock) -> None:
    for name in ("Phone of Ada", "phone 2", "Tablet"):
        await pair(pairlock, name)
    assert [each.name for each in await pairlock.devices.search("PHONE")] == ["phone 2", "Phone of Ada"]
    assert [each.name for each in await pairlock.devices.search(" phone\u200b  of")] == ["Phone of Ada"]
    (first,) = await pairlock.devices.search("", limit=1)
    assert [each.name for each in await pairlock.devices.search("", after=first.name_key)] == ["Phone of Ada", "Tablet"]
    assert await pairlock.devices.search("x") == []


async def test_when_one_of_a_page_was_changed_the_page_is_revoked_one_by_one(make: Make) -> None:
    pairlock = make(store=(store := FailingStore()))
    devices = [(await pair(pairlock)).device for _ in range(3)]
    store.once = {"commit": [Conflict()]}
    assert await pairlock.devices.revoke_all() == 3
    assert await pairlock.devices.list() == []
    assert not await pairlock.devices._revoke_one(devices[0].id, "operator:alice")  # somebody else was faster
