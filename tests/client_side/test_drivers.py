"""Doing what an exchange asks for: in threads, with asyncio and with trio; and what is said when nobody is there."""

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from pairlock._core.records import EventType
from pairlock.client import CredentialFile, PairlockAuth, aio, pair, redeem
from pairlock.client.drivers import arun, run, unreachable
from pairlock.client.exchange import Do, Exchange, Tell, Unbroken, Wait
from pairlock.client.libraries import library
from pairlock.errors import ConfigurationError, Unreachable
from pairlock.testing import FakeClock
from tests.cli.serving_parts import make_certificate
from tests.client_side.house import House, Stranger
from tests.client_side.sides import Side

LOOPS = ("asyncio", "trio")


def fails() -> Any:
    raise KeyError("failed")


def all_effects(told: list[Any]) -> Exchange[str]:
    """One of each, and errors that come back to where they were made."""
    yield Wait(0)
    told.append((yield Do(lambda: "done")))
    told.append((yield Tell(lambda what: what * 2, "told")))
    told.append((yield Unbroken(inner())))
    for failing in (Do(fails), Tell(lambda what: fails(), None), Unbroken(inner_failing())):
        try:
            yield failing
        except KeyError as error:
            told.append(error.args[0])
    return "result"


def inner() -> Exchange[str]:
    yield Wait(0)
    return "unbroken"


def inner_failing() -> Exchange[None]:
    yield Do(fails)


EXPECTED = ["done", "toldtold", "unbroken", "failed", "failed", "failed"]


def test_an_exchange_is_done_with_threads() -> None:
    told: list[Any] = []
    assert run(all_effects(told), None) == "result"
    assert told == EXPECTED


@pytest.mark.parametrize("loop", LOOPS)
def test_an_exchange_is_done_with_tasks(loop: str) -> None:
    told: list[Any] = []
    assert anyio.run(arun, all_effects(told), None, backend=loop) == "result"
    assert told == EXPECTED


def test_what_an_exchange_does_not_mend_is_raised_and_the_exchange_ends() -> None:
    ended: list[str] = []

    def careful() -> Exchange[None]:
        try:
            yield Do(fails)
        finally:
            ended.append("ended")

    with pytest.raises(KeyError):
        run(careful(), None)
    with pytest.raises(KeyError):
        asyncio.run(arun(careful(), None))
    assert ended == ["ended"] * 2


@pytest.mark.parametrize("loop", LOOPS)
def test_what_must_not_be_broken_ends_before_whoever_waits_is_cancelled(loop: str) -> None:
    ended: list[str] = []

    def whole() -> Exchange[None]:
        yield Wait(0.2)
        ended.append("whole")

    def outer() -> Exchange[None]:
        yield Unbroken(whole())
        yield Wait(60)
        ended.append("outer")

    async def scene() -> None:
        with anyio.move_on_after(0.05):
            await arun(outer(), None)

    anyio.run(scene, backend=loop)
    assert ended == ["whole"]


def test_asyncio_may_cancel_as_often_as_it_likes() -> None:
    ended: list[str] = []

    def failing() -> Exchange[None]:
        yield Wait(0.2)
        ended.append("whole")
        raise KeyError

    async def scene() -> None:
        task = asyncio.create_task(arun(iterated(Unbroken(failing())), None))
        for _ in range(3):
            await asyncio.sleep(0.02)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert ended == ["whole"]


def iterated(effect: Any) -> Exchange[None]:
    yield effect


@pytest.mark.parametrize("loop", LOOPS)
def test_a_device_pairs_with_either_loop(house: House, file: CredentialFile, loop: str) -> None:
    clock = FakeClock()

    async def scene() -> int:
        client = await aio.redeem(house.url, house.code(), credentials=file, clock=clock)
        async with client, anyio.create_task_group() as tasks:
            clock.advance(3600)
            for _ in range(10):
                tasks.start_soon(client.get, "/sensors/a")
        async with await aio.connect(house.url, credentials=file, clock=clock) as client:
            return (await client.get("/sensors/a")).status_code

    assert anyio.run(scene, backend=loop) == 200
    assert house.events().count(EventType.REFRESHED) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_whoever_is_cancelled_withdraws_the_request(house: House, file: CredentialFile, loop: str) -> None:
    async def scene() -> None:
        with anyio.CancelScope() as scope:
            async with aio.pair(house.url, credentials=file) as asked:
                scope.cancel()
                await asked.wait_for_approval()

    anyio.run(scene, backend=loop)
    assert house.events()[-1] is EventType.CANCELLED


# Nobody there


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def lib(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_name_that_nobody_has_is_told(lib: Any) -> None:
    error = lib.ConnectError("x")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    told = str(unreachable(error, "https://nowhere.example/pair/identity", lib))
    assert told == (
        "https://nowhere.example: there is no host of this name (Name or service not known); is the address right?"
    )


def test_several_attempts_that_failed_say_why_the_first_did(lib: Any) -> None:
    error = lib.ConnectError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("several", [ConnectionRefusedError(111, "x"), OSError("no number")])
    assert "(connection refused)" in str(unreachable(error, "http://house.example", lib))


def test_what_says_nothing_is_told_by_its_name(lib: Any) -> None:
    assert "(ReadError)" in str(unreachable(lib.ReadError(""), "http://house.example", lib))
    assert "(it does not answer in time)" in str(unreachable(lib.ReadTimeout(""), "http://house.example", lib))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


def test_a_certificate_of_ones_own_is_refused_and_what_to_do_is_said(
    side: Side, tmp_path: Path, file: CredentialFile, certificate: tuple[Path, Path]
) -> None:
    with House(tmp_path, tls=certificate) as house:
        with pytest.raises(Unreachable, match=r"is not to be trusted \(self.signed certificate\).*--ca FILE"):
            side.redeem(house.url, "K3F9-X2NM", credentials=file)
        with pytest.raises(Unreachable, match=f"127.0.0.1:{house.port}"):
            side.redeem(house.url.replace("https", "http"), "K3F9-X2NM", credentials=file)
    with Stranger(lambda seen: (200, {}, b"")) as plain, pytest.raises(Unreachable, match="does it speak plain http"):
        side.redeem(plain.url.replace("http", "https"), "K3F9-X2NM", credentials=file)


def test_a_certificate_authority_that_was_named_is_remembered(
    side: Side, tmp_path: Path, file: CredentialFile, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with House(tmp_path, tls=certificate) as house:
        for again in (False, True):
            how = {"credentials": file, "ca": "house.pem", "replace": again}
            client = side.do(side.module.redeem, house.url, house.code(), **how)
            assert side.get(client, "/sensors/a").status_code == 200
            side.close(client)
        monkeypatch.chdir("/")
        client = side.do(side.module.connect, house.url, credentials=file)
        assert side.get(client, "/sensors/a").status_code == 200
        side.close(client)
        (kept,) = file.read().credentials().values()
        assert kept.ca == str(tmp_path / "house.pem")
        context = ssl.create_default_context(cafile=kept.ca)
        mine = side.http(auth=PairlockAuth(house.url, credentials=file), verify=context)
        assert side.get(mine, f"{house.url}/sensors/a").status_code == 200
        side.close(mine)
        assert side.do(side.module.logout, house.url, credentials=file)


def test_a_certificate_authority_that_cannot_be_read_is_told(tmp_path: Path, file: CredentialFile) -> None:
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("none.pem", "empty.pem"):
        with pytest.raises(ConfigurationError, match=f"{name}: no certificate can be read there"):
            redeem("https://127.0.0.1:1", "K3F9-X2NM", credentials=file, ca=tmp_path / name)
        with pytest.raises(ConfigurationError, match=f"{name}: no certificate can be read there"):
            pair("https://127.0.0.1:1", credentials=file, ca=tmp_path / name)


# Libraries


@pytest.fixture
def without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)


@pytest.mark.usefixtures("without_httpx")
def test_httpx2_will_do_where_there_is_no_httpx() -> None:
    assert library() is httpx2


@pytest.mark.usefixtures("without_httpx")
def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, file: CredentialFile) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pairlock\[client\]'"):
        redeem("http://127.0.0.1:1", "K3F9-X2NM", credentials=file)
