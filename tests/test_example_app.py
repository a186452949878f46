"""`make demo`, as somebody uses it who pastes what it prints."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websockets

ROOT = Path(__file__).parent.parent
STEPS = re.compile(r"\n  \d\. .*\n")


@dataclass
class Demo:
    """The running demo: where it is, and the file it prints to."""

    port: int
    printed: Path

    def steps(self) -> list[str]:
        """The commands to paste, in order; the PIN is read off the display."""
        ask, type_pin, use, code, revoke = STEPS.split(self.printed.read_text())[1:]
        read_pin = (
            f"until grep -q ^PIN: {self.printed}; do sleep 0.02; done\npin=$(sed -n 's/^PIN: //p' {self.printed})\n"
        )
        return [ask + type_pin.replace("printf 'PIN: '; read -r pin\n", read_pin), use, code, revoke]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    printed = tmp_path / "printed"
    environ = {**os.environ, "PORT": str(port), "DATABASE": str(tmp_path / "demo.db"), "PYTHONPATH": str(ROOT)}
    with printed.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "example_app"], env=environ, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _await_port(port)
        yield Demo(port, printed)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
    assert "Traceback" not in printed.read_text()


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the demo does not listen")


def _paste(script: str) -> list[Any]:
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_printed_commands_pair_a_device_let_it_in_and_shut_it_out(demo: Demo) -> None:
    sensor, lamp, door, by_code, devices, revoked, refused = _paste("".join(demo.steps()))
    assert sensor["sensor"] == "temperature"
    assert lamp == {"control": "lamp", "value": "on", "set_by": "My Phone"}
    assert door["error"] == "insufficient_scope"
    assert by_code["sensor"] == "humidity"
    assert [device["name"] for device in devices["devices"]] == ["A script", "My Phone"]
    assert revoked == {"revoked": 2}
    assert refused["error"] == "invalid_token"
    assert re.search(r'\nPairing request from "My Phone"\nPIN: \d{6}\nExpires in 5:00\n', demo.printed.read_text())


def test_a_paired_device_watches_and_writes_over_a_websocket_within_its_permissions(demo: Demo) -> None:
    ask, use, *_ = demo.steps()
    token = _paste(ask + use + 'printf \'"%s"\\n\' "$token"')[-1]
    said = asyncio.run(_talk(f"ws://127.0.0.1:{demo.port}/live", token))
    assert {"written": "/control/lamp", "value": "on"} in said
    assert {"error": "My Phone may not write /control/door"} in said
    assert {"error": 'send {"write": "/control/lamp", "value": "on"}'} in said
    assert any("temperature" in message.get("sensors", {}) for message in said)


async def _talk(uri: str, token: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(uri, additional_headers=headers) as websocket:
        for address in ("/control/lamp", "/control/door"):
            await websocket.send(json.dumps({"write": address, "value": "on"}))
        await websocket.send("not JSON")
        await websocket.send(b"not text")
        return [json.loads(await websocket.recv()) for _ in range(5)]


def test_strangers_see_the_front_page_and_nothing_else(demo: Demo) -> None:
    base = f"http://127.0.0.1:{demo.port}"
    done = subprocess.run(
        ["curl", "-s", f"{base}/", f"{base}/sensors/temperature"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("A small house.")
    assert '"missing_token"' in done.stdout


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_a_port_that_is_none_is_said_in_one_line(port: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PORT": port, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "example_app"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"PORT={port}: give a number from 1 to 65535, for example: make demo PORT=8080\n"


def test_a_port_that_is_taken_is_said_before_anything_else(demo: Demo, tmp_path: Path) -> None:
    environ = {**os.environ, "PORT": str(demo.port), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "example_app"], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"port {demo.port} cannot be used (Address already in use); try another: make demo PORT="
    )


def test_a_wrong_pin_is_answered_in_words(demo: Demo) -> None:
    ask, use, *_ = demo.steps()
    typo = "pin=$(printf %06d $(((10#$pin + 1) % 1000000)))\n"
    (said,) = subprocess.run(
        ["bash", "-c", ask + typo + use.split("\ncall")[0] + '\necho "$token"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "invalid_pin" in said
    assert "'attempts_left': 4" in said
