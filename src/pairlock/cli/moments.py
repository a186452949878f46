"""Points in time, as people read them."""

from datetime import UTC, datetime

UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def moment(at: float) -> str:
    """A time of this place, to the minute: 2026-03-01 14:05."""
    return f"{_local(at):%Y-%m-%d %H:%M}"


def second(at: float) -> str:
    """The same, to the second."""
    return f"{_local(at):%Y-%m-%d %H:%M:%S}"


def time_of_day(at: float) -> str:
    """The same without the day."""
    return f"{_local(at):%H:%M:%S}"


def ago(at: float | None, now: float) -> str:
    """How long ago that was: `3 min ago`; `never` where there is no time."""
    if at is None:
        return "never"
    passed = now - at
    for seconds, unit in UNITS:
        if passed >= seconds:
            return f"{passed // seconds:.0f} {unit} ago"
    return "just now"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, tz=UTC).astimezone()
