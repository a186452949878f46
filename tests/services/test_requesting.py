"""How requests begin, how many may, and how time ends them."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from pairlock import Asked, Limits, Pairlock
from pairlock._core.records import EventType, Origin, PairingRequest
from pairlock._core.states import State
from pairlock.errors import (
    AlreadyDecided,
    AuthorizationPending,
    Busy,
    Cancelled,
    ExpiredToken,
    InvalidCode,
    PairingDisabled,
    TemporarilyUnavailable,
    TooManyRequests,
)
from pairlock.services.device_codes import DeviceCode
from pairlock.services.pairing import Started
from pairlock.services.requesting import lock
from pairlock.testing import FakeClock
from tests.services.parts import UNLIMITED, Make, the_pin
from tests.services.steps import (
    HERE,
    OFTEN,
    THERE,
    TV,
    MeetingStore,
    all_of,
    anywhere,
    ask,
    ask_and_go,
    ask_by_device_code,
    do_chores,
    happened,
    no_places,
    of_type,
    poll,
    redeem,
    type_pin,
    types,
    until_so,
    wait_for_answer,
)

pytestmark = pytest.mark.anyio

ManyWays = Callable[[Pairlock, Started, FakeClock], Awaitable[object]]


async def ask_and_go_often(pairlock: Pairlock, origin: Origin, times: int) -> None:
    for _ in range(times):
        await ask_and_go(pairlock, origin)


async def assert_too_many(pairlock: Pairlock, origin: Origin, retry_after: int) -> None:
    with pytest.raises(TooManyRequests) as refused:
        await ask(pairlock, origin)
    assert refused.value.retry_after == retry_after


# How often a source may ask


async def test_a_source_starts_three_requests_a_minute(pairlock: Pairlock, clock: FakeClock) -> None:
    await ask_and_go_often(pairlock, HERE, 3)
    clock.advance(20)
    await assert_too_many(pairlock, HERE, retry_after=40)
    await ask_and_go(pairlock, THERE)  # another source is not stopped
    clock.advance(40)
    await ask_and_go(pairlock, HERE)


async def test_a_source_starts_five_requests_in_ten_minutes(pairlock: Pairlock, clock: FakeClock) -> None:
    await ask_and_go_often(pairlock, HERE, 3)
    clock.advance(60)
    await ask_and_go_often(pairlock, HERE, 2)
    clock.advance(60)
    await assert_too_many(pairlock, HERE, retry_after=480)
    clock.advance(480)
    await ask_and_go_often(pairlock, HERE, 3)


async def test_a_source_starts_ten_requests_an_hour(pairlock: Pairlock, clock: FakeClock) -> None:
    for pause, times in ((0, 3), (60, 2), (540, 3), (60, 2)):
        clock.advance(pause)
        await ask_and_go_often(pairlock, HERE, times)
    clock.advance(540)
    await assert_too_many(pairlock, HERE, retry_after=2400)
    clock.advance(2400)
    await ask_and_go_often(pairlock, HERE, 3)


async def test_no_more_than_the_limit_come_through_however_a_source_asks(pairlock: Pairlock, clock: FakeClock) -> None:
    came = 0
    for _ in range(3600 // 50):
        told = await all_of(1, lambda _: ask_and_go(pairlock, HERE))
        came += told == [None]
        clock.advance(50)
    assert 3 <= came <= 10


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:0:7::1", "2001:db8:0:7:ffff:ffff:ffff:ffff"),
        ("2001:db8:0:7::1", "2001:DB8:0:7:0:0:0:2"),
    ],
)
async def test_addresses_of_one_subscriber_are_one_source(pairlock: Pairlock, one: str, other: str) -> None:
    await ask_and_go_often(pairlock, Origin(one), 3)
    await assert_too_many(pairlock, Origin(other), retry_after=60)


@pytest.mark.parametrize(
    ("one", "other"), [("192.0.2.7", "192.0.2.8"), ("2001:db8:0:7::1", "2001:db8:0:8::1"), ("192.0.2.7", "")]
)
async def test_addresses_of_different_subscribers_are_different_sources(
    pairlock: Pairlock, one: str, other: str
) -> None:
    await ask_and_go_often(pairlock, Origin(one), 3)
    await ask_and_go_often(pairlock, Origin(other), 3)
    await assert_too_many(pairlock, Origin(other), retry_after=60)


async def test_requests_by_pin_and_by_device_code_are_counted_together(pairlock: Pairlock) -> None:
    await ask(pairlock, HERE)
    await ask_by_device_code(pairlock, HERE)
    await ask(pairlock, HERE)
    with pytest.raises(TooManyRequests):
        await ask_by_device_code(pairlock, HERE)


async def test_what_the_application_itself_asks_is_not_limited(pairlock: Pairlock) -> None:
    for _ in range(25):
        await pairlock.pairing.start("Phone")
        await pairlock.device_codes.start(TV)
    assert len(await pairlock.deciding.pending()) == 25


async def test_starts_are_counted_across_processes_and_restarts(
    pairlock: Pairlock, other: Pairlock, make: Make
) -> None:
    await ask_and_go_often(pairlock, HERE, 2)
    await ask_and_go(other, HERE)
    await pairlock.aclose()
    for process in (other, pairlock, make()):
        with pytest.raises(TooManyRequests):
            await ask(process, HERE)


async def test_of_50_starts_at_once_through_two_processes_a_source_gets_no_more_than_three(
    pairlock: Pairlock, other: Pairlock
) -> None:
    await other.start()
    told = await all_of(50, lambda turn: ask((pairlock, other)[turn % 2], HERE))
    came = sum(isinstance(each, Started) for each in told)
    assert came <= 3
    assert {type(each) for each in told} <= {Started, TooManyRequests, Busy}
    assert len(await pairlock.deciding.pending()) == came
    assert await types(pairlock) == ["requested"] * came


# How many may wait


async def test_three_requests_of_a_source_may_wait(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=OFTEN)
    for _ in range(3):
        await ask(pairlock, HERE)
        clock.advance(30)
    with pytest.raises(Busy) as refused:
        await ask(pairlock, HERE)
    assert refused.value.retry_after == 210  # when the oldest ends by itself, at the latest
    await ask(pairlock, THERE)
    await ask_by_device_code(pairlock, HERE)  # by another method
    assert (await types(pairlock)).count("requested") == 5  # what was refused leaves nothing


async def cancelled(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await pairlock.pairing.cancel(started.request.id, started.secret)


async def approved(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await pairlock.deciding.approve(started.request.id)


async def denied(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await pairlock.deciding.deny(started.request.id)


async def paired(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await type_pin(pairlock, started)


async def expired(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    clock.advance(300)


async def abandoned(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await poll(pairlock, started)
    clock.advance(31)


@pytest.mark.parametrize("end", [cancelled, approved, denied, paired, expired, abandoned])
async def test_a_place_is_free_once_a_request_no_longer_waits(make: Make, clock: FakeClock, end: ManyWays) -> None:
    pairlock = make(limits=replace(OFTEN, pending_per_source=1))
    started = await ask(pairlock, HERE)
    with pytest.raises(Busy):
        await ask(pairlock, HERE)
    await end(pairlock, started, clock)
    await ask(pairlock, HERE)


async def test_20_requests_by_each_method_may_wait_and_do_not_take_each_others_places(pairlock: Pairlock) -> None:
    by_pin = [await ask(pairlock) for _ in range(20)]
    with pytest.raises(Busy) as refused:
        await ask(pairlock)
    assert refused.value.retry_after == 300
    for _ in range(20):
        await ask_by_device_code(pairlock)
    with pytest.raises(Busy):
        await ask_by_device_code(pairlock)
    await type_pin(pairlock, by_pin[0])
    await ask(pairlock)
    with pytest.raises(Busy):
        await ask_by_device_code(pairlock)


async def test_codes_that_operators_have_minted_take_no_places(pairlock: Pairlock) -> None:
    for _ in range(20):
        await pairlock.code({"read": ["/sensors/**"]})
    await ask(pairlock)
    await ask_by_device_code(pairlock)


async def test_places_are_shared_by_processes_and_survive_a_restart(make: Make) -> None:
    first, second = make(limits=OFTEN), make(limits=OFTEN)
    await ask(first, HERE)
    await ask(second, HERE)
    await ask(first, HERE)
    await first.aclose()
    for process in (second, first):
        with pytest.raises(Busy):
            await ask(process, HERE)


async def test_of_50_at_once_three_of_a_source_and_20_in_all_get_a_place(make: Make) -> None:
    pairlock = make(limits=OFTEN)
    told = await all_of(50, lambda _: ask(pairlock, HERE))
    assert sum(isinstance(each, Started) for each in told) == 3
    assert sum(isinstance(each, Busy) for each in told) == 47
    sources = [anywhere() for _ in range(50)]
    told = await all_of(50, lambda turn: ask(pairlock, sources[turn]))
    assert sum(isinstance(each, Started) for each in told) == 17
    assert len(await pairlock.deciding.pending()) == 20


async def test_two_processes_that_look_at_the_same_time_do_not_both_take_the_last_place(make: Make, path: Path) -> None:
    stores = MeetingStore(path), MeetingStore(path)
    processes = [make(store=store, limits=OFTEN) for store in stores]
    await asyncio.gather(*(process.start() for process in processes))
    await ask(processes[0], HERE)
    await ask(processes[1], HERE)
    stores[0].meeting = stores[1].meeting = asyncio.Barrier(2)
    told = await all_of(2, lambda turn: ask(processes[turn], HERE))
    assert sorted(type(each).__name__ for each in told) == ["Busy", "Started"]
    assert len(await processes[0].deciding.pending()) == 3


async def test_a_request_never_takes_the_place_of_another_with_its_id(
    pairlock: Pairlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(pairlock)
    monkeypatch.setattr("pairlock.services.requesting.make_id", lambda now, entropy: first.request.id)
    with pytest.raises(TemporarilyUnavailable):
        await ask(pairlock)
    assert await pairlock.pairing.find(first.request.id, first.secret) == first.request
    assert await types(pairlock) == ["requested"]


async def test_who_finds_no_place_has_not_used_up_a_start(pairlock: Pairlock, clock: FakeClock) -> None:
    waiting = [await ask(pairlock) for _ in range(20)]
    for _ in range(20):
        with pytest.raises(Busy):
            await ask(pairlock, HERE)
    await type_pin(pairlock, waiting[0])
    await ask(pairlock, HERE)


async def test_all_sources_together_start_so_many_requests_an_hour(make: Make, clock: FakeClock) -> None:
    assert Limits().starts_in_all == "600/hour"
    pairlock = make(limits=Limits(starts_in_all="5/hour"))
    for _ in range(5):
        await ask_and_go(pairlock, anywhere())
    clock.advance(600)
    with pytest.raises(TooManyRequests) as refused:
        await ask_by_device_code(pairlock)
    assert refused.value.retry_after == 3000
    await pairlock.pairing.start("Asked for by the application itself")
    clock.advance(3000)
    await ask(pairlock)


async def test_once_it_is_said_that_nobody_can_see_what_devices_ask_for(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    blind = make()
    for _ in range(2):
        await ask(blind)
    said = [record.levelname for record in caplog.records if "nobody can see it" in record.getMessage()]
    assert said == ["WARNING"]
    caplog.clear()
    shown = make()
    shown.on_request(lambda prompt: None)
    for pairlock in (shown, make(operator=lambda connection: None), make(decide=leave_it)):
        await ask(pairlock)
    assert "nobody can see it" not in caplog.text


async def leave_it(asked: Asked) -> None:
    """A handler that leaves it to others."""


async def test_while_pairing_is_disabled_nothing_is_started(make: Make) -> None:
    pairlock = make(enabled=False)
    with pytest.raises(PairingDisabled):
        await ask(pairlock)
    with pytest.raises(PairingDisabled):
        await ask_by_device_code(pairlock)
    assert await types(pairlock) == []


# Cooling down


@pytest.mark.parametrize("method", ["pin", "device_code"])
async def test_whoever_was_denied_may_not_ask_again_for_a_minute(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock, make: Make, method: str
) -> None:
    asked: Started | DeviceCode
    asked = await (ask(pairlock, HERE) if method == "pin" else ask_by_device_code(pairlock, HERE))
    await pairlock.deciding.deny(asked.request.id)
    clock.advance(20)
    await pairlock.aclose()
    for process in (pairlock, other):
        await assert_too_many(process, HERE, retry_after=40)
        with pytest.raises(TooManyRequests):
            await ask_by_device_code(process, HERE)
    await ask(other, THERE)
    clock.advance(40)
    await ask(other, HERE)


async def test_several_requests_of_a_source_can_be_denied_while_it_cools_down(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    first, second, third = [await ask(pairlock, HERE) for _ in range(3)]
    await pairlock.deciding.deny(first.request.id)
    clock.advance(30)
    for each in (second, third):
        assert (await pairlock.deciding.deny(each.request.id)).state is State.DENIED
    await assert_too_many(pairlock, HERE, retry_after=30)
    clock.advance(30)
    await ask(pairlock, HERE)


async def test_what_was_refused_while_cooling_down_uses_up_no_start(pairlock: Pairlock, clock: FakeClock) -> None:
    await pairlock.deciding.deny((await ask(pairlock, HERE)).request.id)
    for _ in range(20):
        await assert_too_many(pairlock, HERE, retry_after=60)
    clock.advance(60)
    await ask_and_go_often(pairlock, HERE, 3)


# The end of it, by time alone


async def test_a_device_that_polled_and_then_stopped_for_30_seconds_is_withdrawn(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    started = await ask(pairlock, HERE)
    assert (await poll(pairlock, started)).state is State.PENDING
    clock.advance(30)
    assert [each.id for each in await other.deciding.pending()] == [started.request.id]
    clock.advance(1)
    assert await other.deciding.pending() == []
    with pytest.raises(AlreadyDecided) as late:
        await other.deciding.approve(started.request.id)
    assert late.value.state == "cancelled"
    with pytest.raises(Cancelled):
        await type_pin(pairlock, started)
    with pytest.raises(Cancelled):
        await redeem(pairlock, started)


async def test_a_withdrawal_by_time_is_written_down_by_one_process_within_a_minute(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    started = await ask(pairlock, HERE)
    await poll(pairlock, started)
    clock.advance(60)
    await do_chores(pairlock, other)
    requested, cancelled = await happened(pairlock)
    assert requested.type is EventType.REQUESTED
    assert (cancelled.type, cancelled.by, cancelled.at) == (EventType.CANCELLED, "time", clock.now)
    assert (cancelled.request_id, cancelled.name, cancelled.origin) == (started.request.id, "Phone", HERE)
    request = await pairlock.pairing.find(started.request.id, started.secret)
    assert (request.state, request.ended_at) == (State.CANCELLED, clock.now)


async def test_a_device_that_never_polled_has_its_full_time(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    started, late = await ask(pairlock), await ask(pairlock)
    clock.advance(299)
    assert len(await pairlock.deciding.pending()) == 2
    assert (await type_pin(pairlock, late)).device.name == "Phone"
    clock.advance(1)
    assert await pairlock.deciding.pending() == []
    with pytest.raises(ExpiredToken):
        await type_pin(pairlock, started)
    clock.advance(59)  # a minute after whatever chores were done meanwhile
    await do_chores(pairlock, other)
    (event,) = [event for event in await happened(pairlock) if event.by == "time"]
    assert (event.type, event.request_id) == (EventType.EXPIRED, started.request.id)


async def test_a_device_that_goes_on_polling_is_not_withdrawn(pairlock: Pairlock, clock: FakeClock) -> None:
    started = await ask(pairlock)
    for _ in range(14):
        assert (await poll(pairlock, started)).state is State.PENDING
        clock.advance(20)
    assert [each.id for each in await pairlock.deciding.pending()] == [started.request.id]
    clock.advance(20)
    with pytest.raises(ExpiredToken):
        await redeem(pairlock, started)


async def test_a_device_that_waits_for_the_answer_counts_as_being_there(pairlock: Pairlock, clock: FakeClock) -> None:
    started = await ask(pairlock)
    waiting = await wait_for_answer(pairlock, started, 25)
    clock.advance(25 + 30)
    assert [each.id for each in await pairlock.deciding.pending()] == [started.request.id]
    clock.advance(1)
    assert await pairlock.deciding.pending() == []
    waiting.cancel()


async def test_who_waits_is_told_once_its_request_is_written_down_as_ended(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    started = await ask(pairlock)
    waiting = await wait_for_answer(pairlock, started, 25)
    clock.advance(300)
    assert (await asyncio.wait_for(waiting, 5)).state is State.EXPIRED


async def test_a_poll_right_after_another_writes_nothing(pairlock: Pairlock, clock: FakeClock) -> None:
    started = await ask(pairlock)
    first = await poll(pairlock, started)
    clock.advance(0.9)
    assert await poll(pairlock, started) == first
    clock.advance(0.2)
    assert (await poll(pairlock, started)).version == first.version + 1


async def test_polling_what_was_decided_changes_nothing(pairlock: Pairlock) -> None:
    started = await ask(pairlock)
    approved = await pairlock.deciding.approve(started.request.id)
    assert await poll(pairlock, started) == approved


async def test_a_device_that_was_approved_may_be_away_for_longer(pairlock: Pairlock, clock: FakeClock) -> None:
    started = await ask(pairlock)
    await poll(pairlock, started)
    await pairlock.deciding.approve(started.request.id)
    clock.advance(120)
    assert (await redeem(pairlock, started)).device.name == "Phone"


async def test_a_device_with_a_device_code_that_stops_polling_is_withdrawn_too(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    asked = await ask_by_device_code(pairlock)
    with pytest.raises(AuthorizationPending):
        await pairlock.device_codes.redeem(asked.device_code, TV)
    clock.advance(30)
    assert (await pairlock.deciding.look_up(asked.user_code)).id == asked.request.id
    clock.advance(1)
    with pytest.raises(InvalidCode):
        await pairlock.deciding.look_up(asked.user_code)
    with pytest.raises(ExpiredToken):  # RFC 8628 §3.5 knows no withdrawal
        await pairlock.device_codes.redeem(asked.device_code, TV)


async def test_requests_of_every_method_that_time_ended_are_written_down_once(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock, make: Make
) -> None:
    await asyncio.gather(pairlock.start(), other.start())
    ids = [
        (await ask(pairlock)).request.id,
        (await ask_by_device_code(pairlock)).request.id,
        (await pairlock.deciding.approve((await ask(pairlock)).request.id)).id,
        (await pairlock.codes.mint(pairlock.settings.default_permissions)).request.id,
        (await pairlock.qr(pairlock.settings.default_permissions, address="https://house.example/pair")).id,
    ]
    clock.advance(600)
    await do_chores(pairlock, other)
    ended = [event for event in await happened(pairlock) if event.by == "time"]
    assert {event.type for event in ended} == {EventType.EXPIRED}
    assert sorted(event.request_id or "" for event in ended) == sorted(ids)


async def test_more_requests_than_a_page_are_all_written_down(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=no_places(UNLIMITED))
    await pairlock.start()
    for _ in range(205):
        await pairlock.pairing.start("Phone")
    clock.advance(300)
    await do_chores(pairlock)
    assert len(await of_type(pairlock, EventType.EXPIRED)) == 205


async def test_what_ended_while_nothing_ran_is_written_down_at_the_next_start(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    started = await ask(pairlock)
    await pairlock.aclose()
    clock.advance(3600)
    await other.start()
    await until_so(lambda: of_type(other, EventType.EXPIRED))
    (event,) = await of_type(other, EventType.EXPIRED)
    assert event.request_id == started.request.id
    store = await other._runtime.ready()
    await do_chores(other)
    assert await store.find(PairingRequest, started.request.id) is None  # only then it is purged


async def test_the_pin_of_what_ended_is_worth_nothing(pairlock: Pairlock, clock: FakeClock) -> None:
    started = await ask(pairlock)
    pin = the_pin(pairlock, started)
    await poll(pairlock, started)
    clock.advance(31)
    assert (await poll(pairlock, started)).present_until is not None
    with pytest.raises(Cancelled):  # it cannot come back to life by polling again
        await type_pin(pairlock, started, pin)


async def test_locking_what_has_ended_leaves_it_as_it_ended(pairlock: Pairlock) -> None:
    started = await ask(pairlock)
    await pairlock.pairing.cancel(started.request.id, started.secret)
    await lock(pairlock._runtime, partial(pairlock.deciding.show, started.request.id), "pin")
    assert (await pairlock.deciding.show(started.request.id)).state is State.CANCELLED
    assert await types(pairlock) == ["requested", "cancelled"]
