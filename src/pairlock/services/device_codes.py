"""Pairing by device code (RFC 8628): the device shows a user code and asks for its token until an operator decided."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NoReturn

from msgspec import Struct

from pairlock._core import polls
from pairlock._core.clients import Client
from pairlock._core.codes import DIGITS, is_same, is_secret
from pairlock._core.derived import CONFIRMATION_LENGTH, code_of, confirmation_pin_of
from pairlock._core.methods import DEVICE_CODE
from pairlock._core.names import MAX_NAME
from pairlock._core.oauth import proves
from pairlock._core.permissions import Permissions
from pairlock._core.records import Origin, PairingRequest
from pairlock._core.requests import attempts_left, count_guess, outcome, redeem
from pairlock.errors import (
    AccessDenied,
    AuthorizationPending,
    Cancelled,
    ConfirmationRequired,
    ExpiredToken,
    InvalidGrant,
    InvalidPin,
    InvalidRequest,
    SlowDown,
)
from pairlock.services.deciding import Deciding
from pairlock.services.requesting import Requesting, lock
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Redeemed, Tokens, new_device_id
from pairlock.stores.contract import Swap

# What a poll is told (RFC 8628 §3.5); a request is cancelled when its device stopped polling. All else is no grant.
TOLD = {AccessDenied: AccessDenied, ExpiredToken: ExpiredToken, Cancelled: ExpiredToken}


class DeviceCode(Struct, frozen=True):
    """A request as its device gets it: the device code is its secret, the user code is for people."""

    request: PairingRequest
    device_code: str
    user_code: str

    def __repr__(self) -> str:
        return f"<DeviceCode {self.request.id}>"


class DeviceCodes:
    """The device's side of RFC 8628."""

    def __init__(self, runtime: Runtime, requesting: Requesting, deciding: Deciding, tokens: Tokens) -> None:
        self._runtime = runtime
        self._deciding = deciding
        self._requesting = requesting
        self._tokens = tokens

    async def start(
        self,
        client: Client,
        *,
        name: str = "",
        permissions: Permissions | None = None,
        challenge: str = "",
        origin: Origin | None = None,
    ) -> DeviceCode:
        """Ask to pair by device code. `challenge` is of PKCE (RFC 7636, S256).

        Raises InvalidRequest, InvalidPermissions, PairingDisabled, WindowClosed, TooManyRequests, Busy, AccessDenied.
        """
        request, secret = await self._requesting.start(
            DEVICE_CODE,
            name or client.name or client.id[:MAX_NAME],
            permissions=client.permissions if permissions is None else permissions,
            within=client.permissions,
            origin=origin,
            client_id=client.id,
            challenge=challenge,
        )
        return DeviceCode(request, f"{request.id}.{secret}", code_of(self._runtime.keys, request) or "")

    async def redeem(
        self, device_code: str, client: Client, *, verifier: str = "", confirmation_pin: str | None = None
    ) -> Redeemed:
        """The device, once an operator has approved; exactly once.

        Raises AuthorizationPending, SlowDown with the `interval` from now on, AccessDenied, ExpiredToken,
        InvalidGrant for a code that is unknown, used or another client's; ConfirmationRequired and InvalidPin
        where the operator has to be shown to the device.
        """
        self._requesting.check_enabled()

        async def attempt() -> Redeemed:
            request, now = await self._find(device_code, client, verifier), self._runtime.clock()
            error = outcome(request, now)
            if isinstance(error, AuthorizationPending):
                await self._poll(request, now)
            if error is not None:
                raise TOLD.get(type(error), InvalidGrant)(**error.details)
            if self._deciding.must_be_confirmed(request):
                find = partial(self._find, device_code, client, verifier)
                request = await self._confirm(request, confirmation_pin, find)
            return await self._tokens.pair(redeem(request, now, device_id=new_device_id(now)), now)

        return await self._runtime.settle(attempt)

    async def _find(self, device_code: str, client: Client, verifier: str) -> PairingRequest:
        """The request of this very device. Raises InvalidGrant for everybody else."""
        request_id, _, secret = device_code.partition(".")
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        if request is None or request.method != DEVICE_CODE.name or not is_secret(secret, request.secret_digest):
            raise InvalidGrant
        if request.client_id != client.id or not proves(verifier, request.challenge):
            raise InvalidGrant
        return request

    async def _poll(self, request: PairingRequest, now: float) -> NoReturn:
        """Write down that the device asked, and raise what it is told while nobody has decided."""
        if polls.is_repeated(request, now):
            raise SlowDown(interval=request.interval) if polls.was_refused(request) else AuthorizationPending
        if polls.is_too_soon(request, now):
            slowed = polls.slowed_down(request, now)
            await self._runtime.commit(Swap(slowed))
            raise SlowDown(interval=slowed.interval)
        await self._runtime.commit(Swap(polls.polled(request, now)))
        raise AuthorizationPending

    async def _confirm(
        self, request: PairingRequest, typed: str | None, find: Callable[[], Awaitable[PairingRequest]]
    ) -> PairingRequest:
        """The request once its PIN was typed, which is counted before it is looked at."""
        if typed is None:
            raise ConfirmationRequired(attempts_left=attempts_left(request))
        pin = DIGITS.normalise(typed)
        if len(pin) != CONFIRMATION_LENGTH:
            raise InvalidRequest(detail=f"the PIN has {CONFIRMATION_LENGTH} digits")
        counted = count_guess(request)
        if counted is None:
            raise InvalidGrant
        await self._runtime.commit(Swap(counted))
        right = confirmation_pin_of(self._runtime.keys, counted)
        if right is not None and is_same(pin, right):
            return counted
        if not attempts_left(counted):
            await lock(self._runtime, find, "confirmation")
        raise InvalidPin(attempts_left=attempts_left(counted))
