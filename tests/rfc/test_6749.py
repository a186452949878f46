"""RFC 6749: client authentication, the token endpoint, refreshing; and what clients of today send."""

import asyncio
import re
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from pairlock import Client, Pairlock, Permissions
from pairlock.errors import wire_errors
from pairlock.testing import FakeClock
from tests.app.parts import client_of
from tests.guard.parts import Recorder
from tests.rfc.parts import (
    DEVICE_CODE,
    SECRET,
    TV,
    approve,
    basic,
    begin,
    look_up,
    paired,
    poll,
    refresh,
    said,
    status_of,
)
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

ASK, TOKEN = "/pair/device_authorization", "/pair/token"
STRANGE_ID, STRANGE_SECRET = "tv:%/+&=?", "se:cret%of/the+tv&=?"


# §2.3.1 Client password


async def test_6749_2_3_1_basic_with_an_empty_secret_is_a_public_client(client: httpx.AsyncClient) -> None:
    begun = (await client.post(ASK, data={"name": "TV"}, headers=basic(TV))).json()
    await approve(client, begun)
    asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
    token = (await client.post(TOKEN, data=asked, headers=basic(TV))).json()
    asked = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    assert (await client.post(TOKEN, data=asked, headers=basic(TV))).status_code == 200
    answer = await client.post("/pair/revoke", data={"token": token["access_token"]}, headers=basic(TV))
    assert answer.status_code == 200
    assert await status_of(client, token["access_token"]) == 401


async def test_6749_2_3_1_the_scheme_is_taken_in_any_case(client: httpx.AsyncClient) -> None:
    for scheme in ("Basic", "basic", "BASIC"):
        headers = {"Authorization": basic(TV)["Authorization"].replace("Basic", scheme)}
        assert (await client.post(ASK, headers=headers)).status_code == 200


async def test_6749_2_3_1_both_parts_are_percent_decoded(make: Make) -> None:
    pairlock = make(clients=[Client(id=STRANGE_ID, secret=STRANGE_SECRET)])
    headers = basic(quote(STRANGE_ID, safe=""), quote(STRANGE_SECRET, safe=""))
    async with client_of(pairlock.protect(Recorder())) as client:
        begun = (await client.post(ASK, headers=headers)).json()
        assert (await look_up(client, begun["user_code"])).json()["client_id"] == STRANGE_ID
        await approve(client, begun)
        asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": STRANGE_ID}
        assert (await client.post(TOKEN, data=asked, headers=headers)).status_code == 200


@pytest.mark.parametrize("both", [{"client_id": TV}, {"client_id": TV, "client_secret": ""}])
async def test_6749_2_3_1_the_client_id_may_be_said_twice_if_it_is_the_same(
    client: httpx.AsyncClient, both: dict[str, str]
) -> None:
    begun = await begin(client)
    asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
    assert said(await client.post(TOKEN, data={**asked, **both}, headers=basic(TV))) == (400, "authorization_pending")
    for other in ("radio", "TV", "tv "):
        answer = await client.post(TOKEN, data={**asked, "client_id": other}, headers=basic(TV))
        assert said(answer) == (400, "invalid_request")


async def test_6749_2_3_no_client_proves_itself_in_two_ways(make: Make) -> None:
    async with client_of(make(clients=[Client(id=TV, secret=SECRET)]).app) as client:
        form = {"client_id": TV, "client_secret": SECRET}
        answer = await client.post("/device_authorization", data=form, headers=basic(TV, SECRET))
        assert said(answer) == (400, "invalid_request")


async def test_6749_2_3_1_what_is_no_basic_authorization_is_401_with_a_challenge(client: httpx.AsyncClient) -> None:
    encoded = ["", "!", "dHY", "/w==", "dHY=", "Og==", "dHY6 dHY6"]  # "tv" and ":" among them
    for value in ("Basic", *(f"Basic {each}" for each in encoded), "Bearer x", "x", ""):
        for form in ({"name": "TV"}, {"client_id": TV}):
            answer = await client.post(ASK, data=form, headers={"Authorization": value})
            assert said(answer) == (401, "invalid_client"), value
            assert answer.headers["www-authenticate"] == 'Basic realm="pairlock"'


async def test_6749_2_2_a_client_id_is_visible_and_short(client: httpx.AsyncClient) -> None:
    for client_id in ("a b", "é", "\0", "x" * 201, "a\nb"):
        assert said(await client.post(ASK, data={"client_id": client_id})) == (400, "invalid_request")
        assert said(await client.post(ASK, headers=basic(quote(client_id)))) == (401, "invalid_client")


# §3.2 Token endpoint


async def test_6749_3_2_no_call_is_ever_redirected(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    form = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": TV}
    for path in ("/pair/token/", "/pair/token//", "//pair/token", "/pair/device_authorization/", "/pair"):
        for method in ("GET", "POST", "HEAD", "PUT"):
            answer = await client.request(method, path, data=form)
            assert answer.status_code in (400, 401, 404, 405)
            assert "location" not in answer.headers


async def test_6749_3_2_only_a_device_request_may_have_its_parameters_in_the_query(client: httpx.AsyncClient) -> None:
    answer = await client.post(ASK, params={"client_id": TV, "scope": "read:/sensors/**", "grant_type": DEVICE_CODE})
    begun = answer.json()
    await approve(client, begun)
    asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": TV}
    assert said(await client.post(TOKEN, params=asked)) == (400, "invalid_request")
    assert said(await client.post(TOKEN, params=asked, data={"client_id": TV})) == (400, "invalid_request")
    token = (await client.post(TOKEN, data=asked)).json()
    assert token["scope"] == "read:/sensors/**"
    asked = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"], "client_id": TV}
    assert said(await client.post(TOKEN, params=asked)) == (400, "invalid_request")
    given = {"token": token["access_token"], "client_id": TV}
    assert said(await client.post("/pair/revoke", params=given)) == (400, "invalid_request")
    assert await status_of(client, token["access_token"]) == 200


async def test_6749_3_2_a_query_beside_a_body_is_not_looked_at(client: httpx.AsyncClient) -> None:
    answer = await client.post(ASK, params={"client_id": "radio", "scope": "read:/a"}, data={"client_id": TV})
    found = (await look_up(client, answer.json()["user_code"])).json()
    assert (found["client_id"], found["permissions"]["write"]) == (TV, ["/**"])


async def test_6749_3_2_a_query_is_held_to_the_rules_of_a_form(client: httpx.AsyncClient) -> None:
    for query in ("client_id=tv&client_id=tv", "client_id=tv&name=%ff", "", "&".join(["a=b"] * 100)):
        assert said(await client.post(f"{ASK}?{query}")) == (400, "invalid_request")


# §3.3 Access token scope


async def test_6749_3_3_the_scope_of_a_token_request_is_not_looked_at(client: httpx.AsyncClient) -> None:
    for scope in ("read:/sensors/**", "read:/** write:/**", "openid profile", "nonsense:", "é"):
        begun = await begin(client, scope="read:/sensors/**")
        await approve(client, begun)
        token = (await poll(client, begun, scope=scope)).json()
        assert token["scope"] == "read:/sensors/**"
        assert await status_of(client, token["access_token"], "/elsewhere") == 403


async def test_6749_3_3_a_scope_that_says_nothing_here_is_an_invalid_scope(client: httpx.AsyncClient) -> None:
    for scope in ("openid", "read", "read:", "read:sensors", "admin:/a", "read:/../a", "*", "read:/%00"):
        for asked in (scope, f"read:/sensors/** {scope}"):
            answer = await client.post(ASK, data={"client_id": TV, "scope": asked})
            assert said(answer) == (400, "invalid_scope")


async def test_6749_3_3_any_pattern_travels_in_a_scope(client: httpx.AsyncClient) -> None:
    for pattern in ("/a b", '/"quoted"', "/ä/ö", "/100%", "/a,b;c=d", "/x:y@z"):
        begun = await begin(client, scope=f"read:{quote(pattern)}")
        await approve(client, begun)
        token = (await poll(client, begun)).json()
        assert token["permissions"]["read"] == [pattern]
        assert re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", token["scope"])  # the grammar of a scope-token
        again = await begin(client, scope=token["scope"])
        assert (await look_up(client, again["user_code"])).json()["requested"]["read"] == [pattern]


async def test_6749_3_3_no_more_is_asked_for_than_a_client_may(make: Make) -> None:
    pairlock = make(clients=[Client(id=TV, permissions=Permissions(read=("/sensors/**",)))])
    async with client_of(pairlock.protect(Recorder())) as client:
        for scope in ("write:/a", "read:/**", "read:/sensors/a write:/sensors/a"):
            assert said(await client.post(ASK, data={"client_id": TV, "scope": scope})) == (400, "invalid_scope")
        token = await paired(client)
        assert token["scope"] == "read:/sensors/**"  # who asks for nothing gets what the client may, not the default


# §5.1, §5.2


async def test_6749_5_1_no_answer_with_a_token_may_be_kept(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    first = await poll(client, begun)
    second = await refresh(client, first.json()["refresh_token"])
    for answer in (first, second):
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"] == "application/json"


def test_6749_5_2_errors_keep_to_the_characters_they_may_have() -> None:
    for error in wire_errors().values():
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", error.code)
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", error.description)


# §6 Refreshing


async def test_6749_6_a_refresh_token_is_bound_to_its_client(client: httpx.AsyncClient) -> None:
    token = await paired(client)
    for wrong in ("radio", ""):
        assert said(await refresh(client, token["refresh_token"], client_id=wrong)) == (400, "invalid_grant")
    assert (await refresh(client, token["refresh_token"])).status_code == 200


async def test_6749_6_less_may_be_asked_for_and_all_of_it_again(client: httpx.AsyncClient, clock: FakeClock) -> None:
    token = await paired(client)
    narrower = (await refresh(client, token["refresh_token"], scope="read:/sensors/a")).json()
    assert narrower["scope"] == "read:/sensors/a"
    assert await status_of(client, narrower["access_token"]) == 200
    assert await status_of(client, narrower["access_token"], "/sensors/b") == 403
    full = (await refresh(client, narrower["refresh_token"])).json()
    assert full["scope"] == "read:/** write:/**"


async def test_6749_6_asking_for_more_gets_no_more(client: httpx.AsyncClient) -> None:
    begun = await begin(client, scope="read:/sensors/**")
    await approve(client, begun)
    token = (await poll(client, begun)).json()
    for scope in ("read:/**", "read:/sensors/** write:/sensors/**"):
        token = (await refresh(client, token["refresh_token"], scope=scope)).json()
        assert token["scope"] == "read:/sensors/**"
        assert await status_of(client, token["access_token"], "/elsewhere") == 403
        assert await status_of(client, token["access_token"], method="PUT") == 403
    assert said(await refresh(client, token["refresh_token"], scope="write:/x")) == (400, "invalid_scope")
    assert (await refresh(client, token["refresh_token"])).status_code == 200


async def test_6749_6_a_malformed_scope_uses_nothing_up(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    token = await paired(client)
    assert said(await refresh(client, token["refresh_token"], scope="openid")) == (400, "invalid_scope")
    assert "refreshed" not in [event.type.value for event in await pairlock.audit.list()]
    assert (await refresh(client, token["refresh_token"])).status_code == 200


async def test_6749_6_what_is_no_refresh_token_is_an_invalid_grant(client: httpx.AsyncClient) -> None:
    token = await paired(client)
    nearly = token["access_token"], token["refresh_token"][:-1], token["refresh_token"] + "x"
    for offered in (*nearly, "x", "plr_", "plr_x.y.z", "é", "\0", "x" * 9000):
        answer = await refresh(client, offered)
        assert said(answer) == (400, "invalid_grant")
        assert "www-authenticate" not in answer.headers
    assert said(await refresh(client, "")) == (400, "invalid_request")
    assert (await refresh(client, token["refresh_token"])).status_code == 200


async def test_6749_6_a_client_with_a_secret_proves_it_to_refresh(make: Make) -> None:
    pairlock = make(clients=[Client(id=TV, secret=SECRET)])
    async with client_of(pairlock.protect(Recorder())) as client:
        token = await paired_with_secret(client)
        for wrong in ({}, {"client_secret": "x"}, {"client_secret": SECRET + "x"}):
            assert said(await refresh(client, token["refresh_token"], **wrong)) == (401, "invalid_client")
        assert (await refresh(client, token["refresh_token"], client_secret=SECRET)).status_code == 200


async def paired_with_secret(client: httpx.AsyncClient) -> dict[str, Any]:
    begun = await begin(client, client_secret=SECRET)
    await approve(client, begun)
    return dict((await poll(client, begun, client_secret=SECRET)).json())


# §10.5 (and RFC 8628 §3.5): a code is good once


async def test_6749_10_5_of_fifty_polls_at_once_exactly_one_gets_a_token(make: Make) -> None:
    one, other = make(), make()  # as two processes on one database
    async with client_of(one.protect(Recorder())) as here, client_of(other.protect(Recorder())) as there:
        begun = await begin(here)
        await approve(there, begun)
        answers = await asyncio.gather(*(poll([here, there][nth % 2], begun) for nth in range(50)))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
        assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
        assert len(await one.devices.list()) == 1


async def test_6749_10_5_another_client_cannot_use_a_code_or_use_it_up(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    assert said(await poll(client, begun, client_id="radio")) == (400, "invalid_grant")  # pending or not
    await approve(client, begun)
    assert said(await poll(client, begun, client_id="radio")) == (400, "invalid_grant")
    assert (await poll(client, begun)).status_code == 200
