"""Where a request carries its token: the Authorization header, or a WebSocket's subprotocols."""

from urllib.parse import parse_qsl, urlsplit

from starlette.types import Scope

from pairlock.errors import CrossSite, InvalidRequest, MissingToken

SUBPROTOCOL = "pairlock.bearer"


def credentials(scope: Scope) -> bytes:
    """What is offered, as the value of an Authorization header.

    Raises MissingToken without any, InvalidRequest for more than one or one in the query (RFC 6750 §2).
    """
    if any(name == "access_token" for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
        raise InvalidRequest(detail="send the token in the Authorization header, never in the query")
    offered = headers(scope, b"authorization")
    if from_subprotocol(scope):
        offered.append(b"Bearer " + _subprotocol_token(scope["subprotocols"]))
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
    for value in headers(scope, b"origin"):
        origin = value.decode("latin-1")
        host = b"".join(headers(scope, b"host")).decode("latin-1")
        if origin not in allowed and urlsplit(origin).netloc.lower() != host.lower():
            raise CrossSite


def without_token(scope: Scope) -> Scope:
    """The scope of a handshake without the subprotocols that carried its token: no app shall log or echo them."""
    offered = list(scope["subprotocols"])
    at = offered.index(SUBPROTOCOL)
    left = offered[:at] + offered[at + 2 :]
    kept = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    if left:
        kept.append((b"sec-websocket-protocol", ", ".join(left).encode("latin-1")))
    return {**scope, "subprotocols": left, "headers": kept}


def _subprotocol_token(offered: list[str]) -> bytes:
    after = list(offered)[list(offered).index(SUBPROTOCOL) + 1 :]
    if not after:
        raise InvalidRequest(detail=f"offer the subprotocols {SUBPROTOCOL} and the token, in this order")
    return after[0].encode("latin-1", "replace")
