"""Displays that print line by line: for a pipe or a log, for programs, and for services that show no PIN."""

import time
from typing import Any

import click

from pairlock._core.records import AuditEvent
from pairlock._core.wire import event_answer, pending_answer
from pairlock.cli.service.banner import WIDTH, Banner
from pairlock.cli.service.story import Story, details, lines
from pairlock.cli.service.watching import Clock, Scene, Shown, watch
from pairlock.cli.terminal import Terminal
from pairlock.facade import Pairlock


class LineDisplay:
    """Prints each request as it comes, and what becomes of it."""

    def __init__(self, terminal: Terminal, *, clock: Clock = time.time) -> None:
        self.terminal = terminal
        self.clock = clock
        self._known: set[str] = set()

    async def follow(self, pairlock: Pairlock, banner: Banner) -> None:
        """Show what happens until the service closes."""
        self.begin(banner)
        await watch(pairlock, self)

    def see(self, scene: Scene) -> None:
        """Print those that have not been printed."""
        for shown in scene.shown:
            if shown.request.id not in self._known:
                self.ask(shown)
        self._known = {shown.request.id for shown in scene.shown}

    def say(self, text: str) -> None:
        """Something is to be told beside that."""
        self.terminal.warn(text)

    def begin(self, banner: Banner) -> None:
        """The service takes calls."""

    def hear(self, event: AuditEvent) -> None:
        """Something has happened."""

    def ask(self, shown: Shown) -> None:
        """A device asks."""


class PlainDisplay(LineDisplay):
    """For people who read a log."""

    def __init__(self, terminal: Terminal, *, clock: Clock = time.time) -> None:
        super().__init__(terminal, clock=clock)
        self._story = Story()

    def begin(self, banner: Banner) -> None:
        for label, text in [*banner.rows(), ("Window", banner.spoken_window(self.clock()))]:
            click.echo(f"{label:<{WIDTH}}  {text}")

    def see(self, scene: Scene) -> None:
        for ending in self._story.end(scene, self.clock()):
            click.echo(ending)
        super().see(scene)

    def hear(self, event: AuditEvent) -> None:
        told = self._story.tell(event)
        if told is not None:
            click.echo(told)

    def ask(self, shown: Shown) -> None:
        click.echo("\n".join(["", *lines(shown, self.clock()), *details(shown), ""]))


class JSONDisplay(LineDisplay):
    """For programs: an object a line, of the `type` listening, prompt, or what the audit calls what has happened."""

    def __init__(self, terminal: Terminal, *, shows_pins: bool = True, clock: Clock = time.time) -> None:
        super().__init__(terminal, clock=clock)
        self._shows_pins = shows_pins

    def begin(self, banner: Banner) -> None:
        self._print("listening", banner.answer(self.clock()))

    def hear(self, event: AuditEvent) -> None:
        self.terminal.json(event_answer(event))

    def ask(self, shown: Shown) -> None:
        pin, now = shown.pin if self._shows_pins else None, self.clock()
        told = pending_answer(shown.request, default=shown.permissions, network="unknown", now=now, pin=pin)
        self._print("prompt", told)

    def _print(self, type: str, told: dict[str, Any]) -> None:
        self.terminal.json({"type": type, **told})


class QuietDisplay(LineDisplay):
    """For services: says where it listens, on stderr, and nothing else."""

    def begin(self, banner: Banner) -> None:
        self.terminal.note(f"Listening on {', '.join(banner.urls)}")
