"""Opening a PostgreSQL database: its URL, its schema made, migrated or refused, the rights it takes."""

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types
import pytest

from pairlock._core.records import Device
from pairlock.errors import ConfigurationError, StoreError, TemporarilyUnavailable
from pairlock.stores import open_store, postgres_schema
from pairlock.stores.contract import Add, Log
from pairlock.stores.postgres import PostgresStore
from pairlock.stores.postgres_schema import MIGRATIONS
from pairlock.testing import a_device, an_event
from tests.servers import Postgres, free_port

SECRET = "hunter2"


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url()


@contextlib.asynccontextmanager
async def asking(url: str) -> AsyncIterator[Any]:
    """A connection of our own to the database."""
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        yield connection
    finally:
        await connection.close()


async def done(url: str, *statements: str) -> Any:
    """Do this in the database; the first value of the last of them."""
    async with asking(url) as connection:
        return [await connection.fetchval(statement) for statement in statements][-1]


def schema_of(url: str) -> str:
    return PostgresStore(url).address.schema


async def opens(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.commit(Add(a_device()), Log(an_event()))
    await store.aclose()


async def refused(url: str, error: type[Exception] = StoreError) -> str:
    """What opening says."""
    store = PostgresStore(url, timeout=0.5)
    with pytest.raises(error) as raised:
        await store.open()
    for call in (store.open, store.check):
        with pytest.raises((error, TemporarilyUnavailable)):
            await call()
    await store.aclose()
    return str(raised.value)


class TestUrl:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
    def test_a_url_as_libpq_takes_it_names_a_store(self, scheme: str) -> None:
        store = open_store(f"{scheme}://me:{SECRET}@db1.example,db2.example:6432/things?sslmode=require&schema=house_1")
        assert isinstance(store, PostgresStore)
        assert repr(store) == "PostgresStore(db1.example,db2.example:6432/things, schema house_1)"
        assert store.address.dsns == (
            f"postgresql://me:{SECRET}@db1.example/things?target_session_attrs=read-write&sslmode=require",
            f"postgresql://me:{SECRET}@db2.example:6432/things?target_session_attrs=read-write&sslmode=require",
        )

    @pytest.mark.parametrize(
        ("rest", "dsn"),
        [
            ("", "postgresql://?target_session_attrs=read-write"),
            ("/db", "postgresql:///db?target_session_attrs=read-write"),
            ("[::1]:5432/db", "postgresql://[::1]:5432/db?target_session_attrs=read-write"),
            ("/db?host=/run/postgresql", "postgresql:///db?target_session_attrs=read-write&host=%2Frun%2Fpostgresql"),
            ("h/db?target_session_attrs=any", "postgresql://h/db?target_session_attrs=any"),
        ],
    )
    def test_what_is_not_ours_is_left_as_it_is(self, rest: str, dsn: str) -> None:
        assert PostgresStore(f"postgresql://{rest}").address.dsns == (dsn,)

    def test_what_is_ours_goes_before_what_the_caller_says(self) -> None:
        url = "postgresql://h/db?schema=a&pool_size=3&timeout=1.5&pgbouncer=true"
        address = PostgresStore(url, timeout=9, pool_size=9).address
        assert (address.schema, address.pool_size, address.timeout, address.pgbouncer) == ("a", 3, 1.5, True)
        plain = PostgresStore("postgresql://h/db?pgbouncer=false", timeout=9, pool_size=9).address
        assert (plain.schema, plain.pool_size, plain.timeout, plain.pgbouncer) == ("pairlock", 9, 9, False)

    @pytest.mark.parametrize(
        ("rest", "said"),
        [
            (f"me:{SECRET}@x@host/db", "percent-encoded"),
            (f"me:1/{SECRET}@host/db", "percent-encoded"),
            (f"me:1?{SECRET}@host/db", "percent-encoded"),
            (f"me:1#{SECRET}@host/db", "percent-encoded"),
            (f"me:{SECRET}", "percent-encoded"),
            (f"[{SECRET}", "percent-encoded"),
            ("host/db?schema=Caps", "schema= takes at most 63 of a-z"),
            ("host/db?schema=", "schema= takes"),
            ("host/db?schema=1a", "schema= takes"),
            (f"host/db?schema={'a' * 64}", "schema= takes"),
            ('host/db?schema=a"b', "schema= takes"),
            ("host/db?pool_size=0", "pool_size= takes a number from 1 to 999"),
            ("host/db?timeout=0", "timeout= takes seconds, from 0.1 to 60"),
            ("host/db?timeout=nan", "timeout= takes"),
            ("host/db?timeout=soon", "timeout= takes"),
            ("host/db?pgbouncer=maybe", "pgbouncer= is true or false"),
        ],
    )
    def test_a_url_spelt_wrongly_says_how_to_write_it_and_keeps_the_password(self, rest: str, said: str) -> None:
        with pytest.raises(ConfigurationError) as raised:
            open_store(f"postgresql://{rest}")
        assert said in str(raised.value)
        assert SECRET not in str(raised.value)

    def test_without_the_library_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "asyncpg", None)
        for module in ("postgres", "postgres_pool"):
            monkeypatch.delitem(sys.modules, f"pairlock.stores.{module}", raising=False)
        with pytest.raises(StoreError, match=r"install pairlock\[postgres\]"):
            open_store("postgresql://host/db")


class TestOpening:
    pytestmark = pytest.mark.anyio

    async def test_two_services_share_a_database(self, postgres: Postgres) -> None:
        first, second = PostgresStore(postgres.url()), PostgresStore(postgres.url())
        await first.open()
        await second.open()
        await first.commit(Add(device := a_device()), Log(an_event()))
        assert await second.find(Device, device.id) is None
        assert await second.list_events() == []
        assert await first.find(Device, device.id) == device
        await first.aclose()
        await second.aclose()

    @pytest.mark.parametrize("schema", ["user", "table", "_", "a" * 63])
    async def test_a_schema_may_have_any_name(self, url: str, schema: str) -> None:
        await opens(f"{url}&schema={schema}")
        await done(url, f'DROP SCHEMA "{schema}" CASCADE')

    async def test_an_open_store_may_be_opened_again(self, url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        pool = store._pool
        await store.open()
        assert store._pool is pool
        await store.aclose()
        await store.open()
        assert await store.list_devices() == []
        await store.aclose()

    async def test_a_later_migration_is_applied_once(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        await opens(url)
        script = "CREATE TABLE {schema}.extra (id text); INSERT INTO {schema}.extra VALUES ('once')"
        monkeypatch.setattr(postgres_schema, "MIGRATIONS", (*MIGRATIONS, script))
        await asyncio.gather(*(opens(url) for _ in range(4)))
        assert await done(url, f"SELECT count(*) FROM {schema_of(url)}.extra") == 1
        assert await done(url, f"SELECT pairlock FROM {schema_of(url)}.schema_version") == len(MIGRATIONS) + 1

    async def test_a_migration_that_fails_leaves_everything_as_it_was(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await opens(url)
        with monkeypatch.context() as patched:
            script = "CREATE TABLE {schema}.extra (id text); INSERT INTO {schema}.nowhere VALUES (1)"
            patched.setattr(postgres_schema, "MIGRATIONS", (*MIGRATIONS, script))
            assert "nowhere" in await refused(url)
        assert await done(url, f"SELECT to_regclass('{schema_of(url)}.extra') IS NULL")
        await opens(url)

    async def test_a_newer_schema_is_refused(self, url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await store.check()
        await done(url, f"UPDATE {schema_of(url)}.schema_version SET pairlock = 99")
        with pytest.raises(StoreError, match="start this process again"):
            await store.check()
        await store.aclose()
        said = await refused(url)
        assert "has version 99" in said
        assert f"knows {len(MIGRATIONS)}" in said
        assert "upgrade pairlock" in said

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE {}.mine (a int)",
            "CREATE TABLE {}.schema_version (version text)",
            "CREATE VIEW {}.mine AS SELECT 1 AS one",
        ],
    )
    async def test_a_schema_of_another_application_is_left_alone(self, url: str, statement: str) -> None:
        schema = schema_of(url)
        await done(url, f"CREATE SCHEMA {schema}", statement.format(schema))
        assert "belongs to another application" in await refused(url)
        names = f"SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace"
        assert await done(url, names) == 1

    async def test_an_empty_schema_is_used(self, url: str) -> None:
        await done(url, f"CREATE SCHEMA {schema_of(url)}")
        await opens(url)

    @pytest.mark.parametrize(
        "drop", ["DROP SCHEMA {} CASCADE", "DROP TABLE {}.schema_version", "DELETE FROM {}.schema_version"]
    )
    async def test_tables_that_are_gone_are_told_by_a_check(self, url: str, drop: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await done(url, drop.format(schema_of(url)))
        with pytest.raises(StoreError, match="no pairlock tables of this version any more"):
            await store.check()
        await store.aclose()

    async def test_a_role_that_may_not_create_opens_what_is_there(self, url: str) -> None:
        schema = schema_of(url)
        await opens(url)
        await done(
            url,
            "CREATE ROLE clerk LOGIN PASSWORD 'hunter2'",
            "REVOKE CREATE ON DATABASE postgres FROM PUBLIC",
            f"GRANT USAGE ON SCHEMA {schema} TO clerk",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO clerk",
        )
        clerk = url.replace("postgres@", f"clerk:{SECRET}@")
        await opens(clerk)
        said = await refused(clerk.replace(schema, "elsewhere"))
        assert "permission denied for database postgres" in said
        assert "lets this role make or use the schema" in said
        assert SECRET not in said
        await done(url, f"REVOKE USAGE ON SCHEMA {schema} FROM clerk")
        assert "permission denied for schema" in await refused(clerk)
        await done(url, f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM clerk", "DROP ROLE clerk")

    async def test_a_server_that_is_away_is_named_without_the_password(self) -> None:
        said = await refused(f"postgresql://me:{SECRET}@127.0.0.1:{free_port()}/db")
        assert "Connect call failed" in said
        assert "127.0.0.1" in said
        assert SECRET not in said

    async def test_a_server_that_says_nothing_is_not_waited_for_without_end(self, postgres: Postgres, url: str) -> None:
        with postgres.frozen():
            assert "it does not answer" in await refused(url)

    async def test_a_database_that_is_missing_is_named(self, url: str) -> None:
        said = await refused(url.replace("/postgres?", "/nowhere?"))
        assert 'database "nowhere" does not exist' in said

    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ("sslmode=perhaps", "`sslmode` parameter must be one of"),
            ("target_session_attrs=good", "target_session_attrs is expected to be one of"),
            ("sslmode=verify-full&sslrootcert=", "root certificate file"),
        ],
    )
    async def test_a_parameter_that_asyncpg_refuses_is_named(
        self, url: str, what: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "/nowhere")
        assert said in await refused(f"{url}&{what}", ConfigurationError)

    async def test_a_parameter_that_asyncpg_cannot_read_is_not_repeated(self) -> None:
        said = await refused(f"postgresql:///db?host=127.0.0.1&port={SECRET}", ConfigurationError)
        assert "percent-encoded" in said
        assert SECRET not in said

    async def test_a_setting_of_no_server_is_named(self, url: str) -> None:
        assert 'unrecognized configuration parameter "shema"' in await refused(f"{url}&shema=typo")

    async def test_an_old_server_is_refused(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_schema, "LEAST_POSTGRES", 99)
        assert "is too old: use 99 or newer" in await refused(url)

    async def test_a_database_that_is_not_in_utf8_is_refused(self, url: str) -> None:
        await done(url, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        assert "make one with ENCODING 'UTF8'" in await refused(url.replace("/postgres?", "/latin?"))
        await done(url, "DROP DATABASE latin")

    async def test_settings_that_lose_data_are_told(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "pairlock"):
            await opens(f"{url}&synchronous_commit=off")
        assert {record.args[0] for record in caplog.records if isinstance(record.args, tuple)} == {
            "fsync",  # of the tests' server
            "synchronous_commit",
        }

    async def test_connections_say_whose_they_are_and_what_they_may_take(self, url: str) -> None:
        store = PostgresStore(url, timeout=2)
        await store.open()
        assert store._pool is not None
        names = ("application_name", "statement_timeout", "lock_timeout", "default_transaction_isolation")
        (row,) = await store._pool.ask("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        assert tuple(row) == ("pairlock", "1600ms", "1s", "read committed")
        await store.aclose()

    async def test_what_the_url_sets_stays(self, url: str) -> None:
        store = PostgresStore(f"{url}&application_name=mine&statement_timeout=7s")
        await store.open()
        assert store._pool is not None
        ask = "SELECT current_setting('application_name'), current_setting('statement_timeout')"
        assert [tuple(row) for row in await store._pool.ask(ask)] == [("mine", "7s")]
        await store.aclose()

    async def test_behind_pgbouncer_no_setting_is_sent_and_no_statement_kept(self, url: str) -> None:
        store = PostgresStore(f"{url}&pgbouncer=true")
        await store.open()
        assert store._pool is not None
        await store.list_devices()
        await store.commit(Add(a_device()))
        assert [tuple(row) for row in await store._pool.ask("SELECT current_setting('statement_timeout')")] == [("0",)]
        (row,) = await store._pool.ask("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
        assert row[0] == 0
        await store.aclose()

    async def test_nothing_is_found_by_what_no_text_can_hold(self, url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await store.commit(Add(a_device(id="b", name="b")))
        assert await store.find(Device, "\0") is None
        assert await store.search_devices("\0") == []
        assert len(await store.search_devices("", after="a\0")) == 1
        assert await store.list_devices(before="a\0") == []
        await store.aclose()

    async def test_a_cancelled_opening_leaves_nothing_behind(self, url: str) -> None:
        for turns in range(25):
            store = PostgresStore(url)
            opening = asyncio.create_task(store.open())
            await asyncio.sleep(turns * 0.002)
            opening.cancel()
            await asyncio.wait([opening])
            await store.aclose()
        await opens(url)
        others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pairlock'"
        async with asyncio.timeout(5):
            while await done(url, others):  # noqa: ASYNC110  # nothing tells when the server has let go
                await asyncio.sleep(0.01)


class TestHosts:
    pytestmark = pytest.mark.anyio

    async def test_the_next_host_is_tried(self, url: str, postgres: Postgres) -> None:
        here = f"127.0.0.1:{postgres.port}"
        several = url.replace(here, f"127.0.0.1:{free_port()},{here}")
        await opens(several)
        store = PostgresStore(several)
        await store.open()
        assert store._pool is not None
        assert here in store._pool._dsns[0]
        await store.aclose()

    async def test_a_silent_host_leaves_time_for_the_next(self, url: str, postgres: Postgres) -> None:
        here = f"127.0.0.1:{postgres.port}"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent_host = f"127.0.0.1:{silent.getsockname()[1]}"
            store = PostgresStore(url.replace(here, f"{silent_host},{here}"), timeout=1)
            await store.open()
            await store.aclose()

    async def test_a_server_that_can_only_be_read_is_passed_over(self, url: str, postgres: Postgres) -> None:
        assert "target attribute" in await refused(f"{url}&default_transaction_read_only=on")


class TestLoops:
    def test_a_handle_may_be_opened_in_one_loop_after_another(self, url: str) -> None:
        store = PostgresStore(url)

        async def use() -> int:
            await store.open()
            await store.commit(Add(a_device()))
            found = await store.list_devices()
            await store.aclose()
            return len(found)

        assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of what the loop left open
    def test_a_handle_that_its_loop_left_open_is_opened_in_the_next(self, url: str) -> None:
        store = PostgresStore(url)
        asyncio.run(store.open())

        async def use() -> None:
            await store.open()
            await store.commit(Add(a_device()))
            await store.aclose()

        asyncio.run(use())
        gc.collect()


def test_no_sql_is_left_without_its_schema() -> None:
    source = Path(postgres_schema.__file__).with_name("postgres.py").read_text()
    for word in ("FROM", "INTO", "UPDATE"):
        for table in ("records", "events", "counters", "feed", "commits"):
            assert f"{word} {table}" not in source
