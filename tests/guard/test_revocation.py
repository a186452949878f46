"""A revocation in this process: refused from then on, and what was open is closed, at once."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pairlock import Pairlock, Permissions
from pairlock.asgi.live import LINGER
from pairlock.testing import FakeClock
from tests.guard.parts import EVERYTHING, Phone, ask, client, eventually, pair, scope_of, served, standing

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unhandled")]

PROMISED = 0.2  # seconds


class Diary:
    """An app with every kind of long connection, that writes down how each of them ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.sent = 0
        self.app = Starlette(
            routes=[
                Route("/{kind}", self.answer, methods=["GET", "POST"]),
                WebSocketRoute("/{kind}", self.converse),
            ]
        )

    async def answer(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind == "upload":
            return await self.note(kind, self.upload(request))
        if kind == "slow":
            return await self.note(kind, asyncio.sleep(60, PlainTextResponse("never")))
        if kind == "failing":
            return await self.note(kind, self.fail())
        headers = {"content-length": "1000000"} if kind == "sized" else {}
        return StreamingResponse(self.chunks(kind), headers=headers)

    async def note(self, kind: str, work: Awaitable[Response]) -> Response:
        self.begun.append(kind)
        try:
            return await work
        finally:
            self.ended.append(kind)

    async def upload(self, request: Request) -> Response:
        async for _ in request.stream():
            pass
        return PlainTextResponse("taken")

    async def fail(self) -> Response:
        try:
            return await asyncio.sleep(60, PlainTextResponse("never"))
        finally:
            raise LookupError("its cleanup fails")

    async def chunks(self, kind: str) -> AsyncIterator[bytes]:
        self.begun.append(kind)
        try:
            if kind != "idle":
                yield b"first\n"
            while kind == "ticking":
                await asyncio.sleep(0.01)
                yield b"tick\n"
            while kind == "flooding":
                await asyncio.sleep(0)
                yield b"x" * 65536
                self.sent += 1
            await asyncio.sleep(60)
        finally:
            self.ended.append(kind)

    async def converse(self, websocket: WebSocket) -> None:
        kind = websocket.path_params["kind"]
        self.begun.append(kind)
        try:
            await getattr(self, f"ws_{kind}")(websocket)
        except asyncio.CancelledError:
            self.ended.append(f"{kind} cancelled")
            raise

    async def ws_echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect as disconnect:
            self.ended.append(f"echo {disconnect.code}")

    async def ws_unprepared(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    async def ws_sending(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
                await asyncio.sleep(0.005)
        except WebSocketDisconnect:
            self.ended.append("sending")

    async def ws_flooding(self, websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await asyncio.sleep(0)
            await websocket.send_bytes(b"x" * 65536)
            self.sent += 1

    async def ws_ignoring(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(60)

    async def ws_undecided(self, websocket: WebSocket) -> None:
        await asyncio.sleep(60)

    async def ws_failing(self, websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        finally:
            raise LookupError("its cleanup fails")


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
async def port(pairlock: Pairlock, diary: Diary) -> AsyncIterator[int]:
    async with served(pairlock.guard(diary.app), lifespan="off") as port:
        yield port


@pytest.fixture
async def phone(pairlock: Pairlock) -> Phone:
    return await pair(pairlock, read=["/**"], write=["/**"])


@pytest.fixture
async def other(pairlock: Pairlock) -> Phone:
    return await pair(pairlock, read=["/**"], write=["/**"])


class Line(NamedTuple):
    """A raw connection on which one request is being answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def rest(self) -> bytes:
        """All that still comes, until the server ends it."""
        try:
            return await asyncio.wait_for(self.reader.read(), 5)
        except ConnectionResetError:
            return b""
        finally:
            self.writer.close()


async def dial(port: int, phone: Phone, kind: str, *more: str) -> Line:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    upload = kind == "upload"
    lines = [f"{'POST' if upload else 'GET'} /{kind} HTTP/1.1", "Host: x", f"Authorization: Bearer {phone.token}"]
    lines += more or ["Connection: close"]
    lines += ["Content-Length: 1000000", "", "part of it"] if upload else ["", ""]
    writer.write("\r\n".join(lines).encode())
    return Line(reader, writer)


def calling(port: int, phone: Phone, kind: str) -> connect:
    return connect(f"ws://127.0.0.1:{port}/{kind}", additional_headers=phone.headers, proxy=None)


async def closing_of(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which a WebSocket is closed."""
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    return socket.close_code, socket.close_reason


async def stuck(diary: Diary) -> None:
    """Wait until all buffers are full, as nobody reads."""
    before = -1
    while before != diary.sent:
        before = diary.sent
        await asyncio.sleep(0.1)


class Stopwatch:
    """For how long something took; says so."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        took = time.perf_counter() - self.start
        print(f"{self.what}: {took * 1000:.0f} ms")
        assert took < PROMISED


# Requests and streams

STREAMS = ["idle", "ticking", "sized"]
UNANSWERED = ["upload", "slow"]


@pytest.mark.parametrize("kind", STREAMS + UNANSWERED)
async def test_whatever_is_open_for_a_revoked_device_ends_at_once_and_for_no_other(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, other: Phone, kind: str
) -> None:
    line, others = await dial(port, phone, kind), await dial(port, other, kind)
    await eventually(lambda: diary.begun == [kind, kind])
    if kind in STREAMS:
        await line.reader.readuntil(b"\r\n\r\n")
    await pairlock.devices.revoke(phone.id)
    with Stopwatch(f"revoke → {kind} ended"):
        rest = await line.rest()
        await eventually(lambda: diary.ended == [kind])
    if kind in STREAMS:
        assert not rest.endswith(b"0\r\n\r\n")  # broken off: nobody takes what came for the whole
        assert b"invalid_token" not in rest
    else:
        assert rest.startswith(b"HTTP/1.1 401 ")
        assert b'error="invalid_token"' in rest
    assert standing(pairlock, phone).served == {}
    assert len(standing(pairlock, other).served) == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(others.rest(), 0.05)


async def test_after_revoke_returns_the_next_request_is_refused(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone
) -> None:
    line = await dial(port, phone, "ticking")
    await line.reader.readuntil(b"tick")
    await pairlock.devices.revoke(phone.id)
    answer = await ask(pairlock.guard(diary.app), scope_of("GET", "/ticking", phone.raw))  # no grace for a new one
    assert answer.status == 401
    refused = await dial(port, phone, "ticking")
    assert (await refused.reader.readline()).startswith(b"HTTP/1.1 401 ")
    refused.writer.close()
    await line.rest()


async def test_a_connection_that_is_kept_alive_is_refused_its_next_request(
    pairlock: Pairlock, port: int, phone: Phone
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = f"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer {phone.token}\r\n\r\n"
    for status in (b"200", b"401"):
        writer.write(asked.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split()[1] == status
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        await reader.readexactly(length)
        if status == b"200":
            await pairlock.devices.revoke(phone.id)
    writer.close()


async def test_a_stream_that_nobody_reads_is_let_go(pairlock: Pairlock, port: int, diary: Diary, phone: Phone) -> None:
    line = await dial(port, phone, "flooding")
    await line.reader.readuntil(b"first")
    await stuck(diary)
    await pairlock.devices.revoke(phone.id)
    await eventually(lambda: not standing(pairlock, phone).served, within=LINGER + 0.5)
    line.writer.transport.abort()


async def test_many_connections_of_a_device_all_end(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, other: Phone
) -> None:
    lines = [await dial(port, phone, kind) for kind in (STREAMS + UNANSWERED) * 8]
    await eventually(lambda: len(diary.begun) == len(lines))
    sockets = [await calling(port, phone, "echo") for _ in range(8)]
    await eventually(lambda: len(standing(pairlock, phone).served) == len(lines) + len(sockets))
    await pairlock.devices.revoke(phone.id)
    with Stopwatch("revoke → 48 connections ended"):
        await asyncio.gather(*(line.rest() for line in lines), *(closing_of(socket) for socket in sockets))
    await eventually(lambda: not standing(pairlock, phone).served)


async def test_one_whose_cleanup_fails_does_not_keep_the_others_open(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone
) -> None:
    async with calling(port, phone, "failing") as first, calling(port, phone, "echo") as second:
        lines = [await dial(port, phone, kind) for kind in ("failing", "slow", "failing", "idle")]
        await eventually(lambda: len(diary.begun) == 6)
        await pairlock.devices.revoke(phone.id)
        with Stopwatch("revoke → all ended beside failing ones"):
            await asyncio.gather(closing_of(first), closing_of(second), *(line.rest() for line in lines))
    await eventually(lambda: not standing(pairlock, phone).served)


async def test_the_answer_to_revoking_oneself_still_arrives(pairlock: Pairlock) -> None:
    async def leave(request: Request) -> Response:
        await pairlock.devices.revoke(request.state.grant.device_id)
        await asyncio.sleep(0.02)
        return PlainTextResponse("goodbye")

    phone = await pair(pairlock, write=["/leave"])
    app = Starlette(routes=[Route("/leave", leave, methods=["POST"])])
    async with client(pairlock.guard(app)) as http:
        answer = await http.post("/leave", headers=phone.headers)
        assert (answer.status_code, answer.text) == (200, "goodbye")
        assert (await http.post("/leave", headers=phone.headers)).status_code == 401


async def test_a_device_may_unpair_itself_while_it_streams(pairlock: Pairlock, diary: Diary, phone: Phone) -> None:
    async with served(pairlock.protect(diary.app), lifespan="off") as port:
        line = await dial(port, phone, "ticking")
        await line.reader.readuntil(b"tick")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = ["DELETE /pair/whoami HTTP/1.1", "Host: x", f"Authorization: Bearer {phone.token}", "", ""]
        writer.write("\r\n".join(lines).encode())
        assert (await reader.readline()).split()[1] == b"204"
        writer.close()
        with Stopwatch("unpaired → ticking ended"):
            await line.rest()


async def test_all_devices_are_disconnected_when_all_are_revoked(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, other: Phone
) -> None:
    lines = [await dial(port, phone, "idle"), await dial(port, other, "ticking")]
    async with calling(port, phone, "echo") as socket:
        await eventually(lambda: len(diary.begun) == 3)
        assert await pairlock.devices.revoke_all() == 2
        with Stopwatch("revoke all → all ended"):
            await asyncio.gather(closing_of(socket), *(line.rest() for line in lines))


async def test_nothing_but_a_revocation_disconnects(pairlock: Pairlock, port: int, diary: Diary, phone: Phone) -> None:
    line = await dial(port, phone, "ticking")
    async with calling(port, phone, "echo") as socket:
        await line.reader.readuntil(b"tick")
        renamed = await pairlock.devices.rename(phone.id, "Another name")
        pairlock.tokens.access(renamed)
        narrowed = await pairlock.devices.narrow(phone.id, Permissions(read=("/ticking", "/echo")))
        pairlock.tokens.access(narrowed)
        await asyncio.sleep(0.12)  # more than the grace that a revocation leaves
        await socket.send("still there")
        assert await socket.recv() == "still there"
        await line.reader.readuntil(b"tick")
    line.writer.close()


# Narrowing

ELSEWHERE = Permissions(read=("/elsewhere",))


@pytest.mark.parametrize("kind", STREAMS + UNANSWERED)
async def test_what_a_narrowing_forbids_ends_at_once(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, other: Phone, kind: str
) -> None:
    line, others = await dial(port, phone, kind), await dial(port, other, kind)
    await eventually(lambda: diary.begun == [kind, kind])
    if kind in STREAMS:
        await line.reader.readuntil(b"\r\n\r\n")
    await pairlock.devices.narrow(phone.id, ELSEWHERE)
    with Stopwatch(f"narrow → {kind} ended"):
        rest = await line.rest()
        await eventually(lambda: diary.ended == [kind])
    if kind in STREAMS:
        assert not rest.endswith(b"0\r\n\r\n")
    else:
        assert rest.startswith(b"HTTP/1.1 403 ")
        assert b'error="insufficient_scope"' in rest
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(others.rest(), 0.05)


async def test_a_websocket_that_a_narrowing_forbids_is_closed_with_4003(
    pairlock: Pairlock, port: int, phone: Phone
) -> None:
    async with calling(port, phone, "echo") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await pairlock.devices.narrow(phone.id, ELSEWHERE)
        with Stopwatch("narrow → closed"):
            assert await closing_of(socket) == (4003, "narrowed")


async def test_a_narrowing_elsewhere_ends_what_it_forbids_here(
    pairlock: Pairlock, clock: FakeClock, tmp_path: Path, port: int, phone: Phone
) -> None:
    async with calling(port, phone, "echo") as socket:
        elsewhere = Pairlock(store=f"sqlite:///{tmp_path}/pairlock.db", default_permissions=EVERYTHING, clock=clock)
        await elsewhere.devices.narrow(phone.id, ELSEWHERE)
        async with asyncio.timeout(1):
            assert await closing_of(socket) == (4003, "narrowed")
        await elsewhere.aclose()


async def test_what_an_app_says_of_its_addresses_decides_what_a_narrowing_ends(
    pairlock: Pairlock, diary: Diary, phone: Phone
) -> None:
    guarded = pairlock.guard(diary.app, address=lambda scope: f"/rooms{scope['path']}")
    async with served(guarded, lifespan="off") as port, calling(port, phone, "echo") as socket:
        await pairlock.devices.narrow(phone.id, Permissions(read=("/rooms/echo",)))
        await socket.send("still there")
        assert await socket.recv() == "still there"
        await pairlock.devices.narrow(phone.id, Permissions())
        assert (await closing_of(socket))[0] == 4003


# Without a feed


async def test_what_is_open_ends_when_revocations_cannot_be_heard(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone
) -> None:
    line, slow = await dial(port, phone, "ticking"), await dial(port, phone, "slow")
    async with calling(port, phone, "echo") as socket:
        await line.reader.readuntil(b"tick")
        await eventually(lambda: {"slow", "ticking"} <= set(diary.begun))
        pairlock._runtime._lose_feed()
        assert await closing_of(socket) == (1013, "try again later")
    assert not (await line.rest()).endswith(b"0\r\n\r\n")
    refused = await slow.rest()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in refused.lower()


# Many at once, and the end of the service


async def test_a_loop_is_not_stalled_by_many_who_are_shut_out_at_once(
    pairlock: Pairlock, port: int, diary: Diary
) -> None:
    phones = [await pair(pairlock, read=["/**"]) for _ in range(60)]
    lines = [await dial(port, phone, "idle") for phone in phones]
    await eventually(lambda: len(diary.begun) == len(lines))
    assert await pairlock.devices.revoke_all() == len(phones)
    await asyncio.gather(*(line.rest() for line in lines))
    await eventually(lambda: len(diary.ended) == len(lines))


async def test_a_websocket_is_told_when_the_service_is_closed(pairlock: Pairlock, port: int, phone: Phone) -> None:
    async with calling(port, phone, "echo") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await pairlock.aclose()
        assert await closing_of(socket) == (1012, "service restart")
    assert pairlock._runtime.connections == set()


async def test_the_end_of_a_token_ends_no_stream_but_refuses_the_next(
    pairlock: Pairlock, port: int, phone: Phone, clock: FakeClock
) -> None:
    line = await dial(port, phone, "ticking")
    await line.reader.readuntil(b"tick")
    clock.advance(pairlock.settings.life_of("pin"))
    await line.reader.readuntil(b"tick")
    refused = await dial(port, phone, "ticking")
    assert (await refused.reader.readline()).startswith(b"HTTP/1.1 401 ")
    for each in (line, refused):
        each.writer.close()


# WebSockets


async def test_a_websocket_is_closed_with_4001_and_the_app_sees_a_disconnect(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, other: Phone
) -> None:
    async with calling(port, phone, "echo") as socket, calling(port, other, "echo") as untouched:
        await eventually(lambda: len(diary.begun) == 2)
        await pairlock.devices.revoke(phone.id)
        with Stopwatch("revoke → WebSocket closed"):
            assert await closing_of(socket) == (4001, "revoked")
            await eventually(lambda: diary.ended == ["echo 4001"])
        await untouched.send("still there")
        assert await untouched.recv() == "still there"
    await eventually(lambda: not standing(pairlock, phone).served)


async def test_an_app_that_only_sends_sees_a_disconnect_too(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone
) -> None:
    async with calling(port, phone, "sending") as socket:
        await socket.recv()
        await pairlock.devices.revoke(phone.id)
        with Stopwatch("revoke → sending WebSocket closed"):
            assert await closing_of(socket) == (4001, "revoked")
            await eventually(lambda: diary.ended == ["sending"])


async def test_an_app_that_prepares_for_no_disconnect_leaves_no_traceback(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(port, phone, "unprepared") as socket:
        await eventually(lambda: bool(diary.begun))
        await pairlock.devices.revoke(phone.id)
        assert await closing_of(socket) == (4001, "revoked")
    await eventually(lambda: not standing(pairlock, phone).served)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_an_app_that_does_not_notice_is_cancelled_a_little_later(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(port, phone, "ignoring") as socket:
        await eventually(lambda: bool(diary.begun))
        await pairlock.devices.revoke(phone.id)
        with Stopwatch("revoke → WebSocket of an app that does not notice closed"):
            assert await closing_of(socket) == (4001, "revoked")
        await eventually(lambda: diary.ended == ["ignoring cancelled"], within=LINGER + 0.5)
    await eventually(lambda: not standing(pairlock, phone).served)
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_websocket_that_nobody_reads_is_let_go(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    line = await dial(port, phone, "flooding", *upgrade, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
    await line.reader.readuntil(b"101 Switching Protocols")
    await stuck(diary)
    await pairlock.devices.revoke(phone.id)
    await eventually(lambda: diary.ended == ["flooding cancelled"], within=2 * LINGER + 0.5)
    assert standing(pairlock, phone).served == {}
    assert [record for record in caplog.records if record.exc_info] == []
    line.writer.transport.abort()


async def test_a_handshake_that_the_app_has_not_answered_is_refused(
    pairlock: Pairlock, port: int, diary: Diary, phone: Phone
) -> None:
    attempt = asyncio.ensure_future(calling(port, phone, "undecided").__aenter__())
    await eventually(lambda: bool(diary.begun))
    await pairlock.devices.revoke(phone.id)
    with Stopwatch("revoke → handshake refused"):
        await asyncio.wait([attempt])
    assert "403" in str(attempt.exception())
    await eventually(lambda: diary.ended == ["undecided cancelled"], within=LINGER + 0.5)


async def test_a_message_that_crosses_the_revocation_does_not_reach_the_app(pairlock: Pairlock, phone: Phone) -> None:
    coming: asyncio.Queue[Message] = asyncio.Queue()
    coming.put_nowait({"type": "websocket.connect"})
    sent: list[Message] = []
    received: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(message)
        received.append(message)
        with pytest.raises(OSError, match="revoked"):
            await send({"type": "websocket.send", "text": "to nobody"})

    scope = scope_of("GET", "/live", phone.raw, type="websocket", subprotocols=[])
    task = asyncio.create_task(pairlock.guard(listening)(scope, coming.get, send))
    await eventually(lambda: bool(sent))
    await pairlock.devices.revoke(phone.id)
    await eventually(lambda: len(sent) == 2)
    coming.put_nowait({"type": "websocket.receive", "text": "open the door"})
    await task
    assert received == [{"type": "websocket.disconnect", "code": 4001}]
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize("way", ["receive", "send"])
async def test_an_app_that_notices_first_does_not_end_before_the_close_is_sent(
    pairlock: Pairlock, phone: Phone, way: str
) -> None:
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "websocket.receive", "text": "just now"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        standing(pairlock, phone).revoke()
        list(standing(pairlock, phone).cut())
        await (receive() if way == "receive" else send({"type": "websocket.send", "text": "to nobody"}))

    scope = scope_of("GET", "/live", phone.raw, type="websocket", subprotocols=[])
    await pairlock.guard(quick)(scope, receive, send)
    assert sent == ["websocket.close"]


async def test_a_cancellation_by_the_server_passes_through_an_open_websocket(pairlock: Pairlock, phone: Phone) -> None:
    reached = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def never() -> Any:
        pytest.fail("nothing is to be received or sent")

    scope = scope_of("GET", "/live", phone.raw, type="websocket", subprotocols=[])
    task = asyncio.create_task(pairlock.guard(waiting)(scope, never, never))  # type: ignore[arg-type]
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert standing(pairlock, phone).served == {}


async def test_a_websocket_that_is_closing_already_is_left_to_close(pairlock: Pairlock, phone: Phone) -> None:
    reached, sent = asyncio.Event(), []

    async def send(message: Message) -> None:
        sent.append(message)
        raise RuntimeError("closed already")

    async def slow_to_end(scope: Scope, receive: Receive, send: Send) -> None:
        reached.set()
        await asyncio.sleep(0.15)

    async def never() -> Any:
        await asyncio.Event().wait()

    scope = scope_of("GET", "/live", phone.raw, type="websocket", subprotocols=[])
    task = asyncio.create_task(pairlock.guard(slow_to_end)(scope, never, send))
    await reached.wait()
    await pairlock.devices.revoke(phone.id)
    await eventually(lambda: bool(sent))
    for served_one in tuple(standing(pairlock, phone).served):
        assert served_one is not None
        served_one.cancel("a second time")
    await task
    assert len(sent) == 1


# Other middleware

MIDDLEWARE: dict[str, Callable[[Pairlock], list[Any]]] = {
    "gzip outside": lambda pairlock: [Middleware(GZipMiddleware), Middleware(pairlock.guard)],
    "gzip inside": lambda pairlock: [Middleware(pairlock.guard), Middleware(GZipMiddleware)],
    "base outside": lambda pairlock: [Middleware(Passing), Middleware(pairlock.guard)],
    "base inside": lambda pairlock: [Middleware(pairlock.guard), Middleware(Passing)],
    "guard inside": lambda pairlock: [Middleware(pairlock.guard), Middleware(pairlock.guard)],
}


class Passing(BaseHTTPMiddleware):
    """Starlette's base for middleware that is written as a function."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        return answer


@pytest.mark.parametrize("kind", [*STREAMS, *UNANSWERED])
@pytest.mark.parametrize("order", MIDDLEWARE)
async def test_beside_other_middleware_a_cut_is_as_quick_and_never_looks_like_an_end(
    pairlock: Pairlock, diary: Diary, phone: Phone, order: str, kind: str
) -> None:
    app = Starlette(routes=diary.app.routes, middleware=MIDDLEWARE[order](pairlock))
    async with served(app, lifespan="off") as port:
        line = await dial(port, phone, kind)
        await eventually(lambda: bool(diary.begun))
        if kind in ("ticking", "sized"):
            await line.reader.readuntil(b"first")
        await pairlock.devices.revoke(phone.id)
        with Stopwatch(f"revoke → {kind} ended, {order}"):
            rest = await line.rest()
        await eventually(lambda: not standing(pairlock, phone).served)
    if kind in UNANSWERED:
        assert rest.startswith(b"HTTP/1.1 401 ")
    elif b"401 " not in rest[:20]:  # what has not begun to arrive may still be refused
        assert not rest.endswith(b"0\r\n\r\n")
