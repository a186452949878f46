"""P11b: how long the event loop of a worker stands still while 100,000 devices are revoked at once, on each store.

Once in the worker that revokes, once in another process that hears of it; each holds 500 WebSockets of devices
spread among all, and closes them. A stall is how much later than asked for a task was woken that sleeps for a
millisecond, again and again. Where others want the cores too, it may be all theirs: what the loop worked at most
from one waking to the next, in processor time, stands beside it. The time until the last WebSocket of the other
process is closed runs from the return of `revoke_all()`.
"""

import asyncio
import sys
from time import monotonic, thread_time

import msgspec

from pairlock import Pairlock
from tests.benchmarks.devices import filling, token
from tests.benchmarks.others import hear, is_other, other_process, say
from tests.benchmarks.paired import pairing
from tests.benchmarks.places import STORES, place
from tests.benchmarks.report import Row, Rows, microseconds, script
from tests.benchmarks.sockets import Socket, live_app

DEVICES, CONNECTED = 100_000, 500
TICK = 0.001
PATIENCE = 30.0  # seconds until all WebSockets are closed


class Heard(msgspec.Struct):
    """What the other process tells in the end."""

    stall: float
    work: float
    closed_at: float


class Ticker:
    """Notes the longest stall of its event loop while it runs, and its longest work; in seconds."""

    def __init__(self) -> None:
        self.stall = self.work = 0.0
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun, worked = loop.time(), thread_time()
            await asyncio.sleep(TICK)
            self.stall = max(self.stall, loop.time() - begun - TICK)
            self.work = max(self.work, thread_time() - worked)

    def stop(self) -> None:
        self._task.cancel()


async def measure(devices: int, stores: str) -> Rows:
    return [row for store in stores.split(",") for row in await revoke_all(store, devices)]


async def revoke_all(store: str, devices: int) -> Rows:
    """The rows of one store."""
    with place(store) as url:
        await filling(url, devices)
        async with (
            pairing(url) as pairlock,
            other_process("tests.benchmarks.p11b_revoke_all", url, str(devices)) as other,
        ):
            sockets = await connected(pairlock, devices)
            await other.hear()
            ticker, begun = Ticker(), monotonic()
            count = await pairlock.devices.revoke_all()
            returned_at = monotonic()
            await closed(sockets)
            ticker.stop()
            await other.say("stop")
            heard = msgspec.json.decode(await other.hear(), type=Heard)
    if count != devices:
        raise RuntimeError(f"{count} devices were revoked")
    taken = f", {devices:,} devices in {returned_at - begun:.1f} s"
    return [
        _stall(f"longest stall, who revokes all, {store}", ticker, taken),
        _stall(f"longest stall, other process, {store}", heard, taken),
        _last(store, max(heard.closed_at - returned_at, 0)),
    ]


def _stall(what: str, noted: Ticker | Heard, taken: str) -> Row:
    shown = f"{microseconds(noted.work)} of work{taken}"
    return Row("P11b", what, microseconds(noted.stall), shown, noted.stall * 1e3, 50, unit="ms")


def _last(store: str, seconds: float) -> Row:
    shown = f"{CONNECTED} WebSockets"
    return Row("P11b", f"it closes the last one, {store}", microseconds(seconds), shown, seconds, 1, unit="s")


async def connected(pairlock: Pairlock, devices: int) -> list[Socket]:
    """WebSockets of devices that are spread evenly among all."""
    guard = pairlock.guard(live_app)
    sockets = [Socket(guard, token(pairlock, number)) for number in range(0, devices, devices // CONNECTED)]
    for socket in sockets:
        await socket.open()
    return sockets


async def closed(sockets: list[Socket]) -> None:
    """Wait until all of them are."""
    async with asyncio.timeout(PATIENCE):
        for socket in sockets:
            await socket.closed.wait()


async def listen_as_other_process(url: str, devices: int) -> None:
    """Hold WebSockets until they have been closed, and tell how the event loop fared."""
    async with pairing(url) as pairlock:
        sockets = await connected(pairlock, devices)
        ticker = Ticker()
        say("ready")
        await hear()
        await closed(sockets)
        ticker.stop()
        heard = Heard(ticker.stall, ticker.work, max(socket.closed_at for socket in sockets))
        say(msgspec.json.encode(heard).decode())


if __name__ == "__main__":
    if is_other():
        asyncio.run(listen_as_other_process(sys.argv[2], int(sys.argv[3])))
    else:
        script(measure, __doc__, devices=DEVICES, stores=",".join(STORES))
