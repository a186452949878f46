"""WebSockets that are open for a device: told and closed when it is revoked."""

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Send

from pairlock._core.standings import REVOKED

CLOSE_CODE = 4001  # from the range for private use, RFC 6455 §7.4.2
LINGER = 1.0  # seconds an application has to notice that its connection is gone


class Disconnected(OSError):
    """Raised from `send` once the device was revoked, as for a peer that went away."""


class Connection:
    """A WebSocket being served for a device; stands in `Standing.served` while it is open.

    The application sees an ordinary disconnect. `subprotocol` is answered where it chooses none.
    """

    def __init__(self, receive: Receive, send: Send, subprotocol: str | None) -> None:
        self.receive_from = receive
        self.send_to = send
        self.subprotocol = subprotocol
        self.task = asyncio.current_task()
        self.closing: asyncio.Task[None] | None = None
        self.told = asyncio.Event()  # once the device has its close: an application that ends sooner would drop it

    async def receive(self) -> Message:
        """What the device sends, or that it is gone."""
        message = await self.receive_from()
        if self.closing is None:
            return message
        await self.told.wait()
        return {"type": "websocket.disconnect", "code": CLOSE_CODE}

    async def send(self, message: Message) -> None:
        """To the device. Raises Disconnected once it was revoked."""
        if self.closing is not None:
            await self.told.wait()
            raise Disconnected(REVOKED)
        if message["type"] == "websocket.accept" and self.subprotocol and not message.get("subprotocol"):
            message = {**message, "subprotocol": self.subprotocol}
        await self.send_to(message)

    def cancel(self, msg: str) -> None:
        """Close it, and stop what serves it should that not notice by itself."""
        if self.closing is None:
            self.closing = asyncio.create_task(self._close(msg))

    async def _close(self, msg: str) -> None:
        close: Message = {"type": "websocket.close", "code": CLOSE_CODE, "reason": "revoked"}
        with suppress(Exception):  # it may be closed already, from either side, or never read what it is sent
            await asyncio.wait_for(self.send_to(close), LINGER)
        self.told.set()
        if self.task is not None and (await asyncio.wait([self.task], timeout=LINGER))[1]:
            self.task.cancel(msg)
