"""How an answer or an error is rendered, for HTTP and for a WebSocket handshake."""

import logging
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from pairlock.errors import (
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

logger = logging.getLogger("pairlock")

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
CHALLENGED = (MissingToken, InvalidToken, NotPermitted, InvalidRequest)

NO_STORE = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that nobody may keep."""
    content = b"" if status == 204 else msgspec.json.encode(body)
    kind = None if status == 204 else "application/json"
    return Response(content, status, {**NO_STORE, **(headers or {})}, kind)


def refusal(error: WireError) -> Response:
    """An error as an answer; with the challenge of RFC 6750 §3 where a token was the matter."""
    headers = {}
    if isinstance(error, CHALLENGED):
        headers["www-authenticate"] = _challenge(error)
    if isinstance(error, TemporarilyUnavailable):
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


def _challenge(error: WireError) -> str:
    # Only fixed text stands between the quotes, so no quoting can go wrong (RFC 6750 §3).
    if isinstance(error, MissingToken):  # no credentials at all: no error code, RFC 6750 §3.1
        return 'Bearer realm="pairlock"'
    return f'Bearer realm="pairlock", error="{error.code}", error_description="{error.description}"'


Rendered = tuple[int, list[tuple[bytes, bytes]], bytes]


def _render(error: WireError) -> Rendered:
    response = refusal(error)
    return response.status_code, response.raw_headers, bytes(response.body)


# A refusal shall cost no more than an acceptance: what says nothing of its own is rendered once.
_RENDERED = {code: _render(error()) for code, error in wire_errors().items()}


async def refuse(error: WireError, scope: Scope, send: Send) -> None:
    """Send an error instead of what was asked for; a WebSocket is refused before it is accepted."""
    status, headers, body = _render(error) if error.details else _RENDERED[error.code]
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
