"""How devices stand in this process: which have been narrowed or revoked since their tokens were issued."""

from collections.abc import Callable
from typing import Protocol
from weakref import WeakValueDictionary

from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType

REVOKED = "pairlock: the device was revoked"


class Served(Protocol):
    """A request or connection that is being served for a device; an asyncio.Task is one."""

    def cancel(self, msg: str) -> object:
        """Stop serving it."""


class Standing:
    """What this process knows of a device beyond its tokens.

    All grants of the device share it, so a change is seen by each of them at once.
    """

    __slots__ = ("__weakref__", "least_epoch", "mark", "permissions", "revoked", "served")

    def __init__(self) -> None:
        self.least_epoch = 0
        self.permissions: Permissions | None = None
        self.revoked = False
        self.mark = object()  # replaced at every change: what was decided under another mark is void
        self.served: set[Served | None] = set()  # None: something that cannot be stopped

    def narrow(self, epoch: int, permissions: Permissions) -> None:
        """Tokens of an earlier epoch count for no more than these permissions."""
        if epoch > self.least_epoch:
            self.least_epoch, self.permissions = epoch, permissions
            self.mark = object()

    def revoke(self) -> None:
        """No token of this device counts any more."""
        self.revoked = True
        self.mark = object()

    def cut(self) -> None:
        """Stop serving whatever is open for this device."""
        for served in tuple(self.served):
            if served is not None:
                served.cancel(REVOKED)


class Standings:
    """The standing of every device that a grant is held for.

    `on_revoked` is called once for each device that is revoked, after its standing says so.
    """

    def __init__(self, on_revoked: Callable[[Standing], None]) -> None:
        self._on_revoked = on_revoked
        self._held: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def of(self, device_id: str) -> Standing:
        """The one standing of a device."""
        standing = self._held.get(device_id)
        if standing is None:
            standing = self._held[device_id] = Standing()
        return standing

    def load(self, device: Device) -> None:
        """Take up how a device stands in the store."""
        self.of(device.id).narrow(device.epoch, device.permissions)
        if device.revoked_at is not None:
            self._revoke(self.of(device.id))

    def apply(self, event: AuditEvent) -> None:
        """Take up what an event says; a second time changes nothing. Nothing is held of most devices."""
        standing = self._held.get(event.device_id or "")
        if standing is None:
            return
        if event.type is EventType.REVOKED:
            self._revoke(standing)
        elif event.type is EventType.NARROWED and event.permissions is not None:
            standing.narrow(event.epoch, event.permissions)

    def reset(self) -> None:
        """Trust nothing that was known: events may have been missed. Whoever comes back is looked up anew."""
        held = list(self._held.values())
        self._held.clear()
        for standing in held:
            self._revoke(standing)

    def _revoke(self, standing: Standing) -> None:
        if not standing.revoked:
            standing.revoke()
            self._on_revoked(standing)
