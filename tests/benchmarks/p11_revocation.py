"""P11: what the revocation check costs on the hot path, and how soon another process refuses.

The check is the guard's own condition: has the device's standing changed since these verdicts were reached,
and is the feed of changes alive? It is timed by itself, less the loop around it. The other process is a real
one on the same SQLite file: it asks its own guard every millisecond, and tells when that refused first. The
time runs from the return of `revoke()`, by the clock that both share.
"""

import asyncio
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic

from pairlock import Pairlock
from pairlock._core.grants import Grant
from tests.benchmarks.measure import Run, interleave
from tests.benchmarks.paired import a_scope, pair, pairing, plain_app, status_of
from tests.benchmarks.report import Row, Rows, microseconds, script

REVOCATIONS = 30
ASK_EVERY = 0.001
OTHER = "--other-process"


async def measure() -> Rows:
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'benchmark.db'}"
        async with pairing(store) as pairlock:
            check = await _check_seconds(pairlock)
            async with _other_process(store) as other:
                delays = sorted([await _delay(pairlock, other, serial) for serial in range(REVOCATIONS)])
    shown = f"{REVOCATIONS} revocations"
    return [
        Row("P11", "revocation check, hot path", microseconds(check), "added to a loop", check * 1e6, 0.1, unit="µs"),
        _seen("median", median(delays), shown, None),
        _seen("p99", delays[-1], shown, 1),  # of 30, the slowest
    ]


def _seen(which: str, delay: float, shown: str, goal: float | None) -> Row:
    return Row("P11", f"other process refuses, {which}", microseconds(delay), shown, delay, goal, unit="s")


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


async def _delay(pairlock: Pairlock, other: Process, serial: int) -> float:
    """How long after `revoke()` the other process still answered."""
    token = await pair(pairlock)
    grant = await pairlock.verify(token)
    await _say(other, token)
    if await _hear(other) != "admitted":
        raise RuntimeError("the other process refuses a good token")
    await asyncio.sleep(Random(serial).uniform(0, 0.2))  # so that revocations fall anywhere between two polls
    await pairlock.devices.revoke(grant.device_id)
    revoked_at = monotonic()
    return max(float(await _hear(other)) - revoked_at, 0)


@asynccontextmanager
async def _other_process(store: str) -> AsyncIterator[Process]:
    command = [sys.executable, "-m", "tests.benchmarks.p11_revocation", OTHER, store]
    other = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=os.environ)
    try:
        yield other
    finally:
        other.terminate()
        await other.wait()


async def _say(other: Process, line: str) -> None:
    assert other.stdin is not None
    other.stdin.write(line.encode() + b"\n")
    await other.stdin.drain()


async def _hear(other: Process) -> str:
    assert other.stdout is not None
    return (await other.stdout.readline()).decode().strip()


async def serve_as_other_process(store: str) -> None:
    """For each token on the standard input: say that it is admitted, ask until it is refused, say when that was."""
    loop = asyncio.get_running_loop()
    async with pairing(store) as pairlock:
        guard = pairlock.guard(plain_app)
        while token := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            scope = a_scope(token)
            sys.stdout.write("admitted\n" if await status_of(guard, scope) == 200 else "refused\n")
            sys.stdout.flush()
            while await status_of(guard, scope) == 200:  # noqa: ASYNC110  # asks as a device would
                await asyncio.sleep(ASK_EVERY)
            sys.stdout.write(f"{monotonic()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == [OTHER]:
        asyncio.run(serve_as_other_process(sys.argv[2]))
    else:
        script(measure, __doc__)
