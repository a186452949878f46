"""Pairlock: the one object an application makes."""

import asyncio
import inspect
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from pairlock._core.clients import Client, Clients, ResourceServers
from pairlock._core.grants import Grant
from pairlock._core.keys import MIN_KEY_BYTES, Keys
from pairlock._core.methods import DEVICE_CODE, PIN, grouped
from pairlock._core.operators import APP, Operator
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, PairingRequest
from pairlock._core.requests import seconds_left
from pairlock._core.sources import parse_networks
from pairlock.asgi.app import pairing_app
from pairlock.asgi.callers import Callers
from pairlock.asgi.calls import OperatorHook
from pairlock.asgi.code_side import CodeSide
from pairlock.asgi.device_side import DeviceSide
from pairlock.asgi.ending import hearing_of_the_end
from pairlock.asgi.guard import Guard
from pairlock.asgi.oauth_side import OAuthSide
from pairlock.asgi.operator_side import OperatorSide
from pairlock.asgi.protected import Protected
from pairlock.asgi.service_side import ServiceSide
from pairlock.asgi.well_known import WellKnown
from pairlock.errors import AlreadyDecided, ConfigurationError
from pairlock.keyfile import VARIABLE, configured_keys, file_keys
from pairlock.services.audit import Audit
from pairlock.services.authenticating import Authenticating
from pairlock.services.codes import Codes, QRCode
from pairlock.services.deciding import Asked, Deciding, DecisionHandler
from pairlock.services.device_codes import DeviceCodes
from pairlock.services.devices import Devices
from pairlock.services.health import Checking, Health
from pairlock.services.introducing import introduce
from pairlock.services.pairing import Pairing
from pairlock.services.pin_guesses import PinGuesses
from pairlock.services.requesting import Requesting
from pairlock.services.runtime import Runtime, logged
from pairlock.services.tokens import Tokens
from pairlock.services.verifier import Verifier
from pairlock.services.windows import Windows
from pairlock.settings import (
    Limits,
    Settings,
    long_lived_setting,
    mount_point,
    permissions_setting,
    token_life_setting,
)
from pairlock.stores import open_store
from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

KEY_FILE_SUFFIX = ".keys"


class Prompt(Asked):
    """A device that asks to be let in, for a display and a decision of the application's own."""

    def __init__(self, request: PairingRequest, deciding: Deciding, settings: Settings, now: float) -> None:
        super().__init__(request, settings.default_permissions)
        self._deciding = deciding
        self.pin: str | None = deciding.pin(request)
        self.expires_in: int = seconds_left(request, now)

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
        await self._deciding.approve(self.id, permissions=granted, message=message, by=by)

    async def deny(self, reason: str | None = None, *, by: Operator = APP) -> None:
        """Refuse the device; it is told the reason. Raises AlreadyDecided."""
        await self._deciding.deny(self.id, reason=reason, by=by)


Callback = Callable[[Prompt], Awaitable[None] | None]


class Pairlock:
    """Device pairing for an ASGI application.

    `store` is a URL or a Store. Without `secret_keys` (oldest first) they come from PAIRLOCK_SECRET_KEYS,
    or from a file beside the SQLite database, made at start. `default_permissions` is what pairing by PIN
    grants. `operator` is the host's own authentication of operators: a function of the connection that
    returns an Operator or None. Durations are in seconds.

    `decide` is asked first about each device that asks, and answers Approve, Deny, or None to leave it to the PIN
    or an operator. `issuer` is the address of the pairing sub-app where requests do not tell it,
    `verification_uri` that of a page of yours where operators type user codes. `token_life` is
    one number or one by method (an hour by default); `long_lived` names methods whose devices get one token, for 90
    days by default, and no refresh token.
    `clients` registers OAuth clients (without it, any public one may ask); `resource_servers` are the ids and
    secrets of those who may introspect tokens. `trusted_proxies` are networks whose X-Forwarded-* headers count.

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
        decide: DecisionHandler | None = None,
        decide_timeout: float = 10,
        enabled: bool = True,
        window_open: bool = True,
        window_timeout: float = 300,
        pin_length: int = 6,
        pin_timeout: float = PIN.lifetime,
        device_code_timeout: float = DEVICE_CODE.lifetime,
        confirmation_pin: bool = False,
        same_network: bool = False,
        token_life: float | Mapping[str, float] | None = None,
        long_lived: Collection[str] = (),
        refresh_idle: float = 90 * 86400,
        clients: Iterable[Client] | None = None,
        resource_servers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        trusted_proxies: Sequence[str] = (),
        issuer: str | None = None,
        verification_uri: str | None = None,
        max_staleness: float = 10,
        server_name: str = "pairlock",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = Settings(
            default_permissions=permissions_setting(default_permissions),
            decide_timeout=decide_timeout,
            enabled=enabled,
            window_open=window_open,
            window_timeout=window_timeout,
            pin_length=pin_length,
            pin_timeout=pin_timeout,
            device_code_timeout=device_code_timeout,
            confirmation_pin=confirmation_pin,
            same_network=same_network,
            token_life=token_life_setting(token_life),
            long_lived=long_lived_setting(long_lived),
            refresh_idle=refresh_idle,
            clients=Clients(clients),
            resource_servers=ResourceServers(resource_servers or {}),
            limits=Limits() if limits is None else limits,
            trusted_proxies=parse_networks(trusted_proxies),
            issuer=issuer,
            verification_uri=verification_uri,
            max_staleness=max_staleness,
            server_name=server_name,
        )
        runtime = self._runtime = _runtime(_store(store), secret_keys, self.settings, clock)
        runtime.watched = _has_hooks(operator, decide)
        self._verifier = Verifier(runtime)
        self.window = Windows(runtime)
        self.pin_guesses = PinGuesses(runtime)
        self.deciding = Deciding(runtime, decide)
        self.devices = Devices(runtime)
        self.tokens = Tokens(runtime, self._verifier)
        requesting = Requesting(runtime, self.window, self.pin_guesses, self.deciding)
        self.pairing = Pairing(runtime, requesting, self.tokens, self.window, self.pin_guesses)
        self.device_codes = DeviceCodes(runtime, requesting, self.deciding, self.tokens)
        self.codes = Codes(runtime, requesting, self.tokens)
        self.audit = Audit(runtime)
        self._checking = Checking(runtime)
        self._callers = Callers(self.settings)
        self.app: Starlette = self._sub_app(operator)
        self._well_known: WellKnown | None = None

    def _sub_app(self, operator: OperatorHook | None) -> Starlette:
        runtime, callers = self._runtime, self._callers
        return pairing_app(
            DeviceSide(runtime, self.pairing, self.deciding, self.tokens, self.devices, self._verifier, callers),
            OAuthSide(runtime, Authenticating(runtime), self.device_codes, self.tokens, callers),
            CodeSide(runtime, self.codes, self.tokens, callers, operator),
            OperatorSide(runtime, self.deciding, self.devices, callers, operator),
            ServiceSide(runtime, self.window, self.pin_guesses, self.audit, self._checking, operator),
            self.lifespan,
        )

    # Starting and stopping

    async def start(self) -> None:
        """Open the store and follow its changes; called by itself with the first use.

        Raises StoreError or ConfigurationError when that cannot work.
        """
        await self._runtime.ready()

    async def introduce(self, address: str | None = None) -> None:
        """Start, and write down how this service pairs, for commands beside it; `address` is where devices reach it."""
        if address is not None:
            self._runtime.address = address
        await self.start()
        await introduce(self._runtime)

    async def aclose(self) -> None:
        """Close the store; a second call does nothing."""
        await self._runtime.aclose()

    async def health(self) -> Health:
        """Whether this process can do its work: `.ok`, and if not, what is missing; as it was at most a second ago."""
        return await self._checking.check()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For the host's `lifespan=`: starts before its first request, closes after its last."""
        await self.introduce()
        try:
            with hearing_of_the_end(self._runtime.part):
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
        if not callable(app):
            raise ConfigurationError(f"guard: give an ASGI app, not {app!r}")
        return Guard(
            app,
            verifier=self._verifier,
            public=public,
            address=address,
            origins=origins,
            metadata_of=self._metadata_of,
        )

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
        well_known = self._described(at)
        guarded = self.guard(app, public=public, address=address, origins=origins)
        return Protected(guarded, app=app, pairing=self.app, well_known=well_known, at=at, runtime=self._runtime)

    def well_known_routes(self, at: str = "/pair") -> list[Route]:
        """Routes for the root of the host, by which generic clients find the sub-app at `at` (RFC 8414, RFC 9728).

        They have to be reached without a token: leave them outside the guard. `protect` has them already.
        """
        return self._described(at).routes()

    async def verify(self, token: str) -> Grant:
        """The grant of a capability token that counts now. Raises InvalidToken, TemporarilyUnavailable."""
        return await self._verifier.verify(token)

    # Deciding

    async def requests(self) -> AsyncIterator[Prompt]:
        """Devices that ask by PIN, as they come, whichever process they ask; those waiting come first.

        Of each source one at a time: the next is told of once the one before is decided, gone or expired.
        """
        async for request in self.deciding.arriving():
            yield Prompt(request, self.deciding, self.settings, self._runtime.clock())

    def on_request(self, callback: Callback) -> Callback:
        """Call a function, async or not, with each Prompt while this process runs; usable as a decorator.

        It may take its time: the next call does not wait for it. What it raises is logged. Every process on
        the database calls its own.
        """

        async def follow() -> None:
            async with asyncio.TaskGroup() as calls:
                async for prompt in self.requests():
                    calls.create_task(logged(_call(callback, prompt)))

        if not _takes_one(callback):
            raise ConfigurationError("on_request: give a function of one Prompt")
        self._runtime.accompany(follow)
        return callback

    async def qr(
        self,
        permissions: Permissions | Mapping[str, Any],
        *,
        expires_in: float | None = None,
        address: str | None = None,
    ) -> QRCode:
        """A QR code that pairs one device with these permissions: `.uri`, `.svg()`, `.png()`, `.terminal()`.

        `address` is where devices reach the pairing sub-app, such as https://house.example/pair; without it, the
        setting `issuer`. Raises ConfigurationError when neither is there, InvalidPermissions, InvalidRequest.
        """
        return await self.codes.qr(Permissions.parse(permissions), expires_in=expires_in, address=address)

    async def code(self, permissions: Permissions | Mapping[str, Any], *, expires_in: float | None = None) -> str:
        """A one-time code such as K3F9-X2NM that pairs one device with these permissions."""
        minted = await self.codes.mint(Permissions.parse(permissions), expires_in=expires_in)
        return grouped(minted.code)

    # Watching

    async def events(self) -> AsyncIterator[AuditEvent]:
        """What happens from now on, in any process: requests, decisions, devices, refreshes, revocations."""
        async for event in self.audit.live():
            yield event

    def _described(self, at: str) -> WellKnown:
        self._well_known = WellKnown(self.settings, self._callers, mount_point(at))
        return self._well_known

    def _metadata_of(self, scope: Scope) -> str | None:
        return None if self._well_known is None else self._well_known.metadata_of(scope)


async def _call(callback: Callback, prompt: Prompt) -> None:
    with suppress(AlreadyDecided):  # in another process, where it was called too, somebody was faster
        result = callback(prompt)
        if inspect.isawaitable(result):
            await result


def _store(store: str | Store) -> Store:
    opened = open_store(store) if isinstance(store, str) else store
    if not hasattr(opened, "commit"):
        raise ConfigurationError(f"store: give a URL such as sqlite:///pairlock.db, or a Store, not {store!r}")
    return opened


def _runtime(
    store: Store, secret_keys: Sequence[str | bytes] | None, settings: Settings, clock: Callable[[], float]
) -> Runtime:
    return Runtime(store, _key_source(store, secret_keys), settings, clock)


def _has_hooks(operator: object, decide: object) -> bool:
    """Whether there is one who can see or decide what devices ask for. Raises ConfigurationError for what is none."""
    if operator is not None and not _takes_one(operator):
        raise ConfigurationError("operator: give a function of the connection, such as operator_token(secret)")
    if decide is not None and not _takes_one(decide):
        raise ConfigurationError("decide: give an async function of what asks, which returns Approve, Deny or None")
    return operator is not None or decide is not None


def _takes_one(function: object) -> bool:
    """Whether this can be called with one argument, as far as can be seen."""
    if not callable(function):
        return False
    with suppress(ValueError):  # some built-in ones do not tell
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            return False
    return True


def _key_source(store: Store, secret_keys: Sequence[str | bytes] | None) -> Callable[[], Keys]:
    keys, ephemeral = configured_keys(secret_keys, os.environ), Keys([secrets.token_bytes(MIN_KEY_BYTES)])
    if keys is not None:
        return lambda: keys
    if isinstance(store, SQLiteStore):
        path = Path(f"{store.path}{KEY_FILE_SUFFIX}")
        return lambda: file_keys(path)
    if isinstance(store, MemoryStore):  # what they sign does not outlive it
        return lambda: ephemeral
    raise ConfigurationError(
        f"secret_keys: this store keeps no key file; give secret_keys, or set {VARIABLE}, to one or more keys"
        " such as `python -c 'import secrets; print(secrets.token_urlsafe(32))'` prints"
    )
