"""When the server of the store in Valkey breaks, or the way to it: nothing acknowledged is lost, nothing done twice."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest
from valkey.exceptions import OutOfMemoryError

from pairlock._core.records import AuditEvent, Device
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores.contract import Add, Hits, Log, Swap
from pairlock.stores.valkey import ValkeyStore
from pairlock.stores.valkey_link import CALLS
from pairlock.testing import a_device, a_setting, an_event
from tests.proxy import Proxy
from tests.servers import Valkey
from tests.stores.valkey_servers import (
    Node,
    ask,
    cluster_of_one,
    follow,
    meet,
    replica_of,
    started,
    wait_until_whole,
    watched_by_sentinel,
)

T = TypeVar("T")

pytestmark = pytest.mark.anyio

PAUSE = 0.02
PATIENCE = 20.0
LENIENCE = 3.0  # seconds; on a machine that is busy with other things too


class Life:
    """A handle that commits and a handle that watches, through whatever happens to their server."""

    def __init__(self, url: str, timeout: float = 4) -> None:
        self.writing, self.watching = ValkeyStore(url, timeout=timeout), ValkeyStore(url, timeout=timeout)
        self.acknowledged: list[str] = []
        self.seen: list[AuditEvent] = []
        self.failures = 0
        self._number = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Everything goes on meanwhile; after it, what was committed is seen, and is whole."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self.writing.open()
            await self.watching.open()
            tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._watch())]
            await self.more()
            yield
            await self.more()
            await _end(tasks.pop(0))
            await self._catch_up()
            await self._assert_whole()
        finally:
            for task in tasks:
                await _end(task)
            await self.writing.aclose()
            await self.watching.aclose()

    async def _catch_up(self) -> None:
        events = await persist(partial(self.writing.list_events, limit=100_000))
        async with asyncio.timeout(PATIENCE):
            while len(self.seen) < len(events):  # noqa: ASYNC110  # a test looks on
                await asyncio.sleep(PAUSE)

    async def more(self, count: int = 30) -> None:
        """Wait until so many more were committed, and acknowledged."""
        enough = len(self.acknowledged) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.acknowledged) < enough:  # noqa: ASYNC110  # as above
                await asyncio.sleep(PAUSE)

    async def _write(self) -> None:
        while True:
            self._number += 1
            device = a_device(id=f"{self._number:06}")
            try:
                await self.writing.commit(Add(device), Log(an_event(name=device.id)))
            except TemporarilyUnavailable:
                self.failures += 1
                await asyncio.sleep(PAUSE)
            else:
                self.acknowledged.append(device.id)

    async def _watch(self) -> None:
        cursor = 0
        while True:
            with contextlib.suppress(TemporarilyUnavailable):
                async with contextlib.aclosing(self.watching.watch(cursor)) as feed:
                    async for batch in feed:
                        assert batch.cursor >= cursor
                        cursor = batch.cursor
                        self.seen += batch.events
            await asyncio.sleep(PAUSE)

    async def _assert_whole(self) -> None:
        """Each commit is whole, seen once and in order; those that were acknowledged are there, once."""
        events = (await persist(partial(self.writing.list_events, limit=100_000)))[::-1]
        devices = await persist(partial(self.watching.list_devices, limit=100_000))
        names = [event.name for event in events]
        assert self.seen == events
        assert len(set(names)) == len(names)
        assert {device.id for device in devices} == set(names)
        assert set(self.acknowledged) <= set(names)


async def persist(read: Callable[[], Awaitable[T]]) -> T:
    """What this reads, as soon as the store answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(TemporarilyUnavailable):
                return await read()
            await asyncio.sleep(PAUSE)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A server that may be ended."""
    server = Valkey("--appendonly", "yes")
    with started(server):
        yield server


@pytest.fixture
def proxy(valkey: Valkey) -> Iterator[Proxy]:
    with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture
async def store(valkey: Valkey, proxy: Proxy) -> AsyncIterator[ValkeyStore]:
    """One that is connected through the proxy."""
    store = ValkeyStore(valkey.url().replace(str(valkey.port), str(proxy.port)), timeout=2)
    await store.open()
    yield store
    await store.aclose()


async def fails(call: Any) -> BaseException:
    """What it fails of."""
    with pytest.raises(TemporarilyUnavailable) as raised:
        await call
    assert raised.value.retry_after == 1
    assert raised.value.__cause__ is not None
    return raised.value.__cause__


class TestServerGone:
    @pytest.mark.parametrize("end", [Valkey.stop, Valkey.kill])
    async def test_nothing_is_lost_when_the_server_ends_and_starts(
        self, own: Valkey, end: Callable[[Valkey], None]
    ) -> None:
        life = Life(own.url())
        async with life.going_on():
            for _ in range(3):
                await asyncio.to_thread(end, own)
                await asyncio.sleep(0.1)
                await asyncio.to_thread(own.start)
                await life.more()
        assert life.failures

    async def test_nothing_is_lost_when_the_server_stands_still(self, own: Valkey) -> None:
        life = Life(own.url(), timeout=1)
        async with life.going_on():
            for _ in range(2):
                with own.frozen():
                    await asyncio.sleep(1.3)
                await life.more()
        assert life.failures

    async def test_a_server_that_stands_still_is_not_waited_for(self, own: Valkey) -> None:
        store = ValkeyStore(own.url(), timeout=0.5)
        await store.open()
        feed = store.watch()
        await anext(feed)
        with own.frozen():
            for call in (partial(store.find, Device, "x"), partial(store.commit, Add(a_device())), store.list_devices):
                begun = time.monotonic()
                assert "no answer within 0.25 s" in str(await fails(call()))
                assert 0.4 < time.monotonic() - begun < LENIENCE
            begun = time.monotonic()
            await fails(anext(feed))
            assert time.monotonic() - begun < LENIENCE
            begun = time.monotonic()
            await asyncio.gather(*(fails(store.hit(str(number), 1, 1)) for number in range(3 * CALLS)))
            assert time.monotonic() - begun < LENIENCE
        await store.check()
        await store.aclose()

    async def test_closing_does_not_wait_for_a_server_that_stands_still(self, own: Valkey) -> None:
        store = ValkeyStore(own.url(), timeout=0.5)
        await store.open()
        with own.frozen():
            asking = asyncio.create_task(store.list_devices())
            await asyncio.sleep(PAUSE)
            begun = time.monotonic()
            await store.aclose()
            assert time.monotonic() - begun < LENIENCE
            await fails(asking)

    async def test_calls_go_on_after_a_restart_that_nobody_noticed(self, own: Valkey) -> None:
        await self.count_through_a_restart(own)

    async def test_calls_to_a_cluster_go_on_too(self) -> None:
        with cluster_of_one() as node:
            await self.count_through_a_restart(node)

    async def count_through_a_restart(self, server: Valkey) -> None:
        """Of many hits at once, those after a restart find only connections that are dead."""
        store = ValkeyStore(server.url())
        await store.open()
        await asyncio.gather(*(store.hit("key", 60, 1) for _ in range(CALLS)))
        server.stop()
        server.start()
        if isinstance(server, Node):
            wait_until_whole(server)
        hits = await asyncio.gather(*(store.hit("key", 60, 1) for _ in range(2 * CALLS)))
        assert sorted(hit.count for hit in hits) == list(range(CALLS + 1, 3 * CALLS + 1))
        await store.aclose()

    async def test_a_primary_that_became_a_replica_is_neither_read_nor_written(self, own: Valkey) -> None:
        store = ValkeyStore(own.url())
        await store.open()
        await store.commit(Add(device := a_device()))
        feed = store.watch()
        await anext(feed)
        ask(own, "REPLICAOF", "127.0.0.1", 1)
        for call in (store.find(Device, device.id), store.commit(Swap(device.evolve())), store.check(), anext(feed)):
            assert "read only replica" in str(await fails(call))
        ask(own, "REPLICAOF", "NO", "ONE")
        assert await store.list_devices() == [device]
        await store.aclose()

    async def test_a_primary_without_its_replicas_is_neither_read_nor_written(self, own: Valkey) -> None:
        store = ValkeyStore(own.url())
        await store.open()
        ask(own, "CONFIG", "SET", "min-replicas-to-write", "1")
        for call in (store.list_devices(), store.commit(Add(a_device())), anext(store.watch())):
            assert "NOREPLICAS" in str(await fails(call))
        ask(own, "CONFIG", "SET", "min-replicas-to-write", "0")
        await store.check()
        await store.aclose()

    async def test_a_full_server_takes_nothing_and_answers(self, own: Valkey) -> None:
        store = ValkeyStore(own.url())
        await store.open()
        await store.commit(Add(device := a_device()))
        ask(own, "CONFIG", "SET", "maxmemory", 1)
        for call in (
            store.commit(Swap(device.evolve()), Log(an_event()), Add(a_setting())),
            store.commit(Swap(device.evolve())),
            store.touch({device.id: 1}),
            store.hit("key", 60, 1),
        ):
            assert isinstance(await fails(call), OutOfMemoryError)
        assert await store.list_devices() == [device]
        assert (await store.hit("key", 60, 1, 0)).count == 0
        assert (await store.list_events(), (await anext(store.watch())).events) == ([], ())
        ask(own, "CONFIG", "SET", "maxmemory", "0")
        await store.commit(Swap(device.evolve()))
        await store.aclose()

    async def test_a_server_that_cannot_write_to_its_disk_answers(self, own: Valkey) -> None:
        store = ValkeyStore(own.url())
        await store.open()
        await store.commit(Add(device := a_device()))
        await self.break_disk(own)
        assert "MISCONF" in str(await fails(store.commit(Swap(device.evolve()))))
        assert await store.list_devices() == [device]
        await anext(store.watch())
        await store.aclose()

    async def break_disk(self, own: Valkey) -> None:
        """A snapshot that fails makes the server refuse writes."""
        ask(own, "CONFIG", "SET", "save", "3600 1")
        (own.folder / "dump.rdb").unlink(missing_ok=True)
        (own.folder / "dump.rdb").mkdir()
        ask(own, "BGSAVE")
        async with asyncio.timeout(PATIENCE):
            while ask(own, "INFO")["rdb_last_bgsave_status"] == "ok":  # noqa: ASYNC110  # of another process
                await asyncio.sleep(PAUSE)


class TestFailover:
    async def test_what_sentinels_bring_about_is_lived_through(self) -> None:
        primary = Valkey("--appendonly", "yes", "--repl-diskless-sync-delay", "0")
        with started(primary), contextlib.closing(replica_of(primary)), watched_by_sentinel(primary) as sentinel:
            life = Life(sentinel.url())
            async with life.going_on():
                await asyncio.to_thread(self.kill_replicated, primary)
                await life.more()
            assert life.failures

    async def test_a_primary_that_stands_still_is_replaced(self) -> None:
        primary = Valkey("--appendonly", "yes", "--repl-diskless-sync-delay", "0")
        with started(primary), contextlib.closing(replica_of(primary)), watched_by_sentinel(primary) as sentinel:
            store = ValkeyStore(sentinel.url(), timeout=2)
            await store.open()
            await store.commit(Add(device := a_device()))
            ask(primary, "WAIT", 1, 5000)
            with primary.frozen():
                await persist(partial(store.commit, Swap(device.evolve())))
                assert await persist(store.list_devices) == [device.evolve()]
            await store.aclose()

    def kill_replicated(self, primary: Valkey) -> None:
        """Kill it once its replica has what was acknowledged: what it has not is lost, and nothing else is promised."""
        ask(primary, "CLIENT", "PAUSE", 10_000, "WRITE")
        ask(primary, "WAIT", 1, 5000)
        primary.kill()

    async def test_a_replica_that_takes_over_in_a_cluster_is_found(self) -> None:
        with cluster_of_one() as node, started(other := Node()):
            meet(other, node)
            follow(other, node)
            life = Life(node.url().replace("?", f",127.0.0.1:{other.port}?"))
            async with life.going_on():
                await asyncio.to_thread(self.kill_replicated, node)
                ask(other, "CLUSTER", "FAILOVER", "TAKEOVER")
                await life.more()

    async def test_a_node_that_was_alone_is_found_again(self) -> None:
        with cluster_of_one() as node:
            life = Life(node.url())
            async with life.going_on():
                await asyncio.to_thread(node.kill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(node.start)
                await life.more()


class TestConnectionLost:
    async def test_a_commit_cut_at_any_byte_is_done_once(self, store: ValkeyStore, proxy: Proxy) -> None:
        await store.commit(Add(a_device()))
        for size in (0, 1, 50, 500, 900, 1200):
            proxy.cut_after(size)
            await store.commit(Add(device := a_device(name="x" * 500)), Log(an_event(name=device.id)))
            assert await store.find(Device, device.id) == device
        assert len({event.name for event in await store.list_events()}) == len(await store.list_events()) == 6

    async def test_a_commit_whose_answer_was_lost_is_done_once(self, store: ValkeyStore, proxy: Proxy) -> None:
        device = a_device()
        await store.commit(Add(device))
        for version in range(2, 6):
            device = device.evolve()
            proxy.cut_at_answer()
            await store.commit(Swap(device), Log(an_event()))
            assert len(await store.list_events()) == version - 1
        assert await store.list_devices() == [device]
        assert proxy.cuts == 4

    async def test_a_hit_whose_answer_was_lost_is_counted_once(self, store: ValkeyStore, proxy: Proxy) -> None:
        for count, amount in ((3, 3), (5, 2), (4, -1)):
            proxy.cut_at_answer()
            assert await store.hit("key", 60, 1000, amount) == Hits(count, 1060.0)
        assert proxy.cuts == 3
        assert await store.hit("key", 60, 1000, 0) == Hits(4, 1060.0)

    async def test_reads_purges_and_touches_are_made_again(self, store: ValkeyStore, proxy: Proxy) -> None:
        await store.commit(Add(device := a_device(purge_at=5)))
        calls: list[Callable[[], Any]] = [
            partial(store.touch, {device.id: 1}),
            partial(store.find, Device, device.id),
            store.list_devices,
            store.check,
            partial(store.purge, 5),
        ]
        for call in calls:
            proxy.cut_at_answer()
            await call()
        assert await store.list_devices() == []

    async def test_a_feed_whose_connection_is_lost_ends_and_goes_on_from_its_cursor(
        self, store: ValkeyStore, proxy: Proxy
    ) -> None:
        feed = store.watch()
        names, cursor = list[str | None](), (await anext(feed)).cursor
        for number in range(5):
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(PAUSE)
            proxy.cut()
            await fails(waiting)
            await store.commit(Log(an_event(name=str(number))))
            feed = store.watch(cursor)
            batch = await anext(feed)
            cursor = batch.cursor
            names += [event.name for event in batch.events]
        assert names == list("01234")
        await feed.aclose()

    async def test_answers_that_do_not_come_are_waited_for_once(self, store: ValkeyStore, proxy: Proxy) -> None:
        begun = time.monotonic()
        with proxy.holding():
            await fails(store.commit(Add(device := a_device()), Log(an_event())))
        assert time.monotonic() - begun < LENIENCE + 2
        assert len(await store.list_events()) == len(await store.list_devices()) == 1  # done, once
        assert await store.find(Device, device.id) == device

    async def test_few_connections_are_enough_for_many_callers(self, store: ValkeyStore, proxy: Proxy) -> None:
        await store.commit(Add(device := a_device()))
        found = await asyncio.gather(*(store.find(Device, device.id) for _ in range(20 * CALLS)))
        assert found == [device] * 20 * CALLS
        assert proxy.links <= CALLS


class TestClosing:
    async def test_what_has_begun_is_finished(self, store: ValkeyStore) -> None:
        devices = [a_device() for _ in range(3 * CALLS)]
        commits = [asyncio.create_task(store.commit(Add(device))) for device in devices]
        await asyncio.sleep(0)
        await store.aclose()
        await asyncio.gather(*commits)
        await store.open()
        assert await store.list_devices() == devices[::-1]

    async def test_a_feed_ends_with_its_store(self, store: ValkeyStore, proxy: Proxy) -> None:
        feed = store.watch()
        await anext(feed)
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(PAUSE)
        await store.aclose()
        cause = await fails(waiting)
        assert isinstance(cause, StoreError)
        assert "is not open" in str(cause)
        await self.no_link_is_left(proxy)

    async def test_cancelled_callers_and_watchers_leave_nothing_behind(self, store: ValkeyStore, proxy: Proxy) -> None:
        before = asyncio.all_tasks()

        async def watch() -> None:
            async for _ in store.watch():
                pass

        for pause in (0, 0.0005, 0.002, 0.01):
            tasks = [
                asyncio.create_task(call) for call in (watch(), watch(), store.commit(Add(a_device())), store.check())
            ]
            await asyncio.sleep(pause)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert asyncio.all_tasks() == before
        await store.check()
        await store.aclose()
        await self.no_link_is_left(proxy)

    async def test_a_cancelled_opening_leaves_nothing_behind(self, valkey: Valkey, proxy: Proxy) -> None:
        url = valkey.url().replace(str(valkey.port), str(proxy.port))
        for pause in (0, 0, 0.0005, 0.001, 0.002, 0.004):
            store = ValkeyStore(url)
            opening = asyncio.create_task(store.open())
            await asyncio.sleep(pause)
            opening.cancel()
            await asyncio.wait([opening])
            await store.aclose()
            await store.open()
            await store.check()
            await store.aclose()
        await self.no_link_is_left(proxy)

    async def no_link_is_left(self, proxy: Proxy) -> None:
        async with asyncio.timeout(PATIENCE):
            while proxy.links:  # noqa: ASYNC110  # on threads of its own
                await asyncio.sleep(PAUSE)
        gc.collect()  # an unclosed connection would warn now
