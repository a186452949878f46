"""How an answer or an error is rendered, for HTTP and for a WebSocket handshake."""

import logging
from functools import lru_cache
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from pairlock._core.wire import token_answer
from pairlock.errors import (
    InvalidClient,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotPermitted,
    PairlockError,
    ServerError,
    StoreError,
    TemporarilyUnavailable,
    WireError,
    wire_errors,
)
from pairlock.services.tokens import Redeemed, Tokens

logger = logging.getLogger("pairlock")

MAX_RENDERED = 256  # strangers choose the host in a resource
POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
CHALLENGED = (MissingToken, InvalidToken, NotPermitted, InvalidRequest)
BASIC = 'Basic realm="pairlock"'  # RFC 6749 §5.2

NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that nobody may keep."""
    content = b"" if status == 204 else msgspec.json.encode(body)
    kind = None if status == 204 else "application/json"
    return Response(content, status, {**NO_STORE, **(headers or {})}, kind)


def token_response(redeemed: Redeemed, tokens: Tokens, server: dict[str, Any]) -> Response:
    """The token answer, the same for all methods."""
    token, life = tokens.access(redeemed.device, redeemed.permissions)
    return answer(
        token_answer(
            redeemed.device,
            token,
            life,
            permissions=redeemed.permissions,
            server=server,
            refresh_token=redeemed.refresh_token,
            message=redeemed.message,
        )
    )


def refusal(error: WireError, *, resource: str | None = None, bearer: bool = True) -> Response:
    """An error as an answer; with the challenge of RFC 6750 §3 where a `bearer` token may have been the matter.

    `resource` is where the metadata of what was asked for stands (RFC 9728 §5.1).
    """
    headers = {}
    if bearer and isinstance(error, CHALLENGED):
        headers["www-authenticate"] = _challenge(error, resource)
    if isinstance(error, InvalidClient):
        headers["www-authenticate"] = BASIC
    if "retry_after" in error.details or isinstance(error, TemporarilyUnavailable):
        headers["retry-after"] = str(error.details.get("retry_after", 1))
    return answer(error.body(), error.status, headers)


def wire_error(error: PairlockError) -> WireError:
    """What a caller is told of an error; the log has the rest."""
    if isinstance(error, WireError):
        if error.__cause__ is not None and error.status >= 500:
            logger.warning("%s (%r)", error, error.__cause__)
        return error
    logger.error("%s", error)
    return TemporarilyUnavailable(retry_after=5) if isinstance(error, StoreError) else ServerError()


def _challenge(error: WireError, resource: str | None) -> str:
    # Only fixed text, and an address that was checked, stand between the quotes: no quoting can go wrong (RFC 6750 §3).
    said = ['Bearer realm="pairlock"']
    if not isinstance(error, MissingToken):  # no credentials at all: no error code, RFC 6750 §3.1
        said += [f'error="{error.code}"', f'error_description="{error.description}"']
    if resource is not None:
        said.append(f'resource_metadata="{resource}"')
    return ", ".join(said)


Rendered = tuple[int, list[tuple[bytes, bytes]], bytes]


def _render(error: WireError, resource: str | None = None) -> Rendered:
    response = refusal(error, resource=resource)
    return response.status_code, response.raw_headers, bytes(response.body)


@lru_cache(MAX_RENDERED)
def _rendered(code: str, resource: str | None) -> Rendered:
    """A refusal shall cost no more than an acceptance: what says nothing of its own is rendered once."""
    return _render(wire_errors()[code](), resource)


async def refuse(error: WireError, scope: Scope, send: Send, *, resource: str | None = None) -> None:
    """Send an error instead of what was asked for; a WebSocket is refused before it is accepted."""
    status, headers, body = _render(error, resource) if error.details else _rendered(error.code, resource)
    if scope["type"] == "http":
        kind = "http.response"
    elif "websocket.http.response" in scope.get("extensions", {}):
        kind = "websocket.http.response"
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": error.code})
        return
    start: Message = {"type": f"{kind}.start", "status": status, "headers": list(headers)}
    await send(start)
    await send({"type": f"{kind}.body", "body": body})
