"""Pairing by device code: the device shows a user code and asks until an operator has decided (RFC 8628)."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pairlock import Approve, Asked, Client, Deny, Limits, Operator, Pairlock, Permissions, WireError
from pairlock._core.clients import Credentials
from pairlock._core.codes import encode_secret
from pairlock._core.methods import grouped
from pairlock._core.records import EventType, Origin, PairingRequest
from pairlock._core.states import State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AuthorizationPending,
    ConfirmationRequired,
    DifferentNetwork,
    ExpiredToken,
    InvalidClient,
    InvalidCode,
    InvalidGrant,
    InvalidPermissions,
    InvalidPin,
    InvalidRequest,
    InvalidToken,
    PairingDisabled,
    SlowDown,
    TooManyRequests,
    WindowClosed,
)
from pairlock.services.device_codes import DeviceCode
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Swap
from pairlock.testing import FakeClock
from tests.services.codes_parts import (
    ALICE,
    BOB,
    DEFAULT,
    NARROW,
    RADIO,
    SECRET,
    SOMEWHERE,
    TV,
    WIDER,
    approved,
    audited,
    happened,
    purge,
)
from tests.services.parts import KEY, OTHER_KEY, UNLIMITED, Make, kept, kept_devices, reading, wrong

pytestmark = pytest.mark.anyio

VERIFIER = "a-verifier-that-is-long-enough-for-RFC-7636~"
CHALLENGE = encode_secret(hashlib.sha256(VERIFIER.encode()).digest())
UNKNOWN = "BBBB-BBBB"


@pytest.fixture
async def started(pairlock: Pairlock) -> DeviceCode:
    return await pairlock.device_codes.start(TV)


async def poll(pairlock: Pairlock, started: DeviceCode, client: Client = TV) -> Redeemed:
    return await pairlock.device_codes.redeem(started.device_code, client)


async def told(pairlock: Pairlock, started: DeviceCode) -> WireError:
    """Why a device gets no token now."""
    with pytest.raises(WireError) as refused:
        await poll(pairlock, started)
    return refused.value


async def assert_pending(pairlock: Pairlock, started: DeviceCode) -> None:
    assert isinstance(await told(pairlock, started), AuthorizationPending)


async def assert_slowed_down(pairlock: Pairlock, started: DeviceCode, interval: int) -> None:
    error = await told(pairlock, started)
    assert isinstance(error, SlowDown)
    assert error.interval == interval


async def as_kept(path: Path, started: DeviceCode) -> PairingRequest:
    request = await kept(path, started.request.id)
    assert request is not None
    return request


# Asking


async def test_a_device_that_asks_gets_a_device_code_and_shows_a_user_code(
    pairlock: Pairlock, path: Path, clock: FakeClock
) -> None:
    started = await pairlock.device_codes.start(TV, origin=Origin("192.0.2.7", "curl", "shop"))
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", grouped(started.user_code))
    assert re.fullmatch(rf"{started.request.id}\.[\w-]{{43}}", started.device_code)
    request = await as_kept(path, started)
    assert request == started.request
    assert (request.state, request.method, request.client_id) == (State.PENDING, "device_code", "tv")
    assert (request.expires_at, request.interval) == (clock.now + 600, 5)
    assert request.origin == Origin("192.0.2.7", "curl", "shop")
    assert repr(started) == f"<DeviceCode {request.id}>"


async def test_a_device_is_named_by_itself_or_else_by_its_client_and_never_by_a_hint(make: Make) -> None:
    pairlock = make(limits=UNLIMITED)
    for client, name, shown in (
        (TV, " Kitchen\x00 ", "Kitchen"),
        (TV, "", "Telly"),
        (RADIO, "", "radio"),
        (RADIO, "Kitchen", "Kitchen"),
    ):
        started = await pairlock.device_codes.start(client, name=name, origin=Origin("192.0.2.7", hint="hinted"))
        assert started.request.name == shown
    for bad in ("x" * 65, "\x00"):
        with pytest.raises(InvalidRequest):
            await pairlock.device_codes.start(TV, name=bad)


async def test_a_client_with_a_long_id_can_ask_without_saying_a_name(pairlock: Pairlock) -> None:
    started = await pairlock.device_codes.start(Client(id="https://apps.example/" + "x" * 150))
    assert started.request.name == "https://apps.example/" + "x" * 43


async def test_each_device_has_codes_of_its_own(pairlock: Pairlock) -> None:
    codes = [await pairlock.device_codes.start(TV) for _ in range(30)]
    assert len({each.user_code for each in codes}) == len({each.device_code for each in codes}) == 30


async def test_any_client_may_ask_for_what_is_granted_by_default_and_no_more(pairlock: Pairlock) -> None:
    silent, narrow = await pairlock.device_codes.start(TV), await pairlock.device_codes.start(TV, permissions=NARROW)
    assert (silent.request.requested, narrow.request.requested) == (None, NARROW)
    for wanted in (WIDER, Permissions(write=("/sensors/a",))):
        with pytest.raises(InvalidPermissions):
            await pairlock.device_codes.start(TV, permissions=wanted)


async def test_what_a_client_may_ask_for_is_bounded_by_the_registry(make: Make) -> None:
    narrow = Client(id="narrow", permissions=NARROW)
    wide = Client(id="wide", permissions=WIDER)
    nothing = Client(id="nothing", permissions=Permissions())
    pairlock = make(clients=[TV, narrow, wide, nothing])
    for wanted, client, granted in (
        (None, TV, DEFAULT),
        (None, narrow, NARROW),
        (None, wide, WIDER),
        (DEFAULT, TV, DEFAULT),
        (Permissions(read=("/anything",)), wide, Permissions(read=("/anything",))),
        (None, nothing, Permissions()),
    ):
        started = await pairlock.device_codes.start(client, permissions=wanted)
        await pairlock.deciding.approve(started.request.id)
        assert (await poll(pairlock, started, client)).permissions == granted
    for client, wanted in ((narrow, DEFAULT), (TV, WIDER), (nothing, NARROW)):
        with pytest.raises(InvalidPermissions):
            await pairlock.device_codes.start(client, permissions=wanted)
    started = await pairlock.device_codes.start(narrow)
    with pytest.raises(InvalidPermissions):  # the operator is bound by what was asked for
        await pairlock.deciding.approve(started.request.id, permissions=DEFAULT)


async def test_with_a_registry_others_are_not_known(make: Make) -> None:
    clients = make(clients=[Client(id="tv", secret=SECRET), RADIO]).settings.clients
    assert clients.authenticate(Credentials("tv", SECRET)).id == "tv"
    assert clients.authenticate(Credentials("radio")) == RADIO
    for offered in (Credentials("tv"), Credentials("radio", SECRET), Credentials("phone")):
        with pytest.raises(InvalidClient):
            clients.authenticate(offered)


async def test_while_the_window_is_closed_no_device_asks_and_who_asked_goes_on(
    pairlock: Pairlock, started: DeviceCode
) -> None:
    await pairlock.window.close()
    with pytest.raises(WindowClosed):
        await pairlock.device_codes.start(TV)
    await pairlock.deciding.approve(started.request.id)
    assert (await poll(pairlock, started)).device.name == "Telly"


async def test_where_pairing_is_disabled_no_device_code_is_given_or_redeemed(
    pairlock: Pairlock, make: Make, path: Path
) -> None:
    waiting, disabled = await approved(pairlock), make(enabled=False)
    with pytest.raises(PairingDisabled):
        await disabled.device_codes.start(TV)
    with pytest.raises(PairingDisabled):
        await poll(disabled, waiting)
    assert await kept_devices(path) == []


# Polling


async def test_the_first_poll_is_free_and_two_within_a_second_are_one(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, clock: FakeClock, path: Path
) -> None:
    await assert_pending(pairlock, started)
    first = await as_kept(path, started)
    for handle in (pairlock, other):
        clock.advance(0.45)
        await assert_pending(handle, started)
    assert await as_kept(path, started) == first
    clock.advance(3.1)  # four of five seconds: timers are not exact
    await assert_pending(pairlock, started)


async def test_who_asks_too_soon_is_slowed_down_and_the_interval_is_kept(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, clock: FakeClock, path: Path
) -> None:
    await assert_pending(pairlock, started)
    clock.advance(3.9)
    await assert_slowed_down(pairlock, started, 10)
    assert (await as_kept(path, started)).interval == 10
    clock.advance(0.5)
    await assert_slowed_down(other, started, 10)  # the same poll, sent twice
    clock.advance(3.5)  # 7.9 s after the one that counted
    await assert_slowed_down(other, started, 15)
    clock.advance(4.2)  # 12.1 s: a poll that was refused does not move the clock
    await assert_pending(pairlock, started)
    assert (await as_kept(path, started)).interval == 15
    clock.advance(11.9)
    await assert_slowed_down(pairlock, started, 20)


async def test_the_interval_grows_to_a_minute_at_most(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock, path: Path
) -> None:
    await assert_pending(pairlock, started)
    for interval in (*range(10, 61, 5), 60, 60):
        clock.advance(1)
        await assert_slowed_down(pairlock, started, interval)
    request = await as_kept(path, started)
    assert request.purge_at == request.expires_at + 70  # whoever keeps to the interval is told how it ended


async def test_who_keeps_to_the_interval_is_never_slowed_down(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    for turn in range(20):
        await assert_pending((pairlock, other)[turn % 2], started)
        clock.advance(5)


async def test_how_it_ended_is_told_however_soon_a_device_asks(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    await assert_pending(pairlock, started)
    clock.advance(2)
    await assert_slowed_down(pairlock, started, 10)
    await other.deciding.approve(started.request.id)
    assert (await poll(pairlock, started)).device.name == "Telly"


async def test_a_clock_set_back_slows_nobody_down(pairlock: Pairlock, started: DeviceCode, clock: FakeClock) -> None:
    await assert_pending(pairlock, started)
    clock.advance(-30)
    await assert_pending(pairlock, started)


# How it ends


async def test_what_an_operator_approved_is_redeemed_once(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, path: Path, clock: FakeClock
) -> None:
    await assert_pending(pairlock, started)
    clock.advance(5)
    await other.deciding.approve(started.request.id, permissions=NARROW, message="Welcome", by=ALICE)
    redeemed = await poll(pairlock, started)
    assert await kept_devices(path) == [redeemed.device]
    device = redeemed.device
    assert (device.name, device.method, device.client_id) == ("Telly", "device_code", "tv")
    assert (device.permissions, device.approved_by) == (NARROW, "operator:alice")
    assert redeemed.message == "Welcome"
    grant = await other.verify(pairlock.tokens.access(device)[0])
    assert grant.device_id == device.id
    for handle in (pairlock, other):
        assert isinstance(await told(handle, started), InvalidGrant)
    assert await happened(pairlock) == [EventType.REQUESTED, EventType.APPROVED, EventType.REDEEMED]


async def test_a_device_that_was_denied_is_told_the_reason(pairlock: Pairlock, started: DeviceCode) -> None:
    await pairlock.deciding.deny(started.request.id, reason="Not this one", by=ALICE)
    for _ in range(2):
        error = await told(pairlock, started)
        assert isinstance(error, AccessDenied)
        assert error.reason == "Not this one"


@pytest.mark.parametrize("decided", [False, True])
async def test_a_device_code_expires_decided_or_not_and_is_unknown_once_purged(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock, decided: bool
) -> None:
    if decided:
        await pairlock.deciding.approve(started.request.id)
    clock.advance(599.9)
    if not decided:
        await assert_pending(pairlock, started)
    clock.advance(0.1)
    assert isinstance(await told(pairlock, started), ExpiredToken)
    clock.advance(14.9)
    await purge(pairlock, clock.now)
    assert isinstance(await told(pairlock, started), ExpiredToken)
    clock.advance(0.1)
    await purge(pairlock, clock.now)
    assert isinstance(await told(pairlock, started), InvalidGrant)


async def test_how_long_a_device_code_lives_is_a_setting(make: Make, clock: FakeClock) -> None:
    pairlock = make(device_code_timeout=30)
    started = await pairlock.device_codes.start(TV)
    clock.advance(30)
    assert isinstance(await told(pairlock, started), ExpiredToken)


async def test_what_is_no_device_code_is_refused(pairlock: Pairlock, started: DeviceCode) -> None:
    by_pin = await pairlock.pairing.start("Phone")
    await pairlock.deciding.approve(by_pin.request.id)
    minted = await pairlock.codes.mint(DEFAULT)
    secret = started.device_code.partition(".")[2]
    for device_code in (
        "",
        ".",
        secret,
        started.request.id,
        f"{started.request.id}.",
        started.device_code[:-1],
        f"{by_pin.request.id}.{secret}",
        f"{by_pin.request.id}.{by_pin.secret}",
        f"{minted.request.id}.{minted.code}",
        started.user_code,
        f"{started.request.id}.{started.user_code}",
    ):
        with pytest.raises(InvalidGrant):
            await pairlock.device_codes.redeem(device_code, TV)
    await assert_pending(pairlock, started)


async def test_a_device_code_is_no_good_for_the_calls_of_the_pin_method(
    pairlock: Pairlock, started: DeviceCode
) -> None:
    request_id, _, secret = started.device_code.partition(".")
    calls: list[Callable[[], object]] = [
        lambda: pairlock.pairing.find(request_id, secret),
        lambda: pairlock.pairing.wait(request_id, secret, 0),
        lambda: pairlock.pairing.redeem(request_id, secret),
        lambda: pairlock.pairing.submit_pin(request_id, secret, "123456"),
        lambda: pairlock.pairing.cancel(request_id, secret),
    ]
    await pairlock.deciding.approve(started.request.id)
    for call in calls:
        with pytest.raises(InvalidToken):
            await call()  # type: ignore[misc]  # coroutines of different results
    minted = await pairlock.codes.mint(DEFAULT)
    await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    with pytest.raises(InvalidToken):
        await pairlock.pairing.find(minted.request.id, SECRET)
    assert (await poll(pairlock, started)).device.name == "Telly"


async def test_a_device_code_counts_for_its_client_alone(pairlock: Pairlock, started: DeviceCode) -> None:
    with pytest.raises(InvalidGrant):
        await poll(pairlock, started, RADIO)
    await assert_pending(pairlock, started)
    await pairlock.deciding.approve(started.request.id)
    with pytest.raises(InvalidGrant):
        await poll(pairlock, started, RADIO)
    assert (await poll(pairlock, started)).device.client_id == "tv"


@pytest.mark.parametrize(
    ("challenge", "verifier", "counts"),
    [
        ("", "", True),
        (CHALLENGE, VERIFIER, True),
        (CHALLENGE, "", False),
        ("", VERIFIER, False),
        (CHALLENGE, VERIFIER[:-1] + "-", False),
        (CHALLENGE, CHALLENGE, False),
        (encode_secret(hashlib.sha256(b"short").digest()), "short", False),
    ],
)
async def test_a_challenge_wants_its_verifier_and_a_verifier_its_challenge(
    pairlock: Pairlock, challenge: str, verifier: str, counts: bool
) -> None:
    started = await pairlock.device_codes.start(TV, challenge=challenge)
    await pairlock.deciding.approve(started.request.id)
    if counts:
        assert (await pairlock.device_codes.redeem(started.device_code, TV, verifier=verifier)).device.client_id == "tv"
    else:
        with pytest.raises(InvalidGrant):
            await pairlock.device_codes.redeem(started.device_code, TV, verifier=verifier)


# Devices that go away


async def test_a_device_that_polled_and_stopped_is_withdrawn(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    await assert_pending(pairlock, started)
    clock.advance(30.9)
    assert (await pairlock.deciding.look_up(started.user_code)).id == started.request.id
    clock.advance(0.1)
    with pytest.raises(InvalidCode):
        await pairlock.deciding.look_up(started.user_code)
    with pytest.raises(AlreadyDecided) as refused:
        await pairlock.deciding.approve(started.request.id)
    assert refused.value.state == "cancelled"
    assert isinstance(await told(pairlock, started), ExpiredToken)  # should it come back


async def test_a_device_that_was_slowed_down_is_waited_for_as_much_longer(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    await assert_pending(pairlock, started)
    clock.advance(2)
    await assert_slowed_down(pairlock, started, 10)
    clock.advance(35.9)
    assert (await pairlock.deciding.look_up(started.user_code)).id == started.request.id
    clock.advance(0.1)
    with pytest.raises(InvalidCode):
        await pairlock.deciding.look_up(started.user_code)


async def test_a_device_that_never_polled_is_waited_for_to_the_end(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    clock.advance(599.9)
    assert (await pairlock.deciding.look_up(started.user_code)).id == started.request.id
    await pairlock.deciding.approve(started.request.id)
    assert (await poll(pairlock, started)).device.name == "Telly"


async def test_what_was_approved_waits_for_a_device_that_stopped_polling(
    pairlock: Pairlock, started: DeviceCode, clock: FakeClock
) -> None:
    await assert_pending(pairlock, started)
    await pairlock.deciding.approve(started.request.id)
    clock.advance(300)
    assert (await poll(pairlock, started)).device.name == "Telly"


# Looking a user code up


@pytest.mark.parametrize("spelling", ["{0}-{1}", "{0}{1}", "{0} {1}", " {0}.{1}\n", "{0}–{1}", "1{0}0{1}", "é{0}_{1}"])
async def test_a_user_code_is_typed_in_any_form(
    pairlock: Pairlock, other: Pairlock, started: DeviceCode, spelling: str
) -> None:
    typed = spelling.format(started.user_code[:4].lower(), started.user_code[4:])
    for handle in (pairlock, other):
        assert await handle.deciding.look_up(typed, by=ALICE) == started.request


async def test_only_what_waits_is_looked_up(pairlock: Pairlock, clock: FakeClock) -> None:
    by_pin, minted = await pairlock.pairing.start("Phone"), await pairlock.codes.mint(DEFAULT)
    denied, let_in, expired = [await pairlock.device_codes.start(TV) for _ in range(3)]
    await pairlock.deciding.deny(denied.request.id)
    await pairlock.deciding.approve(let_in.request.id)
    clock.advance(600)
    ended = [each.user_code for each in (denied, let_in, expired)]
    pin = pairlock.deciding.pin(by_pin.request) or ""
    for number, typed in enumerate([*ended, pin, minted.code, expired.device_code, "", "\ud800", "x" * 10_000]):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up(typed, by=Operator(str(number)))


async def test_what_waits_by_device_code_is_not_listed_for_it_is_found_by_its_code_alone(
    pairlock: Pairlock, started: DeviceCode
) -> None:
    assert await pairlock.deciding.pending() == []
    assert await pairlock.deciding.show(started.request.id) == started.request
    assert pairlock.deciding.pin(started.request) is None


async def test_a_user_code_of_an_older_key_is_found_while_that_key_is_in_the_list(
    make: Make, started: DeviceCode
) -> None:
    both, new = make(secret_keys=[KEY, OTHER_KEY]), make(secret_keys=[OTHER_KEY])
    assert (await both.deciding.look_up(started.user_code)).id == started.request.id
    with pytest.raises(InvalidCode):
        await new.deciding.look_up(started.user_code)


async def guess_wrong(pairlock: Pairlock, times: int, by: Operator = ALICE, origin: Origin | None = None) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up(UNKNOWN, by=by, origin=origin)


async def test_after_five_wrong_user_codes_an_operator_waits_and_the_right_one_is_refused_too(
    pairlock: Pairlock, other: Pairlock, make: Make, started: DeviceCode, clock: FakeClock
) -> None:
    await guess_wrong(pairlock, 3)
    await guess_wrong(other, 2)
    await pairlock.aclose()
    for handle in (other, make()):  # it survives a restart
        with pytest.raises(TooManyRequests) as refused:
            await handle.deciding.look_up(started.user_code, by=ALICE)
        assert refused.value.retry_after == 900
    assert (await other.deciding.look_up(started.user_code, by=BOB)).id == started.request.id
    clock.advance(900)
    later = await other.device_codes.start(TV)
    assert (await other.deciding.look_up(later.user_code, by=ALICE)).id == later.request.id


async def test_a_right_user_code_is_no_guess_but_forgives_none(pairlock: Pairlock, started: DeviceCode) -> None:
    for _ in range(10):
        await pairlock.deciding.look_up(started.user_code, by=ALICE, origin=SOMEWHERE)
    await guess_wrong(pairlock, 4)
    await pairlock.deciding.look_up(started.user_code, by=ALICE)
    await guess_wrong(pairlock, 1)
    with pytest.raises(TooManyRequests):
        await pairlock.deciding.look_up(started.user_code, by=ALICE)


async def test_wrong_user_codes_are_limited_by_source_whoever_types_them(
    make: Make, started: DeviceCode, clock: FakeClock
) -> None:
    pairlock = make(limits=Limits(wrong_user_codes_per_source="3/15 minutes"))
    for number in range(3):
        await guess_wrong(pairlock, 1, Operator(str(number)), SOMEWHERE)
    with pytest.raises(TooManyRequests):
        await pairlock.deciding.look_up(started.user_code, by=ALICE, origin=SOMEWHERE)
    elsewhere = await pairlock.deciding.look_up(started.user_code, by=ALICE, origin=Origin("192.0.2.8"))
    assert elsewhere.id == started.request.id


async def test_wrong_user_codes_are_limited_in_all(make: Make, started: DeviceCode) -> None:
    pairlock = make(limits=Limits(wrong_user_codes_in_all="3/hour"))
    for number in range(3):
        await guess_wrong(pairlock, 1, Operator(str(number)))
    with pytest.raises(TooManyRequests) as refused:
        await pairlock.deciding.look_up(started.user_code, by=ALICE)
    assert refused.value.retry_after == 3600


# The operator's confirmation PIN


@pytest.fixture
async def confirming(make: Make) -> Pairlock:
    return make(confirmation_pin=True)


async def confirm(pairlock: Pairlock, started: DeviceCode, pin: str | None) -> Redeemed:
    return await pairlock.device_codes.redeem(started.device_code, TV, confirmation_pin=pin)


async def confirmation_pin(pairlock: Pairlock, started: DeviceCode) -> str:
    pin = pairlock.deciding.confirmation_pin(await pairlock.deciding.show(started.request.id))
    assert pin is not None
    return pin


async def test_the_confirmation_pin_is_shown_once_the_operator_has_approved(
    confirming: Pairlock, pairlock: Pairlock
) -> None:
    started = await confirming.device_codes.start(TV)
    assert confirming.deciding.confirmation_pin(started.request) is None
    decided = await confirming.deciding.approve(started.request.id)
    assert re.fullmatch(r"\d{6}", confirming.deciding.confirmation_pin(decided) or "")
    assert pairlock.deciding.confirmation_pin(decided) is None  # where none is asked for
    await confirm(confirming, started, await confirmation_pin(confirming, started))
    assert confirming.deciding.confirmation_pin(await confirming.deciding.show(started.request.id)) is None
    by_pin = await confirming.pairing.start("Phone")
    by_hand = await confirming.deciding.approve(by_pin.request.id)
    assert confirming.deciding.confirmation_pin(by_hand) is None
    assert (await confirming.pairing.redeem(by_pin.request.id, by_pin.secret)).device.name == "Phone"


async def test_the_device_is_asked_for_the_pin_and_redeems_with_it(confirming: Pairlock, make: Make) -> None:
    started, other = await approved(confirming), make(confirmation_pin=True)
    for handle in (confirming, other):
        with pytest.raises(ConfirmationRequired) as asked:
            await confirm(handle, started, None)
        assert asked.value.attempts_left == 5
    pin = await confirmation_pin(other, started)
    assert (await confirm(other, started, f" {pin[:3]}-{pin[3:]} ")).device.name == "Telly"
    with pytest.raises(InvalidGrant):
        await confirm(confirming, started, pin)


async def test_a_confirmation_pin_typed_before_the_approval_is_not_looked_at(confirming: Pairlock, path: Path) -> None:
    started = await confirming.device_codes.start(TV)
    with pytest.raises(AuthorizationPending):
        await confirm(confirming, started, "000000")
    assert (await as_kept(path, started)).guesses == 0


async def test_a_wrong_confirmation_pin_leaves_fewer_and_the_fifth_locks(
    confirming: Pairlock, path: Path, make: Make
) -> None:
    started = await approved(confirming)
    pin, other = await confirmation_pin(confirming, started), make(confirmation_pin=True)
    for turn, left in enumerate((4, 3, 2, 1, 0)):
        with pytest.raises(InvalidPin) as refused:
            await confirm((confirming, other)[turn % 2], started, wrong(pin))
        assert refused.value.attempts_left == left
    for handle in (confirming, other, make(confirmation_pin=False)):
        with pytest.raises(InvalidGrant):
            await confirm(handle, started, pin)
    assert (await as_kept(path, started)).state is State.LOCKED
    assert [(event.type.value, event.by) for event in await audited(confirming)][-1] == ("locked", "confirmation")
    assert await kept_devices(path) == []


async def test_the_right_confirmation_pin_counts_after_four_wrong_ones(confirming: Pairlock) -> None:
    started = await approved(confirming)
    pin = await confirmation_pin(confirming, started)
    for typed in ("", "1", pin + "0"):
        with pytest.raises(InvalidRequest):  # no PIN, and no guess
            await confirm(confirming, started, typed)
    for _ in range(4):
        with pytest.raises(InvalidPin):
            await confirm(confirming, started, wrong(pin))
    with pytest.raises(ConfirmationRequired) as asked:
        await confirm(confirming, started, None)
    assert asked.value.attempts_left == 1
    assert (await confirm(confirming, started, pin)).device.name == "Telly"


async def test_guesses_that_are_used_up_stay_so_where_the_process_ended_before_it_locked(
    confirming: Pairlock, path: Path
) -> None:
    started = await approved(confirming)
    counted = Swap((await as_kept(path, started)).evolve(guesses=5))
    await reading(path, lambda store: store.commit(counted))
    with pytest.raises(InvalidGrant):
        await confirm(confirming, started, await confirmation_pin(confirming, started))
    assert (await as_kept(path, started)).guesses == 5


async def test_no_confirmation_pin_is_right_once_its_key_is_gone(confirming: Pairlock, make: Make) -> None:
    started = await approved(confirming)
    pin, new = await confirmation_pin(confirming, started), make(secret_keys=[OTHER_KEY], confirmation_pin=True)
    with pytest.raises(InvalidPin):
        await confirm(new, started, pin)
    assert (await confirm(confirming, started, pin)).device.name == "Telly"


# The application's handler


async def test_what_a_handler_lets_in_needs_no_operator_and_no_confirmation(make: Make) -> None:
    async def decide(asked: Asked) -> Approve | Deny | None:
        assert (asked.method, asked.client_id, asked.name) == ("device_code", "tv", "Telly")
        return Approve(permissions=NARROW)

    pairlock = make(decide=decide, confirmation_pin=True)
    started = await pairlock.device_codes.start(TV)
    assert pairlock.deciding.confirmation_pin(started.request) is None
    redeemed = await poll(pairlock, started)
    assert (redeemed.device.approved_by, redeemed.permissions) == ("handler", NARROW)


async def test_what_a_handler_denies_gets_no_code(make: Make) -> None:
    async def decide(asked: Asked) -> Approve | Deny | None:
        return Deny(reason="No televisions") if asked.name == "Telly" else None

    pairlock = make(decide=decide)
    with pytest.raises(AccessDenied) as refused:
        await pairlock.device_codes.start(TV)
    assert refused.value.reason == "No televisions"
    await assert_pending(pairlock, await pairlock.device_codes.start(TV, name="Radio"))


# Whose network


async def test_an_operator_of_another_network_lets_nobody_in_where_it_must_be_the_same(make: Make) -> None:
    pairlock = make(same_network=True)
    started = await pairlock.device_codes.start(TV, origin=Origin("192.168.1.20"))
    with pytest.raises(DifferentNetwork):
        await pairlock.deciding.approve(started.request.id, origin=Origin("203.0.113.9"))
    await assert_pending(pairlock, started)
    await pairlock.deciding.approve(started.request.id, origin=Origin("192.168.1.2"))
    assert (await poll(pairlock, started)).device.name == "Telly"
