"""Pairing by PIN, from asking to redeemed: the device asks, the service shows a PIN, the device types it."""

import asyncio
from contextlib import suppress
from functools import partial

from msgspec import Struct

from pairlock._core.codes import is_same, is_secret
from pairlock._core.derived import pin_of
from pairlock._core.events import request_event
from pairlock._core.methods import PIN
from pairlock._core.names import clean_text
from pairlock._core.permissions import Permissions
from pairlock._core.polls import INTERVAL, PATIENCE, present
from pairlock._core.records import EventType, Origin, PairingRequest
from pairlock._core.requests import advance, attempts_left, count_guess, grantable, outcome, redeem, state_at
from pairlock._core.sources import source_of
from pairlock._core.states import Event, State
from pairlock.errors import AlreadyRedeemed, InvalidPin, InvalidRequest, InvalidToken, Locked
from pairlock.services.pin_guesses import PinGuesses
from pairlock.services.requesting import Requesting, lock
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Redeemed, Tokens, new_device_id
from pairlock.services.windows import Windows
from pairlock.stores.contract import Log, Swap


class Started(Struct, frozen=True):
    """A request as its device gets it: `secret` proves from now on that it is the one that asked."""

    request: PairingRequest
    secret: str

    def __repr__(self) -> str:
        return f"<Started {self.request.id}>"


class Pairing:
    """The device's side of pairing by PIN."""

    def __init__(
        self, runtime: Runtime, requesting: Requesting, tokens: Tokens, windows: Windows, guesses: PinGuesses
    ) -> None:
        self._runtime = runtime
        self._requesting = requesting
        self._tokens = tokens
        self._windows = windows
        self._guesses = guesses

    async def start(
        self, name: str, *, permissions: Permissions | None = None, origin: Origin | None = None
    ) -> Started:
        """Ask to pair by PIN. Without an `origin` it is the application that asks, and no limit applies.

        Raises InvalidRequest, InvalidPermissions, PairingDisabled, WindowClosed, PinHeld, TooManyRequests, Busy,
        AccessDenied.
        """
        return Started(*await self._requesting.start(PIN, name, permissions=permissions, origin=origin))

    async def find(self, request_id: str, secret: str) -> PairingRequest:
        """The request of the device that holds its secret. Raises InvalidToken for everybody else."""
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        if request is None or request.method != PIN.name or not is_secret(secret, request.secret_digest):
            raise InvalidToken
        return request

    async def wait(self, request_id: str, secret: str, seconds: float) -> PairingRequest:
        """The request once it is no longer pending, or as it is after that many seconds.

        A device that polls and then stops has its request withdrawn.
        """
        with self._runtime.waiting_for(request_id) as waiter:
            request = await self._seen(request_id, secret, seconds)
            left = min(seconds, request.expires_at - self._runtime.clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    while request.state is State.PENDING and await waiter.changed():
                        request = await self.find(request_id, secret)
        return request

    async def submit_pin(self, request_id: str, secret: str, pin: str, *, origin: Origin | None = None) -> Redeemed:
        """Redeem with the PIN that was typed; it is counted before it is looked at.

        Raises InvalidPin with `attempts_left`, Locked, PinHeld, TooManyRequests, and the errors of `redeem`.
        """
        self._requesting.check_enabled()
        typed = PIN.alphabet.normalise(pin)
        if len(typed) != self._runtime.settings.pin_length:
            raise InvalidRequest(detail=f"the PIN has {self._runtime.settings.pin_length} digits")
        request = await self._live(request_id, secret)
        if request.state is State.APPROVED:
            return await self.redeem(request_id, secret)
        await self._windows.check()
        await self._guesses.check()
        limits = self._runtime.settings.limits
        counters = [] if origin is None else [("pins", limits.wrong_pins, source_of(origin.address))]
        async with self._runtime.limiter.guessing(*counters):
            return await self._try_pin(request_id, secret, typed)

    async def redeem(self, request_id: str, secret: str) -> Redeemed:
        """The device of an approved request, made in the same write that uses the request up.

        Raises what became of the request otherwise: AuthorizationPending, AccessDenied, ExpiredToken, ...
        """
        self._requesting.check_enabled()

        async def attempt() -> Redeemed:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            return await self._tokens.pair(redeem(request, now, device_id=new_device_id(now)), now)

        return await self._runtime.settle(attempt)

    async def cancel(self, request_id: str, secret: str) -> None:
        """Withdraw a request; one that has ended stays as it ended. Raises AlreadyRedeemed."""

        async def attempt() -> None:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            cancelled = advance(request, now, Event.CANCEL)
            if cancelled is not None:
                event = request_event(EventType.CANCELLED, cancelled, now, "device")
                await self._runtime.commit(Swap(cancelled), Log(event))
            elif request.state is State.REDEEMED:
                raise AlreadyRedeemed

        await self._runtime.settle(attempt)

    # Steps

    async def _seen(self, request_id: str, secret: str, seconds: float) -> PairingRequest:
        """The request, once it is written down that its device will be there for so long."""

        async def attempt() -> PairingRequest:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            if state_at(request, now) is not State.PENDING:
                return request
            seen = present(request, now + seconds + INTERVAL + PATIENCE)
            if seen is not None:
                await self._runtime.commit(Swap(seen))
            return seen or request

        return await self._runtime.settle(attempt)

    async def _live(self, request_id: str, secret: str) -> PairingRequest:
        """The request while its PIN may be typed, or it was approved by hand. Raises what became of it otherwise."""
        request, now = await self.find(request_id, secret), self._runtime.clock()
        error = outcome(request, now)
        if error is not None and state_at(request, now) is not State.PENDING:
            raise error
        return request

    async def _try_pin(self, request_id: str, secret: str, typed: str) -> Redeemed:
        request, counted_at = await self._count_guess(request_id, secret)
        if request.state is State.APPROVED:  # meanwhile
            return await self.redeem(request_id, secret)
        right = pin_of(self._runtime.keys, request, self._runtime.settings.pin_length)
        if right is not None and is_same(typed, right):
            return await self._redeem_by_pin(request_id, secret, counted_at)
        await self._guesses.hold_if_used_up(counted_at)
        if not attempts_left(request):
            await lock(self._runtime, partial(self.find, request_id, secret), PIN.name)
        raise InvalidPin(attempts_left=attempts_left(request))

    async def _count_guess(self, request_id: str, secret: str) -> tuple[PairingRequest, float]:
        """The request with this guess counted in it, and in those of all requests; and when that was."""

        async def attempt() -> tuple[PairingRequest | None, float]:
            request, now = await self._live(request_id, secret), self._runtime.clock()
            counted = request if request.state is State.APPROVED else count_guess(request)
            if counted is not None and counted is not request:
                await self._runtime.commit(Swap(counted), await self._guesses.counted(now))
            return counted, now

        async with self._runtime.in_turn():
            counted, now = await self._runtime.settle(attempt)
        if counted is None:
            await lock(self._runtime, partial(self.find, request_id, secret), PIN.name)
            raise Locked
        return counted, now

    async def _redeem_by_pin(self, request_id: str, secret: str, counted_at: float) -> Redeemed:
        async def attempt() -> Redeemed:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            device_id, acquitted = new_device_id(now), await self._guesses.acquitted(counted_at)
            redeemed = advance(request, now, Event.REDEEM, device_id=device_id)
            if redeemed is None:
                default = self._runtime.settings.default_permissions
                granted = default.narrow(grantable(request, default))  # the setting may have changed since
                decision = {"granted": granted, "decided_by": PIN.name, "decided_at": now}
                redeemed = redeem(request, now, Event.APPROVE, device_id=device_id, **decision)
            return await self._tokens.pair(redeemed, now, acquitted)

        async with self._runtime.in_turn():
            return await self._runtime.settle(attempt)


def origin_of(address: str, user_agent: str = "", hint: str = "") -> Origin:
    """Where a call came from, cleaned for showing."""
    return Origin(clean_text(address), clean_text(user_agent), clean_text(hint))
