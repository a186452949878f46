"""P7: the dearest decision that a stranger can bring about within the limits, found by a search.

A search by hill-climbing, the same at every run, starts from families of patterns that are known to be hard
(many `**`, many `*`, one literal over and over) against addresses of as many segments as are let through.
First for one pattern, then for all that fit into one token. The decision is for an address that
was not seen before, its patterns are compiled already. Judged by the fastest of some runs.
"""

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from time import perf_counter
from typing import NamedTuple

from pairlock._core.addresses import MAX_SEGMENTS
from pairlock._core.permissions import (
    MAX_PATTERN_BYTES,
    MAX_PERMISSIONS_BYTES,
    Patterns,
    Permissions,
)
from tests.benchmarks.measure import no_collection
from tests.benchmarks.report import Row, Rows, script

FAMILIES = (
    ["**", "a"],
    ["**", "*"],
    ["**", "a", "*"],
    ["*", "**"],
    ["a"],
    ["*"],
    ["**", "a", "a", "a"],
    ["**", "a", "b"],
)
ADDRESSES = ("a", "ab", "aab", "abb", "aaab")
SEGMENTS = ("a", "b", "*", "**")
STEPS = 300
REPEATS = 3

Pattern = tuple[str, ...]


class Case(NamedTuple):
    """Patterns and an address, as segments."""

    patterns: tuple[Pattern, ...]
    address: Pattern

    def text(self) -> tuple[list[str], str]:
        return [written(pattern) for pattern in self.patterns], written(self.address)


async def measure() -> Rows:
    alone = search([one for family in FAMILIES for one in (fill(family), fill(family, start=["**"]))], bound=1)
    laden = search([fill(family, start=["**"]) for family in FAMILIES], bound=MAX_PERMISSIONS_BYTES)
    return [
        _row("worst pattern × worst address", alone),
        _row("worst permissions × worst address", laden),
    ]


def _row(what: str, case: Case) -> Row:
    Permissions.parse({"read": case.text()[0]})  # what was found is what is let through
    took = 1e3 * seconds(case, repeats=20)
    shown = written(case.patterns[0])[:16]
    return Row("P7", what, f"{took:.3g} ms", f"{len(case.patterns)} × {shown}…", took, 1, unit="ms")


def search(starts: list[Pattern], *, bound: int) -> Case:
    """The dearest case that was found with patterns of at most `bound` bytes together (but at least one)."""
    random = Random(7)
    cases = [
        Case(tuple(crowd(pattern, bound)), tuple(islice(cycle(address), MAX_SEGMENTS)))
        for pattern in starts
        for address in ADDRESSES
    ]
    best = max(cases, key=seconds)
    most = seconds(best)
    for _ in range(STEPS):
        tried = mutate(best, random)
        took = seconds(tried)
        if took > most and seconds(tried) > most:  # twice, so that a hiccup of the machine is no find
            best, most = tried, took
    return best


def seconds(case: Case, repeats: int = REPEATS) -> float:
    """The fastest of some runs."""
    texts, address = case.text()
    patterns, took = Patterns(texts), []
    with no_collection():
        for _ in range(repeats):
            start = perf_counter()
            patterns.cover(address)
            took.append(perf_counter() - start)
    return min(took)


def fill(family: list[str], start: list[str] | None = None) -> Pattern:
    """A family, repeated to the longest pattern that is let through."""
    pattern = list(start or [])
    for segment in cycle(family):
        if not fits([*pattern, segment]):
            return tuple(pattern)
        pattern.append(segment)
    raise AssertionError("cycles do not end")


def crowd(pattern: Pattern, bound: int) -> Iterator[Pattern]:
    """As many patterns like this one as fit, each with one more `*` before it, so that no two share a node."""
    size = 0
    for stars in range(bound):
        longer = ("*",) * stars + pattern
        while not fits(longer):
            longer = longer[:-1]
        size += len(written(longer))
        if stars and (size > bound or len(longer) == stars):
            return
        yield longer


def mutate(case: Case, random: Random) -> Case:
    """The case with a few segments changed, of a pattern or of the address."""
    if random.random() < 0.3:
        return case._replace(address=_changed(case.address, ("a", "b"), random))
    at = random.randrange(len(case.patterns))
    changed = _changed(case.patterns[at], SEGMENTS, random)
    if len(written(changed)) > len(written(case.patterns[at])):
        return case
    return case._replace(patterns=(*case.patterns[:at], changed, *case.patterns[at + 1 :]))


def _changed(segments: Pattern, choices: tuple[str, ...], random: Random) -> Pattern:
    changed = list(segments)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] = random.choice(choices)
    return tuple(changed)


def fits(pattern: Pattern | list[str]) -> bool:
    """Whether a pattern of these segments is let through."""
    return len(written(pattern)) <= MAX_PATTERN_BYTES


def written(segments: Pattern | list[str]) -> str:
    return "".join(f"/{segment}" for segment in segments)


if __name__ == "__main__":
    script(measure, __doc__)
