"""What holds for each call: nothing is kept, bodies are bounded and strict, foreign pages are refused."""

import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection

from pairlock import Pairlock, StoreError
from pairlock._core.records import AuditEvent, PairingRequest
from pairlock.asgi.bodies import MAX_BODY_BYTES
from pairlock.stores.sqlite import SQLiteStore
from tests.app.parts import (
    ALICE,
    APP,
    AS_OPERATOR,
    SHARED_CALLS,
    UNKNOWN_ID,
    bearer,
    calls_of,
    client_of,
    pair,
    send_raw,
    start,
)
from tests.app.scene import ALL_CALLS, SERVER_SECRET, a_scene, make_call
from tests.app.test_who_may_call import OK, WHO
from tests.services.parts import FailingStore, Make, away

pytestmark = pytest.mark.anyio

CALLS = sorted(calls_of(APP))
PATHS = sorted({path for _, path in CALLS})
WITH_BODY = [
    ("POST", "/requests"),
    ("POST", "/requests/{id}/pin"),
    ("POST", "/requests/{id}/token"),
    ("POST", "/requests/{id}/approve"),
    ("POST", "/requests/{id}/deny"),
    ("POST", "/requests/lookup"),
    ("POST", "/redeem"),
    ("POST", "/codes"),
    ("PUT", "/window"),
    ("PATCH", "/devices/{id}"),
]
WITH_FORM = [("POST", path) for path in ("/device_authorization", "/token", "/revoke", "/introspect")]
DOWN = (
    *("commit", "hit", "find Device", "find PairingRequest", "find Setting", "find_code"),
    *("list_requests", "list_devices", "list_events"),
)
WITHOUT_STORE = {
    ("GET", "/health"),  # it says so in its own words
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/identity"),  # read once, at the start; a proof takes a look at the device
}
JSON = {"Content-Type": "application/json"}


def assert_said(answer: httpx.Response, status: int, error: str) -> None:
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert set(answer.json()) >= {"error", "error_description"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


# Nothing is kept


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_no_answer_may_be_kept(make: Make, method: str, path: str) -> None:
    pairlock = make(store="memory://")
    async with client_of(pairlock.app) as client:
        await no_answer_may_be_kept(client, pairlock, method, path)


async def no_answer_may_be_kept(client: httpx.AsyncClient, pairlock: Pairlock, method: str, path: str) -> None:
    paired, started = await pair(client, pairlock), await start(client)
    for each_id in (started["id"], paired["device_id"], UNKNOWN_ID):
        for headers in (AS_OPERATOR, bearer(started["secret"]), bearer(paired["access_token"]), {}):
            for body in ({"name": "x"}, {"pin": "000000"}, {}, None):
                answer = await client.request(method, path.format(id=each_id), json=body, headers=headers)
                assert answer.status_code < 500
                assert answer.headers["cache-control"] == "no-store"


# Which calls there are


@pytest.mark.parametrize("path", ["/", "", "/nothing", "/requests/x/y", "/devices/x/y", "/whoami/x", "/Requests"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_an_address_that_is_not_there_is_not_found(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert_said(await client.request(method, path), 404, "not_found")


@pytest.mark.parametrize("path", [f"{path}/" for path in PATHS])
async def test_a_trailing_slash_is_another_address_and_not_redirected(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = await client.request(method, path.format(id=UNKNOWN_ID), headers=AS_OPERATOR)
        assert_said(answer, 404, "not_found")


@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_an_address_does_not_take_is_told_those_it_takes(pairlock: Pairlock, path: str) -> None:
    taken = {each for each, at in CALLS if at == path}
    taken |= {"HEAD"} if "GET" in taken else set()
    for method in {"OPTIONS", "PUT", "TRACE", "CONNECT", "PROPFIND", "get", "post", "__class__"} - taken:
        start, body = await send_raw(pairlock.app, method=method, path=path.format(id=UNKNOWN_ID))
        headers = dict(start["headers"])
        assert (start["status"], json.loads(body["body"])["error"]) == (405, "method_not_allowed")
        assert headers[b"cache-control"] == b"no-store"
        assert set(headers[b"allow"].decode().split(", ")) == taken


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient, pairlock: Pairlock) -> None:
    paired, started = await pair(client, pairlock), await start(client)
    for path, headers in (
        ("/requests", AS_OPERATOR),
        (f"/requests/{started['id']}", bearer(started["secret"])),
        ("/whoami", bearer(paired["access_token"])),
        ("/devices", AS_OPERATOR),
        ("/window", AS_OPERATOR),
        ("/hold", AS_OPERATOR),
        ("/audit", AS_OPERATOR),
    ):
        got, head = await client.get(path, headers=headers), await client.head(path, headers=headers)
        assert (head.status_code, dict(head.headers)) == (got.status_code, dict(got.headers))
        assert (await client.head(path)).status_code in (401, 403)


# Bodies


@pytest.fixture
async def caller(make: Make) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody whose every call reaches the reading of its body."""

    def anybody(connection: HTTPConnection) -> Any:
        return ALICE

    async with client_of(make(operator=anybody).app) as caller:
        caller.headers.update(bearer("x"))
        yield caller


MALFORMED = {
    "no JSON": b"name=Phone",
    "cut off": b'{"name": "Pho',
    "two": b'{"name": "a"} {"name": "b"}',
    "an array": b"[]",
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"name": NaN}',
    "Infinity": b'{"name": Infinity}',
    "unknown field": b'{"name": "x", "pin": "123456", "admin": true}',
    "wrong type": b'{"name": 1, "pin": 123456, "message": 1, "reason": 1, "permissions": "/**", "open": "yes"}',
    "wrong type within": b'{"name": "x", "permissions": {"read": "/**"}}',
    "invalid UTF-8": b'{"name": "\xff\xfe"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "control character": b'{"name": "a\x00b"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"name": "x"}',
    "deeply nested": b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deeply nested, unknown": b'{"x": ' + b'{"x":' * 2000 + b"1" + b"}" * 2000 + b"}",
    "spaces only": b"   ",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=list(MALFORMED))
async def test_a_malformed_body_is_refused(caller: httpx.AsyncClient, body: bytes) -> None:
    for method, path in WITH_BODY:
        answer = await caller.request(method, path.format(id=UNKNOWN_ID), content=body, headers=JSON)
        assert_said(answer, 400, "invalid_request")
        assert answer.json()["detail"]


def test_every_call_with_a_body_is_tried() -> None:
    taking_one = {(method, path) for method, path in CALLS if method in ("POST", "PUT", "PATCH")}
    assert {*WITH_BODY, *WITH_FORM} == taking_one


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "application/json-patch+json",
        "text/plain; application/json",
    ],
)
async def test_a_body_that_says_it_is_something_else_is_refused(caller: httpx.AsyncClient, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    for method, path in WITH_BODY:
        answer = await caller.request(method, path.format(id=UNKNOWN_ID), content=b'{"name": "x"}', headers=headers)
        assert_said(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON ; charset=UTF-8", " application/json;x"])
async def test_json_may_be_said_in_any_case_and_with_parameters(client: httpx.AsyncClient, kind: str) -> None:
    answer = await client.post("/requests", content=b'{"name": "x"}', headers={"Content-Type": kind})
    assert answer.status_code == 201


async def in_pieces(size: int, piece: int = 1000) -> AsyncIterator[bytes]:
    for _ in range(0, size, piece):
        yield b" " * piece


@pytest.mark.parametrize(("method", "path"), [*WITH_BODY, *WITH_FORM])
async def test_a_body_that_is_too_large_is_refused_however_it_comes(
    caller: httpx.AsyncClient, method: str, path: str
) -> None:
    path = path.format(id=UNKNOWN_ID)
    for kind in (JSON, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
        whole = await caller.request(method, path, content=b" " * (MAX_BODY_BYTES + 1), headers=kind)
        chunked = await caller.request(method, path, content=in_pieces(MAX_BODY_BYTES + 1000), headers=kind)
        for answer in (whole, chunked):
            assert_said(answer, 413, "body_too_large")


async def test_a_body_that_lies_about_its_length_is_refused_and_one_without_end_is_not_read_on(
    pairlock: Pairlock,
) -> None:
    sent = 0

    def without_end() -> Iterator[dict[str, Any]]:
        nonlocal sent
        while True:
            sent += 1
            yield {"type": "http.request", "body": b" " * 1024, "more_body": True}

    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    start, _ = await send_raw(pairlock.app, method="POST", path="/requests", headers=headers, body=without_end())
    assert start["status"] == 413
    assert sent == MAX_BODY_BYTES // 1024 + 1


async def test_the_largest_body_is_taken(client: httpx.AsyncClient) -> None:
    body = b'{"name": "x"}'.ljust(MAX_BODY_BYTES)
    for content in (body, in_two(body)):
        answer = await client.post("/requests", content=content, headers=JSON)
        assert answer.status_code == 201


async def in_two(body: bytes) -> AsyncIterator[bytes]:
    yield body[:9]
    yield body[9:]


async def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_error(
    pairlock: Pairlock, caplog: pytest.LogCaptureFixture
) -> None:
    body = [{"type": "http.request", "body": b'{"name": ', "more_body": True}]
    start, _ = await send_raw(
        pairlock.app, method="POST", path="/requests", headers=[(b"content-type", b"application/json")], body=body
    )
    assert start["status"] == 400
    assert not caplog.records
    assert await pairlock.deciding.pending() == []


@pytest.mark.parametrize("path", ["/requests/{id}/token", "/requests/{id}/approve", "/requests/{id}/deny", "/codes"])
async def test_where_no_body_is_needed_an_empty_one_needs_no_type(caller: httpx.AsyncClient, path: str) -> None:
    for answer in (
        await caller.post(path.format(id=UNKNOWN_ID)),
        await caller.post(path.format(id=UNKNOWN_ID), json={}),
    ):
        assert answer.status_code == {"token": 401, "codes": 201}.get(path.rpartition("/")[2], 404)


# Other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://pair.test"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Origin": "https://evil.test"},
        {"Origin": "http://pair.test.evil.test"},
        {"Origin": "http://pair.test:8000"},
        {"Origin": "http://evil@pair.test"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
    ],
)
async def test_a_call_from_a_page_of_another_site_is_refused(
    client: httpx.AsyncClient, pairlock: Pairlock, headers: dict[str, str]
) -> None:
    for method, path in CALLS:
        answer = await client.request(
            method, path.format(id=UNKNOWN_ID), json={"name": "x"}, headers={**AS_OPERATOR, **headers}
        )
        if (method, path) in SHARED_CALLS:  # they take no credentials but those in the call
            assert answer.headers["access-control-allow-origin"] == "*"
        else:
            assert_said(answer, 403, "cross_site")
            assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert await pairlock.audit.list() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy.test"},
        {"Origin": "http://pair.test"},
        {"Origin": "https://PAIR.test"},
        {},
    ],
)
async def test_a_call_from_our_own_pages_or_from_no_page_is_taken(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/requests", json={"name": "x"}, headers=headers)).status_code == 201


@pytest.mark.parametrize(("method", "taken"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)])
async def test_a_link_on_another_site_may_be_followed_but_nothing_may_be_sent(
    client: httpx.AsyncClient, method: str, taken: bool
) -> None:
    headers = {**AS_OPERATOR, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    path = "/devices" if method != "POST" else "/requests"
    answer = await client.request(method, path, json={"name": "x"}, headers=headers)
    assert answer.status_code == (200 if taken else 403)


# The store fails


class DownStore(FailingStore):
    """A store of which every call can fail that an endpoint makes."""

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        self._call("find_code")
        return await super().find_code(digest)

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        self._call("list_events")
        return await super().list_events(before=before, limit=limit)


@pytest.mark.parametrize("call", sorted(set(ALL_CALLS) - WITHOUT_STORE))
async def test_a_store_that_does_not_answer_is_told_as_temporary(make: Make, call: tuple[str, str]) -> None:
    store = DownStore()
    pairlock = make(store=store, resource_servers={"sensors": SERVER_SECRET})
    callers = ("nobody", "holder", "device", "resource server", "alice")
    caller = next(caller for caller in callers if WHO[call][caller] == OK)
    async with client_of(pairlock.app) as client:
        scene = await a_scene(pairlock)
        events = await pairlock.audit.list()
        store.errors = dict.fromkeys(DOWN, away())
        answer = await make_call(client, scene, call, caller)
        assert_said(answer, 503, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "1" == str(answer.json()["retry_after"])
        store.errors = {}
        assert await pairlock.audit.list() == events  # nothing half done
        assert (await make_call(client, scene, call, caller)).status_code < 300  # and nothing lost


async def test_a_database_that_another_program_locks_is_told_as_temporary(make: Make, tmp_path: Path) -> None:
    pairlock = make(store=SQLiteStore(tmp_path / "pairlock.db", busy_timeout=0.05))
    async with client_of(pairlock.app) as client:
        paired = await pair(client, pairlock)
        with closing(sqlite3.connect(tmp_path / "pairlock.db", isolation_level=None)) as program:
            program.execute("BEGIN EXCLUSIVE")
            answer = await client.post("/requests", json={"name": "Phone"})
            assert_said(answer, 503, "temporarily_unavailable")
            assert answer.headers["retry-after"] == "1"
            assert (await client.get("/whoami", headers=bearer(paired["access_token"]))).status_code == 200
        assert (await client.post("/requests", json={"name": "Phone"})).status_code == 201
        assert len(await pairlock.deciding.pending()) == 1


@pytest.mark.parametrize("error", [StoreError("/secret/path cannot be opened"), away()])
async def test_a_store_that_cannot_be_opened_is_told_as_temporary_and_logged(
    make: Make, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    store = FailingStore()
    store.errors = {"open": error}
    async with client_of(make(store=store).app) as client:
        with caplog.at_level(logging.ERROR, "pairlock"):
            answer = await client.post("/requests", json={"name": "Phone"})
        assert_said(answer, 503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert "secret" not in answer.text
        assert ("/secret/path" in caplog.text) == isinstance(error, StoreError)
        store.errors = {}
        assert (await client.post("/requests", json={"name": "Phone"})).status_code == 201


async def test_settings_that_fail_at_the_start_are_logged_and_not_shown(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAIRLOCK_SECRET_KEYS", raising=False)
    (tmp_path / "pairlock.db.keys").touch(0o644)
    async with client_of(make(secret_keys=None).app) as client:
        with caplog.at_level(logging.ERROR, "pairlock"):
            answer = await client.post("/requests", json={"name": "Phone"})
    assert_said(answer, 500, "server_error")
    assert "pairlock.db.keys" in caplog.text
    assert "keys" not in answer.text


async def test_an_error_that_nobody_expected_is_told_without_details(make: Make) -> None:
    store = FailingStore()
    async with client_of(make(store=store).app) as client:
        started = await start(client)
        store.errors = {"find PairingRequest": ValueError("a secret of the store")}
        answer = await client.get(f"/requests/{started['id']}", headers=bearer(started["secret"]))
    assert_said(answer, 500, "server_error")
    assert "secret of" not in answer.text
    assert set(answer.json()) == {"error", "error_description"}
