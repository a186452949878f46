"""Four workers on one store, under load, and what befalls them."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.chaos.aftermath import Kept, flaws_of, flaws_of_feed, flaws_of_file, flaws_of_log
from tests.chaos.figures import Row
from tests.chaos.load import Load
from tests.chaos.places import PLACES, Place
from tests.chaos.said import Paired, Said
from tests.chaos.service import NO_ANSWER, Service
from tests.chaos.workers import Worker

WORKERS = 4
MAX_STALENESS = 1.5  # seconds; short, so that a short trouble is seen
PROMISED = 1.0  # seconds from an acknowledged revocation until other workers refuse, as long as they hear of it
BOUND = MAX_STALENESS + PROMISED  # whatever happens: what they heard last was no older than that
BACK_WITHIN = 10.0
VICTIMS = 20
ROUNDS = 2
BETWEEN = 0.05  # seconds
CALM = 20.0  # seconds
NO_TROUBLE = "none"
ENDED = (0, -signal.SIGTERM)  # uvicorn ends as it was told to


class Scene:
    """What the tests play on."""

    def __init__(self, place: Place, workers: list[Worker], seed: int) -> None:
        self.place = place
        self.workers = workers
        self.chance = random.Random(seed)
        self.said = Said()
        self.service = Service(workers, self.chance)
        self.load = Load(self.service, self.said)
        self.rows: list[Row] = []
        self._bystander: Paired
        self._victims: list[Paired] = []

    async def begin(self) -> None:
        """Devices that the load leaves alone, and the load."""
        paired = await asyncio.gather(*(self.load.pairing.by_hand() for _ in range(ROUNDS * VICTIMS + 1)))
        self._bystander, *self._victims = [device for device in paired if device is not None]
        self.said.current.clear()
        self.load.start()

    async def be_calm(self) -> Row:
        """What is measured while nothing is wrong; once more if the machine was too busy to keep a promise."""
        first = await self.suffer(NO_TROUBLE, self._revoke_some(), bound=BOUND)
        if first.slowest_to_revoke <= PROMISED:
            return first
        return await self.suffer(NO_TROUBLE, self._revoke_some(), bound=BOUND)

    async def _revoke_some(self) -> None:
        """Each worker refuses them, and closes what is open for them."""
        holding = self.load.holding
        victims, self._victims = self._victims[:VICTIMS], self._victims[VICTIMS:]
        async with asyncio.timeout(CALM), asyncio.TaskGroup() as revocations:
            for victim in victims:
                await asyncio.gather(*(holding.ask(victim, worker) for worker in self.workers))
                worker = self.chance.choice(self.workers)
                revocations.create_task(holding.revoked_while_connected(victim, worker))
                await asyncio.sleep(BETWEEN)

    async def suffer(self, what: str, trouble: Awaitable[object], *, bound: float) -> Row:
        """Be in this trouble; afterwards every worker comes back by itself. `bound` is for revoked devices."""
        counts, statuses, since = Counter(self.said.counts), Counter(self.service.statuses), time.monotonic()
        self.said.latest, self.service.slowest = 0.0, 0.0
        self.load.holding.refused, self.load.holding.closed = [], []
        self.load.holding.is_calm = self.load.holding.is_calm and what == NO_TROUBLE
        await trouble
        ended = time.monotonic()
        back = await asyncio.gather(*(self._back(worker, ended) for worker in self.workers))
        told = Counter(self.service.statuses) - statuses
        row = Row(
            what,
            lasted=ended - since,
            back_in=max(back),
            counts=dict(Counter(self.said.counts) - counts),
            unavailable=told[503],
            broken=told[NO_ANSWER],
            slowest=self.service.slowest,
            let_in=self.said.latest,
            refused=self.load.holding.refused,
            closed=self.load.holding.closed,
        )
        self.rows.append(row)
        if row.let_in > bound:
            self.said.flaws.append(f"{what}: a device was let in {row.let_in:.2f} s after its revocation")
        return row

    async def flaws(self) -> list[str]:
        """Let everybody finish, and look at what is kept."""
        await self.load.end()
        codes = await asyncio.gather(*(worker.end() for worker in self.workers))
        kept = await Kept.read(self.place.url)
        return [
            *self.said.flaws,
            *self.service.flaws,
            *flaws_of(kept, self.said),
            *await flaws_of_feed(self.place.url, kept),
            *flaws_of_file(self.place.url),
            *(flaw for worker in self.workers for flaw in flaws_of_log(worker, len(self.rows))),
            *(
                f"{worker.name} ended with {code}"
                for worker, code in zip(self.workers, codes, strict=True)
                if code not in ENDED
            ),
        ]

    async def _back(self, worker: Worker, ended: float) -> float:
        """How long after the end of a trouble a worker lets a device in and takes up a request."""
        try:
            async with asyncio.timeout(BACK_WITHIN):
                while not await self._is_well(worker):  # noqa: ASYNC110  # it is another process
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.said.flaws.append(f"{worker.name} was not well again within {BACK_WITHIN} s")
        return time.monotonic() - ended

    async def _is_well(self, worker: Worker) -> bool:
        """Whether a worker lets a device in, says that it is well, and takes up a request."""
        if (await self.load.holding.ask(self._bystander, worker)).status != 204:
            return False
        if (await self.service.ask(worker, "GET", "/pair/health")).status != 200:
            return False
        asked = await self.service.ask(worker, "POST", "/pair/requests", json={"name": "Back"})
        if asked.status == 201:  # those that wait are looked at whenever another asks
            await self.service.ask(worker, "DELETE", f"/pair/requests/{asked.body['id']}", bearer=asked.body["secret"])
        return asked.status == 201


@asynccontextmanager
async def scene(store: str, folder: Path, seed: int) -> AsyncIterator[Scene]:
    """Everything started; nothing is left of it in the end."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(PLACES[store](folder))
        workers = [
            Worker(f"worker {number}", url, folder, MAX_STALENESS) for number, url in enumerate(place.urls(WORKERS))
        ]
        for worker in workers:
            stack.callback(worker.close)
            worker.spawn()
        await asyncio.gather(*(worker.answering() for worker in workers))
        yield Scene(place, workers, seed)
