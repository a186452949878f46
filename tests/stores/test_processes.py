"""Several processes on one store."""

import asyncio
import sqlite3
import stat
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.stores import open_store
from pairlock.stores.contract import Add
from pairlock.testing import a_device, a_request
from tests.servers import Server
from tests.stores.workers import ATTEMPTS_EACH, HITS_EACH, run_together, start

REQUESTS = 300
PROCESSES = 4
KILLS = 4


# From the name of a store to the fixture that makes places for it.
PLACES = {"sqlite": "files", "postgresql": "postgres", "valkey": "valkey"}


class Files:
    """Names of files that are not there yet, as servers name places."""

    def __init__(self, folder: Path) -> None:
        self._paths = (folder / f"{number}.db" for number in count())

    def url(self) -> str:
        return f"sqlite:///{next(self._paths)}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(params=PLACES)
def places(request: pytest.FixtureRequest) -> Files | Server:
    """What gives out the URLs of empty stores, one kind after the other."""
    places: Files | Server = request.getfixturevalue(PLACES[request.param])
    return places


@pytest.fixture
def url(places: Files | Server) -> str:
    return places.url()


def test_of_6000_attempts_by_four_processes_each_request_is_redeemed_once(url: str) -> None:
    assert PROCESSES * REQUESTS * ATTEMPTS_EACH == 6000

    async def prepare() -> None:
        store = open_store(url)
        await store.open()
        await store.commit(*(Add(a_request(state=State.APPROVED)) for _ in range(REQUESTS)))
        await store.aclose()

    async def outcome() -> tuple[list[Device], list[PairingRequest]]:
        store = open_store(url)
        await store.open()
        devices = await store.list_devices(limit=10_000)
        found = [await store.find(PairingRequest, device.request_id) for device in devices]
        await store.aclose()
        return devices, [request for request in found if request is not None]

    asyncio.run(prepare())
    redeemed = run_together(PROCESSES, "redeem", url)
    devices, requests = asyncio.run(outcome())

    times = Counter(request_id for each in redeemed for request_id in each)
    assert len(times) == REQUESTS
    assert set(times.values()) == {1}
    assert Counter(device.request_id for device in devices) == times
    assert {request.state for request in requests} == {State.REDEEMED}
    assert {request.version for request in requests} == {2}


def test_the_hits_of_four_processes_are_all_counted(url: str) -> None:
    async def counted() -> int:
        store = open_store(url)
        await store.open()
        hits = await store.hit("key", 60, 1000, 0)
        await store.aclose()
        return hits.count

    run_together(PROCESSES, "count", url)
    assert asyncio.run(counted()) == PROCESSES * HITS_EACH * (1 + 2 - 1)


def test_eight_processes_may_make_the_store_at_once(url: str) -> None:
    async def events() -> int:
        store = open_store(url)
        await store.open()
        found = await store.list_events()
        await store.aclose()
        return len(found)

    assert run_together(8, "open", url) == [["opened"]] * 8
    assert asyncio.run(events()) == 8


def test_eight_processes_make_one_file_and_it_is_whole(files: Files) -> None:
    run_together(8, "open", url := files.url())
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def consistent_ids(url: str) -> set[str | None]:
    store = open_store(url)
    await store.open()
    requests = {request.id for request in await store.list_requests(live_at=0, limit=100_000)}
    devices = {device.id for device in await store.list_devices(limit=100_000)}
    events = {event.request_id for event in await store.list_events(limit=100_000)}
    await store.commit(Add(a_device(revoked_at=1.0)))  # and it can be written
    await store.aclose()
    assert requests == devices == events
    return events


def test_what_a_killed_writer_leaves_is_whole(places: Files | Server) -> None:
    for kill in range(KILLS):
        url = places.url()
        with start("write", url) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            lines = [process.stdout.readline() for _ in range(5 + kill * 7)]
            process.kill()
            lines += process.stdout.readlines()
        said = {f"{int(line):08}" for line in lines[1:] if line.endswith("\n")}
        kept = asyncio.run(consistent_ids(url))
        assert said <= kept  # what was answered is kept
        assert len(kept) <= len(said) + 1
