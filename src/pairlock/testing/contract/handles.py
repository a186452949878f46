"""What the tests of a store work with: two open handles on the same data."""

from collections.abc import AsyncIterator, Callable

import pytest

from pairlock._core.records import AuditEvent
from pairlock.stores.contract import Conflict, Store, Write

NewStore = Callable[[], Store]


class Handles:
    """The fixtures: `store` and `other` are open, and to each other as two processes are."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    async def store(self, new_store: NewStore) -> AsyncIterator[Store]:
        handle = new_store()
        await handle.open()
        yield handle
        await handle.aclose()

    @pytest.fixture
    async def other(self, new_store: NewStore) -> AsyncIterator[Store]:
        handle = new_store()
        await handle.open()
        yield handle
        await handle.aclose()


async def succeeds(store: Store, *writes: Write) -> bool:
    """Whether the commit was done, rather than too late."""
    try:
        await store.commit(*writes)
    except Conflict:
        return False
    return True


async def all_events(store: Store) -> list[AuditEvent]:
    """Every event kept, oldest first."""
    return (await store.list_events(limit=1_000_000))[::-1]
