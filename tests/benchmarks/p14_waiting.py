"""P14: what it takes to keep 10,000 devices waiting for their approval in one worker, on each store.

Each has a long poll open, as a server hands it to the pairing sub-app, and asks again when it is answered that
nothing has happened. Memory is what the process has grown by once all of them wait, for each: the calls, not the
connections, which are the server's. Then some are approved, first by this process, then by another one on the same
store; the time runs from the return of `approve()` until the device has its answer, by the clock that both share.
"""

import asyncio
import gc
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice
from random import Random
from statistics import median
from time import monotonic

import msgspec
import psutil  # type: ignore[import-untyped]  # stubs are another package
from starlette.types import Message

from pairlock import Pairlock
from pairlock._core.codes import digest_secret
from pairlock.stores.contract import Add
from pairlock.testing import a_request
from tests.benchmarks.others import hear, is_other, other_process, say
from tests.benchmarks.paired import a_scope, pairing, receive
from tests.benchmarks.places import STORES, place
from tests.benchmarks.report import Row, Rows, kilobytes, microseconds, script

MEMORY = "memory"
WAITING = 10_000
ASK_AT_ONCE = 50
LAST = 300.0  # seconds that a request lives
WAIT = 25  # seconds
RETRY_AFTER = 1.0
LOOK_EVERY = 0.002
PATIENCE = 30.0  # seconds until those who begin together wait
APPROVALS = 100  # by each process
BETWEEN = 0.1  # seconds between two of another process, at most
SECRET = "a-secret-that-all-of-these-devices-share"

Approve = Callable[[str], Awaitable[float]]  # a request; when it was done


class Waiting:
    """A device that asks until it is approved; `approved` is when it was told."""

    def __init__(self, pairlock: Pairlock, request_id: str) -> None:
        self.request_id = request_id
        self.approved: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pairlock = pairlock
        self._state: str | None = None

    async def ask(self) -> None:
        scope = a_scope(SECRET, f"/requests/{self.request_id}")
        scope["headers"].append((b"prefer", b"wait=%d" % WAIT))
        while not self.approved.done():
            await self._pairlock.app({**scope, "state": {}}, receive, self._send)
            if self._state is None:
                await asyncio.sleep(RETRY_AFTER)  # as it is told to

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self._state = msgspec.json.decode(message["body"]).get("state")
            if self._state == "approved":
                self.approved.set_result(monotonic())

    @property
    def is_waiting(self) -> bool:
        """Whether all that can be done for it has been."""
        waiters = self._pairlock._runtime._waiters.get(self.request_id, ())
        return any(waiter._event._waiters for waiter in waiters)


async def measure(devices: int, stores: str) -> Rows:
    if "," not in stores:
        return await wait(stores, devices)
    return [row for store in stores.split(",") for row in await apart(store, devices)]


async def apart(store: str, devices: int) -> Rows:
    """The rows of one store, measured by a process of its own: memory that was given back would be taken up again."""
    command = [sys.executable, "-m", "tests.benchmarks.p14_waiting", "--json", f"--devices={devices}"]
    process = await asyncio.create_subprocess_exec(*command, f"--stores={store}", stdout=PIPE)
    output, _ = await process.communicate()
    return msgspec.json.decode(output, type=list[Row])


async def wait(store: str, devices: int) -> Rows:
    """The rows of one store."""
    async with AsyncExitStack() as stack:
        url = "memory://" if store == MEMORY else stack.enter_context(place(store))
        pairlock = await stack.enter_async_context(pairing(url))
        waiting = await ask_to_pair(pairlock, devices)
        grown = await stack.enter_async_context(asking(waiting))
        ways: dict[str, Approve] = {"this process": lambda request_id: approve(pairlock, request_id)}
        if store != MEMORY:
            ways["another process"] = await stack.enter_async_context(elsewhere(url))
        shown, lucky = f"{devices:,} devices wait", iter(Random(0).sample(waiting, len(waiting)))
        rows = [Row("P14", f"memory for each, {store}", kilobytes(grown), shown, grown / 1e3, 20, unit="KB")]
        for way, approve_one in ways.items():
            delays = await approve_each(islice(lucky, APPROVALS), approve_one)
            rows += [
                _answered(f"approved by {way}, median, {store}", median(delays), None),
                _answered(f"approved by {way}, p99, {store}", sorted(delays)[APPROVALS * 99 // 100 - 1], 100),
            ]
    return rows


def _answered(what: str, delay: float, goal: float | None) -> Row:
    return Row("P14", what, microseconds(delay), f"{APPROVALS} approvals", delay * 1e3, goal, unit="ms")


async def ask_to_pair(pairlock: Pairlock, count: int) -> list[Waiting]:
    """So many devices that have asked."""
    now, digest = time.time(), digest_secret(SECRET)
    times = {"created_at": now, "expires_at": now + LAST, "purge_at": now + LAST}
    asked = [a_request(secret_digest=digest, **times) for _ in range(count)]
    for first in range(0, count, 1000):
        await pairlock._runtime.commit(*map(Add, asked[first : first + 1000]))
    return [Waiting(pairlock, request.id) for request in asked]


@asynccontextmanager
async def asking(waiting: list[Waiting]) -> AsyncIterator[float]:
    """Lets all of them wait, and tells the bytes that each of them takes up."""
    tasks = await _begin(waiting[:ASK_AT_ONCE])  # these make room for what is needed once
    gc.collect()
    before = psutil.Process().memory_info().rss
    for first in range(ASK_AT_ONCE, len(waiting), ASK_AT_ONCE):
        tasks += await _begin(waiting[first : first + ASK_AT_ONCE])
    gc.collect()
    try:
        yield (psutil.Process().memory_info().rss - before) / (len(waiting) - ASK_AT_ONCE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _begin(waiting: list[Waiting]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(each.ask()) for each in waiting]
    async with asyncio.timeout(PATIENCE):
        while not all(each.is_waiting for each in waiting):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK_EVERY)
    return tasks


async def approve_each(waiting: Iterable[Waiting], approve: Approve) -> list[float]:
    """How long after its approval each device had its answer."""
    delays = []
    for each in waiting:
        done_at = await approve(each.request_id)
        delays.append(max(await each.approved - done_at, 0))
    return delays


async def approve(pairlock: Pairlock, request_id: str) -> float:
    """Approve a request; when that was done."""
    await pairlock.deciding.approve(request_id)
    return monotonic()


@asynccontextmanager
async def elsewhere(url: str) -> AsyncIterator[Approve]:
    """Approves by another process."""
    chance = Random(0)
    async with other_process("tests.benchmarks.p14_waiting", url) as other:

        async def told(request_id: str) -> float:
            await asyncio.sleep(chance.uniform(0, BETWEEN))  # so that approvals fall anywhere between two polls
            await other.say(request_id)
            return float(await other.hear())

        await other.hear()
        yield told


async def approve_as_other_process(url: str) -> None:
    """Approve each request that is told, and say when that was done."""
    async with pairing(url) as pairlock:
        say("ready")
        while request_id := await hear():
            say(await approve(pairlock, request_id))


if __name__ == "__main__":
    if is_other():
        asyncio.run(approve_as_other_process(sys.argv[2]))
    else:
        script(measure, __doc__, devices=WAITING, stores=",".join((MEMORY, *STORES)))
