"""Tells calls that pairlock refused or ended from those that an app left unfinished: the server logs both alike."""

import asyncio
import logging
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from pairlock._core.standings import NARROWED, REVOKED, STALE
from pairlock.cli.service.app_loading import App

# What uvicorn complains of once a call has ended, in its words.
NO_HANDSHAKE = "ASGI callable returned without completing handshake."
NO_RESPONSE = "ASGI callable returned without completing response."
CUT = ((REVOKED,), (NARROWED,), (STALE,))


class Ending(Struct):
    """How a call ended, as far as the server does not see it: which of its complaints has no ground."""

    unfounded: str = ""


_ending: ContextVar[Ending] = ContextVar("ending")


def noting_refusals(app: App) -> App:
    """Around the guard: note handshakes that were answered with a whole response, as it refuses them."""

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        ending = Ending()
        _ending.set(ending)

        async def send_on(message: Any) -> None:
            await send(message)
            if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
                ending.unfounded = NO_HANDSHAKE

        await app(scope, receive, send_on if scope["type"] == "websocket" else send)

    return noting


def noting_cuts(app: App) -> App:
    """Inside the guard: note calls that it ends because their device may not make them any more."""

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError as error:
            if error.args in CUT:
                _ending.get().unfounded = NO_RESPONSE
            raise

    return noting


def is_news(record: logging.LogRecord) -> bool:
    """Whether a record tells more than that we refused or ended a call, or that calls are cut off at the end."""
    if record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    ending = _ending.get(None)
    return ending is None or record.getMessage() != ending.unfounded
