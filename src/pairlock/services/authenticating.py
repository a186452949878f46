"""How OAuth clients and resource servers prove who they are, as often as one source may try (RFC 6749 §2.3.1)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pairlock._core.clients import Client, Credentials
from pairlock._core.records import Origin
from pairlock._core.sources import source_of
from pairlock.errors import InvalidClient
from pairlock.services.runtime import Runtime


class Authenticating:
    """Checks credentials against the settings.

    Wrong secrets alone are counted: a busy resource server has many right ones looked at at once, and no secret is so
    short that a few guesses in parallel mattered.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def client(self, offered: Credentials, origin: Origin) -> Client:
        """The client that calls. Raises InvalidClient, TooManyRequests."""
        async with self._limited(offered, origin):
            return self._runtime.settings.clients.authenticate(offered)

    async def resource_server(self, offered: Credentials, origin: Origin) -> None:
        """Raises InvalidClient for all but resource servers, TooManyRequests."""
        async with self._limited(offered, origin):
            self._runtime.settings.resource_servers.authenticate(offered)

    @asynccontextmanager
    async def _limited(self, offered: Credentials, origin: Origin) -> AsyncIterator[None]:
        if not offered.secret:
            yield
            return
        counter = "secrets", self._runtime.settings.limits.wrong_secrets, source_of(origin.address)
        await self._runtime.limiter.check(*counter)
        try:
            yield
        except InvalidClient:
            await self._runtime.limiter.hit(*counter)
            raise
