"""What is done beside the calls: chores and the purge by one process a minute, and noting who was seen by each."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import islice

from pairlock._core.standings import Standings
from pairlock.errors import TemporarilyUnavailable
from pairlock.stores.contract import Store

logger = logging.getLogger("pairlock")

LOOK_EVERY = 0.5  # seconds between looks whether something is due
MINUTE = 60.0
PURGED_AT_ONCE = 500
BREATHER = 0.02  # seconds between two steps of a purge, in which others reach the store
SEEN_EVERY = 30.0  # seconds between two times of writing down who was seen
SEEN_AT_ONCE = 1000

Chore = Callable[[float], Awaitable[None]]


class Upkeep:
    """Runs in every process; each minute belongs to the one that takes it first, and to no other."""

    def __init__(self, store: Store, standings: Standings, clock: Callable[[], float]) -> None:
        self._store = store
        self._standings = standings
        self._clock = clock
        self._chores: list[Chore] = []
        self._minute: int | None = None  # the last that was looked after, here or elsewhere
        self._seen: dict[str, float] = {}  # and not written down yet
        self._noted_at = 0.0

    def each_minute(self, chore: Chore) -> None:
        """Do this once a minute in one of the processes, with the time as its argument, before the purge."""
        self._chores.append(chore)

    def note_seen(self, device_id: str) -> None:
        """A device was seen for which no standing may be held."""
        self._seen[device_id] = self._clock()

    async def run(self) -> None:
        """Look after the store until this is cancelled; while it does not answer, what is due waits."""
        while True:
            for work in (self._take_minute, self._note_who_was_seen):
                await _unless_away(work)
            await asyncio.sleep(LOOK_EVERY)

    async def write_down_seen(self) -> None:
        """Write down who was seen since the last time. Raises TemporarilyUnavailable; nobody is forgotten then."""
        now = self._clock()
        self._seen.update(dict.fromkeys(self._standings.take_seen(), now))
        while some := dict(islice(self._seen.items(), SEEN_AT_ONCE)):
            for device_id in some:  # first: meanwhile they may be seen again, and this be called again at the end
                del self._seen[device_id]
            try:
                await self._store.touch(some)
            except BaseException:
                self._seen = some | self._seen
                raise

    async def _note_who_was_seen(self) -> None:
        now = self._clock()
        if not self._noted_at <= now < self._noted_at + SEEN_EVERY:  # a clock that was set back is due as well
            await self.write_down_seen()
            self._noted_at = now

    async def _take_minute(self) -> None:
        now = self._clock()
        minute = int(now // MINUTE)
        if minute == self._minute:
            return
        taken = await self._store.hit(f"upkeep:{minute}", MINUTE, now)
        if taken.count == 1:
            for chore in self._chores:
                await _do(chore, now)
            await self._purge(until=(minute + 1) * MINUTE)
        self._minute = minute

    async def _purge(self, until: float) -> None:
        """Drop what is due, in steps; what is left when the minute is over is for whoever takes the next."""
        dropped: Counter[str] = Counter()
        while step := await self._store.purge(self._clock(), PURGED_AT_ONCE):
            dropped += step
            await asyncio.sleep(BREATHER)
            if self._clock() >= until:
                break
        if dropped:
            logger.info("purged %s", ", ".join(f"{count} {kind}" for kind, count in dropped.items()))


async def _do(chore: Chore, now: float) -> None:
    """One that fails stops neither the others nor the purge."""
    try:
        await chore(now)
    except TemporarilyUnavailable:
        raise
    except Exception:
        logger.exception("a chore failed")


async def _unless_away(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except TemporarilyUnavailable as error:  # the feed says so too, and louder
        logger.debug("upkeep has to wait: %r", error.__cause__)
    except Exception:
        logger.exception("upkeep failed")
