"""Questions amid async work, which Ctrl-C ends at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pairlock.cli.terminal import Terminal


def confirm(terminal: Terminal, question: str, *, otherwise: str) -> bool:
    """Ask; where nobody can be asked, a UsageError that tells the option to give."""
    with _interrupted_at_once():
        return terminal.confirm(question, otherwise=otherwise)


def ask(question: str) -> str:
    """What is typed, which may be nothing."""
    with _interrupted_at_once():
        return str(click.prompt(question, err=True, default="", show_default=False)).strip()


@contextmanager
def _interrupted_at_once() -> Iterator[None]:
    """asyncio lets Ctrl-C cancel what awaits, and whoever waits for a line does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except click.Abort:
        click.echo(err=True)  # what comes next stands on a line of its own
        raise
    finally:
        signal.signal(signal.SIGINT, before)
