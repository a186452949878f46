"""PostgreSQL that is stopped, killed, frozen or cut off under an open handle: no call hangs, nothing is done twice."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest

from pairlock._core.records import Device
from pairlock.errors import TemporarilyUnavailable
from pairlock.stores.contract import Add, Batch, Conflict, Log, Swap
from pairlock.stores.postgres import PostgresStore
from pairlock.testing import a_device, an_event
from tests.proxy import Proxy
from tests.servers import Postgres

pytestmark = pytest.mark.anyio

TIMEOUT = 1.0
LENIENCE = 1.0  # for a machine that is busy with other things


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server of its own: these tests are rough with it."""
    server = Postgres("fsync=off")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def url(server: Postgres) -> str:
    return server.url()


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    async with opened(url) as store:
        yield store


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def beyond(server: Postgres, url: str, proxy: Proxy) -> AsyncIterator[PostgresStore]:
    """A handle on the same data, through the proxy."""
    async with opened(url.replace(str(server.port), str(proxy.port))) as store:
        yield store


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url, **{"timeout": TIMEOUT, **options})
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def every_call(store: PostgresStore) -> list[Coroutine[Any, Any, Any]]:
    return [
        store.check(),
        store.commit(Add(a_device()), Log(an_event())),
        store.find(Device, "any"),
        store.find_code(b"any"),
        store.list_requests(live_at=0),
        store.list_devices(),
        store.search_devices(""),
        store.list_events(),
        store.hit("key", 60, 1000),
        store.hit("key", 60, 1000, 0),
        store.touch({"any": 1.0}),
        store.purge(1),
        anext(store.watch()),
    ]


async def all_unavailable(store: PostgresStore) -> float:
    """See that every call says so; how long the longest takes."""

    async def one(call: Coroutine[Any, Any, Any]) -> float:
        begun = time.monotonic()
        with pytest.raises(TemporarilyUnavailable) as raised:
            await call
        assert raised.value.retry_after == 1
        assert raised.value.__cause__ is not None
        return time.monotonic() - begun

    return max(await asyncio.gather(*map(one, every_call(store))))


async def all_work(store: PostgresStore) -> None:
    await asyncio.gather(*every_call(store))


async def busy(store: PostgresStore) -> None:
    """Have all connections of the pool made."""
    await asyncio.gather(*(store.list_devices() for _ in range(50)))


class Follower:
    """Follows as the services do: when the feed breaks it begins again behind what it has heard."""

    def __init__(self, store: PostgresStore) -> None:
        self.names: list[str | None] = []
        self.breaks = 0
        self._store = store
        self._heard = asyncio.Event()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator["Follower"]:
        task = asyncio.create_task(self._follow())
        await self._heard.wait()
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        cursor = None
        while True:
            try:
                async with contextlib.aclosing(self._store.watch(cursor)) as batches:
                    async for batch in batches:
                        cursor = batch.cursor
                        self._take(batch)
            except TemporarilyUnavailable:
                self.breaks += 1
                await asyncio.sleep(0.05)

    def _take(self, batch: Batch) -> None:
        self.names += [event.name for event in batch.events]
        self._heard.set()

    async def has(self, names: list[str]) -> None:
        async with asyncio.timeout(10):
            while self.names != names:
                self._heard.clear()
                await self._heard.wait()


class TestServer:
    async def test_a_stopped_server_is_told_at_once_and_its_return_needs_nothing(
        self, server: Postgres, store: PostgresStore
    ) -> None:
        await store.commit(Add(device := a_device()))
        await busy(store)
        server.stop()
        assert await all_unavailable(store) < LENIENCE
        server.start()
        assert await store.list_devices() == [device]
        await all_work(store)

    @pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill])
    async def test_a_restart_between_two_calls_is_not_noticed(
        self, server: Postgres, store: PostgresStore, end: Callable[[Postgres], None]
    ) -> None:
        await store.commit(Add(device := a_device()))
        await busy(store)
        end(server)  # the loop stands still meanwhile: no connection is known to be dead
        server.start()
        assert await store.list_devices() == [device]
        await store.commit(Swap(device.evolve()))
        assert (await store.hit("key", 60, 1000)).count == 1
        await all_work(store)

    async def test_a_hit_that_may_have_been_counted_is_not_counted_again(
        self, server: Postgres, store: PostgresStore
    ) -> None:
        await store.hit("key", 60, 1000)
        server.stop()
        server.start()
        with pytest.raises(TemporarilyUnavailable):
            await store.hit("key", 60, 1000)
        assert (await store.hit("key", 60, 1000)).count == 2

    async def test_a_frozen_server_holds_no_call_longer_than_its_time(
        self, server: Postgres, store: PostgresStore
    ) -> None:
        await busy(store)
        feed = store.watch()
        await anext(feed)
        with server.frozen():
            assert await all_unavailable(store) < TIMEOUT + LENIENCE  # on connections that were there
            assert await all_unavailable(store) < TIMEOUT + LENIENCE  # on none
            with pytest.raises(TemporarilyUnavailable):
                await anext(feed)
        await all_work(store)

    async def test_a_handle_on_a_frozen_server_can_be_closed(self, server: Postgres, url: str) -> None:
        store = PostgresStore(url, timeout=TIMEOUT)
        await store.open()
        await busy(store)
        feed = store.watch()
        await anext(feed)
        with server.frozen():
            reading = asyncio.create_task(store.list_devices())
            await asyncio.sleep(0.05)
            begun = time.monotonic()
            await store.aclose()
            assert time.monotonic() - begun < TIMEOUT + 1 + LENIENCE
            with pytest.raises(TemporarilyUnavailable):
                await reading
        await feed.aclose()

    async def test_a_connection_made_while_the_handle_is_closed_is_closed(self, server: Postgres, url: str) -> None:
        store = PostgresStore(url, timeout=TIMEOUT)
        await store.open()
        with server.frozen():
            beginning = asyncio.create_task(anext(store.watch()))
            await asyncio.sleep(0.05)
            closing = asyncio.create_task(store.aclose())
            await asyncio.sleep(0.05)
        await closing
        with pytest.raises(TemporarilyUnavailable):
            await beginning

    async def test_connections_found_dead_are_passed_over(self, server: Postgres, store: PostgresStore) -> None:
        await busy(store)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert (await store.hit("key", 60, 1000)).count == 1

    async def test_a_caller_cancelled_on_a_frozen_server_is_let_go(
        self, server: Postgres, store: PostgresStore
    ) -> None:
        await busy(store)
        with server.frozen():
            calls = [asyncio.create_task(call) for call in every_call(store)]
            await asyncio.sleep(0.1)
            for call in calls:
                call.cancel()
            begun = time.monotonic()
            await asyncio.wait(calls)
            assert time.monotonic() - begun < 0.5
        await all_work(store)

    async def test_a_freeze_in_mid_commit_leaves_it_whole(self, server: Postgres, store: PostgresStore) -> None:
        devices = [a_device() for _ in range(20)]
        with contextlib.ExitStack() as frozen:
            commits = [
                asyncio.create_task(store.commit(Add(device), Log(an_event(device_id=device.id)))) for device in devices
            ]
            await asyncio.sleep(0.01)
            frozen.enter_context(server.frozen())
            results = await asyncio.gather(*commits, return_exceptions=True)
        await asyncio.sleep(0.2)
        kept = {device.id for device in await store.list_devices()}
        told = [event.device_id for event in await store.list_events()]
        assert sorted(told, key=str) == sorted(kept)
        for device, result in zip(devices, results, strict=True):
            assert isinstance(result, TemporarilyUnavailable) or (result is None and device.id in kept)

    @pytest.mark.parametrize("end", [Postgres.stop, Postgres.kill])
    async def test_a_feed_that_broke_goes_on_with_nothing_left_out_and_nothing_twice(
        self, server: Postgres, store: PostgresStore, end: Callable[[Postgres], None]
    ) -> None:
        async with Follower(store).following() as follower:
            names = []
            for round_ in range(3):
                for number in range(5):
                    names.append(f"{round_}.{number}")
                    await store.commit(Log(an_event(name=names[-1])))
                await asyncio.to_thread(end, server)
                await asyncio.to_thread(server.start)
            names.append("last")
            await store.commit(Log(an_event(name="last")))
            await follower.has(names)
        assert follower.breaks >= 3

    async def test_a_feed_frozen_for_long_goes_on(self, server: Postgres, store: PostgresStore) -> None:
        async with Follower(store).following() as follower:
            await store.commit(Log(an_event(name="before")))
            with server.frozen():
                await asyncio.sleep(TIMEOUT * 2)
            await store.commit(Log(an_event(name="after")))
            await follower.has(["before", "after"])
        assert follower.breaks >= 1


class TestConnection:
    @pytest.mark.parametrize("is_prepared", [True, False])
    async def test_a_commit_cut_off_at_any_byte_is_done_once(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy, is_prepared: bool
    ) -> None:
        sizes = [0, 1, 5, *range(20, 2500, 60)]
        cuts = 0
        for size in sizes:
            await (beyond.commit() if is_prepared else beyond.check())
            proxy.cut_after(size)
            before, device = proxy.cuts, a_device()
            await beyond.commit(Add(device), Log(an_event(name=device.id)))
            cuts += proxy.cuts - before
            assert await store.find(Device, device.id) == device
            proxy.cut()
        names = [event.name for event in await store.list_events(limit=1000)]
        assert len(names) == len(set(names)) == len(sizes)
        assert 15 < cuts < len(sizes)  # the last are beyond its end

    async def test_a_commit_whose_answer_is_lost_is_done_once_and_succeeds(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await beyond.commit(Add(device := a_device()), Log(an_event()))
        for _ in range(5):
            device = device.evolve()
            proxy.cut_at_answer()
            await beyond.commit(Swap(device), Log(an_event()))
            assert await store.find(Device, device.id) == device
        assert len(await store.list_events()) == 6
        assert proxy.cuts == 5

    async def test_a_commit_that_came_too_late_is_a_conflict_when_its_answer_is_lost(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await beyond.commit(Add(device := a_device()))
        await store.commit(Swap(device.evolve()))
        proxy.cut_at_answer()
        with pytest.raises(Conflict):
            await beyond.commit(Swap(device.evolve()))

    async def test_a_commit_cut_off_twice_is_whole(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await beyond.commit(Log(an_event()))
        for first in (0, 300, 5000):
            for second in (0, 100, 400, 800, 1200, 1600):
                device = a_device()
                await beyond.commit()
                proxy.cut_after(first, second)
                commit = beyond.commit(Add(device), Log(an_event(device_id=device.id)))
                (result,) = await asyncio.gather(commit, return_exceptions=True)
                kept = await store.find(Device, device.id)
                told = [event for event in await store.list_events() if event.device_id == device.id]
                assert len(told) == (kept is not None)
                assert isinstance(result, TemporarilyUnavailable) or (result is None and kept == device)
                proxy.cut()

    async def test_a_commit_whose_answer_does_not_come_may_have_happened(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await beyond.commit(Add(device := a_device()))
        with proxy.holding(), pytest.raises(TemporarilyUnavailable):
            await beyond.commit(Swap(device.evolve()))
        assert await store.find(Device, device.id) == device.evolve()
        await beyond.commit(Swap(device.evolve().evolve()))

    async def test_a_hit_whose_answer_is_lost_is_counted_once(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await beyond.hit("key", 60, 1000)
        proxy.cut_at_answer()
        with pytest.raises(TemporarilyUnavailable):
            await beyond.hit("key", 60, 1000)
        assert (await store.hit("key", 60, 1000, 0)).count == 2
        await beyond.hit("key", 60, 1000, 0)
        proxy.cut_at_answer()
        assert (await beyond.hit("key", 60, 1000, 0)).count == 2  # a look is repeated

    async def test_a_read_cut_off_is_read_again(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        await store.commit(Add(device := a_device()))
        for _ in range(5):
            await busy(beyond)
            proxy.cut()
            assert await beyond.list_devices() == [device]
            proxy.cut_at_answer()
            assert await beyond.find(Device, device.id) == device

    async def test_a_feed_cut_off_again_and_again_leaves_nothing_out(
        self, store: PostgresStore, beyond: PostgresStore, proxy: Proxy
    ) -> None:
        names = [str(number) for number in range(60)]
        async with Follower(beyond).following() as follower:
            for name in names:
                await store.commit(Log(an_event(name=name)))
                if int(name) % 4 == 0:
                    proxy.cut()
                await asyncio.sleep(0.01)
            await follower.has(names)
        assert follower.breaks > 3

    async def test_a_lost_notification_costs_a_heartbeat(self, store: PostgresStore, url: str) -> None:
        async with opened(f"{url}&pgbouncer=true") as deaf:
            feed = deaf.watch()
            await anext(feed)
            begun = time.monotonic()
            await store.commit(Log(an_event(name="quiet")))
            batch = await anext(feed)
            assert [event.name for event in batch.events] == ["quiet"]
            assert time.monotonic() - begun < 1.0
            begun = time.monotonic()
            await deaf.commit(Log(an_event(name="own")))
            assert [event.name for event in (await anext(feed)).events] == ["own"]
            assert time.monotonic() - begun < 0.4  # what goes through the handle needs no notification
            await feed.aclose()


class TestPool:
    async def test_callers_wait_for_a_connection_no_longer_than_their_time(self, url: str) -> None:
        async with opened(f"{url}&pool_size=1") as store:
            assert store._pool is not None
            async with store._pool.lease():
                begun = time.monotonic()
                with pytest.raises(TemporarilyUnavailable):
                    await store.list_devices()
                assert TIMEOUT * 0.9 < time.monotonic() - begun < TIMEOUT + LENIENCE
            await asyncio.gather(*(store.list_devices() for _ in range(100)))

    async def test_callers_who_wait_when_the_handle_is_closed_are_told(self, url: str) -> None:
        async with opened(f"{url}&pool_size=1") as store:
            assert store._pool is not None
            async with store._pool.lease() as connection:
                waiting = asyncio.create_task(store.list_devices())
                await asyncio.sleep(0.01)
                closing = asyncio.create_task(store.aclose())
                await asyncio.sleep(0.01)
                assert await connection.fetchval("SELECT 1") == 1  # what is at work may finish
            await closing
            with pytest.raises(TemporarilyUnavailable):
                await waiting

    async def test_no_more_connections_are_made_than_the_pool_may_have(self, server: Postgres, url: str) -> None:
        async with opened(f"{url}&pool_size=3&application_name=counted") as store:
            await busy(store)
            assert await value(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'") == 3
        assert await value(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'") == 0

    async def test_a_server_without_a_free_connection_is_temporarily_unavailable(
        self, server: Postgres, url: str
    ) -> None:
        async with opened(url) as store:
            taken = await all_connections(url)
            for _ in range(3):
                await asyncio.gather(store.list_devices(), return_exceptions=True)
            with pytest.raises(TemporarilyUnavailable) as raised:
                await asyncio.gather(*(store.list_devices() for _ in range(5)))
            assert isinstance(raised.value.__cause__, asyncpg.TooManyConnectionsError)
            for connection in taken:
                await connection.close()
            await all_work(store)

    async def test_connections_idle_for_long_are_closed(
        self, url: str, monkeypatch: pytest.MonkeyPatch, store: PostgresStore
    ) -> None:
        assert store._pool is not None
        await busy(store)
        assert len(store._pool._all) > 1
        monkeypatch.setattr("pairlock.stores.postgres_pool.IDLE_LIFE", -1)
        await store.list_devices()
        await asyncio.sleep(0.05)
        assert len(store._pool._all) == 0

    async def test_a_statement_that_is_locked_out_leaves_its_connection(self, url: str, store: PostgresStore) -> None:
        await store.commit(Add(device := a_device()))
        assert store._pool is not None
        connections = set(store._pool._all)
        other = await asyncpg.connect(url.partition("?")[0])
        async with other.transaction():
            await other.execute(f"LOCK TABLE {store.address.schema}.records")
            for call in (store.commit(Swap(device.evolve())), store.list_devices()):
                with pytest.raises(TemporarilyUnavailable) as raised:
                    await call
                assert isinstance(raised.value.__cause__, asyncpg.LockNotAvailableError)
        await other.close()
        await store.commit(Swap(device.evolve()))
        assert connections <= store._pool._all


async def all_connections(url: str) -> list[Any]:
    """All that the server still gives."""
    taken: list[Any] = []
    with contextlib.suppress(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(url.partition("?")[0]))
    return taken


async def value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
