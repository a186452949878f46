"""Waits for what becomes of a code: it was redeemed, it has expired, or it was withdrawn."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pairlock._core.records import PairingRequest
from pairlock._core.requests import state_at
from pairlock._core.states import LIVE, State
from pairlock._core.wire import code_answer
from pairlock.cli.operator.operating import Operating
from pairlock.cli.outcomes import DONE, EXPIRED, INTERRUPTED, REFUSED
from pairlock.cli.terminal import Terminal, countdown, quoted, safe
from pairlock.errors import AlreadyRedeemed, TemporarilyUnavailable

LOOK_EVERY = 0.2  # seconds
WAITING = "Waiting for a device; Ctrl-C withdraws the code."


async def wait_until_redeemed(terminal: Terminal, operating: Operating, minted: PairingRequest) -> int:
    """Say how the code ended; the exit code. When this is cancelled the code is withdrawn."""
    try:
        ended = await _ended(terminal, operating, minted)
    except asyncio.CancelledError:  # Ctrl-C
        with suppress(AlreadyRedeemed):  # it was about to be
            await operating.pairlock.codes.withdraw(minted.id, by=operating.operator)
        _say(terminal, operating, await _look(operating, minted))
        return INTERRUPTED
    return _say(terminal, operating, ended)


async def _ended(terminal: Terminal, operating: Operating, minted: PairingRequest) -> PairingRequest:
    known = minted
    with _countdown(terminal) as show:
        while state_at(known, operating.now()) in LIVE:
            show(known.expires_at - operating.now())
            await asyncio.sleep(LOOK_EVERY)
            known = await _look(operating, known)
    return known


async def _look(operating: Operating, known: PairingRequest) -> PairingRequest:
    """The code as it is now; as it was while the store does not answer."""
    with suppress(TemporarilyUnavailable):
        return await operating.pairlock.codes.find(known.id, by=operating.operator) or known
    return known


@contextmanager
def _countdown(terminal: Terminal) -> Iterator[Callable[[float], None]]:
    """Shows the time left on a terminal; elsewhere it is said once that somebody is waited for."""
    if not terminal.err.is_terminal:
        terminal.note(WAITING)
        yield lambda left: None
        return
    with terminal.err.status(WAITING) as status:
        yield lambda left: status.update(f"{countdown(left)} left. {WAITING}")


def _say(terminal: Terminal, operating: Operating, ended: PairingRequest) -> int:
    now = operating.now()
    code, text = ENDS[state_at(ended, now)]
    terminal.answer(code_answer(ended, now), text(ended))
    return code


def _redeemed(request: PairingRequest) -> str:
    address = safe(request.origin.address) or "an unknown address"
    return f"Redeemed by {quoted(request.name)} from {address}: device {request.device_id}."


def _expired(request: PairingRequest) -> str:
    return "Nobody came in with it in time: it has expired."


def _withdrawn(request: PairingRequest) -> str:
    return "The code was withdrawn: nobody can come in with it."


ENDS = {State.REDEEMED: (DONE, _redeemed), State.EXPIRED: (EXPIRED, _expired), State.CANCELLED: (REFUSED, _withdrawn)}
