"""The store in a SQLite file keeps every promise, and what is true of files alone."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pairlock._core.records import Device
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores.contract import Add, Log, Store, Swap
from pairlock.stores.sqlite import SQLiteStore
from pairlock.stores.sqlite_schema import APPLICATION_ID, MIGRATIONS
from pairlock.testing import StoreContract, a_device, a_request, a_setting, an_event
from tests.stores.sql import rows, values


class TestSQLiteStore(StoreContract):
    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[], Store]:
        return lambda: SQLiteStore(tmp_path / "pairlock.db")


class TestTrouble:
    pytestmark = pytest.mark.anyio

    async def test_a_locked_file_is_temporarily_unavailable(self, path: Path, store: SQLiteStore) -> None:
        await store.commit(Add(device := a_device()))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for call in (store.commit(Swap(device.evolve())), store.hit("key", 1, 1), store.purge(1)):
                with pytest.raises(TemporarilyUnavailable) as raised:
                    await call
                assert raised.value.retry_after == 1
                assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
            assert await store.find(Device, device.id) == device
            assert (await store.hit("key", 1, 1, 0)).count == 0  # a look takes no lock
        await store.commit(Swap(device.evolve()))

    async def test_waiting_for_a_lock_never_holds_the_loop(self, path: Path) -> None:
        await (waiting := SQLiteStore(path, busy_timeout=0.5)).open()
        loop = asyncio.get_running_loop()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            commit = asyncio.create_task(waiting.commit(Add(a_device())))
            longest, last = 0.0, loop.time()
            while not commit.done():
                await asyncio.sleep(0.001)
                longest, last = max(longest, loop.time() - last), loop.time()
            assert isinstance(commit.exception(), TemporarilyUnavailable)
        await waiting.aclose()
        assert longest < 0.25  # half of the wait

    async def test_what_is_queued_behind_a_wait_waits_no_longer_than_that(self, path: Path) -> None:
        await (store := SQLiteStore(path, busy_timeout=0.3)).open()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begun = asyncio.get_running_loop().time()
            told = await asyncio.gather(*(store.commit(Add(a_device())) for _ in range(8)), return_exceptions=True)
            assert {type(each) for each in told} == {TemporarilyUnavailable}
            assert asyncio.get_running_loop().time() - begun < 1.2  # half of what they would wait one after the other
        await store.commit(Add(a_device()))
        await store.aclose()

    async def test_a_file_that_another_version_has_migrated_is_told(self, path: Path, store: SQLiteStore) -> None:
        await store.check()
        with closing(sqlite3.connect(path)) as newer:
            newer.execute("PRAGMA user_version = 99")
        with pytest.raises(StoreError):
            await store.check()

    async def test_a_file_that_another_process_has_made_of_an_older_kind_is_told(
        self, path: Path, store: SQLiteStore
    ) -> None:
        with closing(sqlite3.connect(path)) as older:
            older.execute("PRAGMA user_version = 1")
        with pytest.raises(StoreError, match="start this process again"):
            await store.check()

    async def test_devices_of_the_first_version_are_found_by_name(self, path: Path) -> None:
        device = a_device(name="Phone")
        with closing(sqlite3.connect(path)) as first:
            first.executescript(MIGRATIONS[0])
            first.execute(
                "INSERT INTO devices (id, version, data) VALUES (?, 1, ?)", (device.id, msgspec.json.encode(device))
            )
            first.execute("UPDATE devices SET data = CAST(data AS TEXT)")
            first.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            first.execute("PRAGMA user_version = 1")
            first.commit()
        await (store := SQLiteStore(path)).open()
        assert await store.search_devices("phone") == [device]
        await store.aclose()

    async def test_a_full_disk_in_mid_write_loses_nothing(self, store: SQLiteStore) -> None:
        await store.commit(Add(kept := a_device()))
        (pages,) = await values(store, "PRAGMA page_count")
        await values(store, f"PRAGMA max_page_count = {pages}")
        large = [a_setting(value="x" * 20_000) for _ in range(10)]
        with pytest.raises(TemporarilyUnavailable) as raised:
            await store.commit(Swap(kept.evolve()), Log(an_event()), *(Add(setting) for setting in large))
        assert "full" in str(raised.value.__cause__)
        assert await store.list_devices() == [kept]
        assert await store.list_events() == []
        await values(store, "PRAGMA max_page_count = 1000000")
        await store.commit(Swap(kept.evolve()), *(Add(setting) for setting in large))
        assert await store.list_devices() == [kept.evolve()]

    async def test_a_file_that_became_readonly_is_temporarily_unavailable(self, store: SQLiteStore) -> None:
        await values(store, "PRAGMA query_only = ON")
        with pytest.raises(TemporarilyUnavailable):
            await store.commit(Add(a_device()))
        await values(store, "PRAGMA query_only = OFF")
        await store.commit(Add(a_device()))

    async def test_a_commit_that_cannot_be_encoded_leaves_nothing(self, store: SQLiteStore) -> None:
        with pytest.raises(TypeError):
            await store.commit(Add(a_device()), Add(a_setting(value=object())))
        assert await store.list_devices() == []

    async def test_a_feed_that_cannot_be_read_says_so(self, store: SQLiteStore) -> None:
        feed = store.watch()
        await anext(feed)
        await values(store, "DROP TABLE events")
        with pytest.raises(TemporarilyUnavailable) as raised:
            await anext(feed)
        assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
        with pytest.raises(StopAsyncIteration):
            await anext(feed)

    async def test_a_feed_ends_with_its_store(self, store: SQLiteStore) -> None:
        feed = store.watch()
        await anext(feed)
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)
        await store.aclose()
        with pytest.raises(TemporarilyUnavailable) as raised:
            await waiting
        assert "is not open" in str(raised.value.__cause__)

    async def test_a_feed_leaves_no_task_behind(self, store: SQLiteStore) -> None:
        before = asyncio.all_tasks()

        async def follow() -> None:
            async for _ in store.watch():
                pass

        following = asyncio.create_task(follow())
        await asyncio.sleep(0.15)
        following.cancel()
        await asyncio.wait([following])
        assert asyncio.all_tasks() == before
        assert store._wakes == set()


class TestLoops:
    def test_each_call_may_come_from_a_loop_of_its_own(self, path: Path) -> None:
        store = SQLiteStore(path)
        device = a_device()
        asyncio.run(store.open())
        asyncio.run(store.commit(Add(device), Log(an_event())))
        assert asyncio.run(store.list_devices()) == [device]
        assert asyncio.run(self.first_batch(store)) == 1
        assert asyncio.run(self.first_batch(store)) == 1
        asyncio.run(store.aclose())

    async def first_batch(self, store: SQLiteStore) -> int:
        feed = store.watch(0)
        batch = await anext(feed)
        await feed.aclose()
        return len(batch.events)


class TestPlans:
    pytestmark = pytest.mark.anyio

    async def test_every_statement_goes_by_an_index(self, store: SQLiteStore) -> None:
        statements = await self.all_statements(store)
        assert len(statements) >= 20
        for statement in statements:
            for *_, step in await rows(store, f"EXPLAIN QUERY PLAN {statement}"):
                scans = str(step).startswith("SCAN") and "sqlite_sequence" not in str(step)  # which has one row
                assert not scans, f"{statement}: {step}"
                assert "TEMP B-TREE" not in str(step), f"{statement}: {step}"

    async def all_statements(self, store: SQLiteStore) -> set[str]:
        """Everything that SQLite is asked while each method is called in each of its ways."""
        said: list[str] = []
        assert store._connection is not None
        await store._connection.set_trace_callback(said.append)
        request, device, setting = a_request(code_digest=b"code"), a_device(), a_setting()
        await store.commit(Add(request), Add(device), Add(setting), Log(an_event()))
        await store.commit(Swap(request.evolve()), Swap(device.evolve()), Swap(setting.evolve()))
        for record in (request, device, setting):
            await store.find(type(record), record.id)
        await store.find_code(b"code")
        await store.list_requests(live_at=1)
        await store.list_requests(live_at=1, before="x")
        await store.list_devices()
        await store.list_devices(before="x")
        await store.list_events()
        await store.list_events(before=5)
        for amount in (1, 0, -1):
            await store.hit("key", 1, 1, amount)
        await store.purge(1)
        await (feed := store.watch()).__anext__()
        await feed.aclose()
        await store._connection.set_trace_callback(lambda _: None)
        return {statement for statement in said if statement.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}}
