"""P10: how many of 300 pairing requests are redeemed twice when four processes try 6,000 times, on each store.

Each process tries every request five times, eight callers at once: a compare-and-set write of the request together
with a new device. Redeemed twice is a request that was acknowledged more than once, or has more than one device.
The time is that of all attempts together, with the start of the processes.
"""

import asyncio
import time
from collections import Counter

from pairlock._core.states import State
from pairlock.stores import open_store
from pairlock.stores.contract import Add
from pairlock.testing import a_request
from tests.benchmarks.places import STORES, place
from tests.benchmarks.report import Row, Rows, script
from tests.stores.workers import ATTEMPTS_EACH, run_together

PROCESSES, REQUESTS = 4, 300
ATTEMPTS = PROCESSES * REQUESTS * ATTEMPTS_EACH


async def measure(stores: str) -> Rows:
    return [await redemptions(store) for store in stores.split(",")]


async def redemptions(kind: str) -> Row:
    """The row of one store."""
    with place(kind) as url:
        store = open_store(url)
        await store.open()
        await store.commit(*(Add(a_request(state=State.APPROVED)) for _ in range(REQUESTS)))
        begun = time.perf_counter()
        told = await asyncio.to_thread(run_together, PROCESSES, "redeem", url)
        seconds = time.perf_counter() - begun
        made = Counter(device.request_id for device in await store.list_devices(limit=ATTEMPTS))
        await store.aclose()
    acknowledged = Counter(request_id for each in told for request_id in each)
    if len(made) != REQUESTS or acknowledged.keys() != made.keys():
        raise RuntimeError("some request was not redeemed at all")
    twice = sum(max(acknowledged[request_id], made[request_id]) > 1 for request_id in made)
    compared = f"{PROCESSES} processes, {seconds:.1f} s"
    return Row("P10", f"redeemed twice, {kind}", f"{ATTEMPTS:,} attempts", compared, twice, 0, unit="")


if __name__ == "__main__":
    script(measure, __doc__, stores=",".join(STORES))
