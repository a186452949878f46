"""OAuth over HTTP: what the endpoints answer besides what the tests hold that are named by clauses of the standards."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from pairlock import Approve, Asked, Client, Deny, Limits, Pairlock, Permissions
from pairlock._core.oauth import DEVICE_CODE_GRANT, REFRESH_GRANT
from pairlock.testing import FakeClock
from tests.app.parts import AS_OPERATOR, SHARED_CALLS, UNKNOWN_ID, bearer, client_of, pair, start
from tests.app.scene import ALL_CALLS, SERVER_SECRET, a_scene, basic, make_call
from tests.services.parts import UNLIMITED, FailingStore, Make, away, wrong

pytestmark = pytest.mark.anyio

SECRET = "the-secret-of-the-recorder"
TV = {"client_id": "tv"}
OAUTH = ("/device_authorization", "/token", "/revoke", "/introspect")
BASIC = 'Basic realm="pairlock"'


def said(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer that refuses."""
    return answer.status_code, answer.json()["error"]


async def begin(client: httpx.AsyncClient, **form: str) -> dict[str, Any]:
    """The device authorization answer."""
    answer = await client.post("/device_authorization", data={**TV, **form})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def poll(client: httpx.AsyncClient, begun: dict[str, Any], **form: str) -> httpx.Response:
    asked = {**TV, "grant_type": DEVICE_CODE_GRANT, "device_code": begun["device_code"]}
    return await client.post("/token", data={**asked, **form})


async def approve(client: httpx.AsyncClient, begun: dict[str, Any], **body: Any) -> dict[str, Any]:
    """What the operator is answered who looked the user code up and approved."""
    found = await client.post("/requests/lookup", json={"user_code": begun["user_code"]}, headers=AS_OPERATOR)
    answer = await client.post(f"/requests/{found.json()['id']}/approve", json=body, headers=AS_OPERATOR)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def paired_by_code(client: httpx.AsyncClient, **form: str) -> dict[str, Any]:
    """The token answer of a device that paired by device code."""
    begun = await begin(client, **form)
    await approve(client, begun)
    return dict((await poll(client, begun)).json())


async def refresh(client: httpx.AsyncClient, token: str, **form: str) -> httpx.Response:
    return await client.post("/token", data={"grant_type": REFRESH_GRANT, "refresh_token": token, **form})


# Errors


@pytest.mark.parametrize("path", OAUTH)
@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic x",
        b"Basic !!!!",
        b"Basic dHY=x",
        b"Basic dHY",
        b"Basic dHY=",  # no colon
        b"Basic Og==",  # no id
        b"Basic /////w==",  # no UTF-8
        b"Basic \xe9",
        "Basic ☕".encode(),
        b"Basic dHYgOng=",  # a space in the id
        b"Bearer plk_x",
        b"Digest x",
        b"Token",
    ],
)
async def test_an_authorization_that_proves_no_client_is_challenged_by_basic(
    client: httpx.AsyncClient, path: str, authorization: bytes
) -> None:
    form = {"token": "x", "grant_type": DEVICE_CODE_GRANT, "device_code": "x"}
    answer = await client.post(path, data=form, headers=[(b"authorization", authorization)])
    assert said(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"] == BASIC


@pytest.mark.parametrize("path", OAUTH)
async def test_a_client_with_a_secret_is_asked_for_it_however_it_calls(make: Make, path: str) -> None:
    pairlock = make(clients=[Client(id="recorder", secret=SECRET), Client(id="tv")])
    async with client_of(pairlock.app) as client:
        rest = {"token": "x", "grant_type": DEVICE_CODE_GRANT, "device_code": "x"}
        offers: list[tuple[dict[str, str], dict[str, str]]] = [
            ({"client_id": "recorder"}, {}),
            ({"client_id": "recorder", "client_secret": wrong(SECRET)}, {}),
            ({"client_id": "unknown"}, {}),
            ({"client_id": "tv", "client_secret": SECRET}, {}),
            ({}, basic("recorder")),
            ({}, basic("recorder", SECRET[:-1])),
            ({}, basic("unknown", SECRET)),
        ]
        answers = [await client.post(path, data={**form, **rest}, headers=headers) for form, headers in offers]
    assert {said(each) for each in answers} == {(401, "invalid_client")}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1  # whether it is known is not said
    assert answers[0].headers["www-authenticate"] == BASIC


async def test_both_ways_to_name_a_client_must_agree_and_only_one_may_hold_the_secret(make: Make) -> None:
    async with client_of(make(clients=[Client(id="recorder", secret=SECRET)]).app) as client:
        proved = basic("recorder", SECRET)
        for form, status in (
            ({}, 200),
            ({"client_id": "recorder"}, 200),
            ({"client_id": "tv"}, 400),
            ({"client_secret": SECRET}, 400),
            ({"client_id": "recorder", "client_secret": SECRET}, 400),
        ):
            answer = await client.post("/device_authorization", data={"name": "x", **form}, headers=proved)
            assert answer.status_code == status
            assert status == 200 or said(answer) == (400, "invalid_request")


@pytest.mark.parametrize(("client_id", "status"), [("x" * 200, 200), ("x" * 201, 400), ("a b", 400), ("é", 400)])
async def test_a_client_id_is_visible_ascii_and_not_long(
    client: httpx.AsyncClient, client_id: str, status: int
) -> None:
    assert (await client.post("/device_authorization", data={"client_id": client_id})).status_code == status


async def test_an_unknown_a_foreign_and_a_used_device_code_are_one_answer(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    used, foreign, started = await begin(client), await begin(client), await start(client)
    await approve(client, used)
    assert (await poll(client, used)).status_code == 200
    request_id, _, secret = foreign["device_code"].partition(".")
    answers = [
        await poll(client, used),
        await poll(client, foreign, client_id="other"),
        await poll(client, foreign, device_code=f"{request_id}.{secret[::-1]}"),
        await poll(client, foreign, device_code=request_id),
        await poll(client, foreign, device_code=f"{UNKNOWN_ID}.{secret}"),
        await poll(client, foreign, device_code=f"{started['id']}.{started['secret']}"),
        await poll(client, foreign, device_code="\x00.\x00"),
        await poll(client, foreign, device_code=foreign["user_code"]),
        await poll(client, foreign, code_verifier="x" * 43),
    ]
    assert {said(each) for each in answers} == {(400, "invalid_grant")}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1
    assert "www-authenticate" not in answers[0].headers
    assert said(await poll(client, foreign)) == (400, "authorization_pending")  # nothing of that slowed it down


async def test_fifty_polls_at_once_are_given_one_token(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    begun = await begin(client)
    await approve(client, begun)
    answers = await asyncio.gather(*(poll(client, begun) for _ in range(50)))
    assert sorted(each.status_code for each in answers) == [200] + [400] * 49
    assert {each.json()["error"] for each in answers if each.status_code == 400} == {"invalid_grant"}
    assert len(await pairlock.devices.list()) == 1


@pytest.mark.parametrize("scope", ["sensors", "read", "read:", "read:sensors", "admin:/x", "read:/a//b", "read:/%00"])
async def test_a_scope_that_is_none_is_an_invalid_scope(client: httpx.AsyncClient, scope: str) -> None:
    token = (await paired_by_code(client))["refresh_token"]
    for answer in (
        await client.post("/device_authorization", data={**TV, "scope": scope}),
        await refresh(client, token, **TV, scope=scope),
    ):
        assert said(answer) == (400, "invalid_scope")
        assert answer.json()["detail"]
    assert (await refresh(client, token, **TV)).status_code == 200  # it was not used up


async def test_what_goes_wrong_with_a_form_costs_no_refresh_token(client: httpx.AsyncClient) -> None:
    token = (await paired_by_code(client))["refresh_token"]
    for form, error in (
        ({}, (400, "invalid_grant")),  # it is of a client, which has to say so
        ({"client_id": "other"}, (400, "invalid_grant")),
        ({**TV, "client_secret": "x" * 16}, (401, "invalid_client")),
        ({**TV, "grant_type": "password"}, (400, "unsupported_grant_type")),
    ):
        answer = await client.post("/token", data={"grant_type": REFRESH_GRANT, "refresh_token": token, **form})
        assert said(answer) == error
    assert (await refresh(client, token, **TV)).status_code == 200


# What is answered


async def test_a_device_is_sent_to_the_page_of_the_app_where_it_has_one(make: Make) -> None:
    async with client_of(
        make(verification_uri="https://house.example/tv").app,
    ) as client:
        client.headers["Host"] = "evil test"
        begun = await begin(client)
    assert begun["verification_uri"] == "https://house.example/tv"
    assert begun["verification_uri_complete"] == f"https://house.example/tv?user_code={begun['user_code']}"


async def test_a_token_answer_is_the_same_as_by_any_other_method(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    by_code, by_pin = await paired_by_code(client, name="Phone"), await pair(client, pairlock)
    assert set(by_code) == set(by_pin)
    own = ("access_token", "refresh_token", "device_id")
    assert {name: by_code[name] for name in by_code if name not in own} == {
        name: by_pin[name] for name in by_pin if name not in own
    }


async def test_the_operator_is_shown_which_client_asks(client: httpx.AsyncClient) -> None:
    begun = await begin(client, name="Living room", scope="read:/sensors/a", hint="kitchen")
    found = await client.post("/requests/lookup", json={"user_code": begun["user_code"].lower()}, headers=AS_OPERATOR)
    shown = found.json()
    assert found.status_code == 200
    assert (shown["method"], shown["client_id"], shown["name"]) == ("device_code", "tv", "Living room")
    assert (shown["hint"], shown["network"], shown["state"]) == ("kitchen", "same", "pending")
    assert shown["permissions"] == shown["requested"] == {"read": ["/sensors/a"], "write": []}
    assert not {"pin", "confirmation_pin"} & set(shown)
    assert begun["device_code"] not in found.text


@pytest.mark.parametrize("body", [{}, {"user_code": None}, {"user_code": 1}, {"code": "x"}])
async def test_a_look_up_without_a_user_code_is_malformed_and_no_guess(make: Make, body: dict[str, Any]) -> None:
    async with client_of(make(limits=replace(UNLIMITED, wrong_user_codes="1/minute")).app) as client:
        for _ in range(2):
            answer = await client.post("/requests/lookup", json=body, headers=AS_OPERATOR)
            assert said(answer) == (400, "invalid_request")


async def test_wrong_used_denied_and_expired_user_codes_are_one_answer_and_limited(
    make: Make, clock: FakeClock
) -> None:
    async with client_of(make(limits=replace(UNLIMITED, wrong_user_codes=Limits().wrong_user_codes)).app) as client:
        approved, expired = await begin(client), await begin(client)
        await approve(client, approved)
        clock.advance(600)
        codes = ["WDJB-MJHT", approved["user_code"], expired["user_code"], "", "é"]
        answers = [
            await client.post("/requests/lookup", json={"user_code": code}, headers=AS_OPERATOR) for code in codes
        ]
        assert {said(each) for each in answers} == {(400, "invalid_code")}
        assert len({(each.content, str(each.headers)) for each in answers}) == 1
        begun = await begin(client)
        answer = await client.post("/requests/lookup", json={"user_code": begun["user_code"]}, headers=AS_OPERATOR)
        assert said(answer) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "300" == str(answer.json()["retry_after"])  # since the first of all


# The confirmation PIN


async def test_a_confirmation_pin_is_shown_to_the_operator_and_typed_on_the_device(make: Make) -> None:
    async with client_of(make(confirmation_pin=True).app) as client:
        begun = await begin(client)
        assert said(await poll(client, begun)) == (400, "authorization_pending")
        approved = await approve(client, begun)
        pin = approved["confirmation_pin"]
        answer = await poll(client, begun)
        assert said(answer) == (400, "confirmation_required")
        assert answer.json()["attempts_left"] == 5
        assert pin not in answer.text
        answer = await poll(client, begun, confirmation_pin=wrong(pin))
        assert said(answer) == (400, "invalid_pin")
        assert answer.json()["attempts_left"] == 4
        assert "www-authenticate" not in answer.headers
        assert (await poll(client, begun, confirmation_pin=f" {pin[:3]}-{pin[3:]} ")).status_code == 200


async def test_too_many_wrong_confirmation_pins_end_the_request(make: Make) -> None:
    async with client_of(make(confirmation_pin=True).app) as client:
        begun = await begin(client)
        pin = (await approve(client, begun))["confirmation_pin"]
        for left in (4, 3, 2, 1, 0):
            assert (await poll(client, begun, confirmation_pin=wrong(pin))).json()["attempts_left"] == left
        for typed in (pin, wrong(pin)):
            assert said(await poll(client, begun, confirmation_pin=typed)) == (400, "invalid_grant")
        assert "locked" in [each["type"] for each in (await client.get("/audit", headers=AS_OPERATOR)).json()["events"]]


# A handler


async def test_a_handler_denies_or_lets_in_who_asks_for_a_device_code(make: Make) -> None:
    async def decide(asked: Asked) -> Approve | Deny:
        if asked.client_id == "tv":
            return Approve(permissions=Permissions(read=("/sensors/a",)), message="Welcome")
        return Deny(reason="Only TVs")

    async with client_of(make(decide=decide, confirmation_pin=True).app) as client:
        answer = await client.post("/device_authorization", data={"client_id": "toaster"})
        assert said(answer) == (400, "access_denied")
        assert answer.json()["reason"] == "Only TVs"
        token = await poll(client, await begin(client))  # nobody was there to read a PIN out
        assert (token.status_code, token.json()["message"], token.json()["scope"]) == (
            200,
            "Welcome",
            "read:/sensors/a",
        )


# Refreshing, giving back, looking into


async def test_a_device_that_paired_by_pin_refreshes_without_a_client(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    paired = await pair(client, pairlock)
    answer = await refresh(client, paired["refresh_token"], scope="read:/sensors/a")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["scope"], body["permissions"]) == ("read:/sensors/a", {"read": ["/sensors/a"], "write": []})
    assert body["device_id"] == paired["device_id"]
    assert not (await pairlock.verify(body["access_token"])).allows("read", "/sensors/b")
    wider = (await refresh(client, body["refresh_token"], scope="read:/** write:/control/lamp write:/x")).json()
    assert wider["scope"] == paired["scope"]  # what it has of that
    answer = await refresh(client, wider["refresh_token"], scope="read:/elsewhere")
    assert said(answer) == (400, "invalid_scope")
    assert (await refresh(client, wider["refresh_token"])).status_code == 200


async def test_unknown_used_and_revoked_refresh_tokens_are_one_answer(
    client: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    revoked, reused = await pair(client, pairlock), await pair(client, pairlock)
    await pairlock.devices.revoke(revoked["device_id"])
    token = str(reused["refresh_token"])
    await refresh(client, token)
    clock.advance(10)
    texts = [revoked["refresh_token"], token, token, "x", "plr_", token[:-1], token + "x", reused["access_token"], "é"]
    answers = [await refresh(client, text) for text in texts]
    assert {said(each) for each in answers} == {(400, "invalid_grant")}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1


async def test_giving_back_what_does_not_count_is_answered_alike(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    paired = await pair(client, pairlock)
    tokens = [paired["refresh_token"], paired["refresh_token"], paired["access_token"], "x", "plk_x", "plr_x", "é"]
    answers = [await client.post("/revoke", data={"token": token, "token_type_hint": "x"}) for token in tokens]
    assert {(each.status_code, each.content) for each in answers} == {(200, b"{}")}
    assert len({str(each.headers) for each in answers}) == 1
    assert (await client.get("/whoami", headers=bearer(paired["access_token"]))).status_code == 401


async def test_the_token_of_a_client_is_given_back_by_that_client_alone(client: httpx.AsyncClient) -> None:
    paired = await paired_by_code(client)
    for token in (paired["access_token"], paired["refresh_token"]):
        for form in ({}, {"client_id": "other"}):
            assert said(await client.post("/revoke", data={"token": token, **form})) == (400, "invalid_grant")
    assert (await client.get("/whoami", headers=bearer(paired["access_token"]))).status_code == 200
    assert (await client.post("/revoke", data={"token": paired["refresh_token"], **TV})).status_code == 200
    assert (await client.get("/whoami", headers=bearer(paired["access_token"]))).status_code == 401


async def test_the_first_call_of_a_process_may_give_back_or_look_into_a_token(
    make: Make, client: httpx.AsyncClient
) -> None:
    paired = await paired_by_code(client)
    servers = {"sensors": SERVER_SECRET}
    async with client_of(make(resource_servers=servers).app) as fresh:
        form = {"token": paired["access_token"]}
        answer = await fresh.post("/introspect", data=form, headers=basic("sensors", SERVER_SECRET))
        assert (answer.status_code, answer.json()["active"]) == (200, True)
    async with client_of(make().app) as fresh:
        assert (await fresh.post("/revoke", data={**form, **TV})).status_code == 200
    assert (await client.post("/token", data={"grant_type": REFRESH_GRANT, **TV})).status_code == 400


async def test_tokens_that_do_not_count_look_alike_to_a_resource_server(make: Make, clock: FakeClock) -> None:
    pairlock = make(resource_servers={"sensors": SERVER_SECRET})
    async with client_of(pairlock.app) as client:

        async def look_into(token: str) -> httpx.Response:
            answer = await client.post("/introspect", data={"token": token}, headers=basic("sensors", SERVER_SECRET))
            assert answer.status_code == 200
            return answer

        expired = await pair(client, pairlock)
        clock.advance(3600)
        revoked, paired = await pair(client, pairlock), await pair(client, pairlock)
        await pairlock.devices.revoke(revoked["device_id"])
        active = (await look_into(paired["access_token"])).json()
        assert active == {
            "active": True,
            "scope": "read:/sensors/** write:/control/lamp",
            "token_type": "Bearer",
            "sub": paired["device_id"],
            "username": "Phone",
            "iat": int(clock.now),
            "exp": int(clock.now) + 3600,
            "iss": (await client.get("/.well-known/oauth-authorization-server")).json()["issuer"],
        }
        dead = [expired["access_token"], revoked["access_token"], paired["refresh_token"], "x", "plk_x", "é", SECRET]
        answers = [await look_into(token) for token in dead]
    assert {each.content for each in answers} == {b'{"active":false}'}
    assert len({str(each.headers) for each in answers}) == 1


# Pages of other sites


@pytest.mark.parametrize("path", ["/token", "/.well-known/oauth-authorization-server"])
async def test_a_page_of_any_site_may_ask_whether_it_may_call(client: httpx.AsyncClient, path: str) -> None:
    asked = {"Origin": "https://app.example", "Access-Control-Request-Headers": "content-type"}
    for sent in ({**asked, "Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}, asked, {}):
        answer = await client.options(path, headers=sent)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {"GET", "POST"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        assert {"authorization", "content-type"} <= set(answer.headers["access-control-allow-headers"].split(", "))
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_any_site_may_read_what_the_token_endpoint_answers(
    make: Make, client: httpx.AsyncClient
) -> None:
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    begun = await begin(client)
    client.headers.update(page)
    answers = [await poll(client, begun), await client.post("/token", json={}), await poll(client, begun, client_id="")]
    await pairlock_approves(client, begun)
    answers.append(await poll(client, begun))
    assert [each.status_code for each in answers] == [400, 400, 400, 200]
    store = FailingStore()
    async with client_of(make(store=store).app) as failing:
        await begin(failing)
        store.errors = {"find PairingRequest": away()}
        answers.append(await failing.post("/token", data={**TV, "grant_type": DEVICE_CODE_GRANT, "device_code": "x"}))
    assert said(answers[-1]) == (503, "temporarily_unavailable")
    assert answers[-1].headers["retry-after"] == "1"
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def pairlock_approves(client: httpx.AsyncClient, begun: dict[str, Any]) -> None:
    """The operator approves, on a page of our own."""
    own = {**AS_OPERATOR, "Sec-Fetch-Site": "same-origin"}
    found = await client.post("/requests/lookup", json={"user_code": begun["user_code"]}, headers=own)
    await client.post(f"/requests/{found.json()['id']}/approve", headers=own)


@pytest.mark.parametrize("call", [call for call in ALL_CALLS if call not in SHARED_CALLS])
async def test_what_no_foreign_page_may_call_says_nothing_about_pages(make: Make, call: tuple[str, str]) -> None:
    pairlock = make(store="memory://")
    async with client_of(pairlock.app) as client:
        scene = await a_scene(pairlock)
        for caller in ("alice", "nobody", "foreign page"):
            for headers in ({}, {"Origin": "https://app.example"}):
                answer = await make_call(client, scene, call, caller, **headers)
                assert not [name for name in answer.headers if name.startswith("access-control-")]


# Limits


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        (replace(UNLIMITED, starts="1/minute"), "too_many_requests"),
        (replace(UNLIMITED, pending_per_source=1), "busy"),
        (replace(UNLIMITED, pending=1), "busy"),
    ],
)
async def test_one_device_code_too_many_is_told_when_to_come_back(make: Make, limits: Limits, error: str) -> None:
    async with client_of(make(limits=limits).app) as client:
        await begin(client)
        answer = await client.post("/device_authorization", data=TV)
        assert said(answer) == (429, error)
        assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] >= 1
        assert "www-authenticate" not in answer.headers


async def test_wrong_secrets_of_clients_are_limited_and_right_ones_are_not(make: Make, clock: FakeClock) -> None:
    pairlock = make(clients=[Client(id="recorder", secret=SECRET)], limits=replace(UNLIMITED, wrong_secrets="2/minute"))
    async with client_of(pairlock.app) as client:
        for path in ("/device_authorization", "/introspect"):
            right, wrong_one = basic("recorder", SECRET), basic("recorder", SECRET[::-1])
            form = {"token": "x", "name": "x"}
            if path == "/device_authorization":
                assert [(await client.post(path, data=form, headers=right)).status_code for _ in range(5)] == [200] * 5
            for _ in range(2):
                assert said(await client.post(path, data=form, headers=wrong_one)) == (401, "invalid_client")
            answer = await client.post(path, data=form, headers=right)
            assert said(answer) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "60" == str(answer.json()["retry_after"])
            assert "www-authenticate" not in answer.headers
            clock.advance(60)


async def test_fifty_resource_servers_behind_one_address_may_ask_at_once(make: Make) -> None:
    pairlock = make(resource_servers={"sensors": SERVER_SECRET}, limits=Limits())
    async with client_of(pairlock.app) as client:
        asked = (
            client.post("/introspect", data={"token": "x"}, headers=basic("sensors", SERVER_SECRET)) for _ in range(50)
        )
        assert [each.status_code for each in await asyncio.gather(*asked)] == [200] * 50


async def test_refreshes_are_limited_for_each_device(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(UNLIMITED, refreshes="1/minute"))
    async with client_of(pairlock.app) as client:
        first, second = await pair(client, pairlock), await pair(client, pairlock)
        following = (await refresh(client, first["refresh_token"])).json()["refresh_token"]
        answer = await refresh(client, following)
        assert said(answer) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "60" == str(answer.json()["retry_after"])
        assert answer.headers["access-control-allow-origin"] == "*"
        assert (await refresh(client, second["refresh_token"])).status_code == 200
        clock.advance(60)
        assert (await refresh(client, following)).status_code == 200


async def test_who_was_denied_cools_down_before_it_asks_again(make: Make, clock: FakeClock) -> None:
    async with client_of(make(limits=replace(UNLIMITED, denials=Limits().denials)).app) as client:
        begun = await begin(client)
        found = await client.post("/requests/lookup", json={"user_code": begun["user_code"]}, headers=AS_OPERATOR)
        await client.post(f"/requests/{found.json()['id']}/deny", headers=AS_OPERATOR)
        assert said(await poll(client, begun)) == (400, "access_denied")
        for answer in (
            await client.post("/device_authorization", data=TV),
            await client.post("/requests", json={"name": "Phone"}),
        ):
            assert said(answer) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "60"
        clock.advance(60)
        await begin(client)


# What it says of itself


async def test_the_sub_app_describes_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/.well-known/oauth-authorization-server")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    described = answer.json()
    assert described["issuer"] == "http://pair.test"
    assert described["response_types_supported"] == []
    for name in described:
        if name.endswith("_endpoint"):
            asked = await client.post(described[name].removeprefix(described["issuer"]))
            assert said(asked)[1] in ("invalid_request", "invalid_client")
    assert not [name for name in described if described[name] is None]
