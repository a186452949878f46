"""RFC 8414: the metadata by which a generic client finds every endpoint from the issuer alone."""

from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url  # type: ignore[import-untyped]  # has no types
from starlette.applications import Starlette
from starlette.routing import Mount

from pairlock import Client, Pairlock
from tests.app.parts import client_of
from tests.guard.parts import Recorder
from tests.rfc.parts import DEVICE_CODE, SECRET, TV, basic, paired, said
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

ROOT = "/.well-known/oauth-authorization-server/pair"
INSIDE = "/pair/.well-known/oauth-authorization-server"
BOTH = pytest.mark.parametrize("path", [ROOT, INSIDE])


async def metadata(client: httpx.AsyncClient, path: str = ROOT, **headers: str) -> dict[str, Any]:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


# §3


async def test_8414_3_3_the_issuer_is_the_one_whose_address_the_client_asked(client: httpx.AsyncClient) -> None:
    for host in ("house.example", "house.example:8443", "192.0.2.1", "[2001:db8::1]:8000", "localhost"):
        for path in (ROOT, INSIDE):
            assert (await metadata(client, path, host=host))["issuer"] == f"http://{host}/pair"


async def test_8414_3_1_the_document_is_where_rfc_8414_puts_it(client: httpx.AsyncClient) -> None:
    issuer = (await metadata(client))["issuer"]
    assert get_well_known_url(issuer, external=True) == "http://pair.test" + ROOT


async def test_8414_3_1_the_document_of_a_configured_issuer_is_where_that_issuer_puts_it(make: Make) -> None:
    for issuer in ("https://house.example/pair", "https://house.example/home/p", "https://house.example"):
        service = make(issuer=issuer).protect(Recorder())
        async with client_of(service) as client:
            for path in (get_well_known_url(issuer), INSIDE):
                found = await metadata(client, path, host="other.example")
                assert found["issuer"] == issuer
                assert found["token_endpoint"] == f"{issuer}/token"


async def test_8414_3_1_a_host_without_protect_serves_it_by_well_known_routes(make: Make) -> None:
    pairlock = make()
    app = Starlette(
        routes=[*pairlock.well_known_routes(at="/devices/pair"), Mount("/devices/pair", pairlock.app)],
        lifespan=pairlock.lifespan,
    )
    async with client_of(app) as client:
        found = await metadata(client, "/.well-known/oauth-authorization-server/devices/pair")
        assert found == await metadata(client, "/devices/pair/.well-known/oauth-authorization-server")
        assert found["issuer"] == "http://pair.test/devices/pair"
        answer = await client.post(found["device_authorization_endpoint"], data={"client_id": TV})
        assert answer.json()["verification_uri"] == "http://pair.test/devices/pair/device"


async def test_8414_3_1_an_issuer_is_written_as_addresses_are(make: Make) -> None:
    pairlock = make()
    app = Starlette(routes=[Mount("/{house}/pair", pairlock.app)], lifespan=pairlock.lifespan)
    async with client_of(app) as client:
        for house in ("my%20house", "h%C3%A4us", "h%22s", "a:b", "a%25"):
            issuer = f"http://pair.test/{house}/pair"
            found = await metadata(client, f"/{house}{INSIDE}")
            assert found["issuer"] == issuer
            answer = await client.post(found["device_authorization_endpoint"], data={"client_id": TV})
            assert answer.json()["verification_uri"] == f"{issuer}/device"


async def test_8414_3_1_behind_a_proxy_the_issuer_is_what_the_client_sees(make: Make) -> None:
    behind = make(trusted_proxies=["127.0.0.1"]).protect(Recorder())
    async with client_of(behind) as proxy, client_of(behind, client=("192.0.2.1", 1)) as stranger:
        for path in (ROOT, INSIDE):
            for told, scheme in (("https", "https"), ("http", "http"), ("javascript", "http"), ("", "http")):
                found = await metadata(proxy, path, host="house.example", **{"x-forwarded-proto": told})
                assert found["issuer"] == f"{scheme}://house.example/pair"
            found = await metadata(stranger, path, host="house.example", **{"x-forwarded-proto": "https"})
            assert found["issuer"] == "http://house.example/pair"


async def test_8414_3_1_no_other_issuer_has_a_document_here(client: httpx.AsyncClient) -> None:
    for path in (f"{ROOT}/x", "/.well-known/oauth-authorization-server", f"{ROOT}x", f"{ROOT}//"):
        answer = await client.get(path)
        assert answer.status_code in (401, 404), path
        assert "issuer" not in answer.text


@BOTH
async def test_8414_3_1_it_is_reached_without_a_token_and_never_redirected(
    client: httpx.AsyncClient, app: Recorder, path: str
) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.get(path + "/")).status_code in (401, 404)
    assert app.scopes == []


@BOTH
async def test_8414_3_2_a_host_that_cannot_be_one_has_no_document(client: httpx.AsyncClient, path: str) -> None:
    for host in ('a"b', "a b", "a/b", "a@b", "a\\b", "", "é", "a:x"):
        answer = await client.get(path, headers=[(b"host", host.encode("latin-1"))])
        assert said(answer) == (400, "invalid_request")
        assert "www-authenticate" not in answer.headers


@BOTH
async def test_8414_3_2_it_is_json_that_pages_of_any_site_may_read(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"origin": "https://app.example", "sec-fetch-site": "cross-site"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["access-control-allow-origin"] == "*"


# §2


@BOTH
async def test_8414_2_it_says_what_there_is(client: httpx.AsyncClient, path: str) -> None:
    found = await metadata(client, path)
    assert found["grant_types_supported"] == [DEVICE_CODE, "refresh_token"]
    assert found["response_types_supported"] == []
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert "authorization_endpoint" not in found
    assert "jwks_uri" not in found


@pytest.mark.parametrize("path", [ROOT, INSIDE])
async def test_8414_2_every_endpoint_it_names_takes_calls(client: httpx.AsyncClient, path: str) -> None:
    found = await metadata(client, path)
    endpoints = {name: url for name, url in found.items() if name.endswith("_endpoint")}
    assert set(endpoints) == {
        "device_authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
    }
    for url in endpoints.values():
        assert url.startswith(found["issuer"] + "/")
        assert (await client.post(url, data={"x": "y"})).status_code in (400, 401)


async def test_8414_2_every_way_to_prove_a_client_it_names_is_one(make: Make) -> None:
    pairlock = make(clients=[Client(id=TV, secret=SECRET), Client(id="open")], resource_servers={TV: SECRET})
    sent: dict[str, dict[str, Any]] = {
        "none": {"data": {"client_id": "open"}},
        "client_secret_basic": {"data": {"x": "y"}, "headers": basic(TV, SECRET)},
        "client_secret_post": {"data": {"client_id": TV, "client_secret": SECRET}},
    }
    async with client_of(pairlock.protect(Recorder())) as client:
        found = await metadata(client)
        for endpoint in ("token", "revocation", "introspection"):
            for method in found[f"{endpoint}_endpoint_auth_methods_supported"]:
                answer = await client.post(found[f"{endpoint}_endpoint"], **sent[method])
                assert said(answer) == (400, "invalid_request"), (endpoint, method)  # past the question who asks


async def test_8414_2_it_stands_the_check_of_a_client_library(make: Make) -> None:
    issuer = "https://house.example/pair"
    async with client_of(make(issuer=issuer).protect(Recorder())) as client:
        document = AuthorizationServerMetadata(await metadata(client))
    for check in (*document.REGISTRY_KEYS, "issuer"):
        if check != "response_types_supported":  # that library takes no empty list; RFC 8414 §2 demands one
            getattr(document, f"validate_{check}")()


async def test_8414_2_a_token_names_the_issuer_of_the_document(make: Make) -> None:
    pairlock: Pairlock = make(resource_servers={"camera": SECRET})
    async with client_of(pairlock.protect(Recorder())) as client:
        token, found = await paired(client), await metadata(client)
        asked = {"token": token["access_token"]}
        answer = await client.post(found["introspection_endpoint"], data=asked, headers=basic("camera", SECRET))
        assert answer.json()["iss"] == found["issuer"]
