"""Audit events: they say who, from where and how, and no secret."""

from typing import Any

import msgspec
import pytest

from pairlock._core.events import KEPT, device_event, request_event, service_event
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, EventType, Origin, Record
from pairlock.testing import a_device, a_request

NOW = 1_700_000_000.5
ORIGIN = Origin("192.0.2.1", "agent", "cli")
GRANTED = Permissions(read=("/a",))
KEPT_FOR = 90 * 86400


def said(event: AuditEvent) -> dict[str, Any]:
    """What an event says beyond what each says by default."""
    return {
        name: value
        for name, value in msgspec.structs.asdict(event).items()
        if value != msgspec.structs.asdict(AuditEvent(type=event.type, at=event.at, by=event.by))[name]
    }


def test_an_event_of_a_request_says_who_asked_and_what_became_of_it() -> None:
    request = a_request(id="1", origin=ORIGIN, granted=GRANTED, reason="no", device_id="2", decided_by="operator:eve")
    event = request_event(EventType.DENIED, request, NOW, "operator:ada")
    assert (event.type, event.at, event.by) == (EventType.DENIED, NOW, "operator:ada")
    assert said(event) == {
        "method": "pin",
        "name": "Living room phone",
        "request_id": "1",
        "device_id": "2",
        "origin": ORIGIN,
        "permissions": GRANTED,
        "reason": "no",
        "expires_at": request.expires_at,
        "purge_at": NOW + KEPT_FOR,
    }


@pytest.mark.parametrize(("origin", "reason"), [(None, None), (ORIGIN, "lost")])
def test_an_event_of_a_device_says_which_it_is_and_how_it_stands(origin: Origin | None, reason: str | None) -> None:
    device = a_device(id="2", epoch=3, permissions=GRANTED, origin=Origin("198.51.100.7"))
    event = device_event(EventType.REVOKED, device, NOW, "operator:ada", origin, reason)
    assert (event.type, event.at, event.by) == (EventType.REVOKED, NOW, "operator:ada")
    expected = {
        "method": "pin",
        "name": "Living room phone",
        "device_id": "2",
        "origin": origin,
        "epoch": 3,
        "permissions": GRANTED,
        "reason": reason,
        "purge_at": NOW + KEPT_FOR,
    }
    assert said(event) == {name: value for name, value in expected.items() if value is not None}


def test_an_event_of_the_service_says_what_it_is_given() -> None:
    assert said(service_event(EventType.HELD, NOW, "pin", method="pin")) == {"method": "pin", "purge_at": NOW + KEPT}
    opened = service_event(EventType.WINDOW_OPENED, NOW, "operator:ada", expires_at=NOW + 300)
    assert opened.expires_at == NOW + 300


def secrets_of(record: Record) -> set[str]:
    return {name for name in record.__struct_fields__ if "digest" in name or name in {"key_id", "challenge"}}


@pytest.mark.parametrize("fields", [{}, {"challenge": "THE-SECRET", "key_id": "THE-SECRET"}])
def test_no_event_says_a_secret_or_its_digest(fields: dict[str, str]) -> None:
    digests = {"secret_digest": b"THE-SECRET", "code_digest": b"THE-SECRET"}
    request = a_request(**fields, **digests)
    device = a_device(refresh_digest=b"THE-SECRET", rotated_from=b"THE-SECRET")
    for event in (
        request_event(EventType.REQUESTED, request, NOW, "device"),
        device_event(EventType.REFRESHED, device, NOW, "device:2"),
    ):
        assert not secrets_of(request) & set(event.__struct_fields__)
        assert "SECRET" not in repr(event)
        assert b"SECRET" not in msgspec.msgpack.encode(event)
