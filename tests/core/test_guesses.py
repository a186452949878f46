"""Wrong PINs in all: however guesses, right ones and reopenings follow each other, the limits hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlock._core.guesses import DAY, Guesses, acquit, count, is_used_up, reopen, seconds_to_wait

NOW = 1_700_000_000.0
IN_A_ROW, A_DAY = 20, 50


def used_up(guesses: Guesses, now: float = NOW) -> bool:
    return is_used_up(guesses, now, in_a_row=IN_A_ROW, a_day=A_DAY)


def after(*wrong: float, row: int = 0) -> Guesses:
    return Guesses(row, wrong)


def test_nothing_was_guessed_at_first() -> None:
    assert Guesses() == Guesses(row=0, wrong=(), held_at=None)
    assert not used_up(Guesses())


def test_twenty_in_a_row_are_enough() -> None:
    guesses = Guesses()
    for number in range(20):
        assert not used_up(guesses, NOW + number)
        guesses = count(guesses, NOW + number)
    assert used_up(guesses, NOW + 20)
    assert used_up(guesses, NOW + 30 * DAY)  # a row does not end with the day


def test_fifty_a_day_are_enough_however_many_were_right_between() -> None:
    guesses, wrong = Guesses(), 0
    while not used_up(guesses, NOW + wrong):
        guesses = count(guesses, NOW + wrong)
        wrong += 1
        if wrong % 3 == 0:  # somebody else pairs
            guesses = acquit(count(guesses, NOW + wrong - 0.5), NOW + wrong - 0.5)
    assert wrong == 50


@pytest.mark.parametrize(("later", "free"), [(DAY - 0.001, False), (DAY, True), (2 * DAY, True)])
def test_a_guess_counts_for_a_day(later: float, free: bool) -> None:
    guesses = after(*(50 * [NOW]))
    assert used_up(guesses, NOW + later) is not free
    assert len(count(guesses, NOW + later).wrong) == (1 if free else 51)


def test_what_is_held_stays_held_until_it_is_reopened() -> None:
    held = Guesses(held_at=NOW)
    assert used_up(held, NOW)
    assert used_up(held, NOW + 365 * DAY)
    assert used_up(acquit(held, NOW), NOW)
    assert used_up(count(held, NOW), NOW)
    assert not used_up(reopen(held), NOW)


def test_a_right_pin_ends_the_row_and_is_no_wrong_one() -> None:
    assert acquit(after(NOW - 2, NOW - 1, NOW, row=3), NOW - 1) == after(NOW - 2, NOW)


def test_of_two_guesses_at_one_time_a_right_one_takes_one_back() -> None:
    assert acquit(after(NOW, NOW, row=2), NOW).wrong == (NOW,)


def test_a_right_pin_that_was_counted_over_a_day_ago_takes_nothing_back() -> None:
    guesses = count(after(NOW, row=1), NOW + DAY)
    assert acquit(guesses, NOW) == after(NOW + DAY)


def test_reopening_ends_the_row_and_forgets_nothing_of_the_day() -> None:
    assert reopen(Guesses(20, (NOW, NOW), held_at=NOW)) == after(NOW, NOW)


def test_a_guess_from_before_the_clock_was_set_back_counts_on() -> None:
    guesses = after(*(50 * [NOW]))
    assert used_up(guesses, NOW - 3 * DAY)
    assert not used_up(guesses, NOW + DAY)


def test_no_more_than_a_day_s_guesses_are_remembered() -> None:
    guesses = Guesses()
    for number in range(1000):
        guesses = count(guesses, NOW + number * DAY / 50)
    assert len(guesses.wrong) == 50


@pytest.mark.parametrize(
    ("wrong", "now", "wait"),
    [
        ([], NOW, 0),
        ([NOW, NOW + 1], NOW + 2, 0),
        ([NOW, NOW + 1, NOW + 2], NOW + 3, DAY - 3),
        ([NOW, NOW + 1, NOW + 2], NOW + DAY - 0.5, 0.5),
        ([NOW, NOW + 1, NOW + 2], NOW + DAY, 0),
        ([NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 4], NOW + 5, DAY - 3),  # the limit was higher before
    ],
)
@pytest.mark.no_cover  # it takes twice as long while measured
def test_reopening_helps_when_the_oldest_guess_that_is_too_many_is_a_day_old(
    wrong: list[float], now: float, wait: float
) -> None:
    assert seconds_to_wait(after(*wrong), now, a_day=3) == wait


# --- whatever happens in whatever order

SMALL_ROW, SMALL_DAY = 3, 5
STEPS = st.one_of(
    st.just("guess"),
    st.just("guess"),
    st.just("reopen"),
    st.just("hold"),
    st.tuples(st.just("acquit"), st.integers(0, 10)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 1.0, 3600.0, 40_000.0, DAY - 1, DAY, DAY + 1])),
)
Step = str | tuple[str, float]


class Guessing:
    """Plays steps as a service does, and keeps its own record of what was let through."""

    def __init__(self) -> None:
        self.guesses = Guesses()
        self.now = NOW
        self.unjudged: list[float] = []  # let through; wrong, or still being looked at
        self.row = self.longest_row = 0

    def play(self, step: Step) -> None:
        name, number = step if isinstance(step, tuple) else (step, 0)
        {"guess": self.guess, "reopen": self.reopen, "hold": self.hold, "acquit": self.acquit, "wait": self.wait}[name](
            number
        )

    def used_up(self) -> bool:
        return is_used_up(self.guesses, self.now, in_a_row=SMALL_ROW, a_day=SMALL_DAY)

    def guess(self, _: float) -> None:
        if not self.used_up():
            self.guesses = count(self.guesses, self.now)
            self.unjudged.append(self.now)
            self.row += 1
            self.longest_row = max(self.longest_row, self.row)

    def acquit(self, number: float) -> None:
        if self.unjudged:
            counted_at = self.unjudged.pop(int(number) % len(self.unjudged))
            self.guesses, self.row = acquit(self.guesses, counted_at), 0

    def hold(self, _: float) -> None:
        if self.used_up() and self.guesses.held_at is None:
            self.guesses = Guesses(self.guesses.row, self.guesses.wrong, self.now)

    def reopen(self, _: float) -> None:
        self.guesses, self.row = reopen(self.guesses), 0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def most_in_a_day(self) -> int:
        return max((sum(first <= at < first + DAY for at in self.unjudged) for first in self.unjudged), default=0)


@settings(max_examples=100)
@given(steps=st.lists(STEPS, min_size=5, max_size=60))
@pytest.mark.no_cover  # it takes twice as long while measured
def test_no_day_ever_has_more_wrong_guesses_than_a_day_may(steps: list[Step]) -> None:
    play = Guessing()
    for step in steps:
        play.play(step)
        assert play.most_in_a_day() <= SMALL_DAY


@settings(max_examples=100)
@given(steps=st.lists(STEPS, min_size=5, max_size=60))
def test_no_more_guesses_follow_each_other_than_may_without_a_right_one_or_a_reopening(steps: list[Step]) -> None:
    play = Guessing()
    for step in steps:
        play.play(step)
    assert play.longest_row <= SMALL_ROW


@settings(max_examples=100)
@given(steps=st.lists(STEPS, min_size=5, max_size=60))
def test_reopening_helps_when_it_is_said_to_and_not_before(steps: list[Step]) -> None:
    play = Guessing()
    for step in steps:
        play.play(step)
    play.reopen(0)
    wait = seconds_to_wait(play.guesses, play.now, a_day=SMALL_DAY)
    assert play.used_up() is (wait > 0)
    play.wait(wait)
    assert not play.used_up()


@settings(max_examples=80)
@given(steps=st.lists(STEPS, min_size=5, max_size=60), back=st.floats(0.5, 2 * DAY))
@pytest.mark.no_cover  # it takes twice as long while measured
def test_setting_the_clock_back_frees_no_guess(steps: list[Step], back: float) -> None:
    play = Guessing()
    for step in steps:
        play.play(step)
    was_used_up = play.used_up()
    play.wait(-back)
    assert play.used_up() or not was_used_up
