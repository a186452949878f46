"""What may be done with a pairing request, at any time."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.methods import METHODS
from pairlock._core.permissions import EVERYTHING, NOTHING, Permissions
from pairlock._core.records import PairingRequest
from pairlock._core.requests import (
    OUTCOMES,
    advance,
    attempts_left,
    count_guess,
    decide,
    grant,
    grantable,
    outcome,
    redeem,
    seconds_left,
    settled,
    state_at,
)
from pairlock._core.states import LIVE, Event, State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AlreadyRedeemed,
    AuthorizationPending,
    Cancelled,
    ExpiredToken,
    InvalidPermissions,
    Locked,
    WireError,
)

MADE, ENDS = 1000.0, 1300.0
ENDED = sorted(set(State) - LIVE)


def a_request(state: State = State.PENDING, **fields: Any) -> PairingRequest:
    given: dict[str, Any] = {"method": "pin", "name": "Phone", "created_at": MADE, "expires_at": ENDS} | fields
    return PairingRequest(id="1", state=state, **given)


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize(
    ("now", "live"),
    [(MADE - 60, True), (MADE, True), (ENDS - 0.001, True), (ENDS, False), (ENDS + 1e9, False)],
)
def test_a_live_request_expires_the_moment_its_time_is_over(state: State, now: float, live: bool) -> None:
    assert state_at(a_request(state), now) is (state if live else State.EXPIRED)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_clock_that_jumped_back_more_than_a_minute_fails_closed(state: State) -> None:
    assert state_at(a_request(state), MADE - 60.001) is State.EXPIRED


@pytest.mark.parametrize("state", ENDED)
@pytest.mark.parametrize("now", [MADE - 1e6, MADE, ENDS, ENDS + 1e6])
def test_a_request_that_has_ended_stays_as_it_ended_whatever_the_time(state: State, now: float) -> None:
    assert state_at(a_request(state), now) is state


# --- the presence of its device

GONE = MADE + 100


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (GONE - 0.001, State.PENDING),
        (GONE, State.CANCELLED),
        (ENDS - 0.001, State.CANCELLED),
        (ENDS, State.EXPIRED),  # which says more than that it was withdrawn
        (MADE - 60.001, State.EXPIRED),
    ],
)
def test_a_pending_request_is_withdrawn_when_its_device_has_gone(now: float, state: State) -> None:
    assert state_at(a_request(present_until=GONE), now) is state


def test_an_approved_request_waits_for_a_device_that_has_gone() -> None:
    request = a_request(State.APPROVED, present_until=GONE)
    assert state_at(request, GONE) is State.APPROVED
    assert state_at(request, ENDS) is State.EXPIRED


@pytest.mark.parametrize("state", ENDED)
def test_a_request_that_has_ended_is_not_withdrawn(state: State) -> None:
    assert state_at(a_request(state, present_until=GONE), GONE) is state


@pytest.mark.parametrize("event", list(Event))
def test_nothing_can_be_done_with_a_request_whose_device_has_gone(event: Event) -> None:
    assert advance(a_request(present_until=GONE), GONE, event) is None


def test_who_comes_back_too_late_is_told_that_the_request_was_cancelled() -> None:
    assert type(outcome(a_request(present_until=GONE), GONE)) is Cancelled


def test_who_decides_too_late_is_told_that_the_request_was_cancelled() -> None:
    with pytest.raises(AlreadyDecided) as refused:
        decide(a_request(present_until=GONE), Event.APPROVE, GONE, "operator:ada")
    assert refused.value.state == "cancelled"


# --- writing down what time has ended


@pytest.mark.parametrize(
    ("request_", "now", "state"),
    [
        (a_request(), ENDS, State.EXPIRED),
        (a_request(State.APPROVED), ENDS, State.EXPIRED),
        (a_request(), MADE - 61, State.EXPIRED),
        (a_request(present_until=GONE), GONE, State.CANCELLED),
        (a_request(present_until=GONE), ENDS, State.EXPIRED),
        (a_request(State.APPROVED, present_until=GONE), ENDS, State.EXPIRED),
    ],
)
def test_what_time_has_ended_is_written_down_once(request_: PairingRequest, now: float, state: State) -> None:
    ended = settled(request_, now)
    assert ended is not None
    assert (ended.state, ended.ended_at, ended.version) == (state, now, request_.version + 1)
    assert settled(ended, now + 1e6) is None


@pytest.mark.parametrize("state", sorted(LIVE))
def test_what_time_has_not_ended_is_left_alone(state: State) -> None:
    assert settled(a_request(state, present_until=GONE), GONE - 1) is None


@pytest.mark.parametrize("state", ENDED)
def test_what_has_ended_otherwise_is_left_alone(state: State) -> None:
    assert settled(a_request(state, present_until=GONE), ENDS + 1) is None


@given(
    times=st.lists(st.floats(MADE - 100, ENDS + 100), min_size=2, max_size=10).map(sorted),
    present_until=st.none() | st.floats(MADE, ENDS + 100),
    state=st.sampled_from(sorted(State)),
)
def test_as_time_goes_by_no_request_comes_to_life_again(
    times: list[float], present_until: float | None, state: State
) -> None:
    request = a_request(state, present_until=present_until)
    live = [state_at(request, now) in LIVE for now in times if now >= MADE - 60]
    assert live == sorted(live, reverse=True)


# --- what is done


def test_to_advance_makes_the_next_version_with_the_changes_and_leaves_the_old_one() -> None:
    request = a_request()
    approved = advance(request, MADE, Event.APPROVE, granted=NOTHING)
    assert approved is not None
    assert (approved.state, approved.version, approved.granted) == (State.APPROVED, 2, NOTHING)
    assert (request.state, request.version, request.granted) == (State.PENDING, 1, None)


def test_several_events_in_one_write_make_one_version() -> None:
    redeemed = advance(a_request(), MADE, Event.APPROVE, Event.REDEEM, device_id="2")
    assert redeemed is not None
    assert (redeemed.state, redeemed.version, redeemed.device_id) == (State.REDEEMED, 2, "2")


@pytest.mark.parametrize(
    "events", [(Event.DENY, Event.REDEEM), (Event.REDEEM, Event.APPROVE), (Event.APPROVE, Event.APPROVE)]
)
def test_several_events_lead_nowhere_when_one_of_them_does(events: tuple[Event, ...]) -> None:
    assert advance(a_request(), MADE, *events) is None


@pytest.mark.parametrize(
    ("events", "ended_at"),
    [
        ((Event.APPROVE,), None),
        ((Event.DENY,), 1100),
        ((Event.CANCEL,), 1100),
        ((Event.APPROVE, Event.REDEEM), 1100),
        ((Event.APPROVE, Event.LOCK), 1100),
    ],
)
def test_when_a_request_ended_is_written_down_with_its_end(events: tuple[Event, ...], ended_at: float | None) -> None:
    advanced = advance(a_request(), 1100, *events)
    assert advanced is not None
    assert advanced.ended_at == ended_at


def test_no_event_at_all_is_a_change_without_an_end() -> None:
    assert advance(a_request(), MADE, message="hello") == a_request().evolve(message="hello")


def test_an_approved_request_is_redeemed_with_its_device() -> None:
    redeemed = redeem(a_request(State.APPROVED), 1100, device_id="2")
    assert (redeemed.state, redeemed.device_id, redeemed.ended_at) == (State.REDEEMED, "2", 1100)


def test_a_right_pin_approves_and_redeems_in_one() -> None:
    assert redeem(a_request(), 1100, Event.APPROVE, decided_by="pin").state is State.REDEEMED


@pytest.mark.parametrize(
    ("state", "before", "now", "error"),
    [
        (State.PENDING, (), MADE, AuthorizationPending),
        (State.PENDING, (Event.APPROVE,), ENDS, ExpiredToken),
        (State.APPROVED, (), ENDS, ExpiredToken),
        (State.APPROVED, (Event.APPROVE,), MADE, AlreadyRedeemed),
        (State.REDEEMED, (), MADE, AlreadyRedeemed),
        (State.REDEEMED, (), ENDS, AlreadyRedeemed),
        (State.DENIED, (Event.APPROVE,), MADE, AccessDenied),
        (State.LOCKED, (Event.APPROVE,), MADE, Locked),
        (State.CANCELLED, (), MADE, Cancelled),
        (State.EXPIRED, (), MADE, ExpiredToken),
    ],
)
def test_what_cannot_be_redeemed_says_what_became_of_it(
    state: State, before: tuple[Event, ...], now: float, error: type[WireError]
) -> None:
    with pytest.raises(error):
        redeem(a_request(state), now, *before)


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize("event", list(Event))
def test_nothing_can_be_done_any_more_once_the_time_is_over(state: State, event: Event) -> None:
    assert advance(a_request(state), ENDS, event) is None


def test_a_decision_says_who_decided_and_when() -> None:
    denied = decide(a_request(), Event.DENY, 1100, "operator:ada", reason="who is this?")
    assert (denied.state, denied.decided_by, denied.decided_at) == (State.DENIED, "operator:ada", 1100)
    assert denied.reason == "who is this?"


@pytest.mark.parametrize("event", [Event.APPROVE, Event.DENY])
@pytest.mark.parametrize("state", sorted(set(State) - {State.PENDING}))
def test_a_second_decision_is_refused_and_told_what_the_first_was(state: State, event: Event) -> None:
    with pytest.raises(AlreadyDecided) as refused:
        decide(a_request(state), event, 1100, "operator:ada")
    assert refused.value.state == state


@pytest.mark.parametrize("event", [Event.APPROVE, Event.DENY])
def test_a_decision_after_the_end_is_told_that_the_request_expired(event: Event) -> None:
    with pytest.raises(AlreadyDecided) as refused:
        decide(a_request(), event, ENDS, "operator:ada")
    assert refused.value.state == "expired"


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (State.PENDING, AuthorizationPending),
        (State.REDEEMED, AlreadyRedeemed),
        (State.DENIED, AccessDenied),
        (State.LOCKED, Locked),
        (State.CANCELLED, Cancelled),
        (State.EXPIRED, ExpiredToken),
    ],
)
def test_the_holder_is_told_why_there_is_no_token(state: State, error: type[WireError]) -> None:
    assert type(outcome(a_request(state), MADE)) is error


def test_every_state_but_approved_has_an_outcome() -> None:
    assert set(OUTCOMES) == set(State) - {State.APPROVED}


def test_nothing_stands_against_the_token_of_an_approved_request() -> None:
    assert outcome(a_request(State.APPROVED), MADE) is None


@pytest.mark.parametrize("state", sorted(LIVE))
def test_the_holder_of_a_live_request_past_its_time_is_told_that_it_expired(state: State) -> None:
    assert type(outcome(a_request(state), ENDS)) is ExpiredToken


@pytest.mark.parametrize("reason", ["not today", None])
def test_a_denial_carries_the_reason_if_one_was_given(reason: str | None) -> None:
    error = outcome(a_request(State.DENIED, reason=reason), MADE)
    assert error is not None
    assert error.reason == reason


@pytest.mark.parametrize(("now", "left"), [(MADE, 300), (MADE + 0.5, 300), (ENDS - 0.1, 1), (ENDS, 0), (ENDS + 1e6, 0)])
def test_a_request_is_good_for_whole_seconds_and_never_for_less_than_none(now: float, left: int) -> None:
    assert seconds_left(a_request(), now) == left


@pytest.mark.parametrize("method", ["pin", "device_code"])
def test_a_pin_can_be_guessed_wrong_five_times_and_not_once_more(method: str) -> None:
    request, left = a_request(method=method), []
    while (counted := count_guess(request)) is not None:
        assert counted.version == request.version + 1
        request = counted
        left.append(attempts_left(request))
    assert left == [4, 3, 2, 1, 0]
    assert request.guesses == 5


def test_attempts_left_never_go_below_none() -> None:
    assert attempts_left(a_request(guesses=99)) == 0


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.attempts is None])
def test_a_method_that_counts_no_guesses_takes_none(method: str) -> None:
    request = a_request(method=method)
    assert attempts_left(request) == 0
    assert count_guess(request) is None


def test_approving_grants_what_was_requested() -> None:
    requested = Permissions(read=("/a",))
    assert grantable(a_request(requested=requested), Permissions(read=("/**",))) is requested


def test_approving_grants_the_default_when_nothing_was_said() -> None:
    default = Permissions(read=("/a",))
    assert grantable(a_request(), default) is default


def test_a_request_for_nothing_is_not_a_request_for_the_default() -> None:
    assert grantable(a_request(requested=NOTHING), Permissions(read=("/a",))) == NOTHING


# --- what approving grants

WIDE, SOME, LESS = Permissions(read=("/**",)), Permissions(read=("/a/**",)), Permissions(read=("/a/x",))
OTHER = Permissions(write=("/a/x",))


@pytest.mark.parametrize(
    ("requested", "wanted", "held", "granted"),
    [
        (None, None, EVERYTHING, SOME),
        (None, LESS, EVERYTHING, LESS),
        (None, WIDE, EVERYTHING, WIDE),  # the default bounds what is granted unasked, not an operator
        (None, None, SOME, SOME),
        (None, None, LESS, None),
        (None, WIDE, SOME, None),
        (LESS, None, EVERYTHING, LESS),
        (WIDE, None, EVERYTHING, WIDE),
        (WIDE, LESS, EVERYTHING, LESS),
        (WIDE, NOTHING, EVERYTHING, NOTHING),
        (WIDE, LESS, LESS, LESS),
        (WIDE, None, LESS, None),
        (LESS, WIDE, EVERYTHING, None),
        (LESS, OTHER, EVERYTHING, None),
        (NOTHING, None, NOTHING, NOTHING),
        (NOTHING, LESS, EVERYTHING, None),
        (LESS, NOTHING, NOTHING, NOTHING),
    ],
)
def test_what_is_granted_is_no_more_than_was_asked_for_and_than_the_operator_holds(
    requested: Permissions | None, wanted: Permissions | None, held: Permissions, granted: Permissions | None
) -> None:
    request = a_request(requested=requested)
    if granted is None:
        with pytest.raises(InvalidPermissions):
            grant(request, wanted, default=SOME, held=held)
    else:
        assert grant(request, wanted, default=SOME, held=held) == granted


SETS = st.sampled_from([NOTHING, LESS, SOME, WIDE, OTHER, EVERYTHING])


@given(requested=st.none() | SETS, wanted=st.none() | SETS, default=SETS, held=SETS)
def test_no_grant_is_wider_than_what_bounds_it(
    requested: Permissions | None, wanted: Permissions | None, default: Permissions, held: Permissions
) -> None:
    try:
        granted = grant(a_request(requested=requested), wanted, default=default, held=held)
    except InvalidPermissions:
        return
    assert held.include(granted)
    assert requested is None or requested.include(granted)
    assert wanted is None or granted == wanted
