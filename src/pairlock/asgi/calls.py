"""What every call of the sub-app goes through before its endpoint, so that none can forget it."""

import hmac
import inspect
import logging
import re
from collections.abc import Awaitable, Collection
from typing import Protocol

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from pairlock._core.credentials import bearer_token
from pairlock._core.operators import Operator
from pairlock._core.tokens import PREFIX
from pairlock.asgi.answers import refuse
from pairlock.errors import ConfigurationError, CrossSite, InvalidRequest, MissingToken, OperatorRequired

logger = logging.getLogger("pairlock")

FOREIGN = ("cross-site", "same-site")  # a sibling domain is not this site
MIN_OPERATOR_TOKEN = 16


PAGE = 100  # entries of a list

# For what any page may call or read: no cookie counts there, and everything that does is in the call (RFC 9700 §2.6).
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type, *",
    "access-control-expose-headers": "retry-after, www-authenticate",
    "access-control-max-age": "600",
}


class SameSite:
    """ASGI middleware that refuses calls which a page of another site makes with a visitor's browser.

    `shared` are the paths that any page may call.
    """

    def __init__(self, app: ASGIApp, shared: Collection[str] = ()) -> None:
        self.app = app
        self.shared = frozenset(shared)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) in self.shared:
            await self.app(scope, receive, send)
        elif _is_foreign(scope["method"], Headers(scope=scope)):
            await refuse(CrossSite(), scope, send)
        else:
            await self.app(scope, receive, send)


def _is_foreign(method: str, headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        follows_link = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        return site in FOREIGN and not follows_link
    origin = headers.get("origin")  # browsers leave Sec-Fetch-Site out on plain HTTP
    host = headers.get("host", "").lower()
    return origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}")


class OperatorHook(Protocol):
    """The host's own authentication: who is the operator that makes this call? None: nobody who may."""

    def __call__(self, connection: HTTPConnection, /) -> Operator | Awaitable[Operator | None] | None: ...


def operator_token(token: str | None, operator: Operator = Operator("operator")) -> OperatorHook:  # noqa: B008  # frozen
    """An operator hook for a single operator who sends a secret as a Bearer token.

    Raises ConfigurationError when the secret is short enough to be guessed.
    """
    if not token or len(token) < MIN_OPERATOR_TOKEN or re.search(r"[\s,]", token):
        raise ConfigurationError(
            f"operator_token: give a random secret of at least {MIN_OPERATOR_TOKEN} characters, no spaces or commas"
        )
    secret = token.encode()

    def authenticate(connection: HTTPConnection) -> Operator | None:
        offered = _bearer(connection)
        return operator if offered is not None and hmac.compare_digest(offered, secret) else None

    return authenticate


async def require_operator(request: Request, hook: OperatorHook | None) -> Operator:
    """The operator who makes this call. Raises OperatorRequired; a device's token is never enough."""
    token = _bearer(request)
    if hook is None or (token is not None and token.startswith(PREFIX)):
        raise OperatorRequired
    found = hook(request)
    operator: object = await found if inspect.isawaitable(found) else found
    if not isinstance(operator, Operator):  # whatever else a hook returns, such as False, is nobody
        if operator is not None:
            logger.warning("the operator hook must return an Operator or None, not %s", type(operator).__name__)
        raise OperatorRequired
    return operator


def page_limit(request: Request) -> int:
    """How long a page of a list shall be. Raises InvalidRequest."""
    limit = request.query_params.get("limit", str(PAGE))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= PAGE:
        raise InvalidRequest(detail=f"limit must be a number from 1 to {PAGE}")
    return int(limit)


def request_secret(request: Request) -> str:
    """The secret of a pairing request, as its device sends it. Raises MissingToken, InvalidRequest."""
    return bearer_token(request.headers.get("authorization", "").encode("latin-1")).decode("latin-1")


def _bearer(connection: HTTPConnection) -> bytes | None:
    try:
        return bearer_token(connection.headers.get("authorization", "").encode("latin-1"))
    except (MissingToken, InvalidRequest):
        return None
