"""One Pairlock on a file of its own, and a clock that stands still."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pairlock import Pairlock
from pairlock.testing import FakeClock
from tests.guard.parts import EVERYTHING, Recorder


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def pairlock(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Pairlock]:
    pairlock = Pairlock(store=f"sqlite:///{tmp_path}/pairlock.db", default_permissions=EVERYTHING, clock=clock)
    async with pairlock.lifespan():
        yield pairlock


@pytest.fixture
def app() -> Recorder:
    return Recorder()


@pytest.fixture
async def unhandled() -> AsyncIterator[None]:
    """Fails a test that leaves a task destroyed while pending, or an exception that nobody retrieved."""
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    yield
    gc.collect()
    await asyncio.sleep(0)
    asyncio.get_running_loop().set_exception_handler(None)
    assert seen == []
