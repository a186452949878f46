"""What the tests of the command line share: a house with records to work on, and commands in real processes."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import pexpect
import pytest
from msgspec import Struct

from pairlock import Client, Pairlock
from pairlock._core.permissions import Permissions
from pairlock._core.records import Device, Origin, Record
from pairlock.cli.command import Command
from pairlock.cli.running import run
from pairlock.services.device_codes import DeviceCode
from pairlock.services.pairing import Started
from pairlock.stores.contract import Add
from pairlock.stores.sqlite import SQLiteStore
from tests.services.parts import SENSORS, UNLIMITED, the_pin

T = TypeVar("T")
Cli = Callable[..., "Outcome"]

COMMAND = [sys.executable, "-m", "pairlock.cli"]
TIMEOUT = 30.0  # seconds until a command counts as stuck, on a busy machine
STORE = "pairlock.db"
ADDRESS = "192.0.2.20"
AGENT = "curl/8.5.0"
TV = Client(id="tv")
CONFIGURATION = """\
server:
  security:
    pairing:
      default_permissions:
        read: [/sensors/**]
        write: [/control/lamp]
"""

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[=>])")


class Outcome(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> Outcome:
    """Run one command in this process."""
    code = run(arguments)
    return Outcome(code, *capsys.readouterr())


def run_process(
    *arguments: str, cwd: Path, typed: str | None = None, environ: Mapping[str, str] | None = None
) -> Outcome:
    """Run one command in a process of its own, without a terminal; what is `typed` is its stdin."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        input=typed or "",
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def in_terminal(
    *arguments: str,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
    dimensions: tuple[int, int] = (40, 120),
    command: Sequence[str] = COMMAND,
) -> Iterator[Any]:
    """Run one command in a pseudo-terminal: a pexpect.spawn that is ended, whatever happens."""
    program, *first = command
    child = pexpect.spawn(
        program,
        [*first, *arguments],
        cwd=str(cwd),
        env=environment(environ),
        encoding="utf-8",
        timeout=TIMEOUT,
        dimensions=dimensions,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def end_of(child: Any) -> Outcome:
    """Wait until a command in a terminal has ended; all that it said since the last match is `out`."""
    child.expect(pexpect.EOF)
    said = plain(child.before)
    child.close()
    return Outcome(-1 if child.exitstatus is None else child.exitstatus, said, "")


def plain(text: str) -> str:
    """What a terminal was sent, without colours and movements of the cursor."""
    return _ESCAPES.sub("", text).replace("\r\n", "\n")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command: ours without settings of pairlock, in a terminal that knows colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PAIRLOCK_", "COLUMNS"))}
    return {**kept, "TERM": "xterm-256color", **(more or {})}


class _Typed(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> io.StringIO:
    """Let commands in this process find somebody at a terminal who types this; what they say on stderr."""
    shown = _Typed()
    monkeypatch.setattr(sys, "stdin", _Typed(typed))
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def examples_of(*commands: click.Command) -> list[str]:
    """The examples in the help of these commands, and of all that groups hold."""
    found: list[str] = []
    for command in commands:
        if isinstance(command, click.Group):
            found += examples_of(*command.commands.values())
        else:
            assert isinstance(command, Command)
            assert command.examples, command.name
            found += command.examples
    return found


def run_example(example: str, cwd: Path) -> Outcome:
    """Run an example as it stands in the help, in a shell that finds `pairlock`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", example],
        cwd=cwd,
        env=environment({"PATH": path}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


# Houses


class House(Struct, frozen=True):
    """A folder with pairlock.yaml, pairlock.db and its key file, as a service keeps them; by name what is in it."""

    folder: Path
    devices: dict[str, Device]
    requests: dict[str, Started]

    @property
    def store(self) -> str:
        """The URL of its store."""
        return store_url(self.folder)

    @property
    def key_file(self) -> Path:
        """The file with its secret keys."""
        return self.folder / f"{STORE}.keys"

    def do(self, work: Callable[[Pairlock], Awaitable[T]], **settings: Any) -> T:
        """What this does in a process of the service; it has another loop than commands in this process."""
        return serving(self.folder, work, **settings)


def store_url(folder: Path) -> str:
    """The URL of the store in a folder."""
    return f"sqlite:///{folder}/{STORE}"


def service(folder: Path, **settings: Any) -> Pairlock:
    """A service in a folder, as one of its processes has it; close it in the end."""
    given = {"store": store_url(folder), "default_permissions": SENSORS, "limits": UNLIMITED, **settings}
    return Pairlock(**given)


def serving(folder: Path, work: Callable[[Pairlock], Awaitable[T]], **settings: Any) -> T:
    """Start a service in a folder, do this with it, and stop it."""

    async def whole() -> T:
        pairlock = service(folder, **settings)
        try:
            await pairlock.start()
            return await work(pairlock)
        finally:
            await pairlock.aclose()

    return asyncio.run(whole())


def configure(folder: Path, **settings: Any) -> None:
    """Let pairlock.yaml say these settings of pairing, and no others."""
    (folder / "pairlock.yaml").write_text(json.dumps({"server": {"security": {"pairing": settings}}}))


def make_house(folder: Path, *, devices: Sequence[str] = (), requests: Sequence[str] = ()) -> House:
    """A house in which devices of these names have paired, and others ask by PIN; the last ones are the newest."""
    folder.mkdir(exist_ok=True)
    (folder / "pairlock.yaml").write_text(CONFIGURATION)

    async def fill(pairlock: Pairlock) -> House:
        paired = {name: await pair(pairlock, name) for name in devices}
        return House(folder, paired, {name: await ask(pairlock, name) for name in requests})

    return serving(folder, fill)


async def ask(
    pairlock: Pairlock, name: str, permissions: Mapping[str, Any] | None = None, address: str = ADDRESS
) -> Started:
    """A device asks to pair by PIN."""
    wanted = None if permissions is None else Permissions.parse(permissions)
    return await pairlock.pairing.start(name, permissions=wanted, origin=Origin(address, AGENT))


async def ask_by_code(pairlock: Pairlock, name: str, address: str = ADDRESS) -> DeviceCode:
    """A device shows a user code, and waits."""
    return await pairlock.device_codes.start(TV, name=name, origin=Origin(address, AGENT))


async def pair(
    pairlock: Pairlock, name: str, permissions: Mapping[str, Any] | None = None, address: str = ADDRESS
) -> Device:
    """A device that has paired by PIN."""
    started = await ask(pairlock, name, permissions, address)
    pin = the_pin(pairlock, started)
    redeemed = await pairlock.pairing.submit_pin(started.request.id, started.secret, pin)
    return redeemed.device


def keep(folder: Path, *records: Record) -> None:
    """Write records into the store of a house as they are."""

    async def write() -> None:
        store = SQLiteStore(folder / STORE)
        await store.open()
        try:
            await store.commit(*map(Add, records))
        finally:
            await store.aclose()

    asyncio.run(write())
