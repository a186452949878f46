"""Connections to a PostgreSQL server: made when they are needed, kept while they are sound, never waited for too long.

A connection upon which anything went wrong but a statement is closed and not used again. asyncpg's own way to
give up a statement is to ask the server to cancel it, and to wait until it has: a server that stands still
would be waited for without end. So a caller that gives up closes its connection at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

from pairlock.stores.postgres_url import Address

Connection = Any  # asyncpg's

FAREWELL = 1.0  # seconds for saying good-bye to the server
IDLE_LIFE = 300.0  # seconds; firewalls forget connections without a word
NO_CONNECTION = ("08", "57P", "25006")  # SQLSTATEs: connection lost, server going or gone, server only to be read
FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_lost(error: BaseException) -> bool:
    """Whether the connection on which this happened is of no more use."""
    return not isinstance(error, asyncpg.PostgresError) or str(error.sqlstate).startswith(NO_CONNECTION)


class Pool:
    """At most so many connections at work at once, and any number that listen. All belong to one event loop."""

    def __init__(self, address: Address) -> None:
        self.timeout = address.timeout
        self.loop = asyncio.get_running_loop()
        self._size = address.pool_size
        self._dsns = list(address.dsns)
        self._options = _options(address)
        self._listens = not address.pgbouncer
        self._turns = asyncio.Semaphore(address.pool_size)
        self._idle: list[tuple[float, Connection]] = []
        self._all: set[Connection] = set()
        self._dialling: set[asyncio.Task[Connection]] = set()
        self._is_closed = False

    async def ask(self, statement: str, *arguments: Any, again: bool = True) -> list[Any]:
        """The rows of a statement, within `timeout`.

        When its connection is lost it is asked once more on a new one; not without `again`: the server may have
        done it already.
        """
        try:
            async with asyncio.timeout(self.timeout):
                return await self._insist(statement, arguments, again)
        except TimeoutError:
            self._drop_idle()
            raise

    async def _insist(self, statement: str, arguments: tuple[Any, ...], again: bool) -> list[Any]:
        try:
            return await self._ask(statement, arguments)
        except FAILURES as error:
            if not is_lost(error):
                raise
            self._drop_idle()
            if not again:
                raise
        return await self._ask(statement, arguments)

    async def _ask(self, statement: str, arguments: tuple[Any, ...]) -> list[Any]:
        async with self.lease() as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Connection]:
        """A connection that nobody else uses meanwhile."""
        async with self._turns:
            self._check_open()
            connection = self._take() or await self._connect()
            try:
                yield connection
            except BaseException as error:
                if is_lost(error):
                    connection.terminate()
                raise
            finally:
                self._put_back(connection)

    def _check_open(self) -> None:
        if self._is_closed:
            raise asyncpg.InterfaceError("the store was closed")

    def _take(self) -> Connection | None:
        while self._idle:
            _, connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _put_back(self, connection: Connection) -> None:
        now = self.loop.time()
        if not connection.is_closed():
            self._idle.append((now, connection))
        while self._idle and (len(self._idle) > self._size or self._idle[0][0] < now - IDLE_LIFE):
            self._idle.pop(0)[1].terminate()

    def _drop_idle(self) -> None:
        """They may lead where the one led that was lost: to a server that is gone, or to silence."""
        while self._idle:
            self._idle.pop()[1].terminate()

    async def _connect(self) -> Connection:
        """A new connection. It is made in a task of its own: asyncpg cannot be stopped everywhere without complaint.

        That of a caller who is cancelled is kept for the next.
        """
        dialling = self.loop.create_task(self._dial())
        self._dialling.add(dialling)
        dialling.add_done_callback(self._dialling.discard)
        try:
            return await asyncio.shield(dialling)
        except asyncio.CancelledError:
            dialling.add_done_callback(self._keep)
            raise

    def _keep(self, dialled: asyncio.Task[Connection]) -> None:
        if not dialled.cancelled() and dialled.exception() is None:
            self._put_back(dialled.result())

    async def _dial(self) -> Connection:
        """A connection to the first host that takes one; the host that took the last is asked first."""
        failures: list[Exception] = []
        for dsn in tuple(self._dsns):
            try:
                connection = await asyncpg.connect(dsn, **self._options)
            except FAILURES as error:
                failures.append(error)
            else:
                self._dsns.sort(key=dsn.__ne__)
                return self._admit(connection)
        raise failures[-1]

    def _admit(self, connection: Connection) -> Connection:
        self._all.add(connection)
        connection.add_termination_listener(self._all.discard)
        if self._is_closed:  # meanwhile
            connection.terminate()
        return connection

    @contextlib.asynccontextmanager
    async def listening(self, channel: str, heard: Callable[[], None]) -> AsyncIterator[Connection]:
        """A connection of its own that tells of every notification, and of its own end."""
        async with asyncio.timeout(self.timeout):
            connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: heard())
            async with asyncio.timeout(self.timeout):
                if self._listens:
                    await connection.add_listener(channel, lambda *_: heard())
            yield connection
        finally:
            connection.terminate()

    async def aclose(self) -> None:
        """Let those at work finish, within `timeout`, then close all."""
        self._is_closed = True
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.timeout):
                    for _ in range(self._size):
                        await self._turns.acquire()
            if self._dialling:  # those that come later are closed as they come
                await asyncio.wait(self._dialling, timeout=FAREWELL)
            farewells = [connection.close(timeout=FAREWELL) for connection in self._all]
            await asyncio.gather(*farewells, return_exceptions=True)
        finally:
            self.terminate()

    def terminate(self) -> None:
        """Close all at once."""
        for connection in tuple(self._all):
            with contextlib.suppress(RuntimeError):  # their loop may be closed
                connection.terminate()


def _options(address: Address) -> dict[str, Any]:
    """What asyncpg is told beside the URL, which goes first."""
    settings = {"application_name": "pairlock"} | ({} if address.pgbouncer else _bounds(address.timeout))
    return {
        "timeout": address.timeout / len(address.dsns),
        "statement_cache_size": 0 if address.pgbouncer else 100,
        "server_settings": {name: value for name, value in settings.items() if name not in address.parameters},
    }


def _bounds(timeout: float) -> dict[str, str]:
    """Limits that the server keeps by itself: nothing is done long after its caller gave up.

    They are below the caller's own, so that a server that is merely slow says so and keeps its connections.
    """
    return {
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{timeout * 800:.0f}",  # milliseconds
        "lock_timeout": f"{timeout * 500:.0f}",
        "idle_in_transaction_session_timeout": "10s",
        "tcp_keepalives_idle": "60",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }
