"""Puts into words who asks, and what becomes of it."""

from collections.abc import Iterator

from pairlock._core.methods import METHODS
from pairlock._core.records import AuditEvent, EventType, PairingRequest
from pairlock._core.requests import attempts_left, seconds_left, state_at
from pairlock._core.states import State
from pairlock.cli.service.watching import Scene, Shown
from pairlock.cli.terminal import countdown, quoted, safe, spoken

METHOD_WORDS = {"pin": "PIN", "device_code": "device code", "one_time_code": "one-time code", "qr": "QR code"}
LONGEST_AGENT = 60
BY_TIME = "time"

HAPPENINGS = {
    EventType.APPROVED: "Approved: {name}{by}",
    EventType.DENIED: "Denied: {name}{by}{reason}",
    EventType.LOCKED: "Locked: {attempts} wrong PINs for {name}",
    EventType.CANCELLED: "Withdrawn: {name}",
    EventType.HELD: "PIN method held: too many wrong PINs. Nobody pairs by PIN until: pairlock requests reopen",
    EventType.REOPENED: "PIN method reopened{by}",
    EventType.WINDOW_OPENED: "Window opened{by}",
    EventType.WINDOW_CLOSED: "Window closed{by}",
    EventType.NARROWED: "Narrowed: {name}{by}",
    EventType.REUSE_DETECTED: "Refresh token of {name} used twice: it is in two hands, and the device is shut out",
    EventType.REVOKED: "Revoked: {name}{by}",
}
ENDINGS = {State.EXPIRED: "Expired: {name}", State.CANCELLED: "Withdrawn: {name} stopped asking"}
OVER = (EventType.DENIED, EventType.LOCKED, EventType.CANCELLED, EventType.REDEEMED)


class Story:
    """Tells what happens in this run, and counts who paired. Time is an argument."""

    def __init__(self) -> None:
        self.paired = 0
        self._approved: dict[str, str] = {}  # by whom, by request
        self._waiting: dict[str, PairingRequest] = {}

    def tell(self, event: AuditEvent) -> str | None:
        """What has happened; None for what nobody needs to be told of."""
        request_id = event.request_id or ""
        if event.type in OVER:
            self._waiting.pop(request_id, None)
        if event.type is EventType.REDEEMED:
            self.paired += 1
            return f"Paired: {safe(event.name or '')} ({self._approved.pop(request_id, _method(event))})"
        if event.type is EventType.APPROVED:
            self._approved[request_id] = f"approved{_by(event)}"
        if event.request_id and event.by == BY_TIME:
            self._approved.pop(request_id, None)
            return None  # told once it was over
        return _happening(event)

    def end(self, scene: Scene, now: float) -> Iterator[str]:
        """Those that time has ended since the scene before."""
        before, self._waiting = self._waiting, {shown.request.id: shown.request for shown in scene.shown}
        for request in before.values():
            if request.id not in self._waiting and (ending := ENDINGS.get(state_at(request, now))):
                yield ending.format(name=safe(request.name))


def lines(shown: Shown, now: float) -> tuple[str, str, str]:
    """The three lines by which a pairing request is known."""
    request = shown.request
    pin = shown.pin or "none, the key that it was made with is gone"
    left = countdown(seconds_left(request, now))
    return f"Pairing request from {quoted(request.name)}", f"PIN: {pin}", f"Expires in {left}"


def details(shown: Shown) -> tuple[str, str]:
    """What else is to be known before deciding: where from, what for, and how many guesses are left."""
    request = shown.request
    agent = safe(request.origin.user_agent)[:LONGEST_AGENT]
    origin = ", ".join(part for part in (safe(request.origin.address), agent) if part) or "unknown"
    wants = "Would get" if request.requested is None else "Asks for"
    attempts = attempts_left(request)
    left = f"{attempts} attempt{'' if attempts == 1 else 's'} left"
    return f"From {origin}", f"{wants} {spoken(shown.permissions)}; {left}"


def _happening(event: AuditEvent) -> str | None:
    told = HAPPENINGS.get(event.type)
    if told is None:
        return None
    return told.format(
        name=safe(event.name or ""),
        by=_by(event),
        reason=f": {safe(event.reason)}" if event.reason else "",
        attempts=METHODS[event.method or "pin"].attempts,
    )


def _by(event: AuditEvent) -> str:
    """By whom, where that was a person or time."""
    kind, _, name = event.by.partition(":")
    return f" by {safe(name if kind == 'operator' else event.by)}" if kind in ("operator", "handler", BY_TIME) else ""


def _method(event: AuditEvent) -> str:
    return METHOD_WORDS.get(event.method or "", "")
