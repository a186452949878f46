"""The guard among other middleware, below mounts, and with Starlette's own authorization."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from pairlock import Pairlock, Permissions
from tests.guard.parts import client, pair

pytestmark = pytest.mark.anyio

ORIGIN = "https://panel.example"
CORS: Any = Middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_headers=["Authorization"], allow_methods=["PUT"])
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization",
}


async def who(request: Request) -> Response:
    grant = getattr(request.state, "grant", None)
    return JSONResponse(
        {
            "user": request.user.identity,
            "known": request.user.is_authenticated,
            "name": request.user.display_name,
            "scopes": list(request.auth.scopes),
            "grant": grant and grant.device_id,
        }
    )


async def long(request: Request) -> Response:
    return PlainTextResponse("long " * 1000)


async def streamed(request: Request) -> Response:
    async def lines() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"

    return StreamingResponse(lines())


async def visits(request: Request) -> Response:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session)


@requires("paired")
async def for_the_paired(request: Request) -> Response:
    return PlainTextResponse("paired")


@requires("read:/sensors/**")
async def for_readers_of_sensors(request: Request) -> Response:
    return PlainTextResponse("reader")


ROUTES = [
    Route("/who", who, methods=["GET", "PUT"]),
    Route("/long", long),
    Route("/streamed", streamed),
    Route("/visits", visits),
    Route("/paired", for_the_paired),
    Route("/readers", for_readers_of_sensors),
]


def starlette(*middleware: Any) -> Starlette:
    return Starlette(routes=ROUTES, middleware=list(middleware))


# CORS


async def test_cors_outside_the_guard_answers_preflights_without_a_token(pairlock: Pairlock) -> None:
    async with client(starlette(CORS, Middleware(pairlock.guard))) as http:
        answer = await http.options("/who", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_cors_outside_the_guard_lets_a_page_read_every_refusal(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"])
    async with client(starlette(CORS, Middleware(pairlock.guard))) as http:
        asked = [
            await http.get("/who", headers={"Origin": ORIGIN}),
            await http.get("/who", headers={"Origin": ORIGIN, "Authorization": "Bearer"}),
            await http.put("/who", headers={"Origin": ORIGIN, **phone.headers}),
            await http.put("/who", headers={"Origin": ORIGIN, **phone.headers}),
            await http.get("/who", headers={"Origin": ORIGIN, **phone.headers}),
        ]
    assert [answer.status_code for answer in asked] == [401, 400, 403, 403, 200]
    assert {answer.headers["access-control-allow-origin"] for answer in asked} == {ORIGIN}


async def test_a_refusal_keeps_no_header_of_an_earlier_one(pairlock: Pairlock) -> None:
    async with client(starlette(CORS, Middleware(pairlock.guard))) as http:
        assert "access-control-allow-origin" in (await http.get("/who", headers={"Origin": ORIGIN})).headers
        assert "access-control-allow-origin" not in (await http.get("/who")).headers


async def test_inside_the_guard_a_preflight_needs_a_token_like_everything_else(pairlock: Pairlock) -> None:
    async with client(starlette(Middleware(pairlock.guard), CORS)) as http:
        assert (await http.options("/who", headers=PREFLIGHT)).status_code == 401


# Other middleware, outside and inside


class Stamped(BaseHTTPMiddleware):
    """Starlette's base for middleware that is written as a function."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers["x-stamp"] = "yes"
        return answer


OTHERS: dict[str, Any] = {
    "gzip": Middleware(GZipMiddleware),
    "session": Middleware(SessionMiddleware, secret_key="secret of the session"),
    "base": Middleware(Stamped),
    "cors": CORS,
}


@pytest.mark.parametrize("place", ["outside", "inside", "both"])
@pytest.mark.parametrize("other", OTHERS)
async def test_beside_other_middleware_the_guard_admits_and_refuses_as_alone(
    pairlock: Pairlock, other: str, place: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    outside = [OTHERS[other]] if place != "inside" else []
    inside = [OTHERS[other]] if place != "outside" else []
    app = starlette(*outside, Middleware(pairlock.guard), *inside)
    async with client(app) as http:
        for _ in range(2):
            assert (await http.get("/who", headers=phone.headers)).json()["grant"] == phone.id
            assert (await http.get("/long", headers=phone.headers)).text == "long " * 1000
            assert (await http.get("/streamed", headers=phone.headers)).text == "0\n1\n2\n"
            assert (await http.put("/who", headers=phone.headers)).status_code == 403
            assert (await http.get("/who")).status_code == 401
        await pairlock.devices.revoke(phone.id)
        refused = await http.get("/who", headers=phone.headers)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


async def test_gzip_outside_the_guard_compresses_what_it_lets_through(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/**"])
    async with client(starlette(OTHERS["gzip"], Middleware(pairlock.guard))) as http:
        answer = await http.get("/long", headers=phone.headers)
    assert answer.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("place", ["outside", "inside"])
async def test_a_session_is_kept_beside_the_guard(pairlock: Pairlock, place: str) -> None:
    phone, guard = await pair(pairlock, read=["/**"]), Middleware(pairlock.guard)
    order = [OTHERS["session"], guard] if place == "outside" else [guard, OTHERS["session"]]
    async with client(starlette(*order)) as http:
        for count in (1, 2):
            assert (await http.get("/visits", headers=phone.headers)).json() == {"visits": count}
        assert (await http.get("/visits")).status_code == 401


# Mounts, and several guards


async def test_a_mounted_guard_judges_the_path_below_its_mount(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"])
    app = Starlette(routes=[Mount("/house", app=starlette(Middleware(pairlock.guard))), *ROUTES[2:3]])
    async with client(app) as http:
        for _ in range(2):
            assert (await http.get("/house/who", headers=phone.headers)).status_code == 200
            assert (await http.get("/house/long", headers=phone.headers)).status_code == 403
        assert (await http.get("/house/who")).status_code == 401
        assert (await http.get("/streamed")).status_code == 200


async def test_a_guard_outside_judges_the_whole_path_of_a_mount(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/house/who"])
    app = Starlette(routes=[Mount("/house", routes=ROUTES)], middleware=[Middleware(pairlock.guard)])
    async with client(app) as http:
        for _ in range(2):
            assert (await http.get("/house/who", headers=phone.headers)).json()["grant"] == phone.id
            assert (await http.get("/house/long", headers=phone.headers)).status_code == 403


async def test_one_guard_mounted_twice_judges_each_path_below_its_own_mount(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"])
    guard = pairlock.guard(starlette())
    app = Starlette(routes=[Mount("/a", app=guard), Mount("/a/b", app=guard), Mount("/c", app=guard)])
    async with client(app) as http:
        for _ in range(2):
            assert (await http.get("/a/who", headers=phone.headers)).status_code == 200
            assert (await http.get("/c/who", headers=phone.headers)).status_code == 200
            assert (await http.get("/a/b/who", headers=phone.headers)).status_code == 403  # below /a it is /b/who


async def test_two_guards_of_one_pairlock_each_have_their_own_public_addresses(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"])
    one, two = pairlock.guard(starlette(), public=["/long"]), pairlock.guard(starlette(), public=["/streamed"])
    async with client(one) as first, client(two) as second:
        assert [(await http.get("/long")).status_code for http in (first, second)] == [200, 401]
        assert [(await http.get("/streamed")).status_code for http in (first, second)] == [401, 200]
        assert [(await http.get("/who", headers=phone.headers)).status_code for http in (first, second)] == [200, 200]
        await pairlock.devices.revoke(phone.id)
        assert [(await http.get("/who", headers=phone.headers)).status_code for http in (first, second)] == [401, 401]


async def test_a_guard_within_a_guard_admits_what_both_admit(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who", "/long"])
    inner = pairlock.guard(starlette(), address=lambda scope: "/who" if scope["path"] == "/who" else "/nothing")
    async with client(pairlock.guard(inner, public=["/streamed"])) as http:
        for _ in range(2):
            assert (await http.get("/who", headers=phone.headers)).json()["grant"] == phone.id
            assert (await http.get("/long", headers=phone.headers)).status_code == 403
            assert (await http.get("/streamed", headers=phone.headers)).status_code == 403


async def test_protect_guards_everything_but_the_pairing_below_its_place(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"])
    async with client(pairlock.protect(starlette(), at="/join")) as http:
        assert (await http.get("/who", headers=phone.headers)).status_code == 200
        assert (await http.get("/who")).status_code == 401
        assert (await http.get("/join/whoami", headers=phone.headers)).json()["device"]["id"] == phone.id
        assert (await http.get("/joint", headers=phone.headers)).status_code == 403


# Starlette's own authorization


async def test_a_request_has_its_device_as_user_auth_and_grant(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/who"], write=["/control/lamp"])
    async with client(starlette(Middleware(pairlock.guard))) as http:
        said = (await http.get("/who", headers=phone.headers)).json()
    assert said == {
        "user": phone.id,
        "known": True,
        "name": "Phone",
        "scopes": ["paired", "read:/who", "write:/control/lamp"],
        "grant": phone.id,
    }


async def test_a_request_at_a_public_address_has_nobody_as_user(pairlock: Pairlock) -> None:
    async with client(starlette(Middleware(pairlock.guard, public=["/who"]))) as http:
        said = (await http.get("/who")).json()
    assert said == {"user": "", "known": False, "name": "", "scopes": [], "grant": None}


async def test_requires_paired_refuses_the_anonymous_at_a_public_address(pairlock: Pairlock) -> None:
    phone = await pair(pairlock, read=["/paired"])
    async with client(starlette(Middleware(pairlock.guard, public=["/paired"]))) as http:
        assert (await http.get("/paired")).status_code == 403
        assert (await http.get("/paired", headers={"Authorization": "Bearer plk_forged"})).status_code == 403
        assert (await http.get("/paired", headers=phone.headers)).text == "paired"


async def test_requires_names_a_permission_as_it_stands_on_the_wire(pairlock: Pairlock) -> None:
    reader, other = await pair(pairlock, read=["/sensors/**", "/readers"]), await pair(pairlock, read=["/readers"])
    async with client(starlette(Middleware(pairlock.guard))) as http:
        assert (await http.get("/readers", headers=reader.headers)).text == "reader"
        assert (await http.get("/readers", headers=other.headers)).status_code == 403
        await pairlock.devices.narrow(reader.id, Permissions(read=("/readers",)))
        assert (await http.get("/readers", headers=reader.headers)).status_code == 403
