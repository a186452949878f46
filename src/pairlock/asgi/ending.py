"""The end of a process, heard of as soon as it is asked to end.

Servers tell applications once all connections are closed, and would wait for those that wait here for something
to happen.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def hearing_of_the_end(tell: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, `tell` is called in this event loop when the process is asked to end.

    Whoever handles these signals goes on handling them; where nobody does, or outside the main thread, nothing is
    done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    chained = {number: chain for number in SIGNALS if (chain := _chain(number, loop, tell)) is not None}
    try:
        yield
    finally:
        for number, (ours, theirs) in chained.items():
            if signal.getsignal(number) is ours:
                signal.signal(number, theirs)


Handler = Callable[[int, FrameType | None], Any]


def _chain(
    number: signal.Signals, loop: asyncio.AbstractEventLoop, tell: Callable[[], object]
) -> tuple[Handler, Handler] | None:
    """Our handler, set before theirs."""
    theirs = signal.getsignal(number)
    if not callable(theirs):
        return None

    def ours(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(tell)
        theirs(number, frame)

    signal.signal(number, ours)
    return ours, theirs
