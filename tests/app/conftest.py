"""A Pairlock with an operator, its sub-app, and a caller of it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from pairlock import Pairlock, operator_token
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, OPERATOR_TOKEN, client_of
from tests.services.parts import KEY, SENSORS, UNLIMITED

Make = Callable[..., Pairlock]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Make]:
    """Makes handles; all are closed in the end."""
    made: list[Pairlock] = []

    def make_one(**settings: Any) -> Pairlock:
        given = {
            "store": f"sqlite:///{tmp_path}/pairlock.db",
            "secret_keys": [KEY],
            "default_permissions": SENSORS,
            "operator": operator_token(OPERATOR_TOKEN, ALICE),
            "limits": UNLIMITED,
            "clock": clock,
        }
        made.append(Pairlock(**{**given, **settings}))
        return made[-1]

    yield make_one
    for pairlock in made:
        await pairlock.aclose()


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make()


@pytest.fixture
async def client(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as client:
        yield client
