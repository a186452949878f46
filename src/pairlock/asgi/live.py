"""WebSockets that are open for a device: told and closed when they are served no longer."""

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Send

from pairlock._core.standings import CLOSING, NARROWED, REVOKED, STALE

# From the range for private use (RFC 6455 §7.4.2), and those that are registered for it (RFC 6455 §11.7).
CLOSE_CODES = {
    REVOKED: (4001, "revoked"),
    NARROWED: (4003, "narrowed"),
    STALE: (1013, "try again later"),
    CLOSING: (1012, "service restart"),
}
LINGER = 1.0  # seconds an application has to notice that its connection is gone


class Disconnected(OSError):
    """Raised from `send` once the connection is served no longer, as for a peer that went away."""


class Connection:
    """A WebSocket being served for a device; stands in `Standing.served` while it is open.

    The application sees an ordinary disconnect. `subprotocol` is answered where it chooses none.
    """

    def __init__(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self.receive_from = receive
        self.send_to = send
        self.subprotocol = subprotocol
        self.task = asyncio.current_task()
        self.why = ""
        self.closing: asyncio.Task[None] | None = None
        self.told = asyncio.Event()  # once the device has its close: an application that ends sooner would drop it

    async def receive(self) -> Message:
        """What the device sends, or that it is gone."""
        message = await self.receive_from()
        if self.closing is None:
            return message
        await self.told.wait()
        return {"type": "websocket.disconnect", "code": CLOSE_CODES[self.why][0]}

    async def send(self, message: Message) -> None:
        """To the device. Raises Disconnected once it is served no longer."""
        if self.closing is not None:
            await self.told.wait()
            raise Disconnected(self.why)
        if message["type"] == "websocket.accept" and self.subprotocol and not message.get("subprotocol"):
            message = {**message, "subprotocol": self.subprotocol}
        await self.send_to(message)

    def cancel(self, msg: str) -> asyncio.Task[None]:
        """Close it, and stop what serves it should that not notice by itself."""
        if self.closing is None:
            self.why = msg
            self.closing = asyncio.create_task(self._close())
        return self.closing

    async def _close(self) -> None:
        code, reason = CLOSE_CODES[self.why]
        close: Message = {"type": "websocket.close", "code": code, "reason": reason}
        with suppress(Exception):  # it may be closed already, from either side, or never read what it is sent
            await asyncio.wait_for(self.send_to(close), LINGER)
        self.told.set()
        if self.task is not None and (await asyncio.wait([self.task], timeout=LINGER))[1]:
            self.task.cancel(self.why)
