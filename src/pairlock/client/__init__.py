"""Pairs this machine with a service, and talks to it from then on. `pairlock.client.aio` is the same for asyncio.

Every function that pairs takes the same keywords. `credentials` is where to keep what is handed out: a path, a
CredentialFile (by default the user's own), or MemoryCredentials(). `replace` lets it take the place of what is
kept for the same server at the same address. `insecure` allows plain HTTP to another machine. `ca` is the file of
the certificate authority that your server is known by. `http` is an httpx or httpx2 client of yours, which is made
ready and handed back; without it there is a new one.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, Unpack

from pairlock.client import journeys
from pairlock.client.answers import TokenAnswer
from pairlock.client.auth import PairlockAuth
from pairlock.client.credentials import Credential
from pairlock.client.drivers import run
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


class Pairing(Request):
    """A pairing request of this device, by `pair()`. Left by `with`, it is cancelled unless it succeeded."""

    def submit_pin(self, pin: str) -> "httpx.Client":
        """Type the PIN; the client that is let in. Raises InvalidPin with `attempts_left`, Locked, ExpiredToken."""
        return self._finish(self._asking.submit(pin))

    def wait_for_approval(self) -> "httpx.Client":
        """Wait until an operator has decided; the client that is let in. Raises AccessDenied, ExpiredToken, Locked."""
        self.wait_for_decision()
        return self._finish(self._asking.redeem())

    def wait_for_decision(self) -> None:
        """Wait until an operator has approved, without getting the client yet. Raises as `wait_for_approval` does."""
        run(self._asking.wait(), self._http)

    def cancel(self) -> None:
        """Withdraw the request."""
        run(self._asking.cancel(), self._http)
        self._is_done = True

    def _finish(self, exchange: Exchange[TokenAnswer]) -> "httpx.Client":
        keeper = run(journeys.kept(self._asking, exchange, self._how), self._http)
        self._is_done = True
        self._close()
        client: httpx.Client = made_ready(
            self._how.get("http") or _new(self._how), keeper, given=self._how.get("http") is not None
        )
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if not self._is_done:
            with suppress(PairlockError):  # it ends by itself
                self.cancel()
        self._close()

    def _close(self) -> None:
        if self._how.get("http") is None:
            self._http.close()


def pair(
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
        return Pairing(run(exchange, http), http, how)
    except BaseException:
        if how.get("http") is None:
            http.close()
        raise


def redeem(url: str, code: str, *, name: str | None = None, **how: Unpack[How]) -> "httpx.Client":
    """Pair with a one-time code such as K3F9-X2NM; the client that is let in. Raises InvalidCode."""
    return _ready(journeys.redeemed(url, code, name, how), how)


def pair_with_qr(uri: str, *, name: str | None = None, **how: Unpack[How]) -> "httpx.Client":
    """Pair with what a QR code says; the client that is let in. Raises InvalidCode, ConfigurationError."""
    return _ready(journeys.scanned(uri, name, how), how)


def device_login(
    url: str,
    *,
    name: str | None = None,
    permissions: PermissionsGiven | None = None,
    on_code: OnCode = print_code,
    on_progress: OnProgress = ignore,
    confirm: Confirm | None = None,
    client_id: str = CLIENT_ID,
    **how: Unpack[How],
) -> "httpx.Client":
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
    return _ready(exchange, how)


def connect(url: str, **how: Unpack[How]) -> "httpx.Client":
    """A client for a service that this device has paired with, sure to be let in.

    Raises NotPaired, PairAgain when it was revoked, AnotherServer, Unreachable, CredentialsError.
    """
    return _ready(journeys.resumed(url, how), journeys.as_kept(url, how))


def logout(url: str, **how: Unpack[How]) -> bool:
    """Revoke this device at the service and forget its credential; False when it was revoked already.

    Raises NotPaired, AnotherServer, CredentialsError, and Unreachable: then nothing is forgotten.
    """
    with _client(journeys.as_kept(url, how)) as http:
        return run(journeys.logged_out(url, how), http)


def forget(url: str, **how: Unpack[How]) -> list[Credential]:
    """Forget the credential for a service without revoking it there; what was forgotten.

    Of several that are kept for one address, those are forgotten whose server is not there any more. Raises NotPaired,
    CredentialsError; with several, AnotherServer and Unreachable too.
    """
    with _client(how) as http:
        return run(journeys.forgotten(url, how), http)


def websocket(client: Any, path: str, *, as_subprotocol: bool = False) -> dict[str, Any]:
    """What to open a guarded WebSocket with: `websockets.sync.client.connect(**websocket(client, "/live"))`.

    The token is in a header, or with `as_subprotocol` among the subprotocols, for proxies that drop it.
    """
    credential = run(keeper_of(client).current(), client)
    return websocket_arguments(client, path, credential.token, as_subprotocol=as_subprotocol)


def _ready(exchange: Exchange[Keeper], how: How) -> "httpx.Client":
    with _client(how) as http:
        keeper = run(exchange, http)
    client: httpx.Client = made_ready(how.get("http") or _new(how), keeper, given=how.get("http") is not None)
    return client


@contextmanager
def _client(how: How) -> Iterator[Any]:
    """The caller's client, or one that is there for this alone."""
    given = how.get("http")
    if given is not None:
        yield given
        return
    with _new(how) as http:
        yield http


def _new(how: How) -> Any:
    return library().Client(**trusting(how.get("ca")))
