"""Ends what is open for devices that may do less than before: a moment later, and a few at a time."""

import asyncio
from collections import deque

from pairlock._core.standings import Standing

GRACE = 0.05  # seconds in which a request that was admitted before the change may still be answered
AT_ONCE = 32  # devices, before others may run: all of them may be shut out in one moment


class Cutting:
    """Called with each standing that has changed."""

    def __init__(self) -> None:
        self._due: deque[tuple[float, Standing]] = deque()

    def __call__(self, standing: Standing) -> None:
        if standing.served:
            loop = asyncio.get_running_loop()
            self._due.append((loop.time() + GRACE, standing))
            if len(self._due) == 1:
                loop.call_later(GRACE, self._cut_some, loop)

    def _cut_some(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(AT_ONCE):
            if self._due and self._due[0][0] <= loop.time():
                self._due.popleft()[1].cut()
        if self._due:
            loop.call_later(max(self._due[0][0] - loop.time(), 0), self._cut_some, loop)
