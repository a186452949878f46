"""Steps of the tests about limits, decisions, the hold, the window and the audit."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from pairlock import Client, Limits, Pairlock
from pairlock._core.records import AuditEvent, EventType, Origin, PairingRequest
from pairlock.errors import InvalidPin
from pairlock.services.device_codes import DeviceCode
from pairlock.services.pairing import Started
from pairlock.services.tokens import Redeemed
from pairlock.services.upkeep import MINUTE
from pairlock.stores.sqlite import SQLiteStore
from tests.services.parts import MANY, FailingStore, the_pin, until, wrong

T = TypeVar("T")

TV = Client(id="tv", name="Television")
HERE = Origin("192.0.2.7")
THERE = Origin("198.51.100.9")
ELSEWHERE = Origin("203.0.113.5")
OFTEN = Limits(starts=MANY, denials=MANY)  # one source may ask as often as a test needs; places stay few
ATTEMPTS = 5


class MeetingStore(FailingStore):
    """A store on a file; once `meeting` is set, who lists requests next waits there with what it has read."""

    def __init__(self, path: Path) -> None:
        super().__init__(SQLiteStore(path))
        self.meeting: asyncio.Barrier | None = None

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        found = await super().list_requests(live_at=live_at, before=before, limit=limit)
        meeting, self.meeting = self.meeting, None
        if meeting is not None:
            async with asyncio.timeout(5):
                await meeting.wait()
        return found


_serial = itertools.count(1)


def anywhere() -> Origin:
    """A source that nobody has seen before."""
    serial = next(_serial)
    return Origin(f"10.{serial >> 16 & 255}.{serial >> 8 & 255}.{serial & 255}")


async def ask(pairlock: Pairlock, origin: Origin | None = None, name: str = "Phone") -> Started:
    """A request by PIN, from anywhere unless it is said."""
    return await pairlock.pairing.start(name, origin=origin or anywhere())


async def ask_by_device_code(pairlock: Pairlock, origin: Origin | None = None) -> DeviceCode:
    """A request by device code, from anywhere unless it is said."""
    return await pairlock.device_codes.start(TV, origin=origin or anywhere())


async def ask_and_go(pairlock: Pairlock, origin: Origin) -> None:
    """A request that is withdrawn at once: it uses up a start, and no place."""
    started = await ask(pairlock, origin)
    await pairlock.pairing.cancel(started.request.id, started.secret)


async def type_pin(
    pairlock: Pairlock, started: Started, pin: str | None = None, origin: Origin | None = None
) -> Redeemed:
    """Type the right PIN, unless another is said; where the device asked, unless elsewhere is said."""
    typed = the_pin(pairlock, started) if pin is None else pin
    return await pairlock.pairing.submit_pin(
        started.request.id, started.secret, typed, origin=origin or started.request.origin
    )


async def mistype(pairlock: Pairlock, started: Started, times: int = 1, origin: Origin | None = None) -> None:
    """Type a wrong PIN that is looked at, so many times."""
    for _ in range(times):
        with pytest.raises(InvalidPin):
            await type_pin(pairlock, started, wrong(the_pin(pairlock, started)), origin)


async def guess(pairlock: Pairlock, times: int) -> None:
    """So many wrong PINs that are looked at, over requests and sources as many as it takes."""
    while times:
        now = min(times, ATTEMPTS)
        started = await ask(pairlock)
        await mistype(pairlock, started, now)
        await pairlock.pairing.cancel(started.request.id, started.secret)
        times -= now


async def poll(pairlock: Pairlock, started: Started) -> PairingRequest:
    """The device looks how its request stands, and does not wait."""
    return await pairlock.pairing.wait(started.request.id, started.secret, 0)


async def redeem(pairlock: Pairlock, started: Started) -> Redeemed:
    """Redeem what was approved."""
    return await pairlock.pairing.redeem(started.request.id, started.secret)


async def happened(pairlock: Pairlock) -> list[AuditEvent]:
    """Every audit event, oldest first."""
    return (await pairlock.audit.list(limit=10_000))[::-1]


async def types(pairlock: Pairlock) -> list[str]:
    """The types of every audit event, oldest first."""
    return [event.type.value for event in await happened(pairlock)]


async def of_type(pairlock: Pairlock, type: EventType) -> list[AuditEvent]:
    """Every audit event of this type, oldest first."""
    return [event for event in await happened(pairlock) if event.type is type]


async def do_chores(*pairlocks: Pairlock) -> None:
    """Wait until one of these processes has done what is done every minute; the clock has moved on by one."""
    for each in pairlocks:
        await until(partial(_is_looked_after, each))


def _is_looked_after(pairlock: Pairlock) -> bool:
    return pairlock._runtime.upkeep._minute == int(pairlock._runtime.clock() // MINUTE)


async def until_so(told: Callable[[], Awaitable[object]]) -> None:
    """Wait until this comes to something."""
    async with asyncio.timeout(5):
        while not await told():  # noqa: ASYNC110  # what is waited for may be in another process
            await asyncio.sleep(0.005)


async def wait_for_answer(pairlock: Pairlock, started: Started, seconds: float) -> asyncio.Task[PairingRequest]:
    """A device that waits for its answer, as soon as the service knows that it does."""

    async def is_known() -> bool:
        return (await pairlock.deciding.show(started.request.id)).present_until is not None

    waiting = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, seconds))
    await until_so(is_known)
    return waiting


async def all_of(calls: int, call: Callable[[int], Awaitable[T]]) -> list[T | BaseException]:
    """What this comes to when it is called so many times at once."""
    return await asyncio.gather(*(call(turn) for turn in range(calls)), return_exceptions=True)


def no_places(limits: Limits = OFTEN) -> Limits:
    """Limits under which any number may wait."""
    return replace(limits, pending=100_000, pending_per_source=100_000)
