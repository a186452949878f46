"""Opening a file: made, migrated, waited for, or refused and left as it is."""
# ruff: noqa: ASYNC240  # small files of one test, and nobody else on its loop

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pairlock._core.records import Device
from pairlock.errors import StoreError
from pairlock.stores import sqlite_schema
from pairlock.stores.contract import Add, Log
from pairlock.stores.sqlite import SQLiteStore
from pairlock.testing import a_device, an_event
from tests.stores.sql import values


def made_by(path: Path, *statements: str) -> bytes:
    """A file as another program made it; its bytes."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path.read_bytes()


async def refused(path: Path | str) -> str:
    """What opening says."""
    store = SQLiteStore(path, busy_timeout=0.05)
    with pytest.raises(StoreError) as raised:
        await store.open()
    await store.aclose()
    assert str(path) in str(raised.value)
    return str(raised.value)


NOBODY = 65534


@contextmanager
def as_ordinary_user(folder: str) -> Iterator[None]:
    """Root may write anywhere: become somebody who may write in this folder only."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class TestOpening:
    pytestmark = pytest.mark.anyio

    async def test_a_new_file_is_for_its_owner_alone(self, path: Path, store: SQLiteStore) -> None:
        await store.commit(Log(an_event()))
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert {file.name for file in path.parent.iterdir()} == {"pairlock.db", "pairlock.db-wal", "pairlock.db-shm"}

    async def test_a_link_to_nowhere_makes_the_file_it_names(self, path: Path) -> None:
        path.symlink_to(path.with_name("real.db"))
        store = SQLiteStore(path)
        await store.open()
        await store.aclose()
        assert stat.S_IMODE(path.with_name("real.db").stat().st_mode) == 0o600

    async def test_the_marks_of_the_file_and_its_modes(self, path: Path, store: SQLiteStore) -> None:
        assert await values(store, "PRAGMA journal_mode") == ["wal"]
        assert await values(store, "PRAGMA synchronous") == [2]  # FULL
        assert await values(store, "PRAGMA application_id") == [sqlite_schema.APPLICATION_ID]
        assert await values(store, "PRAGMA user_version") == [len(sqlite_schema.MIGRATIONS)]
        assert repr(store) == f"SQLiteStore({str(path)!r})"

    async def test_an_empty_file_is_used(self, path: Path) -> None:
        path.touch()
        store = SQLiteStore(path)
        await store.open()
        assert await store.list_devices() == []
        await store.aclose()

    async def test_an_open_store_may_be_opened_again(self, store: SQLiteStore) -> None:
        await store.commit(Add(a_device()))
        await store.open()
        assert len(await store.list_devices()) == 1

    async def test_a_closed_store_may_be_opened_again(self, store: SQLiteStore) -> None:
        await store.commit(Add(a_device()))
        await store.aclose()
        await store.open()
        assert len(await store.list_devices()) == 1

    async def test_a_later_migration_is_applied_once(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.commit(Add(a_device(id="kept")))
        await store.aclose()
        script = "CREATE TABLE extra (id TEXT); INSERT INTO extra VALUES ('once')"
        monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, script))
        for _ in range(2):
            await store.open()
            assert await values(store, "SELECT id FROM extra") == ["once"]
            assert await values(store, "PRAGMA user_version") == [len(sqlite_schema.MIGRATIONS)]
            assert await store.find(Device, "kept") is not None
            await store.aclose()

    async def test_a_migration_that_fails_leaves_the_file_as_it_was(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.aclose()
        before = path.read_bytes()
        with monkeypatch.context() as patched:
            script = "CREATE TABLE extra (id TEXT); INSERT INTO nowhere VALUES (1)"
            patched.setattr(sqlite_schema, "MIGRATIONS", (*sqlite_schema.MIGRATIONS, script))
            assert "no such table: nowhere" in await refused(path)
        assert path.read_bytes() == before

    async def test_a_newer_schema_is_refused(self, path: Path) -> None:
        await (store := SQLiteStore(path)).open()
        await store.aclose()
        before = made_by(path, "PRAGMA user_version = 99")
        said = await refused(path)
        assert "schema version 99" in said
        assert f"knows {len(sqlite_schema.MIGRATIONS)}" in said
        assert "upgrade pairlock" in said
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "statements",
        [
            ["CREATE TABLE mine (a)"],
            ["CREATE TABLE mine (a)", "PRAGMA application_id = 7"],
            ["PRAGMA application_id = 7"],
            ["PRAGMA journal_mode = WAL", "CREATE TABLE mine (a)", "PRAGMA user_version = 3"],
        ],
    )
    async def test_a_database_of_another_application_is_left_alone(self, path: Path, statements: list[str]) -> None:
        before = made_by(path, *statements)
        assert "belongs to another application" in await refused(path)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("content", [b"text", b"not a database, but text\n" * 100, os.urandom(8192)])
    async def test_a_file_that_is_no_database_is_left_alone(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        assert "not a database" in await refused(path)
        assert path.read_bytes() == content

    async def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        said = await refused(tmp_path / "missing" / "pairlock.db")
        assert "No such file or directory" in said
        assert "folder that exists" in said
        assert list(tmp_path.iterdir()) == []

    async def test_a_folder_is_not_a_file(self, tmp_path: Path) -> None:
        assert "unable to open database file" in await refused(tmp_path)

    async def test_a_path_below_a_file_is_refused(self, path: Path) -> None:
        path.touch()
        assert "may be written" in await refused(path / "pairlock.db")

    @pytest.mark.parametrize("path", ["/sys/pairlock.db", "/proc/pairlock.db"])  # not even root may write there
    async def test_a_place_where_we_may_not_write_is_refused(self, path: str) -> None:
        assert "may be written" in await refused(path)

    async def test_a_file_we_may_only_read_is_refused(self) -> None:
        with TemporaryDirectory() as folder, as_ordinary_user(folder):
            path = Path(folder, "pairlock.db")
            await (store := SQLiteStore(path)).open()
            await store.aclose()
            path.chmod(0o400)
            assert "readonly" in await refused(path)

    async def test_an_old_sqlite_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        with pytest.raises(StoreError, match=r"use Python with SQLite 3\.35 or newer"):
            await SQLiteStore(path).open()
        assert not path.exists()

    async def test_a_file_locked_for_long_is_refused(self, path: Path) -> None:
        await (store := SQLiteStore(path)).open()
        await store.aclose()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert "database is locked" in await refused(path)

    async def test_a_file_locked_for_a_moment_is_waited_for(self, path: Path) -> None:
        # Another program holds a new file in the old journal mode: switching to WAL does not wait by itself.
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            release = threading.Timer(0.3, other.rollback)
            release.start()
            store = SQLiteStore(path)
            await store.open()
            await store.aclose()
            release.join()


class TestCancelledOpening:
    pytestmark = pytest.mark.anyio

    async def test_it_leaves_nothing_behind_at_whatever_moment(self, path: Path) -> None:
        for turns in range(12):
            store = SQLiteStore(path.with_name(f"{turns}.db"))
            opening = asyncio.create_task(store.open())
            for _ in range(turns):
                await asyncio.sleep(0 if turns % 2 else 0.0005)
            opening.cancel()
            await asyncio.wait([opening])
            await store.aclose()
            await store.open()
            await store.aclose()

    async def test_it_leaves_nothing_behind_while_it_waits_for_a_lock(self, path: Path) -> None:
        await (store := SQLiteStore(path, busy_timeout=0.2)).open()
        await store.aclose()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            opening = asyncio.create_task(store.open())
            await asyncio.sleep(0.05)
            opening.cancel()
            await asyncio.wait([opening])
            assert opening.cancelled()
        await store.open()
        await store.aclose()
