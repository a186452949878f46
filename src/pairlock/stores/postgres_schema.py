"""What pairlock's tables in a PostgreSQL database look like, and how they are made, migrated or refused.

A new kind of record needs no table. A script that has been released is never edited: databases made by it
exist. In all SQL here and in `postgres.py`, {schema} stands for the schema's name.
"""

import asyncio
from typing import Any

from pairlock.errors import StoreError

Connection = Any  # asyncpg's

LEAST_POSTGRES = 14
PATIENCE = 60.0  # seconds for a migration, and for that of another process

# records: every kind in one table; what a record is looked up by has columns, all of it is in `data`.
#   `code` is that of requests only, `live_until` is when a live request expires, `name` is the `name_key` of a paired
#   device. Rows leave room in their pages, so that being seen or counted moves nothing and touches no index.
# data is text and not jsonb, which cannot hold the NUL that JSON can.
# feed: its one row is the lock under which events are numbered, held until the commit is visible: whoever reads an
#   event has those with lower numbers before them. A sequence would number in the order of asking.
# commit takes everything as text: asyncpg asks the server about arrays of all else, for long, on each new connection.
# commits: what was done in the last hour, so that a commit whose answer was lost can be asked for again.
MIGRATIONS = (
    """
    CREATE TABLE {schema}.schema_version (pairlock integer NOT NULL);
    INSERT INTO {schema}.schema_version VALUES (0);

    CREATE TABLE {schema}.records (
        kind text COLLATE "C", id text COLLATE "C", version bigint NOT NULL, purge_at float8,
        code bytea, live_until float8, name text COLLATE "C", seen_at float8, data text NOT NULL,
        PRIMARY KEY (kind, id)
    ) WITH (fillfactor = 70);
    CREATE UNIQUE INDEX records_code ON {schema}.records (code) WHERE code IS NOT NULL;
    CREATE INDEX records_live ON {schema}.records (id) WHERE live_until IS NOT NULL;
    CREATE INDEX records_paired ON {schema}.records (id) WHERE name IS NOT NULL;
    CREATE INDEX records_named ON {schema}.records (name) WHERE name IS NOT NULL;
    CREATE INDEX records_due ON {schema}.records (purge_at) WHERE purge_at IS NOT NULL;

    CREATE TABLE {schema}.feed (last bigint NOT NULL);
    INSERT INTO {schema}.feed VALUES (0);

    CREATE TABLE {schema}.events (seq bigint PRIMARY KEY, purge_at float8, data text NOT NULL);
    CREATE INDEX events_due ON {schema}.events (purge_at) WHERE purge_at IS NOT NULL;

    CREATE TABLE {schema}.counters (
        key text COLLATE "C" PRIMARY KEY, count bigint NOT NULL, resets_at float8 NOT NULL
    ) WITH (fillfactor = 60);
    CREATE INDEX counters_due ON {schema}.counters (resets_at);

    CREATE TABLE {schema}.commits (id uuid PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX commits_at ON {schema}.commits (at);

    CREATE FUNCTION {schema}.commit(
        commit_id uuid, adds text[], kinds text[], ids text[], versions text[], purge_ats text[], codes text[],
        live_untils text[], names text[], datas text[], event_purge_ats text[], event_datas text[]
    ) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        numbered bigint;
    BEGIN
        INSERT INTO {schema}.commits (id) VALUES (commit_id) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN;  -- it was done
        END IF;
        FOR i IN 1 .. cardinality(ids) LOOP
            IF adds[i]::boolean THEN
                INSERT INTO {schema}.records (kind, id, version, purge_at, code, live_until, name, data)
                VALUES (kinds[i], ids[i], versions[i]::bigint, purge_ats[i]::float8, codes[i]::bytea,
                    live_untils[i]::float8, names[i], datas[i]);
            ELSE
                UPDATE {schema}.records
                SET version = versions[i]::bigint, purge_at = purge_ats[i]::float8, code = codes[i]::bytea,
                    live_until = live_untils[i]::float8, name = names[i], data = datas[i]
                WHERE kind = kinds[i] AND id = ids[i] AND version = versions[i]::bigint - 1;
            END IF;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'another version of % %', kinds[i], ids[i] USING ERRCODE = 'PLK01';
            END IF;
        END LOOP;
        IF random() < 0.01 THEN  -- two for each commit, in the long run
            DELETE FROM {schema}.commits WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM {schema}.commits WHERE at < now() - interval '1 hour'
                ORDER BY at LIMIT 200 FOR UPDATE SKIP LOCKED
            ));
        END IF;
        IF cardinality(event_datas) > 0 THEN
            UPDATE {schema}.feed SET last = last + cardinality(event_datas) RETURNING last INTO numbered;
            INSERT INTO {schema}.events (seq, purge_at, data)
            SELECT numbered - cardinality(event_datas) + place, due::float8, said
            FROM unnest(event_purge_ats, event_datas) WITH ORDINALITY AS event (due, said, place);
            PERFORM pg_notify('{channel}', numbered::text);
        END IF;
    END
    $$;
    """,
)

LOOK = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace($1)) AS is_used,
        EXISTS (SELECT FROM pg_catalog.pg_attribute
            WHERE attrelid = to_regclass($1 || '.schema_version') AND attname = 'pairlock') AS is_ours
"""
VERSION = "SELECT pairlock FROM {schema}.schema_version"
WEAK = """
    SELECT name FROM unnest(ARRAY['fsync', 'synchronous_commit', 'full_page_writes']) AS setting (name)
    WHERE current_setting(name) = 'off'
"""


def quoted(sql: str, schema: str) -> str:
    """A statement for this schema."""
    return sql.replace("{schema}", f'"{schema}"').replace("{channel}", schema)


async def prepare(connection: Connection, schema: str) -> None:
    """Bring the schema to this version. Raises StoreError when it is not ours to touch.

    Where it is current nothing but reading is done, so that a role without the right to create can do it.
    """
    _check_server(connection)
    if await _version(connection, schema) != len(MIGRATIONS):
        async with asyncio.timeout(PATIENCE):
            await _migrate(connection, schema)


def check_version(version: int | None, schema: str) -> None:
    """Raises StoreError when the tables have been migrated by a newer version, or are not ours any more."""
    if version != len(MIGRATIONS):
        raise StoreError(f"schema {schema} holds no pairlock tables of this version any more: start this process again")


async def weaknesses(connection: Connection) -> list[str]:
    """The settings of the server by which it may lose what it has acknowledged."""
    return [name for (name,) in await connection.fetch(WEAK)]


def _check_server(connection: Connection) -> None:
    version, encoding = connection.get_server_version(), connection.get_settings().server_encoding
    if version.major < LEAST_POSTGRES:
        raise StoreError(f"PostgreSQL {version.major} is too old: use {LEAST_POSTGRES} or newer")
    if encoding != "UTF8":
        raise StoreError(f"the encoding of this database is {encoding}: make one with ENCODING 'UTF8'")


async def _migrate(connection: Connection, schema: str) -> None:
    """Run the scripts that the schema lacks, in one transaction, one process at a time.

    Whoever calls it closes the connection when it fails.
    """
    limit = f"SET LOCAL statement_timeout = '{PATIENCE}s'; SET LOCAL lock_timeout = '{PATIENCE}s'"
    await connection.execute(f"BEGIN; {limit}")
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('pairlock ' || $1, 0))", schema)
    version = await _version(connection, schema)
    if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", f'"{schema}"'):
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    for script in MIGRATIONS[version:]:
        await connection.execute(quoted(script, schema))
    if version != len(MIGRATIONS):
        await connection.execute(quoted("UPDATE {schema}.schema_version SET pairlock = $1", schema), len(MIGRATIONS))
    await connection.execute("COMMIT")


async def _version(connection: Connection, schema: str) -> int:
    """How many of the scripts the schema has had. Raises StoreError when it is not ours to touch."""
    look = await connection.fetchrow(LOOK, f'"{schema}"')
    if look["is_used"] and not look["is_ours"]:
        raise StoreError(
            f"schema {schema} belongs to another application and is left as it is: give another with schema="
        )
    if not look["is_ours"]:
        return 0
    version = int(await connection.fetchval(quoted(VERSION, schema)))
    if version > len(MIGRATIONS):
        raise StoreError(
            f"schema {schema} has version {version}, this pairlock knows {len(MIGRATIONS)}:"
            " upgrade pairlock, or give another with schema="
        )
    return version
