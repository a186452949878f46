"""Runs the server of `pairlock serve` beside its display, until a signal or a key ends both."""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

import uvicorn
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from pairlock.cli.service.app_loading import App
from pairlock.cli.service.banner import Banner
from pairlock.configuration import Serving
from pairlock.errors import PairlockError
from pairlock.facade import Pairlock

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TO_END = 5  # seconds that calls which are being answered may still take
TO_CLOSE = 1  # seconds that the app may still take where it is to end at once
LOGGERS = ("pairlock", "uvicorn")
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


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

    def __init__(self, service: Service) -> None:
        self.is_up = asyncio.Event()
        self.was_asked_to_end = False
        super().__init__(_config(service, self._note_is_up))

    async def _note_is_up(self) -> None:
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """They are heeded already, and longer than the server runs."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the app end well even where calls are not waited for."""
        await super().shutdown(sockets)
        if self.force_exit:
            for task in self.server_state.tasks:
                task.cancel()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.lifespan.shutdown(), TO_CLOSE)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End once what is being answered is answered; a second Ctrl-C ends at once."""
        self.was_asked_to_end = True
        super().handle_exit(sig, frame)


async def serve(service: Service, display: Display) -> None:
    """Serve until a signal ends it. Raises DidNotStart, and what the display raises."""
    server = Server(service)
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
        raise DidNotStart("the app did not start; what it said stands above")


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


# Logs


class Harmless(logging.Formatter):
    """Records in which what strangers wrote cannot move the cursor."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return super().format(record).translate(CONTROLS)


class AboveDisplay(logging.Handler):
    """Prints records on the console of a live display, above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        with suppress(OSError):  # the terminal has gone
            self._console.print(Text(self.format(record)), soft_wrap=True)


@contextmanager
def logging_to(console: Console | None, level: str) -> Iterator[None]:
    """Our logs and those of the server go to this console meanwhile, without one to stderr."""
    handler = logging.StreamHandler() if console is None else AboveDisplay(console)
    handler.setFormatter(Harmless())
    handler.addFilter(_is_news)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False
    try:
        yield
    finally:
        for logger, known, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(known)
            logger.propagate = propagate


def _is_news(record: logging.LogRecord) -> bool:
    """That calls are cut off at the end is no error of the app."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)
