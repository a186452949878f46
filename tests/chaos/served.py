"""The service of these tests, one worker of it: `python -m tests.chaos.served STORE PORT MAX_STALENESS`."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import suppress

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pairlock import Pairlock, operator_token
from tests.services.parts import KEY, SENSORS, UNLIMITED

OPERATOR_TOKEN = "the-operator-token-of-these-tests"


async def sensor(request: Request) -> Response:
    return Response(status_code=204)


async def stream(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.2)

    return StreamingResponse(ticks())


async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()


ROUTES = [
    Route("/sensors/stream", stream),
    Route("/sensors/{name}", sensor),
    WebSocketRoute("/sensors/live", live),
]


if __name__ == "__main__":
    url, port, max_staleness = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    pairlock = Pairlock(
        store=url,
        secret_keys=None if url.startswith("sqlite:") else [KEY],  # there they come from the file beside it
        default_permissions=SENSORS,
        operator=operator_token(OPERATOR_TOKEN),
        limits=UNLIMITED,
        max_staleness=float(max_staleness),
    )
    uvicorn.run(
        pairlock.protect(Starlette(routes=ROUTES)),
        port=int(port),
        log_config=None,
        access_log=False,
        timeout_keep_alive=600,  # a client shall see a broken connection only where we broke it
        timeout_graceful_shutdown=2,
    )
