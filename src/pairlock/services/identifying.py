"""How a device finds out that it is still the same server that it paired with."""

from pairlock._core.identity import is_id, is_nonce, proof
from pairlock._core.records import Device
from pairlock.errors import InvalidRequest
from pairlock.services.runtime import Runtime


class Identifying:
    """Says who this service is, and proves it to devices that have paired with it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def prove(self, device_id: str, nonce: str) -> str:
        """What only a server can say that this device has paired with.

        Of a device that is unknown it looks the same, and proves nothing. Raises InvalidRequest.
        """
        if not is_nonce(nonce):
            raise InvalidRequest(detail="nonce has 16 to 128 letters, digits, - and _: random ones, new each time")
        if not is_id(device_id):
            raise InvalidRequest(detail="device_id is no id of a device")
        store = await self._runtime.ready()
        device = await store.find(Device, device_id)
        known = None if device is None else device.family_digest
        key = known or self._runtime.keys.derive_all("identity", device_id)[0]
        return proof(key, self._runtime.server["id"], device_id, nonce)
