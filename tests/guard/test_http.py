"""Who reaches an app over HTTP, and who does not."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from pairlock import ConfigurationError, Pairlock
from tests.guard.parts import Recorder, ask, client, grant_of, pair, scope_of

pytestmark = pytest.mark.anyio

READ = ["GET", "HEAD", "OPTIONS", "QUERY"]
WRITE = ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "BREW", "GETX", ""]


# Deny is the default


async def test_nobody_reaches_anything_without_a_token(pairlock: Pairlock, app: Recorder) -> None:
    guard = pairlock.guard(app)
    for path in ("/", "/sensors/a", "/favicon.ico", "/.well-known/x"):
        assert (await ask(guard, scope_of("GET", path))).status == 401
    assert app.scopes == []


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"Bearer plk_forged", 401),
        (b"Bearer plk_.AAAA", 401),
        (b"Bearer something-else", 401),
        (b"Basic dXNlcjpwYXNz", 401),
        (b"Bearer", 400),
        (b"Bearer ", 400),
        (b"Bearer a b", 400),
        (b"Bearer a,b", 400),
        (b"\xff\xfe", 401),
        (b"", 401),
    ],
)
async def test_no_header_that_is_not_a_token_reaches_anything(
    pairlock: Pairlock, app: Recorder, value: bytes, status: int
) -> None:
    answer = await ask(pairlock.guard(app), scope_of("GET", "/sensors/a", (b"authorization", value)))
    assert answer.status == status
    assert app.scopes == []


async def test_a_token_with_one_bit_changed_reaches_nothing(pairlock: Pairlock, app: Recorder) -> None:
    phone, guard = await pair(pairlock, read=["/**"]), pairlock.guard(app)
    name, value = phone.raw
    for at in (8, 12, len(value) // 2, len(value) - 1):
        changed = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
        assert (await ask(guard, scope_of("GET", "/a", (name, changed)))).status == 401
    assert app.scopes == []


async def test_a_token_signed_by_another_service_reaches_nothing(pairlock: Pairlock, app: Recorder) -> None:
    other = Pairlock(store="memory://", secret_keys=["another key of 16+ bytes"], default_permissions={"read": ["/**"]})
    async with other.lifespan():
        phone = await pair(other, read=["/**"])
    assert (await ask(pairlock.guard(app), scope_of("GET", "/a", phone.raw))).status == 401
    assert app.scopes == []


async def test_a_device_that_was_granted_nothing_reaches_nothing(pairlock: Pairlock, app: Recorder) -> None:
    phone, guard = await pair(pairlock), pairlock.guard(app)
    for method in READ + WRITE:
        assert (await ask(guard, scope_of(method, "/", phone.raw))).status == 403
    assert app.scopes == []


# Reading and writing


@pytest.mark.parametrize("method", READ)
async def test_these_methods_need_read_and_write_does_not_imply_it(
    pairlock: Pairlock, app: Recorder, method: str
) -> None:
    reader, writer = await pair(pairlock, read=["/a"]), await pair(pairlock, write=["/a"])
    guard = pairlock.guard(app)
    for _ in range(2):
        assert (await ask(guard, scope_of(method, "/a", reader.raw))).status == 200
        assert (await ask(guard, scope_of(method, "/a", writer.raw))).status == 403


@pytest.mark.parametrize("method", WRITE)
async def test_every_other_method_needs_write_and_read_does_not_imply_it(
    pairlock: Pairlock, app: Recorder, method: str
) -> None:
    reader, writer = await pair(pairlock, read=["/a"]), await pair(pairlock, write=["/a"])
    guard = pairlock.guard(app)
    for _ in range(2):
        assert (await ask(guard, scope_of(method, "/a", writer.raw))).status == 200
        assert (await ask(guard, scope_of(method, "/a", reader.raw))).status == 403


async def test_the_app_finds_the_grant_where_starlette_looks_for_it(pairlock: Pairlock, app: Recorder) -> None:
    phone = await pair(pairlock, read=["/a"])
    for _ in range(2):
        await ask(pairlock.guard(app), scope_of("GET", "/a", phone.raw))
        scope = app.scopes[-1]
        assert scope["user"] is scope["auth"] is grant_of(scope)
        assert (scope["user"].is_authenticated, scope["user"].identity) == (True, phone.id)


async def test_what_a_server_keeps_in_the_state_of_a_request_stays_there(pairlock: Pairlock, app: Recorder) -> None:
    phone = await pair(pairlock, read=["/a"])
    await ask(pairlock.guard(app), scope_of("GET", "/a", phone.raw, state={"pool": 1}))
    assert app.scopes[-1]["state"].keys() == {"pool", "grant"}


@pytest.mark.parametrize("address", ["/a/../b", "/a//b", "/a%2Fb", "/a\\b", "a", "", "/a\x00", "/a/./b", "/a;/../b"])
async def test_a_grant_says_no_to_what_is_not_an_address(pairlock: Pairlock, app: Recorder, address: str) -> None:
    phone = await pair(pairlock, read=["/**"], write=["/**"])
    await ask(pairlock.guard(app), scope_of("GET", "/a", phone.raw))
    grant = grant_of(app.scopes[-1])
    assert grant.allows("write", "/a/b")
    assert not grant.allows("write", address)
    assert not grant.allows("read", address)


# Public addresses


@pytest.fixture
def public(pairlock: Pairlock, app: Recorder) -> Any:
    return pairlock.guard(app, public=["/", "/static/**", "/*/about"])


@pytest.mark.parametrize("path", ["/", "/static", "/static/", "/static/app.css", "/static/a/b", "/de/about"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_anybody_reaches_a_public_address_as_anonymous(
    public: Any, app: Recorder, path: str, method: str
) -> None:
    assert (await ask(public, scope_of(method, path))).status == 200
    assert app.user is app.scopes[-1]["auth"]
    assert (app.user.is_authenticated, app.user.identity, app.user.display_name) == (False, "", "")
    assert list(app.user.scopes) == []
    assert "grant" not in app.scopes[-1].get("state", {})


@pytest.mark.parametrize("path", ["/x", "/staticx", "/about", "/a/b/about", "/Static/app.css"])
async def test_beside_a_public_address_nothing_is_public(public: Any, app: Recorder, path: str) -> None:
    assert (await ask(public, scope_of("GET", path))).status == 401
    assert app.scopes == []


@pytest.mark.parametrize("path", ["/static/../x", "/static//x", "/static/%2e%2e/x", "/static/\x00", "/static\\x"])
async def test_an_ambiguous_path_is_not_public(public: Any, app: Recorder, path: str) -> None:
    assert (await ask(public, scope_of("GET", path))).status == 400
    assert app.scopes == []


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer plk_forged")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Basic eDp5")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
    ],
)
async def test_a_bad_token_is_no_worse_than_none_at_a_public_address(
    public: Any, app: Recorder, headers: list[tuple[bytes, bytes]]
) -> None:
    assert (await ask(public, scope_of("GET", "/static/x", *headers))).status == 200
    assert not app.user.is_authenticated


async def test_a_token_without_permission_is_anonymous_at_a_public_address(
    pairlock: Pairlock, public: Any, app: Recorder
) -> None:
    phone = await pair(pairlock, read=["/sensors/**"])
    for _ in range(2):
        assert (await ask(public, scope_of("GET", "/static/x", phone.raw))).status == 200
        assert not app.user.is_authenticated


async def test_a_token_with_permission_is_known_at_a_public_address(
    pairlock: Pairlock, public: Any, app: Recorder
) -> None:
    phone = await pair(pairlock, read=["/static/**"])
    for _ in range(2):
        assert (await ask(public, scope_of("GET", "/static/x", phone.raw))).status == 200
        assert app.user.identity == phone.id
    await pairlock.devices.revoke(phone.id)
    assert (await ask(public, scope_of("GET", "/static/x", phone.raw))).status == 200
    assert not app.user.is_authenticated


async def test_an_outer_middlewares_user_is_kept_at_a_public_address(public: Any, app: Recorder) -> None:
    await ask(public, scope_of("GET", "/", user="somebody", auth="something"))
    assert (app.scopes[-1]["user"], app.scopes[-1]["auth"]) == ("somebody", "something")


@pytest.mark.parametrize("pattern", ["static", "/a/", "/a//b", "/a/../b", "/room*", "/[ab]", "/%2e"])
async def test_a_malformed_public_pattern_is_refused_at_once(pairlock: Pairlock, app: Recorder, pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="public"):
        pairlock.guard(app, public=[pattern])


async def test_public_patterns_come_in_a_list(pairlock: Pairlock, app: Recorder) -> None:
    with pytest.raises(ConfigurationError, match="give a list"):
        pairlock.guard(app, public="/")


# Scopes that say little


async def never() -> Any:
    pytest.fail("nothing is to be received or sent")


async def test_a_lifespan_passes_untouched(pairlock: Pairlock, app: Recorder) -> None:
    scope = {"type": "lifespan"}
    await pairlock.guard(app)(scope, never, never)  # type: ignore[arg-type]
    assert app.scopes[-1] is scope
    assert scope == {"type": "lifespan"}


@pytest.mark.parametrize("kind", ["webtransport", "http.trailers", ""])
async def test_a_protocol_that_is_not_known_reaches_nobody(pairlock: Pairlock, app: Recorder, kind: str) -> None:
    with pytest.raises(ConfigurationError, match="the guard knows http, websocket and lifespan"):
        await pairlock.guard(app)({"type": kind}, never, never)  # type: ignore[arg-type]
    assert app.scopes == []


@pytest.mark.parametrize("method", ["get", "Get", "head", "put", "oPTIONS"])
async def test_a_method_that_some_frameworks_read_as_another_is_refused(
    pairlock: Pairlock, app: Recorder, method: str
) -> None:
    phone, guard = await pair(pairlock, read=["/a"], write=["/a"]), pairlock.guard(app)
    for _ in range(2):
        assert (await ask(guard, scope_of(method, "/a", phone.raw))).status == 400
    assert app.scopes == []


async def test_a_guard_starts_by_itself_with_the_first_request(tmp_path: Any, app: Recorder) -> None:
    pairlock = Pairlock(store=f"sqlite:///{tmp_path}/late.db", default_permissions={"read": ["/**"]})
    answer = await ask(pairlock.guard(app), scope_of("GET", "/a", (b"authorization", b"Bearer plk_forged")))
    assert answer.status == 401
    await pairlock.aclose()


@pytest.mark.parametrize("extensions", [{}, {"http.response.debug": {}}])
@pytest.mark.parametrize("missing", ["raw_path", "root_path", "client", "state", "extensions", "server", "scheme"])
async def test_a_server_may_leave_out_what_is_optional(
    pairlock: Pairlock, app: Recorder, missing: str, extensions: dict[str, Any]
) -> None:
    phone, guard = await pair(pairlock, read=["/a"]), pairlock.guard(app, public=["/open"])
    said: dict[str, Any] = {"raw_path": b"/a", "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
    said |= {"state": {}, "extensions": extensions, "scheme": "http"}
    del said[missing]
    for _ in range(2):
        assert (await ask(guard, scope_of("GET", "/a", phone.raw, **said))).status == 200
        assert (await ask(guard, scope_of("POST", "/a", phone.raw, **said))).status == 403
        assert (await ask(guard, scope_of("GET", "/a", **said))).status == 401
    said.pop("raw_path", None)
    assert (await ask(guard, scope_of("GET", "/open", **said))).status == 200


async def test_a_raw_path_of_none_is_one_that_was_left_out(pairlock: Pairlock, app: Recorder) -> None:
    phone, guard = await pair(pairlock, read=["/a"]), pairlock.guard(app)
    for _ in range(2):
        assert (await ask(guard, scope_of("GET", "/a", phone.raw, raw_path=None))).status == 200


# Addresses of the app's own


async def test_an_app_may_say_which_address_a_request_is_about(pairlock: Pairlock, app: Recorder) -> None:
    phone = await pair(pairlock, read=["/rooms/kitchen"])
    guard = pairlock.guard(app, address=lambda scope: "/rooms/" + dict(scope["headers"])[b"x-room"].decode())
    for _ in range(2):
        for room, status in ((b"kitchen", 200), (b"cellar", 403)):
            assert (await ask(guard, scope_of("GET", "/rpc", phone.raw, (b"x-room", room)))).status == status


async def test_an_address_of_the_apps_own_may_be_public(pairlock: Pairlock, app: Recorder) -> None:
    guard = pairlock.guard(app, address=lambda scope: scope["path"].lower(), public=["/open"])
    assert (await ask(guard, scope_of("GET", "/OPEN"))).status == 200
    assert (await ask(guard, scope_of("GET", "/SHUT"))).status == 401


@pytest.mark.parametrize(
    "address", ["", "a", "/a/../b", "//a", "/a%2fb", "/a\\b", "/a/./b", "/\ud800", "/" + "x" * 2048]
)
async def test_an_address_of_the_apps_own_that_is_not_canonical_is_refused(
    pairlock: Pairlock, app: Recorder, address: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    guard = pairlock.guard(app, address=lambda scope: address, public=["/**"])
    assert (await ask(guard, scope_of("GET", "/a", phone.raw))).status == 400
    assert app.scopes == []


async def test_no_handler_is_reached_when_the_apps_own_address_fails(pairlock: Pairlock, app: Recorder) -> None:
    def fail(scope: Scope) -> str:
        raise KeyError("x-room")

    phone = await pair(pairlock, read=["/**"])
    guard = pairlock.guard(app, address=fail, public=["/**"])
    with pytest.raises(KeyError):  # which a server answers with 500
        await ask(guard, scope_of("GET", "/a", phone.raw))
    assert app.scopes == []


# What an app does is its own


async def test_an_apps_own_error_passes_and_nothing_stays_served(pairlock: Pairlock) -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("of the app")

    phone, guard = await pair(pairlock, read=["/a"]), pairlock.guard(failing)
    for _ in range(2):
        with pytest.raises(LookupError):
            await ask(guard, scope_of("GET", "/a", phone.raw))
    assert pairlock._runtime.standings.of(phone.id).served == {}


async def test_a_cancellation_by_the_server_passes(pairlock: Pairlock) -> None:
    reached = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        await asyncio.Event().wait()

    phone = await pair(pairlock, read=["/a"])
    task = asyncio.create_task(ask(pairlock.guard(waiting), scope_of("GET", "/a", phone.raw)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert pairlock._runtime.standings.of(phone.id).served == {}


async def test_a_refusal_is_json_that_nobody_keeps(pairlock: Pairlock, app: Recorder) -> None:
    async with client(pairlock.guard(app)) as http:
        answer = await http.get("/a")
    assert answer.json()["error"] == "missing_token"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
