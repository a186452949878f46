"""WebSockets as a server hands them over to the app, of devices that listen and say nothing."""

import asyncio
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.benchmarks.paired import a_scope, plain_app

LIVE = "/live"


async def live_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers requests, and keeps WebSockets open as long as anybody is there."""
    if scope["type"] == "http":
        await plain_app(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


class Socket:
    """A WebSocket; `closed_at` is when its device was told that it is closed (0: it was not)."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.closed_at = 0.0
        self.closed = asyncio.Event()
        self._app = app
        self._scope = {**a_scope(token, LIVE), "type": "websocket", "scheme": "ws", "subprotocols": [], "state": {}}
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises RuntimeError when it is refused."""
        self._task = asyncio.create_task(self._serve())
        await self._answered.wait()
        if self.closed_at:
            raise RuntimeError("a WebSocket is refused")

    async def _serve(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._answered.is_set():
            return {"type": "websocket.connect"}
        await self.closed.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: Message) -> None:
        if message["type"] == "websocket.close":
            self.closed_at = monotonic()
            self.closed.set()
        self._answered.set()
