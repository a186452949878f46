"""Codes that an operator hands out: minted, watched, withdrawn, drawn, and redeemed by whoever was given them."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from msgspec import Struct

from pairlock._core.codes import ID_RANDOM_BYTES, digest_secret, is_secret, make_id
from pairlock._core.derived import code_digests, code_of
from pairlock._core.devices import may_be_reissued
from pairlock._core.events import request_event
from pairlock._core.methods import ONE_TIME_CODE, QR, Method
from pairlock._core.names import clean_name, clean_text
from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import Permissions
from pairlock._core.records import Device, EventType, Origin, PairingRequest
from pairlock._core.requests import advance, seconds_left, state_at
from pairlock._core.sources import source_of
from pairlock._core.states import Event, State
from pairlock.errors import AlreadyRedeemed, ConfigurationError, InvalidCode, InvalidRequest, NotFound, TooManyRequests
from pairlock.services.pictures import Picture
from pairlock.services.requesting import Requesting, live, turnstile, with_code
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Redeemed, Tokens, new_device_id
from pairlock.settings import check_address
from pairlock.stores.contract import Add, Log, Swap, Write

MINTED = {method.name: method for method in (ONE_TIME_CODE, QR)}
LIVES = range(10, 3601)  # seconds; a code is for now, not for later
KEPT_AFTER = 3600  # seconds for which an operator can still see what became of a code
SECRET_LENGTHS = range(22, 129)
MAX_PICTURES = 64


class Minted(Struct, frozen=True):
    """A code as its operator gets it."""

    request: PairingRequest
    code: str

    def __repr__(self) -> str:
        return f"<Minted {self.request.id}>"


@dataclass(frozen=True)
class QRCode(Picture):
    """A QR code that pairs one device: `.uri`, `.svg()`, `.png()`, `.terminal()`; for `.expires_in` seconds.

    `pairlock.codes.find(code.id)` tells what became of it.
    """

    id: str
    expires_in: int


class Codes:
    """Mints one-time codes and QR secrets, and redeems them."""

    def __init__(self, runtime: Runtime, requesting: Requesting, tokens: Tokens) -> None:
        self._runtime = runtime
        self._requesting = requesting
        self._tokens = tokens
        self._pictures: OrderedDict[tuple[str, str], Picture] = OrderedDict()

    # The operator's side

    async def mint(
        self,
        permissions: Permissions,
        *,
        method: str = ONE_TIME_CODE.name,
        expires_in: float | None = None,
        hint: str = "",
        by: Operator = APP,
    ) -> Minted:
        """A new code that lets one device have these permissions; it lives for `expires_in` seconds.

        Raises InvalidRequest, InvalidPermissions for more than the operator holds, TooManyRequests for more codes than
        one may have waiting, PairingDisabled.
        """
        self._requesting.check_enabled()
        minted = _method(method)
        life = minted.lifetime if expires_in is None else expires_in
        if not LIVES[0] <= life <= LIVES[-1]:
            raise InvalidRequest(detail=f"expires_in is from {LIVES[0]} to {LIVES[-1]} seconds")
        granted = by.permissions.narrow(permissions)
        await self._runtime.ready()
        async with self._runtime.in_turn():
            return await self._runtime.settle(lambda: self._mint(minted, granted, life, hint, by))

    async def qr(
        self,
        permissions: Permissions,
        *,
        expires_in: float | None = None,
        address: str | None = None,
        hint: str = "",
        by: Operator = APP,
    ) -> QRCode:
        """A QR code. `address` is where devices reach the pairing sub-app; without one, the setting `issuer`.

        Raises the errors of `mint`, and ConfigurationError when neither is there.
        """
        base = address or self._runtime.settings.issuer
        if base is None:
            raise ConfigurationError("issuer: set it, or give address=, such as https://house.example/pair")
        check_address(base, "address")
        minted = await self.mint(permissions, method=QR.name, expires_in=expires_in, hint=hint, by=by)
        return QRCode(uri_of(base, minted.code), minted.request.id, seconds_left(minted.request, self._runtime.clock()))

    async def find(self, request_id: str, *, by: Operator = APP) -> PairingRequest | None:
        """A code of this operator; None for those of others, and those that are no more."""
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        return request if request is not None and request.method in MINTED and request.decided_by == by.actor else None

    async def watch(self, request_id: str, *, by: Operator = APP) -> PairingRequest | None:
        """The same, as often as an operator's page may look. Raises TooManyRequests."""
        await self._runtime.limiter.hit("code polls", self._runtime.settings.limits.code_polls, by.actor)
        return await self.find(request_id, by=by)

    async def withdraw(self, request_id: str, *, by: Operator = APP) -> None:
        """Let nobody redeem a code any more. Raises NotFound, AlreadyRedeemed."""

        async def attempt() -> None:
            request, now = await self.find(request_id, by=by), self._runtime.clock()
            if request is None:
                raise NotFound
            cancelled = advance(request, now, Event.CANCEL)
            if cancelled is not None:
                event = request_event(EventType.CANCELLED, cancelled, now, by.actor)
                await self._runtime.commit(Swap(cancelled), Log(event))
            elif request.state is State.REDEEMED:
                raise AlreadyRedeemed

        await self._runtime.settle(attempt)

    async def picture(self, request_id: str, *, address: str, by: Operator = APP) -> Picture:
        """The picture of a QR code of this operator while it can be redeemed. Raises NotFound."""
        request = await self.find(request_id, by=by)
        code = None if request is None or request.method != QR.name else code_of(self._runtime.keys, request)
        if request is None or code is None or state_at(request, self._runtime.clock()) is not State.APPROVED:
            self._pictures.pop((request_id, address), None)
            raise NotFound
        return self._remembered(request_id, address, uri_of(address, code))

    # The device's side

    async def redeem(
        self, code: str, name: str, *, secret: str | None = None, origin: Origin | None = None
    ) -> Redeemed:
        """Pair with a code. Unknown, used and expired ones are one error.

        Whoever gave a `secret` (22 to 128 characters, random) may redeem again with it for a minute, as long as its
        token was not used: the answer may have been lost. Raises InvalidCode, InvalidRequest, TooManyRequests,
        PairingDisabled.
        """
        self._requesting.check_enabled()
        name = clean_name(name)
        if secret is not None and len(secret) not in SECRET_LENGTHS:
            raise InvalidRequest(detail="secret has 22 to 128 characters: 16 random bytes in base64, or more")
        code = code.rpartition("#")[2]  # of the whole address in a QR code
        method = QR if len(QR.alphabet.normalise(code)) == QR.length else ONE_TIME_CODE
        if method is QR or origin is None:
            return await self._redeem(method, code, name, secret, origin)  # 128 bits need no limit
        limits = self._runtime.settings.limits
        counters = (
            ("codes", limits.wrong_codes, source_of(origin.address)),
            ("codes in all", limits.wrong_codes_in_all, ""),
        )
        async with self._runtime.limiter.guessing(*counters):
            return await self._redeem(method, code, name, secret, origin)

    # Steps

    async def _mint(self, method: Method, granted: Permissions, life: float, hint: str, by: Operator) -> Minted:
        now = self._runtime.clock()
        place = await self._place(by, now)
        request = PairingRequest(
            id=make_id(now, secrets.token_bytes(ID_RANDOM_BYTES)),
            method=method.name,
            state=method.initial,
            name="",
            created_at=now,
            expires_at=now + life,
            purge_at=now + life + KEPT_AFTER,
            key_id=self._runtime.keys.newest,
            granted=granted,
            hint=clean_text(hint),
            decided_by=by.actor,
            decided_at=now,
        )
        request = with_code(self._runtime, method, request)
        await self._runtime.commit(Add(request), place, Log(request_event(EventType.MINTED, request, now, by.actor)))
        return Minted(request, code_of(self._runtime.keys, request) or "")

    async def _place(self, by: Operator, now: float) -> Write:
        """The write that takes one of an operator's places. Raises TooManyRequests when there is none."""
        taken = await turnstile(self._runtime, f"codes of {by.actor}", now)  # before they are counted
        waiting = [
            each for each in await live(self._runtime, now) if each.method in MINTED and each.decided_by == by.actor
        ]
        if len(waiting) >= self._runtime.settings.limits.codes:
            raise TooManyRequests(retry_after=max(min(seconds_left(each, now) for each in waiting), 1))
        return taken

    async def _redeem(
        self, method: Method, code: str, name: str, secret: str | None, origin: Origin | None
    ) -> Redeemed:
        async def attempt() -> Redeemed:
            request, now = await self._find_code(method, code), self._runtime.clock()
            proof = b"" if secret is None else digest_secret(secret)
            who = {"name": name, "origin": origin or Origin(), "secret_digest": proof}
            redeemed = advance(request, now, Event.REDEEM, device_id=new_device_id(now), **who)
            if redeemed is not None:
                return await self._tokens.pair(redeemed, now, told=secret)
            return await self._again(request, secret, now)

        return await self._runtime.settle(attempt)

    async def _again(self, request: PairingRequest, secret: str | None, now: float) -> Redeemed:
        """For the redeemer whose answer was lost. Raises InvalidCode for everybody else."""
        if secret is None or request.state is not State.REDEEMED or not is_secret(secret, request.secret_digest):
            raise InvalidCode
        store = await self._runtime.ready()
        device = await store.find(Device, request.device_id or "")
        if device is None or not may_be_reissued(device, now):
            raise InvalidCode
        return await self._tokens.reissue(device, now, request.message, told=secret)

    async def _find_code(self, method: Method, code: str) -> PairingRequest:
        store = await self._runtime.ready()
        for digest in code_digests(self._runtime.keys, method, code):
            request = await store.find_code(digest)
            if request is not None:
                return request
        raise InvalidCode

    def _remembered(self, request_id: str, address: str, uri: str) -> Picture:
        picture = self._pictures.get((request_id, address))
        if picture is None:
            if len(self._pictures) >= MAX_PICTURES:
                self._pictures.popitem(last=False)
            picture = self._pictures[request_id, address] = Picture(uri)
        return picture


def uri_of(address: str, code: str) -> str:
    """What a QR code says: the secret is in the fragment, which browsers do not send."""
    return f"{address}/qr#{code}"


def _method(name: str) -> Method:
    if name not in MINTED:
        raise InvalidRequest(detail=f"method is one of {', '.join(MINTED)}")
    return MINTED[name]
