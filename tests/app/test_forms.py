"""How the forms of OAuth are read: in one type, in UTF-8, no parameter twice, of bounded size."""

from typing import Any

import httpx
import pytest

from pairlock import Pairlock
from pairlock.asgi.bodies import MAX_BODY_BYTES
from pairlock.asgi.forms import FORM, MAX_FIELDS
from tests.app.parts import UNKNOWN_ID, client_of, send_raw
from tests.app.scene import DEVICE_CODE, SERVER_SECRET, basic
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

# What is in a form that is refused for what it says, not for how it is written; and what it is told.
TOLD: dict[str, tuple[dict[str, str], int]] = {
    "/device_authorization": ({"client_id": "tv"}, 200),
    "/token": ({"client_id": "tv", "grant_type": DEVICE_CODE, "device_code": UNKNOWN_ID}, 400),
    "/revoke": ({"client_id": "tv", "token": UNKNOWN_ID}, 200),
    "/introspect": ({"client_id": "sensors", "client_secret": SERVER_SECRET, "token": UNKNOWN_ID}, 200),
}
FORMS = pytest.mark.parametrize("path", list(TOLD))


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make(resource_servers={"sensors": SERVER_SECRET})


def assert_malformed(answer: httpx.Response, detail: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert answer.json()["detail"] == detail
    assert answer.headers["cache-control"] == "no-store"
    assert "www-authenticate" not in answer.headers  # a Bearer token is not the matter here


async def post(client: httpx.AsyncClient, path: str, content: bytes, kind: str | None = FORM, **more: Any) -> Any:
    headers = {} if kind is None else {"Content-Type": kind}
    return await client.post(path, content=content, headers=headers, **more)


def encoded(path: str, *more: str) -> bytes:
    return "&".join([*(f"{name}={value}" for name, value in TOLD[path][0].items()), *more]).encode()


def assert_read(answer: httpx.Response, path: str) -> None:
    assert answer.status_code == TOLD[path][1]
    assert answer.json().get("error") in (None, "invalid_grant")


@FORMS
@pytest.mark.parametrize(
    "kind",
    [
        FORM,
        f"{FORM};charset=UTF-8",
        f"{FORM}; charset=utf-8",
        f'{FORM}; charset="UTF-8"',
        "Application/X-WWW-Form-URLencoded",
        f" {FORM} ; x=y",
    ],
)
async def test_a_form_may_say_its_type_in_any_case_and_with_parameters(
    client: httpx.AsyncClient, path: str, kind: str
) -> None:
    assert_read(await post(client, path, encoded(path), kind), path)


@FORMS
@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        f"{FORM}x",
        f"text/plain; {FORM}",
        f"{FORM}; charset=iso-8859-1",
        f"{FORM}; charset=utf-16",
    ],
)
async def test_what_says_to_be_something_else_is_told_what_to_send(
    client: httpx.AsyncClient, path: str, kind: str | None
) -> None:
    said = f"send the body as Content-Type: {FORM}, in UTF-8"
    assert_malformed(await post(client, path, encoded(path), kind), said)


@FORMS
@pytest.mark.parametrize(
    "broken", [b"\xff\xfe", b"hint=\xe9", b"hint=%E9", b"hint=%ff%fe", b"hint=%ED%A0%80", b"%ff=1"]
)
async def test_what_is_no_utf_8_is_malformed(client: httpx.AsyncClient, path: str, broken: bytes) -> None:
    assert_malformed(await post(client, path, encoded(path) + b"&" + broken), "the form is malformed")


@FORMS
async def test_a_form_has_a_bounded_number_of_fields(client: httpx.AsyncClient, path: str) -> None:
    more = [f"x{number}=" for number in range(MAX_FIELDS - len(TOLD[path][0]))]
    assert_read(await post(client, path, encoded(path, *more)), path)
    assert_malformed(await post(client, path, encoded(path, *more, "y=")), "the form is malformed")


@FORMS
async def test_the_largest_form_is_read_and_a_larger_one_is_not(client: httpx.AsyncClient, path: str) -> None:
    content = encoded(path, "hint=").ljust(MAX_BODY_BYTES, b"x")
    assert_read(await post(client, path, content), path)
    answer = await post(client, path, content + b"x")
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")


@FORMS
@pytest.mark.parametrize("again", ["client_id=tv", "client_id=", "client%5Fid=x", "x=1&x=2", "x=&x=", "=&="])
async def test_no_parameter_may_be_there_twice(client: httpx.AsyncClient, path: str, again: str) -> None:
    assert_malformed(await post(client, path, encoded(path, again)), "no parameter may be there twice")


@FORMS
async def test_an_empty_parameter_is_one_left_out(client: httpx.AsyncClient, path: str) -> None:
    assert_read(await post(client, path, encoded(path, "scope=", "x=", "code_challenge=", "hint=")), path)
    name = "client_id" if path == "/device_authorization" else "token" if "token" in TOLD[path][0] else "grant_type"
    content = encoded(path).replace(f"{name}={TOLD[path][0][name]}".encode(), f"{name}=".encode())
    assert_malformed(await post(client, path, content), f"the parameter {name} is missing")


@pytest.mark.parametrize(
    ("path", "missing"), [("/device_authorization", "client_id"), ("/token", "grant_type"), ("/revoke", "token")]
)
async def test_an_empty_form_is_told_what_is_missing(client: httpx.AsyncClient, path: str, missing: str) -> None:
    assert_malformed(await post(client, path, b""), f"the parameter {missing} is missing")


async def test_an_empty_form_of_a_resource_server_is_told_what_is_missing(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": FORM, **basic("sensors", SERVER_SECRET)}
    assert_malformed(await client.post("/introspect", headers=headers), "the parameter token is missing")


async def test_an_empty_scope_asks_for_what_is_granted_by_default(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    answer = await post(client, "/device_authorization", b"client_id=tv&scope=&name=")
    request = await pairlock.deciding.look_up(answer.json()["user_code"])
    assert (request.requested, request.name) == (None, "tv")


async def test_what_a_form_says_is_percent_decoded(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    answer = await post(client, "/device_authorization", b"client_id=t%76&name=My+T%56+%e2%98%95&hint=a%26b%3dc;d")
    assert answer.status_code == 200
    request = await pairlock.deciding.look_up(answer.json()["user_code"])
    assert (request.client_id, request.name, request.origin.hint) == ("tv", "My TV ☕", "a&b=c;d")


async def test_the_query_is_read_where_a_device_authorization_has_no_body(
    client: httpx.AsyncClient, pairlock: Pairlock
) -> None:
    query = "client_id=tv&name=My+TV&scope=read:/sensors/a"
    for kind in (None, FORM, "text/plain"):
        answer = await post(client, f"/device_authorization?{query}", b"", kind)
        assert answer.status_code == 200
        request = await pairlock.deciding.look_up(answer.json()["user_code"])
        assert (request.client_id, request.name) == ("tv", "My TV")
        assert request.requested is not None
        assert request.requested.scopes() == ["read:/sensors/a"]
    for broken in ("client_id=tv&client_id=tv", "client_id=%ff", "&".join(f"x{number}" for number in range(65))):
        assert (await post(client, f"/device_authorization?{broken}", b"")).status_code == 400


async def test_the_query_is_not_read_beside_a_body(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    path = "/device_authorization?name=Query&scope=nonsense&client_id=query"
    answer = await post(client, path, b"client_id=tv")
    assert answer.status_code == 200
    assert (await pairlock.deciding.look_up(answer.json()["user_code"])).name == "tv"
    assert_malformed(await post(client, path, b"name=x"), "the parameter client_id is missing")


@pytest.mark.parametrize("path", [path for path in TOLD if path != "/device_authorization"])
async def test_elsewhere_the_query_is_never_read(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, params=TOLD[path][0])
    assert_malformed(answer, f"send the body as Content-Type: {FORM}, in UTF-8")
    with_query, without = await post(client, path, b"", params=TOLD[path][0]), await post(client, path, b"")
    assert with_query.status_code >= 400
    assert (with_query.status_code, with_query.content) == (without.status_code, without.content)


async def test_a_caller_who_leaves_in_the_middle_of_a_form_is_no_error(
    pairlock: Pairlock, caplog: pytest.LogCaptureFixture
) -> None:
    for path in TOLD:
        start, _ = await send_raw(
            pairlock.app,
            method="POST",
            path=path,
            headers=[(b"content-type", FORM.encode())],
            body=[{"type": "http.request", "body": b"client_id=t", "more_body": True}],
        )
        assert start["status"] == 400
    assert not caplog.records


async def test_a_form_in_pieces_is_put_together(make: Make) -> None:
    pieces = [
        {"type": "http.request", "body": piece, "more_body": bool(piece)}
        for piece in (b"clie", b"nt_id=%7", b"4v", b"")
    ]
    headers = [(b"content-type", FORM.encode()), (b"host", b"pair.test")]
    start, _ = await send_raw(make().app, method="POST", path="/device_authorization", headers=headers, body=pieces)
    assert start["status"] == 200


async def test_json_on_a_form_endpoint_tells_nothing_of_what_it_holds(client: httpx.AsyncClient) -> None:
    answer = await client.post("/token", json={"refresh_token": "plr_secret"})
    assert answer.status_code == 400
    assert "plr_secret" not in answer.text


async def test_clients_of_these_tests_are_what_they_seem(make: Make) -> None:
    async with client_of(make(resource_servers={"sensors": SERVER_SECRET}).app) as client:
        for path in TOLD:
            assert_read(await client.post(path, data=TOLD[path][0]), path)
