"""The audit events of what happens to requests and devices. They name who, from where and how; never a secret."""

from typing import Any

from pairlock._core.records import AuditEvent, Device, EventType, Origin, PairingRequest

KEPT = 90 * 86400  # seconds


def request_event(type: EventType, request: PairingRequest, now: float, by: str) -> AuditEvent:
    """Something happened to a pairing request."""
    return AuditEvent(
        type=type,
        at=now,
        by=by,
        method=request.method,
        name=request.name,
        request_id=request.id,
        device_id=request.device_id,
        origin=request.origin,
        permissions=request.granted,
        reason=request.reason,
        expires_at=request.expires_at,
        purge_at=now + KEPT,
    )


def device_event(
    type: EventType, device: Device, now: float, by: str, origin: Origin | None = None, reason: str | None = None
) -> AuditEvent:
    """Something happened to a device."""
    return AuditEvent(
        type=type,
        at=now,
        by=by,
        method=device.method,
        name=device.name,
        device_id=device.id,
        origin=origin,
        epoch=device.epoch,
        permissions=device.permissions,
        reason=reason,
        purge_at=now + KEPT,
    )


def service_event(type: EventType, now: float, by: str, **said: Any) -> AuditEvent:
    """Something happened to the service as a whole."""
    return AuditEvent(type=type, at=now, by=by, purge_at=now + KEPT, **said)
