"""What devices call: ask, prove, wait, redeem, cancel; who am I, un-pair me."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from pairlock import Approve, Asked, Deny, Limits, Pairlock
from pairlock._core.identity import is_proof
from pairlock.testing import FakeClock
from tests.app.parts import AS_OPERATOR, UNKNOWN_ID, bearer, client_of, pair, start
from tests.services.parts import SENSORS, UNLIMITED, Make, wrong

pytestmark = pytest.mark.anyio


async def pin_of(pairlock: Pairlock, started: dict[str, Any]) -> str:
    pin = pairlock.deciding.pin(await pairlock.deciding.show(started["id"]))
    assert pin is not None
    return pin


async def test_a_request_is_answered_with_what_its_device_needs(client: httpx.AsyncClient) -> None:
    answer = await client.post("/requests", json={"name": "Phone"})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"id", "secret", "state", "shown", "expires_in", "interval", "attempts", "pin_length"}
    assert (body["state"], body["shown"]) == ("pending", True)
    assert (len(body["id"]), len(body["secret"])) == (26, 43)  # 256 bits
    assert (body["expires_in"], body["interval"], body["attempts"], body["pin_length"]) == (300, 5, 5, 6)
    assert type(body["expires_in"]) is int


async def test_of_each_source_one_request_is_shown_and_the_next_is_told_that_it_waits(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    first = await start(client)
    clock.advance(1)
    second = await start(client)
    assert (first["shown"], second["shown"]) == (True, False)
    async with client_of(pairlock.app, client=("192.0.2.1", 1)) as elsewhere:
        assert (await start(elsewhere))["shown"] is True
    await client.delete(f"/requests/{first['id']}", headers=bearer(first["secret"]))
    clock.advance(1)
    assert (await start(client))["shown"] is False  # it is the second's turn


async def test_a_request_carries_where_it_comes_from(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    answer = await client.post(
        "/requests",
        json={"name": " My\x00 Phone ", "hint": "kitchen\u202e", "permissions": {"read": ["/sensors/a"]}},
        headers={"User-Agent": "agent\x1b[31m"},
    )
    request = await pairlock.deciding.show(answer.json()["id"])
    assert request.name == "My Phone"
    assert (request.origin.address, request.origin.user_agent, request.origin.hint) == (
        "127.0.0.1",
        "agent[31m",
        "kitchen",
    )
    assert request.requested is not None
    assert request.requested.scopes() == ["read:/sensors/a"]


async def test_a_caller_without_an_address_is_taken_too(pairlock: Pairlock) -> None:
    async with client_of(pairlock.app, client=None) as client:
        started = await start(client)
    assert (await pairlock.deciding.show(started["id"])).origin.address == ""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": ""}, "invalid_request"),
        ({"name": "\u0000\u0001\u202e"}, "invalid_request"),
        ({"name": "x" * 65}, "invalid_request"),
        ({"name": "x", "permissions": {"read": ["sensors"]}}, "invalid_scope"),
        ({"name": "x", "permissions": {"read": ["/**"]}}, "invalid_scope"),
        ({"name": "x", "permissions": {"read": ["/sensors/a"], "all": []}}, "invalid_scope"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(
    client: httpx.AsyncClient, pairlock: Pairlock, body: dict[str, Any], code: str
) -> None:
    answer = await client.post("/requests", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert await pairlock.deciding.pending() == []


async def test_the_right_pin_is_answered_with_a_token(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    started = await start(client)
    answer = await client.post(
        f"/requests/{started['id']}/pin",
        json={"pin": await pin_of(pairlock, started)},
        headers=bearer(started["secret"]),
    )
    assert answer.status_code == 200
    body = answer.json()
    grant = await pairlock.verify(body.pop("access_token"))
    device_id = body.pop("device_id")
    assert grant.device_id == device_id
    assert body.pop("refresh_token").startswith(f"plr_{device_id}.")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "read:/sensors/** write:/control/lamp",
        "device_name": "Phone",
        "permissions": SENSORS,
        "server": pairlock._runtime.server,
    }
    assert set(body["server"]) == {"id", "name"}


async def test_a_wrong_pin_says_how_many_attempts_are_left(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(client)
    pin, holder, path = await pin_of(pairlock, started), bearer(started["secret"]), f"/requests/{started['id']}/pin"
    for left in (4, 3, 2, 1, 0):
        answer = await client.post(path, json={"pin": wrong(pin)}, headers=holder)
        assert answer.status_code == 400
        assert (answer.json()["error"], answer.json()["attempts_left"]) == ("invalid_pin", left)
    for typed in (wrong(pin), pin):
        answer = await client.post(path, json={"pin": typed}, headers=holder)
        assert (answer.status_code, answer.json()["error"]) == (400, "locked")


async def test_a_malformed_pin_is_told_its_length_and_costs_nothing(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    started = await start(client)
    answer = await client.post(
        f"/requests/{started['id']}/pin", json={"pin": "12345"}, headers=bearer(started["secret"])
    )
    assert (answer.status_code, answer.json()["detail"]) == (400, "the PIN has 6 digits")
    assert (await pairlock.deciding.show(started["id"])).guesses == 0


async def test_polling_tells_the_state(client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock) -> None:
    started = await start(client)
    path, holder = f"/requests/{started['id']}", bearer(started["secret"])
    clock.advance(1.5)
    answer = await client.get(path, headers=holder)
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    assert answer.json() == {"id": started["id"], "state": "pending", "expires_in": 299, "attempts_left": 5}
    await pairlock.deciding.approve(started["id"], message="Welcome")
    assert (await client.get(path, headers=holder)).json() == {
        "id": started["id"],
        "state": "approved",
        "expires_in": 299,
        "attempts_left": 5,
        "message": "Welcome",
    }
    clock.advance(300)
    body = (await client.get(path, headers=holder)).json()
    assert (body["state"], body["expires_in"]) == ("expired", 0)


async def test_a_denied_device_reads_the_reason(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(client)
    await pairlock.deciding.deny(started["id"], reason="Not today")
    polled = (await client.get(f"/requests/{started['id']}", headers=bearer(started["secret"]))).json()
    assert (polled["state"], polled["reason"]) == ("denied", "Not today")
    answer = await client.post(f"/requests/{started['id']}/token", headers=bearer(started["secret"]))
    assert (answer.status_code, answer.json()["error"], answer.json()["reason"]) == (400, "access_denied", "Not today")


async def test_who_prefers_to_wait_is_answered_when_it_is_decided(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    started = await start(client)
    waiting = asyncio.create_task(
        client.get(f"/requests/{started['id']}", headers={**bearer(started["secret"]), "Prefer": "wait=25"})
    )
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await pairlock.deciding.approve(started["id"])
    answer = await asyncio.wait_for(waiting, 1)
    assert answer.json()["state"] == "approved"
    assert answer.headers["preference-applied"] == "wait=25"


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("respond-async, wait=1", "wait=1"),
        ("Wait=1", "wait=1"),
        ("wait=1;x", "wait=1"),
        ("wait=9999", "wait=30"),
        ("wait=0", None),
        ("await=5", None),
        ("wait=", None),
        ("wait=-5", None),
        ("wait=99999", None),
        ("wait=soon", None),
    ],
)
async def test_how_long_somebody_waits_is_bounded(
    client: httpx.AsyncClient, pairlock: Pairlock, prefer: str, applied: str | None
) -> None:
    started = await start(client)
    await pairlock.deciding.approve(started["id"])  # so that nobody waits here
    answer = await client.get(f"/requests/{started['id']}", headers={**bearer(started["secret"]), "Prefer": prefer})
    assert answer.status_code == 200
    assert answer.headers.get("preference-applied") == applied


async def test_what_was_approved_is_redeemed_once(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(client)
    path, holder = f"/requests/{started['id']}/token", bearer(started["secret"])
    pending = await client.post(path, headers=holder)
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    assert "www-authenticate" not in pending.headers
    await pairlock.deciding.approve(started["id"], message="Welcome")
    answers = await asyncio.gather(*(client.post(path, json={}, headers=holder) for _ in range(50)))
    (answer,) = [each for each in answers if each.status_code == 200]
    assert answer.json()["message"] == "Welcome"
    assert {each.json()["error"] for each in answers if each is not answer} == {"already_redeemed"}
    assert {each.status_code for each in answers if each is not answer} == {409}


async def test_a_device_withdraws_its_request(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(client)
    path, holder = f"/requests/{started['id']}", bearer(started["secret"])
    for _ in range(2):
        answer = await client.delete(path, headers=holder)
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(path, headers=holder)).json()["state"] == "cancelled"
    answer = await client.post(f"{path}/token", headers=holder)
    assert (answer.status_code, answer.json()["error"]) == (400, "cancelled")


CALLS = [
    ("GET", "/requests/{id}", None),
    ("DELETE", "/requests/{id}", None),
    ("POST", "/requests/{id}/token", {}),
    ("POST", "/requests/{id}/pin", {"pin": "123456"}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_stranger_cannot_tell_a_request_from_none(
    client: httpx.AsyncClient, pairlock: Pairlock, method: str, path: str, body: dict[str, str] | None
) -> None:
    first, second = await start(client), await start(client)
    secrets = [second["secret"], "x", UNKNOWN_ID, "é"]
    answers = [
        await client.request(
            method, path.format(id=each_id), json=body, headers=[(b"authorization", b"Bearer " + secret.encode())]
        )
        for secret in secrets
        for each_id in (first["id"], UNKNOWN_ID, "x", "%00", "a%20b", "..%2e")
    ]
    assert {each.status_code for each in answers} == {401}
    assert len({each.content for each in answers}) == 1
    assert len({tuple(sorted(each.headers.items())) for each in answers}) == 1
    assert answers[0].json()["error"] == "invalid_token"
    assert [request.guesses for request in await pairlock.deciding.pending()] == [0, 0]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize("authorization", [None, "", "Basic eDp5", "Token x"])
async def test_a_call_without_the_secret_is_challenged(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None, authorization: str | None
) -> None:
    started = await start(client)
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await client.request(method, path.format(id=started["id"]), json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "missing_token")
    assert answer.headers["www-authenticate"] == 'Bearer realm="pairlock"'  # no error code, RFC 6750 §3.1


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b"])
async def test_a_malformed_secret_is_a_malformed_request(client: httpx.AsyncClient, authorization: str) -> None:
    answer = await client.get(f"/requests/{UNKNOWN_ID}", headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/requests", "/requests/{id}/pin", "/requests/{id}/token"])
async def test_where_pairing_is_disabled_devices_are_told_so(make: Make, path: str) -> None:
    async with client_of(make().app) as enabled, client_of(make(enabled=False).app) as disabled:
        started = await start(enabled)
        body = {"pin": "123456"} if path.endswith("pin") else {"name": "Phone"} if path == "/requests" else {}
        answer = await disabled.post(path.format(id=started["id"]), json=body, headers=bearer(started["secret"]))
    assert (answer.status_code, answer.json()["error"]) == (403, "pairing_disabled")


# Paired


async def test_a_device_is_told_who_it_is(client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock) -> None:
    paired = await pair(client, pairlock)
    await pairlock.devices.rename(paired["device_id"], "Old phone")
    answer = await client.get("/whoami", headers=bearer(paired["access_token"]))
    assert answer.status_code == 200
    assert answer.json() == {
        "device": {
            "id": paired["device_id"],
            "name": "Old phone",
            "method": "pin",
            "permissions": SENSORS,
            "created_at": clock.now,
            "approved_by": "pin",
            "expires_at": clock.now + 90 * 86400,
            "address": "127.0.0.1",
            "user_agent": client.headers["user-agent"],
        },
        "server": paired["server"],
    }


async def test_anybody_is_told_which_server_this_is(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    answer = await client.get("/identity")
    assert (answer.status_code, answer.json()) == (200, {"server": pairlock._runtime.server})


async def test_a_device_has_proved_that_it_is_still_the_server_it_paired_with(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    paired, nonce = await pair(client, pairlock), "n" * 22
    told = (await client.get("/identity", params={"device_id": paired["device_id"], "nonce": nonce})).json()
    assert is_proof(told["proof"], paired["refresh_token"], told["server"]["id"], nonce)
    await pairlock.devices.revoke(paired["device_id"])  # it shall hear that it was revoked, not that this is another
    again = (await client.get("/identity", params={"device_id": paired["device_id"], "nonce": nonce})).json()
    assert again == told


async def test_of_a_device_that_is_unknown_the_proof_looks_the_same_and_proves_nothing(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    paired, nonce = await pair(client, pairlock), "n" * 22
    stranger = "0" * len(paired["device_id"])
    said = [(await client.get("/identity", params={"device_id": stranger, "nonce": nonce})).json() for _ in range(2)]
    assert said[0] == said[1]
    assert len(said[0]["proof"]) == 43
    assert not is_proof(said[0]["proof"], paired["refresh_token"], said[0]["server"]["id"], nonce)


@pytest.mark.parametrize(
    "asked",
    [
        {"device_id": "0" * 26},
        {"device_id": "0" * 26, "nonce": "short"},
        {"device_id": "", "nonce": "n" * 22},
        {"device_id": "\0" * 26, "nonce": "n" * 22},
    ],
)
async def test_a_proof_takes_an_id_and_a_nonce(client: httpx.AsyncClient, asked: dict[str, str]) -> None:
    answer = await client.get("/identity", params=asked)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_device_that_un_pairs_itself_is_answered_and_then_refused(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    paired, second = await pair(client, pairlock), await pair(client, pairlock)
    holder = bearer(paired["access_token"])
    answer = await client.delete("/whoami", headers=holder)
    assert (answer.status_code, answer.content) == (204, b"")
    for method in ("GET", "DELETE"):
        answer = await client.request(method, "/whoami", headers=holder)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await client.get("/whoami", headers=bearer(second["access_token"]))).status_code == 200
    (event, *_) = await (await pairlock._runtime.ready()).list_events()
    assert (event.type.value, event.by) == ("revoked", f"device:{paired['device_id']}")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_only_a_token_says_who_one_is(client: httpx.AsyncClient, pairlock: Pairlock, method: str) -> None:
    paired, started = await pair(client, pairlock), await start(client)
    token = paired["access_token"]
    for headers, query, status in (
        ({}, "", 401),
        (bearer(started["secret"]), "", 401),
        (AS_OPERATOR, "", 401),
        (bearer(token[:-1]), "", 401),
        ({}, f"?access_token={token}", 400),
        (bearer(token), f"?access_token={token}", 400),
    ):
        assert (await client.request(method, f"/whoami{query}", headers=headers)).status_code == status
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await client.request(method, "/whoami", headers=twice)).status_code == 400
    assert len(await pairlock.devices.list()) == 1


async def test_two_devices_pair_at_once_each_with_its_own_pin(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    first, second = await asyncio.gather(start(client, name="First"), start(client, name="Second"))
    pins = [await pin_of(pairlock, each) for each in (first, second)]
    if pins[0] != pins[1]:
        crossed = await client.post(
            f"/requests/{first['id']}/pin", json={"pin": pins[1]}, headers=bearer(first["secret"])
        )
        assert crossed.json()["error"] == "invalid_pin"
    answers = await asyncio.gather(
        *(
            client.post(f"/requests/{each['id']}/pin", json={"pin": pin}, headers=bearer(each["secret"]))
            for each, pin in zip((first, second), pins, strict=True)
        )
    )
    assert [each.json()["device_name"] for each in answers] == ["First", "Second"]
    assert len({each.json()["access_token"] for each in answers}) == 2
    assert {device.name for device in await pairlock.devices.list()} == {"First", "Second"}


async def test_an_empty_body_is_told_what_to_send(client: httpx.AsyncClient) -> None:
    answer = await client.post("/requests", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "send a JSON object as the body"


# What may keep a device from asking


@pytest.mark.parametrize(
    ("limits", "error", "wait"),
    [
        (replace(UNLIMITED, starts="1/minute"), "too_many_requests", "60"),
        (replace(UNLIMITED, starts="2/minute; 1/hour"), "too_many_requests", "3600"),
        (replace(UNLIMITED, starts_in_all="1/day"), "too_many_requests", "86400"),
        (replace(UNLIMITED, pending_per_source=1), "busy", "300"),
        (replace(UNLIMITED, pending=1), "busy", "300"),
    ],
)
async def test_a_device_that_asks_too_often_is_told_when_to_come_back(
    make: Make, limits: Limits, error: str, wait: str
) -> None:
    async with client_of(make(limits=limits).app) as client:
        await start(client)
        answer = await client.post("/requests", json={"name": "Phone"})
    assert (answer.status_code, answer.json()["error"]) == (429, error)
    assert answer.headers["retry-after"] == wait == str(answer.json()["retry_after"])
    assert "www-authenticate" not in answer.headers


async def test_what_is_malformed_costs_no_start(make: Make) -> None:
    async with client_of(make(limits=replace(UNLIMITED, starts="1/minute")).app) as client:
        for body in ({"name": ""}, {"name": "x", "permissions": {"read": ["/**"]}}, {}):
            assert (await client.post("/requests", json=body)).status_code == 400
        await start(client)


async def test_a_handler_lets_a_device_in_or_denies_it_at_once(make: Make) -> None:
    async def decide(asked: Asked) -> Approve | Deny | None:
        if asked.name == "In":
            return Approve(message="Welcome", token_life=60)
        return Deny(reason="Not you") if asked.name == "Out" else None

    async with client_of(make(decide=decide).app) as client:
        let_in, left = await start(client, name="In"), await start(client, name="Other")
        assert (let_in["state"], left["state"]) == ("approved", "pending")
        redeemed = await client.post(f"/requests/{let_in['id']}/token", headers=bearer(let_in["secret"]))
        assert (redeemed.json()["message"], redeemed.json()["expires_in"]) == ("Welcome", 60)
        answer = await client.post("/requests", json={"name": "Out"})
    assert (answer.status_code, answer.json()["error"], answer.json()["reason"]) == (400, "access_denied", "Not you")


async def test_a_request_is_withdrawn_when_its_device_polls_no_more(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    started = await start(client)
    path, holder = f"/requests/{started['id']}", bearer(started["secret"])
    assert (await client.get(path, headers=holder)).json()["state"] == "pending"
    clock.advance(31)
    assert (await client.get("/requests", headers=AS_OPERATOR)).json()["requests"] == []
    assert (await client.get(path, headers=holder)).json()["state"] == "cancelled"


async def test_a_long_lived_method_is_answered_with_one_token(make: Make) -> None:
    pairlock = make(long_lived=["pin"])
    async with client_of(pairlock.app) as client:
        paired = await pair(client, pairlock)
    assert "refresh_token" not in paired
    assert paired["expires_in"] == 90 * 86400
