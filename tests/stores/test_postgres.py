"""The store in a PostgreSQL database keeps every promise."""

from collections.abc import Callable

import pytest
from hypothesis import settings

from pairlock.stores.contract import Store
from pairlock.stores.postgres import PostgresStore
from pairlock.testing import StoreContract
from tests.servers import Postgres


class TestPostgresStore(StoreContract):
    model_settings = settings(StoreContract.model_settings, max_examples=12)

    @pytest.fixture
    def new_store(self, postgres: Postgres) -> Callable[[], Store]:
        url = postgres.url()
        return lambda: PostgresStore(url)
