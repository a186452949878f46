"""Handles on one database file: to each other they are as processes are."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pairlock import Pairlock
from pairlock.testing import FakeClock
from tests.services.parts import KEY, SENSORS

Make = Callable[..., Pairlock]


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
    """Makes handles; all are closed in the end."""
    made: list[Pairlock] = []

    def make_one(**settings: Any) -> Pairlock:
        given = {"store": f"sqlite:///{path}", "secret_keys": [KEY], "default_permissions": SENSORS, "clock": clock}
        made.append(Pairlock(**{**given, **settings}))
        return made[-1]

    yield make_one
    for pairlock in made:
        await pairlock.aclose()


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make()


@pytest.fixture
def other(make: Make) -> Pairlock:
    """Another process on the same file, with the same keys."""
    return make()
