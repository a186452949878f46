"""What the service has acknowledged: none of it may be lost, nothing of it may be done twice."""

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.chaos.service import Answer


@dataclass(eq=False)
class Paired:
    """A device as its owner knows it."""

    id: str
    token: str
    refresh_token: str
    client_id: str
    revoking: bool = False  # its revocation was asked for, and may have happened
    revoked_at: float | None = None  # its revocation was acknowledged
    refreshed: int = 0
    given_up: bool = False  # its refresh token may have been used up: nothing is known of it


@dataclass
class Said:
    """By id, what was acknowledged; and what callers noticed."""

    devices: dict[str, Paired] = field(default_factory=dict)
    current: list[Paired] = field(default_factory=list)  # those that may be used
    gone: list[Paired] = field(default_factory=list)  # those that were revoked
    redeemed: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # devices, by request
    requested: set[str] = field(default_factory=set)
    decided: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # requests, by state
    counts: Counter[str] = field(default_factory=Counter)
    flaws: list[str] = field(default_factory=list)
    latest: float = 0.0  # seconds after an acknowledged revocation that a request was sent which was let in

    def paired(self, request_id: str, answer: Answer, client_id: str = "") -> Paired:
        """Note that a device has its tokens."""
        body = answer.body
        self.redeemed[request_id].add(body["device_id"])
        self.counts["paired"] += 1
        device = Paired(body["device_id"], body["access_token"], body["refresh_token"], client_id)
        self.devices[device.id] = device
        self.current.append(device)
        return device

    def refused(self, what: str, answer: Answer, *explained: str) -> None:
        """Note that something was refused: only whoever lost an answer may hear that it happened already."""
        if not answer.is_final:
            self.counts["given up"] += 1
        elif not answer.lost or answer.error not in explained:
            self.flaws.append(f"{what}: {answer.status} {answer.error}, lost an answer: {answer.lost}")

    def looked(self, device: Paired, answer: Answer, name: str) -> None:
        """Note how a guarded request was answered."""
        self.counts["guarded"] += answer.is_final
        if answer.status == 401 and not device.revoking:
            self.flaws.append(f"device {device.id} is paired and was refused by {name}")
        if answer.status == 204 and device.revoked_at is not None:
            self.latest = max(self.latest, answer.sent - device.revoked_at)

    def being_revoked(self, device: Paired) -> None:
        """Note that a revocation is asked for: from now on it may be refused."""
        device.revoking = True
        self._forget(device)

    def revoked(self, device: Paired) -> None:
        """Note that a revocation was acknowledged, just now."""
        device.revoked_at = time.monotonic()
        self.counts["revoked"] += 1
        self.gone.append(device)

    def give_up(self, device: Paired) -> None:
        """Note that its owner cannot know any more whether a device is paired."""
        self.being_revoked(device)
        device.given_up = True
        self.counts["given up"] += 1

    def _forget(self, device: Paired) -> None:
        if device in self.current:
            self.current.remove(device)
