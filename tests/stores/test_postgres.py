"""The store in a PostgreSQL database keeps every promise."""

from collections.abc import Callable

import pytest

from pairlock.stores.contract import Store
from pairlock.stores.postgres import PostgresStore
from pairlock.testing import StoreContract
from tests.servers import Postgres


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def new_store(self, postgres: Postgres) -> Callable[[], Store]:
        url = postgres.url()
        return lambda: PostgresStore(url)
