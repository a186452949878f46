"""What operators see and switch of the service as a whole: pairing window, hold of the PIN method, audit."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from pairlock import Pairlock
from pairlock.testing import FakeClock
from tests.app.parts import AS_OPERATOR, bearer, client_of, pair, start
from tests.app.scene import alice_or_bob
from tests.app.test_callers import begin
from tests.app.test_code_side import AS_BOB, mint, redeem
from tests.services.parts import SENSORS, UNLIMITED, FailingStore, Make, away, wrong

pytestmark = pytest.mark.anyio


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make(operator=alice_or_bob)


@pytest.fixture
async def alice(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as alice:
        alice.headers.update(AS_OPERATOR)
        yield alice


def said(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer that refuses."""
    return answer.status_code, answer.json()["error"]


# The pairing window


@pytest.mark.parametrize("open", [True, False])
async def test_as_long_as_nobody_has_touched_it_the_window_is_as_the_setting_says(make: Make, open: bool) -> None:
    async with client_of(make(window_open=open).app) as client:
        assert (await client.get("/window", headers=AS_OPERATOR)).json() == {"open": open}
        answer = await client.post("/requests", json={"name": "Phone"})
        assert answer.status_code == (201 if open else 403)


@pytest.mark.parametrize(
    ("body", "left"), [({}, 300), ({"expires_in": 60}, 60), ({"expires_in": 1}, 1), ({"expires_in": 86400}, 86400)]
)
async def test_a_window_is_opened_for_a_while(make: Make, clock: FakeClock, body: dict[str, Any], left: int) -> None:
    async with client_of(make(window_open=False).app) as alice:
        alice.headers.update(AS_OPERATOR)
        answer = await alice.put("/window", json={"open": True, **body})
        assert (answer.status_code, answer.json()) == (200, {"open": True, "expires_in": left, "by": "operator:alice"})
        clock.advance(left - 0.5)
        assert (await alice.get("/window")).json() == {"open": True, "expires_in": 1, "by": "operator:alice"}
        await start(alice)
        clock.advance(0.5)
        closed = (await alice.get("/window")).json()
        assert (closed["open"], "expires_in" in closed) == (False, False)
        assert said(await alice.post("/requests", json={"name": "Phone"})) == (403, "window_closed")


async def test_how_long_a_window_stays_open_is_a_setting(make: Make) -> None:
    async with client_of(make(window_timeout=42).app) as alice:
        answer = await alice.put("/window", json={"open": True}, headers=AS_OPERATOR)
        assert answer.json()["expires_in"] == 42


async def test_a_window_is_opened_until_it_is_closed(alice: httpx.AsyncClient, clock: FakeClock) -> None:
    answer = await alice.put("/window", json={"open": True, "expires_in": None})
    assert answer.json() == {"open": True, "by": "operator:alice"}
    clock.advance(86400 * 365)
    assert (await alice.get("/window")).json()["open"] is True
    answer = await alice.put("/window", json={"open": False}, headers=AS_BOB)
    assert answer.json() == {"open": False, "by": "operator:bob"} == (await alice.get("/window")).json()


async def test_a_window_is_the_same_in_every_process(make: Make, alice: httpx.AsyncClient) -> None:
    await alice.put("/window", json={"open": False})
    async with client_of(make().app) as elsewhere:
        assert (await elsewhere.get("/window", headers=AS_OPERATOR)).json()["open"] is False
        assert said(await elsewhere.post("/requests", json={"name": "Phone"})) == (403, "window_closed")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"open": None},
        {"open": "yes"},
        {"open": 1},
        {"expires_in": 60},
        {"open": True, "expires_in": 0},
        {"open": True, "expires_in": 0.99},
        {"open": True, "expires_in": -60},
        {"open": True, "expires_in": 86400.5},
        {"open": True, "expires_in": True},
        {"open": True, "expires_in": "60"},
        {"open": True, "seconds": 60},
    ],
)
async def test_a_window_that_makes_no_sense_is_refused_and_stays_as_it_was(
    alice: httpx.AsyncClient, pairlock: Pairlock, body: dict[str, Any]
) -> None:
    answer = await alice.put("/window", json=body)
    assert said(answer) == (400, "invalid_request")
    assert answer.json()["detail"]
    assert (await alice.get("/window")).json() == {"open": True}
    assert await pairlock.audit.list() == []


async def test_a_closed_window_takes_no_requests_and_no_pins_but_what_waits_can_be_approved(
    alice: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    started = await start(alice)
    pin, holder = pairlock.deciding.pin(await pairlock.deciding.show(started["id"])), bearer(started["secret"])
    await alice.put("/window", json={"open": False})
    for answer in (
        await alice.post("/requests", json={"name": "Phone"}),
        await begin(alice),
        await alice.post(f"/requests/{started['id']}/pin", json={"pin": pin}, headers=holder),
    ):
        assert said(answer) == (403, "window_closed")
        assert "www-authenticate" not in answer.headers
    assert (await alice.post(f"/requests/{started['id']}/approve")).status_code == 200
    assert (await alice.post(f"/requests/{started['id']}/token", headers=holder)).status_code == 200


# The hold of the PIN method


async def guess(client: httpx.AsyncClient, pairlock: Pairlock, times: int) -> httpx.Response:
    """That many wrong PINs, each for a request of its own; the answer to the last."""
    answers = []
    for _ in range(times):
        started = await start(client)
        typed = wrong(pairlock.deciding.pin(await pairlock.deciding.show(started["id"])))
        path, holder = f"/requests/{started['id']}/pin", bearer(started["secret"])
        answers.append(await client.post(path, json={"pin": typed}, headers=holder))
    return answers[-1]


async def test_the_pin_method_is_held_after_too_many_wrong_pins_and_an_operator_reopens_it(make: Make) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_in_a_row=20))
    async with client_of(pairlock.app) as alice:
        alice.headers.update(AS_OPERATOR)
        waiting = await start(alice)
        assert (await alice.get("/hold")).json() == {"held": False}
        assert (await guess(alice, pairlock, 20)).json()["error"] == "invalid_pin"
        assert (await alice.get("/hold")).json() == {"held": True}
        pin = pairlock.deciding.pin(await pairlock.deciding.show(waiting["id"]))
        path, holder = f"/requests/{waiting['id']}/pin", bearer(waiting["secret"])
        for answer in (
            await alice.post("/requests", json={"name": "Phone"}),
            await alice.post(path, json={"pin": pin}, headers=holder),
        ):
            assert said(answer) == (403, "pin_held")
            assert "retry-after" not in answer.headers  # time alone does not help
        assert (await begin(alice)).status_code == 200  # other methods go on
        assert (await redeem(alice, (await mint(alice))["code"])).status_code == 200
        for _ in range(2):
            answer = await alice.delete("/hold")
            assert (answer.status_code, answer.json()) == (200, {"held": False})
        assert (await alice.get("/hold")).json() == {"held": False}
        assert (await alice.post(path, json={"pin": pin}, headers=holder)).status_code == 200
        told = [(each["type"], each["by"]) for each in (await alice.get("/audit")).json()["events"]]
        assert told.count(("held", "pin")) == told.count(("reopened", "operator:alice")) == 1


async def test_reopening_is_told_when_it_can_help(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=replace(UNLIMITED, wrong_pins_a_day=2))
    async with client_of(pairlock.app) as alice:
        alice.headers.update(AS_OPERATOR)
        await guess(alice, pairlock, 2)
        clock.advance(3600)
        answer = await alice.delete("/hold")
        assert said(answer) == (403, "pin_held")
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"]) == "82801"
        clock.advance(answer.json()["retry_after"])
        assert (await alice.delete("/hold")).json() == {"held": False}
        await start(alice)


# The audit


async def test_the_audit_tells_what_happened_newest_first(
    alice: httpx.AsyncClient, pairlock: Pairlock, clock: FakeClock
) -> None:
    paired = await pair(alice, pairlock, hint="kitchen")
    clock.advance(1)
    await alice.delete(f"/devices/{paired['device_id']}")
    body = (await alice.get("/audit")).json()
    revoked, redeemed, requested = body["events"]
    assert body["next"] is None
    assert requested == {
        "seq": requested["seq"],
        "type": "requested",
        "at": clock.now - 1,
        "by": "device",
        "method": "pin",
        "name": "Phone",
        "request_id": requested["request_id"],
        "address": "127.0.0.1",
        "user_agent": alice.headers["user-agent"],
        "hint": "kitchen",
        "expires_at": clock.now + 299,
    }
    assert (redeemed["type"], redeemed["by"]) == ("redeemed", f"device:{paired['device_id']}")
    assert (redeemed["device_id"], redeemed["permissions"]) == (paired["device_id"], SENSORS)
    assert revoked == {
        "seq": revoked["seq"],
        "type": "revoked",
        "at": clock.now,
        "by": "operator:alice",
        "method": "pin",
        "name": "Phone",
        "device_id": paired["device_id"],
        "permissions": SENSORS,
    }
    assert requested["seq"] < redeemed["seq"] < revoked["seq"]


async def test_the_audit_names_everything_that_operators_and_devices_do(
    alice: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    denied, cancelled, approved = [await start(alice) for _ in range(3)]
    await alice.post(f"/requests/{denied['id']}/deny", json={"reason": "who are you?"})
    await alice.delete(f"/requests/{cancelled['id']}", headers=bearer(cancelled["secret"]))
    await alice.post(f"/requests/{approved['id']}/approve")
    token = (await alice.post(f"/requests/{approved['id']}/token", headers=bearer(approved["secret"]))).json()
    await alice.patch(f"/devices/{token['device_id']}", json={"name": "Tablet", "permissions": {}})
    await alice.put("/window", json={"open": True, "expires_in": 60})
    await alice.put("/window", json={"open": False})
    minted = await mint(alice)
    await alice.delete("/whoami", headers=bearer(token["access_token"]))
    events = (await alice.get("/audit")).json()["events"][::-1]
    by_device = f"device:{token['device_id']}"
    assert [(each["type"], each["by"]) for each in events] == [
        *[("requested", "device")] * 3,
        ("denied", "operator:alice"),
        ("cancelled", "device"),
        ("approved", "operator:alice"),
        ("redeemed", by_device),
        ("renamed", "operator:alice"),
        ("narrowed", "operator:alice"),
        ("window_opened", "operator:alice"),
        ("window_closed", "operator:alice"),
        ("minted", "operator:alice"),
        ("revoked", by_device),
    ]
    told = {each["type"]: each for each in events}
    assert told["denied"]["reason"] == "who are you?"
    assert told["window_opened"]["expires_at"] == told["window_opened"]["at"] + 60
    assert (told["minted"]["request_id"], told["minted"]["method"]) == (minted["id"], "one_time_code")
    assert not [each for each in events if None in each.values()]


async def test_no_secret_is_in_the_audit(alice: httpx.AsyncClient, pairlock: Pairlock) -> None:
    started = await start(alice)
    pin = pairlock.deciding.pin(await pairlock.deciding.show(started["id"]))
    assert pin is not None
    path = f"/requests/{started['id']}/pin"
    paired = (await alice.post(path, json={"pin": pin}, headers=bearer(started["secret"]))).json()
    minted, begun = await mint(alice), (await begin(alice)).json()
    await redeem(alice, minted["code"], secret="0123456789-abcdefghijk")
    told = (await alice.get("/audit")).text
    for secret in (
        started["secret"],
        f'"{pin}"',
        paired["access_token"],
        paired["refresh_token"],
        minted["code"],
        minted["code"].replace("-", ""),
        begun["device_code"],
        begun["user_code"],
        "0123456789-abcdefghijk",
    ):
        assert secret not in told


async def test_the_audit_comes_in_pages(alice: httpx.AsyncClient) -> None:
    for _ in range(5):
        await start(alice)
    every = [each["seq"] for each in (await alice.get("/audit")).json()["events"]]
    assert every == sorted(every, reverse=True)
    first = (await alice.get("/audit?limit=2")).json()
    second = (await alice.get("/audit", params={"limit": 2, "before": first["next"]})).json()
    last = (await alice.get("/audit", params={"limit": 2, "before": second["next"]})).json()
    pages = [[each["seq"] for each in page["events"]] for page in (first, second, last)]
    assert pages == [every[:2], every[2:4], every[4:]]
    assert last["next"] is None
    assert (await alice.get("/audit", params={"before": 0})).json() == {"events": [], "next": None}
    assert len((await alice.get("/audit", params={"before": "9" * 18})).json()["events"]) == 5


@pytest.mark.parametrize("before", ["", "-1", "+1", "x", "1.5", "1e3", "²", "٣", " 1", "1 ", "0x1", "9" * 19])
async def test_a_page_of_the_audit_starts_below_a_seq(alice: httpx.AsyncClient, before: str) -> None:
    answer = await alice.get("/audit", params={"before": before})
    assert said(answer) == (400, "invalid_request")
    assert answer.json()["detail"] == "before must be the seq of an event"


# Health


async def test_a_load_balancer_is_told_that_all_is_well(make: Make) -> None:
    async with client_of(make(store="memory://").app) as stranger:
        answer = await stranger.get("/health")
        assert answer.json() == {"status": "ok", "store": True, "schema": True, "feed": True}
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert (await stranger.head("/health")).status_code == 200


async def test_a_load_balancer_is_told_what_fails_and_to_come_again(make: Make) -> None:
    pairlock = make(store=(store := FailingStore()))
    await pairlock.start()
    store.errors = {"check": away()}
    async with client_of(pairlock.app) as stranger:
        answer = await stranger.get("/health")
        assert answer.json() == {"status": "unavailable", "store": False, "feed": True}
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
