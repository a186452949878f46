"""The same as `pairlock.client`, for asyncio and trio: every function and method is awaited."""

from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

import anyio

from pairlock.client import journeys
from pairlock.client.answers import TokenAnswer
from pairlock.client.auth import PairlockAuth
from pairlock.client.credentials import Credential
from pairlock.client.drivers import arun
from pairlock.client.exchange import Exchange
from pairlock.client.journeys import CLIENT_ID, How, PermissionsGiven, Request, print_code
from pairlock.client.keeping import Keeper
from pairlock.client.libraries import library, trusting
from pairlock.client.pairing import Confirm, DeviceCode, OnCode, OnProgress, Progress, ignore
from pairlock.client.ready import keeper_of, made_ready, websocket_arguments
from pairlock.client.storage import CredentialFile, MemoryCredentials, default_path
from pairlock.errors import PairlockError

if TYPE_CHECKING:
    import httpx

P = ParamSpec("P")
T = TypeVar("T")

__all__ = [
    "Credential",
    "CredentialFile",
    "DeviceCode",
    "MemoryCredentials",
    "Pairing",
    "PairlockAuth",
    "Progress",
    "connect",
    "default_path",
    "device_login",
    "forget",
    "logout",
    "pair",
    "pair_with_qr",
    "redeem",
    "websocket",
]


LEAVING = 5.0  # seconds that withdrawing a request may take


class Opening(Coroutine[Any, Any, T]):
    """A coroutine that may be opened instead of awaited: `async with connect(url) as house`."""

    def __init__(self, opening: Coroutine[Any, Any, T]) -> None:
        self._opening = opening

    def __await__(self) -> Generator[Any, None, T]:
        return self._opening.__await__()

    def send(self, value: Any) -> Any:
        return self._opening.send(value)

    def throw(self, *exc: Any) -> Any:
        return self._opening.throw(*exc)

    def close(self) -> None:
        self._opening.close()

    async def __aenter__(self) -> T:
        opened: Any = await self._opening
        self._close = opened.__aexit__
        entered: T = await opened.__aenter__()
        return entered

    async def __aexit__(self, *exc: object) -> None:
        await self._close(*exc)


def opening(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Opening[T]]:
    """Let what a function opens be opened by `async with` too."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Opening[T]:
        return Opening(function(*args, **kwargs))

    return call


class Pairing(Request):
    """A pairing request of this device, by `pair()`. Left by `async with`, it is cancelled unless it succeeded."""

    async def submit_pin(self, pin: str) -> "httpx.AsyncClient":
        """Type the PIN; the client that is let in. Raises InvalidPin with `attempts_left`, Locked, ExpiredToken."""
        return await self._finish(self._asking.submit(pin))

    async def wait_for_approval(self) -> "httpx.AsyncClient":
        """Wait until an operator has decided; the client that is let in. Raises AccessDenied, ExpiredToken, Locked."""
        await self.wait_for_decision()
        return await self._finish(self._asking.redeem())

    async def wait_for_decision(self) -> None:
        """Wait until an operator has approved, without getting the client yet. Raises as `wait_for_approval` does."""
        await arun(self._asking.wait(), self._http)

    async def cancel(self) -> None:
        """Withdraw the request."""
        await arun(self._asking.cancel(), self._http)
        self._is_done = True

    async def _finish(self, exchange: Exchange[TokenAnswer]) -> "httpx.AsyncClient":
        keeper = await arun(journeys.kept(self._asking, exchange, self._how), self._http)
        self._is_done = True
        await self._close()
        client: httpx.AsyncClient = made_ready(
            self._how.get("http") or _new(self._how), keeper, given=self._how.get("http") is not None
        )
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.move_on_after(LEAVING, shield=True):  # whoever was cancelled withdraws it too
            if not self._is_done:
                with suppress(PairlockError):  # it ends by itself
                    await self.cancel()
            await self._close()

    async def _close(self) -> None:
        if self._how.get("http") is None:
            await self._http.aclose()


@opening
async def pair(
    url: str,
    *,
    name: str | None = None,
    permissions: PermissionsGiven | None = None,
    on_progress: OnProgress = ignore,
    **how: Unpack[How],
) -> Pairing:
    """Ask a service to let this device in, by PIN or by approval; `name` is the machine's unless it is given.

    `permissions` asks for less than the service grants by default. Raises Unreachable, NotPairlock, Unencrypted,
    AlreadyPaired, CredentialsError, and the service's own WindowClosed, Busy, TooManyRequests, PairingDisabled.
    """
    exchange = journeys.asked(url, name, how, permissions=permissions, on_progress=on_progress)
    http: Any = how.get("http") or _new(how)
    try:
        return Pairing(await arun(exchange, http), http, how)
    except BaseException:
        if how.get("http") is None:
            await http.aclose()
        raise


@opening
async def redeem(url: str, code: str, *, name: str | None = None, **how: Unpack[How]) -> "httpx.AsyncClient":
    """Pair with a one-time code such as K3F9-X2NM; the client that is let in. Raises InvalidCode."""
    return await _ready(journeys.redeemed(url, code, name, how), how)


@opening
async def pair_with_qr(uri: str, *, name: str | None = None, **how: Unpack[How]) -> "httpx.AsyncClient":
    """Pair with what a QR code says; the client that is let in. Raises InvalidCode, ConfigurationError."""
    return await _ready(journeys.scanned(uri, name, how), how)


@opening
async def device_login(
    url: str,
    *,
    name: str | None = None,
    permissions: PermissionsGiven | None = None,
    on_code: OnCode = print_code,
    on_progress: OnProgress = ignore,
    confirm: Confirm | None = None,
    client_id: str = CLIENT_ID,
    **how: Unpack[How],
) -> "httpx.AsyncClient":
    """Show a code that an operator types elsewhere (RFC 8628), and wait; the client that is let in.

    `on_code` is called with the DeviceCode to show, `on_progress` with each Progress, and `confirm` returns the PIN
    where a service wants one typed back. Raises AccessDenied, ExpiredToken, Locked, ConfirmationRequired.
    """
    exchange = journeys.logged_in(
        url,
        name,
        how,
        client_id=client_id,
        on_code=on_code,
        permissions=permissions,
        on_progress=on_progress,
        confirm=confirm,
    )
    return await _ready(exchange, how)


@opening
async def connect(url: str, **how: Unpack[How]) -> "httpx.AsyncClient":
    """A client for a service that this device has paired with, sure to be let in.

    Raises NotPaired, PairAgain when it was revoked, AnotherServer, Unreachable, CredentialsError.
    """
    return await _ready(journeys.resumed(url, how), journeys.as_kept(url, how))


async def logout(url: str, **how: Unpack[How]) -> bool:
    """Revoke this device at the service and forget its credential; False when it was revoked already.

    Raises NotPaired, AnotherServer, CredentialsError, and Unreachable: then nothing is forgotten.
    """
    async with _client(journeys.as_kept(url, how)) as http:
        return await arun(journeys.logged_out(url, how), http)


async def forget(url: str, **how: Unpack[How]) -> list[Credential]:
    """Forget the credential for a service without revoking it there; what was forgotten.

    Of several that are kept for one address, those are forgotten whose server is not there any more. Raises NotPaired,
    CredentialsError; with several, AnotherServer and Unreachable too.
    """
    async with _client(how) as http:
        return await arun(journeys.forgotten(url, how), http)


async def websocket(client: Any, path: str, *, as_subprotocol: bool = False) -> dict[str, Any]:
    """What to open a guarded WebSocket with: `websockets.connect(**await websocket(client, "/live"))`.

    The token is in a header, or with `as_subprotocol` among the subprotocols, for proxies that drop it.
    """
    credential = await arun(keeper_of(client).current(), client)
    return websocket_arguments(client, path, credential.token, as_subprotocol=as_subprotocol)


async def _ready(exchange: Exchange[Keeper], how: How) -> "httpx.AsyncClient":
    async with _client(how) as http:
        keeper = await arun(exchange, http)
    client: httpx.AsyncClient = made_ready(how.get("http") or _new(how), keeper, given=how.get("http") is not None)
    return client


@asynccontextmanager
async def _client(how: How) -> AsyncIterator[Any]:
    """The caller's client, or one that is there for this alone."""
    given = how.get("http")
    if given is not None:
        yield given
        return
    async with _new(how) as http:
        yield http


def _new(how: How) -> Any:
    return library().AsyncClient(**trusting(how.get("ca")))
