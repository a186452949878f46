"""Wrong PINs in all: who may open any number of requests, from anywhere, still has no more guesses than these.

Each is counted before it is looked at. When they are used up the PIN method is held, until an operator reopens it.
"""

from msgspec import Struct
from msgspec.structs import replace

DAY = 86400.0


class Guesses(Struct, frozen=True):
    """The PINs that were wrong (or are being looked at): how many in a row, and when, within a day.

    `held_at` is when the method was held; None while it is not.
    """

    row: int = 0
    wrong: tuple[float, ...] = ()
    held_at: float | None = None


def is_used_up(guesses: Guesses, now: float, *, in_a_row: int, a_day: int) -> bool:
    """Whether no PIN may be tried now."""
    return guesses.held_at is not None or guesses.row >= in_a_row or len(_of_today(guesses, now)) >= a_day


def count(guesses: Guesses, now: float) -> Guesses:
    """One more, not yet looked at."""
    return replace(guesses, row=guesses.row + 1, wrong=(*_of_today(guesses, now), now))


def acquit(guesses: Guesses, counted_at: float) -> Guesses:
    """The PIN that was counted then was right: it ends the row."""
    wrong = list(guesses.wrong)
    if counted_at in wrong:
        wrong.remove(counted_at)
    return replace(guesses, row=0, wrong=tuple(wrong))


def reopen(guesses: Guesses) -> Guesses:
    """An operator lets guessing go on; those of the day still count."""
    return replace(guesses, row=0, held_at=None)


def seconds_to_wait(guesses: Guesses, now: float, *, a_day: int) -> float:
    """Until reopening helps: when the oldest of a day's guesses are over a day old."""
    today = _of_today(guesses, now)
    return 0.0 if len(today) < a_day else today[-a_day] + DAY - now


def _of_today(guesses: Guesses, now: float) -> tuple[float, ...]:
    # One from the future was counted before the clock was set back; it counts on, and is dropped in its time.
    return tuple(at for at in guesses.wrong if now - at < DAY)
