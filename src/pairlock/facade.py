"""Pairlock: the one object an application makes."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from pairlock._core.grants import Grant
from pairlock._core.keys import Keys
from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import Permissions, parse_pattern
from pairlock._core.records import Origin, PairingRequest
from pairlock._core.requests import grantable, seconds_left
from pairlock.asgi.app import pairing_app
from pairlock.asgi.calls import OperatorHook
from pairlock.asgi.device_side import DeviceSide
from pairlock.asgi.guard import Guard
from pairlock.asgi.operator_side import OperatorSide
from pairlock.asgi.protected import Protected
from pairlock.errors import AlreadyDecided, ConfigurationError, InvalidPermissions
from pairlock.keyfile import VARIABLE, configured_keys, file_keys
from pairlock.services.devices import Devices
from pairlock.services.pairing import Pairing
from pairlock.services.runtime import Runtime, logged
from pairlock.services.verifier import Verifier
from pairlock.settings import Settings, permissions_setting
from pairlock.stores import open_store
from pairlock.stores.contract import Store
from pairlock.stores.sqlite import SQLiteStore

KEY_FILE_SUFFIX = ".keys"


class Prompt:
    """A device that asks to be let in, for a display and a decision of the application's own."""

    def __init__(self, request: PairingRequest, pairing: Pairing, settings: Settings, now: float) -> None:
        self._pairing = pairing
        self.id: str = request.id
        self.name: str = request.name
        self.pin: str | None = pairing.pin(request)
        self.expires_in: int = seconds_left(request, now)
        self.origin: Origin = request.origin
        self.permissions: Permissions = grantable(request, settings.default_permissions)

    def __repr__(self) -> str:
        return f"<Prompt {self.id} {self.name!r}>"

    async def approve(
        self,
        permissions: Permissions | Mapping[str, Any] | None = None,
        *,
        message: str | None = None,
        by: Operator = APP,
    ) -> None:
        """Let the device in without its PIN, with what it asked for unless less is given.

        Raises InvalidPermissions, AlreadyDecided.
        """
        granted = None if permissions is None else Permissions.parse(permissions)
        await self._pairing.approve(self.id, permissions=granted, message=message, by=by)

    async def deny(self, reason: str | None = None, *, by: Operator = APP) -> None:
        """Refuse the device; it is told the reason. Raises AlreadyDecided."""
        await self._pairing.deny(self.id, reason=reason, by=by)


Callback = Callable[[Prompt], Awaitable[None] | None]


class Pairlock:
    """Device pairing for an ASGI application.

    `store` is a URL or a Store. Without `secret_keys` (oldest first) they come from PAIRLOCK_SECRET_KEYS,
    or from a file beside the SQLite database, made at start. `default_permissions` is what pairing by PIN
    grants. `operator` is the host's own authentication of operators: a function of the connection that
    returns an Operator or None. Durations are in seconds.

    Everything starts with the host's lifespan, or with the first call. Raises ConfigurationError when the
    settings cannot work.
    """

    def __init__(
        self,
        *,
        default_permissions: Permissions | Mapping[str, Any],
        store: str | Store = "sqlite:///pairlock.db",
        secret_keys: Sequence[str | bytes] | None = None,
        operator: OperatorHook | None = None,
        enabled: bool = True,
        pin_length: int = 6,
        pin_timeout: float = 300,
        token_life: float = 90 * 86400,
        max_staleness: float = 10,
        server_name: str = "pairlock",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = Settings(
            default_permissions=permissions_setting(default_permissions),
            enabled=enabled,
            pin_length=pin_length,
            pin_timeout=pin_timeout,
            token_life=token_life,
            max_staleness=max_staleness,
            server_name=server_name,
        )
        opened = open_store(store) if isinstance(store, str) else store
        if not hasattr(opened, "commit"):
            raise ConfigurationError(f"store: give a URL such as sqlite:///pairlock.db, or a Store, not {store!r}")
        if operator is not None and not callable(operator):
            raise ConfigurationError("operator: give a function of the connection, such as operator_token(secret)")
        self._runtime = Runtime(opened, _key_source(opened, secret_keys), self.settings, clock)
        self._verifier = Verifier(self._runtime)
        self.pairing = Pairing(self._runtime)
        self.devices = Devices(self._runtime)
        self.app: Starlette = pairing_app(
            DeviceSide(self._runtime, self.pairing, self.devices, self._verifier),
            OperatorSide(self._runtime, self.pairing, self.devices, operator),
            self.lifespan,
        )

    # Starting and stopping

    async def start(self) -> None:
        """Open the store and follow its changes; called by itself with the first use.

        Raises StoreError or ConfigurationError when that cannot work.
        """
        await self._runtime.ready()

    async def aclose(self) -> None:
        """Close the store; a second call does nothing."""
        await self._runtime.aclose()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For the host's `lifespan=`: starts before its first request, closes after its last."""
        await self.start()
        try:
            yield
        finally:
            await self.aclose()

    # Guarding

    def guard(
        self,
        app: ASGIApp,
        *,
        public: Iterable[str] = (),
        address: Callable[[Scope], str] | None = None,
        origins: Iterable[str] = (),
    ) -> Guard:
        """The middleware around an app, as for `add_middleware(pairlock.guard, public=[...])`; see Guard."""
        return Guard(app, verifier=self._verifier, public=public, address=address, origins=origins)

    def protect(
        self,
        app: ASGIApp,
        *,
        at: str = "/pair",
        public: Iterable[str] = (),
        address: Callable[[Scope], str] | None = None,
        origins: Iterable[str] = (),
    ) -> ASGIApp:
        """Any ASGI app with the pairing sub-app below `at`, everything else guarded, started and stopped with it."""
        guarded = self.guard(app, public=public, address=address, origins=origins)
        return Protected(guarded, app=app, pairing=self.app, at=_mount_point(at), runtime=self._runtime)

    async def verify(self, token: str) -> Grant:
        """The grant of a capability token that counts now. Raises InvalidToken, TemporarilyUnavailable."""
        return await self._verifier.verify(token)

    # Deciding

    async def requests(self) -> AsyncIterator[Prompt]:
        """Devices that ask to be let in, as they come, whichever process they ask; those waiting come first."""
        async for request in self.pairing.arriving():
            yield Prompt(request, self.pairing, self.settings, self._runtime.clock())

    def on_request(self, callback: Callback) -> Callback:
        """Call a function, async or not, with each Prompt while this process runs; usable as a decorator.

        It may take its time: the next call does not wait for it. What it raises is logged. Every process on
        the database calls its own.
        """

        async def follow() -> None:
            async with asyncio.TaskGroup() as calls:
                async for prompt in self.requests():
                    calls.create_task(logged(_call(callback, prompt)))

        self._runtime.accompany(follow)
        return callback


async def _call(callback: Callback, prompt: Prompt) -> None:
    with suppress(AlreadyDecided):  # in another process, where it was called too, somebody was faster
        result = callback(prompt)
        if inspect.isawaitable(result):
            await result


def _key_source(store: Store, secret_keys: Sequence[str | bytes] | None) -> Callable[[], Keys]:
    keys = configured_keys(secret_keys, os.environ)
    if keys is not None:
        return lambda: keys
    if isinstance(store, SQLiteStore):
        path = Path(f"{store.path}{KEY_FILE_SUFFIX}")
        return lambda: file_keys(path)
    raise ConfigurationError(
        f"secret_keys: this store keeps no key file; give secret_keys, or set {VARIABLE}, to one or more keys"
        " such as `python -c 'import secrets; print(secrets.token_urlsafe(32))'` prints"
    )


def _mount_point(at: str) -> str:
    try:
        if at == "/" or "*" in parse_pattern(at):
            raise ConfigurationError(f"at: {at!r} must be a path such as /pair")
    except InvalidPermissions as error:
        raise ConfigurationError(f"at: {error.details['detail']}") from error
    return at
