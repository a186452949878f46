"""What pairlock asks of a store. `pairlock.testing.StoreContract` proves that a store keeps it.

Every promise of single use, lock-out and revocation rests on `commit`: all or nothing, and a
record is replaced only by the version that follows the one that was read.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting

R = TypeVar("R", bound=Record)


class Conflict(Exception):
    """Somebody else wrote first: nothing was written. Read again, decide again."""


class Add(Struct, frozen=True):
    """Keep a record; one with its id (or its code digest) must not exist."""

    record: Record


class Swap(Struct, frozen=True):
    """Replace a record by its next version; the one kept must be exactly the one before.

    Its code digest must be no other request's.
    """

    record: Record


class Log(Struct, frozen=True):
    """Append an audit event."""

    event: AuditEvent


Write = Add | Swap | Log


def put(kept: Setting | None, made: Setting) -> Add | Swap:
    """The write that adds a setting, or replaces the one that was read by it."""
    return Add(made) if kept is None else Swap(kept.evolve(value=made.value, purge_at=made.purge_at))


class Hits(Struct, frozen=True):
    """How often a counter was hit in its window, this time included, and when the window ends.

    Where nothing is counted, `count` is 0 and `resets_at` is now: a window could begin at once.
    """

    count: int
    resets_at: float


MAX_BATCH = 500  # events


class Batch(Struct, frozen=True):
    """Events in the order of their commits, and the cursor from which to go on after them.

    One with fewer than MAX_BATCH of them has all there were when it was asked for.
    """

    cursor: int
    events: tuple[AuditEvent, ...]


class Store(Protocol):
    """Keeps records for any number of processes. Ids sort by time of making; lists are newest first.

    What is kept changes by commits alone: a value changed in a caller's hands is not.

    Every method raises TemporarilyUnavailable when the store does not answer or cannot write. Such a call, and
    one that was cancelled, has happened whole or not at all; which of them, only reading tells.
    """

    async def open(self) -> None:
        """Connect, create or migrate. Raises StoreError when that cannot work."""

    async def check(self) -> None:
        """Ask whether the store answers, and keeps its data as this version of pairlock knows it.

        Raises TemporarilyUnavailable when it does not answer, StoreError when the data is of another version.
        """

    async def aclose(self) -> None:
        """Let go of everything; a second call does nothing, any other raises TemporarilyUnavailable."""

    async def commit(self, *writes: Write) -> None:
        """Do all of these writes or none. Raises Conflict when one of them came too late."""

    async def find(self, kind: type[R], id: str) -> R | None:
        """The record of this kind with this id."""

    async def find_code(self, digest: bytes) -> PairingRequest | None:
        """The pairing request with this code digest."""

    async def list_requests(
        self, *, live_at: float, before: str | None = None, limit: int = 100
    ) -> list[PairingRequest]:
        """Requests pending or approved at that time, newest first, with ids below `before`."""

    async def list_devices(self, *, before: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired, newest first, with ids below `before`."""

    async def search_devices(self, prefix: str, *, after: str | None = None, limit: int = 100) -> list[Device]:
        """Devices that are paired and whose `name_key` begins with this, in the order of these keys, beyond `after`."""

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        """Audit events, newest first, with a `seq` below `before`."""

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        """Count so many hits; the count starts anew once `window` seconds have passed since its first.

        An amount of 0 only looks: it begins no window and keeps nothing. A negative amount takes back, never
        below 0; it leaves the window as it is, and where none runs it does nothing.
        """

    async def touch(self, seen: Mapping[str, float]) -> None:
        """Note when devices were seen, by id: of several times the latest counts. Ids of none are passed over.

        It shows in their `seen_at`, makes no new version of them, and is told to no watcher.
        """

    def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        """Batches of what any process commits, each event once, none left out.

        Starts after the cursor `since`, or at the present; the first batch comes at once, and an
        empty one at least every second, to say that the feed is alive. A cursor that falls says that the
        data was put back to an older state.
        """

    async def purge(self, now: float, limit: int = 1000) -> Counter[str]:
        """Drop at most so many of what has reached its `purge_at`, and of counters whose window has passed.

        How many of each: requests, devices, settings, events, counters. Whoever wants all of it gone calls again
        until nothing is dropped.
        """
