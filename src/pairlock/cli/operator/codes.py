"""`pairlock code` and `pairlock qr`: hand out a code that lets one device in, and say who came in with it."""

import asyncio
import shlex
import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.panel import Panel

from pairlock._core.methods import ONE_TIME_CODE, QR, grouped
from pairlock._core.permissions import Permissions
from pairlock._core.wire import code_answer
from pairlock.cli.durations import Duration
from pairlock.cli.operator.operating import Operating, operator_command
from pairlock.cli.operator.redeeming import wait_until_redeemed
from pairlock.cli.operator.saving import save
from pairlock.cli.outcomes import DONE, FAILED
from pairlock.cli.patterns import takes_permissions
from pairlock.cli.terminal import NotSaid, Terminal, countdown, spoken
from pairlock.errors import PairlockError
from pairlock.services.codes import LIVES, uri_of
from pairlock.services.pictures import END, INK, Picture
from pairlock.settings import check_address

ADDRESS = click.option(
    "--address", metavar="URL", help="Where devices reach the service; else the setting issuer, or as it was served."
)
NO_ADDRESS = "https://ADDRESS-OF-THE-SERVICE/pair"


def _takes_what_is_granted(life: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that both commands have, with how long such a code counts by default."""
    told = f"For how long, in seconds or as 5:00.  [default: {countdown(life)}]"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @takes_permissions
        @click.option("--expires-in", type=Duration(LIVES[0], LIVES[-1]), default=life, help=told)
        @click.option("--hint", default="", metavar="TEXT", help="A note of yours, such as who gets it.")
        @click.option("--no-wait", is_flag=True, help="Do not wait until a device has come in with it.")
        @wraps(function)
        def call(**given: Any) -> Any:
            return function(**given)

        return call

    return decorate


@operator_command(
    "code",
    examples=["pairlock code --no-wait", "pairlock code --read '/sensors/**' --address https://house.example/pair"],
)
@_takes_what_is_granted(ONE_TIME_CODE.lifetime)
@ADDRESS
async def code(
    *,
    terminal: Terminal,
    operating: Operating,
    permissions: Permissions | None,
    expires_in: float,
    hint: str,
    no_wait: bool,
    address: str | None,
) -> int:
    """Hand out a one-time code, and say who came in with it.

    It grants default_permissions of the settings unless --read and --write say what. With --json there are two
    objects, a line each: the code, and how it ended. Ctrl-C withdraws it.
    """
    granted = _granted(operating, permissions)
    minted = await operating.pairlock.codes.mint(granted, expires_in=expires_in, hint=hint, by=operating.operator)
    shown = grouped(minted.code)
    terminal.answer(code_answer(minted.request, operating.now(), code=shown), Panel.fit(f" {shown} ", style="bold"))
    if not terminal.as_json:
        reached = address or operating.address or NO_ADDRESS
        terminal.out.print(f"On the device: pairlock login {shlex.quote(reached)} --code {shown}")
        terminal.out.print(f"It grants: {spoken(granted)}")
    return DONE if no_wait else await wait_until_redeemed(terminal, operating, minted.request)


@operator_command(
    "qr",
    examples=[
        "pairlock qr --address https://house.example/pair --no-wait",
        "pairlock qr --address https://house.example/pair --read '/sensors/**' --png code.png --no-wait",
    ],
)
@_takes_what_is_granted(QR.lifetime)
@ADDRESS
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file instead.")
@click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file instead.")
async def qr(
    *,
    terminal: Terminal,
    operating: Operating,
    permissions: Permissions | None,
    expires_in: float,
    hint: str,
    no_wait: bool,
    address: str | None,
    svg: Path | None,
    png: Path | None,
) -> int:
    """Show a QR code, and say who came in with it.

    It lets one device in, and grants default_permissions of the settings unless --read and --write say what. Whoever
    sees the picture can come in with it: a file is for its owner only. Ctrl-C withdraws the code.
    """
    granted, base = _granted(operating, permissions), address or operating.address
    if base is None:
        raise NotSaid("Say where devices reach the service: --address, or issuer in the settings.")
    if not all(_may_be_written(terminal, file) for file in (svg, png) if file is not None):
        terminal.note("Nothing has changed.")
        return FAILED
    check_address(base, "--address")
    codes, operator = operating.pairlock.codes, operating.operator
    minted = await codes.mint(granted, method=QR.name, expires_in=expires_in, hint=hint, by=operator)
    try:
        picture = Picture(uri_of(base, minted.code))
        written = await asyncio.to_thread(_save, picture, svg, png)
    except (OSError, PairlockError):
        await codes.withdraw(minted.request.id, by=operator)
        raise
    if not written and not terminal.as_json:
        _draw(terminal, picture)
    told = code_answer(minted.request, operating.now(), uri=picture.uri)
    terminal.answer(told, "\n".join([*written, f"Address: {picture.uri}", f"It grants: {spoken(granted)}"]))
    return DONE if no_wait else await wait_until_redeemed(terminal, operating, minted.request)


COMMANDS = {"code": code, "qr": qr}


def _granted(operating: Operating, permissions: Permissions | None) -> Permissions:
    """What the code will grant. Raises NotSaid where nobody says, ConfigurationError without keys."""
    operating.need_keys()
    granted = permissions or operating.default_permissions
    if granted is None:
        raise NotSaid("Say what it grants, with --read and --write: no default_permissions are set here.")
    return granted


def _may_be_written(terminal: Terminal, file: Path) -> bool:
    return not file.exists() or terminal.confirm(f"{file} is there already. Replace it?", otherwise="name another.")


def _save(picture: Picture, svg: Path | None, png: Path | None) -> list[str]:
    """Write the files that are asked for; what was written."""
    drawings = {svg: lambda: picture.svg().encode(), png: picture.png}
    wanted = {file: draw() for file, draw in drawings.items() if file is not None}
    for file, content in wanted.items():
        save(file, content)
    return [f"Wrote {file}" for file in wanted]


def _draw(terminal: Terminal, picture: Picture) -> None:
    """Draw it where there is room: a line that is broken makes it unreadable."""
    drawn = picture.terminal()
    needed = len(drawn.split("\n", 1)[0]) - len(INK) - len(END)
    if terminal.out.is_terminal and shutil.get_terminal_size().columns < needed:
        terminal.warn(f"the QR code needs {needed} columns: make the terminal wider, or use --png or --svg")
    else:
        click.echo(drawn, color=True)  # it sets both colours, so that it is dark on light everywhere
