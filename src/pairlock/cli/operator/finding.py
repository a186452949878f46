"""Finds what an operator means by an id, the beginning of one, a name, or the user code that a device shows."""

import re
from collections.abc import Iterable, Sequence
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
from pairlock.cli.terminal import countdown, safe
from pairlock.errors import NotFound
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
    """The paired device with this id, else this name, else whose id begins so. Raises NoSuch, with the candidates."""
    device = await _device_of_id(operating, which)
    if device is not None:
        return device
    found = await _devices_of_name(operating, which) or await _devices_of_prefix(operating, which)
    if not found:
        raise NoSuch(
            f'No device has the id or name "{safe(which)}". `pairlock devices list` shows all that are paired.'
        )
    return _only(which, found, [_candidate(device, operating.now()) for device in found])


async def find_request(operating: Operating, which: str) -> Found:
    """The pairing request that is meant; by a user code, wrong ones of which are limited, when nothing else fits.

    Raises NoSuch, with the candidates; InvalidCode, TooManyRequests.
    """
    if is_id(which):
        try:
            return Found(await operating.pairlock.deciding.show(which.lower()), By.ID)
        except NotFound:
            pass
    pending, name = await operating.pairlock.deciding.pending(limit=MOST_SHOWN), _folded(which)
    if named := [request for request in pending if fold(request.name) == name]:
        return Found(_only(which, named, _waiting(named, operating.now())), By.NAME)
    if begun := [request for request in pending if is_prefix(which) and request.id.startswith(which.lower())]:
        return Found(_only(which, begun, _waiting(begun, operating.now())), By.ID)
    if is_user_code(which):
        operating.need_keys()
        return Found(await operating.pairlock.deciding.look_up(which, by=operating.operator), By.USER_CODE)
    raise NoSuch(
        f'No pairing request has the id or name "{safe(which)}". `pairlock requests list` shows all that wait.'
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


async def _devices_of_name(operating: Operating, which: str) -> list[Device]:
    """Those of exactly this name come first of those that begin so."""
    found = await operating.pairlock.devices.search(which, limit=PAGE)
    return [device for device in found if fold(device.name) == _folded(which)]


async def _devices_of_prefix(operating: Operating, which: str) -> list[Device]:
    if not is_prefix(which):
        return []
    prefix = which.lower()
    found = await operating.pairlock.devices.list(before=prefix + AFTER_ALL_SYMBOLS, limit=PAGE)
    return [device for device in found if device.id.startswith(prefix)]


def _only(which: str, found: Sequence[T], candidates: Sequence[Sequence[str]]) -> T:
    if len(found) == 1:
        return found[0]
    lines = ["", *aligned(candidates[:MOST_CANDIDATES])]
    if len(found) > MOST_CANDIDATES:
        lines.append(f"and {len(found) - MOST_CANDIDATES} more")
    raise NoSuch(f'"{safe(which)}" may be any of these {len(found)}; give the id:' + "\n  ".join(lines))


def _candidate(device: Device, now: float) -> tuple[str, ...]:
    return (
        device.id,
        f'"{safe(device.name)}"',
        f"paired {moment(device.created_at)}",
        f"seen {ago(device.seen_at, now)}",
    )


def _waiting(requests: Iterable[PairingRequest], now: float) -> list[tuple[str, ...]]:
    return [
        (
            each.id,
            f'"{safe(each.name)}"',
            f"from {safe(each.origin.address)}",
            f"{countdown(each.expires_at - now)} left",
        )
        for each in requests
    ]


def _folded(which: str) -> str:
    return fold(clean_text(which))
