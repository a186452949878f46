"""The service that several processes of these tests run: `uvicorn --factory tests.guard.service:make`."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from pairlock import Pairlock, operator_token
from tests.guard.parts import EVERYTHING
from tests.services.parts import UNLIMITED

DATABASE, OPERATOR = "PAIRLOCK_TEST_DATABASE", "operator-of-these-tests"


async def sensor(request: Request) -> Response:
    return PlainTextResponse(request.path_params["name"])


async def stream(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(ticks())


async def slow(request: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("never")


async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


ROUTES = [
    Route("/sensors/{name}", sensor),
    Route("/stream", stream),
    Route("/slow", slow),
    WebSocketRoute("/live", live),
]


def make() -> ASGIApp:
    """The app of one process, on the database that the environment names."""
    pairlock = Pairlock(
        store=f"sqlite:///{os.environ[DATABASE]}",
        default_permissions=EVERYTHING,
        operator=operator_token(OPERATOR),
        limits=UNLIMITED,
    )
    return pairlock.protect(Starlette(routes=ROUTES))
