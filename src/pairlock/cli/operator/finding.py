"""Finds what an operator means by an id, the beginning of one, a name, or the user code that a device shows."""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple, TypeVar

from pairlock._core.codes import BASE20, ID_SYMBOLS
from pairlock._core.methods import DEVICE_CODE
from pairlock._core.names import clean_text, fold
from pairlock._core.records import Device, PairingRequest
from pairlock.cli.moments import ago, moment
from pairlock.cli.operator.listing import PAGE, aligned
from pairlock.cli.operator.operating import Operating
from pairlock.cli.outcomes import NoSuch
from pairlock.cli.terminal import countdown, quoted, safe
from pairlock.errors import InvalidCode, NotFound
from pairlock.services.deciding import MOST_SHOWN

T = TypeVar("T", Device, PairingRequest)

ID_LENGTH = 26
SHORTEST_PREFIX = 6
MOST_CANDIDATES = 10
AFTER_ALL_SYMBOLS = "~"  # what begins so sorts before a prefix with this at its end


class By(StrEnum):
    """How something was named: ids are ours, names are chosen by strangers, and so is who shows a user code."""

    ID = "id"
    NAME = "name"
    USER_CODE = "user code"


class Found(NamedTuple):
    """A pairing request, and how it was named."""

    request: PairingRequest
    by: By


async def find_device(operating: Operating, which: str) -> Device:
    """The paired device with this id, else the only one of this name or whose id begins so.

    Raises NoSuch, with the candidates. An id is never a name: strangers choose those.
    """
    device = await _device_of_id(operating, which)
    if device is not None:
        return device
    found = [] if is_id(which) else await _devices_called(operating, which)
    if not found:
        raise NoSuch(
            f"No device has the id or name {quoted(which)}. `pairlock devices list` shows all that are paired."
        )
    return _only(which, found, [_candidate(device, operating.now()) for device in found])


async def find_request(operating: Operating, which: str) -> Found:
    """The pairing request that is meant: by an id, a user code, or else a name or the beginning of an id.

    What has the form of a user code is one first, and wrong ones are limited: a stranger who sees a code could call
    himself so. Raises NoSuch, with the candidates; InvalidCode, TooManyRequests.
    """
    if is_id(which):
        with suppress(NotFound):
            return Found(await operating.pairlock.deciding.show(which.lower()), By.ID)
    elif is_user_code(which):
        operating.need_keys()
        with suppress(InvalidCode):
            return Found(await operating.pairlock.deciding.look_up(which, by=operating.operator), By.USER_CODE)
    if not is_id(which) and (found := await _pending_called(operating, which)):
        only = _only(which, found, _waiting(found, operating.now()))
        return Found(only, By.ID if _begins(only, which) else By.NAME)
    if is_user_code(which):
        raise InvalidCode
    raise NoSuch(
        f"No pairing request has the id or name {quoted(which)}. `pairlock requests list` shows all that wait."
    )


def is_id(which: str) -> bool:
    """Whether this has the form of an id."""
    return len(which) == ID_LENGTH and set(which.lower()) <= set(ID_SYMBOLS)


def is_prefix(which: str) -> bool:
    """Whether this has the form of the beginning of an id."""
    return SHORTEST_PREFIX <= len(which) <= ID_LENGTH and set(which.lower()) <= set(ID_SYMBOLS)


def is_user_code(which: str) -> bool:
    """Whether this has the form of a user code such as WDJB-MJHT, however it is typed."""
    typed = re.sub(r"[\s-]", "", which)
    return len(typed) == DEVICE_CODE.length and BASE20.normalise(typed) == typed.upper()


async def _device_of_id(operating: Operating, which: str) -> Device | None:
    if not is_id(which):
        return None
    try:
        return await operating.pairlock.devices.find(which.lower())
    except NotFound:
        return None


async def _pending_called(operating: Operating, which: str) -> list[PairingRequest]:
    pending, name = await operating.pairlock.deciding.pending(limit=MOST_SHOWN), _folded(which)
    return [request for request in pending if fold(request.name) == name or _begins(request, which)]


async def _devices_called(operating: Operating, which: str) -> list[Device]:
    """Those of this name and those whose id begins so, each once."""
    named, begun = await _devices_of_name(operating, which), await _devices_of_prefix(operating, which)
    return list({device.id: device for device in (*named, *begun)}.values())


async def _devices_of_name(operating: Operating, which: str) -> list[Device]:
    """Those of exactly this name come first of those that begin so."""
    found = await operating.pairlock.devices.search(which, limit=PAGE)
    return [device for device in found if fold(device.name) == _folded(which)]


async def _devices_of_prefix(operating: Operating, which: str) -> list[Device]:
    if not is_prefix(which):
        return []
    prefix = which.lower()
    found = await operating.pairlock.devices.list(before=prefix + AFTER_ALL_SYMBOLS, limit=PAGE)
    return [device for device in found if _begins(device, which)]


def _begins(found: Device | PairingRequest, which: str) -> bool:
    return is_prefix(which) and found.id.startswith(which.lower())


def _only(which: str, found: Sequence[T], candidates: Sequence[Sequence[str]]) -> T:
    if len(found) == 1:
        return found[0]
    lines = ["", *aligned(candidates[:MOST_CANDIDATES])]
    if len(found) > MOST_CANDIDATES:
        lines.append(f"and {len(found) - MOST_CANDIDATES} more")
    raise NoSuch(f"{quoted(which)} may be any of these {len(found)}; give the id:" + "\n  ".join(lines))


def _candidate(device: Device, now: float) -> tuple[str, ...]:
    return (
        device.id,
        quoted(device.name),
        f"paired {moment(device.created_at)}",
        f"seen {ago(device.seen_at, now)}",
    )


def _waiting(requests: Iterable[PairingRequest], now: float) -> list[tuple[str, ...]]:
    return [
        (
            each.id,
            quoted(each.name),
            f"from {safe(each.origin.address)}",
            f"{countdown(each.expires_at - now)} left",
        )
        for each in requests
    ]


def _folded(which: str) -> str:
    return fold(clean_text(which))
