"""Who decides about a pairing request: an operator, or the application's own handler."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.derived import code_digests, confirmation_pin_of, pin_of
from pairlock._core.events import request_event
from pairlock._core.methods import DEVICE_CODE, PIN
from pairlock._core.names import clean_text
from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import EVERYTHING, Permissions
from pairlock._core.records import AuditEvent, EventType, Origin, PairingRequest
from pairlock._core.requests import decide, grant, grantable, state_at
from pairlock._core.sources import nearness, source_of
from pairlock._core.states import Event, State
from pairlock.errors import DifferentNetwork, InvalidCode, NotFound, TooManyRequests
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Log, Swap

logger = logging.getLogger("pairlock")

HANDLER = "handler"
UNDECIDED_IN_TIME = "Nobody could decide about this. Try again later."
MOST_SHOWN = 1000  # requests that a display is told of at once
LOOK_AGAIN = 5.0  # seconds after which a display looks whether time has ended what it shows


class Approve(Struct, frozen=True, kw_only=True):
    """A handler lets a device in: with what it asked for (or the default) unless less is given.

    `token_life` in seconds is for this device alone; `message` is told to it.
    """

    permissions: Permissions | Mapping[str, Any] | None = None
    token_life: float | None = None
    message: str | None = None


class Deny(Struct, frozen=True, kw_only=True):
    """A handler refuses a device; it is told the reason."""

    reason: str | None = None


class Asked:
    """A device that asks to be let in, as a decision handler sees it. What it says of itself is unproven."""

    def __init__(self, request: PairingRequest, default: Permissions) -> None:
        self.id: str = request.id
        self.method: str = request.method
        self.name: str = request.name
        self.client_id: str = request.client_id
        self.origin: Origin = request.origin
        self.permissions: Permissions = grantable(request, default)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.name!r}>"


Decision = Approve | Deny | None
DecisionHandler = Callable[[Asked], Awaitable[Decision]]


class Deciding:
    """Approves and denies pairing requests, and shows them to those who may."""

    def __init__(self, runtime: Runtime, handler: DecisionHandler | None) -> None:
        self._runtime = runtime
        self._handler = handler

    # Operators

    async def pending(self, *, before: str | None = None, limit: int = 100) -> list[PairingRequest]:
        """Requests by PIN that wait for a decision, newest first.

        Those by device code are found by their user code alone: whoever has it has seen the device.
        """
        store, now = await self._runtime.ready(), self._runtime.clock()
        found: list[PairingRequest] = []
        while len(found) < limit and (page := await store.list_requests(live_at=now, before=before, limit=limit)):
            found += [each for each in page if each.method == PIN.name and state_at(each, now) is State.PENDING]
            before = page[-1].id
        return found[:limit]

    async def is_shown(self, request: PairingRequest) -> bool:
        """Whether this is the request of its source that displays show now; the others wait for their turn."""
        return request.id in {each.id for each in first_of_each_source(await self.pending(limit=MOST_SHOWN))}

    async def look_up(self, user_code: str, *, by: Operator = APP, origin: Origin | None = None) -> PairingRequest:
        """The request that waits with this user code, typed in any form. Raises InvalidCode, TooManyRequests."""
        limits = self._runtime.settings.limits
        counters = [
            ("user codes", limits.wrong_user_codes, by.actor),
            ("user codes", limits.wrong_user_codes_in_all, ""),
        ]
        if origin is not None:
            counters.append(("user codes from", limits.wrong_user_codes_per_source, source_of(origin.address)))
        async with self._runtime.limiter.guessing(*counters):
            return await self._find_user_code(user_code)

    async def show(self, request_id: str) -> PairingRequest:
        """Any request that a device made, for an operator. Raises NotFound."""
        store = await self._runtime.ready()
        request = await store.find(PairingRequest, request_id)
        if request is None or request.method not in (PIN.name, DEVICE_CODE.name):
            raise NotFound
        return request

    def pin(self, request: PairingRequest, by: Operator = APP) -> str | None:
        """The PIN of a request, for a trusted display; None when it has none, or its key is gone.

        Nor is it for an operator who may not grant what it does.

        It is derived, not kept: any process with the keys can show it, and nothing at rest can leak it.
        """
        grants = grantable(request, self._runtime.settings.default_permissions)
        if request.method != PIN.name or not by.permissions.include(grants):
            return None
        return pin_of(self._runtime.keys, request, self._runtime.settings.pin_length)

    def confirmation_pin(self, request: PairingRequest) -> str | None:
        """What an operator who has approved reads out, to be typed on the device; None where none is asked for."""
        if request.state is not State.APPROVED or not self.must_be_confirmed(request):
            return None
        return confirmation_pin_of(self._runtime.keys, request)

    def must_be_confirmed(self, request: PairingRequest) -> bool:
        """Whether an approval counts only with the PIN that its operator sees; a handler sees none."""
        asked_for = self._runtime.settings.confirmation_pin and request.method == DEVICE_CODE.name
        return asked_for and request.decided_by != HANDLER

    async def approve(
        self,
        request_id: str,
        *,
        permissions: Permissions | None = None,
        message: str | None = None,
        by: Operator = APP,
        origin: Origin | None = None,
    ) -> PairingRequest:
        """Let a device in without its PIN. Grants what it asked for, else the default, unless less is given.

        Raises NotFound, AlreadyDecided, DifferentNetwork, and InvalidPermissions for more than was asked or the
        operator holds.
        """

        async def attempt() -> PairingRequest:
            request, now = await self.show(request_id), self._runtime.clock()
            if origin is not None:
                self._check_network(request, origin)
            default = self._runtime.settings.default_permissions
            granted = grant(request, permissions, default=default, held=by.permissions)
            approved = decide(request, Event.APPROVE, now, by.actor, granted=granted, message=_said(message))
            await self._runtime.commit(Swap(approved), Log(request_event(EventType.APPROVED, approved, now, by.actor)))
            return approved

        return await self._runtime.settle(attempt)

    async def deny(self, request_id: str, *, reason: str | None = None, by: Operator = APP) -> PairingRequest:
        """Refuse a device; it is told the reason, and may not ask again at once. Raises NotFound, AlreadyDecided."""

        async def attempt() -> PairingRequest:
            request, now = await self.show(request_id), self._runtime.clock()
            denied = decide(request, Event.DENY, now, by.actor, reason=_said(reason))
            await self._runtime.commit(Swap(denied), Log(request_event(EventType.DENIED, denied, now, by.actor)))
            return denied

        denied = await self._runtime.settle(attempt)
        with suppress(TooManyRequests):  # it is cooling down already
            source = source_of(denied.origin.address)
            await self._runtime.limiter.hit("denials", self._runtime.settings.limits.denials, source)
        return denied

    # The application's display

    async def arriving(self) -> AsyncIterator[PairingRequest]:
        """Requests by PIN as they are made, in any process, until it is closed.

        Of each source one at a time, the oldest first.
        """
        shown: set[str] = set()
        going_on = True
        with self._runtime.listening() as events:
            while going_on:
                waiting = await self._runtime.persist(partial(self.pending, limit=MOST_SHOWN))
                oldest = first_of_each_source(waiting)
                for request in oldest:
                    if request.id not in shown:
                        yield request
                shown = {request.id for request in oldest}
                going_on = await _goes_on(events)

    # The application's handler

    async def decided(self, asked: PairingRequest) -> PairingRequest:
        """A request that is not kept yet, as the handler decides about it; pending where it leaves that to others.

        Whatever goes wrong denies.
        """
        if self._handler is None:
            return asked
        try:
            async with asyncio.timeout(self._runtime.settings.decide_timeout) as deadline:
                decision = await self._handler(Asked(asked, self._runtime.settings.default_permissions))
            if not deadline.expired():  # it may have gone on though it was cancelled
                return self._as_decided(asked, decision, self._runtime.clock())
            logger.error("the decision handler took too long: the device is denied")
        except Exception:
            logger.exception("the decision handler failed: the device is denied")
        return self._as_decided(asked, Deny(reason=UNDECIDED_IN_TIME), asked.created_at)  # its time may be over

    def _as_decided(self, asked: PairingRequest, decision: object, now: float) -> PairingRequest:
        if decision is None:
            return asked
        if isinstance(decision, Deny):
            decided = decide(asked, Event.DENY, now, HANDLER, reason=_said(decision.reason))
        elif isinstance(decision, Approve):
            wanted = None if decision.permissions is None else Permissions.parse(decision.permissions)
            default = self._runtime.settings.default_permissions
            granted = grant(asked, wanted, default=default, held=EVERYTHING)
            life, message = _life(decision.token_life), _said(decision.message)
            decided = decide(asked, Event.APPROVE, now, HANDLER, granted=granted, token_life=life, message=message)
        else:
            raise TypeError(f"a decision handler returns Approve, Deny or None, not {type(decision).__name__}")
        return replace(decided, version=asked.version)  # nobody has seen the one before

    # Steps

    async def _find_user_code(self, user_code: str) -> PairingRequest:
        store, now = await self._runtime.ready(), self._runtime.clock()
        for digest in code_digests(self._runtime.keys, DEVICE_CODE, user_code):
            request = await store.find_code(digest)
            if request is not None and state_at(request, now) is State.PENDING:
                return request
        raise InvalidCode

    def _check_network(self, request: PairingRequest, origin: Origin) -> None:
        near = nearness(request.origin.address, origin.address)
        if self._runtime.settings.same_network and near != "same":
            raise DifferentNetwork


def first_of_each_source(waiting: list[PairingRequest]) -> list[PairingRequest]:
    """Of requests that are listed newest first, the one of each source that is shown; the oldest first."""
    by_source = {source_of(request.origin.address) or request.id: request for request in waiting}
    return sorted(by_source.values(), key=lambda request: request.id)


async def _goes_on(events: asyncio.Queue[AuditEvent | None]) -> bool:
    """Wait for an event, or until time may have ended something; False once it is closed."""
    heard: list[AuditEvent | None] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN):
            heard.append(await events.get())
    while not events.empty():
        heard.append(events.get_nowait())
    return None not in heard


def _said(text: str | None) -> str | None:
    return text and clean_text(text)


def _life(seconds: float | None) -> float | None:
    if seconds is not None and not 1 <= seconds < math.inf:
        raise ValueError("token_life is in seconds, from 1 up")
    return seconds
