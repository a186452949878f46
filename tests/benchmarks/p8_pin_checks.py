"""P8: how late the event loop runs while 5 PINs a second are checked, divided by how late it runs when idle.

Each check is a whole pairing on a SQLite file: a request is made, a wrong PIN counted and refused, the right
one redeemed. Our PIN is derived by HMAC and compared in constant time: no memory-hard hash runs, and the
goal of at most one in memory is met by none. Idle and busy spells alternate; the median of their ratios counts.
"""

import asyncio
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from statistics import median, quantiles

from pairlock import Pairlock, PairlockError
from pairlock.services.pairing import origin_of
from tests.benchmarks.paired import pairing
from tests.benchmarks.report import Row, Rows, microseconds, script

CHECKS_PER_SECOND = 5
SPELL = 2.0  # seconds
ROUNDS = 8
TICK = 0.002  # a whole number of milliseconds, as epoll counts them


async def measure() -> Rows:
    idle, busy = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with pairing(f"sqlite:///{Path(folder) / 'benchmark.db'}") as pairlock:
            for spell in range(ROUNDS):
                idle.append(await lateness())
                checking = asyncio.create_task(check_pins(pairlock, spell))
                busy.append(await lateness())
                await checking
    ratio = median(late / early for late, early in zip(busy, idle, strict=True))
    hashes = int("argon2" in sys.modules)
    return [
        Row(
            "P8", f"loop lateness p99, {CHECKS_PER_SECOND} PIN checks/s", microseconds(median(busy)),
            f"idle {microseconds(median(idle))}", ratio, 2,
        ),
        Row("P8", "Argon2 hashes in memory at once", str(hashes), "PINs are derived by HMAC", hashes, 1, unit=""),
    ]  # fmt: skip


async def lateness() -> float:
    """The 99th percentile of how much later than asked for the loop wakes us, over one spell."""
    loop = asyncio.get_running_loop()
    late, end = [], loop.time() + SPELL
    while (now := loop.time()) < end:
        await asyncio.sleep(TICK)
        late.append(loop.time() - now - TICK)
    return quantiles(late, n=100)[98]


async def check_pins(pairlock: Pairlock, spell: int) -> None:
    """Pair for one spell, evenly spread, each device from an address of its own."""
    count = int(SPELL * CHECKS_PER_SECOND) - 1
    for serial in range(count):
        await asyncio.sleep(1 / CHECKS_PER_SECOND)
        await check_pin(pairlock, f"10.0.{spell}.{serial}")


async def check_pin(pairlock: Pairlock, address: str) -> None:
    started = await pairlock.pairing.start("Living room phone", origin=origin_of(address))
    right = pairlock.deciding.pin(started.request) or ""
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    with suppress(PairlockError):
        await pairlock.pairing.submit_pin(started.request.id, started.secret, wrong)
    await pairlock.pairing.submit_pin(started.request.id, started.secret, right)


if __name__ == "__main__":
    script(measure, __doc__)
