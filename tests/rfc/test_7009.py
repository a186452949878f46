"""RFC 7009: giving a token back un-pairs its device."""

from typing import Any

import httpx
import pytest

from pairlock import Client, Pairlock
from pairlock.testing import FakeClock
from tests.app.parts import UNKNOWN_ID, client_of
from tests.guard.parts import Recorder
from tests.rfc.parts import SECRET, TV, basic, begin, paired, poll, refresh, revoke, said, status_of
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

URL = "/pair/revoke"


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "unheard-of"])
async def test_7009_2_1_either_token_un_pairs_the_device_whatever_the_hint(
    client: httpx.AsyncClient, which: str, hint: str
) -> None:
    token = await paired(client)
    assert await status_of(client, token["access_token"]) == 200
    answer = await revoke(client, token[which], token_type_hint=hint)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert await status_of(client, token["access_token"]) == 401
    assert said(await refresh(client, token["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_7009_2_1_a_token_that_was_refreshed_since_still_un_pairs(
    client: httpx.AsyncClient, clock: FakeClock, which: str
) -> None:
    old = await paired(client)
    clock.advance(60)
    new = (await refresh(client, old["refresh_token"])).json()
    assert (await revoke(client, old[which])).status_code == 200
    assert await status_of(client, new["access_token"]) == 401


async def test_7009_2_1_a_token_is_not_given_back_twice_but_may_be_offered_so(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    token = await paired(client)
    for _ in range(3):
        assert (await revoke(client, token["access_token"])).status_code == 200
    assert [event.type.value for event in await pairlock.audit.list()].count("revoked") == 1


async def test_7009_2_1_another_device_stays(client: httpx.AsyncClient) -> None:
    mine, other = await paired(client), await paired(client)
    await revoke(client, mine["access_token"])
    assert await status_of(client, other["access_token"]) == 200


async def test_7009_2_1_it_is_bound_to_its_client(client: httpx.AsyncClient) -> None:
    token = await paired(client)
    for which in ("access_token", "refresh_token"):
        for wrong in ({"client_id": "radio"}, {"client_id": ""}):
            assert said(await revoke(client, token[which], **wrong)) == (400, "invalid_grant")
        answer = await client.post(URL, data={"token": token[which]}, headers=basic("radio"))
        assert said(answer) == (400, "invalid_grant")
    assert await status_of(client, token["access_token"]) == 200


async def test_7009_2_1_a_client_with_a_secret_proves_it(make: Make) -> None:
    pairlock = make(clients=[Client(id=TV, secret=SECRET)])
    async with client_of(pairlock.protect(Recorder())) as client:
        answer = await client.post("/pair/device_authorization", data={"name": "TV"}, headers=basic(TV, SECRET))
        code = answer.json()
        found = await pairlock.deciding.look_up(code["user_code"])
        await pairlock.deciding.approve(found.id)
        token = (await poll(client, code, client_secret=SECRET)).json()
        for headers in ({}, basic(TV), basic(TV, "wrong")):
            form: dict[str, Any] = {"token": token["access_token"], **({} if headers else {"client_id": TV})}
            answer = await client.post(URL, data=form, headers=headers)
            assert said(answer) == (401, "invalid_client")
            assert answer.headers["www-authenticate"].startswith("Basic ")
        assert await status_of(client, token["access_token"]) == 200
        answer = await client.post(URL, data={"token": token["access_token"]}, headers=basic(TV, SECRET))
        assert answer.status_code == 200
        assert await status_of(client, token["access_token"]) == 401


async def test_7009_2_1_a_device_that_paired_without_a_client_needs_none(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    code = await pairlock.code({"read": ["/**"]})
    token = (await client.post("/pair/redeem", json={"code": code, "name": "CLI"})).json()
    assert (await client.post(URL, data={"token": token["access_token"]})).status_code == 200
    assert await status_of(client, token["access_token"]) == 401


async def test_7009_2_1_the_token_has_to_be_there(client: httpx.AsyncClient) -> None:
    for form in ({"client_id": TV}, {"client_id": TV, "token": ""}, {"client_id": TV, "token": ["x", "x"]}):
        assert said(await client.post(URL, data=form)) == (400, "invalid_request")
    token = (await paired(client))["access_token"]
    assert said(await client.post(URL, params={"token": token, "client_id": TV})) == (400, "invalid_request")
    assert (await client.get(URL, params={"token": token, "client_id": TV})).status_code == 405
    assert await status_of(client, token) == 200


async def test_7009_2_2_a_token_that_does_not_count_is_no_error(client: httpx.AsyncClient, clock: FakeClock) -> None:
    token, begun = await paired(client), await begin(client)
    refreshing = token["refresh_token"]
    _, family, secret = refreshing.split(".")
    for unknown in (
        *("x", "plk_", "plr_", "é", "\0", "x" * 9000, token["access_token"][:-1]),
        *(
            refreshing.replace(family, family[1:] + family[0]),
            refreshing.replace(family, family[1:] + family[0]).replace(secret, secret[1:] + secret[0]),
            refreshing.replace(token["device_id"], UNKNOWN_ID),
            begun["device_code"],
        ),
    ):
        for client_id in (TV, ""):
            answer = await revoke(client, unknown, client_id=client_id)
            assert (answer.status_code, answer.json()) == (200, {})
    assert await status_of(client, token["access_token"]) == 200
    clock.advance(91 * 86400)
    assert (await revoke(client, token["access_token"])).status_code == 200
