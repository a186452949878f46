"""Whole ways to a credential, as exchanges; what the functions of this package do, sync or async."""

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from pairlock._core.permissions import Permissions
from pairlock.client import addresses, pairing
from pairlock.client.answers import TokenAnswer
from pairlock.client.auth import kept_in
from pairlock.client.credentials import Credential
from pairlock.client.discovery import Service
from pairlock.client.exchange import Exchange, Unbroken, then
from pairlock.client.keeping import Keeper
from pairlock.client.pairing import Asking, Clock, Confirm, OnCode, OnProgress
from pairlock.client.storage import Credentials
from pairlock.client.stored import Wanted, at, forget, keep, load, log_out, prepare, resume

if TYPE_CHECKING:
    import httpx
    import httpx2

    AnyClient = httpx.Client | httpx2.Client | httpx.AsyncClient | httpx2.AsyncClient

CLIENT_ID = "pairlock"
PermissionsGiven = Permissions | dict[str, list[str]]


class How(TypedDict, total=False):
    """The keywords that all of them take."""

    credentials: Credentials | str | os.PathLike[str] | None
    replace: bool
    insecure: bool
    ca: str | os.PathLike[str] | None
    http: "AnyClient | None"
    clock: Clock


class Request:
    """What both kinds of `Pairing` tell of a pairing request of this device.

    `shown` is False while the PIN of another request from the same address is on display at the service.
    """

    def __init__(self, asking: Asking, http: Any, how: How) -> None:
        self._asking = asking
        self._http = http
        self._how = how
        self._is_done = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._asking.id}>"

    @property
    def server_name(self) -> str:
        """What the service calls itself."""
        return self._asking.service.server.name

    @property
    def device_name(self) -> str:
        """What this device calls itself."""
        return self._asking.name

    @property
    def expires_in(self) -> int:
        """Seconds left."""
        return self._asking.seconds_left

    @property
    def attempts_left(self) -> int | None:
        """How many PINs may still be typed."""
        return self._asking.attempts_left

    @property
    def pin_length(self) -> int | None:
        """How many digits the PIN has."""
        return self._asking.pin_length

    @property
    def shown(self) -> bool:
        """Whether its PIN was on display when it was made."""
        return self._asking.shown


def wanted(how: How) -> Wanted:
    """The same, with what goes without saying."""
    return Wanted(
        credentials=kept_in(how.get("credentials")),
        replace=how.get("replace", False),
        insecure=how.get("insecure", False),
        ca=str(Path(how["ca"] or "").expanduser().absolute()) if how.get("ca") else None,
        clock=how.get("clock", time.time),
    )


def as_kept(url: str, how: How) -> How:
    """The same, with the certificate authority that the server at this address is known by."""
    if how.get("ca") is None and how.get("http") is None:
        kept = at(kept_in(how.get("credentials")), addresses.parse(url))
        how["ca"] = next(iter(kept.values())).ca
    return how


def asked(
    url: str, name: str | None, how: How, *, permissions: PermissionsGiven | None, on_progress: OnProgress
) -> Exchange[Asking]:
    """A pairing request by PIN."""
    service = yield from prepare(url, wanted(how))
    return (
        yield from pairing.ask(
            service, _name(name), permissions=_parsed(permissions), clock=_clock(how), on_progress=on_progress
        )
    )


def kept(asking: Asking, exchange: Exchange[TokenAnswer], how: How) -> Exchange[Keeper]:
    """What came of such a request, kept; whoever is cut short here finds it kept all the same."""
    return (yield Unbroken(then(exchange, _keep(asking.service, how))))  # type: ignore[no-any-return]


def redeemed(url: str, code: str, name: str | None, how: How) -> Exchange[Keeper]:
    """A code redeemed."""
    service = yield from prepare(url, wanted(how))
    redeeming = pairing.redeem(service, code, _name(name))
    return (yield Unbroken(then(redeeming, _keep(service, how))))  # type: ignore[no-any-return]


def scanned(uri: str, name: str | None, how: How) -> Exchange[Keeper]:
    """A QR code redeemed."""
    url, secret = pairing.split_qr(uri)
    return (yield from redeemed(url, secret, name, how))


def logged_in(
    url: str,
    name: str | None,
    how: How,
    *,
    client_id: str,
    on_code: OnCode,
    permissions: PermissionsGiven | None,
    on_progress: OnProgress,
    confirm: Confirm | None,
) -> Exchange[Keeper]:
    """A device code approved."""
    service = yield from prepare(url, wanted(how))
    return (
        yield from pairing.login(
            service,
            _name(name),
            client_id=client_id,
            clock=_clock(how),
            on_code=on_code,
            keep=_keep(service, how, client_id),
            permissions=_parsed(permissions),
            on_progress=on_progress,
            confirm=confirm,
            look=partial(pairing.page_of, service),
        )
    )


def resumed(url: str, how: How) -> Exchange[Keeper]:
    """What was kept, and counts."""
    keeper = yield from load(url, kept_in(how.get("credentials")), _clock(how))
    yield from resume(keeper)
    return keeper


def logged_out(url: str, how: How) -> Exchange[bool]:
    """What was kept, revoked and forgotten."""
    keeper = yield from load(url, kept_in(how.get("credentials")), _clock(how))
    return (yield from log_out(keeper))


def forgotten(url: str, how: How) -> Exchange[list[Credential]]:
    """What was kept, forgotten and not revoked."""
    return (yield from forget(url, kept_in(how.get("credentials"))))


def print_code(code: pairing.DeviceCode) -> None:
    """Show a device code where nothing else was said."""
    print(f"Open {code.verification_uri} and type {code.user_code}", flush=True)


def _keep(service: Service, how: How, client_id: str = "") -> Callable[[TokenAnswer], Exchange[Keeper]]:
    return lambda answer: keep(service, answer, wanted(how), client_id)


def _name(name: str | None) -> str:
    return name or platform.node() or "device"


def _parsed(permissions: PermissionsGiven | None) -> Permissions | None:
    return None if permissions is None else Permissions.parse(permissions)


def _clock(how: How) -> Clock:
    return how.get("clock", time.time)
