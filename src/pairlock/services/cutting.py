"""Ends what is open for devices that may do less than before: a moment later, and a few at a time."""

import asyncio
from collections import deque
from collections.abc import Iterator

from pairlock._core.standings import Standing

GRACE = 0.05  # seconds in which a request that was admitted before the change may still be answered
AT_ONCE = 32  # connections, before others may run: one device may have thousands, and all be shut out in one moment


class Cutting:
    """Takes standings as they change, and steps through what is open for them."""

    def __init__(self) -> None:
        self._due: deque[tuple[float, Iterator[None]]] = deque()

    def cut(self, standing: Standing) -> None:
        """End what a device may no longer do."""
        self._add(standing, standing.cut())

    def suspend(self, standing: Standing) -> None:
        """End whatever is open for a device: what it may do is not known."""
        self._add(standing, standing.suspend())

    def _add(self, standing: Standing, steps: Iterator[None]) -> None:
        if standing.served:
            loop = asyncio.get_running_loop()
            self._due.append((loop.time() + GRACE, steps))
            if len(self._due) == 1:
                loop.call_later(GRACE, self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(AT_ONCE):
            if self._due and self._due[0][0] <= loop.time() and next(self._due[0][1], self) is self:
                self._due.popleft()
        if self._due:
            loop.call_later(max(self._due[0][0] - loop.time(), 0), self._go_on, loop)
