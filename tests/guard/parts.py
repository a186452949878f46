"""What the tests of the guard are made of: a paired device, an app that remembers, a server on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairlock import Grant, Pairlock, Permissions
from pairlock._core.standings import Standing

EVERYTHING = {"read": ["/**"], "write": ["/**"]}


class Phone(NamedTuple):
    """A device that has paired."""

    id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def raw(self) -> tuple[bytes, bytes]:
        return b"authorization", f"Bearer {self.token}".encode()


async def pair(pairlock: Pairlock, *, read: Iterable[str] = (), write: Iterable[str] = ()) -> Phone:
    """A device with these permissions, and its token."""
    wanted = Permissions.parse({"read": list(read), "write": list(write)})
    started = await pairlock.pairing.start("Phone", permissions=wanted)
    await pairlock.deciding.approve(started.request.id)
    redeemed = await pairlock.pairing.redeem(started.request.id, started.secret)
    return Phone(redeemed.device.id, pairlock.tokens.access(redeemed.device)[0])


def standing(pairlock: Pairlock, phone: Phone) -> Standing:
    """How a device stands in this process."""
    return pairlock._runtime.standings.of(phone.id)


class Recorder:
    """An app that answers 200 to everything, and remembers by what it was reached."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"reached"})

    @property
    def user(self) -> Any:
        """Who reached it last."""
        return self.scopes[-1]["user"]


class Answer(NamedTuple):
    """What came back, as the server would send it."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def scope_of(method: str = "GET", path: str = "/", *headers: tuple[bytes, bytes], **more: Any) -> Scope:
    """What a server says of a request, and `more`; what is `...` it leaves out."""
    said = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(errors="replace"),
        "root_path": "",
        "query_string": b"",
        "headers": list(headers),
        **more,
    }
    return {name: value for name, value in said.items() if value is not ...}


async def ask(app: ASGIApp, scope: Scope) -> Answer:
    """Call an app with exactly this scope, which no client has touched."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    return Answer(start["status"], dict(start["headers"]), b"".join(body["body"] for body in bodies))


def client(app: ASGIApp) -> httpx.AsyncClient:
    """A client of an app in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service")


@asynccontextmanager
async def served(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """A real server in this process; its port on 127.0.0.1."""
    config = uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1, **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await (
        server.startup()
    )  # without the loop of `serve`, which takes over signals and looks for its end ten times a second
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


async def eventually(happened: Callable[[], object], within: float = 2.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(within):
        while not happened():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.002)


def grant_of(scope: Scope) -> Grant:
    """The grant that the guard left for the app."""
    grant = scope["state"]["grant"]
    assert isinstance(grant, Grant)
    return grant
