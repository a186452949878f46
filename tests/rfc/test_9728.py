"""RFC 9728: from a refusal to the metadata of what was asked for, and on to who gives tokens for it."""

from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc8414 import get_well_known_url  # type: ignore[import-untyped]  # has no types
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from pairlock import Pairlock
from tests.app.parts import bearer, client_of
from tests.guard.parts import Recorder, ask, scope_of
from tests.rfc.challenges import parse
from tests.rfc.parts import said
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

ROOT = "/.well-known/oauth-protected-resource"


async def metadata(client: httpx.AsyncClient, path: str = "", **headers: str) -> dict[str, Any]:
    answer = await client.get(f"{ROOT}{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def challenge(answer: httpx.Response) -> dict[str, str]:
    return parse(answer.headers["www-authenticate"].encode())


# §3


async def test_9728_3_1_the_document_of_the_whole_host_is_at_its_root(client: httpx.AsyncClient) -> None:
    assert (await metadata(client))["resource"] == "http://pair.test"


async def test_9728_3_3_the_resource_is_the_very_one_whose_address_the_client_asked(client: httpx.AsyncClient) -> None:
    plain = ["/sensors", "/sensors/a", "/a:b", "/a@b", "/~a", "/a,b;c=d", "/a+b", "/(a)", "/a$b&c", "/'a'*!"]
    for path in (*plain, "/a%20b", "/%C3%A4", "/a%2Cb", "/%e4", "/a%3Fb"):
        assert (await metadata(client, path))["resource"] == f"http://pair.test{path}"


async def test_9728_3_3_without_its_raw_path_a_resource_is_written_anew(service: ASGIApp) -> None:
    scope = scope_of("GET", f"{ROOT}/a b/ä:c", (b"host", b"pair.test"), scheme="http", raw_path=...)
    assert b'"resource":"http://pair.test/a%20b/%C3%A4:c"' in (await ask(service, scope)).body


async def test_9728_3_3_resource_and_server_have_the_host_that_was_asked(client: httpx.AsyncClient) -> None:
    for host in ("house.example", "192.0.2.1:8000", "[2001:db8::1]"):
        found = await metadata(client, "/sensors", host=host)
        assert found["resource"] == f"http://{host}/sensors"
        assert found["authorization_servers"] == [f"http://{host}/pair"]


async def test_9728_3_3_a_configured_issuer_is_named_whatever_host_was_asked(make: Make) -> None:
    async with client_of(make(issuer="https://house.example/home/pair").protect(Recorder())) as client:
        found = await metadata(client, "/sensors", host="other.example")
        assert found["resource"] == "https://house.example/sensors"
        assert found["authorization_servers"] == ["https://house.example/home/pair"]


async def test_9728_3_2_it_is_json_that_pages_of_any_site_may_read(client: httpx.AsyncClient) -> None:
    foreign = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    for path in ("", "/sensors"):
        answer = await client.get(ROOT + path, headers=foreign)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cache-control"] == "no-store"


async def test_9728_3_1_it_is_reached_without_a_token(client: httpx.AsyncClient, app: Recorder) -> None:
    for path in ("", "/", "/sensors", "/sensors/a/b"):
        assert (await client.get(ROOT + path)).status_code == 200
    assert app.scopes == []


async def test_9728_3_1_what_only_begins_like_it_is_none(client: httpx.AsyncClient, app: Recorder) -> None:
    for end in ("x", "-x", "s"):
        assert (await client.get(ROOT + end)).status_code in (401, 404)
    assert app.scopes == []


async def test_9728_3_2_a_host_that_cannot_be_one_has_no_document(client: httpx.AsyncClient) -> None:
    for host in ('a"b', "a b", "a/b", "", "é"):
        answer = await client.get(ROOT, headers=[(b"host", host.encode("latin-1"))])
        assert said(answer) == (400, "invalid_request")


# §2


async def test_9728_2_it_says_who_gives_tokens_and_how_they_are_sent(make: Make) -> None:
    async with client_of(make(server_name="House").protect(Recorder())) as client:
        assert await metadata(client) == {
            "resource": "http://pair.test",
            "authorization_servers": ["http://pair.test/pair"],
            "bearer_methods_supported": ["header"],
            "resource_name": "House",
        }


# §5.1


async def test_9728_5_1_a_refusal_leads_to_the_metadata_and_on_to_the_server(client: httpx.AsyncClient) -> None:
    for headers in ({}, bearer("plk_x"), bearer("a b")):
        refused = await client.get("/sensors/a", headers=headers)
        assert refused.status_code in (400, 401)
        resource = (await client.get(challenge(refused)["resource_metadata"])).json()
        assert "http://pair.test/sensors/a".startswith(resource["resource"])
        (issuer,) = resource["authorization_servers"]
        server = (await client.get(get_well_known_url(issuer, external=True))).json()
        assert server["issuer"] == issuer


async def test_9728_5_1_too_little_permission_leads_there_too(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    code = await pairlock.code({"read": ["/elsewhere"]})
    token = (await client.post("/pair/redeem", json={"code": code, "name": "CLI"})).json()["access_token"]
    for _ in range(2):
        refused = await client.get("/sensors/a", headers=bearer(token))
        assert (refused.status_code, challenge(refused)["error"]) == (403, "insufficient_scope")
        assert challenge(refused)["resource_metadata"] == f"http://pair.test{ROOT}"


async def test_9728_5_1_a_challenge_names_the_host_that_was_asked_and_no_other_callers(service: ASGIApp) -> None:
    async with client_of(service) as client:
        for host in ("one.example", "two.example:8000", "one.example"):
            refused = await client.get("/sensors/a", headers={"host": host})
            assert challenge(refused)["resource_metadata"] == f"http://{host}{ROOT}"


async def test_9728_5_1_a_host_that_cannot_be_one_is_not_repeated(service: ASGIApp) -> None:
    for hosts in ([b'a"b'], [b"a\\b"], [b"a, error=b"], [b""], [b"\xff"], [b"a" * 256], [b"[" + b":" * 60 + b"]"], []):
        scope = scope_of("GET", "/sensors/a", *((b"host", host) for host in hosts), scheme="http")
        refused = await ask(service, scope)
        assert refused.status == 401
        assert parse(refused.headers[b"www-authenticate"]).keys() == {"realm"}


async def test_9728_5_1_a_guard_whose_host_serves_no_metadata_names_none(make: Make) -> None:
    async with client_of(make().guard(Recorder())) as client:
        assert challenge(await client.get("/sensors/a")).keys() == {"realm"}


async def test_9728_5_1_behind_a_mount_the_challenge_leads_to_what_the_host_serves(make: Make) -> None:
    pairlock = make()
    guarded = Starlette(routes=[Mount("/", Recorder())], middleware=[Middleware(pairlock.guard)])
    app = Starlette(
        routes=[*pairlock.well_known_routes(), Mount("/pair", pairlock.app), Mount("/home", guarded)],
        lifespan=pairlock.lifespan,
    )
    async with client_of(app) as client:
        refused = await client.get("/home/sensors/a")
        assert challenge(refused)["resource_metadata"] == f"http://pair.test{ROOT}/home"
        resource = (await client.get(challenge(refused)["resource_metadata"])).json()
        assert resource["resource"] == "http://pair.test/home"
        assert resource["authorization_servers"] == ["http://pair.test/pair"]


async def test_9728_5_1_the_calls_of_the_sub_app_are_no_resource_of_their_own(client: httpx.AsyncClient) -> None:
    assert challenge(await client.get("/pair/whoami")).keys() == {"realm"}
