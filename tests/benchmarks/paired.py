"""A paired device, requests as a server hands them over, and the apps that are guarded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairlock import Limits, Pairlock
from tests.benchmarks.measure import Run, awaits

SECRET = "a secret of the benchmarks, of no use elsewhere"
PERMISSIONS = {"read": ["/sensors/**", "/live"], "write": ["/control/lamp"]}
ALLOWED, FORBIDDEN = "/sensors/temperature", "/control/door"

MORE_HEADERS = [
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-GB,en;q=0.9"),
    (b"cache-control", b"no-cache"),
    (b"cookie", b"theme=dark; seen=1"),
    (b"dnt", b"1"),
    (b"referer", b"https://home.example/"),
    (b"sec-fetch-dest", b"empty"),
    (b"sec-fetch-mode", b"cors"),
    (b"sec-fetch-site", b"same-origin"),
    (b"x-request-id", b"0f8fad5b-d9cb-469f-a165-70867728950e"),
]

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY: Message = {"type": "http.response.body", "body": b"ok"}


@asynccontextmanager
async def pairing(store: str = "memory://", permissions: dict[str, list[str]] = PERMISSIONS) -> AsyncIterator[Pairlock]:
    """A running Pairlock."""
    pairlock = Pairlock(
        store=store,
        secret_keys=[SECRET],
        default_permissions=permissions,
        limits=Limits(wrong_pins_a_day=100_000),  # more than a service would take, and a benchmark needs
        operator=lambda connection: None,
    )
    async with pairlock.lifespan():
        yield pairlock


async def pair(pairlock: Pairlock, name: str = "Living room phone") -> str:
    """The token of a device that has paired by its PIN."""
    started = await pairlock.pairing.start(name)
    pin = pairlock.deciding.pin(started.request)
    redeemed = await pairlock.pairing.submit_pin(started.request.id, started.secret, pin or "")
    return pairlock.tokens.access(redeemed.device)[0]


def a_scope(token: str, path: str = ALLOWED, *, headers: int = 4) -> Scope:
    """What uvicorn hands over for a GET with 4 or up to 14 headers."""
    few = [(b"host", b"home.example"), (b"accept", b"*/*"), (b"user-agent", b"pairlock-benchmark/1")]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*few, *MORE_HEADERS[: headers - 4], (b"authorization", b"Bearer " + token.encode())],
    }


def requests(app: ASGIApp, scope: Scope) -> Run:
    """A contender that handles a request, each time with a scope of its own."""
    return awaits(_request, app, scope)


async def _request(app: ASGIApp, scope: Scope) -> None:
    await app({**scope, "state": {}}, receive, discard)


async def receive() -> Message:
    """A request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def discard(message: Message) -> None:
    """A server that sends nothing."""


async def plain_app(scope: Scope, receive: Receive, send: Send) -> None:
    """The least an ASGI app does."""
    await send(START)
    await send(BODY)


class NoOp:
    """The least a middleware does: the floor."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def status_of(app: ASGIApp, scope: Scope) -> int:
    """The status of the answer: a benchmark that measures the wrong path is worth nothing."""
    statuses: list[Any] = []

    async def keep(message: Message) -> None:
        statuses.append(message.get("status"))

    await app({**scope, "state": {}}, receive, keep)
    return int(statuses[0])
