"""Who decides: operators, the application's own handler, and what a display is told of."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from pairlock import Approve, Asked, Client, Deny, Limits, Operator, Pairlock, Permissions, Prompt
from pairlock._core.methods import grouped
from pairlock._core.records import EventType, Origin
from pairlock._core.states import State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AuthorizationPending,
    Busy,
    DifferentNetwork,
    InvalidCode,
    InvalidPermissions,
    InvalidPin,
    InvalidToken,
    NotFound,
    TemporarilyUnavailable,
    TooManyRequests,
    WindowClosed,
)
from pairlock.services.deciding import UNDECIDED_IN_TIME, Decision, DecisionHandler
from pairlock.services.device_codes import DeviceCode
from pairlock.services.pairing import Started
from pairlock.services.tokens import Redeemed
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, UNLIMITED, FailingStore, Make, away, until
from tests.services.steps import (
    HERE,
    OFTEN,
    THERE,
    TV,
    all_of,
    anywhere,
    ask,
    ask_by_device_code,
    happened,
    mistype,
    poll,
    redeem,
    type_pin,
    types,
)

pytestmark = pytest.mark.anyio

DEFAULT = Permissions.parse(SENSORS)
NARROW = Permissions(read=("/sensors/a",))
WIDER = Permissions(read=("/**",))
ALICE = Operator("alice")
BOB = Operator("bob", NARROW)

METHODS = pytest.mark.parametrize("method", ["pin", "device_code"])


async def start(
    pairlock: Pairlock, method: str, permissions: Permissions | None = None, origin: Origin | None = None
) -> Started | DeviceCode:
    """A request by this method, from anywhere unless it is said."""
    where = origin or anywhere()
    if method == "pin":
        return await pairlock.pairing.start("Phone", permissions=permissions, origin=where)
    return await pairlock.device_codes.start(TV, name="Phone", permissions=permissions, origin=where)


async def collect(pairlock: Pairlock, asked: Started | DeviceCode) -> Redeemed:
    """What the device gets once it was approved."""
    if isinstance(asked, Started):
        return await redeem(pairlock, asked)
    return await pairlock.device_codes.redeem(asked.device_code, TV)


def answering(decision: object) -> DecisionHandler:
    """A handler that always says the same, allowed or not."""

    async def handler(asked: Asked) -> Any:
        return decision

    return handler


# Operators


@METHODS
async def test_an_operator_lets_a_device_in_with_what_it_asked_for_or_the_default(
    pairlock: Pairlock, clock: FakeClock, method: str
) -> None:
    for permissions, granted in ((None, DEFAULT), (NARROW, NARROW)):
        asked = await start(pairlock, method, permissions)
        approved = await pairlock.deciding.approve(asked.request.id, by=ALICE, message=" Wel\x07come \u202e")
        assert (approved.state, approved.granted, approved.decided_by) == (State.APPROVED, granted, "operator:alice")
        redeemed = await collect(pairlock, asked)
        assert (redeemed.device.permissions, redeemed.device.approved_by) == (granted, "operator:alice")
        assert redeemed.message == "Welcome"


@METHODS
async def test_an_operator_narrows_what_a_device_gets(pairlock: Pairlock, method: str) -> None:
    asked = await start(pairlock, method, DEFAULT)
    await pairlock.deciding.approve(asked.request.id, permissions=NARROW)
    assert (await collect(pairlock, asked)).device.permissions == NARROW


@METHODS
@pytest.mark.parametrize(
    ("wanted", "granted", "by"),
    [
        (NARROW, WIDER, ALICE),  # more than the device asked for
        (NARROW, DEFAULT, ALICE),
        (DEFAULT, DEFAULT, BOB),  # more than the operator holds
        (DEFAULT, None, BOB),
        (None, None, BOB),
        (None, WIDER, BOB),
    ],
)
async def test_nobody_grants_more_than_was_asked_for_or_than_they_hold(
    pairlock: Pairlock, method: str, wanted: Permissions | None, granted: Permissions | None, by: Operator
) -> None:
    asked = await start(pairlock, method, wanted)
    with pytest.raises(InvalidPermissions):
        await pairlock.deciding.approve(asked.request.id, permissions=granted, by=by)
    assert await pairlock.deciding.show(asked.request.id) == asked.request
    assert (await pairlock.deciding.approve(asked.request.id, permissions=NARROW, by=by)).granted == NARROW


@METHODS
async def test_the_reason_of_a_denial_reaches_the_device(pairlock: Pairlock, method: str) -> None:
    asked = await start(pairlock, method)
    await pairlock.deciding.deny(asked.request.id, reason="Not\x00 today", by=ALICE)
    with pytest.raises(AccessDenied) as refused:
        await collect(pairlock, asked)
    assert refused.value.reason == "Not today"


async def decided_as(pairlock: Pairlock, state: str, clock: FakeClock) -> Started:
    """A request that is no longer pending."""
    started = await ask(pairlock)
    request_id = started.request.id
    if state in ("approved", "redeemed"):
        await pairlock.deciding.approve(request_id)
    if state == "redeemed":
        await redeem(pairlock, started)
    if state == "denied":
        await pairlock.deciding.deny(request_id)
    if state == "locked":
        await mistype(pairlock, started, 5)
    if state == "cancelled":
        await pairlock.pairing.cancel(request_id, started.secret)
    if state == "expired":
        clock.advance(300)
    return started


@pytest.mark.parametrize("state", ["approved", "redeemed", "denied", "locked", "cancelled", "expired"])
async def test_what_is_no_longer_pending_cannot_be_decided_and_the_operator_is_told_why(
    pairlock: Pairlock, clock: FakeClock, state: str
) -> None:
    started = await decided_as(pairlock, state, clock)
    before = await pairlock.deciding.show(started.request.id), await happened(pairlock)
    for decide in (pairlock.deciding.approve, pairlock.deciding.deny):
        with pytest.raises(AlreadyDecided) as late:
            await decide(started.request.id)
        assert late.value.state == state
    assert before == (await pairlock.deciding.show(started.request.id), await happened(pairlock))


async def test_only_what_devices_asked_for_is_shown_and_decided(pairlock: Pairlock) -> None:
    minted = await pairlock.codes.mint(DEFAULT)
    for request_id in (minted.request.id, "0" * 26, ""):
        for call in (pairlock.deciding.show, pairlock.deciding.approve, pairlock.deciding.deny):
            with pytest.raises(NotFound):
                await call(request_id)


async def test_a_denial_stands_though_the_cool_down_cannot_be_counted(make: Make) -> None:
    store = FailingStore()
    pairlock = make(store=store)
    started = await ask(pairlock)
    store.errors = {"hit": away()}
    with pytest.raises(TemporarilyUnavailable):
        await pairlock.deciding.deny(started.request.id)
    assert (await pairlock.deciding.show(started.request.id)).state is State.DENIED


# What is shown


async def test_pending_lists_those_by_pin_alone(pairlock: Pairlock, clock: FakeClock) -> None:
    first = await ask(pairlock)
    await ask_by_device_code(pairlock)
    await pairlock.codes.mint(DEFAULT)
    clock.advance(1)
    second = await ask(pairlock)
    assert await pairlock.deciding.pending() == [second.request, first.request]
    assert await pairlock.deciding.pending(limit=1) == [second.request]
    assert await pairlock.deciding.pending(before=second.request.id) == [first.request]


async def test_only_a_request_by_pin_has_a_pin(pairlock: Pairlock) -> None:
    asked, minted = await ask_by_device_code(pairlock), await pairlock.codes.mint(DEFAULT)
    assert pairlock.deciding.pin(asked.request) is None
    assert pairlock.deciding.pin(minted.request) is None
    assert len(pairlock.deciding.pin((await ask(pairlock)).request) or "") == 6


async def test_a_confirming_pin_is_shown_only_once_an_operator_has_approved_a_device_code(make: Make) -> None:
    with_it, without = make(confirmation_pin=True), make()
    handled = make(confirmation_pin=True, decide=answering(Approve()))
    asked, by_pin = await ask_by_device_code(with_it), await ask(with_it)
    assert with_it.deciding.confirmation_pin(asked.request) is None
    approved = await with_it.deciding.approve(asked.request.id)
    assert len(with_it.deciding.confirmation_pin(approved) or "") == 6
    assert with_it.deciding.confirmation_pin(await with_it.deciding.approve(by_pin.request.id)) is None
    assert without.deciding.confirmation_pin(approved) is None
    assert handled.deciding.confirmation_pin((await ask_by_device_code(handled)).request) is None


# The network


@METHODS
async def test_with_same_network_only_neighbours_are_approved(make: Make, method: str) -> None:
    pairlock = make(same_network=True)
    asked = await start(pairlock, method, origin=Origin("192.168.1.20"))
    for elsewhere in ("192.168.2.20", "203.0.113.5", "", "2001:db8::1"):
        with pytest.raises(DifferentNetwork):
            await pairlock.deciding.approve(asked.request.id, origin=Origin(elsewhere))
    assert (await pairlock.deciding.show(asked.request.id)).state is State.PENDING
    approved = await pairlock.deciding.approve(asked.request.id, origin=Origin("192.168.1.99"))
    assert approved.state is State.APPROVED


async def test_with_same_network_anybody_may_deny_and_the_application_itself_approve(make: Make) -> None:
    pairlock = make(same_network=True)
    first, second = await ask(pairlock), await ask(pairlock)
    await pairlock.deciding.deny(first.request.id, by=ALICE)
    await pairlock.deciding.approve(second.request.id)


async def test_without_same_network_operators_may_be_anywhere(pairlock: Pairlock) -> None:
    started = await ask(pairlock, HERE)
    assert (await pairlock.deciding.approve(started.request.id, origin=THERE)).state is State.APPROVED


# User codes


def other_user_code(user_code: str) -> str:
    """One that is nobody's."""
    return ("B" if user_code[0] != "B" else "C") + user_code[1:]


@pytest.mark.parametrize(
    "form", [str, str.lower, grouped, lambda code: f" {code[:3]}.{code[3:]}\n", lambda code: f"1{code}0"]
)
async def test_a_user_code_finds_its_request_however_it_is_typed(
    pairlock: Pairlock, other: Pairlock, form: Callable[[str], str]
) -> None:
    asked = await ask_by_device_code(pairlock)
    assert await other.deciding.look_up(form(asked.user_code)) == asked.request


async def test_a_user_code_finds_nothing_once_its_request_is_decided_or_over(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=UNLIMITED)
    approved, denied, expired = [await ask_by_device_code(pairlock) for _ in range(3)]
    await pairlock.deciding.approve(approved.request.id)
    await pairlock.deciding.deny(denied.request.id)
    for asked in (approved, denied):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up(asked.user_code)
    clock.advance(600)
    for typed in (expired.user_code, "", "WDJB", "\ud800", "B" * 10_000):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up(typed)


async def test_codes_of_other_methods_are_no_user_codes(pairlock: Pairlock) -> None:
    for method in ("one_time_code", "qr"):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up((await pairlock.codes.mint(DEFAULT, method=method)).code)


async def test_an_operator_types_five_wrong_user_codes_and_then_waits(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    asked = await ask_by_device_code(pairlock)
    for _ in range(7):
        await pairlock.deciding.look_up(asked.user_code, by=ALICE)  # right ones are taken back
    for process in (pairlock, pairlock, pairlock, other, other):
        with pytest.raises(InvalidCode):
            await process.deciding.look_up(other_user_code(asked.user_code), by=ALICE)
    await pairlock.aclose()
    for process in (pairlock, other):
        with pytest.raises(TooManyRequests) as refused:
            await process.deciding.look_up(asked.user_code, by=ALICE)
        assert refused.value.retry_after == 900
    assert await pairlock.deciding.look_up(asked.user_code, by=BOB) == asked.request
    clock.advance(900)
    late = await ask_by_device_code(pairlock)
    assert await pairlock.deciding.look_up(late.user_code, by=ALICE) == late.request


async def test_a_source_types_ten_wrong_user_codes_whoever_it_says_to_be(pairlock: Pairlock) -> None:
    asked = await ask_by_device_code(pairlock)
    for turn in range(10):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up("BBBB", by=Operator(f"operator {turn}"), origin=HERE)
    with pytest.raises(TooManyRequests):
        await pairlock.deciding.look_up(asked.user_code, by=ALICE, origin=HERE)
    assert await pairlock.deciding.look_up(asked.user_code, by=ALICE, origin=THERE) == asked.request


async def test_a_hundred_wrong_user_codes_an_hour_are_looked_at_in_all(pairlock: Pairlock, clock: FakeClock) -> None:
    for turn in range(100):
        with pytest.raises(InvalidCode):
            await pairlock.deciding.look_up("BBBB", by=Operator(f"operator {turn}"), origin=anywhere())
    asked = await ask_by_device_code(pairlock)
    with pytest.raises(TooManyRequests) as refused:
        await pairlock.deciding.look_up(asked.user_code, by=ALICE, origin=anywhere())
    assert refused.value.retry_after == 3600


# The handler


@METHODS
async def test_a_handler_lets_a_device_in_at_once(make: Make, method: str) -> None:
    pairlock = make(decide=answering(Approve(message="Hello\x00")))
    asked = await start(pairlock, method)
    assert (asked.request.state, asked.request.granted, asked.request.decided_by) == (
        State.APPROVED,
        DEFAULT,
        "handler",
    )
    redeemed = await collect(pairlock, asked)
    assert (redeemed.device.approved_by, redeemed.device.permissions) == ("handler", DEFAULT)
    assert redeemed.message == "Hello"
    events = await happened(pairlock)
    assert [(event.type.value, event.by) for event in events] == [
        ("requested", "device"),
        ("approved", "handler"),
        ("redeemed", f"device:{redeemed.device.id}"),
    ]


@METHODS
async def test_a_handler_grants_what_was_asked_for_or_less(make: Make, method: str) -> None:
    for decision, wanted, granted in (
        (Approve(), NARROW, NARROW),
        (Approve(permissions={"read": ["/sensors/a"]}), DEFAULT, NARROW),
        (Approve(permissions=NARROW), None, NARROW),
        (Approve(permissions={}), None, Permissions()),
    ):
        pairlock = make(decide=answering(decision))
        assert (await collect(pairlock, await start(pairlock, method, wanted))).device.permissions == granted


async def test_a_handler_may_grant_more_than_the_default_where_nothing_was_asked_for(make: Make) -> None:
    pairlock = make(decide=answering(Approve(permissions=WIDER)))
    assert (await redeem(pairlock, await ask(pairlock))).device.permissions == WIDER


@METHODS
async def test_the_token_life_of_a_handler_is_that_of_the_device_and_its_tokens(
    make: Make, clock: FakeClock, method: str
) -> None:
    pairlock = make(decide=answering(Approve(token_life=60)), limits=OFTEN)
    redeemed = await collect(pairlock, await start(pairlock, method))
    assert redeemed.device.token_life == 60
    token, life = pairlock.tokens.access(redeemed.device)
    assert life == 60
    assert (await pairlock.verify(token)).expires_at == int(clock.now) + 60
    clock.advance(60)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)
    refreshed = await pairlock.tokens.refresh(redeemed.refresh_token or "", client_id=redeemed.device.client_id)
    assert pairlock.tokens.access(refreshed.device)[1] == 60


@METHODS
async def test_a_device_that_a_handler_denies_is_told_the_reason_at_once(make: Make, method: str) -> None:
    pairlock = make(decide=answering(Deny(reason="Not\u202e in this house")))
    with pytest.raises(AccessDenied) as refused:
        await start(pairlock, method, origin=HERE)
    assert refused.value.reason == "Not in this house"
    requested, denied = await happened(pairlock)
    assert requested.type is EventType.REQUESTED
    assert (denied.type, denied.by, denied.reason) == (EventType.DENIED, "handler", "Not in this house")
    assert (denied.name, denied.method, denied.origin) == ("Phone", method, HERE)
    assert denied.request_id == requested.request_id
    assert await pairlock.deciding.pending() == []


async def test_a_handler_may_deny_without_a_reason(make: Make) -> None:
    with pytest.raises(AccessDenied) as refused:
        await ask(make(decide=answering(Deny())))
    assert refused.value.reason is None


async def test_a_handler_may_leave_it_to_the_pin_or_the_operator(make: Make) -> None:
    pairlock = make(decide=answering(None))
    assert (await type_pin(pairlock, await ask(pairlock))).device.approved_by == "pin"
    asked = await ask_by_device_code(pairlock)
    with pytest.raises(AuthorizationPending):
        await pairlock.device_codes.redeem(asked.device_code, TV)
    await pairlock.deciding.approve(asked.request.id, by=ALICE)
    assert (await pairlock.device_codes.redeem(asked.device_code, TV)).device.approved_by == "operator:alice"
    assert "handler" not in {event.by for event in await happened(pairlock)}


async def fails(asked: Asked) -> Decision:
    raise RuntimeError("the directory is away")


async def hangs(asked: Asked) -> Decision:
    await asyncio.sleep(60)
    return Approve()


def is_not_async(asked: Asked) -> Approve:
    return Approve()


WRONG_DECISIONS: list[object] = [
    True,
    False,
    "approve",
    {"approved": True},
    Approve,
    0,
    Approve(permissions=WIDER),
    Approve(permissions={"read": ["sensors"]}),
    Approve(permissions={"reed": []}),
    *(Approve(token_life=life) for life in (0, 0.5, -1, float("nan"), float("inf"))),
    Approve(token_life="3600"),  # type: ignore[arg-type]  # what a careless handler says
    Approve(message=7),  # type: ignore[arg-type]
    Deny(reason=7),  # type: ignore[arg-type]
]


@METHODS
@pytest.mark.parametrize(
    "handler",
    [fails, hangs, is_not_async, *map(answering, WRONG_DECISIONS)],
    ids=["fails", "hangs", "is not async", *map(repr, WRONG_DECISIONS)],
)
async def test_whatever_a_handler_does_wrong_denies_and_is_logged(
    make: Make, method: str, handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock = make(decide=handler, decide_timeout=0.05)
    with caplog.at_level(logging.ERROR, "pairlock"), pytest.raises(AccessDenied) as refused:
        await start(pairlock, method, NARROW)
    assert refused.value.reason == UNDECIDED_IN_TIME
    (record,) = [record for record in caplog.records if record.name == "pairlock"]
    assert record.getMessage() == "the decision handler failed: the device is denied"
    assert record.exc_info is not None
    assert [(event.type.value, event.by) for event in await happened(pairlock)] == [
        ("requested", "device"),
        ("denied", "handler"),
    ]
    assert await pairlock.deciding.pending() == []


async def test_a_handler_that_goes_on_after_its_time_lets_nobody_in(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    async def stubborn(asked: Asked) -> Decision:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0)  # it has something to finish
        return Approve()

    pairlock = make(decide=stubborn, decide_timeout=0.05)
    with pytest.raises(AccessDenied) as refused:
        await ask(pairlock)
    assert refused.value.reason == UNDECIDED_IN_TIME
    assert "the decision handler took too long: the device is denied" in caplog.messages


async def test_a_device_is_told_nothing_of_what_went_wrong_in_a_handler(make: Make) -> None:
    with pytest.raises(AccessDenied) as refused:
        await ask(make(decide=fails))
    assert "directory" not in f"{refused.value} {refused.value.body()}"


@pytest.mark.parametrize("decision", [Approve(), Deny()])
async def test_a_handler_that_thinks_for_longer_than_the_request_lives_denies(
    make: Make, clock: FakeClock, decision: Decision
) -> None:
    async def handler(asked: Asked) -> Decision:
        clock.advance(300)
        return decision

    pairlock = make(decide=handler)
    with pytest.raises(AccessDenied):
        await ask(pairlock)


async def test_a_handler_is_asked_once_about_each_device(make: Make) -> None:
    asked: list[Asked] = []

    async def handler(about: Asked) -> Decision:
        asked.append(about)
        return None

    pairlock = make(decide=handler)
    started = await ask(pairlock)
    await poll(pairlock, started)
    await mistype(pairlock, started, 2)
    await type_pin(pairlock, started)
    by_device_code = await ask_by_device_code(pairlock)
    await pairlock.deciding.approve(by_device_code.request.id)
    await pairlock.device_codes.redeem(by_device_code.device_code, TV)
    await pairlock.codes.redeem(await pairlock.code(SENSORS), "Laptop")
    assert [(each.id, each.method) for each in asked] == [
        (started.request.id, "pin"),
        (by_device_code.request.id, "device_code"),
    ]


async def test_a_handler_is_told_who_asks_from_where_and_for_what(make: Make) -> None:
    asked: list[Asked] = []

    async def handler(about: Asked) -> Decision:
        asked.append(about)
        return None

    pairlock = make(decide=handler)
    origin = Origin("192.0.2.7", "curl/8", "kitchen")
    await pairlock.pairing.start(" Phone\x00 ", origin=origin)
    await pairlock.device_codes.start(Client(id="tv", permissions=NARROW), name="Screen", origin=origin)
    by_pin, by_device_code = asked
    assert (by_pin.name, by_pin.method, by_pin.client_id, by_pin.origin) == ("Phone", "pin", "", origin)
    assert by_pin.permissions == DEFAULT
    assert (by_device_code.name, by_device_code.client_id, by_device_code.permissions) == ("Screen", "tv", NARROW)
    assert repr(by_pin) == f"<Asked {by_pin.id} 'Phone'>"


async def test_a_handler_is_not_asked_about_what_is_refused_anyway(make: Make) -> None:
    asked: list[Asked] = []

    async def handler(about: Asked) -> Decision:
        asked.append(about)
        return Deny()

    pairlock = make(decide=handler)
    for _ in range(3):
        with pytest.raises(AccessDenied):
            await ask(pairlock, HERE)
    with pytest.raises(TooManyRequests):
        await ask(pairlock, HERE)
    with pytest.raises(InvalidPermissions):
        await pairlock.pairing.start("Phone", permissions=WIDER)
    await pairlock.window.close()
    with pytest.raises(WindowClosed):
        await ask(pairlock)
    assert len(asked) == 3


class Thinking:
    """A handler that waits until it is told what to say."""

    def __init__(self) -> None:
        self.asked = 0
        self.done = asyncio.Event()

    async def __call__(self, asked: Asked) -> Decision:
        self.asked += 1
        await self.done.wait()
        return None


async def test_a_handler_decides_about_20_devices_at_once_and_no_more(make: Make) -> None:
    handler = Thinking()
    pairlock = make(decide=handler)
    thinking = [asyncio.create_task(ask(pairlock)) for _ in range(20)]
    await until(lambda: handler.asked == 20)
    with pytest.raises(Busy) as refused:
        await ask(pairlock)
    assert refused.value.retry_after == 5
    handler.done.set()
    assert all(isinstance(each, Started) for each in await asyncio.gather(*thinking))
    assert handler.asked == 20


async def test_devices_that_gave_up_while_a_handler_was_thinking_leave_room_for_others(make: Make) -> None:
    handler = Thinking()
    pairlock = make(decide=handler, limits=replace(OFTEN, pending=2))
    thinking = [asyncio.create_task(ask(pairlock)) for _ in range(2)]
    await until(lambda: handler.asked == 2)
    for each in thinking:
        each.cancel()
    assert {type(each) for each in await asyncio.gather(*thinking, return_exceptions=True)} == {asyncio.CancelledError}
    handler.done.set()
    await ask(pairlock)
    assert await types(pairlock) == ["requested"]


async def test_what_a_handler_left_to_others_needs_a_place(make: Make) -> None:
    pairlock = make(decide=answering(None), limits=Limits(pending=1))
    await ask(pairlock)
    with pytest.raises(Busy):
        await ask(pairlock)


async def test_the_window_is_looked_at_again_once_a_handler_has_thought(make: Make, clock: FakeClock) -> None:
    handler = Thinking()
    pairlock = make(decide=handler)
    thinking = asyncio.create_task(ask(pairlock))
    await until(lambda: handler.asked == 1)
    await pairlock.window.close()
    handler.done.set()
    with pytest.raises(WindowClosed):
        await thinking
    assert await types(pairlock) == ["window_closed"]


# The application's display


async def test_of_each_source_the_oldest_that_waits_is_shown(pairlock: Pairlock, clock: FakeClock) -> None:
    first = await ask(pairlock, HERE)
    clock.advance(1)
    second, elsewhere = await ask(pairlock, HERE), await ask(pairlock, THERE)
    asked = first.request, second.request, elsewhere.request
    assert [await pairlock.deciding.is_shown(each) for each in asked] == [True, False, True]
    await pairlock.deciding.approve(first.request.id)
    assert [await pairlock.deciding.is_shown(each) for each in asked] == [False, True, True]


class Display:
    """Shows what arrives, in the order in which it does."""

    def __init__(self, prompts: AsyncIterator[Any]) -> None:
        self._prompts = prompts
        self._coming: asyncio.Task[Any] | None = None

    async def next(self) -> str:
        """The id of the next that it is told of."""
        coming, self._coming = self._coming or self._task(), None
        return str((await asyncio.wait_for(coming, 5)).id)

    async def says_nothing(self) -> bool:
        """Whether it is told of nothing while others have had time to."""
        self._coming = self._coming or self._task()
        done, _ = await asyncio.wait([self._coming], timeout=0.12)  # a file is looked at ten times a second
        return not done

    async def aclose(self) -> None:
        """Stop watching."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])

    def _task(self) -> asyncio.Task[Any]:
        async def coming() -> Any:
            return await anext(self._prompts)

        return asyncio.create_task(coming())


@pytest.fixture
async def display(pairlock: Pairlock) -> AsyncIterator[Display]:
    display = Display(pairlock.deciding.arriving())
    yield display
    await display.aclose()


async def test_a_display_is_told_of_one_request_of_a_source_at_a_time_the_oldest_first(
    pairlock: Pairlock, other: Pairlock, display: Display, clock: FakeClock
) -> None:
    first = await ask(pairlock, HERE)
    assert await display.next() == first.request.id
    clock.advance(1)
    second = await ask(pairlock, HERE)
    clock.advance(1)
    third = await ask(other, HERE)
    assert await display.says_nothing()
    elsewhere = await ask(other, THERE)
    assert await display.next() == elsewhere.request.id  # others are not held up
    await other.deciding.approve(first.request.id)
    assert await display.next() == second.request.id
    assert await display.says_nothing()
    await pairlock.pairing.cancel(second.request.id, second.secret)
    assert await display.next() == third.request.id


async def test_a_display_is_told_of_those_who_wait_already_the_oldest_first(
    pairlock: Pairlock, display: Display, clock: FakeClock
) -> None:
    waiting = []
    for origin in (HERE, THERE, HERE):
        waiting.append((await ask(pairlock, origin)).request.id)
        clock.advance(1)
    assert [await display.next(), await display.next()] == waiting[:2]
    assert await display.says_nothing()


async def end_by_pin(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await type_pin(pairlock, started)


async def end_by_lock(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await mistype(pairlock, started, 5)


async def end_by_denial(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await pairlock.deciding.deny(started.request.id)


async def end_by_time(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    clock.advance(150)


async def end_by_leaving(pairlock: Pairlock, started: Started, clock: FakeClock) -> None:
    await poll(pairlock, started)
    clock.advance(60)


@pytest.mark.parametrize("end", [end_by_pin, end_by_lock, end_by_denial, end_by_time, end_by_leaving])
async def test_the_next_of_a_source_is_told_of_once_the_one_before_has_ended(
    pairlock: Pairlock,
    display: Display,
    clock: FakeClock,
    end: Callable[[Pairlock, Started, FakeClock], Awaitable[None]],
) -> None:
    first = await ask(pairlock, HERE)
    assert await display.next() == first.request.id
    clock.advance(150)
    second = await ask(pairlock, HERE)
    assert await display.says_nothing()
    await end(pairlock, first, clock)
    assert await display.next() == second.request.id


async def test_a_display_looks_again_by_itself_for_what_time_has_ended(
    make: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairlock.services.deciding.LOOK_AGAIN", 0.05)
    pairlock = make(pin_timeout=30)
    display = Display(pairlock.deciding.arriving())
    first = await ask(pairlock, HERE)
    assert await display.next() == first.request.id
    clock.advance(20)
    second = await ask(pairlock, HERE)
    assert await display.says_nothing()
    clock.advance(20)  # too little for the chores of the minute
    assert await display.next() == second.request.id


async def test_requests_of_unknown_sources_do_not_wait_for_each_other(pairlock: Pairlock, display: Display) -> None:
    first, second = await pairlock.pairing.start("Phone"), await pairlock.pairing.start("Phone")
    assert {await display.next(), await display.next()} == {first.request.id, second.request.id}


async def test_a_display_is_not_told_of_other_methods(pairlock: Pairlock, display: Display) -> None:
    await ask_by_device_code(pairlock)
    await pairlock.codes.mint(DEFAULT)
    assert await display.says_nothing()
    started = await ask(pairlock)
    assert await display.next() == started.request.id


async def test_two_displays_are_told_of_each(pairlock: Pairlock, other: Pairlock) -> None:
    displays = Display(pairlock.deciding.arriving()), Display(other.requests())
    started = await ask(pairlock)
    assert [await display.next() for display in displays] == [started.request.id] * 2


async def test_a_display_goes_on_when_the_store_was_away(make: Make) -> None:
    store = FailingStore()
    pairlock = make(store=store)
    display = Display(pairlock.requests())
    await pairlock.start()
    store.once = {"list_requests": [away(), away()]}
    started = await ask_when_it_answers(pairlock)
    assert await display.next() == started.request.id


async def ask_when_it_answers(pairlock: Pairlock) -> Started:
    for _ in range(3):
        told = await all_of(1, lambda _: ask(pairlock))
        if isinstance(told[0], Started):
            return told[0]
    raise AssertionError("the store does not come back")


async def test_a_prompt_shows_what_a_display_needs_and_decides(pairlock: Pairlock, clock: FakeClock) -> None:
    prompts = pairlock.requests()
    approved, denied = await ask(pairlock, HERE), await ask(pairlock, THERE)
    clock.advance(100)
    first, second = await anext(prompts), await anext(prompts)
    shown = {prompt.id: prompt for prompt in (first, second)}
    prompt = shown[approved.request.id]
    assert isinstance(prompt, Prompt)
    assert (prompt.name, prompt.method, prompt.origin, prompt.permissions) == ("Phone", "pin", HERE, DEFAULT)
    assert (prompt.pin, prompt.expires_in) == (pairlock.deciding.pin(approved.request), 200)
    await prompt.approve({"read": ["/sensors/a"]}, message="Hello", by=ALICE)
    redeemed = await redeem(pairlock, approved)
    assert (redeemed.device.permissions, redeemed.message) == (NARROW, "Hello")
    await shown[denied.request.id].deny("No", by=ALICE)
    with pytest.raises(AccessDenied):
        await redeem(pairlock, denied)
    for decide in (prompt.approve(), prompt.deny()):
        with pytest.raises(AlreadyDecided):
            await decide


async def test_on_request_is_told_of_one_request_of_a_source_at_a_time(make: Make) -> None:
    pairlock = make()
    shown: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        shown.append(prompt.id)

    first, second = await ask(pairlock, HERE), await ask(pairlock, HERE)
    await until(lambda: bool(shown))
    assert shown == [first.request.id]
    with pytest.raises(InvalidPin):
        await pairlock.pairing.submit_pin(first.request.id, first.secret, "000000" if shown else "")
    await pairlock.pairing.cancel(first.request.id, first.secret)
    await until(lambda: len(shown) == 2)
    assert shown == [first.request.id, second.request.id]
