"""The pairing window: while it is open, new requests are taken."""

from msgspec import Struct

from pairlock._core.requests import MAX_CLOCK_SKEW


class Window(Struct, frozen=True):
    """Whether it is open, until when (None: until it is closed), since when, and by whom."""

    open: bool
    until: float | None = None
    since: float = 0.0
    by: str = ""


def is_open(window: Window, now: float) -> bool:
    """Whether requests are taken at this time."""
    return window.open and (window.until is None or window.since - MAX_CLOCK_SKEW <= now < window.until)


def has_ended(window: Window, now: float) -> bool:
    """Whether time has closed it."""
    return window.open and window.until is not None and window.until <= now
