"""How generic clients find the pairing service: from a refusal of the guard to the endpoints, document by document."""

from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from pairlock import Pairlock
from tests.app.parts import client_of, pair
from tests.app.test_callers import MALFORMED, PROXY, at_root_path, calling
from tests.guard.parts import Recorder, ask, scope_of
from tests.rfc.challenges import parse
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"
ISSUER = "https://house.example/home/pair"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """What is guarded."""
    await JSONResponse({"hello": scope["path"]})(scope, receive, send)


def described(issuer: str) -> dict[str, Any]:
    """What the service says of itself (RFC 8414 §2)."""
    ways = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "response_types_supported": [],
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", *ways],
        "revocation_endpoint_auth_methods_supported": ["none", *ways],
        "introspection_endpoint_auth_methods_supported": ways,
        "code_challenge_methods_supported": ["S256"],
    }


def guarded_by(resource: str, issuer: str) -> dict[str, Any]:
    """What is said of something guarded (RFC 9728 §2)."""
    return {
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "pairlock",
    }


def by_hand(pairlock: Pairlock, at: str = "/pair") -> Starlette:
    """A host with the sub-app, the documents and the guard in its own hands."""
    host = Starlette(routes=[*pairlock.well_known_routes(at), Mount(at, pairlock.app), Mount("/", hello)])
    host.add_middleware(pairlock.guard, public=[f"{at}/**", "/.well-known/**"])
    return host


def in_a_mount(pairlock: Pairlock) -> Starlette:
    """A protected app below a path of a host that serves the documents at its root."""
    protected = pairlock.protect(hello)
    return Starlette(routes=[*pairlock.well_known_routes("/home/pair"), Mount("/home", protected)])


# The documents


@pytest.mark.parametrize("at", ["/pair", "/api/v1/pairing"])
@pytest.mark.parametrize("set_up", [by_hand, Pairlock.protect])
async def test_the_documents_stand_at_the_root_and_need_no_token(pairlock: Pairlock, set_up: Any, at: str) -> None:
    app = by_hand(pairlock, at) if set_up is by_hand else pairlock.protect(hello, at=at)
    issuer = f"http://pair.test{at}"
    async with client_of(app) as client:
        for path, document in (
            (SERVER + at, described(issuer)),
            (at + SERVER, described(issuer)),  # for clients that append, as OpenID Connect has it
            (RESOURCE, guarded_by("http://pair.test", issuer)),
            (f"{RESOURCE}/sensors/a", guarded_by("http://pair.test/sensors/a", issuer)),
        ):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (200, document)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert (await client.head(path)).headers == answer.headers


@pytest.mark.parametrize("set_up", [by_hand, Pairlock.protect])
async def test_a_page_of_any_site_may_read_the_documents(pairlock: Pairlock, set_up: Any) -> None:
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    async with client_of(set_up(pairlock, hello) if set_up is not by_hand else by_hand(pairlock)) as client:
        client.headers.update(page)
        for path in (f"{SERVER}/pair", RESOURCE, f"{RESOURCE}/sensors/a", f"/pair{SERVER}"):
            assert (await client.get(path)).headers["access-control-allow-origin"] == "*"
            asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-version"}
            answer = await client.options(path, headers=asked)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PROPFIND"])
async def test_the_documents_are_only_read(pairlock: Pairlock, method: str) -> None:
    async with client_of(pairlock.protect(hello)) as client:
        for path in (f"{SERVER}/pair", RESOURCE, f"{RESOURCE}/sensors/a", f"/pair{SERVER}"):
            answer = await client.request(method, path)
            assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        SERVER,
        f"{SERVER}/",
        f"{SERVER}/pairs",
        f"{SERVER}/pair/",
        f"{SERVER}/pair/x",
        f"{SERVER}/other",
        f"{RESOURCE}s",
        f"{RESOURCE}.json",
        "/.well-known/openid-configuration",
        "/.well-known/",
        f"/x{RESOURCE}",
    ],
)
async def test_what_only_looks_like_a_document_is_guarded_as_everything_else(pairlock: Pairlock, path: str) -> None:
    async with client_of(pairlock.protect(hello)) as client:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (401, "missing_token")


async def test_a_host_has_no_document_of_another_issuer(pairlock: Pairlock) -> None:
    host = Starlette(routes=[*pairlock.well_known_routes(), Mount("/pair", pairlock.app)])
    async with client_of(host) as client:
        for path in (SERVER, f"{SERVER}/other", f"{SERVER}/other/pair", f"{SERVER}/pair/other", f"{SERVER}/pairs"):
            assert (await client.get(path)).status_code == 404


async def test_a_websocket_finds_no_document(pairlock: Pairlock) -> None:
    app, sent = pairlock.protect(Recorder()), []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await app({**scope_of("GET", RESOURCE), "type": "websocket", "subprotocols": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("path", ["/a%20b", "/caf%C3%A9", "/a%2522b", "/~me/x-y_z.1"])
async def test_the_resource_is_named_as_it_was_asked_for(pairlock: Pairlock, path: str) -> None:
    async with client_of(pairlock.protect(hello)) as client:
        resource = (await client.get(RESOURCE + path)).json()["resource"]
    assert resource == f"http://pair.test{path}"


async def test_the_resource_carries_the_name_of_the_service(make: Make) -> None:
    async with client_of(make(server_name="The house").protect(hello)) as client:
        assert (await client.get(RESOURCE)).json()["resource_name"] == "The house"


@pytest.mark.parametrize("path", [f"{SERVER}/pair", RESOURCE, f"{RESOURCE}/sensors/a"])
@pytest.mark.parametrize("host", MALFORMED)
async def test_a_malformed_host_is_in_no_document(pairlock: Pairlock, path: str, host: str) -> None:
    async with client_of(pairlock.protect(hello)) as client:
        answer = await client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers


async def test_the_scheme_is_the_one_that_a_trusted_proxy_tells(make: Make) -> None:
    pairlock = make(trusted_proxies=["10.0.0.0/8"])
    for peer, scheme in ((PROXY, "https"), ("203.0.113.9", "http")):
        async with calling(pairlock.protect(hello), peer, **{"X-Forwarded-Proto": "https"}) as client:
            assert (await client.get(RESOURCE)).json()["resource"] == f"{scheme}://pair.test"
            assert (await client.get(f"{SERVER}/pair")).json()["issuer"] == f"{scheme}://pair.test/pair"


async def test_with_an_issuer_the_documents_say_what_it_says(make: Make) -> None:
    pairlock = make(issuer=ISSUER)
    for app in (pairlock.protect(hello), by_hand(pairlock)):
        async with client_of(app) as client:
            client.headers["Host"] = "evil test"
            for path in (f"{SERVER}/home/pair", f"/pair{SERVER}"):
                assert (await client.get(path)).json() == described(ISSUER)
            assert (await client.get(RESOURCE)).json() == guarded_by("https://house.example", ISSUER)
            there = guarded_by("https://house.example/home", ISSUER)
            assert (await client.get(f"{RESOURCE}/home")).json() == there


async def test_an_issuer_may_be_a_host_alone(make: Make) -> None:
    async with client_of(make(issuer="https://pair.example").protect(hello)) as client:
        assert (await client.get(SERVER)).json()["issuer"] == "https://pair.example"


# From the challenge on


async def follow(client: httpx.AsyncClient, path: str, **headers: str) -> tuple[str, str]:
    """From a refusal to the resource and the issuer, as a client that knows nothing else; all of it is served."""
    refused = await client.get(path, headers=headers)
    assert refused.status_code in (401, 403)
    at = parse(refused.headers["www-authenticate"].encode())["resource_metadata"]
    resource = await client.get(below(client, at))
    assert resource.status_code == 200, at
    [issuer] = resource.json()["authorization_servers"]
    server = await client.get(f"{SERVER}{urlsplit(issuer).path}")  # RFC 8414 §3.1
    assert (server.status_code, server.json()) == (200, described(issuer))
    assert (await client.get(below(client, issuer) + SERVER)).json() == server.json()  # where others look
    token = await client.post(below(client, server.json()["token_endpoint"]), data={"grant_type": "x"})
    assert token.json()["error"] == "unsupported_grant_type"
    return resource.json()["resource"], issuer


def below(client: httpx.AsyncClient, address: str) -> str:
    """The path of an address on the very host that is called."""
    assert address.startswith(f"{client.base_url}/"), address
    return "/" + address.removeprefix(f"{client.base_url}/")


@pytest.mark.parametrize("at", ["/pair", "/api/v1/pairing"])
@pytest.mark.parametrize("set_up", [by_hand, Pairlock.protect])
async def test_the_challenge_leads_to_the_service(pairlock: Pairlock, set_up: Any, at: str) -> None:
    app = by_hand(pairlock, at) if set_up is by_hand else pairlock.protect(hello, at=at)
    async with client_of(app) as client:
        assert await follow(client, "/sensors/a") == ("http://pair.test", f"http://pair.test{at}")


async def test_a_bad_token_and_one_that_is_not_enough_lead_there_too(pairlock: Pairlock) -> None:
    async with client_of(pairlock.protect(hello)) as client, client_of(pairlock.app) as pairing:
        paired = await pair(pairing, pairlock)
        for token in ("plk_x", paired["access_token"], paired["access_token"]):  # the second time it is remembered
            await follow(client, "/elsewhere", Authorization=f"Bearer {token}")
        assert (await client.get("/sensors/a", headers={"Authorization": f"Bearer {paired['access_token']}"})).json()


def told_its_root_path(app: ASGIApp) -> ASGIApp:
    """As a server that is told its root path, and gets what is below it, and what is not, as clients ask for it."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/home"}, receive, send)

    return server


def behind_a_prefix(app: ASGIApp) -> ASGIApp:
    """As a proxy that strips a prefix where there is one, and a server that puts its root path before all it gets."""
    server = at_root_path(app, "/home")

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        path, raw_path = scope["path"].removeprefix("/home"), scope["raw_path"].removeprefix(b"/home")
        await server({**scope, "path": path, "raw_path": raw_path}, receive, send)

    return proxy


@pytest.mark.parametrize("behind", [told_its_root_path, behind_a_prefix])
@pytest.mark.parametrize("set_up", [by_hand, Pairlock.protect])
async def test_below_a_root_path_the_challenge_leads_to_the_service(
    pairlock: Pairlock, set_up: Any, behind: Any
) -> None:
    app = by_hand(pairlock) if set_up is by_hand else pairlock.protect(hello)
    async with client_of(behind(app)) as client:
        assert await follow(client, "/home/sensors/a") == ("http://pair.test/home", "http://pair.test/home/pair")


@pytest.mark.parametrize(
    ("asked", "resource"),
    [
        (RESOURCE, "/home"),
        (f"{RESOURCE}/", "/home"),
        (f"{RESOURCE}/home", "/home"),
        (f"{RESOURCE}/home/sensors/a", "/home/sensors/a"),
        (f"/home{RESOURCE}", "/home"),
        (f"/home{RESOURCE}/sensors/a", "/home/sensors/a"),
        (f"/home{RESOURCE}/homestead", "/home/homestead"),
    ],
)
async def test_below_a_root_path_a_resource_has_its_prefix_wherever_its_document_is_asked_for(
    pairlock: Pairlock, asked: str, resource: str
) -> None:
    async with client_of(behind_a_prefix(pairlock.protect(hello))) as client:
        assert (await client.get(asked)).json()["resource"] == f"http://pair.test{resource}"


async def test_in_a_mount_the_challenge_leads_to_the_service(pairlock: Pairlock) -> None:
    async with client_of(in_a_mount(pairlock)) as client:
        found = await follow(client, "/home/sensors/a")
        assert found == ("http://pair.test/home", "http://pair.test/home/pair")


async def test_a_guard_in_a_mount_names_the_documents_of_its_host(pairlock: Pairlock) -> None:
    routes = [*pairlock.well_known_routes(), Mount("/pair", pairlock.app), Mount("/api", pairlock.guard(hello))]
    async with client_of(Starlette(routes=routes)) as client:
        assert await follow(client, "/api/sensors/a") == ("http://pair.test/api", "http://pair.test/pair")


async def test_with_an_issuer_the_challenge_leads_there(make: Make) -> None:
    pairlock = make(issuer="https://house.example/pair")
    for app in (pairlock.protect(hello), by_hand(pairlock)):
        async with calling(app, base_url="https://house.example", Host="evil test") as client:
            del client.headers["Authorization"]
            assert await follow(client, "/sensors/a") == ("https://house.example", "https://house.example/pair")


@pytest.mark.parametrize("root_path", ["", "/home"])
async def test_a_proxy_that_strips_the_prefix_of_an_issuer_leaves_the_documents_findable(
    make: Make, root_path: str
) -> None:
    pairlock = make(issuer="https://house.example/home/pair")
    app = at_root_path(pairlock.protect(hello), root_path)
    async with calling(app, base_url="https://house.example") as client:
        del client.headers["Authorization"]
        assert (await client.get(f"{SERVER}/home/pair")).json()["issuer"] == "https://house.example/home/pair"


@pytest.mark.parametrize("host", MALFORMED)
async def test_a_malformed_host_is_in_no_challenge(pairlock: Pairlock, host: str) -> None:
    async with client_of(pairlock.protect(hello)) as client:
        answer = await client.get("/sensors/a", headers={"Host": host})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="pairlock"'


async def test_a_guard_alone_names_no_document_that_nobody_serves(pairlock: Pairlock) -> None:
    async with client_of(pairlock.guard(hello)) as client:
        assert (await client.get("/sensors/a")).headers["www-authenticate"] == 'Bearer realm="pairlock"'


async def test_a_server_that_says_no_scheme_means_http(pairlock: Pairlock) -> None:
    """The scheme is optional in a scope: "http" where it is left out."""
    app: ASGIApp = pairlock.protect(Recorder())
    refused = await ask(app, scope_of("GET", "/sensors/a", (b"host", b"pair.test")))
    assert refused.status == 401
    assert parse(refused.headers[b"www-authenticate"])["resource_metadata"] == f"http://pair.test{RESOURCE}"
    assert (await ask(app, scope_of("GET", RESOURCE, (b"host", b"pair.test")))).status == 200
