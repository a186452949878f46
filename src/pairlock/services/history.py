"""Where a process stands in the history of a store, and whether that is still the history it knew.

A cursor is a number, and a failover that lost the last events gives their numbers to others. So whoever takes up the
feed again begins with the last event it has heard: that must be told again, by the connection that tells the rest.
"""

from collections.abc import Callable

from pairlock._core.records import AuditEvent
from pairlock.errors import StoreError
from pairlock.stores.contract import Batch

PUT_BACK = "events are gone that were there: the database was put back to an older state"
SKEW = 3600.0  # seconds by which another process's clock may be ahead, and its purge early


class History:
    """Begins with the last event there is; None where there is none yet."""

    def __init__(self, last: AuditEvent | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._anchor = last
        self._cursor: int | None = None
        self._expected: AuditEvent | None = None

    def resume(self) -> int | None:
        """The cursor from which to watch, at first or again."""
        self._expected = None if self._cursor is None or self._may_be_purged() else self._anchor
        return self._cursor if self._expected is None else self._expected.seq - 1

    def go_on(self, batch: Batch) -> tuple[AuditEvent, ...]:
        """What of this batch has not been heard. Raises StoreError when history is another than it was."""
        expected, self._expected = self._expected, None
        if expected is not None and batch.events[:1] != (expected,):
            raise StoreError(PUT_BACK)
        heard = batch.cursor if self._cursor is None else self._cursor
        if batch.cursor < heard:
            raise StoreError(PUT_BACK)
        new = batch.events if self._cursor is None else tuple(event for event in batch.events if event.seq > heard)
        self._cursor = batch.cursor
        self._anchor = batch.events[-1] if batch.events else self._anchor
        return new

    def _may_be_purged(self) -> bool:
        purge_at = None if self._anchor is None else self._anchor.purge_at
        return purge_at is not None and purge_at <= self._clock() + SKEW
