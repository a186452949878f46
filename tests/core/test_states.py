"""The transition table, cell by cell, against one written down independently."""

import pytest

from pairlock._core.codes import Alphabet
from pairlock._core.methods import METHODS, Method
from pairlock._core.records import PairingRequest
from pairlock._core.requests import advance, state_at
from pairlock._core.states import LIVE, TRANSITIONS, Event, State

EXPECTED = """
            approve   deny    lock    redeem    cancel     expire
pending     approved  denied  locked  -         cancelled  expired
approved    -         -       locked  redeemed  cancelled  expired
redeemed    -         -       -       -         -          -
denied      -         -       -       -         -          -
locked      -         -       -       -         -          -
cancelled   -         -       -       -         -          -
expired     -         -       -       -         -          -
"""


def cells() -> list[tuple[str, str, str]]:
    """Every (state, event, state afterwards or "-")."""
    events, *rows = [line.split() for line in EXPECTED.strip().splitlines()]
    return [(row[0], event, after) for row in rows for event, after in zip(events, row[1:], strict=True)]


def a_request(state: State, method: str = "pin") -> PairingRequest:
    return PairingRequest(id="1", method=method, state=state, name="Phone", created_at=1000, expires_at=1300)


def test_the_expected_table_has_every_state_and_every_event() -> None:
    assert {(state, event) for state, event, _ in cells()} == {(state, event) for state in State for event in Event}


@pytest.mark.parametrize(("state", "event", "after"), cells())
def test_an_event_leads_where_the_table_says_and_nowhere_else(state: str, event: str, after: str) -> None:
    request = a_request(State(state))
    advanced = advance(request, 1100, Event(event))
    assert ("-" if advanced is None else advanced.state) == after
    assert request.state == state


@pytest.mark.parametrize("state", sorted(set(State) - LIVE))
def test_a_state_that_is_not_live_has_no_way_out(state: State) -> None:
    assert not any(before is state for before, _ in TRANSITIONS)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_expire_and_be_cancelled(state: State) -> None:
    assert TRANSITIONS[state, Event.EXPIRE] is State.EXPIRED
    assert TRANSITIONS[state, Event.CANCEL] is State.CANCELLED


@pytest.mark.parametrize("state", sorted(LIVE))
def test_every_live_state_can_be_locked(state: State) -> None:
    assert TRANSITIONS[state, Event.LOCK] is State.LOCKED  # an approved one, when its confirmation PIN was guessed at


def test_of_42_cells_nine_lead_somewhere() -> None:
    assert len(cells()) == len(State) * len(Event) == 42
    assert len(TRANSITIONS) == sum(after != "-" for *_, after in cells()) == 9


@pytest.mark.parametrize(("state", "event", "after"), cells())
def test_an_end_is_written_down_with_its_time_and_a_live_state_without(state: str, event: str, after: str) -> None:
    advanced = advance(a_request(State(state)), 1100, Event(event))
    if advanced is not None:
        assert advanced.ended_at == (None if after in LIVE else 1100)


def test_live_are_pending_and_approved() -> None:
    assert {State.PENDING, State.APPROVED} == LIVE


@pytest.mark.parametrize(
    ("method", "initial"),
    [("pin", "pending"), ("device_code", "pending"), ("one_time_code", "approved"), ("qr", "approved")],
)
def test_a_method_starts_where_its_operator_decides(method: str, initial: str) -> None:
    assert METHODS[method].initial == initial


@pytest.mark.parametrize(
    ("method", "symbols", "length", "lifetime", "attempts"),
    [
        ("pin", 10, 6, 300, 5),
        ("device_code", 20, 8, 600, 5),
        ("one_time_code", 32, 8, 600, None),
        ("qr", 16, 32, 300, None),
    ],
)
def test_a_method_has_the_numbers_of_the_design(
    method: str, symbols: int, length: int, lifetime: int, attempts: int | None
) -> None:
    row = METHODS[method]
    assert (row.name, len(set(row.alphabet.symbols)), row.length) == (method, symbols, length)
    assert (row.lifetime, row.attempts) == (lifetime, attempts)


@pytest.mark.parametrize("initial", sorted(LIVE))
def test_a_fifth_method_needs_no_new_state(initial: State) -> None:
    knock = Method("knock", Alphabet("-."), length=12, lifetime=60, initial=initial)
    request = a_request(knock.initial, knock.name)
    assert state_at(request, 1100) is initial
    way = (Event.REDEEM,) if initial is State.APPROVED else (Event.APPROVE, Event.REDEEM)
    redeemed = advance(request, 1100, *way)
    assert redeemed is not None
    assert redeemed.state is State.REDEEMED
    expired = advance(request, 1100, Event.EXPIRE)
    assert expired is not None
    assert expired.state is State.EXPIRED
