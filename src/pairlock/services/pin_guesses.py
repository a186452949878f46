"""The PIN method as a whole: how many wrong PINs it has taken, whether it is held, and who reopens it."""

import logging

from msgspec import convert, to_builtins

from pairlock._core import guesses
from pairlock._core.events import service_event
from pairlock._core.guesses import Guesses
from pairlock._core.methods import PIN
from pairlock._core.operators import APP
from pairlock._core.records import EventType, Setting
from pairlock.errors import PinHeld
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Log, Write, put

logger = logging.getLogger("pairlock")

KEY = "pin_guesses"


class PinGuesses:
    """Counts the PINs of all requests, in the writes that count them for their own requests too."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.upkeep.each_minute(self.hold_if_used_up)  # for a process that ended between counting and holding

    async def is_held(self) -> bool:
        """Whether no PIN may be tried until an operator reopens the method."""
        return self._is_used_up((await self._load())[1])

    async def check(self) -> None:
        """Raises PinHeld while no PIN may be tried."""
        if await self.is_held():
            raise PinHeld

    async def counted(self, now: float) -> Write:
        """The write that counts one more PIN, not yet looked at. Raises PinHeld when none may be tried."""
        setting, known = await self._load()
        if self._is_used_up(known):
            raise PinHeld
        return _write(setting, guesses.count(known, now))

    async def acquitted(self, counted_at: float) -> Write:
        """The write that takes back the PIN that was counted then: it was right."""
        setting, known = await self._load()
        return _write(setting, guesses.acquit(known, counted_at))

    async def hold_if_used_up(self, now: float) -> None:
        """Hold the method once its guesses are used up; written down, and told, once."""

        async def attempt() -> None:
            setting, known = await self._load()
            if known.held_at is None and self._is_used_up(known):
                held = Guesses(known.row, known.wrong, now)
                event = service_event(EventType.HELD, now, PIN.name, method=PIN.name)
                await self._runtime.commit(_write(setting, held), Log(event))
                logger.warning("pairing by PIN is held after too many wrong PINs, until an operator reopens it")

        await self._runtime.settle(attempt)

    async def reopen(self, *, by: str = APP.actor) -> None:
        """Let PINs be tried again. Raises PinHeld with `retry_after` when a day's guesses are used up."""

        async def attempt() -> None:
            setting, known = await self._load()
            now, limits = self._runtime.clock(), self._runtime.settings.limits
            if wait := guesses.seconds_to_wait(known, now, a_day=limits.wrong_pins_a_day):
                raise PinHeld(retry_after=int(wait) + 1)
            if self._is_used_up(known):
                event = service_event(EventType.REOPENED, now, by, method=PIN.name)
                await self._runtime.commit(_write(setting, guesses.reopen(known)), Log(event))

        await self._runtime.settle(attempt)

    async def _load(self) -> tuple[Setting | None, Guesses]:
        store = await self._runtime.ready()
        setting = await store.find(Setting, KEY)
        return setting, Guesses() if setting is None else convert(setting.value, Guesses)

    def _is_used_up(self, known: Guesses) -> bool:
        limits = self._runtime.settings.limits
        in_a_row, a_day = limits.wrong_pins_in_a_row, limits.wrong_pins_a_day
        return guesses.is_used_up(known, self._runtime.clock(), in_a_row=in_a_row, a_day=a_day)


def _write(setting: Setting | None, counted: Guesses) -> Write:
    return put(setting, Setting(id=KEY, value=to_builtins(counted)))
