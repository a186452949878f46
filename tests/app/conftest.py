"""A Pairlock with an operator, its sub-app, and a caller of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from pairlock import Pairlock, operator_token
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, OPERATOR_TOKEN, client_of
from tests.services.parts import SENSORS, UNLIMITED, Make, handles


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Make]:
    async with handles(
        store=f"sqlite:///{tmp_path}/pairlock.db",
        default_permissions=SENSORS,
        operator=operator_token(OPERATOR_TOKEN, ALICE),
        limits=UNLIMITED,
        clock=clock,
    ) as make:
        yield make


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make()


@pytest.fixture
async def client(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as client:
        yield client
