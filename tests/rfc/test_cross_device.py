"""Cross-device flows: security best current practice (draft-ietf-oauth-cross-device-security-16)."""

import httpx
import pytest

from pairlock import Limits, Pairlock
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, AS_OPERATOR, client_of
from tests.guard.parts import Recorder
from tests.rfc.parts import approve, begin, decide, look_up, poll, said
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

FAR, NEAR = ("198.51.100.7", 1), ("192.0.2.1", 1)


async def redeem(client: httpx.AsyncClient, code: str) -> httpx.Response:
    return await client.post("/pair/redeem", json={"code": code, "name": "CLI"})


# Short-lived, one-time codes


@pytest.mark.parametrize(("method", "life"), [("one_time_code", 600), ("qr", 300)])
async def test_bcp_a_code_lives_for_minutes(
    client: httpx.AsyncClient, clock: FakeClock, method: str, life: int
) -> None:
    minted = (await client.post("/pair/codes", json={"method": method}, headers=AS_OPERATOR)).json()
    assert minted["expires_in"] == life
    code = minted.get("code") or minted["uri"].partition("#")[2]
    clock.advance(life)
    assert said(await redeem(client, code)) == (400, "invalid_code")


async def test_bcp_no_code_lives_for_more_than_an_hour(client: httpx.AsyncClient) -> None:
    for seconds, status in ((3600, 201), (3601, 400), (86400, 400), (-1, 400)):
        answer = await client.post("/pair/codes", json={"expires_in": seconds}, headers=AS_OPERATOR)
        assert answer.status_code == status


async def test_bcp_a_code_is_good_once(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    code = await pairlock.code({"read": ["/a"]})
    assert (await redeem(client, code)).status_code == 200
    assert said(await redeem(client, code)) == (400, "invalid_code")


# Rate limits


async def test_bcp_guesses_at_one_time_codes_are_limited_by_source(make: Make) -> None:
    pairlock = make(limits=Limits())
    service = pairlock.protect(Recorder())
    async with client_of(service, client=FAR) as far, client_of(service, client=NEAR) as near:
        code = await pairlock.code({"read": ["/a"]})
        for _ in range(10):
            assert said(await redeem(far, "00000000")) == (400, "invalid_code")
        assert said(await redeem(far, code)) == (429, "too_many_requests")
        assert (await redeem(near, code)).status_code == 200


async def test_bcp_requests_are_limited_by_source(make: Make) -> None:
    service = make(limits=Limits()).protect(Recorder())
    async with client_of(service, client=FAR) as far, client_of(service, client=NEAR) as near:
        for _ in range(3):
            await begin(far)
        answer = await far.post("/pair/device_authorization", data={"client_id": "tv"})
        assert said(answer) == (429, "busy")
        assert answer.headers["retry-after"] == "600"
        await begin(near)


# Authenticate, then initiate


async def test_bcp_who_hands_out_a_code_has_signed_in_first(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    for method in ("one_time_code", "qr"):
        assert said(await client.post("/pair/codes", json={"method": method})) == (403, "operator_required")
    assert await pairlock.audit.list() == []


# Context for the one who decides, and for the one who is let in


async def test_bcp_the_audit_tells_who_let_what_in(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    begun = await begin(client)
    await approve(client, begun)
    await poll(client, begun)
    events = {event.type.value: event for event in await pairlock.audit.list()}
    by = {name: events[name].by for name in ("requested", "approved", "redeemed")}
    assert by == {"requested": "device", "approved": ALICE.actor, "redeemed": f"device:{events['redeemed'].device_id}"}


# Trusted networks


@pytest.mark.parametrize(
    ("device", "operator", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "same"),
        ("192.168.1.7", "192.168.1.200", "same"),
        ("192.168.1.7", "192.168.2.7", "different"),
        ("192.0.2.1", "198.51.100.7", "different"),
        ("2001:db8:1:2::7", "2001:db8:1:2::8", "same"),
        ("2001:db8:1:2::7", "2001:db8:1:3::8", "different"),
        ("127.0.0.1", "::1", "same"),
        ("192.0.2.1", "2001:db8::1", "unknown"),
        ("testclient", "192.0.2.1", "unknown"),
    ],
)
async def test_bcp_the_operator_is_told_whether_the_device_is_in_the_same_network(
    make: Make, device: str, operator: str, network: str
) -> None:
    service = make().protect(Recorder())
    async with client_of(service, client=(device, 1)) as there, client_of(service, client=(operator, 1)) as here:
        begun = await begin(there)
        assert (await look_up(here, begun["user_code"])).json()["network"] == network


async def test_bcp_a_device_elsewhere_is_not_let_in_where_the_same_network_is_required(make: Make) -> None:
    service = make(same_network=True).protect(Recorder())
    async with client_of(service, client=FAR) as far, client_of(service, client=NEAR) as near:
        begun = await begin(far)
        found = (await look_up(near, begun["user_code"])).json()
        for forged in ({}, {"x-forwarded-for": FAR[0]}, {"forwarded": f"for={FAR[0]}"}, {"x-real-ip": FAR[0]}):
            url = f"/pair/requests/{found['id']}/approve"
            answer = await near.post(url, json={}, headers={**AS_OPERATOR, **forged})
            assert said(answer) == (403, "different_network")
        assert said(await poll(far, begun)) == (400, "authorization_pending")
        await decide(near, begun, "deny")
        begun = await begin(near)
        await approve(near, begun)
        assert (await poll(near, begun)).status_code == 200


# A PIN that binds the device to the approval


@pytest.fixture
def confirming(make: Make) -> Pairlock:
    return make(confirmation_pin=True)


async def test_bcp_after_approval_the_device_types_the_pin_that_the_operator_sees(confirming: Pairlock) -> None:
    async with client_of(confirming.protect(Recorder())) as client:
        begun = await begin(client)
        assert "confirmation_pin" not in (await look_up(client, begun["user_code"])).json()
        assert said(await poll(client, begun)) == (400, "authorization_pending")
        pin = (await decide(client, begun, "approve")).json()["confirmation_pin"]
        waiting = await poll(client, begun)
        assert said(waiting) == (400, "confirmation_required")
        assert pin not in waiting.text
        typed = f" {pin[:3]} {pin[3:]} "
        assert (await poll(client, begun, confirmation_pin=typed)).status_code == 200


async def test_bcp_five_wrong_pins_end_it(confirming: Pairlock) -> None:
    async with client_of(confirming.protect(Recorder())) as client:
        begun = await begin(client)
        pin = (await decide(client, begun, "approve")).json()["confirmation_pin"]
        wrong = "000000" if pin != "000000" else "111111"
        for left in (4, 3, 2, 1, 0):
            answer = await poll(client, begun, confirmation_pin=wrong)
            assert (said(answer), answer.json()["attempts_left"]) == ((400, "invalid_pin"), left)
        assert said(await poll(client, begun, confirmation_pin=pin)) == (400, "invalid_grant")


async def test_bcp_a_pin_that_is_not_asked_for_is_not_looked_at(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    assert (await poll(client, begun, confirmation_pin="000000")).status_code == 200
