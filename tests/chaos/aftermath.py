"""What is true afterwards: whatever was acknowledged is in the store, once."""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

from pairlock._core.records import AuditEvent, Device, EventType, PairingRequest
from pairlock._core.states import State
from pairlock.stores import open_store
from pairlock.stores.contract import Store
from tests.chaos.said import Said
from tests.chaos.workers import Worker

PAGE = 500
NOISE = ("Traceback", "never retrieved", "was destroyed", "Exception in", "exception")
NO_FEED = "no change feed"


class Kept:
    """Everything that a store has of what happened, read through a handle of its own."""

    def __init__(
        self, events: list[AuditEvent], requests: dict[str, PairingRequest], devices: dict[str, Device]
    ) -> None:
        self.events = events
        self.requests = requests
        self.devices = devices

    @classmethod
    async def read(cls, url: str) -> "Kept":
        """The audit names every request and every device there was."""
        async with opened(url) as store:
            events = await all_events(store)
            requests = [await store.find(PairingRequest, each) for each in {event.request_id or "" for event in events}]
            devices = [await store.find(Device, each) for each in {event.device_id or "" for event in events}]
            return cls(
                events,
                {each.id: each for each in requests if each is not None},
                {each.id: each for each in devices if each is not None},
            )

    def told_of(self, type: EventType) -> Counter[str]:
        """How often the audit has this, by request; by device where it is of one."""
        return Counter(event.request_id or event.device_id or "" for event in self.events if event.type is type)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def all_events(store: Store) -> list[AuditEvent]:
    """Oldest first."""
    found = await store.list_events(limit=PAGE)
    while page := await store.list_events(before=found[-1].seq, limit=PAGE):
        found += page
    return found[::-1]


def flaws_of(kept: Kept, said: Said) -> list[str]:
    """Everything that was acknowledged and is not so, or happened twice."""
    return [
        *_requests(kept, said),
        *_pairings(kept, said),
        *_devices(kept, said),
        *_decisions(kept, said),
        *_numbers(kept),
    ]


def _pairings(kept: Kept, said: Said) -> Iterable[str]:
    redeemed = kept.told_of(EventType.REDEEMED)
    made = {each.device_id: each.id for each in kept.requests.values() if each.state is State.REDEEMED}
    if made != {each.id: each.request_id for each in kept.devices.values()}:
        yield "requests that were redeemed and devices do not match one to one"
    yield from (f"{request_id} was redeemed {count} times" for request_id, count in redeemed.items() if count > 1)
    for request_id, devices in said.redeemed.items():
        if len(devices) > 1 or not redeemed[request_id] or {made.get(each) for each in devices} != {request_id}:
            yield f"pairing {request_id} was acknowledged for {devices}, and is not so"


def _requests(kept: Kept, said: Said) -> Iterable[str]:
    begun = kept.told_of(EventType.REQUESTED) + kept.told_of(EventType.MINTED)
    for each in said.requested:
        if each not in kept.requests or begun[each] != 1:
            yield f"request {each} was acknowledged; kept: {each in kept.requests}, in the audit: {begun[each]} times"


def _devices(kept: Kept, said: Said) -> Iterable[str]:
    kinds = EventType.REVOKED, EventType.REUSE_DETECTED, EventType.REFRESHED
    revoked, reused, refreshed = map(kept.told_of, kinds)
    for device in said.devices.values():
        gone = kept.devices[device.id].revoked_at is not None
        if device.revoked_at is not None and not gone:
            yield f"the revocation of {device.id} was acknowledged, and is not so"
        if gone and not device.revoking:
            yield f"{device.id} is revoked and nobody asked for it"
        if revoked[device.id] != gone:
            yield f"{device.id} is revoked: {gone}, and the audit says so {revoked[device.id]} times"
        if reused[device.id] and not device.given_up:
            yield f"a refresh token of {device.id} counted as reused"
        if refreshed[device.id] < device.refreshed:
            yield f"{device.id} was refreshed {device.refreshed} times, the audit says {refreshed[device.id]} times"


def _decisions(kept: Kept, said: Said) -> Iterable[str]:
    for state, requests in said.decided.items():
        told = kept.told_of(EventType(state))
        for each in requests:
            found = kept.requests[each].state
            is_so = found == state or (state == State.APPROVED and found is State.REDEEMED)
            if told[each] != 1 or not is_so:
                yield f"{each} was {state} and is {found}, the audit says so {told[each]} times"


def _numbers(kept: Kept) -> Iterable[str]:
    numbers = [event.seq for event in kept.events]
    if numbers != sorted(set(numbers)):
        yield "the numbers of the events do not rise"


async def flaws_of_feed(url: str, kept: Kept) -> list[str]:
    """What a watcher is told who starts at the beginning."""
    last, told = kept.events[-1].seq, list[int]()
    async with opened(url) as store, aclosing(store.watch(0)) as batches:
        async for batch in batches:
            told += [event.seq for event in batch.events]
            if batch.cursor >= last:
                break
    return [] if told == [event.seq for event in kept.events] else ["the feed does not tell each event once, in order"]


def flaws_of_file(url: str) -> list[str]:
    """Whether SQLite finds its file sound."""
    if not url.startswith("sqlite:"):
        return []
    with closing(sqlite3.connect(Path(url.removeprefix("sqlite:///")))) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()
    return [] if found == ("ok",) else [f"the file is not sound: {found}"]


def flaws_of_log(worker: Worker, troubles: int) -> list[str]:
    """A log has nothing that nobody expected, and says once in each trouble that the feed is gone."""
    lines = worker.log.read_text().splitlines()
    flaws = [f"{worker.name}: {line}" for line in lines if any(noise in line for noise in NOISE)]
    lost = sum(NO_FEED in line for line in lines)
    return flaws if lost <= troubles else [*flaws, f"{worker.name} said {lost} times that the feed is gone"]
