"""How calls and `pairlock serve` itself end: what is logged of that, and what is said."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from pairlock.cli.outcomes import DONE
from tests.cli.parts import TIMEOUT, in_terminal, plain, run_process
from tests.cli.serving_parts import READ, serve_here, served

COMPLAINT = "ASGI callable returned without completing"
STREAMS = """\
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] != "/sensors/broken":
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.05)
"""
LINGERS = """\
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(60)
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "streams.py").write_text(STREAMS)
    (tmp_path / "lingers.py").write_text(LINGERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def knock(base: str, path: str) -> int:
    """Open a WebSocket without a token; the status it is refused with."""
    try:
        async with websockets.connect(f"ws{base.removeprefix('http')}{path}"):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


def test_a_stranger_s_websocket_is_refused_without_an_error_in_the_log(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(base: str) -> None:
        assert asyncio.run(knock(base, "/sensors/live")) == 401

    assert serve_here(use, *READ) == DONE
    assert COMPLAINT not in capsys.readouterr().err


def test_a_websocket_that_the_app_leaves_without_an_answer_is_an_error_in_the_log(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(base: str) -> None:
        assert asyncio.run(knock(base, "/sensors/live")) == 500

    assert serve_here(use, "streams:app", *READ, "--public", "/**") == DONE
    assert f"ERROR uvicorn.error: {COMPLAINT} handshake." in capsys.readouterr().err


def test_revoking_a_device_ends_its_stream_without_an_error_in_the_log(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(base: str) -> None:
        code = run_process("code", "--read", "/sensors/**", "--no-wait", "--json", cwd=house).json["code"]
        paired = httpx.post(f"{base}/pair/redeem", json={"code": code, "name": "Phone"}, timeout=TIMEOUT).json()
        bearer = {"Authorization": f"Bearer {paired['access_token']}"}
        with httpx.stream("GET", f"{base}/sensors/x", headers=bearer, timeout=TIMEOUT) as stream:
            received = stream.iter_raw()
            assert next(received)
            assert httpx.delete(f"{base}/pair/whoami", headers=bearer, timeout=TIMEOUT).is_success
            with pytest.raises(httpx.RemoteProtocolError):
                list(received)

    assert serve_here(use, "streams:app", *READ) == DONE
    assert COMPLAINT not in capsys.readouterr().err


def test_a_stream_that_the_app_breaks_off_is_an_error_in_the_log(
    house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(base: str) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{base}/sensors/broken", timeout=TIMEOUT)

    assert serve_here(use, "streams:app", *READ, "--public", "/**") == DONE
    assert f"ERROR uvicorn.error: {COMPLAINT} response." in capsys.readouterr().err


# The end of the server


def test_with_a_stream_open_it_says_that_it_waits_and_ends_without_a_traceback(house: Path) -> None:
    with served("streams:app", *READ, "--public", "/**", cwd=house) as server:
        with httpx.stream("GET", f"{server.base}/sensors/x", timeout=TIMEOUT) as stream:
            assert next(stream.iter_raw())
            assert server.end(signal.SIGINT) == DONE
        server.err.find(r"^Stopping; 1 call still runs \(Ctrl-C again: at once\)$")
        server.err.find(r"^Stopped\.$")
    assert "Traceback" not in server.err.text


def test_it_says_how_many_calls_it_waits_for(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams: list[Any] = []

    def use(base: str) -> None:
        for _ in range(2):
            client = httpx.Client()
            request = client.build_request("GET", f"{base}/sensors/x")
            streams.append(client.send(request, stream=True))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    assert serve_here(use, "streams:app", *READ, "--public", "/**") == DONE
    assert "Stopping; 2 calls still run (Ctrl-C again: at once)\n" in capsys.readouterr().err
    for stream in streams:
        stream.close()


def test_an_app_that_does_not_end_is_left_at_the_second_signal(house: Path) -> None:
    with served("lingers:app", *READ, cwd=house) as server:
        assert server.base
        server.process.send_signal(signal.SIGINT)
        server.err.find(r"^Stopping; the app still closes \(Ctrl-C again: at once\)$")
        assert server.end(signal.SIGINT) == DONE
        server.err.find(r"^Stopped\.$")
    assert "Traceback" not in server.err.text


def test_in_this_process_too_an_app_that_does_not_end_is_left(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def use(base: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    assert serve_here(use, "lingers:app", *READ) == DONE
    assert capsys.readouterr().err == "Stopping; the app still closes (Ctrl-C again: at once)\nStopped.\n"


def test_in_a_terminal_ctrl_c_twice_ends_it_at_once_without_a_traceback(house: Path) -> None:
    with in_terminal("serve", "lingers:app", *READ, "--port", "0", cwd=house) as child:
        child.expect("quit")
        child.send("\x03")
        time.sleep(0.3)
        child.kill(signal.SIGINT)
        child.expect(r"Stopped\.")
        assert "Traceback" not in plain(child.before)
