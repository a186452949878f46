"""What all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.chaos.figures import pytest_terminal_summary as pytest_terminal_summary
from tests.servers import Postgres, Valkey

settings.register_profile("pairlock", deadline=None)  # a busy machine is no failure
settings.load_profile("pairlock")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this process; each takes a `url()` of its own."""
    server = Postgres("fsync=off", "max_connections=300")  # a crash of the machine is no test of ours
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """A Valkey server for all tests of this process; each takes a `url()` of its own."""
    server = Valkey("--appendonly", "yes")
    try:
        server.start()
        yield server
    finally:
        server.close()
