"""`protect`, and the same put together by hand: sub-app, guard and lifespan around an app."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairlock import ConfigurationError, Pairlock, PairlockError, StoreError
from tests.app.parts import AS_OPERATOR, bearer, client_of, pair, start
from tests.services.parts import FailingStore, Make, away, wrong

pytestmark = pytest.mark.anyio


async def sensor(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "device": request.user.display_name})


async def unguarded(request: Request) -> Response:
    return PlainTextResponse("this must never be seen")


def inner(**settings: Any) -> Starlette:
    routes = [
        Route("/sensors/{name}", sensor),
        Route("/control/lamp", sensor, methods=["PUT"]),
        Route("/hello", sensor),
        Route("/pair", unguarded),
        Route("/pair/requests", unguarded, methods=["GET", "POST"]),
    ]
    return Starlette(routes=routes, **settings)


@asynccontextmanager
async def below(app: ASGIApp, at: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the pairing sub-app that is mounted there."""
    async with client_of(app) as client:
        client.base_url = client.base_url.join(at)
        yield client


async def test_the_whole_flow_through_protect(make: Make) -> None:
    pairlock = make()
    app = pairlock.protect(inner())
    async with client_of(app) as client, below(app, "/pair") as pairing:
        assert (await client.get("/sensors/a")).status_code == 401
        paired = await pair(pairing, pairlock)
        holder = bearer(paired["access_token"])
        answer = await client.get("/sensors/a", headers=holder)
        assert (answer.status_code, answer.json()) == (200, {"path": "/sensors/a", "device": "Phone"})
        assert (await client.put("/control/lamp", headers=holder)).status_code == 200
        assert (await client.get("/hello", headers=holder)).status_code == 403
        assert (await pairing.delete("/whoami", headers=holder)).status_code == 204
        assert (await client.get("/sensors/a", headers=holder)).status_code == 401


@pytest.mark.parametrize("at", ["/pair", "/p", "/api/v1/pairing", "/sensors"])
async def test_the_sub_app_may_be_anywhere(make: Make, at: str) -> None:
    pairlock = make()
    app = pairlock.protect(inner(), at=at)
    async with below(app, at) as pairing:
        await pair(pairing, pairlock)
        assert (await pairing.get("/devices", headers=AS_OPERATOR)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/pair", 404, "not_found"),  # the sub-app has no page there
        ("/pair/", 404, "not_found"),
        ("/pair/nothing", 404, "not_found"),
        ("/pairs", 401, "missing_token"),  # guarded: not below the mount point
        ("/pair.html", 401, "missing_token"),
        ("/Pair/requests", 401, "missing_token"),
        ("/x/pair/requests", 401, "missing_token"),
        ("//pair/requests", 401, "missing_token"),
        ("/x/../pair/requests", 401, "missing_token"),
        ("/", 401, "missing_token"),
    ],
)
async def test_what_is_below_the_mount_point_is_the_sub_app_s_and_the_rest_is_guarded(
    make: Make, path: str, status: int, error: str
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    await make().protect(inner())({**scope, "raw_path": path.encode()}, receive, send)
    assert sent[0]["status"] == status
    assert error.encode() in sent[1]["body"]


async def test_below_a_root_path_both_are_found(make: Make) -> None:
    pairlock = make()
    app = pairlock.protect(inner())

    async def behind_a_proxy(scope: Scope, receive: Receive, send: Send) -> None:  # as a server with a root path
        await app({**scope, "root_path": "/home"}, receive, send)

    async with client_of(behind_a_proxy) as client, below(behind_a_proxy, "/home/pair") as pairing:
        paired = await pair(pairing, pairlock)
        answer = await client.get("/home/sensors/a", headers=bearer(paired["access_token"]))
        assert answer.json()["device"] == "Phone"
        assert (await client.get("/pair/requests")).status_code == 401  # not below the root path: guarded


async def test_a_protected_app_may_stand_in_a_mount(make: Make) -> None:
    pairlock = make()
    app = Starlette(routes=[Mount("/home", pairlock.protect(inner()))])
    async with client_of(app) as client, below(app, "/home/pair") as pairing:
        paired = await pair(pairing, pairlock)  # without a lifespan: it starts by itself
        answer = await client.get("/home/sensors/a", headers=bearer(paired["access_token"]))
        assert answer.json() == {"path": "/home/sensors/a", "device": "Phone"}
        assert (await client.get("/home/sensors/a")).status_code == 401


@pytest.mark.parametrize("path", ["/pair/requests", "/sensors/a"])
async def test_a_websocket_to_the_sub_app_or_without_a_token_is_refused(make: Make, path: str) -> None:
    app = make().protect(inner())
    refusals = {"plain": await handshake(app, path, {}), "http": await handshake(app, path, {RESPONSE: {}})}
    assert refusals["plain"][0]["type"] == "websocket.close"
    assert refusals["http"][0]["type"] in ("websocket.close", "websocket.http.response.start")


async def test_a_websocket_is_refused_with_an_answer_where_the_server_can_send_one(make: Make) -> None:
    start, body = await handshake(make().protect(inner()), "/sensors/a", {RESPONSE: {}})
    assert (start["status"], body["type"]) == (401, f"{RESPONSE}.body")
    assert dict(start["headers"])[b"cache-control"] == b"no-store"
    (close,) = await handshake(make().protect(inner()), "/sensors/a", {})
    assert (close["code"], close["reason"]) == (1008, "missing_token")


RESPONSE = "websocket.http.response"


async def handshake(app: ASGIApp, path: str, extensions: dict[str, Any]) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
    await app({**scope, "subprotocols": [], "extensions": extensions}, receive, send)
    return sent


async def test_public_addresses_need_no_token(make: Make) -> None:
    async with client_of(make().protect(hello, public=["/hello"])) as client:
        assert (await client.get("/hello")).text == "hello"
        assert (await client.get("/other")).status_code == 401


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An app that knows no lifespan."""
    assert scope["type"] == "http"
    await PlainTextResponse("hello")(scope, receive, send)


# By hand


def mounted(pairlock: Pairlock, **settings: Any) -> Starlette:
    app = Starlette(
        routes=[
            Mount("/pair", pairlock.app),
            Route("/sensors/{name}", sensor),
            Route("/control/lamp", sensor, methods=["PUT"]),
        ],
        **settings,
    )
    app.add_middleware(pairlock.guard, public=["/pair/**"])
    return app


async def test_the_whole_flow_through_mount_and_middleware(make: Make) -> None:
    pairlock = make()
    app = mounted(pairlock, lifespan=pairlock.lifespan)
    async with client_of(app) as client, below(app, "/pair") as pairing:
        assert (await client.get("/sensors/a")).status_code == 401
        started = await start(pairing)
        holder = bearer(started["secret"])
        pin = pairlock.deciding.pin(await pairlock.deciding.show(started["id"]))
        path = f"/requests/{started['id']}/pin"
        answer = await pairing.post(path, json={"pin": wrong(pin)}, headers=holder)
        assert (answer.status_code, answer.json()["attempts_left"]) == (400, 4)
        paired = (await pairing.post(path, json={"pin": pin}, headers=holder)).json()
        token = bearer(paired["access_token"])
        assert (await client.get("/sensors/a", headers=token)).json()["device"] == "Phone"
        assert (await client.put("/control/lamp", headers=token)).status_code == 200
        assert (await pairing.get("/devices", headers=AS_OPERATOR)).status_code == 200
        assert (await pairing.get("/devices", headers=token)).status_code == 403
        assert (await pairing.get("/whoami", headers=token)).status_code == 200
        assert (await pairing.delete("/whoami", headers=token)).status_code == 204
        assert (await client.get("/sensors/a", headers=token)).status_code == 401


async def test_the_answer_to_un_pairing_oneself_arrives_through_the_guard_too(make: Make) -> None:
    pairlock = make(default_permissions={"read": ["/**"], "write": ["/**"]})  # then the call itself is of the device
    async with below(mounted(pairlock), "/pair") as pairing:
        paired = await pair(pairing, pairlock)
        assert (await pairing.delete("/whoami", headers=bearer(paired["access_token"]))).status_code == 204
        assert (await pairing.get("/whoami", headers=bearer(paired["access_token"]))).status_code == 401


# Lifespan


class Server:
    """Runs the lifespan of an app as a server does; `sent` is what the app says."""

    def __init__(self, app: ASGIApp, store: FailingStore) -> None:
        self.app = app
        self.store = store
        self.open_when_said: dict[str, bool] = {}
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, self.incoming.get, self._send)

    async def _send(self, message: Message) -> None:
        self.open_when_said[message["type"]] = await is_open(self.store)
        await self.sent.put(message)

    async def say(self, phase: str) -> Message:
        await self.incoming.put({"type": f"lifespan.{phase}"})
        return await asyncio.wait_for(self.sent.get(), 5)


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


async def is_open(store: FailingStore) -> bool:
    try:
        await store.store.list_devices()
    except PairlockError:
        return False
    return True


async def test_it_starts_before_the_app_and_closes_after_it(make: Make, store: FailingStore) -> None:
    seen = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append(("app starts", await is_open(store)))
        yield
        seen.append(("app stops", await is_open(store)))

    pairlock = make(store=store)
    server = Server(pairlock.protect(inner(lifespan=lifespan)), store)
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert await is_open(store)
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    await server.task
    assert server.open_when_said == {"lifespan.startup.complete": True, "lifespan.shutdown.complete": False}
    assert seen == [("app starts", True), ("app stops", True)]


async def test_it_closes_also_when_the_app_fails_to_stop(make: Make, store: FailingStore) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        raise RuntimeError("cannot stop")

    server = Server(make(store=store).protect(inner(lifespan=lifespan)), store)
    await server.say("startup")
    assert (await server.say("shutdown"))["type"] == "lifespan.shutdown.failed"
    assert server.open_when_said["lifespan.shutdown.failed"] is False
    with pytest.raises(RuntimeError):
        await server.task


async def test_it_closes_when_the_app_fails_to_start(make: Make, store: FailingStore) -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if store.calls["open"]:
            raise RuntimeError("cannot start")
        yield

    server = Server(make(store=store).protect(inner(lifespan=lifespan)), store)
    assert (await server.say("startup"))["type"] == "lifespan.startup.failed"
    with pytest.raises(RuntimeError):
        await server.task
    assert not await is_open(store)


@pytest.mark.parametrize("error", [StoreError("the folder does not exist"), away()])
async def test_a_start_that_fails_stops_the_server_with_its_reason(
    make: Make, store: FailingStore, error: Exception
) -> None:
    started = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        started.append(app)
        yield

    store.errors = {"open": error}
    server = Server(make(store=store).protect(inner(lifespan=lifespan)), store)
    assert await server.say("startup") == {"type": "lifespan.startup.failed", "message": str(error)}
    await server.task
    assert not started


async def test_an_app_without_a_lifespan_is_served_all_the_same(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    app = pairlock.protect(hello, public=["/hello"])
    server = Server(app, store)
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert await is_open(store)
    async with client_of(app) as client, below(app, "/pair") as pairing:
        paired = await pair(pairing, pairlock)
        assert (await client.get("/hello", headers=bearer(paired["access_token"]))).text == "hello"
        assert (await client.get("/other", headers=bearer(paired["access_token"]))).status_code == 403
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert not await is_open(store)


async def test_an_app_that_fails_in_its_lifespan_fails_as_without_us(make: Make, store: FailingStore) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise LookupError("its start fails")

    server = Server(make(store=store).protect(failing), store)
    await server.incoming.put({"type": "lifespan.startup"})
    with pytest.raises(LookupError):
        await server.task
    assert not await is_open(store)


async def test_the_sub_app_alone_has_a_lifespan_too(make: Make, store: FailingStore) -> None:
    server = Server(make(store=store).app, store)
    assert await server.say("startup") == {"type": "lifespan.startup.complete"}
    assert await is_open(store)
    assert await server.say("shutdown") == {"type": "lifespan.shutdown.complete"}
    assert not await is_open(store)


async def test_a_host_may_pass_its_lifespan_on(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    server = Server(mounted(pairlock, lifespan=pairlock.lifespan), store)
    await server.say("startup")
    assert await is_open(store)
    await server.say("shutdown")
    assert not await is_open(store)


async def test_what_is_neither_http_nor_websocket_nor_lifespan_reaches_nobody(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="not 'other'"):
        await make().guard(nothing_is_asked)({"type": "other"}, nothing_comes, nothing_goes)


async def nothing_is_asked(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError


async def nothing_comes() -> Message:
    raise AssertionError


async def nothing_goes(message: Message) -> None:
    raise AssertionError
