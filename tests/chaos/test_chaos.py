"""Four workers under load, on each store: whatever breaks, what they have acknowledged stays so.

PAIRLOCK_CHAOS_SECONDS has troubles follow each other at random for so long; PAIRLOCK_CHAOS_SEED repeats them.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.chaos import troubles
from tests.chaos.figures import PROPERTY
from tests.chaos.places import PLACES
from tests.chaos.scene import BOUND, PROMISED, Scene, scene

pytestmark = [pytest.mark.anyio, pytest.mark.no_cover]  # what is to be covered runs in other processes

SECONDS = float(os.environ.get("PAIRLOCK_CHAOS_SECONDS", 0))
SEED = int(os.environ.get("PAIRLOCK_CHAOS_SEED", random.randrange(10**6)))

LEAST = 20  # of each: a scene in which nobody got far proves nothing


def befalling(played: Scene) -> Iterable[troubles.Trouble]:
    """What goes wrong, one after the other."""
    return at_random(played) if SECONDS else troubles.of(played.place, played.workers, random.Random(SEED))


def at_random(played: Scene) -> Iterator[troubles.Trouble]:
    chance, since = random.Random(SEED), time.monotonic()
    while time.monotonic() < since + SECONDS:
        yield troubles.at_random(played.place, played.workers, chance)


@pytest.mark.parametrize("store", PLACES)
async def test_whatever_breaks_what_was_acknowledged_stays_so(
    store: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with scene(store, tmp_path, SEED) as played:
        await played.begin()
        calm = await played.be_calm()
        for what, trouble in befalling(played):
            await played.suffer(what, trouble(), bound=BOUND)
        flaws = await played.flaws()
    record_property(PROPERTY, [[store, *row.cells()] for row in played.rows])
    assert calm.slowest_to_revoke <= PROMISED
    assert not flaws, "\n".join([f"seed {SEED}", *flaws])
    assert min(played.said.counts[each] for each in ("paired", "refreshed", "guarded", "revoked")) > LEAST
