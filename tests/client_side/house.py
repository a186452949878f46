"""A service on 127.0.0.1 that devices of these tests pair with, and others that pretend to be it."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from pairlock import Operator, Pairlock, operator_token
from pairlock._core.records import EventType
from pairlock.facade import Prompt
from tests.servers import free_port
from tests.services.parts import UNLIMITED

T = TypeVar("T")

OPERATOR = "operator-of-these-tests"
ANN = Operator("ann")
EVERYTHING = {"read": ["/**"], "write": ["/**"]}
DEADLINE = 30.0  # seconds until something counts as stuck, on a busy machine


class Seen(NamedTuple):
    """What a server was sent."""

    method: str
    path: str
    authorization: str
    body: bytes = b""


async def sensor(request: Request) -> Response:
    return JSONResponse({"sensor": request.path_params["name"], "read_by": request.user.display_name})


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def away(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], int(request.query_params.get("status", "302")))


async def of_its_own(request: Request) -> Response:
    return PlainTextResponse("sign in", 401, {"www-authenticate": "Basic"})


async def live(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="pairlock.bearer" if websocket.scope["subprotocols"] else None)
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


ROUTES = [
    Route("/sensors/{name}", sensor),
    Route("/control/{name}", echo, methods=["POST"]),
    Route("/away", away, methods=["GET", "POST"]),
    Route("/own", of_its_own),
    WebSocketRoute("/live", live),
]


class House:
    """A guarded app in a thread of this process, on a port and a database of its own; it can go and come back."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.port = settings.pop("port", None) or free_port()
        self.tls: tuple[Path, Path] | None = settings.pop("tls", None)
        self.seen: list[Seen] = []
        self.instead: dict[str, ASGIApp] = {}  # who answers at a path in its place
        self._gates: dict[str, threading.Event] = {}
        self._lost: list[str] = []
        self.held_back: list[str] = []
        self.settings = {
            "store": f"sqlite:///{folder}/pairlock.db",
            "default_permissions": EVERYTHING,
            "operator": operator_token(OPERATOR),
            "limits": UNLIMITED,
            "server_name": "Studio",
            **settings,
        }

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, from now on."""
        self.pairlock = Pairlock(**self.settings)
        app = self._listening(self.pairlock.protect(Starlette(routes=ROUTES)))
        config = uvicorn.Config(
            app,
            "127.0.0.1",
            self.port,
            log_level="critical",
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
            ssl_certfile=self.tls and self.tls[0],
            ssl_keyfile=self.tls and self.tls[1],
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        eventually(lambda: self._server.started)

    def stop(self) -> None:
        """Stop; nobody listens there any more."""
        self._server.should_exit = True
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """It is not there meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def do(self, work: Callable[[Pairlock], Awaitable[T]]) -> T:
        """Do this with the service, in its loop."""

        async def whole() -> T:
            return await work(self.pairlock)

        return asyncio.run_coroutine_threadsafe(whole(), self._loop).result(DEADLINE)

    def pin(self) -> str:
        """The PIN that is on display."""
        return self.do(_prompt).pin or ""

    def approve(self, user_code: str | None = None) -> None:
        """Approve the one request that waits, or that of this device code."""
        waiting = self._waiting() if user_code is None else self._looked_up(user_code)
        self.do(lambda pairlock: pairlock.deciding.approve(waiting, by=ANN))

    def deny(self, reason: str) -> None:
        """Deny the one request that waits."""
        waiting = self._waiting()
        self.do(lambda pairlock: pairlock.deciding.deny(waiting, reason=reason, by=ANN))

    def code(self) -> str:
        """A one-time code."""
        return self.do(lambda pairlock: pairlock.code(EVERYTHING))

    def devices(self) -> list[str]:
        """The names of those that are paired."""
        return [device.name for device in self.do(lambda pairlock: pairlock.devices.list())]

    def events(self) -> list[EventType]:
        """What has happened, the oldest first."""
        found = self.do(lambda pairlock: pairlock.audit.list(limit=200))
        return [event.type for event in reversed(found)]

    def count(self, method: str, path: str) -> int:
        """How often this was called."""
        return sum((seen.method, seen.path) == (method, path) for seen in self.seen)

    @contextlib.contextmanager
    def holding(self, path: str) -> Iterator[None]:
        """What is asked there is done, and the answers are held back meanwhile."""
        self._gates[path] = gate = threading.Event()
        try:
            yield
        finally:
            del self._gates[path]
            gate.set()

    def lose(self, path: str, times: int = 1) -> None:
        """Lose the next answers there: what is asked is done, and nobody hears of it."""
        self._lost += [path] * times

    def _waiting(self) -> str:
        (request,) = self.do(lambda pairlock: pairlock.deciding.pending())
        return request.id

    def _looked_up(self, user_code: str) -> str:
        return self.do(lambda pairlock: pairlock.deciding.look_up(user_code, by=ANN)).id

    def _serve(self) -> None:
        async def whole() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve()
            await asyncio.sleep(0.1 if self.tls else 0)  # TLS says good-bye

        asyncio.run(whole())

    def _listening(self, app: ASGIApp) -> ASGIApp:
        async def listening(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] in ("http", "websocket"):
                headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
                method = scope.get("method", "WEBSOCKET")
                self.seen.append(Seen(method, scope["path"], headers.get("authorization", "")))
            await self._answered(self.instead.get(scope["path"], app), scope, receive, send)

        return listening

    async def _answered(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        path, messages = scope["path"], []
        gate = self._gates.get(path)
        if gate is None and path not in self._lost:
            return await app(scope, receive, send)

        async def keep(message: Message) -> None:
            messages.append(message)

        await app(scope, receive, keep)
        if gate is None:
            self._lost.remove(path)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            return None  # before it has said all that
        self.held_back.append(path)
        await asyncio.to_thread(gate.wait, DEADLINE)
        for message in messages:
            await send(message)
        return None


async def _prompt(pairlock: Pairlock) -> Prompt:
    return await anext(pairlock.requests())


Respond = Callable[[Seen], tuple[int, dict[str, str], bytes]]


class Stranger:
    """Another server; it answers what it is told to, and remembers all that it was sent."""

    def __init__(self, respond: Respond, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(respond, self.seen))
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets_seen(self) -> list[Seen]:
        """Whatever of it may have held a token."""
        found = [
            seen for seen in self.seen if "pl" in seen.authorization or b"plr_" in seen.body or b"plk_" in seen.body
        ]
        return found + [seen for seen in self.seen if "plr_" in seen.path or "plk_" in seen.path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(DEADLINE)


def _handler(respond: Respond, seen: list[Seen]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            seen.append(Seen(self.command, self.path, self.headers.get("authorization", ""), body))
            status, headers, content = respond(seen[-1])
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), "connection": "close", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names of the library

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    return Handler


def eventually(condition: Callable[[], object], within: float = DEADLINE) -> None:
    """Wait until this is so."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)
