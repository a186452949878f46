"""`pairlock login`: by a code that this device was given, or by one that it shows."""

import asyncio
import os
import sys
from time import monotonic
from typing import Self

import click
from rich.live import Live

from pairlock._core.codes import CROCKFORD
from pairlock._core.derived import CONFIRMATION_LENGTH
from pairlock.cli.device.asking import PinPrompt
from pairlock.cli.device.browsing import can_browse, opened
from pairlock.cli.device.holding import Wish, finished, pairing_command
from pairlock.cli.terminal import Terminal, countdown
from pairlock.client import DeviceCode, Progress, aio
from pairlock.client.credentials import Credential
from pairlock.errors import ExpiredToken, InvalidPin

STDIN = "-"
SEEN = "here it can be read in the list of processes and in the shell's history"


@pairing_command(
    "login",
    examples=[
        "pairlock login https://house.example",
        "pairlock login https://house.example --code -",
        "pairlock login 'https://house.example/pair/qr#1D97…'",
    ],
)
@click.argument("url")
@click.option("--code", help="A one-time code, such as K3F9-X2NM, that the service gave out; - to be asked for it.")
@click.option("--browser/--no-browser", default=None, help="Whether to open the page where the code is typed.")
async def login(*, terminal: Terminal, wish: Wish, url: str, code: str | None, browser: bool | None) -> Credential:
    """Pair with the service at URL by a code.

    With --code, by one that its operator handed out. Without, this device shows a code, and the page where it is
    typed (RFC 8628); on a desktop the page is opened. What a QR code says will do for URL too.
    """
    if code is not None:
        return await finished(aio.redeem(url, _code(terminal, code), name=wish.name, **wish.how()))
    if "#" in url:
        terminal.warn(f"the code is a secret, and {SEEN}.")
        return await finished(aio.pair_with_qr(url, name=wish.name, **wish.how()))
    may_open = can_browse(os.environ, sys.platform) if browser is None else browser
    with Showing(terminal, may_open=may_open) as showing:
        logging_in = aio.device_login(
            url,
            name=wish.name,
            permissions=wish.permissions,
            on_code=showing.code,
            on_progress=showing.progress,
            confirm=showing.confirm,
            **wish.how(),
        )
        return await finished(logging_in)


class Showing:
    """Shows the code of this device, for how long it counts, and asks for what confirms it."""

    def __init__(self, terminal: Terminal, *, may_open: bool) -> None:
        self._terminal = terminal
        self._may_open = may_open
        self._expires_at = 0.0
        self._attempts_left: int | None = None
        self._prompt: PinPrompt | None = None
        self._live = Live(console=terminal.err, get_renderable=self._left, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    async def code(self, code: DeviceCode) -> None:
        """Show it, and open its page where that can be done."""
        self._expires_at = monotonic() + code.expires_in
        self._terminal.note(f"The code of this device: {code.user_code}", style="bold")
        if code.has_page:
            self._terminal.note(f"Type it at {code.verification_uri}")
            if self._may_open and await opened(code.verification_uri_complete or code.verification_uri):
                self._terminal.note("It was opened in your browser.")
        self._terminal.note(f"The service's operator may also run: pairlock requests approve {code.user_code}")
        if self._terminal.is_interactive:
            self._live.start()

    def progress(self, progress: Progress) -> None:
        """What the service says of the time left."""
        self._expires_at = monotonic() + progress.seconds_left
        self._attempts_left = progress.attempts_left

    async def confirm(self) -> str:
        """The PIN that the operator sees after approving. Raises Locked, ExpiredToken, InvalidPin."""
        if self._prompt is None:
            self._live.stop()
            self._terminal.note("Approved. The operator sees a PIN now.")
            self._prompt = PinPrompt(self._terminal, CONFIRMATION_LENGTH, self._seconds_left)
        else:
            self._prompt.refuse(InvalidPin(attempts_left=self._attempts_left))
        try:
            async with asyncio.timeout(self._seconds_left()):
                pin = await self._prompt.ask()
        except TimeoutError:
            raise ExpiredToken from None
        if pin is None:
            raise click.UsageError("The operator sees a PIN that has to be typed here, and none was.")
        return pin

    def _left(self) -> str:
        return f"Waiting for its approval ({countdown(self._seconds_left())} left); Ctrl-C to give up."

    def _seconds_left(self) -> float:
        return self._expires_at - monotonic()


def _code(terminal: Terminal, code: str) -> str:
    if code != STDIN:
        terminal.warn(f"the code is a secret, and {SEEN}; --code - asks for it, or reads it from a pipe.")
    given = terminal.ask("Code") if code == STDIN else code
    if not CROCKFORD.normalise(given):
        raise click.UsageError("No code was given; one reads K3F9-X2NM.")
    return given


COMMANDS = {"login": login}
