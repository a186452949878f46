"""Devices that have paired: what operators and the devices themselves may do with them."""

from pairlock._core.names import clean_name
from pairlock._core.operators import APP
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType
from pairlock._core.tokens import Claims
from pairlock.errors import NotFound
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Log, Swap

AUDIT_KEPT = 90 * 86400  # seconds


class Devices:
    """Lists, renames, narrows and revokes devices. Each change is one compare-and-set write, and audited."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def list(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Paired devices, newest first, with ids below `before`."""
        store = await self._runtime.ready()
        return await store.list_devices(before=before, limit=limit)

    async def find(self, device_id: str) -> Device:
        """A paired device. Raises NotFound when there is none with this id, or it was revoked."""
        store = await self._runtime.ready()
        device = await store.find(Device, device_id)
        if device is None or device.revoked_at is not None:
            raise NotFound
        return device

    async def rename(self, device_id: str, name: str, *, by: str = APP.actor) -> Device:
        """Give a device another name. Raises NotFound, InvalidRequest."""
        return await self.change(device_id, name=name, by=by)

    async def narrow(self, device_id: str, permissions: Permissions, *, by: str = APP.actor) -> Device:
        """Leave a device less than it has; its tokens count for no more, at once.

        Raises NotFound, and InvalidPermissions for what it does not have.
        """
        return await self.change(device_id, permissions=permissions, by=by)

    async def change(
        self, device_id: str, *, name: str | None = None, permissions: Permissions | None = None, by: str
    ) -> Device:
        """Rename, narrow or both, in one write."""
        cleaned = None if name is None else clean_name(name)

        async def attempt() -> Device:
            device = await self.find(device_id)
            now = self._runtime.clock()
            changed, events = device, []
            if cleaned is not None:
                changed = device.evolve(name=cleaned)
                events.append(_event(EventType.RENAMED, changed, now, by))
            if permissions is not None:
                narrowed = device.permissions.narrow(permissions)
                changed = device.evolve(name=changed.name, permissions=narrowed, epoch=device.epoch + 1)
                events.append(_event(EventType.NARROWED, changed, now, by))
            if events:
                await self._runtime.commit(Swap(changed), *map(Log, events))
            return changed

        return await self._runtime.settle(attempt)

    async def revoke(self, device_id: str, *, by: str = APP.actor) -> Device:
        """Shut a device out: refused here once this returns, by every other process within a second.

        Raises NotFound when it is not paired (any more).
        """

        async def attempt() -> Device:
            device = await self.find(device_id)
            now = self._runtime.clock()
            revoked = device.evolve(revoked_at=now, epoch=device.epoch + 1, purge_at=now + AUDIT_KEPT)
            await self._runtime.commit(Swap(revoked), Log(_event(EventType.REVOKED, revoked, now, by)))
            return revoked

        return await self._runtime.settle(attempt)

    async def revoke_all(self, *, by: str = APP.actor) -> int:
        """Shut every device out; how many there were."""
        count = 0
        while page := await self.list():
            for device in page:
                try:
                    await self.revoke(device.id, by=by)
                    count += 1
                except NotFound:  # somebody else was faster
                    continue
        return count

    def token(self, device: Device) -> tuple[str, int]:
        """A fresh capability token of a device, and its life in seconds."""
        now, life = int(self._runtime.clock()), int(self._runtime.settings.token_life)
        read, write = device.permissions.read, device.permissions.write
        claims = Claims(device.id, device.name, device.epoch, read, write, now, now + life)
        return self._runtime.signer.sign(claims), life


def _event(type: EventType, device: Device, now: float, by: str) -> AuditEvent:
    return AuditEvent(
        type=type,
        at=now,
        by=by,
        method=device.method,
        name=device.name,
        device_id=device.id,
        epoch=device.epoch,
        permissions=device.permissions,
        purge_at=now + AUDIT_KEPT,
    )
