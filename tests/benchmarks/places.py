"""Where benchmarks keep records: an empty place in a store of each kind that processes can share.

The servers keep what they acknowledge as they do by default, and as docs for each store ask for it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import Postgres, Server, Valkey

STORES = ("sqlite", "postgresql", "valkey")


@contextmanager
def place(store: str) -> Iterator[str]:
    """The URL of an empty place in a store of this kind, gone afterwards; a server has nothing else to do."""
    if store == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'benchmark.db'}"
    else:
        with _running(Postgres() if store == "postgresql" else Valkey("--appendonly", "yes")) as server:
            yield server.url()


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.close()
