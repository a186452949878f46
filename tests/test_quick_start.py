"""The README's quick start, typed into real terminals: the service, the device, and an operator beside."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.servers import free_port

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
SECTION = README.split("## In two terminals\n")[1].split("\n## ")[0]
SERVICE, DEVICE, OPERATOR = re.findall(r"```console\n(.*?)```", SECTION, re.DOTALL)
HOUSE, IN_PYTHON = re.findall(r"```py(?:thon)?\n(.*?)```", SECTION, re.DOTALL)
PROMPT = "ready> "
DEADLINE = 30


def environment(folder: Path) -> dict[str, str]:
    """Of a user whose home this is."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "TERM": "xterm-256color", "PS1": PROMPT}


class Shell:
    """A terminal with a shell in it, whose commands come from the README."""

    def __init__(self, folder: Path) -> None:
        self.child: pexpect.spawn[str] = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile"],
            cwd=str(folder),
            env=environment(folder),
            dimensions=(40, 120),
            encoding="utf-8",
            timeout=DEADLINE,
        )
        self.see(PROMPT)

    def type(self, line: str) -> None:
        """A line of the README that begins with the prompt."""
        self.child.sendline(line.removeprefix("$ "))

    def see(self, text: str) -> None:
        self.child.expect_exact(text)


class Shells:
    """Opens terminals in a folder where `house.py` is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Shell] = []
        (folder / "house.py").write_text(HOUSE, "utf-8")

    def __call__(self) -> Shell:
        self.opened.append(Shell(self.folder))
        return self.opened[-1]


@pytest.fixture
def shells(tmp_path: Path) -> Iterator[Shells]:
    shells = Shells(tmp_path)
    try:
        yield shells
    finally:
        for each in shells.opened:
            each.child.close(force=True)


def test_the_quick_start_does_what_it_says(shells: Shells) -> None:
    port = free_port()

    def here(text: str) -> str:
        return text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")

    serve, _, request, pin_line, _ = SERVICE.splitlines()
    pair, _, _, paired, curl, reading = here(DEVICE).splitlines()
    revoke, revoked = OPERATOR.splitlines()
    service, device, operator = shells(), shells(), shells()

    service.type(f"{serve} --port {port}")
    service.see("Listening on")
    device.type(pair)
    device.see("PIN (")
    service.see(request)
    service.child.expect(pin_line.replace("847291", r"(\d{6})"))
    assert isinstance(service.child.match, re.Match)
    device.child.sendline(service.child.match[1])
    device.see(paired)
    device.type(curl)
    device.see(reading)
    assert reads_in_python(shells.folder, here(IN_PYTHON)) == reading
    operator.type(revoke)
    operator.see(revoked.partition("…")[0])
    device.type(curl)
    device.see("Pair again")
    service.child.send("q")
    service.see("Stopped.")


def reads_in_python(folder: Path, code: str) -> str:
    """What that program prints, as the device's user would run it; written as curl shows it."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ran.returncode == 0, ran.stderr
    return json.dumps(ast.literal_eval(ran.stdout), separators=(",", ":"))
