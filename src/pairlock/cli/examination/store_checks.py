"""What `pairlock doctor` finds in the store; a store that is not there is not made."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pairlock._core.records import AuditEvent
from pairlock.cli import outcomes
from pairlock.cli.examination.checks import Finding, ok, problem, size_of, store_url, warning
from pairlock.cli.moments import moment, second
from pairlock.cli.terminal import countdown
from pairlock.configuration import Configuration
from pairlock.errors import ConfigurationError, StoreError, TemporarilyUnavailable
from pairlock.facade import Pairlock
from pairlock.stores import open_store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

YEARS = 1_735_689_600, 4_102_444_800  # from 2025, when there was no pairlock, to 2100
TOLERANCE = 5.0  # seconds that clocks of several machines may differ
MOST = 100  # that are counted


async def check_store(configuration: Configuration, pairlock: Pairlock, now: Callable[[], float]) -> list[Finding]:
    """Whether the store can be used, what the clock is by it, and what waits in it."""
    store = open_store(store_url(configuration))
    if isinstance(store, MemoryStore):
        return [warning("store", "memory:// forgets all devices with its process"), check_clock([], now())]
    if isinstance(store, SQLiteStore) and (missing := _missing(Path(store.path))):
        return [problem("store", missing), check_clock([], now())]
    try:
        await pairlock.start()
        return [await check_health(pairlock), *await _look_into(configuration, pairlock, now())]
    except (ConfigurationError, StoreError, TemporarilyUnavailable) as error:
        return [problem("store", outcomes.line(error)), check_clock([], now())]
    finally:
        await pairlock.aclose()


def check_clock(newest: Sequence[AuditEvent], now: float) -> Finding:
    """Whether the clock of this machine can be right."""
    if not YEARS[0] < now < YEARS[1]:
        return problem("clock", f"it says {moment(now)}; set it: tokens end by it")
    ahead = newest[0].at - now if newest else 0.0
    if ahead > TOLERANCE:
        says = f"the newest event in the store is {countdown(ahead)} ahead of this machine's clock, {second(now)}"
        return problem("clock", f"{says}; set the clocks of all machines that use the store, as by NTP")
    return ok("clock", second(now))


def _missing(path: Path) -> str | None:
    """What to do about a database that is not there; one that is empty would be made by opening it."""
    try:
        if size_of(path):
            return None
    except OSError as error:
        return f"{path} cannot be looked at ({error.strerror}); run this as the user of the service"
    return f"there is no {path}; run this where the service keeps it, give --store or --config, or start the service"


async def check_health(pairlock: Pairlock) -> Finding:
    """Whether an open store can be worked with."""
    health, devices = await pairlock.health(), await pairlock.devices.list(limit=MOST)
    if not health.ok:
        return problem("store", "it opens, but does not answer as it should; look again in a moment")
    return ok("store", f"it answers, and has the schema of this version; {_number(len(devices), 'paired device')}")


async def _look_into(configuration: Configuration, pairlock: Pairlock, now: float) -> list[Finding]:
    newest, waiting = await pairlock.audit.list(limit=1), await pairlock.deciding.pending(limit=MOST)
    return [
        check_clock(newest, now),
        await _check_pins(pairlock),
        await _check_window(configuration, pairlock, now),
        ok("requests", f"{_number(len(waiting), 'device')} waiting for a decision"),
    ]


async def _check_pins(pairlock: Pairlock) -> Finding:
    if await pairlock.pin_guesses.is_held():
        says = "held after too many wrong PINs; `pairlock requests reopen` lets PINs be tried again"
        return warning("PIN method", says)
    return ok("PIN method", "PINs may be tried")


async def _check_window(configuration: Configuration, pairlock: Pairlock, now: float) -> Finding:
    window = await pairlock.window.status()
    if not pairlock.settings.enabled:
        return warning("window", "the settings say enabled: false, so nobody can pair")
    if not window.by and "window_open" not in configuration.pairing:
        return ok("window", "nobody has opened or closed it; `pairlock serve` begins with it closed")
    if not window.open:
        return ok("window", "closed")
    return ok(
        "window", "open until it is closed" if window.until is None else f"open for {countdown(window.until - now)}"
    )


def _number(count: int, what: str) -> str:
    if count == 0:
        return f"no {what}s"
    return f"1 {what}" if count == 1 else f"{count}{' or more' if count == MOST else ''} {what}s"
