"""Devices that have paired: what operators and the devices themselves may do with them."""

from collections.abc import Sequence
from contextlib import suppress

from pairlock._core.devices import is_paired, revoked
from pairlock._core.events import device_event
from pairlock._core.names import clean_name, clean_text, fold
from pairlock._core.operators import APP
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType
from pairlock.errors import NotFound
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Conflict, Log, Swap

REVOKED_AT_ONCE = 200  # of all: in one commit, and no more, for others run in between


class Devices:
    """Lists, renames, narrows and revokes devices. Each change is one compare-and-set write, and audited."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def search(self, name: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Paired devices whose name begins so, however it is written, by name; with a `name_key` beyond `after`."""
        store = await self._runtime.ready()
        return await store.search_devices(fold(clean_text(name)), after=after, limit=limit)

    async def list(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Paired devices, newest first, with ids below `before`."""
        store = await self._runtime.ready()
        return await store.list_devices(before=before, limit=limit)

    async def find(self, device_id: str) -> Device:
        """A paired device. Raises NotFound when there is none with this id, or it counts no more."""
        store = await self._runtime.ready()
        device = await store.find(Device, device_id)
        if device is None or not is_paired(device, self._runtime.clock()):
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
                events.append(device_event(EventType.RENAMED, changed, now, by))
            if permissions is not None:
                narrowed = device.permissions.narrow(permissions)
                changed = device.evolve(name=changed.name, permissions=narrowed, epoch=device.epoch + 1)
                events.append(device_event(EventType.NARROWED, changed, now, by))
            if events:
                await self._runtime.commit(Swap(changed), *map(Log, events))
            return changed

        return await self._runtime.settle(attempt)

    async def revoke(self, device_id: str, *, by: str = APP.actor) -> Device:
        """Shut a device out: refused here once this returns, by every other process within a second.

        Raises NotFound when it is not paired any more.
        """

        async def attempt() -> Device:
            device = await self.find(device_id)
            now = self._runtime.clock()
            gone = revoked(device, now)
            await self._runtime.commit(Swap(gone), Log(_revocation(gone, now, by)))
            return gone

        return await self._runtime.settle(attempt)

    async def revoke_all(self, *, by: str = APP.actor) -> int:
        """Shut every device out; how many there were."""
        count = 0
        while found := await self._revoke_each(by):  # until none has paired meanwhile
            count += found
        return count

    async def _revoke_each(self, by: str) -> int:
        count, before = 0, None
        while page := await self.list(before=before, limit=REVOKED_AT_ONCE):
            before = page[-1].id
            try:
                count += await self._revoke_page(page, by)
            except Conflict:  # one of them has just refreshed, say
                count += sum([await self._revoke_one(device.id, by) for device in page])
        return count

    async def _revoke_page(self, page: Sequence[Device], by: str) -> int:
        now = self._runtime.clock()
        gone = [revoked(device, now) for device in page if is_paired(device, now)]
        await self._runtime.commit(*map(Swap, gone), *(Log(_revocation(device, now, by)) for device in gone))
        return len(gone)

    async def _revoke_one(self, device_id: str, by: str) -> bool:
        with suppress(NotFound):  # somebody else was faster
            await self.revoke(device_id, by=by)
            return True
        return False


def _revocation(device: Device, now: float, by: str) -> AuditEvent:
    return device_event(EventType.REVOKED, device, now, by)
