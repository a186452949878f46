"""Codes over HTTP: minted, watched, drawn and withdrawn by their operator, redeemed by whoever was given one."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec.structs import replace

from pairlock import Limits, Operator, Pairlock, Permissions, operator_token
from pairlock.services.pictures import Picture
from pairlock.testing import FakeClock
from tests.app.parts import AS_OPERATOR, OPERATOR_TOKEN, UNKNOWN_ID, bearer, client_of
from tests.app.scene import BOBS_TOKEN, alice_or_bob
from tests.services.parts import SENSORS, UNLIMITED, Make
from tests.services.test_pictures import pixels_of_png, pixels_of_svg, read

pytestmark = pytest.mark.anyio

AS_BOB = bearer(BOBS_TOKEN)
CODE = re.compile("[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")
READ = {"read": ["/sensors/a"], "write": []}
SECRET = "0123456789-abcdefghijk"


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make(operator=alice_or_bob)


@pytest.fixture
async def alice(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as alice:
        alice.headers.update(AS_OPERATOR)
        yield alice


async def mint(alice: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """A code of Alice's."""
    answer = await alice.post("/codes", json=body, headers=AS_OPERATOR)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def redeem(client: httpx.AsyncClient, code: str, **body: Any) -> httpx.Response:
    """What a device is answered that was given this code."""
    return await client.post("/redeem", json={"code": code, "name": "Phone", **body})


def code_of(minted: dict[str, Any]) -> str:
    """What the device is given: the code, or what is in the picture."""
    return str(minted["code"]) if "code" in minted else urlsplit(minted["uri"]).fragment


def scanned(answer: httpx.Response) -> str:
    """What a reader finds in a picture that was answered."""
    assert answer.status_code == 200
    drawn = {"image/svg+xml": lambda: pixels_of_svg(answer.text), "image/png": lambda: pixels_of_png(answer.content)}
    return str(read(drawn[answer.headers["content-type"]]()).text)


# Minting


async def test_a_code_is_minted_for_the_default_permissions_where_none_are_named(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice)
    assert CODE.fullmatch(minted.pop("code"))
    assert len(minted.pop("id")) == 26
    assert minted == {
        "method": "one_time_code",
        "state": "pending",
        "permissions": SENSORS,
        "expires_in": 600,
        "hint": "",
    }


async def test_a_code_is_minted_as_its_operator_wants_it(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice, method="qr", permissions=READ, expires_in=30.5, hint=" kitchen\u202e")
    uri = urlsplit(minted.pop("uri"))
    assert (uri.scheme, uri.netloc, uri.path, uri.query) == ("http", "pair.test", "/qr", "")
    assert re.fullmatch("[0-9A-F]{32}", uri.fragment)  # 128 bits
    minted.pop("id")
    assert minted == {
        "method": "qr",
        "state": "pending",
        "permissions": READ,
        "expires_in": 31,
        "hint": "kitchen",
    }


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"method": "pin"}, "invalid_request"),
        ({"method": "device_code"}, "invalid_request"),
        ({"method": ""}, "invalid_request"),
        ({"expires_in": 9.9}, "invalid_request"),
        ({"expires_in": 3600.1}, "invalid_request"),
        ({"expires_in": -1}, "invalid_request"),
        ({"expires_in": True}, "invalid_request"),
        ({"expires_in": "60"}, "invalid_request"),
        ({"permission": READ}, "invalid_request"),
        ({"permissions": {"read": ["sensors"]}}, "invalid_scope"),
        ({"permissions": {"read": ["/a"], "all": ["/b"]}}, "invalid_scope"),
    ],
)
async def test_what_cannot_be_minted_is_refused(
    alice: httpx.AsyncClient, pairlock: Pairlock, body: dict[str, Any], error: str
) -> None:
    answer = await alice.post("/codes", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert answer.json()["detail"]
    assert await pairlock.audit.list() == []


async def test_no_operator_mints_more_than_she_holds(make: Make) -> None:
    carol = operator_token(OPERATOR_TOKEN, Operator("carol", Permissions(read=("/sensors/**",))))
    async with client_of(make(operator=carol).app) as client:
        for body in ({}, {"permissions": {"write": ["/control/lamp"]}}):
            answer = await client.post("/codes", json=body, headers=AS_OPERATOR)
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
        assert (await mint(client, permissions=READ))["permissions"] == READ


async def test_an_operator_with_as_many_codes_as_may_wait_is_told_when_the_next_place_is_free(
    make: Make, clock: FakeClock
) -> None:
    async with client_of(make(limits=replace(UNLIMITED, codes=1)).app) as client:
        await mint(client, expires_in=100)
        clock.advance(0.5)
        answer = await client.post("/codes", headers=AS_OPERATOR)
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "100" == str(answer.json()["retry_after"])
        clock.advance(99.5)
        await mint(client)


async def test_where_pairing_is_disabled_nothing_is_minted_or_redeemed(make: Make, alice: httpx.AsyncClient) -> None:
    minted = await mint(alice)
    async with client_of(make(enabled=False).app) as disabled:
        for answer in (await disabled.post("/codes", headers=AS_OPERATOR), await redeem(disabled, minted["code"])):
            assert (answer.status_code, answer.json()["error"]) == (403, "pairing_disabled")


async def test_a_closed_window_does_not_stop_the_codes_of_operators(alice: httpx.AsyncClient) -> None:
    await alice.put("/window", json={"open": False})
    assert (await redeem(alice, (await mint(alice))["code"])).status_code == 200


# Watching


async def test_an_operator_watches_a_code_from_pending_to_redeemed(alice: httpx.AsyncClient, clock: FakeClock) -> None:
    minted = await mint(alice, permissions=READ, hint="kitchen", expires_in=60)
    path, told = f"/codes/{minted['id']}", {**minted, "expires_in": 30}
    code = told.pop("code")
    clock.advance(30)
    assert (await alice.get(path)).json() == told  # the code itself is said once
    redeemed = (await redeem(alice, code, hint="cellar")).json()
    clock.advance(1)
    answer = await alice.get(path)
    assert answer.json() == {
        **told,
        "state": "redeemed",
        "expires_in": 29,
        "redeemed": {
            "at": clock.now - 1,
            "device_id": redeemed["device_id"],
            "name": "Phone",
            "address": "127.0.0.1",
            "user_agent": alice.headers["user-agent"],
            "hint": "cellar",
        },
    }
    assert code not in answer.text
    assert redeemed["access_token"] not in answer.text


async def test_an_operator_sees_that_a_code_has_expired_or_was_withdrawn(
    alice: httpx.AsyncClient, clock: FakeClock
) -> None:
    expired, withdrawn = await mint(alice, expires_in=10), await mint(alice)
    await alice.delete(f"/codes/{withdrawn['id']}")
    clock.advance(10)
    assert (await alice.get(f"/codes/{expired['id']}")).json()["state"] == "expired"
    assert (await alice.get(f"/codes/{withdrawn['id']}")).json()["state"] == "cancelled"


async def test_another_operator_s_code_looks_like_one_that_is_no_more(
    alice: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    pending, redeemed = await mint(alice), await mint(alice, method="qr")
    await redeem(alice, code_of(redeemed))
    started = await pairlock.pairing.start("Phone")
    answers = {}
    for each_id in (pending["id"], redeemed["id"], started.request.id, UNKNOWN_ID, "x", "%22%0d"):
        answer = await alice.get(f"/codes/{each_id}", headers=AS_BOB)
        assert answer.status_code == 200
        said = answer.json()
        assert set(said) == {"id", "state"}
        answers[said.pop("id")] = said
    assert {each["state"] for each in answers.values()} == {"expired"}
    assert len(answers) == 6


async def test_an_operator_may_look_only_so_often_and_whatever_she_looks_at(make: Make, clock: FakeClock) -> None:
    pairlock = make(operator=alice_or_bob, limits=replace(UNLIMITED, code_polls="2/minute"))
    async with client_of(pairlock.app) as client:
        minted = await mint(client)
        for each_id in (minted["id"], UNKNOWN_ID):
            assert (await client.get(f"/codes/{each_id}", headers=AS_OPERATOR)).status_code == 200
        answer = await client.get(f"/codes/{minted['id']}", headers=AS_OPERATOR)
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "60" == str(answer.json()["retry_after"])
        assert (await client.get(f"/codes/{minted['id']}", headers=AS_BOB)).status_code == 200
        assert (await redeem(client, minted["code"])).status_code == 200
        clock.advance(60)
        assert (await client.get(f"/codes/{minted['id']}", headers=AS_OPERATOR)).status_code == 200


# Withdrawing


async def test_a_withdrawn_code_pairs_nobody_and_withdrawing_it_again_is_no_error(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice)
    for _ in range(2):
        answer = await alice.delete(f"/codes/{minted['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await redeem(alice, minted["code"])).json()["error"] == "invalid_code"


async def test_only_its_operator_withdraws_a_code(alice: httpx.AsyncClient, pairlock: Pairlock) -> None:
    minted, started = await mint(alice), await pairlock.pairing.start("Phone")
    answers = [
        await alice.delete(f"/codes/{each_id}", headers=AS_BOB)
        for each_id in (minted["id"], started.request.id, UNKNOWN_ID)
    ]
    answers.append(await alice.delete(f"/codes/{started.request.id}"))
    assert {each.status_code for each in answers} == {404}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1
    assert (await redeem(alice, minted["code"])).status_code == 200


async def test_a_code_that_was_redeemed_cannot_be_withdrawn(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice)
    await redeem(alice, minted["code"])
    answer = await alice.delete(f"/codes/{minted['id']}")
    assert (answer.status_code, answer.json()["error"]) == (409, "already_redeemed")


# Drawing


@pytest.mark.parametrize(("kind", "media_type"), [("svg", "image/svg+xml"), ("png", "image/png")])
async def test_a_qr_code_is_drawn_as_what_minting_it_answered(
    alice: httpx.AsyncClient, kind: str, media_type: str
) -> None:
    minted = await mint(alice, method="qr")
    answer = await alice.get(f"/codes/{minted['id']}.{kind}")
    assert scanned(answer) == minted["uri"]
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await alice.get(f"/codes/{minted['id']}.{kind}")).content == answer.content
    head = await alice.head(f"/codes/{minted['id']}.{kind}")
    assert (head.status_code, head.headers["content-type"]) == (200, media_type)
    assert (await redeem(alice, urlsplit(scanned(answer)).fragment)).status_code == 200


@pytest.mark.parametrize("form", ["svg", "png"])
async def test_pictures_are_drawn_beside_the_event_loop(
    alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    drawn_in: list[int] = []
    draw = getattr(Picture, form)

    def seen(picture: Picture) -> Any:
        drawn_in.append(threading.get_ident())
        return draw(picture)

    monkeypatch.setattr(Picture, form, seen)
    minted = await mint(alice, method="qr")
    assert (await alice.get(f"/codes/{minted['id']}.{form}")).status_code == 200
    assert drawn_in
    assert drawn_in[0] != threading.get_ident()


@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_a_picture_is_gone_with_its_code_and_is_nobody_else_s(
    alice: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock, kind: str
) -> None:
    redeemed, withdrawn, expired = [await mint(alice, method="qr", expires_in=60) for _ in range(3)]
    typed, started = await mint(alice), await pairlock.pairing.start("Phone")
    for each in (redeemed, withdrawn, expired):
        assert (await alice.get(f"/codes/{each['id']}.{kind}")).status_code == 200
    answers = [await alice.get(f"/codes/{redeemed['id']}.{kind}", headers=AS_BOB)]
    await redeem(alice, code_of(redeemed))
    await alice.delete(f"/codes/{withdrawn['id']}")
    clock.advance(60)
    answers += [
        await alice.get(f"/codes/{each_id}.{kind}")
        for each_id in (redeemed["id"], withdrawn["id"], expired["id"], typed["id"], started.request.id, UNKNOWN_ID)
    ]
    assert {(each.status_code, each.json()["error"]) for each in answers} == {(404, "not_found")}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1


async def test_no_secret_of_a_code_is_in_any_address_that_is_called(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice, method="qr")
    secret = code_of(minted)
    told = [await alice.get(f"/codes/{minted['id']}"), await alice.get("/audit")]
    assert secret not in "".join(each.text + str(each.headers) for each in told)
    landing = httpx.URL(minted["uri"])
    assert secret.encode() not in landing.raw_path  # what a browser sends: a fragment stays with it
    assert secret not in minted["id"]


async def test_what_is_minted_is_in_no_log(alice: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    secrets = []
    for method in ("one_time_code", "qr"):
        minted = await mint(alice, method=method)
        for kind in ("svg", "png"):
            await alice.get(f"/codes/{minted['id']}.{kind}")
        redeemed = (await redeem(alice, code_of(minted), secret=SECRET)).json()
        secrets += [code_of(minted), redeemed["access_token"], redeemed["refresh_token"]]
    assert caplog.records
    assert not [secret for secret in (*secrets, SECRET) if secret in caplog.text]


# Redeeming


@pytest.mark.parametrize("method", ["one_time_code", "qr"])
async def test_a_code_is_answered_with_a_token(alice: httpx.AsyncClient, pairlock: Pairlock, method: str) -> None:
    minted = await mint(alice, method=method, permissions=READ)
    answer = await redeem(alice, code_of(minted), name=" My\x00 Phone ")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    body = answer.json()
    grant = await pairlock.verify(body.pop("access_token"))
    assert (grant.device_id, grant.allows("read", "/sensors/a")) == (body.pop("device_id"), True)
    assert body.pop("refresh_token").startswith("plr_")
    assert body == {
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "read:/sensors/a",
        "device_name": "My Phone",
        "permissions": READ,
        "server": pairlock._runtime.server,
    }
    assert (await pairlock.devices.find(grant.device_id)).approved_by == "operator:alice"


async def test_all_that_a_picture_says_may_be_given_as_the_code(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice, method="qr")
    assert (await redeem(alice, minted["uri"])).status_code == 200
    assert (await redeem(alice, minted["uri"])).json()["error"] == "invalid_code"


async def test_unknown_used_expired_and_withdrawn_codes_are_one_answer(
    alice: httpx.AsyncClient, clock: FakeClock
) -> None:
    codes = ["K3F9-X2NM", "0" * 32, "", "x", "K3F9-X2NM-", "é", "0" * 10_000]
    for method in ("one_time_code", "qr"):
        used, withdrawn, expired = [await mint(alice, method=method, expires_in=60) for _ in range(3)]
        assert (await redeem(alice, code_of(used))).status_code == 200
        await alice.delete(f"/codes/{withdrawn['id']}")
        codes += [code_of(each) for each in (used, withdrawn, expired)]
    clock.advance(60)
    answers = [await redeem(alice, code) for code in codes]
    assert {(each.status_code, each.json()["error"]) for each in answers} == {(400, "invalid_code")}
    assert len({(each.content, str(each.headers)) for each in answers}) == 1
    assert "www-authenticate" not in answers[0].headers


async def test_fifty_devices_with_one_code_are_one_that_pairs(alice: httpx.AsyncClient, pairlock: Pairlock) -> None:
    minted = await mint(alice)
    answers = await asyncio.gather(*(redeem(alice, minted["code"]) for _ in range(50)))
    assert sorted(each.status_code for each in answers) == [200] + [400] * 49
    assert len(await pairlock.devices.list()) == 1


async def test_who_gave_a_secret_may_redeem_again_for_the_same_device(
    alice: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    minted = await mint(alice)
    first = await redeem(alice, minted["code"], secret=SECRET)
    clock.advance(59)
    again = await redeem(alice, minted["code"], secret=SECRET)
    assert (again.status_code, again.json()["device_id"]) == (200, first.json()["device_id"])
    assert len(await pairlock.devices.list()) == 1
    for body in ({"secret": SECRET[::-1]}, {}):
        assert (await redeem(alice, minted["code"], **body)).json()["error"] == "invalid_code"


@pytest.mark.parametrize(
    "body",
    [
        {"secret": "x" * 21},
        {"secret": "x" * 129},
        {"secret": 1},
        {"name": ""},
        {"name": "\x00\u202e"},
        {"name": "x" * 65},
        {"name": None},
        {"code": None},
        {"permissions": {"read": ["/**"]}},
        {"method": "qr"},
    ],
)
async def test_what_cannot_be_redeemed_is_refused_and_leaves_the_code_as_it_is(
    alice: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    minted = await mint(alice)
    answer = await redeem(alice, **{"code": minted["code"], **body})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.json()["detail"]
    assert (await alice.get(f"/codes/{minted['id']}")).json()["state"] == "pending"
    assert (await redeem(alice, minted["code"])).status_code == 200


async def test_too_many_wrong_codes_are_told_when_to_come_back(make: Make, clock: FakeClock) -> None:
    async with client_of(make(limits=Limits()).app) as client:
        minted, qr = await mint(client), await mint(client, method="qr")
        for _ in range(10):
            assert (await redeem(client, "K3F9-X2NM")).status_code == 400
        answer = await redeem(client, minted["code"])
        assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
        assert answer.headers["retry-after"] == "60" == str(answer.json()["retry_after"])
        assert (await redeem(client, code_of(qr))).status_code == 200  # 128 bits are not guessed
        clock.advance(60)
        assert (await redeem(client, minted["code"])).status_code == 200


async def test_a_code_in_the_query_pairs_nobody(alice: httpx.AsyncClient) -> None:
    minted = await mint(alice)
    query = {"code": minted["code"], "name": "Phone"}
    assert (await alice.post("/redeem", params=query, json={"name": "Phone"})).status_code == 400
    assert (await alice.get("/redeem", params=query)).status_code == 405
    assert (await redeem(alice, minted["code"])).status_code == 200


async def test_a_hint_names_nothing_and_decides_nothing(alice: httpx.AsyncClient, pairlock: Pairlock) -> None:
    hint = "<b>admin</b>" * 50
    minted = await mint(alice, hint=hint)
    redeemed = (await redeem(alice, minted["code"], hint=hint)).json()
    device = await pairlock.devices.find(redeemed["device_id"])
    assert (device.name, device.permissions.scopes()) == ("Phone", ["read:/sensors/**", "write:/control/lamp"])
    assert len(device.origin.hint) < len(hint)
