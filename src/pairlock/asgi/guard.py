"""The middleware: a request reaches the app it guards, or is refused. Deny is the default.

What was decided before for the same token, method and path is found in `_recall`, the hot path;
everything else is decided in `_identify`.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from pairlock._core.addresses import READ_METHODS, canonical, check_address
from pairlock._core.grants import Admission, Grant
from pairlock._core.permissions import Patterns, parse_pattern
from pairlock._core.standings import NARROWED, REVOKED, STALE
from pairlock.asgi.answers import refuse, wire_error
from pairlock.asgi.credentials import SUBPROTOCOL, check_origin, credentials, from_subprotocol, without_token
from pairlock.asgi.live import LINGER, Connection, Disconnected
from pairlock.errors import (
    AmbiguousPath,
    ConfigurationError,
    InvalidPermissions,
    InvalidRequest,
    InvalidToken,
    NotPermitted,
    PairlockError,
    TemporarilyUnavailable,
    WireError,
)
from pairlock.services.verifier import Verifier

MAX_KNOWN = 4096  # tokens remembered
MAX_VERDICTS = 256  # places remembered for each
MAX_PLACE = 512  # the longest that is remembered: strangers choose methods and paths

NOT_PERMITTED = NotPermitted()
# What is told to whoever was being served, by the args of their cancellation.
CUT: Mapping[tuple[Any, ...], WireError] = {
    (REVOKED,): InvalidToken(),
    (NARROWED,): NOT_PERMITTED,
    (STALE,): TemporarilyUnavailable(retry_after=1),
}


class Anonymous:
    """Who reaches a public address without a token that allows it: Starlette's `request.user` and `request.auth`."""

    is_authenticated = False
    display_name = ""
    identity = ""
    scopes: tuple[str, ...] = ()


ANONYMOUS = Anonymous()

Place = tuple[str, str, bytes | None, str]  # method, path, raw path, root path


@dataclass(frozen=True, slots=True)
class Known:
    """A grant, the mark of its device's standing when its verdicts were reached, and those verdicts."""

    grant: Grant
    mark: object
    verdicts: dict[Place, Admission | Literal[False]]


class Guard:
    """ASGI middleware that lets paired devices do what they were granted, and nobody else anything.

    `public` lists patterns that anybody may reach; `address` tells the address of a request where that is
    not its path; `origins` lists further web origins, such as "https://app.example", whose pages may open
    WebSockets here; `metadata_of` tells where the metadata of what is guarded stands (RFC 9728).
    Raises ConfigurationError when a pattern or an origin is malformed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        verifier: Verifier,
        public: Iterable[str] = (),
        address: Callable[[Scope], str] | None = None,
        origins: Iterable[str] = (),
        metadata_of: Callable[[Scope], str | None] | None = None,
    ) -> None:
        self.app = app
        self.metadata_of = metadata_of
        self.verifier = verifier
        self.runtime = verifier.runtime
        self.clock = verifier.runtime.clock
        self.public = _public_patterns(public)
        self.address = address
        self.origins = _origins(origins)
        self.known: OrderedDict[bytes | None, Known] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            admission = self._recall(scope)
            if admission is None:
                admission = await self._admit(scope, receive, send)
            elif admission is False:
                await refuse(NOT_PERMITTED, scope, send, resource=self.metadata_of and self.metadata_of(scope))
            if admission:
                scope["user"] = scope["auth"] = grant = admission.grant
                standing = grant.standing
                standing.seen = True
                if "state" in scope:
                    scope["state"]["grant"] = grant
                else:
                    scope["state"] = {"grant": grant}
                task, served = asyncio.current_task(self.runtime.loop), standing.served
                served[task] = admission
                try:
                    await self.app(scope, receive, send)
                except asyncio.CancelledError as error:
                    if task is None or error.args not in CUT:
                        raise
                    await _end_cut(task, scope, send, CUT[error.args])
                finally:
                    served.pop(task, None)
        elif scope["type"] == "websocket":
            admission = await self._admit(scope, receive, send)
            if admission:
                await self._connect(admission, scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        else:
            raise ConfigurationError(f"the guard knows http, websocket and lifespan, not {scope['type']!r}")

    def _recall(self, scope: Scope) -> Admission | Literal[False] | None:
        """What admitted this very request before and still does, False if nothing did, None if unknown."""
        offered = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if offered is not None:
                    return None
                offered = value
        try:
            known = self.known[offered]
            verdict = known.verdicts[scope["method"], scope["path"], scope["raw_path"], scope["root_path"]]
        except KeyError:  # what a server leaves out is decided anew each time
            return None
        grant = known.grant
        if known.mark is not grant.standing.mark or grant.expires_at <= self.clock() or not self.runtime.fresh:
            return None
        if scope["query_string"] and b"access_token" in scope["query_string"]:
            return None
        return verdict

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> Admission | None:
        """What admits a request that may be made; None once it has been refused, or served as public."""
        try:
            return await self._identify(scope)
        except PairlockError as error:
            refused = self._unless_public(scope, error)
        if refused is not None:
            await refuse(wire_error(refused), scope, send, resource=self.metadata_of and self.metadata_of(scope))
            return None
        scope.setdefault("user", ANONYMOUS)
        scope.setdefault("auth", ANONYMOUS)
        if from_subprotocol(scope):  # a token is to be hidden where it is not needed, too
            scope, send = without_token(scope), Connection(receive, send, SUBPROTOCOL).send
        await self.app(scope, receive, send)
        return None

    async def _identify(self, scope: Scope) -> Admission:
        """What admits this request. Raises what forbids it; the token comes first, most strangers end there."""
        header = credentials(scope)
        grant = await self.verifier.admit(header)
        address = self._address(scope)
        admission = Admission(grant, _action(scope), address)
        allowed = admission.counts
        if scope["type"] == "http" and self.address is None and not (self.public and self.public.cover(address)):
            self._remember(header, admission, scope, allowed)
        if not allowed:
            raise NotPermitted
        if from_subprotocol(scope):
            check_origin(scope, self.origins)
        return admission

    def _unless_public(self, scope: Scope, error: PairlockError) -> PairlockError | None:
        """What a request is told that its token does not allow; None where it needs none."""
        if self.public is None:
            return error
        try:
            return None if self.public.cover(self._address(scope)) else error
        except AmbiguousPath as ambiguous:
            return ambiguous

    def _address(self, scope: Scope) -> str:
        if self.address is not None:
            return check_address(self.address(scope))
        return canonical(scope["path"], scope.get("raw_path"), scope.get("root_path", ""))

    def _remember(self, header: bytes, admission: Admission, scope: Scope, allowed: bool) -> None:
        place = (scope["method"], scope["path"], scope.get("raw_path"), scope.get("root_path", ""))
        # One spelling of each token, and no long places: a device must not fill the memory with its own.
        if header[7:].count(b" ") or sum(len(part or "") for part in place) > MAX_PLACE:
            return
        known, grant = self.known.get(header), admission.grant
        if known is None or known.mark is not grant.standing.mark:
            if len(self.known) >= MAX_KNOWN:
                self.known.popitem(last=False)
            known = self.known[header] = Known(grant, grant.standing.mark, {})
        verdicts = known.verdicts
        if len(verdicts) >= MAX_VERDICTS:
            del verdicts[next(iter(verdicts))]
        verdicts[place] = admission if allowed else False

    async def _connect(self, admission: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        grant, subprotocol = admission.grant, None
        if from_subprotocol(scope):
            subprotocol, scope = SUBPROTOCOL, without_token(scope)
        connection, served = Connection(receive, send, subprotocol), grant.standing.served
        scope["user"] = scope["auth"] = scope.setdefault("state", {})["grant"] = grant
        served[connection] = admission
        self.runtime.connections.add(connection)
        try:
            await self.app(scope, connection.receive, connection.send)
        except (asyncio.CancelledError, Disconnected, WebSocketDisconnect):
            if connection.closing is None:
                raise
        finally:
            served.pop(connection, None)
            self.runtime.connections.discard(connection)


def _action(scope: Scope) -> Literal["read", "write"]:
    if scope["type"] == "websocket":  # the handshake; the app asks its grant about messages
        return "read"
    method = scope["method"]
    if method != method.upper():  # some frameworks take `get` for GET, others do not
        raise InvalidRequest(detail="methods are written in upper case")
    return "read" if method in READ_METHODS else "write"


def _public_patterns(public: Iterable[str]) -> Patterns | None:
    if isinstance(public, str):
        raise ConfigurationError(f"public: give a list, such as [{public!r}]")
    try:
        patterns = [parse_pattern(pattern) for pattern in public]
        return Patterns(patterns) if patterns else None
    except InvalidPermissions as error:
        raise ConfigurationError(f"public: {error.detail}") from error


def _origins(origins: Iterable[str]) -> frozenset[str]:
    if isinstance(origins, str):
        raise ConfigurationError(f"origins: give a list, such as [{origins!r}]")
    for origin in (listed := frozenset(origin.lower() for origin in origins)):  # as browsers send it
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*]+", origin):
            raise ConfigurationError(f"origins: {origin!r} must read like https://app.example, with nothing after it")
    return listed


async def _end_cut(task: asyncio.Task[Any], scope: Scope, send: Send, error: WireError) -> None:
    """Answer a request that was cancelled because its device may not make it any more."""
    task.uncancel()

    async def send_unencoded(message: Message) -> None:
        if message["type"] == "http.response.start":  # compressing middleware would hold it back, and a body append
            message["headers"].append((b"content-encoding", b"identity"))
        await send(message)

    # A response that has begun can only be broken off, which the server does; so with one that nobody reads.
    with suppress(Exception):
        await asyncio.wait_for(refuse(error, scope, send_unencoded), LINGER)
