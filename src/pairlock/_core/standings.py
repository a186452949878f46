"""How devices stand in this process: which have been narrowed or revoked since their tokens were issued."""

from collections.abc import Callable, Iterator
from typing import Protocol
from weakref import WeakValueDictionary

from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType

# Why something is no longer served.
REVOKED = "pairlock: the device was revoked"
NARROWED = "pairlock: the device was narrowed"
STALE = "pairlock: revocations cannot be heard"
CLOSING = "pairlock: the service is closing"


class Served(Protocol):
    """A request or connection that is being served for a device; an asyncio.Task is one."""

    def cancel(self, msg: str) -> object:
        """Stop serving it, for this reason."""


class Admitted(Protocol):
    """Why something is served."""

    @property
    def counts(self) -> bool:
        """Whether it would be let in now."""


class Standing:
    """What this process knows of a device beyond its tokens.

    All grants of the device share it, so a change is seen by each of them at once. `seen` is set by whoever sees
    the device.
    """

    __slots__ = ("__weakref__", "least_epoch", "mark", "permissions", "revoked", "seen", "served")

    def __init__(self) -> None:
        self.least_epoch = 0
        self.permissions: Permissions | None = None
        self.revoked = False
        self.mark = object()  # replaced at every change: what was decided under another mark is void
        self.seen = False
        self.served: dict[Served | None, Admitted] = {}  # None: something that cannot be stopped

    def narrow(self, epoch: int, permissions: Permissions) -> bool:
        """Tokens of an earlier epoch count for no more than these permissions; whether that is news."""
        is_new = epoch > self.least_epoch
        if is_new:
            self.least_epoch, self.permissions = epoch, permissions
            self.mark = object()
        return is_new

    def revoke(self) -> None:
        """No token of this device counts any more."""
        self.revoked = True
        self.mark = object()

    def cut(self) -> Iterator[None]:
        """Stop serving what is open for this device and would not be let in now, one at each step."""
        for served, admitted in tuple(self.served.items()):
            if not admitted.counts:
                self._end(served, REVOKED if self.revoked else NARROWED)
            yield

    def suspend(self) -> Iterator[None]:
        """Stop serving whatever is open for this device, one at each step."""
        for served in tuple(self.served):
            self._end(served, STALE)
            yield

    def _end(self, served: Served | None, why: str) -> None:
        if served is not None and served in self.served:  # it may have left between two steps
            served.cancel(why)


class Standings:
    """The standing of every device that a grant is held for.

    `on_less` is called whenever a device may do less, after its standing says so.
    """

    def __init__(self, on_less: Callable[[Standing], None]) -> None:
        self._on_less = on_less
        self._held: WeakValueDictionary[str, Standing] = WeakValueDictionary()

    def of(self, device_id: str) -> Standing:
        """The one standing of a device."""
        standing = self._held.get(device_id)
        if standing is None:
            standing = self._held[device_id] = Standing()
        return standing

    def load(self, device: Device) -> None:
        """Take up how a device stands in the store."""
        standing = self.of(device.id)
        is_narrowed = standing.narrow(device.epoch, device.permissions)
        if device.revoked_at is not None:
            self._revoke(standing)
        elif is_narrowed:
            self._on_less(standing)

    def apply(self, event: AuditEvent) -> None:
        """Take up what an event says; a second time changes nothing. Nothing is held of most devices."""
        standing = self._held.get(event.device_id or "")
        if standing is None:
            return
        if event.type is EventType.REVOKED:
            self._revoke(standing)
        elif event.type is not EventType.NARROWED or event.permissions is None:
            return
        elif standing.narrow(event.epoch, event.permissions):
            self._on_less(standing)

    def being_served(self) -> list[Standing]:
        """The standings of devices for which something is open."""
        return [standing for standing in self._held.values() if standing.served]

    def take_seen(self) -> list[str]:
        """The ids of devices that were seen since this was last asked, or are being served."""
        seen = [device_id for device_id, standing in self._held.items() if standing.seen or standing.served]
        for device_id in seen:
            self.of(device_id).seen = False
        return seen

    def reset(self) -> None:
        """Trust nothing that was known: events may have been missed. Whoever comes back is looked up anew."""
        held = list(self._held.values())
        self._held.clear()
        for standing in held:
            self._revoke(standing)

    def _revoke(self, standing: Standing) -> None:
        if not standing.revoked:
            standing.revoke()
            self._on_less(standing)
