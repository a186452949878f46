"""From a token to a grant: the only way there is. Verified tokens are remembered, unverified ones never."""

from functools import partial

from pairlock._core.credentials import bearer_token
from pairlock._core.devices import may_be_reissued
from pairlock._core.grants import Grant
from pairlock._core.records import Device
from pairlock._core.requests import MAX_CLOCK_SKEW
from pairlock._core.tokens import Claims
from pairlock.errors import InvalidRequest, InvalidToken, TemporarilyUnavailable
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Swap

MAX_GRANTS = 4096


class Verifier:
    """Turns Authorization headers into grants.

    A token is looked up once in a process: its device must exist, whatever the signature says. From then on the
    change feed tells of it. `grants` holds what was verified, by token; bounded, the oldest leaves first.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.grants = runtime.grants

    async def verify(self, token: str | bytes) -> Grant:
        """The grant of a token that counts now. Raises InvalidToken, TemporarilyUnavailable."""
        try:
            return await self.admit(b"Bearer " + (token.encode(errors="replace") if isinstance(token, str) else token))
        except InvalidRequest:
            raise InvalidToken from None

    async def admit(self, header: bytes) -> Grant:
        """The grant of an Authorization header. Raises MissingToken, InvalidRequest, InvalidToken."""
        if not self.runtime.fresh:
            await self.runtime.ready()
            if not self.runtime.fresh:
                raise TemporarilyUnavailable(retry_after=1)
        token = bearer_token(header)
        grant = self.grants.get(token) or await self._look_up(token, self.read(token))
        if grant.revoked or grant.expires_at <= self.runtime.clock():
            raise InvalidToken
        grant.standing.seen = True
        return grant

    def read(self, token: bytes) -> Claims:
        """What an untouched token says that is in its time. Raises InvalidToken."""
        claims = self.runtime.signer.read(token)
        if not claims.issued_at - MAX_CLOCK_SKEW <= self.runtime.clock() < claims.expires_at:
            raise InvalidToken
        return claims

    async def _look_up(self, token: bytes, claims: Claims) -> Grant:
        grant = Grant(claims, self.runtime.standings.of(claims.device_id))  # held from here on: no event is missed
        device = await self._find(claims.device_id)
        await self.mark_used(device)
        self.runtime.standings.load(device)
        self.read(token)  # again: its key may have been dropped meanwhile
        if not grant.revoked:
            if len(self.grants) >= MAX_GRANTS:
                self._forget(self.grants.popitem(last=False)[1])
            self.grants[token] = grant
        return grant

    def _forget(self, grant: Grant) -> None:
        if grant.standing.seen:  # and nobody may hold it any more when that is to be written down
            self.runtime.upkeep.note_seen(grant.device_id)

    async def _find(self, device_id: str) -> Device:
        store = await self.runtime.ready()
        device = await store.find(Device, device_id)
        if device is None or device.revoked_at is not None:
            raise InvalidToken
        return device

    async def mark_used(self, device: Device) -> None:
        """Write down that a token of this device has arrived, as long as somebody might say that it did not."""
        if may_be_reissued(device, self.runtime.clock()):
            await self.runtime.settle(partial(self._mark_used, device.id))

    async def _mark_used(self, device_id: str) -> None:
        device, now = await self._find(device_id), self.runtime.clock()
        if may_be_reissued(device, now):
            await self.runtime.commit(Swap(device.evolve(used_at=now)))
