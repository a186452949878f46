"""How many PINs may be wrong: of one source, and in all; and what goes on while the PIN method is held."""

import asyncio

import pytest
from msgspec import convert, to_builtins
from msgspec.structs import replace

from pairlock import Limits, Operator, Pairlock, Permissions
from pairlock._core.guesses import DAY, Guesses
from pairlock._core.records import EventType, Origin, Setting
from pairlock._core.requests import count_guess
from pairlock._core.states import State
from pairlock.errors import InvalidPin, InvalidRequest, Locked, PinHeld, TooManyRequests
from pairlock.services.pairing import Started
from pairlock.services.pin_guesses import KEY
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Swap
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, UNLIMITED, Make, pair, the_pin, wrong
from tests.services.steps import (
    HERE,
    OFTEN,
    THERE,
    TV,
    all_of,
    ask,
    ask_by_device_code,
    do_chores,
    guess,
    happened,
    mistype,
    no_places,
    of_type,
    redeem,
    type_pin,
    types,
)

pytestmark = pytest.mark.anyio

ALICE = "operator:alice"
FROM_ONE_SOURCE = no_places(replace(OFTEN, wrong_pins_in_a_row=1000, wrong_pins_a_day=1000))
ROW_OF_4 = replace(UNLIMITED, wrong_pins_in_a_row=4)


async def guesses(pairlock: Pairlock) -> Guesses:
    """The guesses in all, as they are kept."""
    setting = await (await pairlock._runtime.ready()).find(Setting, KEY)
    return Guesses() if setting is None else convert(setting.value, Guesses)


async def pair_by_pin(pairlock: Pairlock) -> Redeemed:
    """A device that pairs by the right PIN at once."""
    return await type_pin(pairlock, await ask(pairlock))


async def use_up_a_day(pairlock: Pairlock) -> None:
    """As many wrong PINs as there may be in a day; never many in a row."""
    for _ in range(5):
        await guess(pairlock, 9)
        await pair_by_pin(pairlock)
    await guess(pairlock, 5)


async def assert_held(*pairlocks: Pairlock) -> None:
    for pairlock in pairlocks:
        assert await pairlock.pin_guesses.is_held()
        with pytest.raises(PinHeld) as refused:
            await ask(pairlock)
        assert refused.value.retry_after is None  # an operator has to do something, time alone does not


# Of one source


async def test_a_source_has_ten_wrong_pins_in_a_quarter_of_an_hour(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await other.start()
    first, second, third = [await ask(pairlock, HERE) for _ in range(3)]
    await mistype(pairlock, first, 5)
    await mistype(other, second, 5)  # counted in all processes together
    clock.advance(60)
    await pairlock.aclose()
    for process in (other, pairlock):
        with pytest.raises(TooManyRequests) as refused:
            await type_pin(process, third)  # the right one is refused too
        assert refused.value.retry_after == 840
    assert (await pairlock.pairing.find(third.request.id, third.secret)).guesses == 0


async def test_a_source_may_guess_again_after_a_quarter_of_an_hour(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=FROM_ONE_SOURCE)
    for _ in range(2):
        await mistype(pairlock, await ask(pairlock, HERE), 5)
    clock.advance(900)
    assert (await type_pin(pairlock, await ask(pairlock, HERE))).device.name == "Phone"


async def test_a_source_has_15_wrong_pins_a_day(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(FROM_ONE_SOURCE, wrong_pins=Limits().wrong_pins))
    for _ in range(3):
        await mistype(pairlock, await ask(pairlock, HERE), 5)
        clock.advance(900)
    with pytest.raises(TooManyRequests) as refused:
        await type_pin(pairlock, await ask(pairlock, HERE))
    assert refused.value.retry_after == DAY - 3 * 900
    clock.advance(DAY - 3 * 900)
    assert (await type_pin(pairlock, await ask(pairlock, HERE))).device.name == "Phone"


async def test_a_source_that_used_up_its_share_stops_no_other(pairlock: Pairlock) -> None:
    waiting, for_others = await ask(pairlock, HERE), await ask(pairlock, HERE)
    for _ in range(2):
        await mistype(pairlock, await ask(pairlock, THERE), 5)
    with pytest.raises(TooManyRequests):  # whoever has asked: it counts who types
        await type_pin(pairlock, for_others, origin=THERE)
    assert (await type_pin(pairlock, waiting)).device.name == "Phone"
    assert not await pairlock.pin_guesses.is_held()


async def test_addresses_of_one_subscriber_share_their_wrong_pins(make: Make) -> None:
    pairlock = make(limits=FROM_ONE_SOURCE)
    for last in range(10):
        await mistype(pairlock, await ask(pairlock, Origin(f"2001:db8::{last}")))
    with pytest.raises(TooManyRequests):
        await type_pin(pairlock, await ask(pairlock, Origin("2001:db8::ffff:1")))
    assert (await type_pin(pairlock, await ask(pairlock, Origin("2001:db8:0:1::1")))).device.name == "Phone"


async def test_right_pins_are_taken_back(make: Make) -> None:
    pairlock = make(limits=FROM_ONE_SOURCE)
    for _ in range(12):
        await type_pin(pairlock, await ask(pairlock, HERE))
    await mistype(pairlock, await ask(pairlock, HERE), 5)
    await mistype(pairlock, await ask(pairlock, HERE), 4)
    for _ in range(3):
        await type_pin(pairlock, await ask(pairlock, HERE))
    await mistype(pairlock, await ask(pairlock, HERE))
    with pytest.raises(TooManyRequests):
        await type_pin(pairlock, await ask(pairlock, HERE))


async def test_of_50_guesses_at_once_of_a_source_ten_are_looked_at(make: Make) -> None:
    processes = make(limits=FROM_ONE_SOURCE), make(limits=FROM_ONE_SOURCE)
    await asyncio.gather(*(process.start() for process in processes))
    started = [await ask(processes[0], HERE) for _ in range(50)]

    async def try_one(turn: int) -> Redeemed:
        process = processes[turn % 2]
        return await type_pin(process, started[turn], wrong(the_pin(process, started[turn])))

    told = await all_of(50, try_one)
    assert sum(isinstance(each, InvalidPin) for each in told) == 10
    assert sum(isinstance(each, TooManyRequests) for each in told) == 40


async def test_pins_that_the_application_itself_types_are_no_source_s(make: Make) -> None:
    pairlock = make(limits=FROM_ONE_SOURCE)
    for _ in range(3):
        started = await pairlock.pairing.start("Phone")
        for _ in range(5):
            with pytest.raises(InvalidPin):
                await pairlock.pairing.submit_pin(started.request.id, started.secret, wrong(the_pin(pairlock, started)))
    assert len((await guesses(pairlock)).wrong) == 15  # in all they count


# In all


async def test_20_wrong_pins_in_a_row_hold_the_method(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = await ask(pairlock)
    await guess(pairlock, 19)
    await ask(pairlock)
    assert not await other.pin_guesses.is_held()
    await guess(other, 1)
    await assert_held(pairlock, other)
    for process in (pairlock, other):
        with pytest.raises(PinHeld):
            await type_pin(process, waiting)  # the right one is refused too
    assert caplog.text.count("pairing by PIN is held after too many wrong PINs") == 1
    (event,) = await of_type(pairlock, EventType.HELD)
    assert (event.method, event.at, event.request_id) == ("pin", clock.now, None)
    request = await pairlock.pairing.find(waiting.request.id, waiting.secret)
    assert (request.state, request.guesses) == (State.PENDING, 0)


async def test_a_right_pin_ends_the_row(pairlock: Pairlock) -> None:
    await guess(pairlock, 19)
    await pair_by_pin(pairlock)
    assert await guesses(pairlock) == Guesses(0, (await guesses(pairlock)).wrong)
    await guess(pairlock, 19)
    assert not await pairlock.pin_guesses.is_held()
    await guess(pairlock, 1)
    await assert_held(pairlock)


async def test_what_operators_let_in_by_hand_does_not_end_the_row(pairlock: Pairlock) -> None:
    await guess(pairlock, 19)
    started = await ask(pairlock)
    await pairlock.deciding.approve(started.request.id)
    await type_pin(pairlock, started, "000000")
    await guess(pairlock, 1)
    await assert_held(pairlock)


async def test_50_wrong_pins_in_a_day_hold_the_method_though_they_are_no_row(pairlock: Pairlock) -> None:
    await use_up_a_day(pairlock)
    known = await guesses(pairlock)
    assert (known.row, len(known.wrong)) == (5, 50)
    await assert_held(pairlock)
    assert (await types(pairlock)).count("held") == 1


async def test_wrong_pins_are_forgotten_after_a_day(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_a_day=10))
    for _ in range(3):
        await guess(pairlock, 9)
        assert not await pairlock.pin_guesses.is_held()
        clock.advance(DAY)
    assert len((await guesses(pairlock)).wrong) == 9


async def test_the_day_of_a_guess_is_its_own(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_a_day=10))
    for _ in range(3):
        await guess(pairlock, 3)
        clock.advance(3600)
    clock.advance(DAY - 3 * 3600)
    for _ in range(3):  # with each the oldest are a day old
        await guess(pairlock, 3)
        clock.advance(3600)
        assert not await pairlock.pin_guesses.is_held()
    await guess(pairlock, 1)
    await assert_held(pairlock)


async def test_of_60_guesses_at_once_through_two_processes_20_are_looked_at_and_one_hold_is_told(make: Make) -> None:
    limits = no_places(Limits())
    processes = make(limits=limits), make(limits=limits)
    await asyncio.gather(*(process.start() for process in processes))
    started = [await ask(processes[0]) for _ in range(60)]

    async def try_one(turn: int) -> Redeemed:
        process = processes[turn % 2]
        return await type_pin(process, started[turn], wrong(the_pin(process, started[turn])))

    told = await all_of(60, try_one)
    assert sum(isinstance(each, InvalidPin) for each in told) == 20
    assert sum(isinstance(each, PinHeld) for each in told) == 40
    assert len(await of_type(processes[0], EventType.HELD)) == 1
    await assert_held(*processes)


async def test_guesses_that_are_not_looked_at_are_not_counted(pairlock: Pairlock, clock: FakeClock) -> None:
    locked, cancelled, expired = await ask(pairlock), await ask(pairlock), await ask(pairlock)
    await mistype(pairlock, locked, 5)
    await pairlock.pairing.cancel(cancelled.request.id, cancelled.secret)
    with pytest.raises(InvalidRequest):
        await type_pin(pairlock, expired, "12345")
    clock.advance(300)
    for started in (locked, cancelled, expired):
        for _ in range(3):
            told = await all_of(1, lambda _, started=started: type_pin(pairlock, started))  # type: ignore[misc]
            assert isinstance(told[0], Exception)
    assert (await guesses(pairlock)).row == 5


async def test_the_limits_in_all_may_be_others(make: Make) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_in_a_row=2))
    await guess(pairlock, 2)
    await assert_held(pairlock)
    await pairlock.pin_guesses.reopen()
    await make(limits=replace(UNLIMITED, wrong_pins_a_day=3)).pin_guesses.check()
    await guess(make(limits=replace(UNLIMITED, wrong_pins_a_day=3)), 1)
    await assert_held(pairlock)


# While it is held


async def test_while_pins_are_held_everything_else_goes_on(pairlock: Pairlock) -> None:
    device = await pair(pairlock)
    code, picture = await pairlock.code(SENSORS), await pairlock.qr(SENSORS, address="https://house.example/pair")
    await guess(pairlock, 20)
    await assert_held(pairlock)
    asked = await ask_by_device_code(pairlock)
    await pairlock.deciding.approve((await pairlock.deciding.look_up(asked.user_code)).id)
    assert (await pairlock.device_codes.redeem(asked.device_code, TV)).device.name == "Television"
    assert (await pairlock.codes.redeem(code, "Laptop")).device.name == "Laptop"
    assert (await pairlock.codes.redeem(picture.uri.partition("#")[2], "Tablet")).device.name == "Tablet"
    assert (await pairlock.codes.redeem(await pairlock.code(SENSORS), "Second laptop")).device.name == "Second laptop"
    assert (await pairlock.verify(pairlock.tokens.access(device.device)[0])).device_name == "Phone"
    assert (await pairlock.tokens.refresh(device.refresh_token or "")).device.id == device.device.id


async def test_a_device_that_waits_while_pins_are_held_can_be_let_in_by_hand(pairlock: Pairlock) -> None:
    by_redeeming, by_typing = await ask(pairlock), await ask(pairlock)
    await guess(pairlock, 20)
    for started in (by_redeeming, by_typing):
        with pytest.raises(PinHeld):
            await type_pin(pairlock, started)
        await pairlock.deciding.approve(started.request.id)
    assert (await redeem(pairlock, by_redeeming)).device.name == "Phone"
    assert (await type_pin(pairlock, by_typing)).device.name == "Phone"
    assert await pairlock.pin_guesses.is_held()


async def test_a_hold_survives_a_restart_and_any_time(pairlock: Pairlock, make: Make, clock: FakeClock) -> None:
    await guess(pairlock, 20)
    await pairlock.aclose()
    clock.advance(30 * DAY)
    later = make()
    await assert_held(later)
    await do_chores(later)
    await assert_held(later)
    assert len(await of_type(later, EventType.HELD)) == 1


async def test_a_right_pin_that_was_being_looked_at_does_not_lift_a_hold(make: Make) -> None:
    pairlock = make()
    await guess(pairlock, 19)
    started = await ask(pairlock)
    await pairlock._runtime.commit(await pairlock.pin_guesses.counted(counted_at := pairlock._runtime.clock()))
    await pairlock.pin_guesses.hold_if_used_up(counted_at)  # as by a wrong one that was looked at meanwhile
    await pairlock._runtime.commit(await pairlock.pin_guesses.acquitted(counted_at))
    await assert_held(pairlock)
    with pytest.raises(PinHeld):
        await type_pin(pairlock, started)


# Killed between counting and looking


async def count_without_looking(pairlock: Pairlock, started: Started) -> None:
    """A guess by a process that ends once it has counted."""
    runtime = pairlock._runtime
    request = await pairlock.pairing.find(started.request.id, started.secret)
    counted = count_guess(request)
    assert counted is not None
    await runtime.commit(Swap(counted), await pairlock.pin_guesses.counted(runtime.clock()))


async def test_guesses_that_were_counted_but_never_looked_at_hold_the_method_too(
    pairlock: Pairlock, other: Pairlock
) -> None:
    await guess(pairlock, 17)
    started, waiting = await ask(pairlock), await ask(pairlock)
    for _ in range(3):
        await count_without_looking(pairlock, started)
    await pairlock.aclose()
    await assert_held(pairlock, other)
    with pytest.raises(PinHeld):
        await type_pin(other, waiting)


async def test_a_hold_that_nobody_wrote_down_is_told_once_within_a_minute(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    await guess(pairlock, 17)
    started = await ask(pairlock)
    for _ in range(3):
        await count_without_looking(pairlock, started)
    clock.advance(60)
    await do_chores(pairlock, other)
    assert len(await of_type(pairlock, EventType.HELD)) == 1


async def test_a_day_that_was_used_up_by_guesses_never_looked_at_needs_an_operator_too(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    await pairlock.start()
    for _ in range(5):
        await guess(pairlock, 9)
        await pair_by_pin(pairlock)
    started = await ask(pairlock)
    for _ in range(5):
        await count_without_looking(pairlock, started)
    await assert_held(pairlock)
    clock.advance(60)
    await do_chores(pairlock)
    clock.advance(DAY)
    await assert_held(pairlock)


# Reopening


async def test_an_operator_reopens_the_method(pairlock: Pairlock, other: Pairlock, clock: FakeClock) -> None:
    waiting = await ask(pairlock)
    await guess(pairlock, 20)
    clock.advance(10)
    await other.pin_guesses.reopen(by=ALICE)
    assert not await pairlock.pin_guesses.is_held()
    (event,) = await of_type(pairlock, EventType.REOPENED)
    assert (event.by, event.method, event.at) == (ALICE, "pin", clock.now)
    assert (await type_pin(pairlock, waiting)).device.name == "Phone"


async def test_once_reopened_another_20_in_a_row_hold_it_again(pairlock: Pairlock) -> None:
    await guess(pairlock, 20)
    await pairlock.pin_guesses.reopen()
    await guess(pairlock, 19)
    assert not await pairlock.pin_guesses.is_held()
    await guess(pairlock, 1)
    await assert_held(pairlock)
    held_and_reopened = [each for each in await types(pairlock) if each in ("held", "reopened")]
    assert held_and_reopened == ["held", "reopened", "held"]
    assert (await of_type(pairlock, EventType.REOPENED))[0].by == "app"


async def test_it_cannot_be_reopened_while_the_guesses_of_a_day_are_used_up(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    await guess(pairlock, 10)
    clock.advance(3600)
    await pair_by_pin(pairlock)
    await guess(pairlock, 20)
    await pairlock.pin_guesses.reopen()
    await guess(pairlock, 20)
    with pytest.raises(PinHeld) as refused:
        await pairlock.pin_guesses.reopen()
    retry_after = refused.value.retry_after
    assert retry_after == DAY - 3600 + 1
    assert len(await of_type(pairlock, EventType.REOPENED)) == 1
    clock.advance(retry_after - 1.5)
    with pytest.raises(PinHeld):
        await pairlock.pin_guesses.reopen()
    clock.advance(1.5)
    await assert_held(pairlock)  # time alone does not reopen it
    await pairlock.pin_guesses.reopen()
    await guess(pairlock, 10)
    await assert_held(pairlock)


async def test_reopening_what_is_not_held_does_nothing(pairlock: Pairlock) -> None:
    await pairlock.pin_guesses.reopen()
    await guess(pairlock, 19)
    before = await happened(pairlock)
    await pairlock.pin_guesses.reopen()
    assert await happened(pairlock) == before
    await guess(pairlock, 1)
    await assert_held(pairlock)  # the row goes on


async def test_of_two_operators_who_reopen_at_once_one_is_written_down(pairlock: Pairlock, other: Pairlock) -> None:
    await other.start()
    await guess(pairlock, 20)
    told = await all_of(20, lambda turn: (pairlock, other)[turn % 2].pin_guesses.reopen(by=ALICE))
    assert told == [None] * 20
    assert len(await of_type(pairlock, EventType.REOPENED)) == 1


async def test_a_clock_that_was_wrong_for_a_while_frees_no_guess(pairlock: Pairlock, clock: FakeClock) -> None:
    await use_up_a_day(pairlock)
    clock.advance(-30 * DAY)
    with pytest.raises(PinHeld) as refused:
        await pairlock.pin_guesses.reopen()
    assert refused.value.retry_after == 31 * DAY + 1
    await assert_held(pairlock)


# The row across methods and devices


async def test_confirming_pins_of_device_codes_neither_count_nor_hold(make: Make) -> None:
    pairlock = make(confirmation_pin=True, limits=ROW_OF_4)
    asked = await ask_by_device_code(pairlock)
    approved = await pairlock.deciding.approve(asked.request.id, by=Operator("alice"))
    right = pairlock.deciding.confirmation_pin(approved)
    for _ in range(4):
        with pytest.raises(InvalidPin):
            await pairlock.device_codes.redeem(asked.device_code, TV, confirmation_pin=wrong(right))
    assert not await pairlock.pin_guesses.is_held()
    redeemed = await pairlock.device_codes.redeem(asked.device_code, TV, confirmation_pin=right)
    assert redeemed.device.permissions == Permissions.parse(SENSORS)


async def test_the_fifth_wrong_pin_locks_though_it_holds_too(make: Make) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_in_a_row=5))
    started = await ask(pairlock)
    await mistype(pairlock, started, 5)
    assert (await pairlock.pairing.find(started.request.id, started.secret)).state is State.LOCKED
    assert await types(pairlock) == ["requested", "held", "locked"]
    with pytest.raises(Locked):
        await type_pin(pairlock, started)


async def test_what_is_kept_of_the_guesses_stays_small(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_a_day=5))
    for _ in range(5):
        await guess(pairlock, 5)
        clock.advance(DAY + 1)
        await pairlock.pin_guesses.reopen()
        assert len(to_builtins((await guesses(pairlock)).wrong)) <= 5
