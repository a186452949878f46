"""Runs the server of `pairlock serve` beside its display, until a signal or a key ends both."""

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

import uvicorn
from msgspec import Struct

from pairlock.cli.service.app_loading import App
from pairlock.cli.service.banner import Banner
from pairlock.configuration import Serving
from pairlock.errors import PairlockError
from pairlock.facade import Pairlock

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TO_END = 5  # seconds that calls which are being answered may still take
TO_CLOSE = 1  # seconds that the app may still take where it is to end at once
TICK = 0.1  # seconds between two looks whether it is to end at once
PATIENCE = 0.3  # seconds after which it is said what is waited for


class DidNotStart(PairlockError):
    """The app that is guarded did not start; the log says why."""


class Display(Protocol):
    """Shows what happens for as long as the service runs."""

    async def follow(self, pairlock: Pairlock, banner: Banner) -> None:
        """Show what happens until the service closes."""


class Service(Struct, frozen=True):
    """What is served: the protected app, its Pairlock, and the socket that listens."""

    app: App
    pairlock: Pairlock
    listener: socket.socket
    serving: Serving
    banner: Banner


class Server(uvicorn.Server):
    """uvicorn, ended by signals that are not raised again; `is_up` once it takes calls."""

    def __init__(self, service: Service, say: Callable[[str], None]) -> None:
        self.is_up = asyncio.Event()
        self._say = say
        self.was_asked_to_end = False
        super().__init__(_config(service, self._note_is_up))

    async def _note_is_up(self) -> None:
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are heeded already, and longer than the server runs."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say what is waited for, until it is over or is to end at once."""
        saying, ending = asyncio.create_task(self._say_what_runs()), asyncio.create_task(super().shutdown(sockets))
        while not (ending.done() or self.force_exit):
            await asyncio.wait([ending], timeout=TICK)
        saying.cancel()
        if self.force_exit:
            await asyncio.wait([ending], timeout=2 * TICK)  # it closes what listens, and looks for this in each
            await self._end_at_once()
            ending.cancel()

    async def _end_at_once(self) -> None:
        """Let the app end well even where calls are not waited for."""
        for task in self.server_state.tasks:
            task.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), TO_CLOSE)

    async def _say_what_runs(self) -> None:
        await asyncio.sleep(PATIENCE)
        count = len(self.server_state.tasks)
        runs = "1 call still runs" if count == 1 else f"{count} calls still run" if count else "the app still closes"
        self._say(f"Stopping; {runs} (Ctrl-C again: at once)")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End once what is being answered is answered; a second Ctrl-C ends at once."""
        self.was_asked_to_end = True
        super().handle_exit(sig, frame)


async def serve(service: Service, display: Display, say: Callable[[str], None]) -> None:
    """Serve until a signal ends it. Raises DidNotStart, and what the display raises."""
    server = Server(service, say)
    with _heeding(server):
        showing = asyncio.create_task(_show(service, server, display))
        try:
            with suppress(SystemExit):  # of newer versions, when the app does not start; older ones return
                await server.serve(sockets=[service.listener])
        finally:
            showing.cancel()
            [failure] = await asyncio.gather(showing, return_exceptions=True)
    if isinstance(failure, Exception):
        raise failure
    if not server.was_asked_to_end:
        raise DidNotStart("The app did not start; what it said stands above")


def stop() -> None:
    """End the server as Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


async def _show(service: Service, server: Server, display: Display) -> None:
    await server.is_up.wait()
    try:
        await display.follow(service.pairlock, service.banner)
    finally:
        if not server.was_asked_to_end:  # a display that cannot go on, as when its pipe is closed
            stop()


@contextmanager
def _heeding(server: Server) -> Iterator[None]:
    """Signals end the server; a terminal that goes away does, too."""

    def hang_up(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    ours = {**dict.fromkeys(SIGNALS, server.handle_exit), signal.SIGHUP: hang_up}
    theirs = {number: signal.signal(number, handler) for number, handler in ours.items()}
    try:
        yield
    finally:
        for number, handler in theirs.items():
            signal.signal(number, handler)


def _config(service: Service, note_is_up: Callable[[], Awaitable[None]]) -> uvicorn.Config:
    return uvicorn.Config(
        service.app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `trusted_proxies` says whose count
        lifespan="on",
        ssl_certfile=service.serving.tls_certificate,
        ssl_keyfile=service.serving.tls_key,
        timeout_graceful_shutdown=TO_END,
        callback_notify=note_is_up,
        timeout_notify=1,
    )
