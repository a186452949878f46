"""The way to a Valkey or Redis server: one, the primary that Sentinels name, or a cluster.

Every call is bounded in time. One whose connection broke off is made once more on a new one: each of our scripts
may run twice, for those that count or add know a call that was done. So the library must repeat nothing by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from valkey import exceptions
from valkey.asyncio import Connection, ConnectionPool, Sentinel, SSLConnection, UnixDomainSocketConnection, Valkey
from valkey.asyncio.cluster import ClusterNode, ValkeyCluster
from valkey.asyncio.retry import Retry
from valkey.asyncio.sentinel import SentinelConnectionPool
from valkey.backoff import NoBackoff

from pairlock.errors import TemporarilyUnavailable
from pairlock.stores.valkey_scripts import Script
from pairlock.stores.valkey_url import CLUSTER, SENTINEL, SOCKET, Address

T = TypeVar("T")

CALLS = 16  # at work at once; the server does one at a time
ATTEMPTS = 2
BELL = 0.5  # seconds to wait for an event: half of what is promised, so that a slow machine keeps the promise too

FAILED = (OSError, exceptions.ValkeyError, exceptions.ValkeyClusterException)
# The connection is of no more use, or leads to a server that is no primary any more.
LOST = (
    OSError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterError,
    exceptions.ValkeyClusterException,
)


class Servers(Protocol):
    """What the library's clients have in common for us. `generation` counts how often it was renewed."""

    generation: int

    async def execute(self, *words: str | bytes | int) -> Any:
        """The answer to a command."""

    async def renew(self, generation: int) -> None:
        """Make further calls on new connections, unless somebody has seen to it since this generation."""

    async def aclose(self) -> None:
        """Close all connections."""


class Renewable(ConnectionPool):
    """A pool that can let go of its idle connections while others are in use."""

    async def drop_idle(self) -> None:
        """In one go, so that nobody is given one of them meanwhile."""
        idle, self._available_connections = self._available_connections, []
        for connection in idle:
            await connection.disconnect(nowait=True)


class RenewableOfSentinel(Renewable, SentinelConnectionPool):
    """The same for the primary that Sentinels name: a new connection asks them for it."""


class OneServer:
    """A server, or the primary that Sentinels name."""

    def __init__(self, pool: Renewable, *sentinels: Valkey) -> None:
        self.generation = 0
        self._pool = pool
        self._client = Valkey.from_pool(pool)
        self._sentinels = sentinels

    async def execute(self, *words: str | bytes | int) -> Any:
        """The answer to a command."""
        return await self._client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library's

    async def renew(self, generation: int) -> None:
        """Make further calls on new connections, unless somebody has seen to it since this generation."""
        if generation == self.generation:
            self.generation += 1
            await self._pool.drop_idle()

    async def aclose(self) -> None:
        """Close all connections."""
        closing = (client.aclose() for client in (self._client, *self._sentinels))
        await asyncio.gather(*closing, return_exceptions=True)


class Cluster:
    """The server that has our hash slot. The library's client does not outlive the loss of the nodes it knows."""

    def __init__(self, make: Callable[[], ValkeyCluster]) -> None:
        self.generation = 0
        self._make = make
        self._client = make()

    async def execute(self, *words: str | bytes | int) -> Any:
        """The answer to a command."""
        client = self._client
        try:
            return await client.execute_command(*words)
        finally:
            if client is not self._client:  # given up meanwhile, when it may have been about to connect
                await client.aclose()

    async def renew(self, generation: int) -> None:
        """Begin again with the nodes of the URL; what others have asked for breaks off, and is asked again."""
        if generation == self.generation:
            self.generation += 1
            client, self._client = self._client, self._make()
            with contextlib.suppress(*FAILED):
                await client.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def reach(address: Address) -> Servers:
    """A client of these servers, not connected yet."""
    if address.kind == CLUSTER:
        return Cluster(partial(_cluster, address))
    if address.kind == SENTINEL:
        return _by_sentinels(address)
    if address.kind == SOCKET:
        options = {**_options(address), "connection_class": UnixDomainSocketConnection, "path": address.path}
        return OneServer(Renewable(**options))
    ((host, port),) = address.nodes
    connection_class = SSLConnection if address.tls else Connection
    return OneServer(Renewable(connection_class, host=host, port=port, **_options(address)))


def _options(address: Address) -> dict[str, Any]:
    return {**address.options, **_patience(address.timeout / ATTEMPTS), "db": address.database}


def _patience(seconds: float) -> dict[str, Any]:
    """Calls are bounded by us, which is cheaper: only connecting and disconnecting are by the library."""
    return {"socket_timeout": None, "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0)}


def _by_sentinels(address: Address) -> OneServer:
    seconds = address.timeout / ATTEMPTS / (len(address.nodes) + 1)  # those that are silent leave time for the others
    asked = {**address.sentinel_options, **_patience(seconds), "socket_timeout": seconds, "ssl": address.tls}
    sentinel = Sentinel(address.nodes, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # as above
    options = {**_options(address), "ssl": address.tls}
    pool = RenewableOfSentinel(address.service, sentinel, **options)  # type: ignore[no-untyped-call]  # as above
    return OneServer(pool, *sentinel.sentinels)


def _cluster(address: Address) -> ValkeyCluster:
    return ValkeyCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
        cluster_error_retry_attempts=0,
        connection_error_retry_attempts=0,
        ssl=address.tls,
        **_options(address),
    )


class Link:
    """Calls to the servers of an address; all belong to one event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._servers = reach(address)
        self._turns = asyncio.Semaphore(CALLS)
        self._running = 0
        self._all_done = asyncio.Event()
        self._all_done.set()

    async def run(self, script: Script, keys: list[str], *arguments: str | bytes | int, again: bool = True) -> Any:
        """What a script returns; asked once more when its connection is lost. Raises TemporarilyUnavailable."""
        ask = partial(self._run, script, len(keys), *keys, *arguments)
        async with self._counted():
            try:
                return await self._ask(ask)
            except LOST:
                if not again:
                    raise
            return await self._ask(ask)

    async def _run(self, script: Script, *words: str | bytes | int) -> Any:
        async with self._turns:
            try:
                return await self._servers.execute("EVALSHA", script.sha, *words)
            except exceptions.NoScriptError:
                return await self._servers.execute("EVAL", script.text, *words)

    async def wait_for_event(self, key: str, cursor: int) -> None:
        """Return when there may be one beyond the cursor, or after half a second. Raises TemporarilyUnavailable."""
        words = ("XREAD", "COUNT", 1, "BLOCK", int(BELL * 1000), "STREAMS", key, f"{cursor}-0")
        async with self._counted():
            await self._ask(partial(self._servers.execute, *words), BELL)

    async def _ask(self, ask: Callable[[], Awaitable[T]], expected: float = 0) -> T:
        """What this gives. `expected` is how long it takes when all is well."""
        patience, generation = self._address.timeout / ATTEMPTS + expected, self._servers.generation
        try:
            async with asyncio.timeout(patience):
                return await ask()
        except LOST as error:
            await self._servers.renew(generation)
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"no answer within {patience:g} s") from error
            raise

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Count what runs, and say in our words why it failed."""
        self._running += 1
        self._all_done.clear()
        try:
            yield
        except FAILED as error:
            raise TemporarilyUnavailable(retry_after=1) from error
        finally:
            self._running -= 1
            if not self._running:
                self._all_done.set()

    async def aclose(self) -> None:
        """Let those calls finish that have begun, then close all connections. None may begin any more."""
        try:
            await self._all_done.wait()
        finally:
            with contextlib.suppress(*FAILED):
                await self._servers.aclose()
