"""The store in memory keeps every promise."""

from collections.abc import Callable

import pytest

from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.testing import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def new_store(self) -> Callable[[], Store]:
        data = MemoryData()
        return lambda: MemoryStore(data)
