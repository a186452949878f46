"""The workers: processes on ports of their own, that can be killed, frozen and replaced."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.chaos.client import Client
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 30.0
HANG = 12.0  # seconds: no answer takes so long, whatever happens; two calls of the store may take 5 each


class Worker:
    """One uvicorn process; it keeps its port and its log when it is replaced."""

    def __init__(self, name: str, url: str, folder: Path, max_staleness: float) -> None:
        self.name = name
        self.url = url
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.lives = 0
        self.is_up = False
        self.frozen_for = 0.0
        self.client = Client(self.port)
        self._command = [sys.executable, "-m", "tests.chaos.served", url, str(self.port), str(max_staleness)]
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it; it does not answer yet."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=ROOT)

    async def answering(self) -> None:
        """Wait until it takes connections; one that found no store when it started is started again."""
        async with asyncio.timeout(START_TIMEOUT):
            while not await self._is_answering():
                if self._running.poll() is not None:
                    self.spawn()
                await asyncio.sleep(0.02)
        self.is_up = True

    async def _is_answering(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            return True
        return False

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.lives += 1
        self.is_up = False
        self._running.kill()
        self._running.wait(START_TIMEOUT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It stands still meanwhile: its connections stay open, and are not answered."""
        since = time.monotonic()
        self._running.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.frozen_for += time.monotonic() - since
            self._running.send_signal(signal.SIGCONT)

    async def end(self) -> int:
        """End it as an operator would; its exit code."""
        self._running.terminate()
        return await asyncio.to_thread(self._running.wait, START_TIMEOUT)

    def close(self) -> None:
        """Leave nothing of it."""
        self.client.close()
        self.kill()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process
