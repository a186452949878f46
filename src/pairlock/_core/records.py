"""What stores keep: frozen records. A change is a new record, one version later."""

from enum import StrEnum
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.names import fold
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

    Secrets are kept as digests: `secret_digest` proves the device that asked (or redeemed), `code_digest` is
    what a code is looked up by. No code is kept: it is derived from the key `key_id`.

    `interval`, `polled_at` and `refused_at` are of polling: seconds between polls, the last poll that
    counted, the last that came too soon. `present_until` is when a device that polls counts as gone (None: it
    never polled).
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
    hint: str = ""  # of the operator who minted it
    origin: Origin = Origin()
    decided_by: str | None = None
    decided_at: float | None = None
    message: str | None = None
    reason: str | None = None
    device_id: str | None = None
    client_id: str = ""
    challenge: str = ""  # RFC 7636, S256
    interval: int = 5  # RFC 8628 §3.2
    polled_at: float | None = None
    refused_at: float | None = None
    present_until: float | None = None
    token_life: float | None = None
    ended_at: float | None = None


class Device(Record, frozen=True, kw_only=True):
    """What has paired. `epoch` rises whenever older tokens stop counting in full.

    `refresh_digest` is of the refresh token that counts (None: it has none), `rotated_from` of the one before,
    replaced at `rotated_at`; `family_digest` is of what all its refresh tokens share. `expires_at` is when nothing
    it holds can count any more; `token_life` (seconds) where it was decided for this device alone; `used_at` is kept
    only as long as a lost answer may be asked for again. `seen_at` is kept beside the record, by `touch`: what a
    commit says of it is not looked at.
    """

    name: str
    method: str
    permissions: Permissions
    created_at: float
    request_id: str
    approved_by: str
    origin: Origin = Origin()
    epoch: int = 0
    revoked_at: float | None = None
    client_id: str = ""
    token_life: float | None = None
    family_digest: bytes | None = None
    refresh_digest: bytes | None = None
    rotated_from: bytes | None = None
    rotated_at: float | None = None
    expires_at: float | None = None
    used_at: float | None = None
    seen_at: float | None = None

    @property
    def name_key(self) -> str:
        """What the device is sorted and searched by: its folded name, then its id; unique."""
        return f"{fold(self.name)}\n{self.id}"  # a line feed sorts before all that a folded name can hold


class Setting(Record, frozen=True, kw_only=True):
    """Something all processes on one store share, such as the identity of the server."""

    value: Any


class EventType(StrEnum):
    REQUESTED = "requested"
    MINTED = "minted"
    APPROVED = "approved"
    DENIED = "denied"
    LOCKED = "locked"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REDEEMED = "redeemed"
    REISSUED = "reissued"
    REFRESHED = "refreshed"
    REUSE_DETECTED = "reuse_detected"
    RENAMED = "renamed"
    NARROWED = "narrowed"
    REVOKED = "revoked"
    HELD = "held"
    REOPENED = "reopened"
    WINDOW_OPENED = "window_opened"
    WINDOW_CLOSED = "window_closed"
    KEYS_ROTATED = "keys_rotated"


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
    expires_at: float | None = None
    purge_at: float | None = None
