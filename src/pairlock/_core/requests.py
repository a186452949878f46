"""What may be done with a pairing request, and what its holder is told. Time is an argument."""

import math
from typing import Any

from pairlock._core.methods import METHODS
from pairlock._core.permissions import Permissions
from pairlock._core.records import PairingRequest
from pairlock._core.states import LIVE, TRANSITIONS, Event, State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AlreadyRedeemed,
    AuthorizationPending,
    Cancelled,
    ExpiredToken,
    Locked,
    WireError,
)

MAX_CLOCK_SKEW = 60  # seconds; made further in the future than this: a clock has jumped back

OUTCOMES: dict[State, type[WireError]] = {
    State.PENDING: AuthorizationPending,
    State.REDEEMED: AlreadyRedeemed,
    State.DENIED: AccessDenied,
    State.LOCKED: Locked,
    State.CANCELLED: Cancelled,
    State.EXPIRED: ExpiredToken,
}


def state_at(request: PairingRequest, now: float) -> State:
    """The state of a request at a time: one out of its time has expired, one whose device has gone is withdrawn."""
    if request.state not in LIVE:
        return request.state
    if not request.created_at - MAX_CLOCK_SKEW <= now < request.expires_at:
        return TRANSITIONS[request.state, Event.EXPIRE]
    gone = request.present_until is not None and request.present_until <= now
    if gone and request.state is State.PENDING:  # a prompt vanishes with the device that waited for it
        return TRANSITIONS[request.state, Event.CANCEL]
    return request.state


def advance(request: PairingRequest, now: float, *events: Event, **changes: Any) -> PairingRequest | None:
    """The next version of a request after these events; None where the table has no such transition."""
    state: State | None = state_at(request, now)
    for event in events:
        state = state and TRANSITIONS.get((state, event))
    if state is None:
        return None
    return request.evolve(state=state, ended_at=None if state in LIVE else now, **changes)


def redeem(request: PairingRequest, now: float, *before: Event, **changes: Any) -> PairingRequest:
    """The request, used up by its device. Raises what became of it otherwise."""
    redeemed = advance(request, now, *before, Event.REDEEM, **changes)
    if redeemed is None:
        raise outcome(request, now) or AlreadyRedeemed
    return redeemed


def settled(request: PairingRequest, now: float) -> PairingRequest | None:
    """The request as time alone has ended it, to be written down; None when it has not."""
    state = state_at(request, now)
    return None if state is request.state else request.evolve(state=state, ended_at=now)


def decide(request: PairingRequest, event: Event, now: float, by: str, **changes: Any) -> PairingRequest:
    """The request as an operator decided it. Raises AlreadyDecided when it was not pending."""
    decided = advance(request, now, event, decided_by=by, decided_at=now, **changes)
    if decided is None:
        raise AlreadyDecided(state=state_at(request, now).value)
    return decided


def outcome(request: PairingRequest, now: float) -> WireError | None:
    """Why the holder gets no token now; None when it has been approved."""
    error = OUTCOMES.get(state_at(request, now))
    if error is AccessDenied:
        return AccessDenied(reason=request.reason)
    return None if error is None else error()


def seconds_left(request: PairingRequest, now: float) -> int:
    """For how long the request is still good, in whole seconds."""
    return max(math.ceil(request.expires_at - now), 0)


def attempts_left(request: PairingRequest) -> int:
    """How many wrong guesses this request can still take."""
    return max((METHODS[request.method].attempts or 0) - request.guesses, 0)


def count_guess(request: PairingRequest) -> PairingRequest | None:
    """The request with one more guess counted, to be written before the guess is looked at; None when used up."""
    return request.evolve(guesses=request.guesses + 1) if attempts_left(request) else None


def grant(
    request: PairingRequest, wanted: Permissions | None, *, default: Permissions, held: Permissions
) -> Permissions:
    """What approving grants: what was asked for, else the default, unless less is wanted.

    Raises InvalidPermissions for more than was asked for, or more than whoever approves holds.
    """
    granted = grantable(request, default)
    if wanted is not None:
        granted = wanted if request.requested is None else request.requested.narrow(wanted)
    return held.narrow(granted)


def grantable(request: PairingRequest, default: Permissions) -> Permissions:
    """What approving this request grants unless less is given."""
    return request.requested if request.requested is not None else default
