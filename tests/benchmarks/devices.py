"""Devices by the thousand: each is known by its number alone, so that any process can make its record and its token.

`python -m tests.benchmarks.devices URL COUNT` lets so many be paired.
"""

import asyncio
import sys
from collections.abc import Iterator

from msgspec.structs import replace

from pairlock import Pairlock, Permissions
from pairlock._core.codes import ID_RANDOM_BYTES, make_id
from pairlock._core.events import KEPT, device_event
from pairlock._core.records import Device, EventType, Origin
from pairlock.stores import open_store
from pairlock.stores.contract import Add, Log, Write
from tests.benchmarks.paired import PERMISSIONS

NAMES = ("Phone", "Tablet", "Lamp", "Thermostat", "Camera", "Door", "Laptop", "Watch", "Printer", "Speaker")
EVENT_EACH = 10  # devices; of the others the audit knows nothing any more
PAIRED_AT = 1_750_000_000.0  # the first one; each later one a second later
LASTING = 10 * 365 * 86400.0
AT_ONCE = 1000  # devices in one commit
WRITERS = 2  # so that the next commit is made ready while one is written

_TIME = make_id(PAIRED_AT, bytes(ID_RANDOM_BYTES))[:10]  # digits for the rest make an id too, and sooner
_MODEL = Device(
    id="",
    name="",
    method="pin",
    permissions=Permissions.parse(PERMISSIONS),
    created_at=0,
    request_id="",
    approved_by="pin",
    origin=Origin("2001:db8:7::1f", "benchmark/1 (a device of some make)"),
    family_digest=bytes(32),
    refresh_digest=bytes(32),
)


def device(number: int) -> Device:
    """The device with this number; higher ones are newer. Every tenth name begins alike."""
    made_id, paired_at = f"{_TIME}{number:016}", PAIRED_AT + number
    return replace(
        _MODEL,
        id=made_id,
        name=f"{NAMES[number % len(NAMES)]} {number:07}",
        created_at=paired_at,
        request_id=made_id,
        expires_at=paired_at + LASTING,
        purge_at=paired_at + LASTING,
    )


def token(pairlock: Pairlock, number: int) -> str:
    """A token of that device."""
    return pairlock.tokens.access(device(number))[0]


async def filling(url: str, count: int) -> None:
    """Let so many devices be paired, by a process of its own: several places can be filled at once."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.benchmarks.devices", url, str(count))
    if await process.wait():
        raise RuntimeError("a store could not be filled")


async def fill(url: str, count: int) -> None:
    """Let so many devices be paired, through the contract alone."""
    store = open_store(url)
    await store.open()
    batches = iter(range(0, count, AT_ONCE))

    async def write() -> None:
        for first in batches:
            await store.commit(*_writes(range(first, min(first + AT_ONCE, count))))

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    await store.aclose()


def _writes(numbers: range) -> Iterator[Write]:
    for number in numbers:
        made = device(number)
        yield Add(made)
        if number % EVENT_EACH == 0:
            event = device_event(EventType.REDEEMED, made, made.created_at, made.approved_by, made.origin)
            yield Log(replace(event, purge_at=made.created_at + 10 * KEPT))


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
