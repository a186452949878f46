"""WebSockets through a real server: who is let in and how, and what the app and the client then see."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import websockets
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.typing import Origin, Subprotocol

from pairlock import ConfigurationError, Pairlock, Permissions
from pairlock.asgi.credentials import SUBPROTOCOL
from tests.guard.parts import Phone, grant_of, pair, scope_of, served

pytestmark = pytest.mark.anyio


class Chat:
    """A WebSocket app: answers each message with whether its device may write there."""

    def __init__(self, chooses: str | None = None) -> None:
        self.chooses = chooses
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept", "subprotocol": self.chooses})
        while (message := await receive())["type"] == "websocket.receive":
            allowed = "grant" in scope["state"] and grant_of(scope).allows("write", message["text"])
            await send({"type": "websocket.send", "text": "yes" if allowed else "no"})


@pytest.fixture
def chat() -> Chat:
    return Chat()


@pytest.fixture
async def phone(pairlock: Pairlock) -> Phone:
    return await pair(pairlock, read=["/live"], write=["/control/**"])


@pytest.fixture
async def port(pairlock: Pairlock, chat: Chat) -> AsyncIterator[int]:
    guard = pairlock.guard(chat, public=["/open"], origins=["https://Panel.example"])
    async with served(guard, lifespan="off") as port:
        yield port


def opening(port: int, path: str = "/live", *offered: str, origin: str | None = None, **headers: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{port}{path}",
        subprotocols=[Subprotocol(name) for name in offered] or None,
        origin=None if origin is None else Origin(origin),
        additional_headers=headers,
        proxy=None,
    )


async def refused(attempt: connect) -> Response:
    """The answer to a handshake that must be refused."""
    with pytest.raises(InvalidStatus) as refusal:
        async with attempt:
            pytest.fail("it was let in")
    return refusal.value.response


async def asked(socket: ClientConnection, address: str) -> Any:
    await socket.send(address)
    return await socket.recv()


# The two ways in


async def test_a_header_lets_in_whoever_may_read(port: int, phone: Phone, chat: Chat) -> None:
    async with opening(port, **phone.headers) as socket:
        assert socket.subprotocol is None
        assert await asked(socket, "/control/lamp") == "yes"
    scope = chat.scopes[-1]
    assert scope["user"] is scope["auth"] is grant_of(scope)
    assert scope["user"].identity == phone.id


async def test_a_subprotocol_lets_in_whoever_may_read_and_only_its_name_comes_back(
    port: int, phone: Phone, chat: Chat
) -> None:
    async with opening(port, "/live", SUBPROTOCOL, phone.token) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        assert socket.response is not None
        assert phone.token not in str(socket.response.headers)
        assert await asked(socket, "/control/lamp") == "yes"
    assert grant_of(chat.scopes[-1]).device_id == phone.id


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (["{name}", "{token}"], []),
        (["chat.v2", "{name}", "{token}"], ["chat.v2"]),
        (["{name}", "{token}", "chat.v2", "chat.v1"], ["chat.v2", "chat.v1"]),
        (["chat.v2", "{name}", "{token}", "chat.v1"], ["chat.v2", "chat.v1"]),
    ],
)
async def test_an_app_never_sees_the_subprotocols_that_carried_a_token(
    port: int, phone: Phone, chat: Chat, offered: list[str], left: list[str]
) -> None:
    names = [name.format(name=SUBPROTOCOL, token=phone.token) for name in offered]
    async with opening(port, "/live", *names):
        pass
    scope = chat.scopes[-1]
    assert scope["subprotocols"] == left
    offers = [value for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    assert offers == ([", ".join(left).encode()] if left else [])
    assert phone.token not in str({**scope, "state": None, "user": None, "auth": None})


async def test_an_apps_own_choice_of_a_subprotocol_is_kept(pairlock: Pairlock, phone: Phone) -> None:
    async with (
        served(pairlock.guard(Chat(chooses="chat.v2")), lifespan="off") as port,
        opening(port, "/live", "chat.v2", SUBPROTOCOL, phone.token) as socket,
    ):
        assert socket.subprotocol == "chat.v2"


async def test_without_a_token_among_them_subprotocols_are_the_apps_alone(port: int, phone: Phone, chat: Chat) -> None:
    async with opening(port, "/live", "chat.v2", "chat.v1", **phone.headers) as socket:
        assert socket.subprotocol is None
    assert chat.scopes[-1]["subprotocols"] == ["chat.v2", "chat.v1"]


# Refused before it is accepted


@pytest.mark.parametrize(
    ("path", "offered", "headers", "status", "error"),
    [
        ("/live", [], {}, 401, None),
        ("/live", [], {"Authorization": "Bearer plk_forged"}, 401, "invalid_token"),
        ("/live", [], {"Authorization": "Basic eDp5"}, 401, None),
        ("/live", [], {"Authorization": "Bearer"}, 400, "invalid_request"),
        ("/live", [SUBPROTOCOL], {}, 400, "invalid_request"),
        ("/live", ["chat", SUBPROTOCOL], {}, 400, "invalid_request"),
        ("/live", [SUBPROTOCOL, "plk_forged"], {}, 401, "invalid_token"),
        ("/live", [SUBPROTOCOL, SUBPROTOCOL, "{token}"], {}, 400, "invalid_request"),
        ("/live", [SUBPROTOCOL, "{token}", SUBPROTOCOL, "{token}"], {}, 400, "invalid_request"),
        ("/live", ["{token}", SUBPROTOCOL], {}, 400, "invalid_request"),
        ("/live", [SUBPROTOCOL, "{token}"], {"Authorization": "Bearer {token}"}, 400, "invalid_request"),
        ("/live?access_token=x", [], {"Authorization": "Bearer {token}"}, 400, "invalid_request"),
        ("/else", [], {"Authorization": "Bearer {token}"}, 403, "insufficient_scope"),
        ("/else", [SUBPROTOCOL, "{token}"], {}, 403, "insufficient_scope"),
        ("/control/lamp", [], {"Authorization": "Bearer {token}"}, 403, "insufficient_scope"),
    ],
)
async def test_a_handshake_is_refused_like_a_request_with_status_and_challenge(
    port: int,
    phone: Phone,
    chat: Chat,
    path: str,
    offered: list[str],
    headers: dict[str, str],
    status: int,
    error: str | None,
) -> None:
    names = [name.format(token=phone.token) for name in offered]
    sent = {name: value.format(token=phone.token) for name, value in headers.items()}
    answer = await refused(opening(port, path, *names, **sent))
    assert answer.status_code == status
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert (f'error="{error}"' if error else "realm") in challenge
    assert ("error=" in challenge) == (error is not None)
    assert answer.headers["Cache-Control"] == "no-store"
    assert (error or "missing_token").encode() in answer.body
    assert chat.scopes == []


async def handshake(pairlock: Pairlock, chat: Chat, *headers: tuple[bytes, bytes], **more: Any) -> list[Message]:
    """What is sent in answer to a handshake with exactly this scope."""
    sent: list[Message] = []
    coming: Iterator[Message] = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> Message:
        return next(coming)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("", "/live", *headers, **{"type": "websocket", "subprotocols": [], **more})
    said = {name: value for name, value in scope.items() if value is not ... and name != "method"}
    await pairlock.guard(chat)(said, receive, send)
    return sent


@pytest.mark.parametrize("more", [{}, {"extensions": {}}])
async def test_a_server_that_cannot_answer_a_handshake_closes_it(
    pairlock: Pairlock, chat: Chat, more: dict[str, Any]
) -> None:
    (sent,) = await handshake(pairlock, chat, **more)
    assert sent == {"type": "websocket.close", "code": 1008, "reason": "missing_token"}
    assert chat.scopes == []


@pytest.mark.parametrize("missing", ["subprotocols", "query_string"])
async def test_a_server_may_leave_out_what_is_optional_in_a_handshake(
    pairlock: Pairlock, phone: Phone, missing: str
) -> None:
    reached = Chat()
    sent = await handshake(pairlock, reached, phone.raw, **{missing: ...})
    assert [message["type"] for message in sent] == ["websocket.accept"]
    sent = await handshake(pairlock, reached, **{missing: ...})
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert len(reached.scopes) == 1


async def test_a_query_string_of_none_is_one_that_was_left_out(pairlock: Pairlock, phone: Phone) -> None:
    sent = await handshake(pairlock, Chat(), phone.raw, query_string=None)
    assert [message["type"] for message in sent] == ["websocket.accept"]


async def test_a_token_that_is_not_latin_1_is_no_token(pairlock: Pairlock, chat: Chat) -> None:
    (sent,) = await handshake(pairlock, chat, subprotocols=[SUBPROTOCOL, "plk_☠"])
    assert sent["reason"] == "invalid_token"


# Pages of other origins


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "https://panel.example"])
async def test_a_page_of_this_host_or_a_listed_origin_may_open_a_websocket(
    port: int, phone: Phone, origin: str
) -> None:
    async with opening(port, "/live", SUBPROTOCOL, phone.token, origin=origin.format(port=port)) as socket:
        assert socket.subprotocol == SUBPROTOCOL


FOREIGN = [
    "https://evil.example",
    "null",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "http://127.0.0.1:{port}.evil.example",
    "http://evil.example:{port}",
    "http://127.0.0.1:{port}@evil.example",
    "http://evil.example/127.0.0.1:{port}",
    "http://panel.example",
    "https://panel.example.evil.example",
    "https://panel.example:8443",
    "https://sub.panel.example",
    "http://[",
    "127.0.0.1:{port}",
    "//127.0.0.1:{port}",
    "",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_page_of_another_origin_may_not(port: int, phone: Phone, chat: Chat, origin: str) -> None:
    said = origin.format(port=port)
    answer = await refused(opening(port, "/live", SUBPROTOCOL, phone.token, Origin=said))
    assert answer.status_code == 403
    assert b"cross_site" in answer.body
    assert chat.scopes == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://["])
async def test_a_header_is_nothing_a_page_can_send_so_its_origin_does_not_matter(
    port: int, phone: Phone, origin: str
) -> None:
    async with opening(port, "/live", Origin=origin, **phone.headers) as socket:
        assert await asked(socket, "/control/lamp") == "yes"


async def test_what_is_not_a_browser_says_no_origin_and_is_let_in(port: int, phone: Phone) -> None:
    async with opening(port, "/live", SUBPROTOCOL, phone.token) as socket:
        assert await asked(socket, "/control/lamp") == "yes"


async def test_of_two_origins_both_must_be_allowed(pairlock: Pairlock, phone: Phone, chat: Chat) -> None:
    headers = [(b"host", b"here"), (b"origin", b"http://here"), (b"origin", b"http://evil")]
    (sent,) = await handshake(pairlock, chat, *headers, subprotocols=[SUBPROTOCOL, phone.token])
    assert sent["reason"] == "cross_site"


@pytest.mark.parametrize("origin", [b"null", b"http://evil", b""])
async def test_without_a_host_every_page_is_foreign(
    pairlock: Pairlock, phone: Phone, chat: Chat, origin: bytes
) -> None:
    (sent,) = await handshake(pairlock, chat, (b"origin", origin), subprotocols=[SUBPROTOCOL, phone.token])
    assert sent["reason"] == "cross_site"


@pytest.mark.parametrize(
    "origins",
    ["https://panel.example", ["*"], ["https://*.example"], ["panel.example"], ["https://panel.example/"], [""]],
)
async def test_an_origin_that_no_page_can_have_is_refused_at_once(pairlock: Pairlock, chat: Chat, origins: Any) -> None:
    with pytest.raises(ConfigurationError, match="origins"):
        pairlock.guard(chat, origins=origins)


# Messages


async def test_an_app_asks_its_grant_about_each_message(port: int, phone: Phone) -> None:
    async with opening(port, **phone.headers) as socket:
        assert await asked(socket, "/control/lamp") == "yes"
        assert await asked(socket, "/live") == "no"
        for address in (
            "/control/../control/lamp",
            "/control//lamp",
            "/control/%6c",
            "control/lamp",
            "/control/\\x",
            "",
        ):
            assert await asked(socket, address) == "no"


async def test_a_narrowing_reaches_an_open_socket_without_closing_it(
    port: int, phone: Phone, pairlock: Pairlock
) -> None:
    async with opening(port, **phone.headers) as socket:
        assert await asked(socket, "/control/door") == "yes"
        await pairlock.devices.narrow(phone.id, Permissions(read=("/live",), write=("/control/lamp",)))
        assert await asked(socket, "/control/door") == "no"
        assert await asked(socket, "/control/lamp") == "yes"
        await pairlock.devices.narrow(phone.id, Permissions())
        assert await asked(socket, "/control/lamp") == "no"


async def test_a_disconnect_by_the_client_is_an_ordinary_one(
    port: int, phone: Phone, chat: Chat, pairlock: Pairlock
) -> None:
    async with opening(port, **phone.headers) as socket:
        assert await asked(socket, "/control/lamp") == "yes"
    async with asyncio.timeout(2):
        while pairlock._runtime.standings.of(phone.id).served:  # noqa: ASYNC110  # the server says when
            await asyncio.sleep(0.01)
    assert socket.close_code == 1000


# Public addresses


async def test_anybody_may_open_a_websocket_at_a_public_address(port: int, chat: Chat) -> None:
    async with opening(port, "/open", origin="https://evil.example") as socket:
        assert await asked(socket, "/control/lamp") == "no"
    assert not chat.scopes[-1]["user"].is_authenticated


@pytest.mark.parametrize("token", ["plk_forged", "{token}"])
async def test_a_token_without_permission_is_hidden_at_a_public_address_too(
    port: int, phone: Phone, chat: Chat, token: str
) -> None:
    offered = token.format(token=phone.token)
    async with opening(port, "/open", "chat.v2", SUBPROTOCOL, offered) as socket:
        assert socket.subprotocol == SUBPROTOCOL  # a browser would break off without an answer to its offer
    assert chat.scopes[-1]["subprotocols"] == ["chat.v2"]
    assert not chat.scopes[-1]["user"].is_authenticated
    assert offered not in str(chat.scopes[-1])


async def test_a_page_of_another_origin_is_anonymous_at_a_public_address(
    pairlock: Pairlock, port: int, chat: Chat
) -> None:
    visitor = await pair(pairlock, read=["/open"])
    async with opening(port, "/open", SUBPROTOCOL, visitor.token):
        assert chat.scopes[-1]["user"].identity == visitor.id
    async with opening(port, "/open", SUBPROTOCOL, visitor.token, origin="https://evil.example"):
        assert not chat.scopes[-1]["user"].is_authenticated


async def test_what_an_app_sends_after_its_close_fails_as_without_a_guard(
    pairlock: Pairlock, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    failed = asyncio.Event()

    async def careless(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        try:
            await send({"type": "websocket.send", "text": "too late"})
        except Exception:
            failed.set()
            raise

    async with served(pairlock.guard(careless), lifespan="off") as port:
        async with opening(port, **phone.headers) as socket:
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
        await asyncio.wait_for(failed.wait(), 2)
