"""Valid records with as little said as possible: a test names only what it is about.

Each has an id of its own, and later ones sort as newer.
"""

import itertools
from typing import Any

from msgspec.structs import replace

from pairlock._core.codes import ID_RANDOM_BYTES, make_id
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType, PairingRequest, Setting
from pairlock._core.states import State

MADE_AT = 1_700_000_000.0

_serial = itertools.count(1)


def a_request(**changes: Any) -> PairingRequest:
    """A PIN request, pending for five minutes."""
    request = PairingRequest(
        id=_next_id(),
        method="pin",
        state=State.PENDING,
        name="Living room phone",
        created_at=MADE_AT,
        expires_at=MADE_AT + 300,
    )
    return replace(request, **changes)


def a_device(**changes: Any) -> Device:
    """A paired device that may read everything."""
    device = Device(
        id=_next_id(),
        name="Living room phone",
        method="pin",
        permissions=Permissions(read=("/**",)),
        created_at=MADE_AT,
        request_id=_next_id(),
        approved_by="operator",
    )
    return replace(device, **changes)


def a_setting(**changes: Any) -> Setting:
    """A setting with a value."""
    return replace(Setting(id=_next_id(), value={"name": "Home"}), **changes)


def an_event(**changes: Any) -> AuditEvent:
    """An audit event: somebody asked to pair."""
    return replace(AuditEvent(type=EventType.REQUESTED, at=MADE_AT, by="device"), **changes)


def _next_id() -> str:
    return make_id(MADE_AT + next(_serial), bytes(ID_RANDOM_BYTES))
