"""A service to ask: an app that answers everything, guarded, with the pairing calls below /pair."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from pairlock import Pairlock, operator_token
from tests.guard.parts import EVERYTHING, Recorder


@pytest.fixture
async def pairlock(tmp_path: Path) -> AsyncIterator[Pairlock]:
    pairlock = Pairlock(
        store=f"sqlite:///{tmp_path}/pairlock.db",
        default_permissions=EVERYTHING,
        operator=operator_token("operator-of-these-tests"),
    )
    async with pairlock.lifespan():
        yield pairlock


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
def service(pairlock: Pairlock, app: Recorder) -> ASGIApp:
    return pairlock.protect(app)
