"""What goes over the wire: the bodies that are taken and the answers that are given."""

import math
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from pairlock._core.oauth import scope_text
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import AuditEvent, Device, Origin, PairingRequest
from pairlock._core.requests import attempts_left, seconds_left, state_at
from pairlock._core.sources import Nearness
from pairlock._core.states import State
from pairlock._core.windows import Window


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """A JSON body; a field that is not known is refused, so that a typo never grants by default."""


class StartBody(Body, frozen=True):
    name: str
    permissions: dict[str, list[str]] | None = None
    hint: str = ""


class PinBody(Body, frozen=True):
    pin: str

    def __repr__(self) -> str:
        return "<PinBody>"


class ApproveBody(Body, frozen=True):
    permissions: dict[str, list[str]] | None = None
    message: str | None = None


class DenyBody(Body, frozen=True):
    reason: str | None = None


class DeviceBody(Body, frozen=True):
    name: str | UnsetType = UNSET
    permissions: dict[str, list[str]] | UnsetType = UNSET


class UserCodeBody(Body, frozen=True):
    user_code: str


class MintBody(Body, frozen=True):
    method: str = "one_time_code"
    permissions: dict[str, list[str]] | None = None
    expires_in: float | None = None
    hint: str = ""


class RedeemBody(Body, frozen=True):
    code: str
    name: str
    secret: str | None = None
    hint: str = ""

    def __repr__(self) -> str:
        return "<RedeemBody>"


class WindowBody(Body, frozen=True):
    open: bool
    expires_in: float | UnsetType | None = UNSET


class NoBody(Body, frozen=True):
    """An empty object, or nothing at all."""


Answer = dict[str, Any]


def shown_permissions(permissions: Permissions) -> Answer:
    """Permissions as JSON."""
    return {"read": list(permissions.read), "write": list(permissions.write)}


def started_answer(
    request: PairingRequest, secret: str, *, interval: int, pin_length: int, shown: bool, now: float
) -> Answer:
    """What a device gets when it asks to pair; `shown`: not another's of its source first."""
    return {
        "id": request.id,
        "secret": secret,
        "state": request.state.value,
        "shown": shown,
        "expires_in": seconds_left(request, now),
        "interval": interval,
        "attempts": attempts_left(request),
        "pin_length": pin_length,
    }


def state_answer(request: PairingRequest, now: float) -> Answer:
    """What the holder of a request's secret may know of it."""
    return _without_none(
        {
            "id": request.id,
            "state": state_at(request, now).value,
            "expires_in": seconds_left(request, now),
            "attempts_left": attempts_left(request),
            "message": request.message,
            "reason": request.reason,
        }
    )


def token_answer(
    device: Device,
    token: str,
    life: int,
    *,
    permissions: Permissions,
    server: Answer,
    refresh_token: str | None = None,
    message: str | None = None,
) -> Answer:
    """A capability token and what it is good for; the same for all methods."""
    return _without_none(
        {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": life,
            "refresh_token": refresh_token,
            "scope": scope_text(permissions),
            "device_id": device.id,
            "device_name": device.name,
            "permissions": shown_permissions(permissions),
            "server": server,
            "message": message,
        }
    )


def pending_answer(
    request: PairingRequest,
    *,
    default: Permissions,
    network: Nearness,
    now: float,
    pin: str | None = None,
    confirmation_pin: str | None = None,
) -> Answer:
    """A pairing request as an operator sees it, with what approving it would grant.

    `network` says whether the device is where the operator is.
    """
    requested = request.requested
    return _without_none(
        {
            "id": request.id,
            "method": request.method,
            "state": state_at(request, now).value,
            "name": request.name,
            "pin": pin,
            "confirmation_pin": confirmation_pin,
            "client_id": request.client_id or None,
            "created_at": request.created_at,
            "expires_in": seconds_left(request, now),
            "attempts_left": attempts_left(request),
            "requested": None if requested is None else shown_permissions(requested),
            "permissions": shown_permissions(request.granted or requested or default),
            "address": request.origin.address,
            "network": network,
            "user_agent": request.origin.user_agent,
            "hint": request.origin.hint,
        }
    )


def code_answer(request: PairingRequest, now: float, *, code: str | None = None, uri: str | None = None) -> Answer:
    """A code as the operator who minted it sees it: `pending` until it is redeemed, and by whom."""
    state = state_at(request, now)
    return _without_none(
        {
            "id": request.id,
            "method": request.method,
            "state": State.PENDING.value if state is State.APPROVED else state.value,
            "code": code,
            "uri": uri,
            "permissions": shown_permissions(request.granted or NOTHING),
            "expires_in": seconds_left(request, now),
            "hint": request.hint,
            "redeemed": _redeemed(request) if state is State.REDEEMED else None,
        }
    )


def unknown_code_answer(request_id: str) -> Answer:
    """What is said of a code that is unknown, purged or another operator's."""
    return {"id": request_id, "state": State.EXPIRED.value}


def window_answer(window: Window, now: float) -> Answer:
    """The pairing window as operators see it."""
    left = None if window.until is None else max(math.ceil(window.until - now), 0)
    return _without_none({"open": window.open, "expires_in": left, "by": window.by or None})


def health_answer(ok: bool, *, store: bool, schema: bool | None, feed: bool) -> Answer:
    """Whether the process that answers can do its work, and what of it fails."""
    status = "ok" if ok else "unavailable"
    return _without_none({"status": status, "store": store, "schema": schema, "feed": feed})


def event_answer(event: AuditEvent) -> Answer:
    """An audit event as operators see it."""
    origin = event.origin or Origin()
    return _without_none(
        {
            "seq": event.seq,
            "type": event.type.value,
            "at": event.at,
            "by": event.by,
            "method": event.method,
            "name": event.name or None,
            "request_id": event.request_id,
            "device_id": event.device_id,
            "address": origin.address or None,
            "user_agent": origin.user_agent or None,
            "hint": origin.hint or None,
            "permissions": None if event.permissions is None else shown_permissions(event.permissions),
            "reason": event.reason,
            "expires_at": event.expires_at,
        }
    )


def _redeemed(request: PairingRequest) -> Answer:
    return {
        "at": request.ended_at,
        "device_id": request.device_id,
        "name": request.name,
        "address": request.origin.address,
        "user_agent": request.origin.user_agent,
        "hint": request.origin.hint,
    }


def device_answer(device: Device) -> Answer:
    """A device as operators, and the device itself, see it; `expires_at` unless it refreshes before."""
    return _without_none(
        {
            "id": device.id,
            "name": device.name,
            "method": device.method,
            "client_id": device.client_id or None,
            "permissions": shown_permissions(device.permissions),
            "created_at": device.created_at,
            "approved_by": device.approved_by,
            "expires_at": device.expires_at,
            "seen_at": device.seen_at,
            "address": device.origin.address,
            "user_agent": device.origin.user_agent,
        }
    )


def _without_none(answer: Answer) -> Answer:
    return {name: value for name, value in answer.items() if value is not None}
