"""Asks the person at this device for a PIN, with a countdown; what is piped in counts as typed."""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from pairlock._core.codes import DIGITS
from pairlock.cli.outcomes import line
from pairlock.cli.terminal import Terminal, countdown
from pairlock.errors import ClientError, InvalidPin, Locked, WireError

T = TypeVar("T")


class PinPrompt:
    """Asks for a PIN of so many digits until it is right, and says how long that can go on."""

    def __init__(self, terminal: Terminal, length: int | None, seconds_left: Callable[[], float]) -> None:
        self._terminal = terminal
        self._length = length
        self._seconds_left = seconds_left
        self._refusal: WireError | ClientError | None = None

    async def ask(self) -> str | None:
        """What is typed, once it can be a PIN; None when nothing more can come.

        Where all that was piped in was refused, raises the last refusal.
        """
        while (typed := await self._line()) is not None:
            if self._length in (None, len(DIGITS.normalise(typed))):
                return typed.strip()
            self._refusal = InvalidPin()
            self._terminal.note(f"The PIN has {self._length} digits.")
        if self._refusal is not None and not self._terminal.is_interactive:
            raise self._refusal
        return None

    def refuse(self, refusal: WireError | ClientError) -> None:
        """Say why what was typed does not count. Raises Locked after the last attempt."""
        self._refusal = refusal
        if not isinstance(refusal, InvalidPin):
            self._terminal.note(line(refusal))
        elif refusal.attempts_left:
            self._terminal.note(f"That is not the PIN; it stays the same. Attempts left: {refusal.attempts_left}.")
        else:
            raise Locked from refusal

    async def _line(self) -> str | None:
        if not self._terminal.is_interactive:
            return await _piped()
        typed = await _prompt(self._text)
        if typed is not None:
            self._terminal.note(self._text() + typed)
        return typed

    def _text(self) -> str:
        return f"PIN ({countdown(self._seconds_left())} left): "


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


async def _prompt(text: Callable[[], str]) -> str | None:
    """A line that is typed, without a trace of the prompt; None for Ctrl-D."""
    os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")  # some terminals never answer where the cursor is
    from prompt_toolkit import PromptSession  # only here: it takes long to import
    from prompt_toolkit.output import create_output

    session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr), refresh_interval=0.5)
    session.app.erase_when_done = True  # who was approved meanwhile is asked for nothing any more
    try:
        return await session.prompt_async(text)
    except EOFError:
        return None


async def _piped() -> str | None:
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
