"""The pairing window, shared by all processes: opened for a while, closed, and looked at when a device asks."""

from msgspec import UNSET, UnsetType, convert, to_builtins

from pairlock._core.events import service_event
from pairlock._core.operators import APP
from pairlock._core.records import EventType, Setting
from pairlock._core.windows import Window, has_ended, is_open
from pairlock.errors import InvalidRequest, WindowClosed
from pairlock.services.runtime import Runtime
from pairlock.stores.contract import Log, put

LONGEST = 86400.0
KEY = "window"


class Windows:
    """Opens and closes the pairing window. As long as nobody has, it is as `window_open` of the settings says."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.upkeep.each_minute(self._close_in_time)

    async def status(self) -> Window:
        """The window as it is now."""
        window, now = (await self._load())[1], self._runtime.clock()
        if has_ended(window, now):
            return _closed_by_time(window)
        return window if is_open(window, now) else Window(False, None, window.since, window.by)

    async def check(self) -> None:
        """Raises WindowClosed unless requests are taken now."""
        if not is_open((await self._load())[1], self._runtime.clock()):
            raise WindowClosed

    async def open(self, seconds: float | UnsetType | None = UNSET, *, by: str = APP.actor) -> Window:
        """Take requests for so many seconds; for `window_timeout` of the settings unless it is said.

        None is until it is closed. Raises InvalidRequest.
        """
        if seconds is UNSET:
            seconds = self._runtime.settings.window_timeout
        elif seconds is not None and not (type(seconds) in (int, float) and 1 <= seconds <= LONGEST):
            raise InvalidRequest(detail=f"the window opens for 1 to {LONGEST:.0f} seconds, or until it is closed")
        now = self._runtime.clock()
        until = None if seconds is None else now + seconds
        return await self._set(Window(True, until, now, by), EventType.WINDOW_OPENED)

    async def close(self, *, by: str = APP.actor) -> Window:
        """Take no more requests. Those that wait can still be approved by hand, or cancelled."""
        return await self._set(Window(False, None, self._runtime.clock(), by), EventType.WINDOW_CLOSED)

    async def _load(self) -> tuple[Setting | None, Window]:
        store = await self._runtime.ready()
        setting = await store.find(Setting, KEY)
        if setting is None:
            return None, Window(self._runtime.settings.window_open)
        return setting, convert(setting.value, Window)

    async def _set(self, window: Window, type: EventType) -> Window:
        async def attempt() -> Window:
            setting, _ = await self._load()
            event = service_event(type, window.since, window.by, expires_at=window.until)
            await self._runtime.commit(put(setting, _kept(window)), Log(event))
            return window

        return await self._runtime.settle(attempt)

    async def _close_in_time(self, now: float) -> None:
        """Write down that time has closed it; one process does."""

        async def attempt() -> None:
            setting, window = await self._load()
            if setting is None or not has_ended(window, now):
                return
            event = service_event(EventType.WINDOW_CLOSED, now, "time")
            await self._runtime.commit(put(setting, _kept(_closed_by_time(window))), Log(event))

        await self._runtime.settle(attempt)


def _kept(window: Window) -> Setting:
    return Setting(id=KEY, value=to_builtins(window))


def _closed_by_time(window: Window) -> Window:
    return Window(False, None, window.until or window.since, "time")
