"""Pairing requests, from asking to redeemed: each step reads, decides by the rules of the core, and commits."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

from msgspec import Struct

from pairlock._core.codes import ID_RANDOM_BYTES, digest_secret, encode_secret, is_same, is_secret, make_id
from pairlock._core.methods import METHODS, PIN
from pairlock._core.names import clean_name, clean_text
from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import EVERYTHING, Permissions
from pairlock._core.records import AuditEvent, Device, EventType, Origin, PairingRequest
from pairlock._core.requests import advance, attempts_left, count_guess, decide, grantable, outcome, state_at
from pairlock._core.states import Event, State
from pairlock.errors import (
    AlreadyRedeemed,
    InvalidPin,
    InvalidRequest,
    InvalidToken,
    Locked,
    NotFound,
    PairingDisabled,
)
from pairlock.services.devices import AUDIT_KEPT
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Add, Log, Swap

SECRET_BYTES = 32
UNKNOWN = Origin()
INTERVAL = 5  # seconds between polls, RFC 8628 §3.2
MOST_WAITING = 1000  # requests that a new listener is told of
KEPT_AFTER = INTERVAL + 10  # seconds for which a poll can still be told how it ended


class Started(Struct, frozen=True):
    """A request as its device gets it: `secret` proves from now on that it is the one that asked."""

    request: PairingRequest
    secret: str

    def __repr__(self) -> str:
        return f"<Started {self.request.id}>"


class Redeemed(Struct, frozen=True):
    """A device that has just paired, and what the operator said to it."""

    device: Device
    message: str | None


class Pairing:
    """Starts, decides and redeems pairing requests."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    # The device's side

    async def start(self, name: str, *, permissions: Permissions | None = None, origin: Origin = UNKNOWN) -> Started:
        """Ask to pair by PIN. Raises InvalidRequest, InvalidPermissions, PairingDisabled."""
        self._check_enabled()
        settings = self._runtime.settings
        if permissions is not None:
            settings.default_permissions.narrow(permissions)
        await self._runtime.ready()
        now, secret = self._runtime.clock(), encode_secret(secrets.token_bytes(SECRET_BYTES))
        request = PairingRequest(
            id=make_id(now, secrets.token_bytes(ID_RANDOM_BYTES)),
            method=PIN.name,
            state=PIN.initial,
            name=clean_name(name),
            created_at=now,
            expires_at=now + settings.pin_timeout,
            purge_at=now + settings.pin_timeout + KEPT_AFTER,
            secret_digest=digest_secret(secret),
            key_id=self._runtime.keys.newest,
            requested=permissions,
            origin=origin,
        )
        await self._runtime.commit(Add(request), Log(_event(EventType.REQUESTED, request, now, "device")))
        return Started(request, secret)

    async def find(self, request_id: str, secret: str) -> PairingRequest:
        """The request of the device that holds its secret. Raises InvalidToken for everybody else."""
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        if request is None or not is_secret(secret, request.secret_digest):
            raise InvalidToken
        return request

    async def wait(self, request_id: str, secret: str, seconds: float) -> PairingRequest:
        """The request once it is no longer pending, or as it is after that many seconds."""
        with self._runtime.waiting_for(request_id) as changed:
            request = await self.find(request_id, secret)
            left = min(seconds, request.expires_at - self._runtime.clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    while request.state is State.PENDING:
                        await changed.wait()
                        changed.clear()
                        request = await self.find(request_id, secret)
        return request

    async def submit_pin(self, request_id: str, secret: str, pin: str) -> Redeemed:
        """Redeem with the PIN that was typed; it is counted before it is looked at.

        Raises InvalidPin with `attempts_left`, Locked, and the errors of `redeem`.
        """
        self._check_enabled()
        typed = PIN.alphabet.normalise(pin)
        if len(typed) != self._runtime.settings.pin_length:
            raise InvalidRequest(detail=f"the PIN has {self._runtime.settings.pin_length} digits")
        request = await self._count_guess(request_id, secret)
        if request.state is State.APPROVED:
            return await self.redeem(request_id, secret)
        right = self.pin(request)
        if right is not None and is_same(typed, right):
            return await self._redeem(request_id, secret, by_pin=True)
        if not attempts_left(request):
            await self._lock(request_id, secret)
        raise InvalidPin(attempts_left=attempts_left(request))

    async def redeem(self, request_id: str, secret: str) -> Redeemed:
        """The device of an approved request, made in the same write that uses the request up.

        Raises what became of the request otherwise: AuthorizationPending, AccessDenied, ExpiredToken, ...
        """
        self._check_enabled()
        return await self._redeem(request_id, secret)

    async def cancel(self, request_id: str, secret: str) -> None:
        """Withdraw a request; one that has ended stays as it ended. Raises AlreadyRedeemed."""

        async def attempt() -> None:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            cancelled = advance(request, now, Event.CANCEL)
            if cancelled is not None:
                await self._runtime.commit(Swap(cancelled), Log(_event(EventType.CANCELLED, cancelled, now, "device")))
            elif request.state is State.REDEEMED:
                raise AlreadyRedeemed

        await self._runtime.settle(attempt)

    # The operator's side

    async def pending(self, *, before: str | None = None, limit: int = 100) -> list[PairingRequest]:
        """Requests that wait for a decision, newest first."""
        store, now = await self._runtime.ready(), self._runtime.clock()
        found: list[PairingRequest] = []
        while len(found) < limit and (page := await store.list_requests(live_at=now, before=before, limit=limit)):
            found += [request for request in page if state_at(request, now) is State.PENDING]
            before = page[-1].id
        return found[:limit]

    async def show(self, request_id: str) -> PairingRequest:
        """Any request, for an operator. Raises NotFound."""
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        if request is None:
            raise NotFound
        return request

    def pin(self, request: PairingRequest) -> str | None:
        """The PIN of a request, for a trusted display; None when its key is gone.

        It is derived, not kept: any process with the keys can show it, and nothing at rest can leak it.
        """
        entropy = self._runtime.keys.derive(request.key_id, "pin", request.id)
        return None if entropy is None else PIN.alphabet.draw(self._runtime.settings.pin_length, entropy)

    async def approve(
        self,
        request_id: str,
        *,
        permissions: Permissions | None = None,
        message: str | None = None,
        by: Operator = APP,
    ) -> PairingRequest:
        """Let a device in without its PIN. Grants what it asked for, else the default, unless less is given.

        Raises NotFound, AlreadyDecided, and InvalidPermissions for more than was asked or the operator holds.
        """

        async def attempt() -> PairingRequest:
            request, now = await self.show(request_id), self._runtime.clock()
            granted = grantable(request, self._runtime.settings.default_permissions)
            if permissions is not None:
                bound = EVERYTHING if request.requested is None else request.requested
                granted = bound.narrow(permissions)
            by.permissions.narrow(granted)
            approved = decide(request, Event.APPROVE, now, by.actor, granted=granted, message=_said(message))
            await self._runtime.commit(Swap(approved), Log(_event(EventType.APPROVED, approved, now, by.actor)))
            return approved

        return await self._runtime.settle(attempt)

    async def deny(self, request_id: str, *, reason: str | None = None, by: Operator = APP) -> PairingRequest:
        """Refuse a device; it is told the reason. Raises NotFound, AlreadyDecided."""

        async def attempt() -> PairingRequest:
            request, now = await self.show(request_id), self._runtime.clock()
            denied = decide(request, Event.DENY, now, by.actor, reason=_said(reason))
            await self._runtime.commit(Swap(denied), Log(_event(EventType.DENIED, denied, now, by.actor)))
            return denied

        return await self._runtime.settle(attempt)

    async def arriving(self) -> AsyncIterator[PairingRequest]:
        """Requests as they are made, in any process; those that wait already come first."""
        with self._runtime.listening() as events:
            waiting = await self._runtime.persist(partial(self.pending, limit=MOST_WAITING))
            for request in reversed(waiting):
                yield request
            seen = {request.id for request in waiting}
            while True:
                event = await events.get()
                if event.type is EventType.REQUESTED and event.request_id not in seen:
                    with suppress(NotFound):
                        yield await self._runtime.persist(partial(self.show, event.request_id or ""))

    # Steps

    def _check_enabled(self) -> None:
        if not self._runtime.settings.enabled:
            raise PairingDisabled

    async def _count_guess(self, request_id: str, secret: str) -> PairingRequest:
        """The request with this guess counted in it; one approved by hand needs no guess."""

        async def attempt() -> PairingRequest | None:
            request = await self.find(request_id, secret)
            error = outcome(request, self._runtime.clock())
            if error is None:
                return request
            if state_at(request, self._runtime.clock()) is not State.PENDING:
                raise error
            counted = count_guess(request)
            if counted is not None:
                await self._runtime.commit(Swap(counted))
            return counted

        counted = await self._runtime.settle(attempt)
        if counted is None:
            await self._lock(request_id, secret)
            raise Locked
        return counted

    async def _lock(self, request_id: str, secret: str) -> None:
        async def attempt() -> None:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            locked = advance(request, now, Event.LOCK)
            if locked is not None:
                await self._runtime.commit(Swap(locked), Log(_event(EventType.LOCKED, locked, now, "pin")))

        await self._runtime.settle(attempt)

    async def _redeem(self, request_id: str, secret: str, *, by_pin: bool = False) -> Redeemed:
        async def attempt() -> Redeemed:
            request, now = await self.find(request_id, secret), self._runtime.clock()
            device_id = make_id(now, secrets.token_bytes(ID_RANDOM_BYTES))
            redeemed = advance(request, now, Event.REDEEM, device_id=device_id)
            if redeemed is None and by_pin:
                default = self._runtime.settings.default_permissions
                granted = default.narrow(grantable(request, default))  # the setting may have changed since
                decision = {"granted": granted, "decided_by": "pin", "decided_at": now}
                redeemed = advance(request, now, Event.APPROVE, Event.REDEEM, device_id=device_id, **decision)
            if redeemed is None:
                raise outcome(request, now) or AlreadyRedeemed
            device, event = _device(redeemed, now), _event(EventType.REDEEMED, redeemed, now, f"device:{device_id}")
            await self._runtime.commit(Swap(redeemed), Add(device), Log(event))
            return Redeemed(device, redeemed.message)

        return await self._runtime.settle(attempt)


def origin_of(address: str, user_agent: str = "", hint: str = "") -> Origin:
    """Where a call came from, cleaned for showing."""
    return Origin(clean_text(address), clean_text(user_agent), clean_text(hint))


def _said(text: str | None) -> str | None:
    return text and clean_text(text)


def _device(request: PairingRequest, now: float) -> Device:
    return Device(
        id=request.device_id or "",
        name=request.name,
        method=request.method,
        permissions=request.granted or Permissions(),
        created_at=now,
        request_id=request.id,
        approved_by=request.decided_by or "",
        origin=request.origin,
    )


def _event(type: EventType, request: PairingRequest, now: float, by: str) -> AuditEvent:
    return AuditEvent(
        type=type,
        at=now,
        by=by,
        method=METHODS[request.method].name,
        name=request.name,
        request_id=request.id,
        device_id=request.device_id,
        origin=request.origin,
        permissions=request.granted,
        reason=request.reason,
        purge_at=now + AUDIT_KEPT,
    )
