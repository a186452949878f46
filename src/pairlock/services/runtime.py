"""What runs once in a process: the open store, the keys, and the change feed that keeps standings fresh."""

import asyncio
import logging
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from pairlock._core.codes import ID_RANDOM_BYTES, make_id
from pairlock._core.grants import Grant
from pairlock._core.keys import Keys
from pairlock._core.records import AuditEvent, EventType, Setting
from pairlock._core.standings import CLOSING, Standings
from pairlock._core.tokens import TokenSigner
from pairlock.errors import ConfigurationError, TemporarilyUnavailable
from pairlock.services.cutting import Cutting
from pairlock.services.history import History
from pairlock.services.upkeep import Upkeep
from pairlock.settings import Settings
from pairlock.stores.contract import MAX_BATCH, Add, Conflict, Log, Store, Write

if TYPE_CHECKING:
    from pairlock.services.limiter import Limiter

T = TypeVar("T")
Companion = Callable[[], Coroutine[None, None, None]]

logger = logging.getLogger("pairlock")
audit = logging.getLogger("pairlock.audit")

ATTEMPTS = 32  # each lost race means that somebody else's write succeeded
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts to reach the feed again
LONGEST_TURN = 5.0  # seconds
HEARTBEAT = 1.0  # seconds within which a store promises a batch
ACTED_UPON_AT_ONCE = 50  # events, before others may run
TO_END = 30.0  # seconds from the signal that ends a process until it is thought to live on
TO_PART = 1.0  # seconds that closing takes for telling who is connected, and for noting who was seen


class Connected(Protocol):
    """A WebSocket that is open for a device."""

    def cancel(self, msg: str) -> asyncio.Task[None]:
        """Close it for this reason; done once that is known at both ends."""


class Waiter:
    """Somebody who waits for a pairing request to change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._is_closed = False

    async def changed(self) -> bool:
        """Wait until anything has happened to it; False once the service is closed."""
        await self._event.wait()
        self._event.clear()
        return not self._is_closed

    def wake(self, *, is_closed: bool = False) -> None:
        """Tell of it."""
        self._is_closed = is_closed
        self._event.set()


class Runtime:
    """Starts at the first `ready()`, once, and again should its event loop have gone.

    `fresh` is True while revocations made elsewhere are known to arrive.
    """

    def __init__(
        self, store: Store, load_keys: Callable[[], Keys], settings: Settings, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.clock = clock
        self._cutting = Cutting()
        self.standings = Standings(self._cutting.cut)
        self.connections: set[Connected] = set()
        self.upkeep = Upkeep(store, self.standings, clock)
        self.grants: OrderedDict[bytes, Grant] = OrderedDict()  # what was verified since the start, by token
        self.fresh = False
        self._parting_until = 0.0
        self.address: str | None = None  # where devices reach the pairing sub-app, if whoever serves it has said so
        self.watched = False  # whether anybody can see or decide what devices ask for
        self.limiter = self._limiter()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._store = store
        self._load_keys = load_keys
        self._companions: list[Companion] = []
        self._accompanying: list[asyncio.Task[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None
        self._stale_timer: asyncio.TimerHandle | None = None
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._listeners: set[asyncio.Queue[AuditEvent | None]] = set()

    def _limiter(self) -> "Limiter":
        from pairlock.services.limiter import Limiter  # only here: the library takes long to import

        return Limiter(self.ready, self.clock)

    async def ready(self) -> Store:
        """The open store; starts what is not running. Raises StoreError or ConfigurationError when that fails."""
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop().is_closed():
            self.loop, self._started = loop, loop.create_future()
            self._task = loop.create_task(self._run(self._started, self._closing), name="pairlock")
            self._task.add_done_callback(partial(_conclude, self._started))
        if self.loop is not loop or self._started is None:
            raise ConfigurationError("one Pairlock serves one event loop; make another for another loop")
        if not self._started.done():
            await asyncio.shield(self._started)
        self._started.result()  # raises what kept it from starting
        return self._store

    async def aclose(self) -> None:
        """Tell who waits or is connected, and close the store; a later `ready()` starts again."""
        told = self.part()
        if self._task is not None and not self._task.done():
            noted = asyncio.create_task(self.upkeep.write_down_seen())
            await asyncio.wait([noted, *told], timeout=TO_PART)  # the store may be away, and a peer not listen
            await _stop([noted])
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._closing = task
            for each in (*self._accompanying, task):  # all in one go: none of them may start it again
                each.cancel()
            await asyncio.wait([task])
            self._closing = None

    def part(self) -> list[asyncio.Task[None]]:
        """Answer who waits, end the streams and close the WebSockets; tasks that are done when these are closed.

        Whoever comes again on the same connection is not kept waiting either.
        """
        self._parting_until = monotonic() + TO_END
        for listener in self._listeners:
            listener.put_nowait(None)
        for waiter in [waiter for waiters in self._waiters.values() for waiter in waiters]:
            waiter.wake(is_closed=True)
        return [connection.cancel(CLOSING) for connection in tuple(self.connections)]

    async def commit(self, *writes: Write) -> None:
        """Write all or nothing, and let this process act upon it at once. Raises Conflict."""
        store = await self.ready()
        await store.commit(*writes)
        for write in writes:
            if isinstance(write, Log):
                self._act_upon(write.event)
                _log(write.event)

    @asynccontextmanager
    async def in_turn(self) -> AsyncIterator[None]:
        """What would race for one record here takes turns instead. Raises TemporarilyUnavailable after a long wait."""
        turn = self._turn  # after a restart there is another
        try:
            async with asyncio.timeout(LONGEST_TURN):
                await turn.acquire()
        except TimeoutError as error:  # a store that does not answer keeps whoever is first for seconds
            raise TemporarilyUnavailable(retry_after=1) from error
        try:
            yield
        finally:
            turn.release()

    async def settle(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Read, decide and commit until no other write comes between. Raises TemporarilyUnavailable at the bound."""
        for _ in range(ATTEMPTS):
            try:
                return await attempt()
            except Conflict:
                continue
        raise TemporarilyUnavailable(retry_after=1)

    async def persist(self, read: Callable[[], Awaitable[T]]) -> T:
        """What this reads, as soon as the store answers."""
        while True:
            try:
                return await read()
            except TemporarilyUnavailable:
                await asyncio.sleep(FIRST_PAUSE)

    def accompany(self, companion: Companion) -> None:
        """Run this whenever the runtime runs, and now if it does already."""
        self.watched = True
        self._companions.append(companion)
        started = self._started
        if self._task is not None and not self._task.done() and started is not None and started.done():
            self._accompanying.append(self._join(companion))

    @contextmanager
    def waiting_for(self, request_id: str) -> Iterator[Waiter]:
        """Tells once anything happens to a pairing request, in any process."""
        waiter = Waiter()
        if self._is_parting():
            waiter.wake(is_closed=True)
        self._waiters[request_id].add(waiter)
        try:
            yield waiter
        finally:
            self._waiters[request_id].discard(waiter)
            if not self._waiters[request_id]:
                del self._waiters[request_id]

    @contextmanager
    def listening(self) -> Iterator[asyncio.Queue[AuditEvent | None]]:
        """A queue of what happens from now on, in any process, in the order of commits; None once it is closed."""
        self.watched = True
        queue: asyncio.Queue[AuditEvent | None] = asyncio.Queue()
        if self._is_parting():
            queue.put_nowait(None)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)

    def _is_parting(self) -> bool:
        return monotonic() < self._parting_until

    def _act_upon(self, event: AuditEvent) -> None:
        self.standings.apply(event)
        if event.type is EventType.KEYS_ROTATED:
            self._renew_keys()
        for waiter in self._waiters.get(event.request_id or "", ()):
            waiter.wake()

    async def _run(self, started: asyncio.Future[None], before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:  # it closes the store that we are to open
                await asyncio.wait([before])
            self._parting_until = 0.0
            self._turn = asyncio.Lock()
            self.grants.clear()
            self.standings.reset()
            await self._store.open()  # first: no key file beside a database that is not ours
            self.keys = self._load_keys()
            self.signer = TokenSigner(self.keys)
            self.server = {"id": await self._server_id(), "name": self.settings.server_name}
            await self._follow(started)
        except Exception as error:
            if started.done():
                logger.exception("pairlock stopped following its store; the next call starts it again")
                self.standings.reset()  # nobody would hear of their revocation
            else:
                started.set_exception(error)
        finally:
            self._go_stale()
            await _stop(self._accompanying)
            await self._store.aclose()

    def _renew_keys(self) -> None:
        """Take up the keys as they are now; what was let in before some of them were dropped is looked at anew."""
        try:
            keys = self._load_keys()
        except ConfigurationError:
            logger.exception("the secret keys were rotated, and cannot be read: those from before go on counting")
            return
        dropped = set(self.keys.secrets) - set(keys.secrets)
        self.keys, self.signer = keys, TokenSigner(keys)
        if dropped:
            self.grants.clear()
            self._suspend_all()

    async def _server_id(self) -> str:
        """The lasting identity of this service, the same in all its processes."""
        made = Setting(id="server", value=make_id(self.clock(), secrets.token_bytes(ID_RANDOM_BYTES)))

        async def attempt() -> str:
            kept = await self._store.find(Setting, made.id)
            if kept is None:
                await self._store.commit(Add(made))
            return str((kept or made).value)

        return await self.settle(attempt)

    async def _follow(self, started: asyncio.Future[None]) -> None:
        pause = FIRST_PAUSE
        history = History(next(iter(await self._store.list_events(limit=1)), None), self.clock)
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with aclosing(self._store.watch(history.resume())) as batches:
                    asked_at = loop.time()
                    async for batch in batches:
                        if pause != FIRST_PAUSE:
                            logger.warning("the change feed is back")
                        pause = FIRST_PAUSE
                        await self._take_up(history.go_on(batch))
                        if len(batch.events) < MAX_BATCH:  # a full one may not be the last of what was missed
                            self._stay_fresh(late=loop.time() - asked_at - HEARTBEAT)
                        self._begin(started)
                        asked_at = loop.time()
            except TemporarilyUnavailable as error:
                if not started.done():
                    raise
                if pause == FIRST_PAUSE:
                    logger.warning("the change feed was interrupted (%r); trying until it is back", error.__cause__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _begin(self, started: asyncio.Future[None]) -> None:
        """With the first batch everything is started."""
        if not started.done():
            self._renew_keys()  # rotated before the first batch, they are not told of again
            started.set_result(None)
            self._accompanying = [asyncio.create_task(self.upkeep.run()), *map(self._join, self._companions)]

    async def _take_up(self, events: Sequence[AuditEvent]) -> None:
        for turn, event in enumerate(events, 1):
            self._act_upon(event)
            for listener in self._listeners:
                listener.put_nowait(event)
            if turn % ACTED_UPON_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _stay_fresh(self, late: float) -> None:
        """What was held up on its way, as by a process that stood still, says nothing of so many seconds."""
        left = self.settings.max_staleness - max(late, 0)
        if left > 0:
            self.fresh = True
            if self._stale_timer is not None:
                self._stale_timer.cancel()
            self._stale_timer = asyncio.get_running_loop().call_later(left, self._lose_feed)

    def _join(self, companion: Companion) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep_company(companion))

    async def _keep_company(self, companion: Companion) -> None:
        """Run it, and again should it end though the process goes on, as after a signal that was not the end."""
        while True:
            await logged(companion())
            await asyncio.sleep(TO_END)

    def _lose_feed(self) -> None:
        self._go_stale()
        self._suspend_all()  # nobody would hear of their revocation
        logger.error(
            "no change feed for %.0f s: guarded paths answer 503 until it is back", self.settings.max_staleness
        )

    def _suspend_all(self) -> None:
        for standing in self.standings.being_served():
            self._cutting.suspend(standing)

    def _go_stale(self) -> None:
        self.fresh = False
        if self._stale_timer is not None:
            self._stale_timer.cancel()
            self._stale_timer = None


def _log(event: AuditEvent) -> None:
    audit.info(
        "%s by %s: %s",
        event.type,
        event.by,
        " ".join(part for part in (event.method, event.name and repr(event.name), event.device_id) if part),
        extra={"pairlock": event},
    )


async def logged(work: Awaitable[None]) -> None:
    """Await what an application gave us; what it raises is logged, and stops nothing of ours."""
    try:
        await work
    except Exception:
        logger.exception("a callback failed")


def _conclude(started: asyncio.Future[None], task: asyncio.Task[None]) -> None:
    if not started.done():  # stopped while it started, perhaps before it took a step
        started.set_exception(TemporarilyUnavailable(retry_after=1))
    started.exception()  # known to whoever waits for it, which may be nobody


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
