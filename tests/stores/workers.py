"""What the processes of these tests do: `python -m tests.stores.workers WHAT URL`.

Each says "ready", waits for a line, works, and says its result as JSON.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pairlock._core.records import PairingRequest
from pairlock._core.states import State
from pairlock.stores import open_store
from pairlock.stores.contract import Add, Conflict, Log, Store, Swap
from pairlock.testing import a_device, a_request, an_event

ROOT = Path(__file__).parents[2]
ATTEMPTS_EACH = 5  # at each request, by each process
CALLERS = 8
HITS_EACH = 50


def start(what: str, url: str) -> subprocess.Popen[str]:
    """A process that does this to the store of that URL, once told to go."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stores.workers", what, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_together(count: int, what: str, url: str) -> list[Any]:
    """What so many processes say that did this at the same time."""
    processes = [start(what, url) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


async def open_only(store: Store) -> list[str]:
    """Open, and say what is there."""
    await store.open()
    await store.commit(Log(an_event()))
    await store.aclose()
    return ["opened"]


async def redeem(store: Store) -> list[str]:
    """Try to redeem every request several times; the ids of those that worked."""
    await store.open()
    requests = await store.list_requests(live_at=0, limit=10_000)
    redeemed: list[str] = []

    async def caller(mine: list[PairingRequest]) -> None:
        for request in mine:
            try:
                await store.commit(
                    Swap(request.evolve(state=State.REDEEMED)),
                    Add(a_device(id=f"{request.id}.{id(redeemed)}.{len(redeemed)}", request_id=request.id)),
                )
            except Conflict:
                continue
            redeemed.append(request.id)

    attempts = [request for request in requests for _ in range(ATTEMPTS_EACH)]
    await asyncio.gather(*(caller(attempts[number::CALLERS]) for number in range(CALLERS)))
    await store.aclose()
    return redeemed


async def count(store: Store) -> list[str]:
    """Hit one counter many times, and take a third of it back."""
    await store.open()
    for _ in range(HITS_EACH):
        await asyncio.gather(*(store.hit("key", 60, 1000, amount) for amount in (1, 2, -1)))
    await store.aclose()
    return ["counted"]


async def write_until_killed(store: Store) -> list[str]:
    """Pairs that belong together, for ever; says so after each."""
    await store.open()
    number = 0
    while True:
        number += 1
        request = a_request(id=f"{number:08}", name="x" * 3000)
        await store.commit(Add(request), Add(a_device(id=request.id)), Log(an_event(request_id=request.id)))
        print(number, flush=True)


TASKS: dict[str, Callable[[Store], Awaitable[list[str]]]] = {
    "open": open_only,
    "redeem": redeem,
    "count": count,
    "write": write_until_killed,
}


async def main(what: str, url: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(await TASKS[what](open_store(url))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
