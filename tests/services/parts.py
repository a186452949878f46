"""What the tests of the services and of the sub-app share: settings, steps, and a store that fails on command."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from pairlock import Grant, Limits, Pairlock
from pairlock._core.records import AuditEvent, Device, PairingRequest
from pairlock.errors import TemporarilyUnavailable
from pairlock.services.pairing import Started
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Batch, Hits, R, Store, Write
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

T = TypeVar("T")

KEY = "the-key-of-these-tests-of-32-bytes"
OTHER_KEY = "another-key-of-these-tests-as-long"
MANY = "100000/second"
UNLIMITED = Limits(
    starts=MANY,
    pending_per_source=100_000,
    pending=100_000,
    denials=MANY,
    starts_in_all=MANY,
    wrong_pins=MANY,
    wrong_pins_in_a_row=100_000,
    wrong_pins_a_day=100_000,
    wrong_codes=MANY,
    wrong_codes_in_all=MANY,
    wrong_user_codes=MANY,
    wrong_user_codes_per_source=MANY,
    wrong_user_codes_in_all=MANY,
    wrong_secrets=MANY,
    refreshes=MANY,
    code_polls=MANY,
    codes=100_000,
)
SENSORS = {"read": ["/sensors/**"], "write": ["/control/lamp"]}


Make = Callable[..., Pairlock]


@asynccontextmanager
async def handles(**given: Any) -> AsyncIterator[Make]:
    """Makes handles with these settings, and those it is called with; all are closed in the end."""
    made: list[Pairlock] = []

    def make(**settings: Any) -> Pairlock:
        made.append(Pairlock(**{"secret_keys": [KEY], **given, **settings}))
        return made[-1]

    try:
        yield make
    finally:
        for pairlock in made:
            await pairlock.aclose()


def wrong(pin: str | None) -> str:
    """A PIN that is not this one."""
    return "000000" if pin != "000000" else "111111"


def the_pin(pairlock: Pairlock, started: Started) -> str:
    """What the service displays for this request."""
    pin = pairlock.deciding.pin(started.request)
    assert pin is not None
    return pin


async def pair(pairlock: Pairlock, name: str = "Phone") -> Redeemed:
    """A device that has paired by PIN."""
    started = await pairlock.pairing.start(name)
    return await pairlock.pairing.submit_pin(started.request.id, started.secret, the_pin(pairlock, started))


async def paired_token(pairlock: Pairlock, name: str = "Phone") -> str:
    """The token of a device that has paired by PIN."""
    return pairlock.tokens.access((await pair(pairlock, name)).device)[0]


async def kept(path: Path, request_id: str) -> PairingRequest | None:
    """A request as the file has it."""
    return await reading(path, lambda store: store.find(PairingRequest, request_id))


async def kept_events(path: Path) -> list[AuditEvent]:
    """The audit as the file has it, oldest first."""
    return (await reading(path, lambda store: store.list_events(limit=10_000)))[::-1]


async def kept_devices(path: Path) -> list[Device]:
    """The devices that are paired, as the file has them."""
    return await reading(path, lambda store: store.list_devices(limit=10_000))


async def reading(path: Path, read: Callable[[Store], Awaitable[T]]) -> T:
    """What a handle of its own reads from the file."""
    store = SQLiteStore(path)
    await store.open()
    try:
        return await read(store)
    finally:
        await store.aclose()


async def until(told: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until this is true."""
    async with asyncio.timeout(seconds):
        while not told():  # noqa: ASYNC110  # what is waited for may be in another process
            await asyncio.sleep(0.005)


def permitted(grant: Grant) -> tuple[bool, bool]:
    """Whether a grant lets a device read a sensor, and switch the lamp."""
    return grant.allows("read", "/sensors/a"), grant.allows("write", "/control/lamp")


class FailingStore:
    """A store whose calls fail on command: `errors` names them; `silent` withholds the
    change feed, `ends` ends it once; `closes_after` so many seconds."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.errors: dict[str, Exception] = {}
        self.once: dict[str, list[Exception]] = {}
        self.calls: Counter[str] = Counter()
        self.silent = self.ends = False
        self.closes_after = 0.0

    def _call(self, name: str) -> None:
        self.calls[name] += 1
        if self.once.get(name):
            raise self.once[name].pop(0)
        if name in self.errors:
            raise self.errors[name]

    async def open(self) -> None:
        self._call("open")
        await self.store.open()

    async def aclose(self) -> None:
        await asyncio.sleep(self.closes_after)
        await self.store.aclose()

    async def commit(self, *writes: Write) -> None:
        self._call("commit")
        await self.store.commit(*writes)

    async def find(self, kind: type[R], id: str) -> R | None:
        self._call(f"find {kind.__name__}")
        return await self.store.find(kind, id)

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        return await self.store.find_code(digest)

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        self._call("list_requests")
        return await self.store.list_requests(live_at=live_at, before=before, limit=limit)

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        self._call("list_devices")
        return await self.store.list_devices(before=before, limit=limit)

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        self._call("search_devices")
        return await self.store.search_devices(prefix, after=after, limit=limit)

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        return await self.store.list_events(before=before, limit=limit)

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        self._call("hit")
        return await self.store.hit(key, window, now, amount)

    async def touch(self, seen: Mapping[str, float]) -> None:
        self._call("touch")
        await self.store.touch(seen)

    async def check(self) -> None:
        self._call("check")
        await self.store.check()

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        self._call("purge")
        return await self.store.purge(now, limit)

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        self._call("watch")
        async with aclosing(self.store.watch(since)) as batches:
            async for batch in batches:
                self._call("batch")
                if self.ends:
                    self.ends = False
                    return
                while self.silent:  # noqa: ASYNC110  # a test switches it
                    await asyncio.sleep(0.01)
                yield batch


def away() -> TemporarilyUnavailable:
    """What a store raises that does not answer."""
    return TemporarilyUnavailable(retry_after=1)
