"""What the tests of `pairlock serve` share: houses to guard, servers in this process and in others, and devices."""

import datetime as dt
import io
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

from pairlock.cli.running import run
from tests.cli.parts import COMMAND, TIMEOUT, environment, plain
from tests.servers import free_port

READ = ("--read", "/sensors/**")
HOUSE = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute


async def sensor(request):
    return JSONResponse({"sensor": request.path_params["name"], "read_by": request.user.display_name})


async def live(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


app = Starlette(routes=[Route("/sensors/{name}", sensor), WebSocketRoute("/sensors/{name}/live", live)])


def make():
    return app
"""


class Device(Struct):
    """A device that asks over HTTP, or has paired."""

    base: str
    started: Mapping[str, Any]
    verify: Any = True

    def type_pin(self, pin: str) -> httpx.Response:
        """Type a PIN."""
        return self.post(f"/pair/requests/{self.started['id']}/pin", {"pin": pin})

    def redeem(self) -> httpx.Response:
        """Fetch the token of an approved request."""
        return self.post(f"/pair/requests/{self.started['id']}/token", {})

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """A call with the secret of the request."""
        secret = {"Authorization": f"Bearer {self.started['secret']}"}
        return httpx.post(self.base + path, json=body, headers=secret, verify=self.verify, timeout=TIMEOUT)


def asking(base: str, name: str = "My Phone", verify: Any = True) -> Device:
    """A device that asks to pair by PIN."""
    answer = httpx.post(f"{base}/pair/requests", json={"name": name}, verify=verify, timeout=TIMEOUT)
    assert answer.status_code == 201, answer.text
    return Device(base, answer.json(), verify)


def reads(base: str, token: str | None, verify: Any = True) -> httpx.Response:
    """Somebody reads a sensor."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{base}/sensors/temperature", headers=headers, verify=verify, timeout=TIMEOUT)


def eventually(found: Callable[[], Any]) -> Any:
    """What this finds, once it finds something."""
    deadline = time.monotonic() + TIMEOUT
    while not (result := found()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)
    return result


# In this process


def serve_here(
    work: Callable[[str], object],
    *arguments: str,
    verify: ssl.SSLContext | None = None,
    at: str = "/pair",
    how: signal.Signals | None = signal.SIGINT,
) -> int:
    """Serve in this process, its exit code; `work` is done with its address in a thread, and then it is signalled."""
    port, over = free_port(), Event()
    scheme, failures = "http" if verify is None else "https", list[BaseException]()
    base = f"{scheme}://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            return over.is_set() or httpx.get(f"{base}{at}/health", verify=verify or True).status_code == 200
        except httpx.TransportError:
            return False

    def act() -> None:
        try:
            eventually(is_up)
            if not over.is_set():
                work(base)
        except BaseException as failure:  # noqa: BLE001  # it is raised below
            failures.append(failure)
        finally:
            if (failures or how) and not over.is_set():
                os.kill(os.getpid(), how or signal.SIGINT)

    acting = Thread(target=act)
    acting.start()
    try:
        code = run(["serve", "--port", str(port), *arguments])
    finally:
        over.set()
        acting.join(TIMEOUT)
    if failures:
        raise failures[0]
    return code


# In a process of its own


class Printed:
    """What a process prints, as far as it has."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.text = ""
        self._stream = stream
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):  # how a terminal ends
            while read := os.read(self._stream.fileno(), 65536):
                self.text += plain(read.decode(errors="replace"))

    def find(self, pattern: str) -> re.Match[str]:
        """What matches, once something does."""
        found: re.Match[str] = eventually(lambda: re.search(pattern, self.text, re.MULTILINE))
        return found


class Served(Struct):
    """A server in a process of its own, without a terminal."""

    process: subprocess.Popen[bytes]
    out: Printed
    err: Printed

    @property
    def base(self) -> str:
        """Its address."""
        return self.out.find(r"Listening on  (\S+:\d+)$")[1]

    def end(self, how: signal.Signals) -> int:
        """Its exit code, once it has been ended so."""
        self.process.send_signal(how)
        return self.process.wait(TIMEOUT)


@contextmanager
def served(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server in a process of its own, on any free port; it is killed in the end."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *arguments],
        cwd=cwd,
        env=environment({"PYTHONUNBUFFERED": "", **(environ or {})}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            yield Served(process, Printed(process.stdout), Printed(process.stderr))
        finally:
            process.kill()


@contextmanager
def at_a_pty(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Printed, Callable[[str], int]]]:
    """Let commands in this process find a terminal: what it shows, and a way to type on it."""
    master, slave = os.openpty()
    with open(master, "r+b", buffering=0) as typed, open(slave, "r+b", buffering=0) as raw:  # noqa: PTH123  # no path
        text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        for name in ("stdin", "stdout"):
            monkeypatch.setattr(sys, name, text)
        monkeypatch.setenv("TERM", "xterm-256color")
        yield Printed(typed), lambda keys: typed.write(keys.encode()) or 0
        text.detach()


# Certificates


def make_certificate(folder: Path, *, password: bytes | None = None, name: str = "house") -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    return paths
