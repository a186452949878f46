"""Who calls, and by which address the caller reached us; what proxies say counts only if they are trusted."""

import re
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from pairlock._core.records import Origin
from pairlock._core.sources import forwarded_for, is_trusted
from pairlock.errors import InvalidRequest
from pairlock.services.pairing import origin_of
from pairlock.settings import Settings

_HOST = re.compile(r"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")
_IN_PATHS = "/!$&'()*+,;=:@"  # RFC 3986 §3.3: what stands in a path as it is, besides letters and digits
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Callers:
    """Reads addresses off requests, as the settings `trusted_proxies` and `issuer` have it."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = settings.trusted_proxies
        self._issuer = settings.issuer

    def address(self, connection: HTTPConnection) -> str:
        """The address a call comes from; empty where there is none, as on a Unix socket."""
        peer = connection.client.host if connection.client else ""
        if not is_trusted(peer, self._proxies):
            return peer
        forwarded = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
        return forwarded_for(peer, [address.strip() for address in forwarded if address.strip()], self._proxies)

    def origin(self, connection: HTTPConnection, hint: str = "") -> Origin:
        """Where a call comes from."""
        return origin_of(self.address(connection), connection.headers.get("user-agent", ""), hint)

    def mount_url(self, connection: HTTPConnection) -> str:
        """Where the pairing sub-app is: the setting `issuer`, else as the caller reached it. Raises InvalidRequest."""
        return self._issuer or self.host_url(connection.scope) + as_path(connection.scope.get("root_path", ""))

    def host_url(self, scope: Scope) -> str:
        """Scheme and host: those of the setting `issuer`, else as the caller reached us. Raises InvalidRequest."""
        if self._issuer is not None:
            scheme, _, rest = self._issuer.partition("://")
            return f"{scheme}://{rest.partition('/')[0]}"
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise InvalidRequest(detail="the Host header is missing or malformed")
        return f"{self._scheme(scope, headers)}://{host}"

    def _scheme(self, scope: Scope, headers: Headers) -> str:
        peer = scope["client"][0] if scope.get("client") else ""
        told = headers.get("x-forwarded-proto", "") if is_trusted(peer, self._proxies) else ""
        return _SCHEMES.get(told.partition(",")[0].strip().lower()) or _SCHEMES.get(
            scope.get("scheme", ""), "http"
        )  # ASGI lets servers leave it out


def as_path(decoded: str) -> str:
    """A path as addresses have it."""
    return quote(decoded, _IN_PATHS, errors="replace")


def path_as_asked(scope: Scope) -> str:
    """The path of a request as its client wrote it, as far as the server tells."""
    raw: bytes | None = scope.get("raw_path")
    return as_path(scope["path"]) if raw is None else quote(raw, _IN_PATHS + "%")
