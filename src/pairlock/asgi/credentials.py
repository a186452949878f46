"""Where a request carries its token: the Authorization header, or a WebSocket's subprotocols."""

import re
from collections.abc import Iterator

from starlette.types import Scope

from pairlock.errors import CrossSite, InvalidRequest, MissingToken

SUBPROTOCOL = "pairlock.bearer"


def credentials(scope: Scope) -> bytes:
    """What is offered, as the value of an Authorization header.

    Raises MissingToken without any, InvalidRequest for more than one or one in the query (RFC 6750 §2).
    """
    if _has_token(scope.get("query_string") or b""):
        raise InvalidRequest(detail="send the token in the Authorization header, never in the query")
    offered = headers(scope, b"authorization")
    offered += _from_subprotocols(list(scope.get("subprotocols", ())))
    if not offered:
        raise MissingToken
    if len(offered) > 1:
        raise InvalidRequest(detail="send one token, in one way")
    return offered[0]


def from_subprotocol(scope: Scope) -> bool:
    """Whether a WebSocket offers its token as a subprotocol, as browsers must."""
    return SUBPROTOCOL in scope.get("subprotocols", ())


def headers(scope: Scope, name: bytes) -> list[bytes]:
    """The values of a header, in order."""
    return [value for key, value in scope["headers"] if key == name]


def check_origin(scope: Scope, allowed: frozenset[str]) -> None:
    """Refuse a handshake that a page of another origin makes with a browser. Raises CrossSite."""
    host = b"".join(headers(scope, b"host")).lower()
    own = (b"http://" + host, b"https://" + host)
    for origin in headers(scope, b"origin"):
        if origin.lower() not in own and origin.lower().decode("latin-1") not in allowed:
            raise CrossSite


def without_token(scope: Scope) -> Scope:
    """The scope of a handshake without the subprotocols that carried its token: no app shall log or echo them."""
    offered = list(scope["subprotocols"])
    left = [name for before, name in zip(["", *offered], offered, strict=False) if SUBPROTOCOL not in (before, name)]
    kept = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    if left:
        kept.append((b"sec-websocket-protocol", ", ".join(left).encode("latin-1")))
    return {**scope, "subprotocols": left, "headers": kept}


def _has_token(query: bytes) -> bool:
    return re.search(rb"(?:^|[&;])access_token=", query) is not None


def _from_subprotocols(offered: list[str]) -> Iterator[bytes]:
    for after, name in enumerate(offered, start=1):
        if name == SUBPROTOCOL:
            if after == len(offered):
                raise InvalidRequest(detail=f"offer the subprotocols {SUBPROTOCOL} and the token, in this order")
            yield b"Bearer " + offered[after].encode("latin-1", "replace")
