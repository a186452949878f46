"""What goes wrong: each trouble is a coroutine that is done when it is over."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from urllib.parse import unquote

from tests.chaos.places import Place
from tests.chaos.workers import Worker
from tests.proxy import Proxy
from tests.servers import Server

LARGEST_COMMIT = 3000  # bytes
BETWEEN_CUTS = 0.1  # seconds
SPELLS = (0.2, 1, 3, 6, 12)  # seconds


async def killed(worker: Worker) -> None:
    """A worker ends in the middle of whatever it does, and another takes its place."""
    await asyncio.to_thread(worker.kill)
    worker.spawn()
    await worker.answering()


async def killed_often(workers: list[Worker], seconds: float, chance: random.Random) -> None:
    """One of these after the other, some of them before they have started."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        worker = chance.choice(workers)
        await asyncio.to_thread(worker.kill)
        worker.spawn()
        await asyncio.sleep(chance.uniform(0.1, 0.9))
    await together(*(worker.answering() for worker in workers))


async def frozen(worker: Worker, seconds: float) -> None:
    """A worker stands still, perhaps with a lock in its hand, and goes on."""
    with worker.frozen():
        await asyncio.sleep(seconds)


async def locked(place: Place, seconds: float) -> None:
    """Another process keeps the file to itself."""
    path = unquote(place.url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None, check_same_thread=False)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        await asyncio.sleep(seconds)
        connection.execute("ROLLBACK")


async def cut(proxy: Proxy, seconds: float, chance: random.Random) -> None:
    """Connections break in the middle of commits: on their way, or when they are done and nobody knows."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if chance.random() < 0.5:
            proxy.cut_at_answer()
        else:
            proxy.cut_after(chance.randrange(LARGEST_COMMIT))
        await asyncio.sleep(BETWEEN_CUTS)
    proxy.cut()


async def held(proxy: Proxy, seconds: float) -> None:
    """What the database server answers does not arrive; in the end it does."""
    with proxy.holding():
        await asyncio.sleep(seconds)


async def server_frozen(server: Server, seconds: float) -> None:
    """The database server takes what is sent, and does not answer."""
    with server.frozen():
        await asyncio.sleep(seconds)


async def server_stopped(server: Server, seconds: float) -> None:
    """The database server is shut down, and started again."""
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


async def server_killed(server: Server, seconds: float) -> None:
    """The database server ends in the middle of whatever it does, and is started again."""
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


async def server_restarted(server: Server) -> None:
    """Both, one soon after the other."""
    await server_stopped(server, 0.5)
    await asyncio.sleep(1)
    await server_killed(server, 0)


Trouble = tuple[str, Callable[[], Awaitable[object]]]


def of(place: Place, workers: list[Worker], chance: random.Random) -> list[Trouble]:
    """What each store goes through, one after the other."""
    one, two, three, _ = workers
    if place.server is None:
        return [
            (
                "worker frozen, others killed often",
                lambda: together(frozen(two, 3), killed_often([one, three], 3, chance)),
            ),
            ("file locked", lambda: locked(place, 7)),
        ]
    server, (cut_off, far) = place.server, place.proxies
    return [
        (
            "worker frozen, another killed, connections cut, answers held",
            lambda: together(frozen(two, 3), killed(one), cut(cut_off, 3, chance), held(far, 3)),
        ),
        ("server frozen", lambda: server_frozen(server, 3)),
        ("server stopped, started, killed", lambda: server_restarted(server)),
    ]


def at_random(place: Place, workers: list[Worker], chance: random.Random) -> Trouble:
    """One of all that can go wrong, for as long as chance has it; sometimes two at once, not to the same."""
    choices = [_of_worker(chance.choice(workers), chance)]
    if place.server is None:
        choices.append(_of_file(place, chance))
    else:
        choices += [_of_server(place.server, chance), _of_network(chance.choice(place.proxies), chance)]
    found = chance.sample(choices, chance.choice([1, 1, 2]))
    return " + ".join(what for what, _ in found), lambda: together(*(trouble() for _, trouble in found))


def _of_worker(worker: Worker, chance: random.Random) -> Trouble:
    seconds = chance.choice(SPELLS)
    return chance.choice(
        [
            (f"{worker.name} killed", lambda: killed(worker)),
            (f"{worker.name} frozen {seconds} s", lambda: frozen(worker, seconds)),
        ]
    )


def _of_file(place: Place, chance: random.Random) -> Trouble:
    seconds = chance.choice(SPELLS)
    return f"file locked {seconds} s", lambda: locked(place, seconds)


def _of_network(proxy: Proxy, chance: random.Random) -> Trouble:
    seconds = chance.choice(SPELLS)
    return chance.choice(
        [
            (f"connections cut {seconds} s", lambda: cut(proxy, seconds, chance)),
            (f"answers held {seconds} s", lambda: held(proxy, seconds)),
        ]
    )


def _of_server(server: Server, chance: random.Random) -> Trouble:
    seconds = chance.choice(SPELLS)
    return chance.choice(
        [
            (f"server frozen {seconds} s", lambda: server_frozen(server, seconds)),
            (f"server stopped {seconds} s", lambda: server_stopped(server, seconds)),
            (f"server killed {seconds} s", lambda: server_killed(server, seconds)),
        ]
    )


async def together(*troubles: Awaitable[object]) -> None:
    """All of them at once."""
    await asyncio.gather(*troubles)
