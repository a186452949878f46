"""What the tests of a device's commands share: a service in a thread of this process, and a device's own home."""

import asyncio
import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
import uvicorn
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pairlock import Pairlock
from pairlock._core.permissions import Permissions
from pairlock._core.records import Origin, PairingRequest
from pairlock.client import CredentialFile
from pairlock.client.credentials import Credential
from tests.cli.parts import COMMAND, TIMEOUT, Cli, Outcome, at_a_terminal, environment, in_terminal
from tests.services.parts import SENSORS, UNLIMITED, wrong

T = TypeVar("T")

PATIENCE = 30.0  # seconds until something counts as stuck, on a busy machine
GRANTED = "read /sensors/**, write /control/lamp"


async def sensor(request: Request) -> JSONResponse:
    return JSONResponse({"sensor": request.path_params["name"]})


class Service:
    """A web service in a thread of its own, on 127.0.0.1; `port` 0 takes any."""

    def __init__(self, app: Any, *, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        self._socket = listening(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        certificate, key = tls or (None, None)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                ws="none",
                log_config=None,
                timeout_graceful_shutdown=1,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self._server.started or not self._thread.is_alive())
        assert self._server.started
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def run(self, work: Awaitable[T]) -> T:
        """What comes of this in the loop of the service."""

        async def done() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(PATIENCE)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call this in the loop of the service."""
        self._loop.call_soon_threadsafe(function)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        finally:
            self._socket.close()
            self._loop.close()


class House:
    """A service that devices pair with, which a test can look into and decide for."""

    def __init__(self, folder: Path, *, port: int = 0, tls: tuple[Path, Path] | None = None, **settings: Any) -> None:
        folder.mkdir(exist_ok=True)
        given = {"store": f"sqlite:///{folder}/pairlock.db", "default_permissions": SENSORS, "limits": UNLIMITED}
        self.pairlock = Pairlock(**{**given, "server_name": "Studio", **settings})
        app = Starlette(routes=[Route("/sensors/{name}", sensor)])
        self.service = Service(self.pairlock.protect(app), port=port, tls=tls)
        self.port = self.service.port
        self.url = self.service.url

    def __enter__(self) -> Self:
        self.service.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.service.call_soon(self.pairlock._runtime.part)  # outside the main thread no signal tells it
        self.service.__exit__(*exc)

    def do(self, work: Awaitable[T]) -> T:
        """What comes of this in the service."""
        return self.service.run(work)

    def pending(self) -> list[PairingRequest]:
        """The requests by PIN that wait for a decision."""
        return self.do(self.pairlock.deciding.pending())

    def ask(self, name: str) -> PairingRequest:
        """Another device of this machine asks by PIN."""
        return self.do(self.pairlock.pairing.start(name, origin=Origin("127.0.0.1"))).request

    def asked(self) -> PairingRequest:
        """The request that waits now; waits until there is one."""
        until(lambda: bool(self.pending()))
        return self.pending()[0]

    def waits(self) -> None:
        """Wait until the device that asked is known to wait for a decision."""
        until(lambda: self.asked().present_until is not None)

    def pin(self) -> str:
        """What the service displays for the request that waits now."""
        pin = self.pairlock.deciding.pin(self.asked())
        assert pin is not None
        return pin

    def wrong_pin(self) -> str:
        """A PIN that it does not display."""
        return wrong(self.pin())

    def approve(self, request: PairingRequest | None = None) -> None:
        """Let the device in that waits now, as an operator would."""
        self.do(self.pairlock.deciding.approve((request or self.asked()).id))

    def deny(self, reason: str | None = None) -> None:
        """Refuse the device that waits now."""
        self.do(self.pairlock.deciding.deny(self.asked().id, reason=reason))

    def look_up(self, user_code: str) -> PairingRequest:
        """The request that a device shows this code of."""
        return self.do(self.pairlock.deciding.look_up(user_code))

    def shown_by_device(self) -> PairingRequest:
        """The request whose code a device shows now; waits until there is one."""
        store = self.do(self.pairlock._runtime.ready())
        found: list[PairingRequest] = []

        def was_made() -> bool:
            found.extend(self.do(store.list_requests(live_at=time.time())))
            return bool(found)

        until(was_made)
        return found[0]

    def confirmation_pin(self, request: PairingRequest) -> str:
        """What the operator reads out who has approved this."""
        pin = self.pairlock.deciding.confirmation_pin(self.do(self.pairlock.deciding.show(request.id)))
        assert pin is not None
        return pin

    def code(self) -> str:
        """A one-time code."""
        return self.do(self.pairlock.code(SENSORS))

    def qr(self) -> str:
        """What a QR code says."""
        return self.do(self.pairlock.qr(SENSORS, address=f"{self.url}/pair")).uri

    def devices(self) -> list[str]:
        """The names of the devices that are paired, newest first."""
        return [device.name for device in self.do(self.pairlock.devices.list())]

    def narrow(self, device_id: str, permissions: dict[str, list[str]]) -> None:
        """Leave a device less than it has."""
        self.do(self.pairlock.devices.narrow(device_id, Permissions.parse(permissions)))

    def revoke_all(self) -> None:
        """Shut all devices out."""
        for device in self.do(self.pairlock.devices.list()):
            self.do(self.pairlock.devices.revoke(device.id))


def listening(port: int = 0) -> socket.socket:
    """A socket of 127.0.0.1 to serve on."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind(("127.0.0.1", port))
    opened.listen(100)
    return opened


def until(told: Callable[[], bool]) -> None:
    """Wait until this is true."""
    deadline = time.monotonic() + PATIENCE
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do this in a thread while something else is done, which is interrupted when it fails."""
    raised: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is told below
            raised.append(error)
            if not ended.is_set():
                interrupt_main()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * PATIENCE)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


@contextmanager
def typing(monkeypatch: pytest.MonkeyPatch, work: Callable[["Typist"], object]) -> Iterator[io.StringIO]:
    """Let somebody sit at a terminal of this process meanwhile; what is shown there on stderr."""
    shown = at_a_terminal(monkeypatch, "")
    with create_pipe_input() as keys, create_app_session(input=keys), meanwhile(lambda: work(Typist(keys, shown))):
        yield shown


class Typist:
    """Somebody at a terminal of this process, who types at prompts of prompt_toolkit; `shown` is what stderr shows."""

    def __init__(self, keys: PipeInput, shown: io.StringIO) -> None:
        self._keys = keys
        self.shown = shown

    def sees(self, text: str) -> None:
        """Wait until this is shown."""
        until(lambda: text in self.shown.getvalue())

    def types(self, text: str) -> None:
        """Type this at the prompt that is open."""
        self._keys.send_text(text)


class Home:
    """The home of a device: where it keeps its credentials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / ".config" / "pairlock" / "tokens.json"

    def kept(self) -> list[Credential]:
        """The credentials in it."""
        return list(CredentialFile(self.file).read().credentials().values())

    def bytes(self) -> bytes | None:
        """The file as it is; None where there is none."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return self.file.read_bytes()
        return None

    def drafts(self) -> Sequence[Path]:
        """What was begun and left."""
        return list(self.folder.rglob("*.draft"))


def paired(home: Home, house: House, cli: Cli, name: str = "My Phone") -> bytes:
    """Pair by a one-time code; the credential file."""
    done = cli("login", house.url, "--code", house.code(), "--name", name)
    assert done.code == 0, done
    kept = home.bytes()
    assert kept is not None
    return kept


def in_shell(home: Home, script: str, **environ: str) -> Outcome:
    """Run a script of a shell that finds `pairlock`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home.folder,
        env=environment({"PATH": path, **environ}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def at_terminal(home: Home, *arguments: str, **how: Any) -> Iterator[Any]:
    """One command in a pseudo-terminal, which has to be left as it was."""
    script = 'stty -a > before; trap : INT; "$@"; code=$?; stty -a > after; exit $code'
    command = ["bash", "-c", script, "bash", *(how.pop("command", COMMAND))]
    with in_terminal(*arguments, cwd=home.folder, command=command, **how) as child:
        yield child
    assert (home.folder / "after").read_text() == (home.folder / "before").read_text()
