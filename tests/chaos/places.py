"""Where the workers keep their records: a store of each kind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.proxy import Proxy
from tests.servers import Postgres, Server, Valkey


class Place:
    """A store. `urls` are what the workers use: those behind a proxy have a port of their own."""

    def __init__(self, url: str, server: Server | None = None, proxies: tuple[Proxy, ...] = ()) -> None:
        self.url = url
        self.server = server
        self.proxies = proxies

    def urls(self, count: int) -> list[str]:
        """One for each worker; the last ones reach the server through the proxies."""
        port = "" if self.server is None else f":{self.server.port}/"
        behind = [self.url.replace(port, f":{proxy.port}/") for proxy in self.proxies]
        return [self.url] * (count - len(behind)) + behind


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Place]:
    """A file."""
    yield Place(f"sqlite:///{folder}/pairlock.db")


@asynccontextmanager
async def postgresql(folder: Path) -> AsyncIterator[Place]:
    """A server of its own: it is killed."""
    async with behind_proxies(Postgres("fsync=off", "max_connections=300")) as place:
        yield place


@asynccontextmanager
async def valkey(folder: Path) -> AsyncIterator[Place]:
    """A server of its own; it has what it answers on the disk."""
    async with behind_proxies(Valkey("--appendonly", "yes", "--appendfsync", "always")) as place:
        yield place


@asynccontextmanager
async def behind_proxies(server: Server) -> AsyncIterator[Place]:
    """A server that runs, and two proxies in front of it."""
    try:
        await asyncio.to_thread(server.start)
        with Proxy(server.port) as near, Proxy(server.port) as far:
            yield Place(server.url(), server, (near, far))
        await asyncio.to_thread(server.stop)
    finally:
        server.close()


PLACES = {"sqlite": sqlite, "postgresql": postgresql, "valkey": valkey}
