"""The pairing window: when requests are taken, in every process."""

import asyncio
from typing import Any

import pytest

from pairlock import Pairlock
from pairlock._core.records import EventType
from pairlock._core.windows import Window
from pairlock.errors import InvalidRequest, TemporarilyUnavailable, WindowClosed
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, FailingStore, Make, away, pair
from tests.services.steps import (
    TV,
    all_of,
    ask,
    ask_by_device_code,
    do_chores,
    happened,
    mistype,
    of_type,
    redeem,
    type_pin,
    types,
)

pytestmark = pytest.mark.anyio

ALICE = "operator:alice"


async def assert_closed(*pairlocks: Pairlock) -> None:
    for pairlock in pairlocks:
        assert not (await pairlock.window.status()).open
        with pytest.raises(WindowClosed):
            await ask(pairlock)
        with pytest.raises(WindowClosed):
            await ask_by_device_code(pairlock)
        with pytest.raises(WindowClosed):
            await pairlock.pairing.start("Asked for by the application itself")


async def assert_open(*pairlocks: Pairlock) -> None:
    for pairlock in pairlocks:
        assert (await pairlock.window.status()).open
        await ask(pairlock)
        await ask_by_device_code(pairlock)


async def test_the_window_is_open_unless_the_setting_says_otherwise(pairlock: Pairlock, make: Make) -> None:
    await assert_open(pairlock)
    await assert_closed(make(window_open=False))
    assert await pairlock.window.status() == Window(True)


async def test_the_window_opens_for_so_many_seconds(make: Make, clock: FakeClock) -> None:
    pairlock, other = make(window_open=False), make(window_open=False)
    opened = await pairlock.window.open(300, by=ALICE)
    assert opened == Window(True, clock.now + 300, clock.now, ALICE)
    assert await other.window.status() == opened
    clock.advance(299.9)
    await assert_open(pairlock, other)
    clock.advance(0.1)
    await assert_closed(pairlock, other)


async def test_the_window_opens_for_as_long_as_the_setting_says(make: Make, clock: FakeClock) -> None:
    assert (await make().window.open()).until == clock.now + 300
    assert (await make(window_timeout=60).window.open()).until == clock.now + 60


async def test_the_window_opens_until_it_is_closed(make: Make, clock: FakeClock) -> None:
    pairlock, other = make(window_open=False), make(window_open=False)
    assert (await pairlock.window.open(None, by=ALICE)).until is None
    clock.advance(30 * 86400)
    await assert_open(pairlock, other)
    closed = await other.window.close(by="operator:bob")
    assert closed == Window(False, None, clock.now, "operator:bob")
    assert await pairlock.window.status() == closed
    await assert_closed(pairlock, other)


async def test_what_operators_set_outlives_the_setting_and_a_restart(make: Make, clock: FakeClock) -> None:
    first = make(window_open=True)
    await first.window.close()
    await first.aclose()
    second = make(window_open=True)
    await assert_closed(second)
    await second.window.open(None)
    await second.aclose()
    await assert_open(make(window_open=False))


async def test_the_application_opens_and_closes_it_as_itself(pairlock: Pairlock) -> None:
    assert (await pairlock.window.close()).by == "app"
    assert (await pairlock.window.open(60)).by == "app"


async def test_opening_it_again_extends_it(pairlock: Pairlock, clock: FakeClock) -> None:
    await pairlock.window.open(300)
    clock.advance(200)
    await pairlock.window.open(300)
    clock.advance(299)
    await assert_open(pairlock)
    await pairlock.window.open(None)
    clock.advance(86400)
    await assert_open(pairlock)
    assert await of_type(pairlock, EventType.WINDOW_CLOSED) == []


@pytest.mark.parametrize("seconds", [0, 0.9, -1, 86400.1, float("inf"), float("nan"), True, "60"])
async def test_it_opens_for_a_second_to_a_day(pairlock: Pairlock, seconds: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await pairlock.window.open(seconds)
    assert refused.value.detail == "the window opens for 1 to 86400 seconds, or until it is closed"
    assert await pairlock.window.status() == Window(True)
    assert await types(pairlock) == []


@pytest.mark.parametrize("seconds", [1, 86400])
async def test_it_opens_for_the_least_and_the_most(pairlock: Pairlock, clock: FakeClock, seconds: float) -> None:
    await pairlock.window.open(seconds)
    clock.advance(seconds - 0.1)
    assert (await pairlock.window.status()).open
    clock.advance(0.1)
    assert not (await pairlock.window.status()).open


async def test_once_time_has_closed_it_one_process_writes_that_down(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    await pairlock.window.open(50, by=ALICE)
    ended_at = clock.now + 50
    clock.advance(60)
    assert not (await other.window.status()).open  # at once
    await do_chores(pairlock, other)
    opened, closed = await happened(pairlock)
    assert (opened.type, opened.by, opened.expires_at) == (EventType.WINDOW_OPENED, ALICE, ended_at)
    assert (closed.type, closed.by) == (EventType.WINDOW_CLOSED, "time")
    assert await pairlock.window.status() == await other.window.status() == Window(False, None, ended_at, "time")
    clock.advance(60)
    await do_chores(pairlock, other)
    assert len(await happened(pairlock)) == 2


async def test_that_time_has_closed_it_is_the_same_before_and_after_it_is_written_down(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    await pairlock.start()
    await pairlock.window.open(50, by=ALICE)
    clock.advance(60)
    before = await pairlock.window.status()
    await do_chores(pairlock)
    assert await pairlock.window.status() == before


async def test_a_window_that_is_open_or_was_closed_by_hand_is_not_closed_by_time(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    await pairlock.start()
    for change in (pairlock.window.open(None), pairlock.window.open(3600), pairlock.window.close()):
        await change
        clock.advance(60)
        await do_chores(pairlock)
    assert await types(pairlock) == ["window_opened", "window_opened", "window_closed"]
    assert (await happened(pairlock))[-1].by == "app"


async def test_a_clock_that_was_set_back_opens_no_window(pairlock: Pairlock, clock: FakeClock) -> None:
    await pairlock.window.open(60)
    clock.advance(-3600)
    await assert_closed(pairlock)


async def test_a_process_whose_clock_is_a_little_behind_neither_refuses_nor_closes(
    pairlock: Pairlock, make: Make, clock: FakeClock
) -> None:
    behind = make(clock=FakeClock(clock.now - 5), window_open=False)
    await pairlock.window.open(60)
    await assert_open(behind)  # and with its start it did what it does each minute
    assert await of_type(pairlock, EventType.WINDOW_CLOSED) == []


async def test_a_pin_that_is_typed_once_the_window_is_closed_is_refused_and_costs_nothing(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    await pairlock.window.open(60)
    started = await ask(pairlock)
    clock.advance(60)
    with pytest.raises(WindowClosed):
        await type_pin(pairlock, started)
    assert (await pairlock.pairing.find(started.request.id, started.secret)).guesses == 0
    await pairlock.window.open(60)
    await mistype(pairlock, started)
    assert (await type_pin(pairlock, started)).device.name == "Phone"


async def test_what_was_approved_by_hand_before_it_closed_is_redeemed_after(pairlock: Pairlock) -> None:
    by_redeeming, by_typing, by_device_code = (
        await ask(pairlock),
        await ask(pairlock),
        await ask_by_device_code(pairlock),
    )
    for asked in (by_redeeming, by_typing, by_device_code):
        await pairlock.deciding.approve(asked.request.id)
    await pairlock.window.close()
    assert (await redeem(pairlock, by_redeeming)).device.name == "Phone"
    assert (await type_pin(pairlock, by_typing)).device.name == "Phone"
    assert (await pairlock.device_codes.redeem(by_device_code.device_code, TV)).device.name == "Television"


async def test_what_waits_when_it_closes_can_still_be_approved_by_hand_or_withdrawn(pairlock: Pairlock) -> None:
    first, second = await ask(pairlock), await ask(pairlock)
    await pairlock.window.close()
    await pairlock.deciding.approve(first.request.id)
    assert (await redeem(pairlock, first)).device.name == "Phone"
    await pairlock.pairing.cancel(second.request.id, second.secret)


async def test_codes_qr_and_paired_devices_go_on_while_it_is_closed(pairlock: Pairlock) -> None:
    device = await pair(pairlock)
    await pairlock.window.close()
    assert (await pairlock.codes.redeem(await pairlock.code(SENSORS), "Laptop")).device.name == "Laptop"
    picture = await pairlock.qr(SENSORS, address="https://house.example/pair")
    assert (await pairlock.codes.redeem(picture.uri.partition("#")[2], "Tablet")).device.name == "Tablet"
    assert (await pairlock.verify(pairlock.tokens.access(device.device)[0])).device_name == "Phone"
    assert (await pairlock.tokens.refresh(device.refresh_token or "")).device.id == device.device.id


async def test_opening_and_closing_in_two_processes_at_once_leaves_the_last_event_s_state(
    pairlock: Pairlock, other: Pairlock
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    told = await all_of(20, lambda turn: pairlock.window.open(60) if turn % 2 else other.window.close())
    assert all(isinstance(each, Window) for each in told)
    events = await happened(pairlock)
    assert len(events) == 20
    assert (await pairlock.window.status()).open == (events[-1].type is EventType.WINDOW_OPENED)


async def test_a_window_that_cannot_be_read_lets_nobody_start(make: Make) -> None:
    store = FailingStore()
    pairlock = make(store=store)
    await pairlock.start()
    store.errors = {"find Setting": away()}
    with pytest.raises(TemporarilyUnavailable):
        await ask(pairlock)
