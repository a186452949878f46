"""P9: counting a call against a limit, divided by what `limits` needs with the storage it brings for one process.

Both sides ask the fixed windows of `limits`; ours count in the store in memory. The storage of `limits` starts a
task with its hits that looks at every key, and runs once the loop turns. A server's loop turns between calls: so
the first figure lets it turn after each hit, and takes off what an empty turn costs. The second never lets it turn,
and so leaves that task out; the third is the store's part of the second. A stall is how long one turn of the loop
took at the most: as hits make 100,000 keys, hit them, and as all have ended and are purged. The least of some
rounds counts, for what is ours comes again in each of them.
"""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from time import perf_counter, time

from limits import parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from pairlock.services.limiter import Limiter
from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore
from pairlock.testing import FakeClock
from tests.benchmarks.measure import Run, interleave, no_collection
from tests.benchmarks.report import Row, Rows, microseconds, script

RATE = "1000000000/hour"
FEW, MANY = 10, 100_000
STALL_ROUNDS = 9
STALL_HITS, THEIR_HITS = 1000, 30

Hit = Callable[[str], Awaitable[object]]


async def measure() -> Rows:
    async with opened(MemoryStore()) as few, opened(MemoryStore()) as many:
        ours, laden, theirs = hit_of(few), hit_of(many), their_hit()
        await fill(laden)
        times = await interleave(
            {
                "ours": hits(ours, FEW),
                "laden": hits(laden, MANY),
                "theirs": hits(theirs, FEW),
                "store": hits(lambda source: few.hit(source, 3600, 1e9), FEW),
                "turn": turns(nothing, FEW),
                "ours, turning": turns(ours, FEW),
                "theirs, turning": turns(theirs, FEW),
            }
        )
    our_turn, their_turn = ("ours, turning", "turn"), ("theirs, turning", "turn")
    return [
        Row(
            "P9", f"hit, {FEW} keys, the loop turns", microseconds(times.seconds(our_turn)),
            f"limits {microseconds(times.seconds(their_turn))}", times.ratio(our_turn, their_turn), 0.2,
        ),
        Row(
            "P9", f"hit, {FEW} keys, it never turns", microseconds(times.seconds("ours")),
            f"limits {microseconds(times.seconds('theirs'))}", times.ratio("ours", "theirs"), 0.2,
        ),
        Row(
            "P9", "of which the store in memory", microseconds(times.seconds("store")),
            f"limits {microseconds(times.seconds('theirs'))}", times.ratio("store", "theirs"),
        ),
        Row(
            "P9", f"hit, {MANY:,} live keys", microseconds(times.seconds("laden")),
            f"{FEW} keys {microseconds(times.seconds('ours'))}", times.ratio("laden", "ours"), 1.5,
        ),
        *await stalls(),
        await on_sqlite(),
    ]  # fmt: skip


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    yield store
    await store.aclose()


def hit_of(store: Store, clock: Callable[[], float] = time) -> Hit:
    async def ready() -> Store:
        return store

    limiter = Limiter(ready, clock)
    return lambda source: limiter.hit("starts", RATE, source)


def their_hit() -> Hit:
    windows = FixedWindowRateLimiter(MemoryStorage())
    (item,) = parse_many(RATE)
    return lambda source: windows.hit(item, "starts", source)


async def nothing(_: str) -> None:
    pass


def sources(count: int) -> list[str]:
    """So many addresses, in an order that leaps."""
    return [f"2001:db8:{serial * 7919 % count:x}::/64" for serial in range(count)]


async def fill(hit: Hit) -> None:
    for source in sources(MANY):
        await hit(source)


def hits(hit: Hit, count: int) -> Run:
    following = itertools.cycle(sources(count))

    async def run(count: int) -> None:
        for _ in repeat(None, count):
            await hit(next(following))

    return run


def turns(hit: Hit, count: int) -> Run:
    following = itertools.cycle(sources(count))

    async def run(count: int) -> None:
        for _ in repeat(None, count):
            await hit(next(following))
            await asyncio.sleep(0)

    return run


async def stalls() -> Rows:
    """The longest turn of the loop in the best round: a busy machine stalls any loop now and then."""
    filling, hitting, purging, theirs = [], [], [], []
    for _ in range(STALL_ROUNDS):
        clock = FakeClock()
        async with opened(MemoryStore()) as store:
            hit = hit_of(store, clock)
            filling.append(await longest_turn(hit, sources(MANY)))
            hitting.append(await longest_turn(hit, sources(MANY)[:STALL_HITS]))
            clock.advance(3601)
            purging.append(await longest_during(store.purge(clock())))
        hit = their_hit()
        await fill(hit)
        theirs.append(await longest_turn(hit, sources(MANY)[:THEIR_HITS]))
    compared = f"limits {microseconds(min(theirs))}"
    return [
        _stall(f"from 0 to {MANY:,} keys", filling, ""),
        _stall(f"hits, {MANY:,} live keys", hitting, compared),
        _stall(f"{MANY:,} ended keys purged", purging, "limits: at the next hit"),
    ]


def _stall(what: str, longest: list[float], compared: str) -> Row:
    stall = min(longest)
    return Row("P9", f"longest stall, {what}", microseconds(stall), compared, stall * 1e3, 1, unit="ms")


async def longest_turn(hit: Hit, sources: list[str]) -> float:
    """The longest time from one hit to the next, one hit a turn."""
    longest = 0.0
    with no_collection():
        for source in sources:
            begun = perf_counter()
            await hit(source)
            await asyncio.sleep(0)
            longest = max(longest, perf_counter() - begun)
    return longest


async def longest_during(work: Awaitable[object]) -> float:
    """The longest that another task had to wait for its turn meanwhile."""
    longest = 0.0
    with no_collection():
        task = asyncio.ensure_future(work)
        while not task.done():
            begun = perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, perf_counter() - begun)
    return longest


async def on_sqlite() -> Row:
    """A write that is on the disk when it is answered: the disk's time."""
    with tempfile.TemporaryDirectory() as folder:
        async with opened(SQLiteStore(Path(folder) / "benchmark.db")) as store:
            times = await interleave({"hit": hits(hit_of(store), FEW)}, rounds=11, turn=0.05)
    seconds = times.seconds("hit")
    return Row("P9", "hit, SQLite", microseconds(seconds), "", seconds * 1e3, unit="ms")


if __name__ == "__main__":
    script(measure, __doc__)
