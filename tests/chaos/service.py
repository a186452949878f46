"""The service as those see it who call it: some of its workers may be gone, and every answer is looked at."""

import asyncio
import random
import time
from collections import Counter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from tests.chaos.client import BROKEN, Response
from tests.chaos.served import OPERATOR_TOKEN
from tests.chaos.workers import HANG, Worker

NO_ANSWER = 0  # in the place of a status
TRY_AGAIN = 0.25  # seconds; callers in a hurry, so that more of them are there when it breaks
MOST_WAITING = 8
PATIENCE = 25.0  # seconds after which a caller gives up


class Answer(Struct, frozen=True):
    """What came back, and when; `lost` says that an earlier try was not answered, and may have done the work."""

    status: int
    body: dict[str, Any]
    sent: float
    got: float
    worker: str
    lost: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the service has said what became of the call."""
        return self.status not in (NO_ANSWER, 503)

    @property
    def error(self) -> str:
        """The wire code of a refusal."""
        return str(self.body.get("error", ""))


class Service:
    """Four workers. `flaws` are answers that no caller should ever have got."""

    def __init__(self, workers: list[Worker], chance: random.Random) -> None:
        self.workers = workers
        self.chance = chance
        self.flaws: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self._waiting: Counter[str] = Counter()

    def any(self) -> Worker:
        """A worker at random, as a balancer gives it: not one of those that keep many waiting."""
        ready = [worker for worker in self.workers if self._waiting[worker.name] < MOST_WAITING]
        return self.chance.choice(ready or self.workers)

    async def ask(self, worker: Worker, method: str, path: str, **call: Any) -> Answer:
        """One call of one worker, once."""
        name, lives, frozen = f"{method} {path} at {worker.name}", worker.lives, worker.frozen_for
        sent = time.monotonic()
        self._waiting[worker.name] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                response = await worker.client.ask(method, path, **call)
        except (*BROKEN, TimeoutError) as error:
            response = Response(NO_ANSWER, {}, {})
            if worker.is_up and worker.lives == lives:
                self.flaws.append(f"{name}: {error!r}")
        finally:
            self._waiting[worker.name] -= 1
        answer = Answer(response.status, response.body, sent, time.monotonic(), worker.name)
        self._look_at(response, name)
        self._time(answer.got - sent - (worker.frozen_for - frozen), name)
        return answer

    async def insist(self, method: str, path: str, **call: Any) -> Answer:
        """Ask one worker after the other until one of them says what became of it, or patience is at its end."""
        since, lost = time.monotonic(), False
        while True:
            answer = await self.ask(self.any(), method, path, **call)
            if answer.is_final or time.monotonic() > since + PATIENCE:
                return replace(answer, lost=lost)
            lost = True
            await asyncio.sleep(TRY_AGAIN)

    async def operate(self, method: str, path: str, **call: Any) -> Answer:
        """The same, as operator."""
        return await self.insist(method, path, bearer=OPERATOR_TOKEN, **call)

    def _look_at(self, response: Response, name: str) -> None:
        status = response.status
        self.statuses[status] += 1
        if status >= 400 and not response.body:
            self.flaws.append(f"{name}: {status} without saying why")
        if status >= 500 and status != 503:
            self.flaws.append(f"{name}: {status} {response.body}")
        if status == 503 and "retry-after" not in response.headers:
            self.flaws.append(f"{name}: 503 without Retry-After")

    def _time(self, took: float, name: str) -> None:
        self.slowest = max(self.slowest, took)
        if took > HANG:
            self.flaws.append(f"{name}: took {took:.1f} s")
