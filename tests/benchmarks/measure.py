"""How benchmarks measure: contenders take turns in one process, and only ratios within a round are trusted.

A shared machine runs the same code up to 1.6 times slower for spells. A turn is therefore short (10 ms), every
contender has its turn in every round, the order is reversed from round to round, and of the ratios the median counts.
The garbage collector is off during a turn, as timeit does it.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

Run = Callable[[int], Awaitable[None] | None]  # does its work this many times
Cost = str | tuple[str, str]  # a contender, or what it takes above another one

ROUNDS = 41
TURN = 0.01  # seconds
CALIBRATIONS = 4


class Times:
    """Seconds per call of each contender in each round."""

    def __init__(self, turns: Mapping[str, list[float]]) -> None:
        self._turns = turns

    def of(self, cost: Cost) -> list[float]:
        """Round by round."""
        if isinstance(cost, str):
            return self._turns[cost]
        name, floor = cost
        return [above - below for above, below in zip(self._turns[name], self._turns[floor], strict=True)]

    def seconds(self, cost: Cost) -> float:
        """The median: for showing, not for comparing."""
        return median(self.of(cost))

    def fastest(self, name: str) -> float:
        """The best turn: what the code takes when nothing disturbs it, for goals that are times and not ratios."""
        return min(self._turns[name])

    def ratio(self, over: Cost, under: Cost) -> float:
        """The median of the ratios of each round."""
        return median(one / other for one, other in zip(self.of(over), self.of(under), strict=True))


async def interleave(contenders: Mapping[str, Run], *, rounds: int = ROUNDS, turn: float = TURN) -> Times:
    """Time all contenders in turns of about `turn` seconds each."""
    gc.collect()
    gc.freeze()  # what is here before the first turn: collecting between turns then costs, and chills, little
    counts = {name: await _calibrate(run, turn) for name, run in contenders.items()}
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            turns[name].append(await _timed(contenders[name], counts[name]) / counts[name])
        order.reverse()
        await asyncio.sleep(0.001)  # what runs beside, such as the change feed, must not think the process stuck
    gc.unfreeze()
    return Times(turns)


async def one_by_one(contenders: Mapping[str, Run], *, rounds: int = ROUNDS) -> Times:
    """Time single calls, each contender's in every round: of work that cannot be done as often as one likes."""
    gc.collect()
    gc.freeze()
    turns: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(rounds):
        for name in order:
            turns[name].append(await _timed(contenders[name], 1))
        order.reverse()
        await asyncio.sleep(0.001)  # as above
    gc.unfreeze()
    return Times(turns)


async def _calibrate(run: Run, turn: float) -> int:
    """How many calls make up a turn; warms up by the way. The fastest of some, for a hiccup would shorten all turns."""
    count = 1
    while (taken := min([await _timed(run, count) for _ in range(CALIBRATIONS)])) < turn / 4:
        count *= 2
    return max(round(count * turn / taken), 1)


async def _timed(run: Run, count: int) -> float:
    with no_collection():
        start = perf_counter()
        waiting = run(count)
        if waiting is not None:
            await waiting
        return perf_counter() - start


@contextmanager
def no_collection() -> Iterator[None]:
    """Collect now, and not within."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def calls(function: Callable[..., object], *arguments: Any) -> Run:
    """A contender that calls a function; about 0.05 µs of each call are the loop's."""
    return partial(_call, partial(function, *arguments))


def _call(function: Callable[[], object], count: int) -> None:
    for _ in repeat(None, count):
        function()


def awaits(function: Callable[..., Awaitable[object]], *arguments: Any) -> Run:
    """A contender that awaits a coroutine function."""
    return partial(_await, partial(function, *arguments))


async def _await(function: Callable[[], Awaitable[object]], count: int) -> None:
    for _ in repeat(None, count):
        await function()
