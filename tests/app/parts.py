"""What the tests of the sub-app share: callers, and ways to send what httpx would not."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Scope

from pairlock import Operator, Pairlock
from tests.services.parts import KEY, SENSORS

OPERATOR_TOKEN = "the-operator-token-of-these-tests"
AS_OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
ALICE = Operator("alice")
UNKNOWN_ID = "0" * 26
APP = Pairlock(store="memory://", secret_keys=[KEY], default_permissions=SENSORS).app  # to be looked at, not called


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def client_of(app: ASGIApp, **transport: Any) -> httpx.AsyncClient:
    """A caller that gets what a server would send: exceptions of the app stay on its side."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app, raise_app_exceptions=False, **transport), base_url="http://pair.test"
    )


def calls_of(app: Starlette) -> Iterator[tuple[str, str]]:
    """Every call that the app takes, as (method, path)."""
    for route in app.routes:
        assert isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, route.path


SHARED_CALLS = [
    ("POST", "/token"),
    ("OPTIONS", "/token"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("OPTIONS", "/.well-known/oauth-authorization-server"),
]
OTHERS_CALLS = {
    *SHARED_CALLS,
    ("POST", "/requests"),
    ("GET", "/requests/{id}"),
    ("DELETE", "/requests/{id}"),
    ("POST", "/requests/{id}/pin"),
    ("POST", "/requests/{id}/token"),
    ("GET", "/identity"),
    ("GET", "/whoami"),
    ("GET", "/health"),
    ("DELETE", "/whoami"),
    ("POST", "/redeem"),
    ("POST", "/device_authorization"),
    ("POST", "/revoke"),
    ("POST", "/introspect"),
}
OPERATOR_CALLS = sorted(set(calls_of(APP)) - OTHERS_CALLS)  # a new call is an operator's until it is listed above


async def start(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A request to pair."""
    answer = await client.post("/requests", json={"name": "Phone", **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def pair(client: httpx.AsyncClient, pairlock: Pairlock, **body: Any) -> dict[str, Any]:
    """The token answer of a device that paired by PIN."""
    started = await start(client, **body)
    request = await pairlock.deciding.show(started["id"])
    answer = await client.post(
        f"/requests/{started['id']}/pin",
        json={"pin": pairlock.deciding.pin(request)},
        headers=bearer(started["secret"]),
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def send_raw(
    app: ASGIApp, *, method: str, path: str, headers: Iterable[tuple[bytes, bytes]] = (), body: Iterable[Message] = ()
) -> list[Message]:
    """What an app sends when these messages arrive, one after another."""
    incoming: Iterator[Message] = chain(body, [{"type": "http.disconnect"}])
    sent: list[Message] = []

    async def receive() -> Message:
        return next(incoming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return sent
