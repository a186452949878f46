"""How often a device may ask: RFC 8628 §3.5, and what real clients do.

Some send each poll twice, some wake a little early: a refusal must neither punish the one nor starve the other.
"""

from pairlock._core.records import PairingRequest

INTERVAL = 5  # seconds, RFC 8628 §3.2
SLOW_DOWN_STEP = 5  # RFC 8628 §3.5
MAX_INTERVAL = 60
TOLERANCE = 0.8  # of the interval: timers and networks are not exact
SAME_POLL = 1.0  # seconds: closer together they are one poll, sent twice
PATIENCE = 26  # seconds beyond the interval, after which a device that polled counts as gone


def is_repeated(request: PairingRequest, now: float) -> bool:
    """Whether this poll is the last one, sent again: it gets the same answer and changes nothing."""
    asked = (request.polled_at, request.refused_at)
    return any(last is not None and 0 <= now - last < SAME_POLL for last in asked)


def is_too_soon(request: PairingRequest, now: float) -> bool:
    """Whether this poll comes before its time; the first never does."""
    return request.polled_at is not None and 0 <= now - request.polled_at < request.interval * TOLERANCE


def was_refused(request: PairingRequest) -> bool:
    """Whether the last poll came too soon."""
    return request.refused_at is not None


def polled(request: PairingRequest, now: float) -> PairingRequest:
    """The request after a poll in its time."""
    return request.evolve(polled_at=now, refused_at=None, present_until=now + request.interval + PATIENCE)


def slowed_down(request: PairingRequest, now: float) -> PairingRequest:
    """The request after a poll too soon: all later intervals are longer, the clock stays where it was."""
    interval = min(request.interval + SLOW_DOWN_STEP, MAX_INTERVAL)
    return request.evolve(
        refused_at=now,
        interval=interval,
        present_until=now + interval + PATIENCE,
        purge_at=request.expires_at + kept_after(interval),
    )


def present(request: PairingRequest, until: float) -> PairingRequest | None:
    """The request of a device that is there until then at least; None when that is hardly news."""
    known = request.present_until
    return None if known is not None and until < known + SAME_POLL else request.evolve(present_until=until)


def kept_after(interval: int) -> int:
    """For how many seconds past its expiry a request is kept, so that a poll can still be told how it ended."""
    return interval + 10
