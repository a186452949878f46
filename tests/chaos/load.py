"""Everybody who calls the service all the time."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.chaos.holding import Holding
from tests.chaos.pairing import Pairing
from tests.chaos.said import Said
from tests.chaos.service import Service

Actor = Callable[[], Awaitable[object]]


class Load:
    """Runs until it is ended; what each of them does then is done to its end."""

    def __init__(self, service: Service, said: Said) -> None:
        self.service = service
        self.over = False
        self.pairing = Pairing(service, said)
        self.holding = Holding(service, said)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        pairing, holding = self.pairing, self.holding
        actors: list[tuple[Actor, int, float]] = [  # how many of each, and seconds that each rests, on the average
            (pairing.by_pin, 8, 0.3),
            (pairing.by_hand, 4, 0.3),
            (pairing.by_device_code, 4, 0.5),
            (pairing.at_once, 3, 0.5),
            (pairing.be_denied, 2, 0.5),
            (pairing.be_locked, 1, 0.5),
            (holding.refresh, 8, 0.2),
            (holding.look, 12, 0.1),
            (holding.look_though_revoked, 4, 0.1),
            (holding.listen, 1, 0.2),
            (holding.revoke, 2, 0.4),
        ]
        self._tasks = [
            asyncio.create_task(self._keep_doing(actor, rest)) for actor, count, rest in actors for _ in range(count)
        ]

    async def end(self) -> None:
        """Let everybody finish."""
        self.over = True
        await asyncio.gather(*self._tasks)
        await self.holding.end()

    async def _keep_doing(self, actor: Callable[[], Awaitable[object]], rest: float) -> None:
        while not self.over:
            await actor()
            await asyncio.sleep(self.service.chance.uniform(0, 2 * rest))
