"""RFC 9700, OAuth security: least privilege at every request, rotation, no token in a query, no foreign pages."""

import asyncio

import httpx
import pytest
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from pairlock import Operator, Pairlock
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, AS_OPERATOR, UNKNOWN_ID, calls_of, client_of
from tests.guard.parts import Recorder, ask, pair, scope_of
from tests.rfc.parts import TV, approve, begin, look_up, paired, poll, refresh, said, status_of
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

# What each pattern covers, and what it does not.
MATRIX = {
    "/": (["/"], ["/a", "/a/b"]),
    "/a": (["/a", "/a/"], ["/", "/b", "/aa", "/a/b", "/A"]),
    "/*": (["/a", "/b/", "/é"], ["/", "/a/b"]),
    "/**": (["/", "/a", "/a/b/c", "/.hidden"], []),
    "/a/*": (["/a/b", "/a/a"], ["/a", "/a/b/c", "/b/a"]),
    "/a/**": (["/a", "/a/", "/a/b", "/a/b/c"], ["/", "/b", "/ab", "/b/a"]),
    "/*/b": (["/a/b", "/b/b"], ["/b", "/a/b/c", "/a/a/b"]),
    "/**/b": (["/b", "/a/b", "/a/a/b", "/b/b"], ["/", "/a", "/b/a"]),
    "/a/**/b": (["/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"], ["/a", "/b", "/a/b/x", "/x/a/b"]),
    "/a/*/b/**": (["/a/x/b", "/a/x/b/c/d"], ["/a/b", "/a/x/y/b", "/a/x"]),
}


@pytest.mark.parametrize("pattern", MATRIX)
@pytest.mark.parametrize("action", ["read", "write"])
async def test_9700_2_3_a_token_opens_what_its_patterns_cover_and_nothing_else(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, pattern: str, action: str
) -> None:
    permissions: dict[str, list[str]] = {action: [pattern]}
    phone = await pair(pairlock, **permissions)
    method, other = ("GET", "PUT") if action == "read" else ("PUT", "GET")
    inside, outside = MATRIX[pattern]
    for _ in range(2):
        for path in inside:
            assert (await ask(service, scope_of(method, path, phone.raw))).status == 200, path
            assert (await ask(service, scope_of(other, path, phone.raw))).status == 403, path
        for path in outside:
            assert (await ask(service, scope_of(method, path, phone.raw))).status == 403, path
    assert len(app.scopes) == 2 * len(inside)


# §2.6 CORS: what any page may call is the token endpoint and the metadata

METADATA = ["/pair/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/pair"]
RESOURCES = ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/sensors"]
FOREIGN = {"origin": "https://app.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
CALLS = sorted(set(calls_of(Pairlock(store="memory://", secret_keys=["x" * 32], default_permissions={}).app)))
SHARED = ["/token", "/.well-known/oauth-authorization-server"]


@pytest.mark.parametrize("path", ["/pair/token", *METADATA, *RESOURCES])
async def test_9700_2_6_a_browser_that_asks_first_may_call_the_token_endpoint_and_the_metadata(
    client: httpx.AsyncClient, path: str
) -> None:
    for method in ("POST", "GET"):
        asking = {**FOREIGN, "access-control-request-method": method, "access-control-request-headers": "authorization"}
        answer = await client.options(path, headers=asking)
        assert answer.status_code in (200, 204)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "authorization" in answer.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in answer.headers


async def test_9700_2_6_a_page_of_any_site_gets_a_token_and_can_read_why_not(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    client.headers.update(FOREIGN)
    asked = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": TV}
    for code, status in (("x", 400), ("", 400), (begun["device_code"], 200)):
        answer = await client.post("/pair/token", data={**asked, "device_code": code})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_9700_2_6_no_other_call_is_for_pages_of_other_sites(client: httpx.AsyncClient) -> None:
    for method, path in CALLS:
        if path not in SHARED:
            url = "/pair" + path.format(id=UNKNOWN_ID)
            answer = await client.request(method, url, headers={**FOREIGN, **AS_OPERATOR}, json={})
            assert said(answer) == (403, "cross_site"), url
            asked = await client.options(url, headers={**FOREIGN, "access-control-request-method": method})
            assert not [name for name in (*answer.headers, *asked.headers) if name.startswith("access-control")]


# §4.3.2 Tokens in queries


@pytest.mark.parametrize("where", ["/sensors/a", "/pair/whoami"])
async def test_9700_4_3_2_a_token_in_the_query_is_refused_even_beside_a_good_one(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, where: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    for headers in ([], [phone.raw]):
        for query in (f"access_token={phone.token}", f"a=1&access_token={phone.token}&b=2"):
            answer = await ask(service, scope_of("GET", where, *headers, query_string=query.encode()))
            assert answer.status == 400
            assert phone.token.encode() not in answer.body
    assert app.scopes == []


async def test_9700_4_3_2_no_secret_of_oauth_is_taken_from_a_query(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    for name, value in (("device_code", begun["device_code"]), ("refresh_token", "plr_x"), ("client_secret", "x")):
        answer = await client.post("/pair/token", params={name: value}, data={"client_id": TV})
        assert said(answer) == (400, "invalid_request")
    assert (await poll(client, begun)).status_code == 200


# §4.7 CSRF


def by_cookie(connection: HTTPConnection) -> Operator | None:
    """A session of the host's, which rides along with whatever a browser sends here."""
    return ALICE if connection.cookies.get("session") == "alice" else None


FROM_ANOTHER_SITE = [
    {"origin": "https://evil.example"},
    {"origin": "https://evil.pair.test"},
    {"origin": "http://pair.test:81"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    {"origin": "http://pair.test", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_9700_4_7_no_page_of_another_site_decides_with_the_session_of_an_operator(
    make: Make, decision: str
) -> None:
    pairlock = make(operator=by_cookie)
    async with client_of(pairlock.protect(Recorder())) as client:
        begun = await begin(client)
        found = await pairlock.deciding.look_up(begun["user_code"])
        url = f"/pair/requests/{found.id}/{decision}"
        session = {"cookie": "session=alice"}
        for foreign in FROM_ANOTHER_SITE:
            assert said(await client.post(url, json={}, headers={**session, **foreign})) == (403, "cross_site")
            assert said(await client.post(url, headers={**session, **foreign})) == (403, "cross_site")
        assert said(await client.post(url, json={})) == (403, "operator_required")
        assert await pairlock.deciding.show(found.id) == found
        own = {"origin": "http://pair.test", "sec-fetch-site": "same-origin"}
        assert (await client.post(url, json={}, headers={**session, **own})).status_code == 200


async def test_9700_4_7_no_form_decides(make: Make) -> None:
    pairlock = make(operator=by_cookie)
    async with client_of(pairlock.protect(Recorder())) as client:
        begun = await begin(client)
        found = await pairlock.deciding.look_up(begun["user_code"])
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
            headers = {"cookie": "session=alice", "content-type": kind}
            answer = await client.post(f"/pair/requests/{found.id}/approve", content=b"{}", headers=headers)
            assert said(answer) == (415, "unsupported_media_type")
        assert await pairlock.deciding.show(found.id) == found


# §4.11 Open redirects


async def assert_no_redirect(client: httpx.AsyncClient, path: str) -> None:
    for asked in (
        path,
        f"{path}/",
        f"{path}//evil.example",
        f"/{path}",
        f"{path}?next=//evil.example&redirect_uri=//x",
    ):
        for method in ("GET", "POST", "HEAD"):
            answer = await client.request(method, asked, headers={"host": "evil.example", **AS_OPERATOR})
            assert not 300 <= answer.status_code < 400, asked
            assert "location" not in answer.headers


async def test_9700_4_11_no_call_redirects_anywhere(client: httpx.AsyncClient) -> None:
    for path in {path for _, path in CALLS} | {"", "/device", "/evil"}:
        await assert_no_redirect(client, "/pair" + path.format(id=UNKNOWN_ID))


async def test_9700_4_11_no_metadata_redirects_anywhere(client: httpx.AsyncClient) -> None:
    for path in (*METADATA, *RESOURCES):
        await assert_no_redirect(client, path)


# §4.14.2 Refresh tokens


async def test_9700_4_14_2_each_use_of_a_refresh_token_gives_another(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    token, seen = await paired(client), set()
    for _ in range(5):
        seen.add(token["refresh_token"])
        clock.advance(3600)
        assert await status_of(client, token["access_token"]) == 401
        token = (await refresh(client, token["refresh_token"])).json()
        assert await status_of(client, token["access_token"]) == 200
    assert len(seen | {token["refresh_token"]}) == 6


async def test_9700_4_14_2_using_one_again_revokes_all_that_came_of_it(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    stolen = await paired(client)
    tokens = [stolen]
    for _ in range(3):
        clock.advance(60)
        tokens.append((await refresh(client, tokens[-1]["refresh_token"])).json())
    assert await status_of(client, tokens[-1]["access_token"]) == 200
    answer = await refresh(client, stolen["refresh_token"])
    assert said(answer) == (400, "invalid_grant")
    for token in tokens:
        assert await status_of(client, token["access_token"]) == 401
        assert said(await refresh(client, token["refresh_token"])) == (400, "invalid_grant")
    happened = [event.type.value for event in await pairlock.audit.list()]
    assert happened[:2] == ["revoked", "reuse_detected"]
    assert await pairlock.devices.list() == []


async def test_9700_4_14_2_the_one_before_the_last_is_reuse_however_soon(client: httpx.AsyncClient) -> None:
    first = await paired(client)
    second = (await refresh(client, first["refresh_token"])).json()
    await refresh(client, second["refresh_token"])
    assert said(await refresh(client, first["refresh_token"])) == (400, "invalid_grant")
    assert await status_of(client, first["access_token"]) == 401


async def test_9700_4_14_2_reuse_by_another_client_revokes_nothing(client: httpx.AsyncClient, clock: FakeClock) -> None:
    old = await paired(client)
    new = (await refresh(client, old["refresh_token"])).json()
    clock.advance(60)
    assert said(await refresh(client, old["refresh_token"], client_id="radio")) == (400, "invalid_grant")
    assert await status_of(client, new["access_token"]) == 200


async def test_9700_4_14_2_one_that_was_made_up_revokes_nothing(client: httpx.AsyncClient) -> None:
    token, other = await paired(client), await paired(client)
    secret = other["refresh_token"].partition(".")[2]
    for made_up in (f"plr_{token['device_id']}.{secret}", f"plr_{token['device_id']}.{'A' * 43}.{'A' * 43}"):
        assert said(await refresh(client, made_up)) == (400, "invalid_grant")
    assert await status_of(client, token["access_token"]) == 200


async def test_9700_4_14_2_many_refreshes_at_once_are_one(make: Make) -> None:
    one, other = make(), make()  # as two processes on one database
    async with client_of(one.protect(Recorder())) as here, client_of(other.protect(Recorder())) as there:
        token = await paired(here)
        answers = await asyncio.gather(*(refresh([here, there][nth % 2], token["refresh_token"]) for nth in range(20)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        assert [event.type.value for event in await one.audit.list()].count("refreshed") == 1


async def test_9700_4_14_2_who_lost_the_answer_gets_the_same_again_for_ten_seconds(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    old = await paired(client)
    new = (await refresh(client, old["refresh_token"])).json()
    clock.advance(9.9)
    again = (await refresh(client, old["refresh_token"])).json()
    assert again["refresh_token"] == new["refresh_token"]
    clock.advance(0.1)
    assert said(await refresh(client, old["refresh_token"])) == (400, "invalid_grant")
    assert await status_of(client, again["access_token"]) == 401


async def test_9700_4_14_2_a_refresh_token_that_lies_idle_expires(client: httpx.AsyncClient, clock: FakeClock) -> None:
    token = await paired(client)
    for _ in range(3):  # each use starts the ninety days anew
        clock.advance(90 * 86400 - 1)
        token = (await refresh(client, token["refresh_token"])).json()
    clock.advance(90 * 86400)
    assert said(await refresh(client, token["refresh_token"])) == (400, "invalid_grant")


async def test_9700_4_14_2_a_refresh_token_gets_no_more_than_the_device_has_now(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    token = await paired(client)
    await client.patch(
        f"/pair/devices/{token['device_id']}", json={"permissions": {"read": ["/sensors/**"]}}, headers=AS_OPERATOR
    )
    narrower = (await refresh(client, token["refresh_token"], scope="read:/** write:/**")).json()
    assert narrower["scope"] == "read:/sensors/**"
    assert await status_of(client, narrower["access_token"], "/elsewhere") == 403


async def test_9700_4_14_2_a_refresh_token_opens_nothing_itself(client: httpx.AsyncClient) -> None:
    token = await paired(client)
    assert await status_of(client, token["refresh_token"]) == 401
    assert await status_of(client, token["refresh_token"], "/pair/whoami") == 401


async def test_9700_4_14_2_the_token_of_a_device_decides_about_no_other(client: httpx.AsyncClient) -> None:
    token, begun = await paired(client), await begin(client)
    found = (await look_up(client, begun["user_code"])).json()
    for call in ("approve", "deny"):
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        answer = await client.post(f"/pair/requests/{found['id']}/{call}", json={}, headers=headers)
        assert said(answer) == (403, "operator_required")
