"""Whether this process can do its work: for load balancers, and for whoever looks after the service."""

import asyncio
from collections.abc import Callable
from time import monotonic

from msgspec import Struct

from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Store

PATIENCE = 2.0  # seconds in which a store that is well has answered
KNOWN_FOR = 1.0  # seconds: strangers may ask as often as they like


class Health(Struct, frozen=True):
    """What was found: `store` answers, `schema` is that of this version (None: not known), `feed` tells of changes.

    `ok` says that all of them are well, and that guarded requests are served.
    """

    store: bool
    schema: bool | None
    feed: bool

    @property
    def ok(self) -> bool:
        return self.store and self.schema is True and self.feed


class Checking:
    """Asks the store at most once a second, however many want to know."""

    def __init__(self, runtime: Runtime, now: Callable[[], float] = monotonic) -> None:
        self._runtime = runtime
        self._now = now
        self._known: tuple[float, asyncio.Task[Health]] | None = None

    async def check(self) -> Health:
        """How it is now, or was a moment ago."""
        loop = asyncio.get_running_loop()
        if self._known is None or self._now() >= self._known[0] + KNOWN_FOR or self._known[1].get_loop() is not loop:
            self._known = self._now(), loop.create_task(self._ask())
        return await asyncio.shield(self._known[1])

    async def _ask(self) -> Health:
        store, schema = True, True
        try:
            async with asyncio.timeout(PATIENCE):
                schema = await _is_current(await self._runtime.ready())
        except (TemporarilyUnavailable, StoreError, TimeoutError):
            store = False
        return Health(store=store, schema=schema if store else None, feed=self._runtime.fresh)


async def _is_current(store: Store) -> bool:
    try:
        await store.check()
    except StoreError:
        return False
    return True
