"""`pairlock requests`: devices that ask to be let in, and the operator's answers."""

from typing import Any

import click

from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import PairingRequest
from pairlock._core.requests import attempts_left, grantable, seconds_left, state_at
from pairlock._core.states import State
from pairlock._core.wire import pending_answer
from pairlock.cli.moments import moment
from pairlock.cli.operator.finding import By, Found, find_request
from pairlock.cli.operator.operating import Operating, operator_command
from pairlock.cli.operator.window import HELD, is_known, opened_by
from pairlock.cli.outcomes import DONE, FAILED, REFUSED
from pairlock.cli.patterns import takes_permissions
from pairlock.cli.terminal import NotSaid, Terminal, countdown, quoted, safe, spoken
from pairlock.errors import AlreadyDecided, PinHeld
from pairlock.services.deciding import MOST_SHOWN


@click.group("requests")
def requests_group() -> None:
    """List, approve and deny the devices that ask to be let in.

    WHICH is a request's id, the beginning of it (six characters or more), the name of its device where no other that
    waits has it, or the user code that a device shows, such as WDJB-MJHT.
    """


WHICH = click.argument("which", metavar="WHICH")


@operator_command("list", group=requests_group, examples=["pairlock requests list", "pairlock requests list --json"])
async def list_requests(*, terminal: Terminal, operating: Operating) -> None:
    """List the devices that ask by PIN, newest first, with their PINs.

    Those that show a user code are not listed: whoever has the code has seen the device.
    """
    pending = await operating.pairlock.deciding.pending(limit=MOST_SHOWN)
    told = {"requests": [_told(operating, request) for request in pending]}
    if pending or terminal.as_json:
        terminal.answer(told, "\n\n".join(_asks(operating, request) for request in pending))
    else:
        terminal.note("No device asks to be let in." + await _hint(operating))
    if await operating.pairlock.pin_guesses.is_held():
        terminal.warn(HELD)


@operator_command(
    "approve",
    group=requests_group,
    examples=[
        "pairlock requests approve 'My Phone' --yes",
        "pairlock requests approve 'Kitchen Radio' --read '/sensors/temperature' --message 'Welcome' --yes",
    ],
)
@WHICH
@takes_permissions
@click.option("--message", metavar="TEXT", help="What the device is told.")
@click.option("--yes", is_flag=True, help="Do not ask whether that is the one, for scripts.")
async def approve(
    *,
    terminal: Terminal,
    operating: Operating,
    which: str,
    permissions: Permissions | None,
    message: str | None,
    yes: bool,
) -> int:
    """Let a device in without its PIN, with what it asks for unless --read and --write say less.

    Asks whether it is the right one, unless it was named by its id.
    """
    found = await find_request(operating, which)
    granted = _granted(operating, found.request, permissions)
    if found.by is not By.ID and not yes and not _is_meant(terminal, found, granted):
        terminal.note("Nothing has changed.")
        return FAILED
    approved = await operating.pairlock.deciding.approve(
        found.request.id, permissions=permissions, message=message, by=operating.operator
    )
    terminal.answer(_told(operating, approved), _let_in(operating, approved))
    return DONE


@operator_command(
    "deny", group=requests_group, examples=["pairlock requests deny 'Stranger' --reason 'Ask at the reception'"]
)
@WHICH
@click.option("--reason", metavar="TEXT", help="What the device is told.")
async def deny(*, terminal: Terminal, operating: Operating, which: str, reason: str | None) -> None:
    """Refuse a device; its address may not ask again at once."""
    found = await find_request(operating, which)
    denied = await operating.pairlock.deciding.deny(found.request.id, reason=reason, by=operating.operator)
    terminal.answer(_told(operating, denied), f"Denied {_named(denied)}.")


@operator_command("reopen", group=requests_group, examples=["pairlock requests reopen"])
async def reopen(*, terminal: Terminal, operating: Operating) -> int:
    """Let PINs be tried again, after too many wrong ones held the method."""
    try:
        await operating.pairlock.pin_guesses.reopen(by=operating.operator.actor)
    except PinHeld as held:
        then = moment(operating.now() + held.retry_after)
        terminal.answer(held.body(), f"The wrong PINs of a day are used up: PINs wait until {then}. Codes go on.")
        return REFUSED
    terminal.answer({"held": False}, "PINs can be tried.")
    return DONE


COMMANDS = {"requests": requests_group}


def _told(operating: Operating, request: PairingRequest) -> dict[str, Any]:
    """As over HTTP, without what is not known here."""
    deciding, default = operating.pairlock.deciding, operating.default_permissions
    answer = pending_answer(
        request,
        default=default or NOTHING,
        network="unknown",
        now=operating.now(),
        pin=deciding.pin(request, operating.operator),
        confirmation_pin=deciding.confirmation_pin(request),
    )
    is_known = default is not None or request.granted is not None or request.requested is not None
    return answer if is_known else {name: value for name, value in answer.items() if name != "permissions"}


def _asks(operating: Operating, request: PairingRequest) -> str:
    """A request as the operator reads it out."""
    now, pin = operating.now(), operating.pairlock.deciding.pin(request, operating.operator)
    left = f"{countdown(seconds_left(request, now))}, {attempts_left(request)} attempts left"
    return "\n".join(
        [
            f"Pairing request from {_named(request)}",
            f"PIN: {pin or 'not known here, for the key that it was made with is not'}",
            f"Expires in {left}",
            f"Would get: {_would_get(operating, request)}",
            f"From: {_from(request)}",
            f"Id: {request.id}",
        ]
    )


def _would_get(operating: Operating, request: PairingRequest) -> str:
    if request.requested is None and operating.default_permissions is None:
        return "the service's default_permissions, which are not known here"
    return spoken(grantable(request, operating.default_permissions or NOTHING))


def _named(request: PairingRequest) -> str:
    return quoted(request.name)


def _from(request: PairingRequest) -> str:
    agent = safe(request.origin.user_agent)
    return (safe(request.origin.address) or "an unknown address") + (f" ({agent})" if agent else "")


async def _hint(operating: Operating) -> str:
    """What keeps devices from asking, as far as that is known here."""
    window = await operating.pairlock.window.status()
    if is_known(operating, window) and window.open:
        return ""
    if is_known(operating, window):
        return f" The pairing window is closed{opened_by(window)}: `pairlock window open` lets devices ask."
    return " Nobody has opened or closed the pairing window yet: `pairlock window open` lets devices ask."


# Approving


def _granted(operating: Operating, request: PairingRequest, permissions: Permissions | None) -> Permissions:
    """What approving grants. Raises AlreadyDecided where it is too late, NotSaid when that would be nothing."""
    state = state_at(request, operating.now())
    if state is not State.PENDING:
        raise AlreadyDecided(state=state.value)
    granted = permissions or grantable(request, operating.default_permissions or NOTHING)
    if granted == NOTHING:
        raise NotSaid(
            f"{_named(request)} asks for nothing in particular, and no default_permissions are set here:"
            " say what it may do, with --read and --write."
        )
    return granted


def _is_meant(terminal: Terminal, found: Found, granted: Permissions) -> bool:
    """Ask: anybody can choose a name, or send somebody a user code of a device of their own."""
    terminal.note(f"{_named(found.request)} from {_from(found.request)} will get: {spoken(granted)}")
    return terminal.confirm("Let it in?", otherwise="give --yes, or its id.")


def _let_in(operating: Operating, approved: PairingRequest) -> str:
    told = f"Approved {_named(approved)} from {_from(approved)}: {spoken(approved.granted or NOTHING)}."
    pin = operating.pairlock.deciding.confirmation_pin(approved)
    return told if pin is None else f"{told}\nIt is let in once this PIN is typed on it: {pin}"
