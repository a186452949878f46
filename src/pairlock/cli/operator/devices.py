"""`pairlock devices`: who has paired, what they may do, and shutting them out."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import Device, EventType
from pairlock._core.wire import device_answer
from pairlock.cli.moments import ago, moment
from pairlock.cli.operator.finding import find_device
from pairlock.cli.operator.listing import PAGE, aligned, pages, print_list
from pairlock.cli.operator.operating import Operating, operator_command
from pairlock.cli.outcomes import DONE, FAILED
from pairlock.cli.patterns import takes_permissions
from pairlock.cli.terminal import NotSaid, Terminal, quoted, safe, spoken

COLUMNS = ("ID", "NAME", "BY", "PAIRED", "SEEN", "ADDRESS", "MAY")
WORD = "revoke"
NONE_PAIRED = "No devices are paired. `pairlock window open` lets one ask, `pairlock code` hands out a code."


@click.group("devices")
def devices_group() -> None:
    """List, rename, narrow and revoke paired devices.

    WHICH is a device's id, the beginning of it (six characters or more), or its name where no other has it. Write --
    before a name that begins with a dash.
    """


WHICH = click.argument("which", metavar="WHICH")


@operator_command(
    "list", group=devices_group, examples=["pairlock devices list", "pairlock devices list --name my --json"]
)
@click.option("--name", metavar="PREFIX", help="Only those whose name begins so, sorted by name.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many; without it, all.")
async def list_devices(*, terminal: Terminal, operating: Operating, name: str | None, limit: int | None) -> None:
    """List the devices that are paired, newest first. With --json: one object, {"devices": [...]}."""
    found = pages(_reading(operating, name), limit)
    shown = partial(_row, now=operating.now())
    count = await print_list(terminal, "devices", found, told=device_answer, columns=COLUMNS, shown=shown)
    if not count and not terminal.as_json:
        terminal.note(NONE_PAIRED if name is None else f"No device has a name that begins with {quoted(name)}.")


@operator_command("show", group=devices_group, examples=["pairlock devices show 'My Phone'"])
@WHICH
async def show(*, terminal: Terminal, operating: Operating, which: str) -> None:
    """Show all that is known of a device."""
    device = await find_device(operating, which)
    terminal.answer(device_answer(device), "\n".join(aligned(_facts(device, operating.now()))))


@operator_command("rename", group=devices_group, examples=["pairlock devices rename 'My Phone' 'Old Phone'"])
@WHICH
@click.argument("name")
async def rename(*, terminal: Terminal, operating: Operating, which: str, name: str) -> None:
    """Give a device another name."""
    device = await find_device(operating, which)
    renamed = await operating.pairlock.devices.rename(device.id, name, by=operating.operator.actor)
    terminal.answer(device_answer(renamed), f"{_named(device)} is now {_named(renamed)}.")


@operator_command(
    "narrow", group=devices_group, examples=["pairlock devices narrow 'My Phone' --read '/sensors/temperature'"]
)
@WHICH
@takes_permissions
@click.option("--nothing", is_flag=True, help="Leave it nothing; it stays paired.")
async def narrow(
    *, terminal: Terminal, operating: Operating, which: str, permissions: Permissions | None, nothing: bool
) -> None:
    """Leave a device less than it has: exactly what --read and --write say, at once."""
    if (permissions is None) != nothing:
        raise NotSaid("Say what is left to it: --read and --write, or --nothing.")
    device = await find_device(operating, which)
    left = NOTHING if permissions is None else permissions
    narrowed = await operating.pairlock.devices.narrow(device.id, left, by=operating.operator.actor)
    change = f"{spoken(device.permissions)} → {spoken(narrowed.permissions)}"
    terminal.answer(device_answer(narrowed), f"{_named(device)} may do less now: {change}")


@operator_command("revoke", group=devices_group, examples=["pairlock devices revoke 'My Phone'"])
@WHICH
async def revoke(*, terminal: Terminal, operating: Operating, which: str) -> None:
    """Shut a device out: refused and disconnected within a second. It has to pair again to come back."""
    device = await find_device(operating, which)
    gone = await operating.pairlock.devices.revoke(device.id, by=operating.operator.actor)
    terminal.answer(device_answer(gone), f"Revoked {_named(gone)} ({gone.id}): it is shut out.")


@operator_command("revoke-all", group=devices_group, examples=["pairlock devices revoke-all --yes"])
@click.option("--yes", is_flag=True, help="Do not ask, for scripts.")
async def revoke_all(*, terminal: Terminal, operating: Operating, yes: bool) -> int:
    """Shut every device out. Each has to pair again to come back."""
    count = await _count(operating)
    if count and not yes and not _is_meant(terminal, count):
        terminal.note("Nothing has changed.")
        return FAILED
    gone = await _revoke_all(terminal, operating, count)
    terminal.answer({"revoked": gone}, f"Revoked {_counted(gone)}." if gone else "No devices are paired.")
    return DONE


COMMANDS = {"devices": devices_group}


def _reading(operating: Operating, name: str | None) -> Callable[[Device | None, int], Awaitable[list[Device]]]:
    async def read(last: Device | None, limit: int) -> list[Device]:
        devices = operating.pairlock.devices
        if name is None:
            return await devices.list(before=None if last is None else last.id, limit=limit)
        return await devices.search(name, after=None if last is None else last.name_key, limit=limit)

    return read


def _row(device: Device, now: float) -> tuple[str, ...]:
    made, seen = moment(device.created_at), ago(device.seen_at, now)
    who = (device.id, safe(device.name), device.method)
    return (*who, made, seen, safe(device.origin.address) or "-", spoken(device.permissions))


def _facts(device: Device, now: float) -> list[tuple[str, str]]:
    ends = [] if device.expires_at is None else [("ends", f"{moment(device.expires_at)}, unless it refreshes before")]
    client = [("client", safe(device.client_id))] if device.client_id else []
    return [
        ("name", safe(device.name)),
        ("id", device.id),
        ("may", spoken(device.permissions)),
        ("paired", f"{moment(device.created_at)} by {device.method}, let in by {safe(device.approved_by)}"),
        ("seen", ago(device.seen_at, now)),
        *ends,
        ("from", f"{safe(device.origin.address) or '-'} {safe(device.origin.user_agent)}".rstrip()),
        *client,
    ]


def _named(device: Device) -> str:
    return quoted(device.name)


# Revoking all


async def _count(operating: Operating) -> int:
    return sum([len(page) async for page in pages(_reading(operating, None), None)])


def _is_meant(terminal: Terminal, count: int) -> bool:
    """Ask twice. Raises NotSaid where nobody can be asked."""
    question = f"{_counted(count)} will be shut out, and have to pair again. Go on?"
    if not terminal.confirm(question, otherwise="give --yes."):
        return False
    return terminal.ask(f"Type {count} or the word {WORD}").lower() in (str(count), WORD)


def _counted(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


async def _revoke_all(terminal: Terminal, operating: Operating, count: int) -> int:
    """Revoke all, while the feed tells how far that is."""
    bar = Progress(
        *(TextColumn("Revoking"), BarColumn(), MofNCompleteColumn()),
        console=terminal.err,
        transient=True,
        disable=not terminal.err.is_terminal or count <= PAGE,
    )
    with bar:
        task = bar.add_task("", total=count)
        telling = asyncio.create_task(_tell(operating, lambda device_id: bar.advance(task)))
        try:
            return await operating.pairlock.devices.revoke_all(by=operating.operator.actor)
        except asyncio.CancelledError:
            terminal.note(f"{_counted(await _count(operating))} left paired. Run it again to revoke them too.")
            raise
        finally:
            telling.cancel()


async def _tell(operating: Operating, revoked: Callable[[str | None], None]) -> None:
    async for event in operating.pairlock.events():
        if event.type is EventType.REVOKED:
            revoked(event.device_id)
