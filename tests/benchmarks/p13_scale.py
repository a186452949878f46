"""P13: what a service with a million paired devices takes, divided by what one with a thousand does, on each store.

Both are filled through the store's contract; each server is there for one of them alone. Starting, and the memory
that starting and serving some hundred devices take up, are those of fresh workers, in turns; everything else is
done by two services in this process, in turns too. Devices are drawn at random among all. A page has 100 entries,
and every tenth name begins alike.
"""

import asyncio
import gc
import itertools
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from random import Random
from typing import NamedTuple

import msgspec
import psutil  # type: ignore[import-untyped]  # stubs are another package

from pairlock import Pairlock
from pairlock.stores import open_store
from pairlock.stores.contract import Add, Log, Store
from pairlock.testing import a_device, an_event
from tests.benchmarks.devices import NAMES, device, filling, token
from tests.benchmarks.measure import Run, Times, awaits, interleave, one_by_one
from tests.benchmarks.paired import a_scope, pairing, plain_app, requests, status_of
from tests.benchmarks.places import STORES, place
from tests.benchmarks.report import Row, Rows, megabytes, microseconds, script

FEW, MANY = 1000, 1_000_000
GOAL = 1.5
STARTS = 3
SERVED = DRAWN = 300  # devices
READS, WRITES = 15, 30  # rounds
DUE = 100  # devices, and as many events, in each step of a purge
AHEAD = 3600.0  # seconds; what is due only then is left alone by the services themselves
WORKER = "--worker"

Runs = Mapping[str, Run]


class Place(NamedTuple):
    """Where so many devices are paired."""

    url: str
    devices: int

    def numbers(self, digit: int) -> list[int]:
        """Some devices whose numbers end with this digit, none so old that no full page is left below it."""
        return Random(digit).choices(range(self.devices // 5 + digit, self.devices, 10), k=DRAWN)


async def measure(devices: int, stores: str) -> Rows:
    with ExitStack() as stack:
        pairs = {
            store: [Place(stack.enter_context(place(store)), count) for count in (FEW, devices)]
            for store in stores.split(",")
        }
        await asyncio.gather(*(filling(*each) for pair in pairs.values() for each in pair))
        return [row for store, pair in pairs.items() for row in await compare(store, *pair)]


async def compare(store: str, few: Place, many: Place) -> Rows:
    """The rows of one store."""
    seconds, grown = await start_workers({"few": few, "many": many})
    found = [_row("start-up", store, seconds), _row("memory of a worker", store, grown, megabytes)]
    async with pairing(few.url) as small, pairing(many.url) as large:
        others = reads(large, many)
        for what, run in reads(small, few).items():
            times = await interleave({"few": run, "many": others[what]}, rounds=READS)
            found.append(_row(what, store, times))
        others = await writes(large, many)
        for what, run in (await writes(small, few)).items():
            times = await one_by_one({"few": run, "many": others[what]}, rounds=WRITES)
            found.append(_row(what, store, times))
    return found


def _row(what: str, store: str, times: Times, shown: Callable[[float], str] = microseconds) -> Row:
    compared = f"{FEW:,} devices {shown(times.seconds('few'))}"
    return Row("P13", f"{what}, {store}", shown(times.seconds("many")), compared, times.ratio("many", "few"), GOAL)


def reads(pairlock: Pairlock, place: Place) -> Runs:
    """What is asked for again and again."""
    unseen = itertools.cycle([b"Bearer " + token(pairlock, number).encode() for number in place.numbers(1)])
    ids = itertools.cycle([device(number).id for number in place.numbers(2)])
    names = itertools.cycle([device(number).name for number in place.numbers(3)])
    return {
        "guarded request": requests(pairlock.guard(plain_app), a_scope(token(pairlock, place.devices // 2))),
        "token not seen before": awaits(lambda: verify_unseen(pairlock, next(unseen))),
        "first page of devices": awaits(pairlock.devices.list),
        "page of devices": awaits(lambda: pairlock.devices.list(before=next(ids))),
        "search, common name": awaits(pairlock.devices.search, NAMES[0]),
        "search, rare name": awaits(lambda: pairlock.devices.search(next(names))),
        "page of the audit": awaits(pairlock.audit.list),
    }


async def verify_unseen(pairlock: Pairlock, header: bytes) -> None:
    """As a process does that has not seen the token, or has forgotten it."""
    pairlock._verifier.grants.clear()
    await pairlock._verifier.admit(header)


async def writes(pairlock: Pairlock, place: Place) -> Runs:
    """What can be done but once."""
    ids = iter([device(number).id for number in dict.fromkeys(place.numbers(4))])
    store, due_at = pairlock._runtime._store, time.time() + AHEAD
    for _ in range(WRITES):
        due = [a_device(revoked_at=1.0, purge_at=due_at) for _ in range(DUE)]
        await store.commit(*map(Add, due), *(Log(an_event(purge_at=due_at)) for _ in due))
    return {
        "revocation": awaits(lambda: pairlock.devices.revoke(next(ids))),
        "step of a purge": awaits(lambda: purge(store, due_at)),
    }


async def purge(store: Store, due_at: float) -> None:
    """One step, which must find enough to drop."""
    dropped = await store.purge(due_at, 2 * DUE)
    if dropped.total() != 2 * DUE:
        raise RuntimeError(f"it dropped {dropped}")


async def start_workers(places: Mapping[str, Place]) -> tuple[Times, Times]:
    """Seconds that fresh workers take to start, and the bytes that they have grown by once they have served."""
    seconds: dict[str, list[float]] = {which: [] for which in places}
    grown: dict[str, list[float]] = {which: [] for which in places}
    for _ in range(STARTS):
        for which, each in places.items():
            told = await _worker(each)
            seconds[which].append(told[0])
            grown[which].append(told[1])
    return Times(seconds), Times(grown)


async def _worker(place: Place) -> tuple[float, int]:
    command = [sys.executable, "-m", "tests.benchmarks.p13_scale", WORKER, place.url, str(place.devices)]
    worker = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    output, _ = await worker.communicate()
    return msgspec.json.decode(output, type=tuple[float, int])


async def work(place: Place) -> tuple[float, int]:
    """What a worker does: start, serve, tell."""
    open_store(place.url)  # imports what it takes
    gc.collect()
    memory, begun = psutil.Process().memory_info().rss, time.perf_counter()
    async with pairing(place.url) as pairlock:
        seconds = time.perf_counter() - begun
        guard = pairlock.guard(plain_app)
        for number in Random(0).sample(range(place.devices), SERVED):
            if await status_of(guard, a_scope(token(pairlock, number))) != 200:
                raise RuntimeError("a device is refused")
        gc.collect()
        return seconds, psutil.Process().memory_info().rss - memory


if __name__ == "__main__":
    if sys.argv[1:2] == [WORKER]:
        told = asyncio.run(work(Place(sys.argv[2], int(sys.argv[3]))))
        sys.stdout.write(msgspec.json.encode(told).decode())
    else:
        script(measure, __doc__, devices=MANY, stores=",".join(STORES))
