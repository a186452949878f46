"""How a pairing request begins: checked, limited, decided by the handler where there is one, and kept."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from pairlock._core.codes import ID_RANDOM_BYTES, digest_secret, encode_secret, make_id
from pairlock._core.derived import code_digests, code_of
from pairlock._core.events import request_event
from pairlock._core.methods import METHODS, PIN, Method
from pairlock._core.names import clean_name
from pairlock._core.permissions import Permissions
from pairlock._core.polls import INTERVAL, kept_after
from pairlock._core.records import EventType, Origin, PairingRequest, Setting
from pairlock._core.requests import advance, seconds_left, settled, state_at
from pairlock._core.sources import source_of
from pairlock._core.states import Event, State
from pairlock.errors import AccessDenied, Busy, PairingDisabled
from pairlock.services.deciding import Deciding
from pairlock.services.pin_guesses import PinGuesses
from pairlock.services.runtime import Runtime
from pairlock.services.windows import Windows
from pairlock.stores.contract import Add, Conflict, Log, Swap, Write, put

logger = logging.getLogger("pairlock")

SECRET_BYTES = 32
RETRY_AFTER = INTERVAL
LIVE_PAGE = 100
TURNSTILE_KEPT = 3600.0  # seconds
EVENTS = {State.APPROVED: EventType.APPROVED, State.DENIED: EventType.DENIED}
ENDED = {State.EXPIRED: EventType.EXPIRED, State.CANCELLED: EventType.CANCELLED}


class Requesting:
    """Takes up what devices ask for, as far as settings, window and limits let it."""

    def __init__(self, runtime: Runtime, windows: Windows, guesses: PinGuesses, deciding: Deciding) -> None:
        self._runtime = runtime
        self._windows = windows
        self._guesses = guesses
        self._deciding = deciding
        self._being_decided = 0
        runtime.upkeep.each_minute(self._write_down_what_ended)

    async def start(
        self,
        method: Method,
        name: str,
        *,
        permissions: Permissions | None,
        within: Permissions | None = None,
        origin: Origin | None,
        **more: Any,
    ) -> tuple[PairingRequest, str]:
        """A new request and its secret; it asks for no more than `within`, else the default.

        Without an `origin` it is the application's own, and not limited.

        Raises InvalidRequest, InvalidPermissions, PairingDisabled, WindowClosed, PinHeld, TooManyRequests, Busy,
        AccessDenied.
        """
        name = clean_name(name)
        self.check_enabled()
        self._check_watched()
        if permissions is not None:
            (within or self._runtime.settings.default_permissions).narrow(permissions)
        await self._windows.check()
        if method is PIN:
            await self._guesses.check()
        if origin is not None:
            await self._place(method, origin, self._runtime.clock())  # who finds none has not used up a start
            await self._limit(origin)
        secret = encode_secret(secrets.token_bytes(SECRET_BYTES))
        more |= {"name": name, "requested": permissions, "origin": origin or Origin()}
        asked = await self._decided(self._draft(method, secret, **more), limited=origin is not None)
        await self._keep(asked, limited=origin is not None)
        return asked, secret

    def check_enabled(self) -> None:
        """Raises PairingDisabled."""
        if not self._runtime.settings.enabled:
            raise PairingDisabled

    def _check_watched(self) -> None:
        if not self._runtime.watched:
            self._runtime.watched = True  # said once
            logger.warning("a device asks to pair, and nobody can see it: give on_request, operator= or decide=")

    def _draft(self, method: Method, secret: str, **more: Any) -> PairingRequest:
        now, settings = self._runtime.clock(), self._runtime.settings
        expires_at = now + settings.timeout_of(method.name)
        draft = PairingRequest(
            id=make_id(now, secrets.token_bytes(ID_RANDOM_BYTES)),
            method=method.name,
            state=method.initial,
            created_at=now,
            expires_at=expires_at,
            purge_at=expires_at + kept_after(INTERVAL),
            secret_digest=digest_secret(secret),
            key_id=self._runtime.keys.newest,
            **more,
        )
        return draft if method is PIN else with_code(self._runtime, method, draft)

    async def _limit(self, origin: Origin) -> None:
        limits, limiter, source = self._runtime.settings.limits, self._runtime.limiter, source_of(origin.address)
        await limiter.check("denials", limits.denials, source)
        await limiter.hit("starts", limits.starts, source)
        await limiter.hit("starts in all", limits.starts_in_all, "")

    async def _decided(self, draft: PairingRequest, *, limited: bool) -> PairingRequest:
        if limited and self._being_decided >= self._runtime.settings.limits.pending:
            raise Busy(retry_after=RETRY_AFTER)
        self._being_decided += 1
        try:
            return await self._deciding.decided(draft)
        finally:
            self._being_decided -= 1

    async def _keep(self, asked: PairingRequest, *, limited: bool) -> None:
        now = self._runtime.clock()
        logs = [Log(request_event(EventType.REQUESTED, asked, now, "device"))]
        if asked.state in EVENTS:
            logs.append(Log(request_event(EVENTS[asked.state], asked, now, asked.decided_by or "")))
        if asked.state is State.DENIED:
            await self._runtime.commit(*logs)
            raise AccessDenied(reason=asked.reason)

        async def attempt() -> None:
            await self._windows.check()  # the handler took its time
            takes_place = limited and asked.state is State.PENDING
            place = [await self._place(METHODS[asked.method], asked.origin, now)] if takes_place else []
            await self._runtime.commit(Add(asked), *logs, *place)

        async with self._runtime.in_turn():
            await self._runtime.settle(attempt)

    async def _place(self, method: Method, origin: Origin, now: float) -> Write:
        """The write that takes one of the places of those who wait. Raises Busy when there is none."""
        taken = await turnstile(self._runtime, f"requests by {method.name}", now)  # before they are counted
        limits, source = self._runtime.settings.limits, source_of(origin.address)
        others = [each for each in await self._waiting(now) if each.method == method.name]
        from_there = [each for each in others if source_of(each.origin.address) == source]
        for waiting, places in ((from_there, limits.pending_per_source), (others, limits.pending)):
            if len(waiting) >= places:
                raise Busy(retry_after=min((seconds_left(each, now) for each in waiting), default=RETRY_AFTER))
        return taken

    async def _waiting(self, now: float) -> list[PairingRequest]:
        return [request for request in await live(self._runtime, now) if state_at(request, now) is State.PENDING]

    async def _write_down_what_ended(self, now: float) -> None:
        """Time ends requests by itself; this is for the audit. What another process writes first is left to it."""
        for request in await live(self._runtime, 0):
            ended = settled(request, now)
            if ended is not None:
                with suppress(Conflict):
                    await self._runtime.commit(Swap(ended), Log(request_event(ENDED[ended.state], ended, now, "time")))


async def live(runtime: Runtime, live_at: float) -> list[PairingRequest]:
    """Every request that has not been ended, and whose time reaches beyond that."""
    store, before, found = await runtime.ready(), None, []
    while page := await store.list_requests(live_at=live_at, before=before, limit=LIVE_PAGE):
        found += page
        before = page[-1].id
    return found


async def turnstile(runtime: Runtime, key: str, now: float) -> Write:
    """A write that goes through for one of those who took it at once; the others have to look again.

    Taken before places are counted and written with what fills one, it keeps any number of processes from filling
    the last place twice.
    """
    store = await runtime.ready()
    return put(await store.find(Setting, key), Setting(id=key, value=None, purge_at=now + TURNSTILE_KEPT))


async def lock(runtime: Runtime, find: Callable[[], Awaitable[PairingRequest]], by: str) -> None:
    """End a request whose attempts are used up, unless it has ended."""

    async def attempt() -> None:
        request, now = await find(), runtime.clock()
        locked = advance(request, now, Event.LOCK)
        if locked is not None:
            await runtime.commit(Swap(locked), Log(request_event(EventType.LOCKED, locked, now, by)))

    await runtime.settle(attempt)


def with_code(runtime: Runtime, method: Method, draft: PairingRequest) -> PairingRequest:
    """The request with the digest by which its code will be found."""
    code = code_of(runtime.keys, draft) or ""
    return replace(draft, code_digest=code_digests(runtime.keys, method, code)[0])
