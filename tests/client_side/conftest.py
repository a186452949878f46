"""A service to pair with, a place to keep credentials, and the four ways to use the client."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairlock.client import CredentialFile
from pairlock.testing import FakeClock
from tests.client_side.house import House
from tests.client_side.sides import KINDS, Side, opened_side


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test finds or leaves anything at the home of whoever runs it."""
    for name in [
        name for name in os.environ if name.startswith(("PAIRLOCK_", "XDG_")) or name.lower().endswith("_proxy")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def file(tmp_path: Path) -> CredentialFile:
    return CredentialFile(tmp_path / "keep" / "tokens.json")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time.time())


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path) as house:
        yield house


@pytest.fixture
def timed(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    """The same, by the clock of the test."""
    with House(tmp_path, clock=clock) as house:
        yield house


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest) -> Iterator[Side]:
    with opened_side(request.param) as side:
        yield side


@pytest.fixture
def one_side() -> Iterator[Side]:
    """For what does not depend on the library."""
    with opened_side("httpx") as side:
        yield side
