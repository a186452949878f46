"""A real server on 127.0.0.1, in a thread, whose clock moves only when a test says so."""

import socket
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pairlock import Client, Pairlock, operator_token
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, AS_OPERATOR, OPERATOR_TOKEN
from tests.clients.parts import BOX, CAMERA, SECRET, SENSORS, TV, Service
from tests.services.parts import KEY, UNLIMITED


async def sensor(request: Request) -> Response:
    return PlainTextResponse(request.state.grant.device_name)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    clock = FakeClock()
    pairlock = Pairlock(
        store=f"sqlite:///{tmp_path_factory.mktemp('clients')}/pairlock.db",
        secret_keys=[KEY],
        default_permissions=SENSORS,
        operator=operator_token(OPERATOR_TOKEN, ALICE),
        clients=[Client(id=TV, name="Telly"), Client(id=BOX, secret=SECRET, name="Set-top box")],
        resource_servers={CAMERA: SECRET},
        limits=UNLIMITED,
        clock=clock,
    )
    app = pairlock.protect(Starlette(routes=[Route("/sensors/{name}", sensor)]))
    # Named TCP in full, or asyncio leaves Nagle's algorithm on and each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # whoever calls early waits until it is served
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(headers=AS_OPERATOR) as operator:
                yield Service(f"http://127.0.0.1:{listening.getsockname()[1]}", clock, operator)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def service(served: Service) -> Iterator[Service]:
    """The server, with nobody paired."""
    yield served
    served.revoke_all()
