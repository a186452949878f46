"""The life of a pairing request by PIN, as its device and the operator see it."""

import asyncio
import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from pairlock import Operator, Permissions
from pairlock._core.records import Device, EventType, Origin
from pairlock._core.requests import state_at
from pairlock._core.states import State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AlreadyRedeemed,
    AuthorizationPending,
    Cancelled,
    ExpiredToken,
    InvalidPermissions,
    InvalidPin,
    InvalidRequest,
    InvalidToken,
    Locked,
    NotFound,
    PairingDisabled,
    TemporarilyUnavailable,
    WireError,
)
from pairlock.facade import Pairlock
from pairlock.services.pairing import Started, origin_of
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Conflict, Swap
from pairlock.testing import FakeClock
from tests.services.parts import (
    SENSORS,
    UNLIMITED,
    Make,
    kept,
    kept_devices,
    kept_events,
    pair,
    reading,
    the_pin,
    wrong,
)
from tests.services.steps import do_chores

pytestmark = pytest.mark.anyio

DEFAULT = Permissions.parse(SENSORS)
NARROW = Permissions(read=("/sensors/a",))
WIDER = Permissions(read=("/**",))


@pytest.fixture
async def started(pairlock: Pairlock) -> Started:
    return await pairlock.pairing.start("Phone")


async def submit(pairlock: Pairlock, started: Started, pin: str) -> Redeemed:
    return await pairlock.pairing.submit_pin(started.request.id, started.secret, pin)


async def redeem(pairlock: Pairlock, started: Started) -> Redeemed:
    return await pairlock.pairing.redeem(started.request.id, started.secret)


async def state(pairlock: Pairlock, started: Started) -> State:
    return (await pairlock.pairing.find(started.request.id, started.secret)).state


async def guess_wrong(pairlock: Pairlock, started: Started, times: int) -> None:
    for _ in range(times):
        with pytest.raises(InvalidPin):
            await submit(pairlock, started, wrong(the_pin(pairlock, started)))


# By PIN


async def test_the_right_pin_makes_a_device(pairlock: Pairlock, started: Started, path: Path, clock: FakeClock) -> None:
    redeemed = await submit(pairlock, started, the_pin(pairlock, started))
    (device,) = await kept_devices(path)
    assert (redeemed.device, redeemed.permissions, redeemed.message) == (device, DEFAULT, None)
    assert device.permissions == DEFAULT
    assert (device.name, device.method, device.approved_by) == ("Phone", "pin", "pin")
    assert (device.request_id, device.created_at, device.epoch) == (started.request.id, clock.now, 0)
    request = await kept(path, started.request.id)
    assert request is not None
    assert (request.state, request.device_id, request.granted) == (State.REDEEMED, device.id, DEFAULT)


@pytest.mark.parametrize("typed", ["{} {}", " {}-{} ", "{}.{}\n"])
async def test_a_pin_may_be_typed_with_spaces_and_dashes(pairlock: Pairlock, started: Started, typed: str) -> None:
    pin = the_pin(pairlock, started)
    assert (await submit(pairlock, started, typed.format(pin[:3], pin[3:]))).device.name == "Phone"


async def test_the_pin_stays_the_same_after_wrong_ones(pairlock: Pairlock, started: Started) -> None:
    pin = the_pin(pairlock, started)
    for left in (4, 3, 2, 1):
        with pytest.raises(InvalidPin) as refused:
            await submit(pairlock, started, wrong(pin))
        assert refused.value.attempts_left == left
    assert the_pin(pairlock, started) == pin
    assert (await submit(pairlock, started, pin)).device.name == "Phone"


async def test_the_fifth_wrong_pin_has_no_attempts_left_and_locks(
    pairlock: Pairlock, started: Started, make: Make
) -> None:
    pin = the_pin(pairlock, started)
    await guess_wrong(pairlock, started, 4)
    with pytest.raises(InvalidPin) as refused:
        await submit(pairlock, started, wrong(pin))
    assert refused.value.body()["attempts_left"] == 0
    for typed in (wrong(pin), pin):
        with pytest.raises(Locked):
            await submit(pairlock, started, typed)
    with pytest.raises(Locked):
        await redeem(pairlock, started)
    assert await state(pairlock, started) is State.LOCKED
    await pairlock.aclose()
    with pytest.raises(Locked):  # also after a restart
        await submit(make(), started, pin)


async def test_a_request_whose_guesses_are_used_up_but_that_was_not_locked_yet_is_locked_by_the_next(
    pairlock: Pairlock, started: Started, path: Path
) -> None:
    pin = the_pin(pairlock, started)
    await guess_wrong(pairlock, started, 4)

    request = await kept(path, started.request.id)
    assert request is not None
    counted = Swap(request.evolve(guesses=5))  # as by a process that ended before it compared
    await reading(path, lambda store: store.commit(counted))
    with pytest.raises(Locked):
        await submit(pairlock, started, pin)
    assert await state(pairlock, started) is State.LOCKED


async def test_of_50_wrong_pins_at_once_through_two_handles_five_are_looked_at(
    pairlock: Pairlock, other: Pairlock, started: Started, path: Path
) -> None:
    await other.start()
    guess = wrong(the_pin(pairlock, started))
    told = await asyncio.gather(
        *(submit((pairlock, other)[turn % 2], started, guess) for turn in range(50)), return_exceptions=True
    )
    looked_at = [error for error in told if isinstance(error, InvalidPin)]
    assert sorted(error.attempts_left for error in looked_at) == [0, 1, 2, 3, 4]
    assert sum(isinstance(error, Locked) for error in told) == 45
    request = await kept(path, started.request.id)
    assert request is not None
    assert (request.guesses, request.state) == (5, State.LOCKED)
    assert [event.type for event in await kept_events(path)] == [EventType.REQUESTED, EventType.LOCKED]


async def test_the_right_pin_sent_50_times_at_once_makes_one_device(
    pairlock: Pairlock, other: Pairlock, started: Started, path: Path
) -> None:
    await other.start()
    pin = the_pin(pairlock, started)
    told = await asyncio.gather(
        *(submit((pairlock, other)[turn % 2], started, pin) for turn in range(50)), return_exceptions=True
    )
    assert sum(isinstance(each, Redeemed) for each in told) <= 1  # a sixth guess may lock before it
    assert len(await kept_devices(path)) == sum(isinstance(each, Redeemed) for each in told)
    assert {type(each) for each in told} <= {Redeemed, AlreadyRedeemed, Locked}


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "１２３４５６", "\ud800", "0" * 10_000])
async def test_a_malformed_pin_costs_no_attempt(pairlock: Pairlock, started: Started, path: Path, typed: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await submit(pairlock, started, typed)
    assert refused.value.detail == "the PIN has 6 digits"
    request = await kept(path, started.request.id)
    assert request is not None
    assert request.guesses == 0


@pytest.mark.parametrize("length", [4, 12])
async def test_a_pin_is_as_long_as_the_setting_says(make: Make, length: int) -> None:
    pairlock = make(pin_length=length)
    started = await pairlock.pairing.start("Phone")
    assert len(the_pin(pairlock, started)) == length
    assert (await submit(pairlock, started, the_pin(pairlock, started))).device.name == "Phone"


async def test_each_request_has_a_pin_and_a_secret_of_its_own(pairlock: Pairlock) -> None:
    all_started = [await pairlock.pairing.start("Phone") for _ in range(20)]
    assert len({each.secret for each in all_started}) == 20
    assert len({the_pin(pairlock, each) for each in all_started}) > 15
    first, second = all_started[:2]
    for secret in (second.secret, "", "x", first.secret[:-1]):
        with pytest.raises(InvalidToken):
            await pairlock.pairing.submit_pin(first.request.id, secret, the_pin(pairlock, first))
    assert (await pairlock.pairing.find(first.request.id, first.secret)).guesses == 0


async def test_another_process_with_the_same_keys_shows_the_same_pin(
    pairlock: Pairlock, other: Pairlock, started: Started
) -> None:
    (shown,) = await other.deciding.pending()
    assert other.deciding.pin(shown) == the_pin(pairlock, started)
    assert (await submit(other, started, the_pin(pairlock, started))).device.name == "Phone"


async def test_no_secret_is_in_a_record_an_event_a_log_a_repr_or_a_file(
    make: Make, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock = make(secret_keys=None, pin_length=12)  # twelve digits do not stand anywhere by chance
    seen: list[bytes] = []

    def look_at(file: Path) -> None:
        seen.append(file.read_bytes())

    def look() -> None:
        files = [file for file in path.parent.iterdir() if not file.name.endswith(".keys")]
        assert {"pairlock.db", "pairlock.db-wal"} <= {file.name for file in files}
        for file in files:
            look_at(file)

    with caplog.at_level(logging.DEBUG):
        started = await pairlock.pairing.start("Phone")
        pin = the_pin(pairlock, started)
        look()
        with pytest.raises(InvalidPin) as refused:
            await submit(pairlock, started, wrong(pin)[:1] * 12)
        redeemed = await submit(pairlock, started, pin)
        token, _ = pairlock.tokens.access(redeemed.device)
        grant = await pairlock.verify(token)
        look()
        await pairlock.devices.revoke(redeemed.device.id)
        look()
        await pairlock.aclose()
    look_at(path)
    events = await kept_events(path)
    said = "".join([caplog.text, repr(started), repr(redeemed), repr(grant), repr(refused.value), repr(events)])
    assert started.request.id in said
    for secret in (pin, started.secret, token):
        assert secret not in said
        assert not any(secret.encode() in content for content in seen)


# Deciding by hand


async def test_what_the_operator_approved_is_redeemed(
    pairlock: Pairlock, other: Pairlock, started: Started, clock: FakeClock
) -> None:
    with pytest.raises(AuthorizationPending):
        await redeem(pairlock, started)
    approved = await other.deciding.approve(started.request.id, message=" Hello\x00 there ", by=Operator("alice"))
    assert (approved.state, approved.decided_by, approved.decided_at) == (State.APPROVED, "operator:alice", clock.now)
    redeemed = await redeem(pairlock, started)
    assert redeemed.message == "Hello there"
    assert (redeemed.device.approved_by, redeemed.device.permissions) == ("operator:alice", DEFAULT)
    with pytest.raises(AlreadyRedeemed):
        await redeem(pairlock, started)
    with pytest.raises(AlreadyRedeemed):
        await submit(pairlock, started, the_pin(pairlock, started))


async def test_any_pin_redeems_what_the_operator_approved(pairlock: Pairlock, started: Started) -> None:
    await pairlock.deciding.approve(started.request.id)
    redeemed = await submit(pairlock, started, wrong(the_pin(pairlock, started)))
    assert redeemed.device.approved_by == "app"


async def test_50_redeems_at_once_through_two_handles_make_one_device(
    pairlock: Pairlock, other: Pairlock, started: Started, path: Path
) -> None:
    await other.deciding.approve(started.request.id)
    told = await asyncio.gather(
        *(redeem((pairlock, other)[turn % 2], started) for turn in range(50)), return_exceptions=True
    )
    assert sum(isinstance(each, Redeemed) for each in told) == 1
    assert sum(isinstance(each, AlreadyRedeemed) for each in told) == 49
    assert len(await kept_devices(path)) == 1


async def test_a_denied_device_is_told_the_reason(pairlock: Pairlock, started: Started) -> None:
    await pairlock.deciding.deny(started.request.id, reason="Not today\u202e", by=Operator("alice"))
    for attempt in (redeem(pairlock, started), submit(pairlock, started, the_pin(pairlock, started))):
        with pytest.raises(AccessDenied) as refused:
            await attempt
        assert refused.value.reason == "Not today"


async def test_of_approve_and_deny_in_two_processes_one_wins_and_the_other_is_told(make: Make, path: Path) -> None:
    first, second = make(), make()
    await asyncio.gather(first.start(), second.start())
    for turn in range(50):
        started = await first.pairing.start(f"Phone {turn}")
        decisions = [first.deciding.approve(started.request.id), second.deciding.deny(started.request.id)]
        told = await asyncio.gather(*(decisions if turn % 2 else reversed(decisions)), return_exceptions=True)
        (winner,) = [each for each in told if not isinstance(each, BaseException)]
        (loser,) = [each for each in told if isinstance(each, BaseException)]
        assert isinstance(loser, AlreadyDecided)
        assert loser.state == winner.state.value
        assert await kept(path, started.request.id) == winner


async def test_what_does_not_exist_cannot_be_decided(pairlock: Pairlock) -> None:
    for decide in (pairlock.deciding.approve, pairlock.deciding.deny):
        with pytest.raises(NotFound):
            await decide("00000000000000000000000000")


async def test_a_decision_that_always_comes_too_late_is_given_up(pairlock: Pairlock) -> None:
    attempts = 0

    async def always_late() -> None:
        nonlocal attempts
        attempts += 1
        raise Conflict

    with pytest.raises(TemporarilyUnavailable) as refused:
        await pairlock._runtime.settle(always_late)
    assert refused.value.retry_after == 1
    assert attempts == 32


# The end of it: cancelled, expired, disabled


async def test_a_device_may_withdraw_its_request_while_it_lives(pairlock: Pairlock) -> None:
    for approve in (False, True):
        started = await pairlock.pairing.start("Phone")
        if approve:
            await pairlock.deciding.approve(started.request.id)
        await pairlock.pairing.cancel(started.request.id, started.secret)
        assert await state(pairlock, started) is State.CANCELLED
        with pytest.raises(Cancelled):
            await redeem(pairlock, started)
        with pytest.raises(AlreadyDecided) as late:
            await pairlock.deciding.approve(started.request.id)
        assert late.value.state == "cancelled"


async def test_withdrawing_what_has_ended_leaves_it_as_it_ended(pairlock: Pairlock, clock: FakeClock) -> None:
    denied, locked, cancelled, expired = [await pairlock.pairing.start("Phone") for _ in range(4)]
    await pairlock.deciding.deny(denied.request.id)
    await guess_wrong(pairlock, locked, 5)
    await pairlock.pairing.cancel(cancelled.request.id, cancelled.secret)
    clock.advance(300)
    await do_chores(pairlock)
    for each, ended in (
        (denied, State.DENIED),
        (locked, State.LOCKED),
        (cancelled, State.CANCELLED),
        (expired, State.EXPIRED),
    ):
        await pairlock.pairing.cancel(each.request.id, each.secret)
        assert await state(pairlock, each) is ended


async def test_a_redeemed_request_cannot_be_withdrawn(pairlock: Pairlock, started: Started) -> None:
    redeemed = await submit(pairlock, started, the_pin(pairlock, started))
    with pytest.raises(AlreadyRedeemed):
        await pairlock.pairing.cancel(started.request.id, started.secret)
    assert await pairlock.devices.find(redeemed.device.id) == redeemed.device


@pytest.mark.parametrize("seconds", [300, 314, -61, -(10**6)])
async def test_a_request_out_of_its_time_is_good_for_nothing(
    pairlock: Pairlock, clock: FakeClock, seconds: float
) -> None:
    pending, approved = await pairlock.pairing.start("Phone"), await pairlock.pairing.start("Phone")
    await pairlock.deciding.approve(approved.request.id)
    clock.advance(seconds)
    for each in (pending, approved):
        with pytest.raises(ExpiredToken):
            await redeem(pairlock, each)
        with pytest.raises(ExpiredToken):
            await submit(pairlock, each, the_pin(pairlock, each))
        for decide in (pairlock.deciding.approve, pairlock.deciding.deny):
            with pytest.raises(AlreadyDecided) as late:
                await decide(each.request.id)
            assert late.value.state == "expired"
    assert await pairlock.deciding.pending() == []


@pytest.mark.parametrize("seconds", [299.9, -59])
async def test_a_request_within_its_time_stays_good(
    pairlock: Pairlock, started: Started, clock: FakeClock, seconds: float
) -> None:
    clock.advance(seconds)
    assert (await submit(pairlock, started, the_pin(pairlock, started))).device.name == "Phone"


async def test_how_a_request_ended_stays_so_after_its_time(pairlock: Pairlock, clock: FakeClock) -> None:
    denied, redeemed = await pairlock.pairing.start("Phone"), await pairlock.pairing.start("Phone")
    await pairlock.deciding.deny(denied.request.id)
    await submit(pairlock, redeemed, the_pin(pairlock, redeemed))
    clock.advance(301)
    with pytest.raises(AccessDenied):
        await redeem(pairlock, denied)
    with pytest.raises(AlreadyRedeemed):
        await redeem(pairlock, redeemed)


async def test_where_pairing_is_disabled_nothing_pairs_but_the_paired_stay(make: Make, clock: FakeClock) -> None:
    enabled, disabled = make(), make(enabled=False)
    token = enabled.tokens.access((await pair(enabled)).device)[0]
    started = await enabled.pairing.start("Phone")
    attempts = (
        disabled.pairing.start("Phone"),
        disabled.pairing.submit_pin(started.request.id, started.secret, the_pin(enabled, started)),
        disabled.pairing.redeem(started.request.id, started.secret),
    )
    for attempt in attempts:
        with pytest.raises(PairingDisabled):
            await attempt
    assert (await enabled.pairing.find(started.request.id, started.secret)).guesses == 0
    assert (await disabled.verify(token)).device_name == "Phone"
    await disabled.pairing.cancel(started.request.id, started.secret)


# Names, permissions, lists


async def test_a_second_device_of_the_same_name_is_a_second_device(pairlock: Pairlock) -> None:
    first, second = await pair(pairlock, "Phone"), await pair(pairlock, "Phone")
    assert first.device.id != second.device.id
    await pairlock.devices.revoke(first.device.id)
    assert await pairlock.devices.list() == [second.device]


async def test_names_are_cleaned_before_anybody_reads_them(pairlock: Pairlock) -> None:
    started = await pairlock.pairing.start("  My\u202e \x00Phone\n\t<b>  ")
    assert started.request.name == "My Phone <b>"
    for name in ("", " ", "\x00\u200b", "x" * 65):
        with pytest.raises(InvalidRequest):
            await pairlock.pairing.start(name)


def test_an_origin_is_cleaned_and_cut() -> None:
    assert origin_of("::1", "agent\r\nx\x1b[31m" + "y" * 500, "\u2066hint") == Origin(
        "::1", ("agent x[31m" + "y" * 500)[:200], "hint"
    )


async def test_no_more_may_be_asked_for_than_is_granted_by_default(pairlock: Pairlock) -> None:
    with pytest.raises(InvalidPermissions):
        await pairlock.pairing.start("Phone", permissions=WIDER)
    assert await pairlock.deciding.pending() == []
    started = await pairlock.pairing.start("Phone", permissions=NARROW)
    assert (await submit(pairlock, started, the_pin(pairlock, started))).device.permissions == NARROW


@pytest.mark.parametrize("asked", [None, NARROW, Permissions()])
async def test_an_operator_who_says_nothing_else_grants_what_was_asked_for(
    pairlock: Pairlock, asked: Permissions | None
) -> None:
    started = await pairlock.pairing.start("Phone", permissions=asked)
    approved = await pairlock.deciding.approve(started.request.id)
    assert approved.granted == (DEFAULT if asked is None else asked)
    assert (await redeem(pairlock, started)).device.permissions == approved.granted


async def test_an_operator_may_grant_less_but_no_more_than_was_asked_for(pairlock: Pairlock) -> None:
    started = await pairlock.pairing.start("Phone", permissions=Permissions(read=("/sensors/*",)))
    for wider in (DEFAULT, WIDER, Permissions(write=("/control/lamp",))):
        with pytest.raises(InvalidPermissions):
            await pairlock.deciding.approve(started.request.id, permissions=wider)
    assert (await pairlock.deciding.approve(started.request.id, permissions=NARROW)).granted == NARROW


async def test_an_operator_may_grant_no_more_than_they_hold(pairlock: Pairlock, started: Started) -> None:
    bob = Operator("bob", NARROW)
    for granted in (None, DEFAULT, WIDER):
        with pytest.raises(InvalidPermissions):
            await pairlock.deciding.approve(started.request.id, permissions=granted, by=bob)
    assert (await pairlock.deciding.approve(started.request.id, permissions=NARROW, by=bob)).granted == NARROW


async def test_an_operator_may_grant_more_than_the_default_where_nothing_was_asked_for(
    pairlock: Pairlock, started: Started
) -> None:
    assert (await pairlock.deciding.approve(started.request.id, permissions=WIDER)).granted == WIDER


async def test_a_pin_grants_no_more_than_the_default_of_the_day_it_is_typed(make: Make) -> None:
    before, after = make(), make(default_permissions={"read": ["/sensors/a"]})
    asked, silent = await before.pairing.start("Phone", permissions=DEFAULT), await before.pairing.start("Phone")
    with pytest.raises(InvalidPermissions):
        await submit(after, asked, the_pin(before, asked))
    assert (await submit(after, silent, the_pin(before, silent))).device.permissions == NARROW


async def test_pending_requests_are_listed_newest_first_without_the_decided(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    started = []
    for turn in range(7):
        clock.advance(1)
        started.append((await pairlock.pairing.start(f"Phone {turn}")).request)
    for decided in started[4:]:
        await pairlock.deciding.approve(decided.id)  # the newest are decided, yet live
    newest_first = [started[3], started[2], started[1], started[0]]
    assert await pairlock.deciding.pending() == newest_first
    assert await pairlock.deciding.pending(limit=2) == newest_first[:2]
    assert await pairlock.deciding.pending(limit=3) == newest_first[:3]
    assert await pairlock.deciding.pending(before=started[2].id) == newest_first[2:]


async def test_any_request_can_be_shown_to_an_operator_but_none_that_is_not_there(
    pairlock: Pairlock, started: Started
) -> None:
    assert await pairlock.deciding.show(started.request.id) == started.request
    with pytest.raises(NotFound):
        await pairlock.deciding.show(started.request.id[:-1])


# Waiting


@pytest.mark.parametrize("decide", ["approve", "deny"])
@pytest.mark.parametrize("by", ["the same process", "another process"])
async def test_who_waits_is_told_of_the_decision_at_once(
    pairlock: Pairlock, other: Pairlock, started: Started, decide: str, by: str
) -> None:
    operator = pairlock if by == "the same process" else other
    await operator.start()
    waiting = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, 60))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    decided = await getattr(operator.deciding, decide)(started.request.id)
    assert await asyncio.wait_for(waiting, 1) == decided


async def test_who_waits_is_told_after_its_time_that_nothing_happened(pairlock: Pairlock, started: Started) -> None:
    for seconds in (0, 0.05):
        async with asyncio.timeout(1):
            found = await pairlock.pairing.wait(started.request.id, started.secret, seconds)
            assert found.state is State.PENDING


async def test_nobody_waits_beyond_the_end_of_a_request(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    clock.advance(299.95)
    async with asyncio.timeout(2):
        await pairlock.pairing.wait(started.request.id, started.secret, 60)
        clock.advance(10)
        found = await pairlock.pairing.wait(started.request.id, started.secret, 60)
        assert state_at(found, clock()) is State.EXPIRED


async def test_who_waits_goes_on_waiting_when_something_else_happens(pairlock: Pairlock, started: Started) -> None:
    waiting = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, 60))
    bystander = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, 0.2))
    await asyncio.sleep(0.05)
    for waiter in pairlock._runtime._waiters[started.request.id]:
        waiter.wake()  # told, though nothing has changed
    assert (await bystander).state is State.PENDING
    assert not waiting.done()
    assert list(pairlock._runtime._waiters) == [started.request.id]
    await pairlock.pairing.cancel(started.request.id, started.secret)
    assert (await waiting).state is State.CANCELLED
    assert not pairlock._runtime._waiters  # nothing is left of those who waited


async def test_only_the_holder_of_the_secret_may_wait(pairlock: Pairlock, started: Started) -> None:
    for request_id, secret in ((started.request.id, "x"), ("unknown", started.secret)):
        with pytest.raises(InvalidToken):
            await pairlock.pairing.wait(request_id, secret, 60)
    assert not pairlock._runtime._waiters


# The audit


async def test_each_step_is_audited_with_who_from_where_and_by_which_method(make: Make, path: Path) -> None:
    pairlock = make(limits=UNLIMITED)
    origin = origin_of("192.0.2.7", "curl/8", "kitchen")
    alice = Operator("alice")
    by_pin = await pairlock.pairing.start("By PIN", origin=origin)
    device = (await submit(pairlock, by_pin, the_pin(pairlock, by_pin))).device
    by_hand = await pairlock.pairing.start("By hand", origin=origin)
    await pairlock.deciding.approve(by_hand.request.id, by=alice)
    second = (await redeem(pairlock, by_hand)).device
    denied = await pairlock.pairing.start("Denied", origin=origin)
    await pairlock.deciding.deny(denied.request.id, reason="no", by=alice)
    cancelled = await pairlock.pairing.start("Cancelled", origin=origin)
    await pairlock.pairing.cancel(cancelled.request.id, cancelled.secret)
    events = await kept_events(path)
    assert [(event.type.value, event.name, event.by, event.device_id, event.reason) for event in events] == [
        ("requested", "By PIN", "device", None, None),
        ("redeemed", "By PIN", f"device:{device.id}", device.id, None),
        ("requested", "By hand", "device", None, None),
        ("approved", "By hand", "operator:alice", None, None),
        ("redeemed", "By hand", f"device:{second.id}", second.id, None),
        ("requested", "Denied", "device", None, None),
        ("denied", "Denied", "operator:alice", None, "no"),
        ("requested", "Cancelled", "device", None, None),
        ("cancelled", "Cancelled", "device", None, None),
    ]
    assert {(event.method, event.origin) for event in events} == {("pin", origin)}
    assert {event.permissions for event in events} == {None, DEFAULT}


async def test_what_failed_leaves_no_event_and_no_record(
    pairlock: Pairlock, started: Started, path: Path, clock: FakeClock
) -> None:
    await guess_wrong(pairlock, started, 1)
    failures: list[WireError] = []
    for attempt in (
        redeem(pairlock, started),
        pairlock.deciding.approve(started.request.id, by=Operator("bob", Permissions())),
        pairlock.pairing.start("Phone", permissions=WIDER),
    ):
        with pytest.raises(WireError) as refused:
            await attempt
        failures.append(refused.value)
    assert [type(failure) for failure in failures] == [AuthorizationPending, InvalidPermissions, InvalidPermissions]
    assert [event.type for event in await kept_events(path)] == [EventType.REQUESTED]
    assert await kept(path, started.request.id) == replace(started.request, version=2, guesses=1)


async def test_a_device_and_its_request_are_written_together_or_not_at_all(
    pairlock: Pairlock, started: Started, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await pair(pairlock)).device
    monkeypatch.setattr("pairlock.services.pairing.new_device_id", lambda now: first.id)  # the device's id is taken
    with pytest.raises(TemporarilyUnavailable):
        await submit(pairlock, started, the_pin(pairlock, started))
    request = await kept(path, started.request.id)
    assert request is not None
    assert (request.state, request.device_id) == (State.PENDING, None)
    assert await reading(path, lambda store: store.find(Device, first.id)) == first
