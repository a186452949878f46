"""What goes over the wire: the bodies that are taken and the answers that are given."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from pairlock._core.permissions import Permissions
from pairlock._core.records import Device, PairingRequest
from pairlock._core.requests import attempts_left, seconds_left, state_at


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


class NoBody(Body, frozen=True):
    """An empty object, or nothing at all."""


Answer = dict[str, Any]


def shown_permissions(permissions: Permissions) -> Answer:
    """Permissions as JSON."""
    return {"read": list(permissions.read), "write": list(permissions.write)}


def started_answer(request: PairingRequest, secret: str, *, interval: int, pin_length: int, now: float) -> Answer:
    """What a device gets when it asks to pair."""
    return {
        "id": request.id,
        "secret": secret,
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


def token_answer(device: Device, token: str, life: int, *, server: Answer, message: str | None = None) -> Answer:
    """A capability token and what it is good for; the same for all methods."""
    return _without_none(
        {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": life,
            "device_id": device.id,
            "device_name": device.name,
            "permissions": shown_permissions(device.permissions),
            "server": server,
            "message": message,
        }
    )


def pending_answer(request: PairingRequest, pin: str | None, default: Permissions, now: float) -> Answer:
    """A pairing request as an operator sees it, with what approving it would grant."""
    requested = request.requested
    return _without_none(
        {
            "id": request.id,
            "method": request.method,
            "state": state_at(request, now).value,
            "name": request.name,
            "pin": pin,
            "created_at": request.created_at,
            "expires_in": seconds_left(request, now),
            "attempts_left": attempts_left(request),
            "requested": None if requested is None else shown_permissions(requested),
            "permissions": shown_permissions(request.granted or requested or default),
            "address": request.origin.address,
            "user_agent": request.origin.user_agent,
            "hint": request.origin.hint,
        }
    )


def device_answer(device: Device) -> Answer:
    """A device as operators, and the device itself, see it."""
    return {
        "id": device.id,
        "name": device.name,
        "method": device.method,
        "permissions": shown_permissions(device.permissions),
        "created_at": device.created_at,
        "approved_by": device.approved_by,
        "address": device.origin.address,
        "user_agent": device.origin.user_agent,
    }


def _without_none(answer: Answer) -> Answer:
    return {name: value for name, value in answer.items() if value is not None}
