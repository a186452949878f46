"""`pairlock window`: while it is open, new pairing requests are taken."""

from typing import Any

import click
from msgspec import UNSET

from pairlock._core.windows import Window
from pairlock._core.wire import window_answer
from pairlock.cli.durations import Duration
from pairlock.cli.moments import time_of_day
from pairlock.cli.operator.operating import Operating, operator_command
from pairlock.cli.terminal import Terminal, countdown, safe
from pairlock.services.windows import LONGEST

HELD = "Pairing by PIN is held after too many wrong PINs; `pairlock requests reopen` lets PINs be tried again."
DISABLED = "The settings say enabled: false, so nobody can pair."
UNTOUCHED = (
    "Nobody has opened or closed the pairing window yet: it is as the service began. `pairlock serve` begins with it"
    " closed."
)


@click.group("window")
def window_group() -> None:
    """Open and close the pairing window.

    While it is closed, no device may ask to be let in. Codes go on.
    """


@operator_command(
    "open", group=window_group, examples=["pairlock window open --timeout 10:00", "pairlock window open --until-closed"]
)
@click.option(
    "--timeout",
    "seconds",
    type=Duration(1, LONGEST),
    help="For how long, in seconds or as 5:00; without it, for window_timeout of the settings (5:00).",
)
@click.option("--until-closed", is_flag=True, help="Until somebody closes it.")
async def open_window(*, terminal: Terminal, operating: Operating, seconds: float | None, until_closed: bool) -> None:
    """Let devices ask for a while, on all running servers."""
    if seconds is not None and until_closed:
        raise click.UsageError("Give --timeout or --until-closed, not both.")
    life = None if until_closed else UNSET if seconds is None else seconds
    window = await operating.pairlock.window.open(life, by=operating.operator.actor)
    await _answer(terminal, operating, window)


@operator_command("close", group=window_group, examples=["pairlock window close"])
async def close(*, terminal: Terminal, operating: Operating) -> None:
    """Let no device ask any more. Those that wait can still be approved."""
    await _answer(terminal, operating, await operating.pairlock.window.close(by=operating.operator.actor))


@operator_command("status", group=window_group, examples=["pairlock window status", "pairlock window status --json"])
async def status(*, terminal: Terminal, operating: Operating) -> None:
    """Say whether devices may ask now, and whether PINs may be tried."""
    await _answer(terminal, operating, await operating.pairlock.window.status())


COMMANDS = {"window": window_group}


def is_known(operating: Operating, window: Window) -> bool:
    """Whether it is known here if the window is open: somebody opened or closed it, or the settings say."""
    return bool(window.by) or operating.knows_window


def opened_by(window: Window) -> str:
    """Who opened or closed it."""
    return f", by {safe(window.by)}" if window.by else ""


async def _answer(terminal: Terminal, operating: Operating, window: Window) -> None:
    held = await operating.pairlock.pin_guesses.is_held()
    told: dict[str, Any] = {**window_answer(window, operating.now()), "held": held}
    if not is_known(operating, window):
        told["open"] = None
    terminal.answer(told, _spoken(window, operating.now()) if is_known(operating, window) else UNTOUCHED)
    if held:
        terminal.warn(HELD)
    if not operating.pairlock.settings.enabled:
        terminal.warn(DISABLED)


def _spoken(window: Window, now: float) -> str:
    if not window.open:
        return f"The pairing window is closed{opened_by(window)}."
    if window.until is None:
        return f"The pairing window is open until it is closed{opened_by(window)}."
    left, end = countdown(window.until - now), time_of_day(window.until)
    return f"The pairing window is open for {left}, until {end}{opened_by(window)}."
