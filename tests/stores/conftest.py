"""A store in a file of its own, and no thread left when a test is done."""

import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pairlock.stores.sqlite import SQLiteStore


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairlock.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, busy_timeout=0.05)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
        assert not thread.is_alive()
    gc.collect()  # an unclosed connection would warn now
