"""What operators call, and that nobody else can."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from pairlock import ConfigurationError, Operator, Pairlock, Permissions, operator_token
from pairlock.asgi.calls import OperatorHook
from pairlock.stores.contract import Add
from pairlock.testing import FakeClock, a_device
from tests.app.parts import (
    ALICE,
    AS_OPERATOR,
    OPERATOR_CALLS,
    OPERATOR_TOKEN,
    UNKNOWN_ID,
    bearer,
    client_of,
    pair,
    start,
)
from tests.services.parts import SENSORS, Make

pytestmark = pytest.mark.anyio


@pytest.fixture
async def operator(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as operator:
        operator.headers.update(AS_OPERATOR)
        yield operator


# Who is no operator


def assert_refused(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]) == (403, "operator_required")
    assert answer.headers["cache-control"] == "no-store"


async def test_an_operator_call_by_anybody_else_is_refused_and_changes_nothing(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    paired, started = await pair(client, pairlock), await start(client)
    before = await (await pairlock._runtime.ready()).list_events()
    others: list[dict[str, str]] = [
        {},
        bearer(paired["access_token"]),
        bearer(started["secret"]),
        bearer(OPERATOR_TOKEN[:-1]),
        bearer(OPERATOR_TOKEN + "x"),
        bearer(OPERATOR_TOKEN.upper()),
        {"Authorization": f"Basic {OPERATOR_TOKEN}"},
        {"Authorization": OPERATOR_TOKEN},
        {"Cookie": f"token={OPERATOR_TOKEN}"},
    ]
    for method, path in OPERATOR_CALLS:
        for each_id in (started["id"], paired["device_id"], UNKNOWN_ID):
            for headers in others:
                answer = await client.request(method, path.format(id=each_id), json={"name": "x"}, headers=headers)
                assert_refused(answer)
    assert await (await pairlock._runtime.ready()).list_events() == before


async def test_the_token_of_a_device_is_refused_whatever_the_hook_says(make: Make) -> None:
    pairlock = make(operator=lambda connection: ALICE)  # such as a session cookie that rides along
    async with client_of(pairlock.app) as client:
        paired, started = await pair(client, pairlock), await start(client)
        for method, path in OPERATOR_CALLS:
            for each_id in (started["id"], paired["device_id"]):
                for scheme in ("Bearer", "bearer", "BEARER "):
                    headers = {"Authorization": f"{scheme} {paired['access_token']}"}
                    assert_refused(
                        await client.request(method, path.format(id=each_id), json={"name": "x"}, headers=headers)
                    )


async def test_without_a_hook_nobody_is_an_operator(make: Make) -> None:
    async with client_of(make(operator=None).app) as client:
        for method, path in OPERATOR_CALLS:
            assert_refused(await client.request(method, path.format(id=UNKNOWN_ID), headers=AS_OPERATOR))


@pytest.mark.parametrize("said", [None, False, True, "alice", {"id": "alice"}, 0])
async def test_a_hook_that_names_no_operator_lets_nobody_in(make: Make, said: Any) -> None:
    def hook(connection: HTTPConnection) -> Any:
        return said

    async with client_of(make(operator=hook).app) as client:
        for method, path in OPERATOR_CALLS:
            assert_refused(await client.request(method, path.format(id=UNKNOWN_ID)))


async def test_a_hook_that_fails_lets_nobody_in_and_leaks_nothing(make: Make) -> None:
    def hook(connection: HTTPConnection) -> Operator | None:
        raise RuntimeError("the password of the directory is hunter2")

    async with client_of(make(operator=hook).app) as client:
        for method, path in OPERATOR_CALLS:
            answer = await client.request(method, path.format(id=UNKNOWN_ID))
            assert (answer.status_code, answer.json()["error"]) == (500, "server_error")
            assert answer.headers["cache-control"] == "no-store"
            assert "hunter2" not in answer.text + str(answer.headers)


async def by_cookie(connection: HTTPConnection) -> Operator | None:
    await asyncio.sleep(0)
    return ALICE if connection.cookies.get("user") == "alice" else None


def by_header(connection: HTTPConnection) -> Operator | None:
    return ALICE if connection.headers.get("x-user") == "alice" else None


@pytest.mark.parametrize(
    ("hook", "headers"),
    [
        (by_cookie, {"Cookie": "user=alice"}),
        (by_header, {"X-User": "alice"}),
        (operator_token(OPERATOR_TOKEN), AS_OPERATOR),
        (operator_token("geheim-mit-ümlaut-geheim"), {b"authorization": "bearer geheim-mit-ümlaut-geheim".encode()}),
    ],
)
async def test_a_hook_may_be_a_function_or_a_coroutine(make: Make, hook: OperatorHook, headers: Any) -> None:
    async with client_of(make(operator=hook).app) as client:
        assert (await client.get("/requests", headers=headers)).status_code == 200
        assert_refused(await client.get("/requests"))


# Requests


async def test_pending_requests_are_listed_with_their_pins_newest_first(
    operator: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    first = await start(operator, hint="kitchen")
    clock.advance(2)
    second = await start(operator, name="Tablet", permissions={"read": ["/sensors/a"]})
    body = (await operator.get("/requests")).json()
    assert [each["id"] for each in body["requests"]] == [second["id"], first["id"]]
    newest, oldest = body["requests"]
    assert oldest == {
        "id": first["id"],
        "method": "pin",
        "state": "pending",
        "name": "Phone",
        "pin": pairlock.deciding.pin(await pairlock.deciding.show(first["id"])),
        "created_at": clock.now - 2,
        "expires_in": 298,
        "attempts_left": 5,
        "permissions": SENSORS,
        "address": "127.0.0.1",
        "network": "same",
        "user_agent": operator.headers["user-agent"],
        "hint": "kitchen",
    }
    assert newest["requested"] == newest["permissions"] == {"read": ["/sensors/a"], "write": []}
    assert [each["id"] for each in (await operator.get("/requests?limit=1")).json()["requests"]] == [second["id"]]
    page = await operator.get("/requests", params={"before": second["id"]})
    assert [each["id"] for each in page.json()["requests"]] == [first["id"]]


@pytest.mark.parametrize("path", ["/requests", "/devices"])
@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "", "²", "٣", " 1", "1" * 5000])
async def test_a_page_has_1_to_100_entries(operator: httpx.AsyncClient, path: str, limit: str) -> None:
    answer = await operator.get(path, params={"limit": limit})
    assert (answer.status_code, answer.json()["detail"]) == (400, "limit must be a number from 1 to 100")


async def test_no_pin_is_shown_to_an_operator_who_may_not_grant_what_it_does(make: Make) -> None:
    bob = operator_token(OPERATOR_TOKEN, Operator("bob", Permissions(read=("/sensors/a",))))
    async with client_of(make(operator=bob).app) as client:
        wide, narrow = await start(client), await start(client, permissions={"read": ["/sensors/a"]})
        shown = {each["id"]: each for each in (await client.get("/requests", headers=AS_OPERATOR)).json()["requests"]}
        assert ("pin" in shown[wide["id"]], "pin" in shown[narrow["id"]]) == (False, True)
        denied = (await client.post(f"/requests/{wide['id']}/deny", headers=AS_OPERATOR)).json()
        assert "pin" not in denied


async def test_an_operator_approves_with_less_and_a_message(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(operator)
    answer = await operator.post(
        f"/requests/{started['id']}/approve",
        json={"permissions": {"read": ["/sensors/a"], "write": []}, "message": "Welcome"},
    )
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["permissions"]) == ("approved", {"read": ["/sensors/a"], "write": []})
    redeemed = (await operator.post(f"/requests/{started['id']}/token", headers=bearer(started["secret"]))).json()
    assert (redeemed["message"], redeemed["permissions"]["read"]) == ("Welcome", ["/sensors/a"])
    assert (await pairlock.devices.find(redeemed["device_id"])).approved_by == "operator:alice"


async def test_an_operator_approves_and_denies_with_no_body_at_all(operator: httpx.AsyncClient) -> None:
    for verb, state in (("approve", "approved"), ("deny", "denied")):
        started = await start(operator)
        answer = await operator.post(f"/requests/{started['id']}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        for again in ("approve", "deny"):
            answer = await operator.post(f"/requests/{started['id']}/{again}")
            assert answer.status_code == 409
            assert (answer.json()["error"], answer.json()["state"]) == ("already_decided", state)


async def test_an_operator_denies_with_a_reason(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(operator)
    assert (await operator.post(f"/requests/{started['id']}/deny", json={"reason": "who are you?"})).status_code == 200
    assert (await pairlock.deciding.show(started["id"])).reason == "who are you?"


async def test_more_than_was_asked_for_or_is_held_cannot_be_granted(make: Make) -> None:
    bob = operator_token(OPERATOR_TOKEN, Operator("bob", Permissions(read=("/sensors/a",))))
    async with client_of(make(operator=bob).app) as client:
        started = await start(client)
        for body in (None, {"permissions": {"read": ["/**"]}}, {"permissions": {"read": ["sensors"]}}):
            answer = await client.post(f"/requests/{started['id']}/approve", json=body, headers=AS_OPERATOR)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        body = {"permissions": {"read": ["/sensors/a"]}}
        answer = await client.post(f"/requests/{started['id']}/approve", json=body, headers=AS_OPERATOR)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/requests/{id}/approve", None),
        ("POST", "/requests/{id}/deny", None),
        ("PATCH", "/devices/{id}", {"name": "x"}),
        ("DELETE", "/devices/{id}", None),
    ],
)
async def test_an_id_that_is_not_there_is_not_found(
    operator: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None
) -> None:
    answer = await operator.request(method, path.format(id=UNKNOWN_ID), json=body)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


# Devices


async def test_devices_are_listed_in_pages(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    await pairlock.start()
    devices = [a_device() for _ in range(5)]
    await pairlock._runtime.commit(*map(Add, devices))
    newest_first = [device.id for device in reversed(devices)]

    pages: list[list[str]] = []
    before: dict[str, str] = {}
    while True:
        body = (await operator.get("/devices", params={"limit": 2, **before})).json()
        pages.append([device["id"] for device in body["devices"]])
        if body["next"] is None:
            break
        before = {"before": body["next"]}
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert (await operator.get("/devices")).json()["next"] is None


async def test_devices_are_searched_by_name_in_pages(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    await pairlock.start()
    names = ["Phone of Ada", "phone", "PHONE 2", "Tablet", "Ünique phone"]
    await pairlock._runtime.commit(*(Add(a_device(name=name)) for name in names))

    found: list[str] = []
    params: dict[str, str | int] = {"name": "Phon", "limit": 2}
    while True:
        body = (await operator.get("/devices", params=params)).json()
        found += [device["name"] for device in body["devices"]]
        if body["next"] is None:
            break
        params["after"] = body["next"]
    assert found == ["phone", "PHONE 2", "Phone of Ada"]
    (unique,) = (await operator.get("/devices", params={"name": "ünI"})).json()["devices"]
    assert unique["name"] == "Ünique phone"
    assert (await operator.get("/devices", params={"name": "nobody"})).json() == {"devices": [], "next": None}


@pytest.mark.parametrize("wrong", [{"before": "x"}, {"after": "é"}, {"after": "abc"}, {"after": "_w=="}])
async def test_a_search_goes_on_only_where_a_page_has_ended(operator: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    answer = await operator.get("/devices", params={"name": "phone", **wrong})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_device_is_listed_with_when_it_was_seen(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    paired = await pair(operator, pairlock)
    await (await pairlock._runtime.ready()).touch({paired["device_id"]: 1234.5})
    assert (await operator.get("/devices")).json()["devices"][0]["seen_at"] == 1234.5


async def test_a_device_is_listed_with_what_an_operator_needs(
    operator: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    paired = await pair(operator, pairlock)
    assert (await operator.get("/devices")).json() == {
        "devices": [
            {
                "id": paired["device_id"],
                "name": "Phone",
                "method": "pin",
                "permissions": SENSORS,
                "created_at": clock.now,
                "approved_by": "pin",
                "expires_at": clock.now + 90 * 86400,
                "address": "127.0.0.1",
                "user_agent": operator.headers["user-agent"],
            }
        ],
        "next": None,
    }


async def test_a_device_is_renamed_narrowed_or_both(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    paired = await pair(operator, pairlock)
    path = f"/devices/{paired['device_id']}"
    answer = await operator.patch(path, json={"name": " Old phone "})
    assert (answer.status_code, answer.json()["name"], answer.json()["permissions"]) == (200, "Old phone", SENSORS)
    answer = await operator.patch(path, json={"permissions": {"read": ["/sensors/a"]}})
    assert answer.json()["permissions"] == {"read": ["/sensors/a"], "write": []}
    answer = await operator.patch(path, json={"name": "Phone", "permissions": {}})
    assert (answer.json()["name"], answer.json()["permissions"]) == ("Phone", {"read": [], "write": []})
    (event, *_) = await (await pairlock._runtime.ready()).list_events()
    assert event.by == "operator:alice"
    grant = await pairlock.verify(paired["access_token"])
    assert not grant.allows("read", "/sensors/a")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "invalid_request"),
        ({"name": ""}, "invalid_request"),
        ({"name": None}, "invalid_request"),
        ({"permissions": None}, "invalid_request"),
        ({"permissions": {"read": ["/**"]}}, "invalid_scope"),
        ({"name": "x", "permissions": {"read": ["/**"]}}, "invalid_scope"),
        ({"epoch": 0}, "invalid_request"),
    ],
)
async def test_a_change_that_makes_no_sense_or_widens_changes_nothing(
    operator: httpx.AsyncClient, pairlock: Pairlock, body: dict[str, Any], error: str
) -> None:
    paired = await pair(operator, pairlock)
    answer = await operator.patch(f"/devices/{paired['device_id']}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert (await pairlock.devices.find(paired["device_id"])).version == 1


async def test_devices_are_revoked_one_by_one_and_all_at_once(operator: httpx.AsyncClient, pairlock: Pairlock) -> None:
    paired = [await pair(operator, pairlock) for _ in range(3)]
    path = f"/devices/{paired[0]['device_id']}"
    answer = await operator.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await operator.delete(path)).status_code == 404
    assert (await operator.patch(path, json={"name": "x"})).status_code == 404
    answer = await operator.delete("/devices")
    assert (answer.status_code, answer.json()) == (200, {"revoked": 2})
    assert (await operator.delete("/devices")).json() == {"revoked": 0}
    for each in paired:
        assert (await operator.get("/whoami", headers=bearer(each["access_token"]))).status_code == 401


async def test_a_hook_may_turn_somebody_away_in_the_words_of_its_host(make: Make) -> None:
    def sign_in_first(connection: HTTPConnection) -> Operator | None:
        raise HTTPException(401, headers={"WWW-Authenticate": "Negotiate"})

    async with client_of(make(operator=sign_in_first).app) as client:
        answer = await client.get("/devices")
    assert (answer.status_code, answer.json()["error"]) == (401, "operator_required")
    assert answer.headers["www-authenticate"] == "Negotiate"
    assert answer.headers["cache-control"] == "no-store"


async def test_pending_requests_come_in_pages(operator: httpx.AsyncClient) -> None:
    ids = sorted([(await start(operator, name=f"Phone {number}"))["id"] for number in range(3)], reverse=True)
    first = (await operator.get("/requests?limit=2")).json()
    assert [request["id"] for request in first["requests"]] == ids[:2]
    last = (await operator.get(f"/requests?limit=2&before={first['next']}")).json()
    assert [request["id"] for request in last["requests"]] == ids[2:]
    assert last["next"] is None


@pytest.mark.parametrize("token", ["", "x" * 15, "x" * 16 + " y", "x" * 16 + ",y", "x" * 16 + "\n"])
def test_an_operator_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="at least 16 characters, no spaces or commas"):
        operator_token(token)
