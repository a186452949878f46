"""Handles on one database file: to each other they are as processes are."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pairlock import Pairlock
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, Make, handles


@pytest.fixture(autouse=True)
def no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRLOCK_SECRET_KEYS", raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairlock.db"


@pytest.fixture
async def make(path: Path, clock: FakeClock) -> AsyncIterator[Make]:
    async with handles(store=f"sqlite:///{path}", default_permissions=SENSORS, clock=clock) as make:
        yield make


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make()


@pytest.fixture
def other(make: Make) -> Pairlock:
    """Another process on the same file, with the same keys."""
    return make()
