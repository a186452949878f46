"""The life of a pairing request, as a table. Nothing else changes a request's state."""

from enum import StrEnum


class State(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REDEEMED = "redeemed"
    DENIED = "denied"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Event(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    LOCK = "lock"
    REDEEM = "redeem"
    CANCEL = "cancel"
    EXPIRE = "expire"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.PENDING, Event.APPROVE): State.APPROVED,
    (State.PENDING, Event.DENY): State.DENIED,
    (State.PENDING, Event.LOCK): State.LOCKED,
    (State.PENDING, Event.CANCEL): State.CANCELLED,
    (State.PENDING, Event.EXPIRE): State.EXPIRED,
    (State.APPROVED, Event.REDEEM): State.REDEEMED,
    (State.APPROVED, Event.LOCK): State.LOCKED,
    (State.APPROVED, Event.CANCEL): State.CANCELLED,
    (State.APPROVED, Event.EXPIRE): State.EXPIRED,
}

LIVE = frozenset(state for state, _ in TRANSITIONS)
