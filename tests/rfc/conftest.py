"""A service to ask: an app that answers everything, guarded, with the pairing calls below /pair."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from pairlock import Pairlock, operator_token
from pairlock.testing import FakeClock
from tests.app.parts import ALICE, OPERATOR_TOKEN, client_of
from tests.guard.parts import EVERYTHING, Recorder
from tests.services.parts import KEY, UNLIMITED

Make = Callable[..., Pairlock]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Make]:
    """Makes handles on one database; all are closed in the end."""
    made: list[Pairlock] = []

    def make_one(**settings: Any) -> Pairlock:
        given = {
            "store": f"sqlite:///{tmp_path}/pairlock.db",
            "secret_keys": [KEY],
            "default_permissions": EVERYTHING,
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
def app() -> Recorder:
    return Recorder()


@pytest.fixture
def service(pairlock: Pairlock, app: Recorder) -> ASGIApp:
    return pairlock.protect(app)


@pytest.fixture
async def client(service: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as client:
        yield client
