"""What a device holds: made in the write that pairs it, refreshed, reissued, given back, looked into."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core import refresh
from pairlock._core.codes import ID_RANDOM_BYTES, encode_secret, make_id
from pairlock._core.devices import is_paired, revoked
from pairlock._core.events import device_event, request_event
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import Device, EventType, Origin, PairingRequest
from pairlock._core.refresh import RefreshToken
from pairlock._core.tokens import Claims
from pairlock.errors import InvalidCode, InvalidGrant, InvalidPermissions, InvalidToken, TooManyRequests
from pairlock.services.runtime import Runtime
from pairlock.services.verifier import Verifier
from pairlock.stores.contract import Add, Log, Swap, Write

SECRET_BYTES = 32


class Redeemed(Struct, frozen=True):
    """A device and what it is handed: its refresh token (None: it has none), and what the operator said to it.

    `permissions` is what its access token shall carry, no more than the device has.
    """

    device: Device
    refresh_token: str | None
    permissions: Permissions
    message: str | None = None

    def __repr__(self) -> str:
        return f"<Redeemed {self.device.id}>"


class Tokens:
    """Issues, refreshes, revokes and introspects tokens."""

    def __init__(self, runtime: Runtime, verifier: Verifier) -> None:
        self._runtime = runtime
        self._verifier = verifier

    def access(self, device: Device, permissions: Permissions | None = None) -> tuple[str, int]:
        """A fresh capability token of a device, and its life in seconds."""
        now, life = int(self._runtime.clock()), int(self._life(device.method, device.token_life))
        carried = device.permissions if permissions is None else permissions
        claims = Claims(device.id, device.name, device.epoch, carried.read, carried.write, now, now + life)
        return self._runtime.signer.sign(claims), life

    async def pair(self, redeemed: PairingRequest, now: float, *also: Write, told: str | None = None) -> Redeemed:
        """Make the device of a request, in the same write that uses the request up. Raises Conflict.

        `told` is a secret that the device may name to be handed the same again.
        """
        device_id, secret = redeemed.device_id or "", told or encode_secret(secrets.token_bytes(SECRET_BYTES))
        first = refresh.first(self._runtime.keys, device_id, secret) if self._refreshes(redeemed.method) else None
        device = self._lasting(_device(redeemed, now), first, now)
        event = request_event(EventType.REDEEMED, redeemed, now, f"device:{device.id}")
        await self._runtime.commit(Swap(redeemed), Add(device), Log(event), *also)
        return Redeemed(device, _text(first), device.permissions, redeemed.message)

    async def reissue(self, device: Device, now: float, message: str | None, *, told: str) -> Redeemed:
        """What a device was handed and may not have got, once more. Raises Conflict, InvalidCode when it is gone."""
        first = refresh.first_again(self._runtime.keys, device, told)
        if first is None and device.refresh_digest is not None:  # it was derived with a key that has been replaced
            raise InvalidCode
        again, event = device.evolve(), device_event(EventType.REISSUED, device, now, f"device:{device.id}")
        await self._runtime.commit(Swap(again), Log(event))
        return Redeemed(again, _text(first), again.permissions, message)

    async def refresh(
        self, text: str, *, client_id: str = "", wanted: Permissions | None = None, origin: Origin | None = None
    ) -> Redeemed:
        """The next refresh token for this one, which is used up; the same again to whoever asks again at once.

        The access token will carry what is `wanted` of what the device has. A token that was used up before revokes
        the device: it is in two hands (RFC 9700 §4.14.2). Raises InvalidGrant, and InvalidPermissions when the device
        has nothing of what is wanted.
        """

        async def attempt(device: Device, token: RefreshToken) -> Redeemed:
            now = self._runtime.clock()
            if refresh.counts(device, token):
                return await self._rotate(device, token, _carried(device, wanted), now, origin)
            if refresh.was_just_rotated(device, token, now):
                again = refresh.successor_again(self._runtime.keys, device, token)
                if again is not None:
                    return Redeemed(device, str(again), _carried(device, wanted))
            elif refresh.is_of_family(device, token):
                detected = device_event(EventType.REUSE_DETECTED, device, now, f"device:{device.id}", origin)
                await self._revoke(device, now, origin, Log(detected))
            raise InvalidGrant

        return await self._with_device(text, client_id, attempt)

    async def revoke(self, text: str, *, client_id: str = "", origin: Origin | None = None) -> None:
        """Un-pair the device whose token this is; one that does not count is no error (RFC 7009 §2.2).

        Raises InvalidGrant for another client's.
        """
        device = await self._holder(text)
        if device is None:
            return
        if device.client_id not in ("", client_id):
            raise InvalidGrant

        async def attempt() -> None:
            paired = await self._paired(device.id)
            if paired is not None:
                await self._revoke(paired, self._runtime.clock(), origin)

        await self._runtime.settle(attempt)

    async def introspect(self, text: str) -> tuple[Claims, Permissions, Device] | None:
        """What a capability token says and lets its holder do now; None when it does not count."""
        await self._runtime.ready()
        try:
            claims = self._verifier.read(text.encode(errors="replace"))
        except InvalidToken:
            return None
        device = await self._paired(claims.device_id)
        if device is None:
            return None
        await self._verifier.mark_used(device)
        carried = Permissions(claims.read, claims.write)
        return claims, carried if claims.epoch >= device.epoch else device.permissions.common(carried), device

    # Steps

    def _life(self, method: str, decided: float | None) -> float:
        return self._runtime.settings.life_of(method) if decided is None else decided

    def _refreshes(self, method: str) -> bool:
        return method not in self._runtime.settings.long_lived

    def _lasting(self, device: Device, token: RefreshToken | None, now: float) -> Device:
        """The device as it is with this refresh token, and no use of it for as long as it lasts."""
        idle = 0 if token is None else self._runtime.settings.refresh_idle
        end = now + max(self._life(device.method, device.token_life), idle)
        return replace(device if token is None else refresh.kept(device, token), expires_at=end, purge_at=end)

    async def _paired(self, device_id: str) -> Device | None:
        store = await self._runtime.ready()
        device = await store.find(Device, device_id)
        return device if device is not None and is_paired(device, self._runtime.clock()) else None

    async def _with_device(
        self, text: str, client_id: str, attempt: Callable[[Device, RefreshToken], Awaitable[Redeemed]]
    ) -> Redeemed:
        token = refresh.parse(text)
        if token is None:
            raise InvalidGrant

        async def with_device() -> Redeemed:
            device = await self._paired(token.device_id)
            if device is None or device.client_id not in ("", client_id):
                raise InvalidGrant
            return await attempt(device, token)

        return await self._runtime.settle(with_device)

    async def _rotate(
        self, device: Device, token: RefreshToken, carried: Permissions, now: float, origin: Origin | None
    ) -> Redeemed:
        counter = "refreshes", self._runtime.settings.limits.refreshes, device.id
        await self._runtime.limiter.check(*counter)
        following = refresh.successor(self._runtime.keys, token)
        used = device.evolve(rotated_from=device.refresh_digest, rotated_at=now)
        rotated = self._lasting(used, following, now)
        event = device_event(EventType.REFRESHED, rotated, now, f"device:{device.id}", origin)
        await self._runtime.commit(Swap(rotated), Log(event))
        self._runtime.upkeep.note_seen(device.id)
        with suppress(TooManyRequests):  # of several at once one is the last; those that lost the race are no refresh
            await self._runtime.limiter.hit(*counter)
        return Redeemed(rotated, str(following), carried)

    async def _revoke(self, device: Device, now: float, origin: Origin | None, *also: Write) -> None:
        gone = revoked(device, now)
        event = device_event(EventType.REVOKED, gone, now, f"device:{device.id}", origin)
        await self._runtime.commit(Swap(gone), *also, Log(event))

    async def _holder(self, text: str) -> Device | None:
        """The paired device whose token this is, of either kind; None for what we never gave out."""
        await self._runtime.ready()
        token = refresh.parse(text)
        if token is None:
            found = await self.introspect(text)
            return None if found is None else found[2]
        device = await self._paired(token.device_id)
        return device if device is not None and refresh.is_of_family(device, token) else None


def _device(request: PairingRequest, now: float) -> Device:
    return Device(
        id=request.device_id or "",
        name=request.name,
        method=request.method,
        permissions=request.granted or NOTHING,
        created_at=now,
        request_id=request.id,
        approved_by=request.decided_by or "",
        origin=request.origin,
        client_id=request.client_id,
        token_life=request.token_life,
    )


def _carried(device: Device, wanted: Permissions | None) -> Permissions:
    """What is wanted of what a device has: a client may still ask for what was taken away since (RFC 6749 §6)."""
    if wanted is None:
        return device.permissions
    carried = device.permissions.common(wanted)
    if carried == NOTHING != wanted:
        raise InvalidPermissions(detail="the device has nothing of this scope")
    return carried


def _text(token: RefreshToken | None) -> str | None:
    return None if token is None else str(token)


def new_device_id(now: float) -> str:
    """The id of a device that pairs now."""
    return make_id(now, secrets.token_bytes(ID_RANDOM_BYTES))
