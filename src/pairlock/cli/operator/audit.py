"""`pairlock audit`: what happened, who did it, and what happens from now on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection

import click

from pairlock._core.records import AuditEvent, EventType
from pairlock._core.wire import event_answer
from pairlock.cli.moments import second
from pairlock.cli.operator.finding import find_device, is_id
from pairlock.cli.operator.operating import Operating, operator_command
from pairlock.cli.terminal import Terminal, quoted, safe, spoken

PAGE = 500  # events that are read at once
WIDTH = max(map(len, EventType))

Wanted = Callable[[AuditEvent], bool]


@operator_command(
    "audit", examples=["pairlock audit --limit 20", "pairlock audit --type revoked --json", "pairlock audit --follow"]
)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="The last so many.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on, until Ctrl-C.")
@click.option(
    "types",
    "--type",
    type=click.Choice(list(map(str, EventType)), case_sensitive=False),
    multiple=True,
    metavar="TYPE",
    help=f"Only these; as often as there are: {', '.join(EventType)}.",
)
@click.option("--device", metavar="WHICH", help="Only of this device: its id or name; the whole id if it was revoked.")
async def audit(
    *, terminal: Terminal, operating: Operating, limit: int, follow: bool, types: Collection[str], device: str | None
) -> None:
    """Show what happened, newest last.

    With --json: one object, {"events": [...]}; with --follow, one object a line.
    """
    device_id = None if device is None else await _device_id(operating, device)

    def is_wanted(event: AuditEvent) -> bool:
        return (not types or event.type in types) and device_id in (None, event.device_id)

    if follow:
        await _follow(terminal, operating, limit, is_wanted)
    else:
        _show(terminal, await _last(operating, limit, is_wanted))


COMMANDS = {"audit": audit}


def _show(terminal: Terminal, events: list[AuditEvent]) -> None:
    if events or terminal.as_json:
        shown = "\n".join(map(_line, events))
        terminal.answer({"events": [event_answer(event) for event in events]}, shown)
    else:
        terminal.note("Nothing of that kind has happened.")


async def _device_id(operating: Operating, which: str) -> str:
    return which.lower() if is_id(which) else (await find_device(operating, which)).id


async def _last(operating: Operating, limit: int, is_wanted: Wanted) -> list[AuditEvent]:
    """The newest events of those that are wanted; the newest last."""
    found: list[AuditEvent] = []
    before: int | None = None
    while len(found) < limit and (page := await operating.pairlock.audit.list(before=before, limit=PAGE)):
        found += filter(is_wanted, page)
        before = page[-1].seq
    return found[:limit][::-1]


async def _follow(terminal: Terminal, operating: Operating, limit: int, is_wanted: Wanted) -> None:
    """First what happened, then what happens: nothing between is left out, or said twice."""
    live = operating.pairlock.events()
    following = asyncio.ensure_future(anext(live))
    await asyncio.sleep(0)  # from here on it listens
    known = 0
    for event in await _last(operating, limit, is_wanted):
        _print(terminal, event)
        known = event.seq
    async for event in _from(following, live):
        if event.seq > known and is_wanted(event):
            _print(terminal, event)


async def _from(first: asyncio.Future[AuditEvent], rest: AsyncIterator[AuditEvent]) -> AsyncIterator[AuditEvent]:
    yield await first
    async for event in rest:
        yield event


def _print(terminal: Terminal, event: AuditEvent) -> None:
    terminal.answer(event_answer(event), _line(event))


def _line(event: AuditEvent) -> str:
    """An event on one line: when, what, whose, by whom, and what there is to say of it."""
    said = [f"by {safe(event.by)}", *_details(event)]
    who = [quoted(event.name)] if event.name else []
    return f"{second(event.at)}  {event.type:<{WIDTH}}  {' '.join([*who, *said])}"


def _details(event: AuditEvent) -> list[str]:
    """What there is to say of an event."""
    address = event.origin.address if event.origin else ""
    return [
        *([f"({event.method})"] if event.method else []),
        *([f"from {safe(address)}"] if address else []),
        *([f"until {second(event.expires_at)}"] if event.expires_at and event.type is EventType.WINDOW_OPENED else []),
        *([f"may {spoken(event.permissions)}"] if event.permissions else []),
        *([f"reason: {safe(event.reason)}"] if event.reason else []),
        *([f"device {event.device_id}"] if event.device_id and event.device_id not in event.by else []),
    ]
