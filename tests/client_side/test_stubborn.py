"""What may not be cut short is done though everybody who waits is gone, and what takes for ever is given up."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import anyio
import httpx
import pytest

from pairlock.client import CredentialFile, connect, drivers, redeem
from pairlock.client.drivers import arun, run
from pairlock.client.exchange import Call, Do, Exchange, Unbroken
from pairlock.errors import Unreachable
from tests.client_side.house import House

AGAIN = Call(method="POST", url="http://127.0.0.1:1/token", again=True)
ONCE = Call(method="POST", url="http://127.0.0.1:1/pin")


def made_and_kept(call: Call, kept: list[str], work: Any = None) -> Exchange[None]:
    """A call whose answer is lost unless it is kept."""
    yield call
    if work is not None:
        yield Do(work)
    kept.append("kept")


def unbroken(exchange: Exchange[None]) -> Exchange[None]:
    yield Unbroken(exchange)


def ended_in_the_middle(exchange: Exchange[None], *, cancels: bool = False) -> int:
    """A program whose main task ends while another makes its call; how often that was made."""
    calls = 0

    async def main() -> None:
        begun = asyncio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal calls
            calls += 1
            begun.set()
            await asyncio.sleep(0.2)
            return httpx.Response(200, json={})

        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        task = asyncio.create_task(arun(unbroken(exchange), http))
        await begun.wait()
        if cancels:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())
    return calls


def test_the_end_of_a_program_does_not_cut_it_short() -> None:
    kept: list[str] = []
    assert ended_in_the_middle(made_and_kept(AGAIN, kept)) == 2  # the server says the same again
    assert kept == ["kept"]


def test_what_counts_is_not_said_twice() -> None:
    kept: list[str] = []
    assert ended_in_the_middle(made_and_kept(ONCE, kept)) == 1
    assert kept == []


def test_whoever_is_cancelled_waits_for_it() -> None:
    kept: list[str] = []
    assert ended_in_the_middle(made_and_kept(ONCE, kept), cancels=True) == 1
    assert kept == ["kept"]


def test_a_file_is_written_to_its_end() -> None:
    kept: list[str] = []
    writing = threading.Event()

    def write() -> None:
        writing.set()
        time.sleep(0.3)

    async def main() -> None:
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
        exchange = unbroken(made_and_kept(ONCE, kept, write))
        asyncio.create_task(arun(exchange, httpx.AsyncClient(transport=transport)))  # noqa: RUF006  # nobody waits
        await asyncio.to_thread(writing.wait)

    asyncio.run(main())
    assert kept == ["kept"]


def test_interrupts_wait_until_it_is_done() -> None:
    done: list[int] = []

    def work() -> None:
        for number in range(3):
            signal.raise_signal(signal.SIGINT)
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        drivers._uninterrupted(work)
    assert done == [0, 1, 2]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_not_interrupted_anyway() -> None:
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(drivers._uninterrupted, lambda: "done").result() == "done"


@pytest.fixture
def trickling() -> Iterator[str]:
    """A server that answers a byte now and then, and never comes to an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def trickle() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not ended.wait(0.05):
                        connection.sendall(b"x")

    serving = threading.Thread(target=trickle, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    serving.join()


def asked(url: str) -> Exchange[None]:
    yield Call(method="GET", url=url, timeout=0.5)


def test_an_answer_that_takes_for_ever_is_given_up(trickling: str) -> None:
    with httpx.Client() as http, pytest.raises(Unreachable, match="does not answer in time"):
        run(asked(trickling), http)


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_so_it_is_by_tasks(trickling: str, loop: str) -> None:
    async def scene() -> None:
        async with httpx.AsyncClient() as http:
            with pytest.raises(Unreachable, match="does not answer in time"):
                await arun(asked(trickling), http)

    anyio.run(scene, backend=loop)


def test_what_is_for_this_machine_goes_by_no_proxy(
    house: House, file: CredentialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    redeem(house.url, house.code(), credentials=file).close()
    with connect(house.url, credentials=file) as client:
        assert client.get("/sensors/a").status_code == 200
