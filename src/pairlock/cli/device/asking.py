"""Asks the person at this device for a PIN, with a countdown; what is piped in counts as typed."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from pairlock.cli.terminal import Terminal, countdown

T = TypeVar("T")

SecondsLeft = Callable[[], float]


async def ask_pin(terminal: Terminal, what: str, seconds_left: SecondsLeft) -> str:
    """A line that somebody types or pipes in; waits for ever once nothing more can come."""
    typed = await (_prompt(what, seconds_left) if terminal.is_interactive else _line())
    if typed is None:
        await asyncio.Event().wait()
    return (typed or "").strip()


async def first_of(*works: Awaitable[T]) -> tuple[int, T]:
    """Which of these is done first, and its result; the others are cancelled before."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        done = [index for index, task in enumerate(tasks) if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return done[0], tasks[done[0]].result()


async def _prompt(what: str, seconds_left: SecondsLeft) -> str | None:
    os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")  # some terminals never answer where the cursor is
    from prompt_toolkit import PromptSession  # only here: it takes long to import
    from prompt_toolkit.output import create_output

    session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr), refresh_interval=0.5)
    try:
        return await session.prompt_async(lambda: f"{what} ({countdown(seconds_left())} left): ")
    except EOFError:  # Ctrl-D
        return None


async def _line() -> str | None:
    """A line of what is piped in; in a thread that nobody waits for at the end."""
    loop = asyncio.get_running_loop()
    read: asyncio.Future[str] = loop.create_future()

    def hand_over(line: str) -> None:
        if not read.done():
            read.set_result(line)

    def run() -> None:
        line = sys.stdin.readline()
        with suppress(RuntimeError):  # nobody waits for it any more
            loop.call_soon_threadsafe(hand_over, line)

    threading.Thread(target=run, daemon=True).start()
    return await read or None
