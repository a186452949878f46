"""What stores keep: frozen records. A change is a new record, one version later."""

from enum import StrEnum
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.permissions import Permissions
from pairlock._core.states import State


class Record(Struct, frozen=True, kw_only=True):
    """Something kept under an id. Times are in seconds since the epoch.

    `purge_at` is when nobody can need it any more (None: kept until it changes).
    """

    id: str
    version: int = 1
    purge_at: float | None = None

    def evolve(self, **changes: Any) -> Self:
        """The next version of this record."""
        return replace(self, version=self.version + 1, **changes)


class Origin(Struct, frozen=True):
    """Where a call came from, as far as it can be known; cleaned, but chosen by a stranger."""

    address: str = ""
    user_agent: str = ""
    hint: str = ""  # telemetry only: never routed on, never names anything


class PairingRequest(Record, frozen=True, kw_only=True):
    """One attempt to pair, from asking to its end.

    Secrets are kept as digests: `secret_digest` proves the device that asked, `code_digest` is
    what a code is looked up by. A PIN is not kept at all: it is derived from the key `key_id`.
    """

    method: str
    state: State
    name: str
    created_at: float
    expires_at: float
    secret_digest: bytes = b""
    code_digest: bytes | None = None
    key_id: str = ""
    requested: Permissions | None = None
    granted: Permissions | None = None
    guesses: int = 0
    origin: Origin = Origin()
    decided_by: str | None = None
    decided_at: float | None = None
    message: str | None = None
    reason: str | None = None
    device_id: str | None = None


class Device(Record, frozen=True, kw_only=True):
    """What has paired. `epoch` rises whenever older tokens stop counting in full."""

    name: str
    method: str
    permissions: Permissions
    created_at: float
    request_id: str
    approved_by: str
    origin: Origin = Origin()
    epoch: int = 0
    revoked_at: float | None = None


class Setting(Record, frozen=True, kw_only=True):
    """Something all processes on one store share, such as the identity of the server."""

    value: Any


class EventType(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    REDEEMED = "redeemed"
    RENAMED = "renamed"
    NARROWED = "narrowed"
    REVOKED = "revoked"


class AuditEvent(Struct, frozen=True, kw_only=True):
    """One thing that happened, written in the same commit; never holds a secret.

    The change feed carries the same records, so what other processes must act upon is in them.
    `seq` is given by the store: it rises in the order of commits.
    """

    type: EventType
    at: float
    by: str
    seq: int = 0
    method: str | None = None
    name: str | None = None
    request_id: str | None = None
    device_id: str | None = None
    origin: Origin | None = None
    epoch: int = 0
    permissions: Permissions | None = None
    reason: str | None = None
    purge_at: float | None = None
