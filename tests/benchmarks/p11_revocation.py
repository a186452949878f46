"""P11: what the revocation check costs on the hot path, and how soon another process refuses.

The check is the guard's own condition: has the device's standing changed since these verdicts were reached,
and is the feed of changes alive? It is timed by itself, less the loop around it. The other process is a real
one on the same store: it asks its own guard every millisecond, and tells when that refused first, and when it
closed a WebSocket of the device. The time runs from the return of `revoke()`, by the clock that both share.
"""

import asyncio
import sys
from itertools import repeat
from random import Random
from statistics import median
from time import monotonic

from pairlock import Pairlock
from pairlock._core.grants import Grant
from pairlock.asgi.guard import Guard
from tests.benchmarks.measure import Run, interleave
from tests.benchmarks.others import Other, hear, is_other, other_process, say
from tests.benchmarks.paired import a_scope, pair, pairing, status_of
from tests.benchmarks.places import STORES, place
from tests.benchmarks.report import Row, Rows, microseconds, script
from tests.benchmarks.sockets import Socket, live_app

REVOCATIONS = 30
ASK_EVERY = 0.001


async def measure(stores: str) -> Rows:
    async with pairing() as pairlock:
        check = await _check_seconds(pairlock)
    hot = Row("P11", "revocation check, hot path", microseconds(check), "added to a loop", check * 1e6, 0.1, unit="µs")
    return [hot, *[row for store in stores.split(",") for row in await elsewhere(store)]]


async def elsewhere(store: str) -> Rows:
    """How soon another process on this store knows."""
    with place(store) as url:
        async with pairing(url) as pairlock, other_process("tests.benchmarks.p11_revocation", url) as other:
            delays = [await _delays(pairlock, other, serial) for serial in range(REVOCATIONS)]
    refused, closed = map(sorted, zip(*delays, strict=True))
    return [
        _seen(f"other process refuses, median, {store}", median(refused), None),
        _seen(f"other process refuses, p99, {store}", refused[-1], 1),  # of 30, the slowest
        _seen(f"it closes a WebSocket, median, {store}", median(closed), None),
        _seen(f"it closes a WebSocket, p99, {store}", closed[-1], 1),
    ]


def _seen(what: str, delay: float, goal: float | None) -> Row:
    return Row("P11", what, microseconds(delay), f"{REVOCATIONS} revocations", delay, goal, unit="s")


async def _check_seconds(pairlock: Pairlock) -> float:
    grant = await pairlock.verify(await pair(pairlock))
    times = await interleave({"loop": empty_loop, "check": checks(pairlock, grant)})
    return times.fastest("check") - times.fastest("loop")


def checks(pairlock: Pairlock, grant: Grant) -> Run:
    mark, runtime = grant.standing.mark, pairlock._runtime

    def run(count: int) -> None:
        for _ in repeat(None, count):
            if mark is not grant.standing.mark or not runtime.fresh:
                raise AssertionError("nobody revoked it")

    return run


def empty_loop(count: int) -> None:
    for _ in repeat(None, count):
        pass


async def _delays(pairlock: Pairlock, other: Other, serial: int) -> tuple[float, float]:
    """How long after `revoke()` the other process still answered, and kept a WebSocket open."""
    token = await pair(pairlock)
    grant = await pairlock.verify(token)
    await other.say(token)
    if await other.hear() != "admitted":
        raise RuntimeError("the other process refuses a good token")
    await asyncio.sleep(Random(serial).uniform(0, 0.2))  # so that revocations fall anywhere between two polls
    await pairlock.devices.revoke(grant.device_id)
    revoked_at = monotonic()
    refused_at, closed_at = map(float, (await other.hear()).split())
    return max(refused_at - revoked_at, 0), max(closed_at - revoked_at, 0)


async def serve_as_other_process(url: str) -> None:
    """For each token that is told: say that it is admitted, ask until it is refused, say when that was."""
    async with pairing(url) as pairlock:
        guard = pairlock.guard(live_app)
        while token := await hear():
            await _until_refused(guard, token)


async def _until_refused(guard: Guard, token: str) -> None:
    scope, socket = a_scope(token), Socket(guard, token)
    await socket.open()
    say("admitted" if await status_of(guard, scope) == 200 else "refused")
    while await status_of(guard, scope) == 200:  # noqa: ASYNC110  # asks as a device would
        await asyncio.sleep(ASK_EVERY)
    refused_at = monotonic()
    await socket.closed.wait()
    say(f"{refused_at} {socket.closed_at}")


if __name__ == "__main__":
    if is_other():
        asyncio.run(serve_as_other_process(sys.argv[2]))
    else:
        script(measure, __doc__, stores=",".join(STORES))
