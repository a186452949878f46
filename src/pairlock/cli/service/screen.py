"""The live display in a terminal: paints what it shows, reads keys, and does what they ask for."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prompt_toolkit.input import Input
from rich.console import Console, Group
from rich.live import Live

from pairlock._core.operators import Operator
from pairlock._core.records import AuditEvent
from pairlock.cli.outcomes import line
from pairlock.cli.service.banner import WIDTH, Banner
from pairlock.cli.service.display import LiveDisplay, Pressed
from pairlock.cli.service.watching import Clock, Scene, until_one_ends, watch
from pairlock.errors import AlreadyDecided, PairlockError
from pairlock.facade import Pairlock

FRAME = 0.25  # seconds between two looks whether something else is to be shown
PASTED = 5  # keys that come in one piece were not pressed


class Screen:
    """Shows requests in a terminal, where keys decide. `stop` ends the service."""

    def __init__(
        self, console: Console, keys: Input, operator: Operator, stop: Callable[[], None], *, clock: Clock = time.time
    ) -> None:
        self._console = console
        self._keys = keys
        self._operator = operator
        self._stop = stop
        self._clock = clock
        self._pressed: asyncio.Queue[Pressed] = asyncio.Queue()

    async def follow(self, pairlock: Pairlock, banner: Banner) -> None:
        """Show what happens until the service closes; then the terminal is as it was."""
        self._pairlock, self._banner = pairlock, banner
        self._state = LiveDisplay(banner.device_url, enabled=banner.enabled)
        self._greet()
        with self._keys.raw_mode(), self._keys.attach(self._read), self._painting():
            await until_one_ends(watch(pairlock, self), self._decide(), self._tick())

    # What happens

    def see(self, scene: Scene) -> None:
        """What there is to see has perhaps changed."""
        self._state.see(scene, self._clock())
        self._paint()

    def hear(self, event: AuditEvent) -> None:
        """Something has happened."""
        self._state.hear(event)

    def say(self, text: str) -> None:
        """Something is to be told beside that."""
        self._state.say(text)
        self._paint()

    # Keys

    def _read(self) -> None:
        keys = [press.key for press in self._keys.read_keys()]
        for key in keys if len(keys) < PASTED else ():
            self._press(key.lower())
        if self._keys.closed:  # the terminal has gone
            self._stop()
        self._paint()

    def _press(self, key: str) -> None:
        pressed = self._state.press(key, self._clock())
        if pressed is None:
            return
        if pressed.action == "quit":
            self._stop()
        elif pressed.action == "suspend":
            self._suspend()
        else:
            self._pressed.put_nowait(pressed)

    async def _decide(self) -> None:
        while True:
            pressed = await self._pressed.get()
            try:
                await self._do(pressed)
            except AlreadyDecided as error:
                self.say(f"Somebody was faster: {pressed.name} is {error.state}")
            except PairlockError as error:
                self.say(line(error))
            finally:
                self._state.done(pressed)

    async def _do(self, pressed: Pressed) -> None:
        if pressed.action == "approve":
            await self._pairlock.deciding.approve(pressed.request_id, by=self._operator)
        elif pressed.action == "deny":
            await self._pairlock.deciding.deny(pressed.request_id, by=self._operator)
        elif pressed.action == "reopen":
            await self._pairlock.pin_guesses.reopen(by=self._operator.actor)
        else:
            await self._turn_window()

    async def _turn_window(self) -> None:
        window, by = self._pairlock.window, self._operator.actor
        if (await window.status()).open:
            await window.close(by=by)
        else:
            await window.open(by=by)

    # The terminal

    async def _tick(self) -> None:
        while True:
            self._paint()
            await asyncio.sleep(FRAME)

    @contextmanager
    def _painting(self) -> Iterator[None]:
        self._begin()
        try:
            yield
        finally:
            self._live.stop()

    def _begin(self) -> None:
        self._size = self._console.size
        self._painted: list[tuple[object, ...]] = []
        self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()

    def _paint(self) -> None:
        """Bring the screen up to date, where it is not: nothing is sent while nothing changes."""
        if self._console.size != self._size:
            self._begin_anew()
        frame = self._state.render(self._console, self._clock())
        painted: list[tuple[object, ...]] = [(text.plain, text.style, text.spans) for text in frame]
        if painted != self._painted:
            self._painted = painted
            self._live.update(Group(*frame), refresh=True)

    def _begin_anew(self) -> None:
        """The terminal has another size, and has moved the lines that were there."""
        self._live.stop()
        self._console.clear()
        self._greet()
        self._begin()

    def _greet(self) -> None:
        for label, text in self._banner.rows():
            self._console.print(f"{label:<{WIDTH}}  {text}")

    def _suspend(self) -> None:
        """Give the terminal back until this process goes on, as Ctrl-Z does everywhere."""
        self._live.stop()
        with self._keys.cooked_mode():
            signal.raise_signal(signal.SIGTSTP)
        self._begin()
