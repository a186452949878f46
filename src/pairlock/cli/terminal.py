"""What commands print and ask: answers on stdout, everything else on stderr; JSON when asked for."""

import json
import math
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console, RenderableType

from pairlock._core.names import clean_text, visible
from pairlock._core.permissions import Permissions

CLOCK_STEP = 1e-3  # seconds: points in time are not exact to the last digit
ANSWERS = {"y": True, "yes": True, "n": False, "no": False, "": False}


class NotSaid(click.UsageError):
    """An option that is needed here was not given; the message says which, the form of the command is no help."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message alone."""
        click.ClickException.show(self, file)


class Terminal:
    """Where a command speaks. Text of strangers goes through `safe`; markup is never interpreted."""

    def __init__(self, *, as_json: bool) -> None:
        _make_streams_ready()
        self.as_json = as_json
        self.out = _console(stderr=False)
        self.err = _console(stderr=True)

    @property
    def is_interactive(self) -> bool:
        """Whether somebody is there to be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def answer(self, told: Mapping[str, Any], shown: RenderableType) -> None:
        """What the command was asked for: a JSON object, or the same for people."""
        if self.as_json:
            self.json(told)
        else:
            self.out.print(shown)

    def json(self, told: Mapping[str, Any]) -> None:
        """One JSON object on a line of its own."""
        click.echo(json.dumps(told, ensure_ascii=False))

    def note(self, text: RenderableType, *, style: str = "") -> None:
        """What is said beside the answer."""
        self.err.print(text, style=style or None)

    def warn(self, text: str) -> None:
        """What must not be missed."""
        self.note(f"warning: {text}", style="bold yellow")

    def confirm(self, question: str, *, otherwise: str) -> bool:
        """Ask; where nobody can be asked, a NotSaid that tells the option to give."""
        if not self.is_interactive:
            raise NotSaid(f"{question} Nobody can be asked here: {otherwise}")
        while (said := _typed(f"{question} [y/N]: ").lower()) not in ANSWERS:
            self.note("Type y or n.")
        return ANSWERS[said]

    def ask(self, what: str) -> str:
        """A line that is typed; where nobody is there, one that is piped in."""
        if not self.is_interactive:
            return sys.stdin.readline().strip()
        while not (said := _typed(f"{what}: ")):
            pass
        return said


def safe(text: str) -> str:
    """Text of a stranger as it may be printed: on one line, without controls."""
    return clean_text(text)


def quoted(text: str) -> str:
    """Text of a stranger in quotes, which it cannot end."""
    escaped = safe(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def spoken(permissions: Permissions) -> str:
    """Permissions in words: `read /sensors/**, write /control/lamp`; strangers may have chosen the patterns."""
    parts = [f"{action} {' '.join(map(visible, patterns))}" for action, patterns in _lists(permissions) if patterns]
    return ", ".join(parts) or "nothing"


def countdown(seconds: float) -> str:
    """Time left as `4:59`, or `1:30:00`; what has begun of a second counts."""
    minutes, left = divmod(max(math.ceil(seconds - CLOCK_STEP), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _lists(permissions: Permissions) -> tuple[tuple[str, Sequence[str]], ...]:
    return ("read", permissions.read), ("write", permissions.write)


def _typed(question: str) -> str:
    """A line that is typed, after a question on stderr. Raises Abort for Ctrl-D.

    Ctrl-C ends it at once: asyncio would rather cancel the task, which cannot be while it waits for a line, and
    `input` may swallow it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        click.echo(question, nl=False, err=True)
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        line = ""
    finally:
        signal.signal(signal.SIGINT, before)
    if not line:
        click.echo(err=True)
        raise click.Abort
    return line.strip()


def _make_streams_ready() -> None:
    """Open those that whoever called us has closed, and let none fail for a letter that its encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  # open as long as we run
        elif isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _console(*, stderr: bool) -> Console:
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)
