"""P6: one permission decision: for an address seen before, for an unseen one, and as the patterns grow to 10,000.

Times are those of the fastest turn, less those of the loop around the call; the growth is a ratio as elsewhere.
"""

import itertools
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Literal

from pairlock._core.permissions import MAX_PATTERNS, Patterns
from tests.benchmarks.measure import Run, calls, interleave
from tests.benchmarks.paired import ALLOWED, pair, pairing
from tests.benchmarks.report import Row, Rows, microseconds, script

MANY = 10_000
MOST = MAX_PATTERNS  # that one list may have


def patterns(count: int) -> list[str]:
    """Patterns as services have them: most literal, some with a wildcard."""
    forms = itertools.cycle(("/floor{0}/room{1}/lamp", "/floor{0}/*/switch{1}", "/floor{0}/room{1}/**"))
    return [form.format(serial % 100, serial) for serial, form in zip(range(count), forms, strict=False)]


def addresses(count: int) -> list[str]:
    """Addresses that those patterns cover, or just not."""
    forms = itertools.cycle(("/floor{0}/room{1}/lamp", "/floor{0}/hall/switch{1}", "/floor{0}/room{1}/door"))
    return [form.format(serial % 100, serial) for serial, form in zip(range(count), forms, strict=False)]


async def measure() -> Rows:
    few, many = Patterns(patterns(10)), Patterns(patterns(MANY))
    async with pairing() as pairlock, pairing(permissions={"read": patterns(MOST), "write": []}) as laden:
        seen = await pairlock.verify(await pair(pairlock))
        full = await laden.verify(await pair(laden))
        seen.allows("read", ALLOWED)
        times = await interleave(
            {
                "loop": empty_loop,
                "seen": ask(seen.allows, ALLOWED),
                "few": calls(over(few.cover, addresses(10))),
                "many": calls(over(many.cover, addresses(MANY))),
                "iteration": calls(over(len, addresses(MANY))),
                "full": calls(over(lambda address: full.allows("read", address), addresses(MANY))),
            },
            rounds=61,
        )
    hit = times.fastest("seen") - times.fastest("loop")
    fresh, unseen = (times.fastest(name) - times.fastest("iteration") for name in ("many", "full"))
    return [
        _time("decision, address seen before", hit, "a loop that does nothing", 0.1),
        _time(f"unseen address, {MANY:,} patterns", fresh, "as above", 2),
        Row(
            "P6", f"growth from 10 to {MANY:,} patterns", microseconds(fresh),
            f"10 patterns {microseconds(times.seconds(('few', 'iteration')))}",
            times.ratio(("many", "iteration"), ("few", "iteration")), 1.5,
        ),
        _time(f"Grant.allows, unseen, {MOST} patterns", unseen, "as above", None),
    ]  # fmt: skip


def _time(what: str, seconds: float, floor: str, goal: float | None) -> Row:
    return Row("P6", what, microseconds(seconds), floor, seconds * 1e6, goal, unit="µs")


def empty_loop(count: int) -> None:
    for _ in repeat(None, count):
        pass


def ask(allows: Callable[[Literal["read"], str], bool], address: str) -> Run:  # as an app asks, not through a partial
    def run(count: int) -> None:
        for _ in repeat(None, count):
            allows("read", address)

    return run


def over(function: Callable[[str], object], given: list[str]) -> Callable[[], object]:
    following: Iterator[str] = itertools.cycle(given)
    return lambda: function(next(following))


if __name__ == "__main__":
    script(measure, __doc__)
