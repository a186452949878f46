"""A process that is asked to end: whoever is connected or waits is told, and the server has nobody to wait for."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from pairlock.asgi.ending import hearing_of_the_end
from tests.guard.parts import eventually
from tests.guard.test_processes import NOISE, Process, closed, pair_with, start

pytestmark = pytest.mark.anyio

BOTH = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What the handlers of a server have heard."""
    before = {number: signal.getsignal(number) for number in BOTH}
    heard: list[int] = []
    for number in BOTH:
        signal.signal(number, lambda number, frame: heard.append(number))
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
async def test_the_end_is_told_and_the_server_hears_of_it_as_ever(heard: list[int], number: signal.Signals) -> None:
    told: list[str] = []
    with hearing_of_the_end(lambda: told.append("told")):
        os.kill(os.getpid(), number)
        await eventually(lambda: told == ["told"])
        assert heard == [number]


async def test_afterwards_all_is_as_it_was(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in BOTH]
    with hearing_of_the_end(lambda: None):
        assert [signal.getsignal(number) for number in BOTH] != before
    assert [signal.getsignal(number) for number in BOTH] == before


async def test_a_handler_that_was_set_meanwhile_stays(heard: list[int]) -> None:
    def newer(number: int, frame: object) -> None:
        """Set by somebody else."""

    with hearing_of_the_end(lambda: None):
        signal.signal(signal.SIGTERM, newer)
    assert signal.getsignal(signal.SIGTERM) is newer


async def test_where_nobody_handles_a_signal_it_is_left_alone(heard: list[int]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with hearing_of_the_end(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_outside_the_main_thread_nothing_is_done(heard: list[int]) -> None:
    before = [signal.getsignal(number) for number in BOTH]
    seen = []

    def elsewhere() -> None:
        with hearing_of_the_end(lambda: None):
            seen.append([signal.getsignal(number) for number in BOTH])

    (thread := threading.Thread(target=elsewhere)).start()
    thread.join()
    assert seen == [before]


def test_a_loop_that_is_gone_keeps_no_signal_from_the_server(heard: list[int]) -> None:
    left_behind = hearing_of_the_end(lambda: None)

    async def begin() -> None:
        left_behind.__enter__()

    asyncio.run(begin())
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


async def test_a_server_that_is_asked_to_end_ends_at_once_and_tells_all(tmp_path: Path) -> None:
    async with httpx.AsyncClient() as http:
        process = start(tmp_path, "only", http)
        try:
            await eventually(lambda: bool(process.port), within=20)
            http.base_url = httpx.URL(f"http://127.0.0.1:{process.port}")
            await ends_at_once(process)
        finally:
            process.running.kill()


async def ends_at_once(process: Process) -> None:
    phone = await pair_with(process)
    asking = (await process.http.post("/pair/requests", json={"name": "Tablet"})).json()
    holder = {"Authorization": f"Bearer {asking['secret']}", "Prefer": "wait=25"}
    uri = f"ws://127.0.0.1:{process.port}/live"
    async with connect(uri, additional_headers=phone.headers, proxy=None) as socket:
        waiting = asyncio.create_task(process.http.get(f"/pair/requests/{asking['id']}", headers=holder))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        process.running.terminate()
        assert (await closed(socket))[1] == 1012
        assert (await waiting).json()["state"] == "pending"
    await asyncio.to_thread(process.running.wait, 10)
    assert time.monotonic() - begun < 5
    log = process.log.read_text()
    assert "Finished server process" in log
    assert not [line for line in NOISE if line in log]
