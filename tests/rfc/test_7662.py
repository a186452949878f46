"""RFC 7662: what a token is good for, told to resource servers that prove who they are."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp

from pairlock import Pairlock, Permissions
from pairlock.testing import FakeClock
from tests.app.parts import OPERATOR_TOKEN, bearer, client_of
from tests.rfc.parts import SECRET, TV, approve, basic, begin, paired, poll, refresh, said
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

URL = "/pair/introspect"
CAMERA = basic("camera", SECRET)


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make(resource_servers={"camera": SECRET, "lamp": SECRET[::-1]})


@pytest.fixture
async def client(service: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as client:
        yield client


async def introspect(client: httpx.AsyncClient, token: str) -> httpx.Response:
    answer = await client.post(URL, data={"token": token}, headers=CAMERA)
    assert answer.status_code == 200, answer.text
    return answer


# §2.1


async def test_7662_2_1_the_caller_proves_who_it_is(client: httpx.AsyncClient) -> None:
    token = (await paired(client))["access_token"]
    for headers in (
        *(basic("camera"), basic("camera", "x"), basic("lamp", SECRET), basic("unknown", SECRET), basic("", "")),
        *(basic(TV), basic(TV, SECRET), bearer(token), bearer(OPERATOR_TOKEN)),
    ):
        answer = await client.post(URL, data={"token": token}, headers=headers)
        assert said(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"] == 'Basic realm="pairlock"'
        assert "active" not in answer.json()
    for form in ({"client_id": "camera"}, {"client_id": "camera", "client_secret": "x"}, {"client_id": TV}):
        assert said(await client.post(URL, data={"token": token, **form})) == (401, "invalid_client")


async def test_7662_2_1_no_credentials_at_all_are_no_proof(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, data={"token": (await paired(client))["access_token"]})
    assert said(answer) == (401, "invalid_client")  # RFC 6749 §5.2: no client authentication included


async def test_7662_2_1_without_resource_servers_nobody_may_ask(make: Make) -> None:
    async with client_of(make().app) as client:
        for headers in (CAMERA, basic("camera"), basic("", ""), basic(TV)):
            assert said(await client.post("/introspect", data={"token": "x"}, headers=headers)) == (
                401,
                "invalid_client",
            )


async def test_7662_2_1_the_secret_may_be_in_the_form(client: httpx.AsyncClient) -> None:
    token = (await paired(client))["access_token"]
    answer = await client.post(URL, data={"token": token, "client_id": "camera", "client_secret": SECRET})
    assert answer.json()["active"] is True


async def test_7662_2_1_the_token_is_in_the_form_and_nowhere_else(client: httpx.AsyncClient) -> None:
    token = (await paired(client))["access_token"]
    for form in ({}, {"token": ""}, {"token": [token, token]}):
        kind = {"content-type": "application/x-www-form-urlencoded"}
        assert said(await client.post(URL, data=form, headers={**kind, **CAMERA})) == (400, "invalid_request")
    assert said(await client.post(URL, params={"token": token}, headers=CAMERA)) == (400, "invalid_request")
    assert (await client.get(URL, params={"token": token}, headers=CAMERA)).status_code == 405


# §2.2


async def test_7662_2_2_an_active_token_is_told_in_full(client: httpx.AsyncClient, clock: FakeClock) -> None:
    token = await paired(client, scope="read:/sensors/** write:/control/lamp", name="Telly")
    answer = await introspect(client, token["access_token"])
    assert answer.json() == {
        "active": True,
        "scope": "read:/sensors/** write:/control/lamp",
        "token_type": "Bearer",
        "client_id": TV,
        "sub": token["device_id"],
        "username": "Telly",
        "iat": int(clock()),
        "exp": int(clock()) + 3600,
        "iss": "http://pair.test/pair",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_7662_2_2_a_hint_and_anything_else_is_ignored(client: httpx.AsyncClient) -> None:
    token = (await paired(client))["access_token"]
    for hint in ("access_token", "refresh_token", "unheard-of"):
        form = {"token": token, "token_type_hint": hint, "resource": "x"}
        assert (await client.post(URL, data=form, headers=CAMERA)).json()["active"] is True


async def test_7662_2_2_expired_revoked_unknown_and_forged_are_one_answer(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    revoked, expired = await paired(client), await paired(client)
    await pairlock.devices.revoke(revoked["device_id"])
    clock.advance(3600)
    good, begun = await paired(client), await begin(client)
    inactive = [
        await introspect(client, token)
        for token in (
            *(revoked["access_token"], expired["access_token"], revoked["refresh_token"], good["refresh_token"]),
            *(good["access_token"][:-1], good["access_token"] + "x", good["access_token"].swapcase()),
            *("x", "plk_", "é", "\0", "x" * 9000, begun["device_code"], begun["user_code"], SECRET),
        )
    ]
    assert {answer.content for answer in inactive} == {b'{"active":false}'}
    assert len({tuple(sorted(answer.headers.items())) for answer in inactive}) == 1
    assert (await introspect(client, good["access_token"])).json()["active"] is True


async def test_7662_2_2_a_token_that_was_narrowed_says_what_is_left_of_it(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    token = await paired(client)
    await pairlock.devices.narrow(token["device_id"], Permissions(read=("/sensors/**",)))
    assert (await introspect(client, token["access_token"])).json()["scope"] == "read:/sensors/**"


async def test_7662_2_2_the_narrower_token_of_a_refresh_says_what_it_carries(client: httpx.AsyncClient) -> None:
    token = await paired(client)
    narrower = (await refresh(client, token["refresh_token"], scope="read:/sensors/a")).json()
    assert (await introspect(client, narrower["access_token"])).json()["scope"] == "read:/sensors/a"
    assert (await introspect(client, token["access_token"])).json()["scope"] == "read:/** write:/**"


async def test_7662_2_2_no_client_is_named_where_there_was_none(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    code = await pairlock.code({"read": ["/a"]})
    token = (await client.post("/pair/redeem", json={"code": code, "name": "CLI"})).json()
    assert "client_id" not in (await introspect(client, token["access_token"])).json()


async def test_7662_4_asking_does_not_use_a_token_up(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    token = (await poll(client, begun)).json()
    for _ in range(3):
        assert (await introspect(client, token["access_token"])).json()["active"] is True
    assert (await refresh(client, token["refresh_token"])).status_code == 200
