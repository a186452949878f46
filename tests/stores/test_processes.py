"""Several processes on one file."""

import asyncio
import sqlite3
import stat
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.stores.contract import Add
from pairlock.stores.sqlite import SQLiteStore
from pairlock.testing import a_device, a_request
from tests.stores.workers import ATTEMPTS_EACH, HITS_EACH, run_together, start

REQUESTS = 300
PROCESSES = 4
KILLS = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairlock.db"


def test_of_6000_attempts_by_four_processes_each_request_is_redeemed_once(path: Path) -> None:
    assert PROCESSES * REQUESTS * ATTEMPTS_EACH == 6000

    async def prepare() -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.commit(*(Add(a_request(state=State.APPROVED)) for _ in range(REQUESTS)))
        await store.aclose()

    async def outcome() -> tuple[list[Device], list[PairingRequest]]:
        store = SQLiteStore(path)
        await store.open()
        devices = await store.list_devices(limit=10_000)
        found = [await store.find(PairingRequest, device.request_id) for device in devices]
        await store.aclose()
        return devices, [request for request in found if request is not None]

    asyncio.run(prepare())
    redeemed = run_together(PROCESSES, "redeem", path)
    devices, requests = asyncio.run(outcome())

    times = Counter(request_id for each in redeemed for request_id in each)
    assert len(times) == REQUESTS
    assert set(times.values()) == {1}
    assert Counter(device.request_id for device in devices) == times
    assert {request.state for request in requests} == {State.REDEEMED}
    assert {request.version for request in requests} == {2}


def test_the_hits_of_four_processes_are_all_counted(path: Path) -> None:
    async def counted() -> int:
        store = SQLiteStore(path)
        await store.open()
        hits = await store.hit("key", 60, 1000, 0)
        await store.aclose()
        return hits.count

    run_together(PROCESSES, "count", path)
    assert asyncio.run(counted()) == PROCESSES * HITS_EACH * (1 + 2 - 1)


def test_eight_processes_may_make_the_file_at_once(path: Path) -> None:
    assert run_together(8, "open", path) == [["opened"]] * 8
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (8,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def consistent_ids(path: Path) -> set[str | None]:
    store = SQLiteStore(path)
    await store.open()
    requests = {request.id for request in await store.list_requests(live_at=0, limit=100_000)}
    devices = {device.id for device in await store.list_devices(limit=100_000)}
    events = {event.request_id for event in await store.list_events(limit=100_000)}
    await store.commit(Add(a_device(revoked_at=1.0)))  # and it can be written
    await store.aclose()
    assert requests == devices == events
    return events


def test_a_file_left_by_a_killed_writer_is_whole(tmp_path: Path) -> None:
    for kill in range(KILLS):
        path = tmp_path / f"{kill}.db"
        with start("write", path) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("go\n")
            process.stdin.flush()
            lines = [process.stdout.readline() for _ in range(5 + kill * 7)]
            process.kill()
            lines += process.stdout.readlines()
        said = {f"{int(line):08}" for line in lines[1:] if line.endswith("\n")}
        kept = asyncio.run(consistent_ids(path))
        assert said <= kept  # what was answered is kept
        assert len(kept) <= len(said) + 1
