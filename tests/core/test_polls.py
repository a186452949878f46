"""How often a device may ask: what is refused, what is not, and that no client that does as it is told starves."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.polls import (
    INTERVAL,
    MAX_INTERVAL,
    PATIENCE,
    is_repeated,
    is_too_soon,
    polled,
    present,
    slowed_down,
    was_refused,
)
from pairlock._core.records import PairingRequest
from pairlock._core.requests import state_at
from pairlock._core.states import State
from pairlock.testing import a_request

MADE = 1_700_000_000.0  # as precise as a clock of today: what is told must not hang on the last bits
DAY = 86400.0


def a_poller(**fields: Any) -> PairingRequest:
    return a_request(method="device_code", created_at=MADE, expires_at=MADE + DAY, **fields)


def poll(request: PairingRequest, now: float) -> tuple[PairingRequest, str]:
    """One poll while nobody has decided: the request after it, and what the device is told."""
    if is_repeated(request, now):
        return request, "slow_down" if was_refused(request) else "authorization_pending"
    if is_too_soon(request, now):
        return slowed_down(request, now), "slow_down"
    return polled(request, now), "authorization_pending"


def polls(*after: float, request: PairingRequest | None = None) -> tuple[PairingRequest, list[str]]:
    """Polls so many seconds after the request was made: the request after them, and what each was told."""
    request, told = request or a_poller(), []
    for seconds in after:
        request, answer = poll(request, MADE + seconds)
        told.append(answer)
    return request, told


PENDING, SLOW_DOWN = "authorization_pending", "slow_down"

# --- one poll


@pytest.mark.parametrize("after", [0, 0.5, 3, 5, 1000])
def test_the_first_poll_is_free_however_soon_it_comes(after: float) -> None:
    request, told = polls(after)
    assert told == [PENDING]
    assert request.polled_at == MADE + after


@pytest.mark.parametrize(
    ("gap", "told", "counts"),
    [
        (0, PENDING, False),
        (0.99, PENDING, False),
        (1, SLOW_DOWN, False),
        (3.99, SLOW_DOWN, False),
        (4, PENDING, True),  # 20 % early
        (5, PENDING, True),
        (1000, PENDING, True),
    ],
)
def test_a_poll_may_come_a_fifth_early_and_counts_from_then(gap: float, told: str, counts: bool) -> None:
    request, answers = polls(10, 10 + gap)
    assert answers == [PENDING, told]
    assert request.polled_at == MADE + 10 + (gap if counts else 0)


@pytest.mark.parametrize(("interval", "soonest"), [(5, 4), (10, 8), (25, 20), (60, 48)])
def test_the_tolerance_grows_with_the_interval(interval: int, soonest: float) -> None:
    request = a_poller(interval=interval, polled_at=MADE)
    assert is_too_soon(request, MADE + soonest - 0.001)
    assert not is_too_soon(request, MADE + soonest)


def test_a_poll_sent_twice_gets_the_same_answer_and_changes_nothing() -> None:
    accepted, _ = polls(0)
    assert poll(accepted, MADE + 0.3) == (accepted, PENDING)
    refused, _ = polls(0, 2)
    assert poll(refused, MADE + 2.3) == (refused, SLOW_DOWN)


def test_polls_that_follow_each_other_closely_are_not_one_for_ever() -> None:
    _, told = polls(*(0.9 * number for number in range(4)))
    assert told == [PENDING, PENDING, SLOW_DOWN, SLOW_DOWN]


def test_a_refused_poll_does_not_move_the_clock() -> None:
    request, told = polls(0, 2, 3.5, 6)
    assert told == [PENDING, SLOW_DOWN, SLOW_DOWN, SLOW_DOWN]
    assert request.polled_at == MADE
    assert request.interval == 20
    assert polls(16, request=request)[1] == [PENDING]


def test_8628_3_5_slow_down_lengthens_all_later_intervals_by_five_up_to_sixty() -> None:
    request, intervals = a_poller(polled_at=MADE), []
    for number in range(13):
        request = slowed_down(request, MADE + number)
        intervals.append(request.interval)
    assert intervals == [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60]
    assert polled(request, MADE + 60).interval == MAX_INTERVAL == 60


def test_after_a_poll_in_its_time_nothing_is_left_of_an_earlier_refusal_but_the_interval() -> None:
    request, told = polls(0, 2, 8, 8.2)
    assert told == [PENDING, SLOW_DOWN, PENDING, PENDING]
    assert request.interval == 10


def test_a_poll_is_one_version_of_the_request() -> None:
    request = a_poller()
    assert polled(request, MADE).version == slowed_down(request, MADE).version == request.version + 1


# --- clocks


@pytest.mark.parametrize("back", [0.1, 10, 3600])
def test_a_clock_that_is_set_back_refuses_nobody(back: float) -> None:
    request, told = polls(1000, 1000 - back)
    assert told == [PENDING, PENDING]
    assert request.polled_at == MADE + 1000 - back


@pytest.mark.parametrize("back", [0.5, 100])
def test_a_refusal_before_the_clock_was_set_back_is_forgotten_with_the_next_poll(back: float) -> None:
    request, told = polls(1000, 1002)
    assert told == [PENDING, SLOW_DOWN]
    request, told = polls(1000 - back, 1000 - back + 0.2, request=request)  # each poll is sent twice
    assert told == [PENDING, PENDING]


# --- presence


def test_a_device_that_polls_is_there_for_its_interval_and_some_patience() -> None:
    request, _ = polls(10)
    assert request.present_until == MADE + 10 + INTERVAL + PATIENCE
    assert state_at(request, MADE + 40.9) is State.PENDING
    assert state_at(request, MADE + 41) is State.CANCELLED


def test_a_device_that_was_slowed_down_is_waited_for_as_long_as_it_was_told_to_wait() -> None:
    request, _ = polls(0, 2)
    assert request.present_until == MADE + 2 + 10 + PATIENCE


def test_a_device_that_never_polled_is_waited_for() -> None:
    assert state_at(a_poller(), MADE + DAY - 1) is State.PENDING


@given(gaps=st.lists(st.floats(0, 100), max_size=20))
def test_a_request_is_kept_until_the_last_poll_has_been_told_that_it_expired(gaps: list[float]) -> None:
    request = a_poller(purge_at=MADE + DAY + INTERVAL + 10)
    now = 0.0
    for gap in gaps:
        now += gap
        request, _ = polls(now, request=request)
    assert request.purge_at == MADE + DAY + request.interval + 10


def test_hardly_longer_there_is_no_news() -> None:
    request = a_poller(present_until=MADE + 30)
    assert present(request, MADE + 29) is None
    assert present(request, MADE + 30.9) is None


@pytest.mark.parametrize("known", [None, MADE + 30])
def test_longer_there_is_news(known: float | None) -> None:
    request = a_poller(present_until=known)
    seen = present(request, MADE + 31)
    assert seen is not None
    assert (seen.present_until, seen.version) == (MADE + 31, request.version + 1)


# --- clients


class Client:
    """A device that polls until it is told otherwise; `sends` is how often it sends each poll."""

    def __init__(self, request: PairingRequest, interval: int = INTERVAL, sends: int = 1) -> None:
        self.request = request
        self.interval = interval
        self.sends = sends
        self.told: list[str] = []

    def poll(self, now: float) -> str:
        """What it is told; of a poll that it sends twice, the second time."""
        self.request, told = poll(self.request, now)
        for again in range(1, self.sends):
            self.request, told = poll(self.request, now + 0.05 * again)
        self.told.append(told)
        return told

    def take(self, told: str) -> None:
        """As RFC 8628 §3.5 has it, without a look at the interval in the answer."""
        self.interval += 5 if told == SLOW_DOWN else 0


JITTER = st.floats(-0.19, 0.4)  # timers are late, some a little early; at -0.2 the last bits of a float decide


@given(sends=st.sampled_from([1, 2]), jitters=st.lists(JITTER, min_size=1, max_size=30))
def test_a_client_that_keeps_to_its_interval_is_never_slowed_down_nor_given_up(
    sends: int, jitters: list[float]
) -> None:
    client, now = Client(a_poller(), sends=sends), MADE
    for jitter in jitters:
        assert client.poll(now) == PENDING
        now += client.interval * (1 + jitter)
        assert state_at(client.request, now) is State.PENDING
    assert client.request.interval == INTERVAL


@given(
    before=st.lists(st.floats(0, 10), max_size=15),
    sends=st.sampled_from([1, 2]),
    jitter=JITTER,
    first=st.floats(0, 60),
)
def test_whatever_came_before_a_client_that_does_as_told_is_let_ask_within_two_intervals(
    before: list[float], sends: int, jitter: float, first: float
) -> None:
    now, hasty = MADE, Client(a_poller(), sends=sends)
    for gap in before:
        hasty.poll(now)
        now += gap
    now += first
    hasty.poll(now)  # wherever that falls, it is told the interval from now on
    patient = Client(hasty.request, hasty.request.interval, sends)
    now += patient.interval * (1 + jitter)
    assert patient.poll(now) == PENDING
    assert patient.request.polled_at == now


def test_golang_sends_each_poll_twice_and_is_in_step_with_the_service() -> None:
    client, now, intervals = Client(a_poller(), sends=2), MADE, []
    for wait in (None, None, 2, None, None):  # one timer goes off early, as after a suspend
        now += client.interval if wait is None else wait
        client.take(client.poll(now))
        intervals.append((client.interval, client.request.interval))
    assert client.told == [PENDING, PENDING, SLOW_DOWN, PENDING, PENDING]
    assert intervals == [(5, 5), (5, 5), (10, 10), (10, 10), (10, 10)]


@given(hasty=st.integers(1, 4), early=st.lists(st.floats(0.5, 3), max_size=4), sends=st.sampled_from([1, 2]))
def test_a_client_that_counts_for_itself_never_waits_less_than_the_service_demands(
    hasty: int, early: list[float], sends: int
) -> None:
    client, now = Client(a_poller(), sends=sends), MADE
    for gap in early:
        client.take(client.poll(now))
        now += gap
    for _ in range(hasty):
        client.take(client.poll(now))
        now += client.interval
    assert client.poll(now) == PENDING
    assert client.interval >= client.request.interval


@pytest.mark.parametrize("period", [0.1, 0.4, 0.5, 0.9, 1, 1.3, 2, 3, 3.9, 4.5, 7, 11])
def test_a_greedy_client_is_slowed_down_to_a_minute_and_yet_never_starves(period: float) -> None:
    request, now, counted = a_poller(), MADE, []
    while now < MADE + 1200:
        request, _ = poll(request, now)
        if request.polled_at == now:
            counted.append(now)
        now += period
    gaps = [later - earlier for earlier, later in pairwise(counted)]
    assert max(gaps) <= 60 + period
    assert min(gaps) >= 4
    assert request.interval == (MAX_INTERVAL if period < 4 else request.interval)
    assert state_at(request, now) is State.PENDING


def test_a_client_that_polls_each_second_is_let_ask_after_four_fifths_of_a_minute() -> None:
    request, told = polls(*range(49))
    assert told == [PENDING, *(47 * [SLOW_DOWN]), PENDING]
    assert (request.interval, request.polled_at) == (60, MADE + 48)
