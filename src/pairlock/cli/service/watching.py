"""Follows what waits for a decision, for the displays of `pairlock serve`."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, PairingRequest
from pairlock._core.requests import grantable
from pairlock._core.windows import Window
from pairlock.cli.outcomes import line
from pairlock.errors import PairlockError
from pairlock.facade import Pairlock
from pairlock.services.deciding import MOST_SHOWN, first_of_each_source

WHILE_ASKED = 1.0  # seconds between looks; wrong PINs are counted without an event
WHILE_QUIET = 5.0

Clock = Callable[[], float]


class Shown(Struct, frozen=True):
    """A pairing request with what displays show of it: its PIN (None: the key is gone), and what approving grants."""

    request: PairingRequest
    pin: str | None
    permissions: Permissions

    def __repr__(self) -> str:
        return f"<Shown {self.request.id}>"


class Scene(Struct, frozen=True):
    """What there is to see: the first request of each source, how many wait behind them, the window and the hold."""

    shown: tuple[Shown, ...] = ()
    behind: int = 0
    window: Window = Window(False)
    held: bool = False


class Viewer(Protocol):
    """Who is told of requests and of what becomes of them, to show it."""

    def see(self, scene: Scene) -> None:
        """What there is to see has perhaps changed."""

    def hear(self, event: AuditEvent) -> None:
        """Something has happened."""

    def say(self, text: str) -> None:
        """Something is to be told beside that."""


async def watch(pairlock: Pairlock, viewer: Viewer) -> None:
    """Keep a viewer up to date until the service closes."""
    stirred = asyncio.Event()
    await until_one_ends(_listen(pairlock, viewer, stirred), _look(pairlock, viewer, stirred))


async def look(pairlock: Pairlock) -> Scene:
    """What there is to see now."""
    waiting = await pairlock.deciding.pending(limit=MOST_SHOWN)
    first = first_of_each_source(waiting)
    default = pairlock.settings.default_permissions
    return Scene(
        tuple(Shown(each, pairlock.deciding.pin(each), grantable(each, default)) for each in first),
        len(waiting) - len(first),
        await pairlock.window.status(),
        await pairlock.pin_guesses.is_held(),
    )


def stirs(event: AuditEvent) -> bool:
    """Whether this may change what there is to see; that devices refresh and come and go does not."""
    return bool(event.request_id) or not event.device_id


async def until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run these side by side until one of them ends; then the others are cancelled. Raises what one of them raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _listen(pairlock: Pairlock, viewer: Viewer, stirred: asyncio.Event) -> None:
    async for event in pairlock.events():
        viewer.hear(event)
        if stirs(event):
            stirred.set()


async def _look(pairlock: Pairlock, viewer: Viewer, stirred: asyncio.Event) -> None:
    trouble = ""
    while True:
        stirred.clear()
        trouble, pause = await _show(pairlock, viewer, trouble)
        with suppress(TimeoutError):
            await asyncio.wait_for(stirred.wait(), pause)


async def _show(pairlock: Pairlock, viewer: Viewer, trouble: str) -> tuple[str, float]:
    """Show what there is to see; what keeps from it now, said once, and for how long that lasts."""
    try:
        scene = await look(pairlock)
    except PairlockError as error:
        if line(error) != trouble:
            viewer.say(line(error))
        return line(error), WHILE_QUIET
    viewer.see(scene)
    return "", WHILE_ASKED if scene.shown else WHILE_QUIET
