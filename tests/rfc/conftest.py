"""A service to ask: an app that answers everything, guarded, with the pairing calls below /pair."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from pairlock import Pairlock, operator_token
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, OPERATOR_TOKEN, client_of
from tests.guard.parts import EVERYTHING, Recorder
from tests.services.parts import UNLIMITED, Make, handles


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Make]:
    async with handles(
        store=f"sqlite:///{tmp_path}/pairlock.db",
        default_permissions=EVERYTHING,
        operator=operator_token(OPERATOR_TOKEN, ALICE),
        limits=UNLIMITED,
        clock=clock,
    ) as make:
        yield make


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make()


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
def service(pairlock: Pairlock, app: Recorder) -> ASGIApp:
    return pairlock.protect(app)


@pytest.fixture
async def client(service: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as client:
        yield client
