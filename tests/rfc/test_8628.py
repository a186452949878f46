"""RFC 8628: the device authorization grant, over HTTP."""

import asyncio
import re
import secrets
from base64 import urlsafe_b64encode
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from pairlock import Client, Limits, Operator, Pairlock
from pairlock.testing import FakeClock
from tests.app.parts import AS_OPERATOR, UNKNOWN_ID, client_of
from tests.guard.parts import Recorder
from tests.rfc.parts import DEVICE_CODE, SECRET, TV, approve, basic, begin, deny, look_up, poll, said
from tests.services.parts import UNLIMITED, Make

pytestmark = pytest.mark.anyio

ASK = "/pair/device_authorization"
FORM = "application/x-www-form-urlencoded"


async def ask(client: httpx.AsyncClient, **form: Any) -> httpx.Response:
    return await client.post(ASK, data=form)


# §3.1 Device authorization request


async def test_8628_3_1_only_post_asks_for_a_device_code(client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await client.request(method, ASK, params={"client_id": TV})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_8628_3_1_what_is_no_form_in_utf_8_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    for kind, body in (
        ("application/json", b'{"client_id": "tv"}'),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("text/plain", b"client_id=tv"),
        ("", b"client_id=tv"),
        (f"{FORM}; charset=iso-8859-1", b"client_id=tv"),
        (FORM, b"client_id=tv&name=\xff"),
        (FORM, b"client_id=tv&name=%ff"),
    ):
        answer = await client.post(ASK, content=body, headers={"content-type": kind})
        assert said(answer) == (400, "invalid_request"), kind


async def test_8628_3_1_the_form_may_say_its_charset(client: httpx.AsyncClient) -> None:
    for said_as in ("", ";charset=UTF-8", "; charset=utf-8", ' ; charset="utf-8"', "; CHARSET=Utf-8"):
        headers = {"content-type": FORM + said_as}
        answer = await client.post(ASK, content="client_id=tv&name=K%C3%BCche", headers=headers)
        assert (await look_up(client, answer.json()["user_code"])).json()["name"] == "Küche"


async def test_8628_3_1_the_client_says_who_it_is(client: httpx.AsyncClient) -> None:
    assert said(await ask(client, scope="read:/sensors/**")) == (400, "invalid_request")
    assert said(await ask(client, client_id="")) == (400, "invalid_request")


async def test_8628_3_1_a_client_id_in_basic_alone_is_enough(client: httpx.AsyncClient) -> None:
    for form in ({}, {"name": "Telly"}):
        answer = await client.post(ASK, data=form, headers=basic(TV))
        assert (await look_up(client, answer.json()["user_code"])).json()["client_id"] == TV


async def test_8628_3_1_an_empty_parameter_is_one_left_out(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    empty = {
        "scope": "",
        "name": "",
        "code_challenge": "",
        "code_challenge_method": "",
        "hint": "",
        "client_secret": "",
    }
    begun = await begin(client, **empty)
    shown = (await look_up(client, begun["user_code"])).json()
    assert (shown["name"], shown["permissions"]) == (TV, {"read": ["/**"], "write": ["/**"]})
    assert "requested" not in shown
    await approve(client, begun)
    assert (await poll(client, begun, code_verifier="", scope="")).status_code == 200


async def test_8628_3_1_an_unknown_parameter_is_ignored(client: httpx.AsyncClient) -> None:
    begun = await begin(client, grant_type=DEVICE_CODE, audience="x", resource="y", **{"a[]": "z"})
    assert said(await poll(client, begun, audience="x")) == (400, "authorization_pending")


async def test_8628_3_1_no_parameter_is_there_twice(client: httpx.AsyncClient) -> None:
    for repeated in ("client_id", "scope", "name", "unheard-of"):
        for values in (["tv", "tv"], ["tv", "radio"], ["", ""]):
            form = {"client_id": TV, repeated: values}
            assert said(await ask(client, **form)) == (400, "invalid_request")


async def test_8628_3_4_no_parameter_is_there_twice(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    form: dict[str, Any] = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": TV}
    for repeated, value in form.items():
        assert said(await poll(client, begun, **{repeated: [value, value]})) == (400, "invalid_request")


async def test_8628_3_1_an_issuer_without_tls_is_warned_of_at_start(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for host in ("house.example", "192.0.2.1", "localhost.evil.example", "127.0.0.1.evil.example"):
        caplog.clear()
        await make(issuer=f"http://{host}/pair").start()
        (warning,) = [each for each in caplog.records if each.levelname == "WARNING"]
        assert warning.name == "pairlock"
        assert f"http://{host}/pair" in warning.message


async def test_8628_3_1_tls_and_this_very_machine_are_not_warned_of(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for issuer in (
        None,
        "https://house.example/pair",
        "http://127.0.0.1:8000/pair",
        "http://localhost",
        "http://[::1]:80",
    ):
        await make(issuer=issuer).start()
    assert [each for each in caplog.records if each.levelname == "WARNING"] == []


# §3.2 Device authorization response


async def test_8628_3_2_the_answer_has_what_the_device_needs_and_no_more(client: httpx.AsyncClient) -> None:
    answer = await ask(client, client_id=TV)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    begun = answer.json()
    assert {name: type(value) for name, value in begun.items()} == {
        "device_code": str,
        "user_code": str,
        "verification_uri": str,
        "verification_uri_complete": str,
        "expires_in": int,
        "interval": int,
    }
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", begun["user_code"])


async def test_8628_3_2_seconds_are_whole_whatever_the_setting(make: Make) -> None:
    pairlock = make(device_code_timeout=90.5, token_life=59.5)
    async with client_of(pairlock.protect(Recorder())) as client:
        begun = await begin(client)
        assert (begun["expires_in"], type(begun["expires_in"])) == (91, int)
        await approve(client, begun)
        token = (await poll(client, begun)).json()
        assert (token["expires_in"], type(token["expires_in"])) == (59, int)


async def test_8628_3_2_nothing_is_ever_null(make: Make) -> None:
    pairlock = make(long_lived=["device_code"])
    async with client_of(pairlock.protect(Recorder())) as client:
        begun = await begin(client)
        pending = await poll(client, begun)
        await approve(client, begun)
        token = await poll(client, begun)
        used = await poll(client, begun)
        await deny(client, other := await begin(client))
        denied = await poll(client, other)
        for answer in (pending, token, used, denied):
            assert None not in answer.json().values()
        assert "refresh_token" not in token.json()
        assert "reason" not in denied.json()


async def test_8628_3_2_the_interval_is_always_said(client: httpx.AsyncClient, clock: FakeClock) -> None:
    for _ in range(3):
        begun = await begin(client)
        await poll(client, begun)
        clock.advance(1)
        assert (await poll(client, begun)).json()["interval"] == 10
        assert begun["interval"] == 5  # an interval that grew is that of its request alone


async def test_8628_3_2_nothing_said_may_be_kept(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    answers = [await ask(client, client_id=TV), await ask(client), await client.get(ASK), await poll(client, begun)]
    clock.advance(1)
    answers += [await poll(client, begun), await poll(client, begun, grant_type="x")]
    await approve(client, begun)
    answers += [await poll(client, begun), await poll(client, begun), await client.post("/pair/token")]
    answers += [await client.get("/pair/token"), await client.post("/pair/token/", data={"client_id": TV})]
    assert {answer.status_code for answer in answers} == {200, 400, 404, 405}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


# §3.3 User interaction (there are no pages yet: what can be told from the API)


async def test_8628_3_3_the_user_code_is_not_in_the_verification_uri(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    uri, code = httpx.URL(begun["verification_uri"]), begun["user_code"]
    assert (uri.path, uri.query, uri.fragment) == ("/pair/device", b"", "")
    assert code not in begun["verification_uri"]
    assert begun["verification_uri_complete"] == f"{begun['verification_uri']}?user_code={code}"


async def test_8628_3_3_the_verification_uri_is_where_the_device_reached_us(make: Make) -> None:
    async with client_of(make().protect(Recorder())) as client:
        for host in ("house.example", "192.168.1.4:8000", "[::1]:8000"):
            answer = await client.post(ASK, data={"client_id": TV}, headers={"host": host})
            assert answer.json()["verification_uri"] == f"http://{host}/pair/device"
    async with client_of(make(issuer="https://house.example/p").protect(Recorder())) as client:
        answer = await client.post(ASK, data={"client_id": TV}, headers={"host": "attacker.example"})
        assert answer.json()["verification_uri"] == "https://house.example/p/device"


async def test_8628_3_3_a_host_that_cannot_be_one_makes_no_verification_uri(client: httpx.AsyncClient) -> None:
    for host in ('a"b', "a b", "a/b", "a@b", "a?b", "a#b", "a\\b", "", "a:b", "a:123456", "é"):
        answer = await client.post(ASK, data={"client_id": TV}, headers=[(b"host", host.encode("latin-1"))])
        assert said(answer) == (400, "invalid_request")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_8628_3_3_1_following_the_complete_uri_decides_nothing(
    client: httpx.AsyncClient, pairlock: Pairlock, method: str
) -> None:
    begun = await begin(client)
    found = (await look_up(client, begun["user_code"])).json()
    before = await pairlock.deciding.show(found["id"]), await pairlock.audit.list()
    for headers in ({}, AS_OPERATOR, {**AS_OPERATOR, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}):
        answer = await client.request(method, begun["verification_uri_complete"], headers=headers)
        assert answer.status_code == 404  # no page yet
        for call in ("approve", "deny"):
            url = f"/pair/requests/{found['id']}/{call}"
            assert (await client.request(method, url, headers=headers)).status_code == 405
    assert (await pairlock.deciding.show(found["id"]), await pairlock.audit.list()) == before
    assert said(await poll(client, begun)) == (400, "authorization_pending")


async def test_8628_3_3_looking_a_code_up_decides_nothing(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    begun = await begin(client)
    before = await pairlock.audit.list()
    found = (await look_up(client, begun["user_code"])).json()
    assert (found["state"], await pairlock.audit.list()) == ("pending", before)
    assert said(await poll(client, begun)) == (400, "authorization_pending")


async def test_8628_3_3_who_denies_has_the_device_told(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await deny(client, begun, reason="Not in this house.")
    for _ in range(2):
        answer = await poll(client, begun)
        assert said(answer) == (400, "access_denied")
        assert answer.json()["reason"] == "Not in this house."


async def test_8628_3_3_the_operator_may_grant_less_than_was_asked_for(client: httpx.AsyncClient) -> None:
    begun = await begin(client, scope="read:/sensors/** write:/control/lamp")
    await approve(client, begun, permissions={"read": ["/sensors/kitchen"]})
    assert (await poll(client, begun)).json()["scope"] == "read:/sensors/kitchen"


# §3.4 Device access token request


async def test_8628_3_4_another_grant_type_is_unsupported(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    for grant in ("device_code", "authorization_code", "password", "client_credentials", DEVICE_CODE + "s"):
        assert said(await poll(client, begun, grant_type=grant)) == (400, "unsupported_grant_type")


@pytest.mark.parametrize("missing", ["grant_type", "device_code", "client_id"])
async def test_8628_3_4_what_is_missing_makes_an_invalid_request(client: httpx.AsyncClient, missing: str) -> None:
    begun = await begin(client)
    answer = await poll(client, begun, **{missing: ""})
    assert said(answer) == (400, "invalid_request")
    assert missing in answer.json()["detail"]


@pytest.mark.parametrize("way", ["basic", "post"])
async def test_8628_3_4_a_client_with_a_secret_proves_it(make: Make, way: str) -> None:
    pairlock = make(clients=[Client(id=TV, secret=SECRET), Client(id="radio")])

    def sent(secret: str) -> dict[str, Any]:
        if way == "basic":
            return {"headers": basic(TV, secret), "data": {"name": "TV"}}
        return {"data": {"client_id": TV, "client_secret": secret}}

    async with client_of(pairlock.protect(Recorder())) as client:
        for wrong in ("", "x", SECRET[:-1], SECRET.upper()):
            answer = await client.post(ASK, **sent(wrong))
            assert said(answer) == (401, "invalid_client")
            assert answer.headers["www-authenticate"] == 'Basic realm="pairlock"'
        begun = (await client.post(ASK, **sent(SECRET))).json()
        await approve(client, begun)
        for secret, status in (("", 401), ("x", 401), (SECRET, 200)):
            asked = sent(secret)
            asked["data"] |= {"grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
            answer = await client.post("/pair/token", **asked)
            assert answer.status_code == status
            assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_8628_3_4_an_unknown_client_and_a_secret_of_one_that_has_none_are_refused(make: Make) -> None:
    async with client_of(make(clients=[Client(id="radio")]).protect(Recorder())) as client:
        assert (await ask(client, client_id="radio")).status_code == 200
        assert said(await ask(client, client_id=TV)) == (401, "invalid_client")
        assert said(await ask(client, client_id="radio", client_secret=SECRET)) == (401, "invalid_client")


# §3.5 Device access token response


def assert_told(answer: httpx.Response, error: str) -> None:
    """An error of the token endpoint: 400, and never a challenge, which makes some clients ask for a password."""
    assert said(answer) == (400, error)
    assert "www-authenticate" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


async def test_8628_3_5_while_nobody_has_decided_it_is_pending(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    for _ in range(3):
        assert_told(await poll(client, begun), "authorization_pending")
        clock.advance(5)


async def test_8628_3_5_who_asks_too_soon_is_told_to_slow_down(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    await poll(client, begun)
    clock.advance(3.9)
    assert_told(await poll(client, begun), "slow_down")


async def test_8628_3_5_what_was_denied_is_access_denied(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await deny(client, begun)
    assert_told(await poll(client, begun), "access_denied")


@pytest.mark.parametrize("before", ["nobody decided", "approved", "polled to the end"])
async def test_8628_3_5_what_is_too_late_is_expired_token(
    client: httpx.AsyncClient, clock: FakeClock, before: str
) -> None:
    begun = await begin(client)
    if before == "approved":
        await approve(client, begun)
    if before == "polled to the end":
        for _ in range(24):
            assert_told(await poll(client, begun), "authorization_pending")
            clock.advance(25)
    else:
        clock.advance(600)
    for _ in range(2):
        assert_told(await poll(client, begun), "expired_token")
        clock.advance(5)


async def test_8628_3_5_a_device_that_polled_and_then_stopped_has_expired(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    begun = await begin(client)
    await poll(client, begun)
    clock.advance(30.9)
    assert (await look_up(client, begun["user_code"])).status_code == 200
    clock.advance(0.1)  # the interval and 26 s: nobody is asked to let in what has gone
    assert said(await look_up(client, begun["user_code"])) == (400, "invalid_code")
    assert_told(await poll(client, begun), "expired_token")


async def test_8628_3_5_to_the_last_moment_an_approved_code_is_good(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    begun = await begin(client)
    await approve(client, begun)
    clock.advance(599.9)
    assert (await poll(client, begun)).status_code == 200


async def test_8628_3_5_a_used_code_is_an_invalid_grant(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    await approve(client, begun)
    assert (await poll(client, begun)).status_code == 200
    for _ in range(2):
        assert_told(await poll(client, begun), "invalid_grant")
        clock.advance(5)


async def test_8628_3_5_an_unknown_code_is_an_invalid_grant(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    await approve(client, begun)
    request_id, _, secret = begun["device_code"].partition(".")
    made_up = [
        *("x", ".", request_id, f"{request_id}.", f".{secret}", f"{UNKNOWN_ID}.{secret}", f"{request_id}.{secret}x"),
        *(
            begun["user_code"],
            f"{request_id}.{secret[:-1]}",
            f"{request_id}.{begun['user_code']}",
            "é",
            "\0",
            "x" * 9000,
        ),
    ]
    for device_code in made_up:
        assert_told(await poll(client, begun, device_code=device_code), "invalid_grant")
    assert (await poll(client, begun)).status_code == 200  # whoever guesses uses nothing up


async def test_8628_3_5_the_secret_of_a_request_by_pin_is_no_device_code(client: httpx.AsyncClient) -> None:
    started = (await client.post("/pair/requests", json={"name": "Phone"})).json()
    await client.post(f"/pair/requests/{started['id']}/approve", json={}, headers=AS_OPERATOR)
    device_code = f"{started['id']}.{started['secret']}"
    assert_told(await poll(client, {"device_code": device_code}), "invalid_grant")


async def test_8628_3_5_a_token_answer_says_bearer_its_life_and_its_scope(client: httpx.AsyncClient) -> None:
    begun = await begin(client, scope="read:/sensors/**")
    await approve(client, begun)
    answer = await poll(client, begun)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    token = answer.json()
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("Bearer", 3600, "read:/sensors/**")
    assert token["access_token"].startswith("plk_")
    assert token["refresh_token"].startswith("plr_")
    assert token["permissions"] == {"read": ["/sensors/**"], "write": []}


# §3.5 The interval


async def test_8628_3_5_slow_down_lengthens_all_later_intervals(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    assert_told(await poll(client, begun), "authorization_pending")
    clock.advance(3)
    slowed = await poll(client, begun)
    assert_told(slowed, "slow_down")
    assert slowed.json()["interval"] == 10
    clock.advance(10)
    for _ in range(2):  # the same device, five and ten intervals later
        assert_told(await poll(client, begun), "authorization_pending")
        clock.advance(5)
        slowed = await poll(client, begun)
        assert_told(slowed, "slow_down")
        clock.advance(slowed.json()["interval"])
    assert slowed.json()["interval"] == 20


async def test_8628_3_5_the_longer_interval_is_kept_through_a_restart(make: Make, clock: FakeClock) -> None:
    first = make()
    async with client_of(first.protect(Recorder())) as client:
        begun = await begin(client)
        await poll(client, begun)
        clock.advance(1)
        await poll(client, begun)
    await first.aclose()
    async with client_of(make().protect(Recorder())) as client:
        clock.advance(6.9)  # 7.9 after the poll that counts: too soon for an interval of 10
        slowed = await poll(client, begun)
        assert (said(slowed), slowed.json()["interval"]) == ((400, "slow_down"), 15)


async def test_8628_3_5_the_interval_grows_to_a_minute_and_no_further(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    begun = await begin(client)
    await poll(client, begun)
    intervals = []
    for _ in range(14):
        clock.advance(1)
        intervals.append((await poll(client, begun)).json()["interval"])
    assert intervals == [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 60, 60, 60]
    clock.advance(60)
    assert_told(await poll(client, begun), "authorization_pending")


async def test_8628_3_5_the_first_poll_is_free(client: httpx.AsyncClient) -> None:
    assert_told(await poll(client, await begin(client)), "authorization_pending")


async def test_8628_3_5_a_fifth_of_the_interval_is_tolerance(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    for _ in range(3):
        assert_told(await poll(client, begun), "authorization_pending")
        clock.advance(4)
    assert_told(await poll(client, begun), "authorization_pending")
    clock.advance(3.99)
    assert_told(await poll(client, begun), "slow_down")


async def test_8628_3_5_polls_under_a_second_apart_are_one(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    for _ in range(2):  # as one that is in time
        assert_told(await poll(client, begun), "authorization_pending")
        clock.advance(0.99)
    clock.advance(1)
    for _ in range(2):  # as one that is too soon
        slowed = await poll(client, begun)
        assert (said(slowed), slowed.json()["interval"]) == ((400, "slow_down"), 10)
        clock.advance(0.99)
    clock.advance(8 - 2 * 1.98)
    assert_told(await poll(client, begun), "authorization_pending")


async def test_8628_3_5_many_polls_at_once_are_one(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    answers = await asyncio.gather(*(poll(client, begun) for _ in range(10)))
    assert {said(answer) for answer in answers} == {(400, "authorization_pending")}
    clock.advance(1)
    answers = await asyncio.gather(*(poll(client, begun) for _ in range(10)))
    assert {(answer.json()["error"], answer.json()["interval"]) for answer in answers} == {("slow_down", 10)}


async def test_8628_3_5_a_refused_poll_does_not_move_the_clock(client: httpx.AsyncClient, clock: FakeClock) -> None:
    begun = await begin(client)
    assert_told(await poll(client, begun), "authorization_pending")
    clock.advance(3)
    assert_told(await poll(client, begun), "slow_down")
    clock.advance(5)  # 8 after the one that counted, which is four fifths of 10
    assert_told(await poll(client, begun), "authorization_pending")


@pytest.mark.parametrize("decision", ["approve", "deny", "expire"])
async def test_8628_3_5_how_it_ended_is_said_before_when_to_ask_again(
    client: httpx.AsyncClient, clock: FakeClock, decision: str
) -> None:
    begun = await begin(client)
    clock.advance(598 if decision == "expire" else 0)
    await poll(client, begun)
    clock.advance(1)
    assert_told(await poll(client, begun), "slow_down")
    if decision == "approve":
        await approve(client, begun)
        assert (await poll(client, begun)).status_code == 200
    elif decision == "deny":
        await deny(client, begun)
        assert_told(await poll(client, begun), "access_denied")
    else:
        clock.advance(1)
        assert_told(await poll(client, begun), "expired_token")


# §5.1 User code brute forcing


WRONG = "BBBB-BBBB"
DEFAULTS = Limits()
GUESSED = replace(  # what a service has that says nothing of guesses
    UNLIMITED,
    wrong_user_codes=DEFAULTS.wrong_user_codes,
    wrong_user_codes_per_source=DEFAULTS.wrong_user_codes_per_source,
    wrong_user_codes_in_all=DEFAULTS.wrong_user_codes_in_all,
)


def by_name(connection: HTTPConnection) -> Operator | None:
    """Whoever says to be an operator is one."""
    name = connection.headers.get("x-operator")
    return None if name is None else Operator(name)


async def guess(client: httpx.AsyncClient, user_code: str, operator: str = "alice") -> httpx.Response:
    return await look_up(client, user_code, **{"x-operator": operator})


@pytest.fixture
def guessing(make: Make) -> ASGIApp:
    return make(limits=GUESSED, operator=by_name).protect(Recorder())


async def test_8628_5_1_after_five_wrong_codes_the_right_one_is_refused_too(
    guessing: ASGIApp, clock: FakeClock
) -> None:
    async with client_of(guessing) as client:
        begun = await begin(client)
        for _ in range(5):
            assert said(await guess(client, WRONG)) == (400, "invalid_code")
        for user_code in (WRONG, begun["user_code"]):
            refused = await guess(client, user_code)
            assert said(refused) == (429, "too_many_requests")
            assert 1 <= int(refused.headers["retry-after"]) <= 900
        clock.advance(900)
        begun = await begin(client)
        assert (await guess(client, begun["user_code"])).status_code == 200


async def test_8628_5_1_guesses_at_once_do_not_share_an_attempt(guessing: ASGIApp) -> None:
    async with client_of(guessing) as client:
        answers = await asyncio.gather(*(guess(client, WRONG) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [400] * 5 + [429] * 15


async def test_8628_5_1_a_right_code_does_not_forgive_the_wrong_ones(guessing: ASGIApp) -> None:
    async with client_of(guessing) as client:
        begun = await begin(client)
        for _ in range(4):
            assert said(await guess(client, WRONG)) == (400, "invalid_code")
            assert (await guess(client, begun["user_code"])).status_code == 200  # and is no wrong one either
        assert said(await guess(client, WRONG)) == (400, "invalid_code")
        assert said(await guess(client, begun["user_code"])) == (429, "too_many_requests")


async def test_8628_5_1_however_a_guess_is_spelt_it_counts(guessing: ASGIApp) -> None:
    async with client_of(guessing) as client:
        begun = await begin(client)
        for spelt in ("BBBB-BBBB", "bbbb bbbb", "bbbbbbbb.", "", "Bé"):
            assert said(await guess(client, spelt)) == (400, "invalid_code")
        right = begun["user_code"]
        for spelt in (right, right.lower(), right.replace("-", ""), f" {right}."):
            assert said(await guess(client, spelt)) == (429, "too_many_requests")


async def test_8628_5_1_the_guesses_are_remembered_through_a_restart(make: Make) -> None:
    first = make(limits=GUESSED, operator=by_name)
    async with client_of(first.protect(Recorder())) as client:
        begun = await begin(client)
        for _ in range(5):
            await guess(client, WRONG)
    await first.aclose()
    second, beside = make(limits=GUESSED, operator=by_name), make(limits=GUESSED, operator=by_name)
    for process in (second, beside):
        async with client_of(process.protect(Recorder())) as client:
            assert said(await guess(client, begun["user_code"])) == (429, "too_many_requests")


async def test_8628_5_1_each_operator_has_guesses_of_its_own(guessing: ASGIApp) -> None:
    async with client_of(guessing) as client:
        begun = await begin(client)
        for _ in range(6):
            await guess(client, WRONG)
        assert (await guess(client, begun["user_code"], "bob")).status_code == 200


async def test_8628_5_1_guesses_are_limited_by_source_too(guessing: ASGIApp) -> None:
    async with (
        client_of(guessing, client=("192.0.2.1", 1)) as here,
        client_of(guessing, client=("192.0.2.2", 1)) as there,
    ):
        begun = await begin(here)
        for nth in range(10):
            assert said(await guess(here, WRONG, f"operator {nth // 5}")) == (400, "invalid_code")
        assert said(await guess(here, begun["user_code"], "carol")) == (429, "too_many_requests")
        assert (await guess(there, begun["user_code"], "carol")).status_code == 200


async def test_8628_5_1_guesses_are_limited_in_all(guessing: ASGIApp) -> None:
    for nth in range(10):
        async with client_of(guessing, client=(f"192.0.2.{nth}", 1)) as client:
            for guessed in range(10):
                assert said(await guess(client, WRONG, f"operator {nth}/{guessed // 5}")) == (400, "invalid_code")
    async with client_of(guessing, client=("198.51.100.1", 1)) as client:
        begun = await begin(client)
        assert said(await guess(client, begun["user_code"], "zoe")) == (429, "too_many_requests")


async def test_8628_5_1_a_user_code_is_found_by_operators_alone_and_only_while_it_waits(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    first, second, third = await begin(client), await begin(client), await begin(client)
    body = {"user_code": first["user_code"]}
    assert said(await client.post("/pair/requests/lookup", json=body)) == (403, "operator_required")
    await approve(client, first)
    await deny(client, second)
    for begun in (first, second):
        assert said(await look_up(client, begun["user_code"])) == (400, "invalid_code")
    clock.advance(600)
    assert said(await look_up(client, third["user_code"])) == (400, "invalid_code")


# §5.2 Device code brute forcing


async def test_8628_5_2_a_device_code_holds_256_bits_from_the_systems_own_randomness(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, draw = list[bytes](), secrets.token_bytes

    def draw_and_tell(count: int) -> bytes:
        drawn.append(draw(count))
        return drawn[-1]

    monkeypatch.setattr(secrets, "token_bytes", draw_and_tell)
    codes = {(await begin(client))["device_code"] for _ in range(20)}
    assert len(codes) == 20
    random = {urlsafe_b64encode(each).rstrip(b"=").decode() for each in drawn if len(each) >= 32}
    for code in codes:
        _, _, secret = code.partition(".")
        assert secret in random


# §5.3, §5.4 What the operator is shown


async def test_8628_5_4_the_operator_is_shown_who_asks_for_what_since_when_from_where(
    guessing: ASGIApp, clock: FakeClock
) -> None:
    async with client_of(guessing, client=("192.0.2.9", 1)) as client:
        client.headers["user-agent"] = "Telly/1.0"
        begun = await begin(client, name="Living room", scope="read:/sensors/**", hint="model 7")
        clock.advance(20)
        shown = (await guess(client, begun["user_code"])).json()
    assert {name: shown[name] for name in ("name", "client_id", "address", "user_agent", "hint", "method")} == {
        "name": "Living room",
        "client_id": TV,
        "address": "192.0.2.9",
        "user_agent": "Telly/1.0",
        "hint": "model 7",
        "method": "device_code",
    }
    assert shown["permissions"] == shown["requested"] == {"read": ["/sensors/**"], "write": []}
    assert (clock() - shown["created_at"], shown["expires_in"]) == (20, 580)


async def test_8628_5_4_no_request_by_device_code_is_seen_without_its_user_code(client: httpx.AsyncClient) -> None:
    await begin(client)
    listed = await client.get("/pair/requests", headers=AS_OPERATOR)
    assert listed.json()["requests"] == []


# §6.1 User codes


async def test_8628_6_1_a_user_code_has_no_vowels_and_no_look_alikes(client: httpx.AsyncClient) -> None:
    codes = [(await begin(client))["user_code"] for _ in range(50)]
    assert len(set(codes)) == 50
    assert set("".join(codes)) <= set("BCDFGHJKLMNPQRSTVWXZ-")


PUNCTUATION = st.text(alphabet=" -.,_/\t\u2013\u00a0\u200bäßé0123456789aeiouyAEIOUY", max_size=3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(between=st.lists(PUNCTUATION, min_size=9, max_size=9), upper=st.lists(st.booleans(), min_size=8, max_size=8))
async def test_8628_6_1_case_punctuation_and_foreign_characters_do_not_matter(
    client: httpx.AsyncClient, between: list[str], upper: list[bool]
) -> None:
    symbols = (await begin(client))["user_code"].replace("-", "")
    spelt = [symbol.upper() if up else symbol.lower() for symbol, up in zip(symbols, upper, strict=True)]
    typed = "".join(part for pair in zip(between, [*spelt, ""], strict=True) for part in pair)
    assert (await look_up(client, typed)).status_code == 200


async def test_8628_6_1_a_code_is_the_same_however_it_is_grouped(client: httpx.AsyncClient) -> None:
    begun = await begin(client)
    for spell in ("{0} {1}", "{0}-{1}", "{0}{1}.", "  {0}\u2014{1}\n"):
        assert (await look_up(client, spell.format(*begun["user_code"].lower().split("-")))).status_code == 200
