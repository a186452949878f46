"""Steps of the tests about codes and tokens; stores for two handles each; and the process that redeems with others:
`python -m tests.services.codes_parts DATABASE`, which says "ready", reads codes and says which it redeemed.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pairlock import Client, Operator, Pairlock, Permissions
from pairlock._core.records import AuditEvent, EventType, Origin, PairingRequest
from pairlock.errors import InvalidCode
from pairlock.services.codes import Minted
from pairlock.services.device_codes import DeviceCode
from pairlock.services.tokens import Redeemed
from pairlock.stores import open_store
from pairlock.stores.contract import Hits, R, Store, Write
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.stores.sqlite import SQLiteStore
from tests.services.parts import KEY, SENSORS

T = TypeVar("T")

DEFAULT = Permissions.parse(SENSORS)
NARROW = Permissions(read=("/sensors/a",))
WIDER = Permissions(read=("/**",))
ALICE = Operator("alice")
BOB = Operator("bob")
TV = Client(id="tv", name="Telly")
RADIO = Client(id="radio")
SOMEWHERE = Origin("192.0.2.7")
SECRET = "the-secret-of-who-redeems"
ATTEMPTS_EACH = 10  # at each code, by each process
CALLERS = 8


class DistantStore(MemoryStore):
    """One whose calls take their time: others come between any two of them, and between asking and doing."""

    async def commit(self, *writes: Write) -> None:
        await asyncio.sleep(0)
        await super().commit(*writes)
        await asyncio.sleep(0)

    async def find(self, kind: type[R], id: str) -> R | None:
        await asyncio.sleep(0)
        found = await super().find(kind, id)
        await asyncio.sleep(0)
        return found

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        await asyncio.sleep(0)
        found = await super().list_requests(live_at=live_at, before=before, limit=limit)
        await asyncio.sleep(0)
        return found

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        await asyncio.sleep(0)
        return await super().hit(key, window, now, amount)


class RecordingStore(SQLiteStore):
    """One that remembers what was committed together."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[tuple[Write, ...]] = []

    async def commit(self, *writes: Write) -> None:
        await super().commit(*writes)
        self.commits.append(writes)


# How a handle on data of a test's own is made, again and again. A further store is one more line.
STORES: Mapping[str, Callable[[Callable[[str], Any]], Callable[[], Store]]] = {
    "sqlite": lambda fixture: partial(SQLiteStore, fixture("tmp_path") / "pairlock.db"),
    "memory": lambda fixture: partial(MemoryStore, MemoryData()),
    "distant": lambda fixture: partial(DistantStore, MemoryData()),
    "postgresql": lambda fixture: partial(open_store, fixture("postgres").url()),
    "valkey": lambda fixture: partial(open_store, fixture("valkey").url()),
}


async def by_code(pairlock: Pairlock, *, secret: str | None = None, name: str = "Laptop") -> Redeemed:
    """A device that has paired by a one-time code."""
    return await pairlock.codes.redeem((await pairlock.codes.mint(DEFAULT)).code, name, secret=secret)


async def mint_with(pairlock: Pairlock, symbol: str) -> Minted:
    """A one-time code with this symbol in it."""
    while True:
        minted = await pairlock.codes.mint(DEFAULT)
        if symbol in minted.code:
            return minted


async def by_device_code(pairlock: Pairlock, client: Client = TV) -> Redeemed:
    """A device that has paired by device code, approved by the application."""
    return await pairlock.device_codes.redeem((await approved(pairlock, client)).device_code, client)


async def approved(pairlock: Pairlock, client: Client = TV) -> DeviceCode:
    """A device code that an operator has let in."""
    started = await pairlock.device_codes.start(client)
    await pairlock.deciding.approve(started.request.id)
    return started


async def audited(pairlock: Pairlock) -> list[AuditEvent]:
    """What happened, oldest first."""
    return (await pairlock.audit.list(limit=10_000))[::-1]


async def happened(pairlock: Pairlock) -> list[EventType]:
    """The kinds of what happened, oldest first."""
    return [event.type for event in await audited(pairlock)]


async def at_once(times: int, *calls: Callable[[], Awaitable[T]]) -> tuple[list[T], list[BaseException]]:
    """What these calls, taking turns, return and raise when so many of them run at the same time."""
    told = await asyncio.gather(*(calls[turn % len(calls)]() for turn in range(times)), return_exceptions=True)
    errors = [each for each in told if isinstance(each, BaseException)]
    return [each for each in told if not isinstance(each, BaseException)], errors


async def purge(pairlock: Pairlock, now: float) -> None:
    """Drop what nobody can need any more."""
    await (await pairlock._runtime.ready()).purge(now)


async def redeem_with_others(path: str, codes: Sequence[str]) -> dict[str, list[str]]:
    """Try to redeem every code several times; the devices that each one made."""
    pairlock = Pairlock(store=f"sqlite:///{path}", secret_keys=[KEY], default_permissions=SENSORS)
    made: dict[str, list[str]] = {}

    async def caller(mine: Sequence[str]) -> None:
        for code in mine:
            try:
                redeemed = await pairlock.codes.redeem(code, "Laptop")
            except InvalidCode:
                continue
            made.setdefault(code, []).append(redeemed.device.id)

    attempts = [code for code in codes for _ in range(ATTEMPTS_EACH)]
    await asyncio.gather(*(caller(attempts[number::CALLERS]) for number in range(CALLERS)))
    await pairlock.aclose()
    return made


if __name__ == "__main__":
    print("ready", flush=True)
    print(json.dumps(asyncio.run(redeem_with_others(sys.argv[1], json.loads(sys.stdin.readline())))))
