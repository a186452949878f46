"""What a pairlock database looks like, and how one is opened: created, migrated or refused.

A new kind of record is a row in `TABLES` and a script at the end of `MIGRATIONS`. A script that
has been released is never edited: files made by it exist.
"""

import contextlib
import os.path
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from pairlock._core.records import Device, PairingRequest, Record, Setting
from pairlock.errors import StoreError

APPLICATION_ID = 0x706C6B31  # "plk1": says whose file it is
LEAST_SQLITE = (3, 35)  # RETURNING
RETRY_PAUSE = 0.01

# SQLite uses a partial index only for a query that repeats its condition.
IS_LIVE = "state IN ('pending', 'approved')"

MIGRATIONS = (
    f"""
    CREATE TABLE requests (
        id TEXT NOT NULL PRIMARY KEY, version INTEGER, purge_at REAL,
        state TEXT, expires_at REAL, code_digest BLOB UNIQUE, data TEXT
    );
    CREATE INDEX requests_live ON requests (id) WHERE {IS_LIVE};
    CREATE INDEX requests_due ON requests (purge_at) WHERE purge_at IS NOT NULL;

    CREATE TABLE devices (
        id TEXT NOT NULL PRIMARY KEY, version INTEGER, purge_at REAL,
        revoked_at REAL, data TEXT
    );
    CREATE INDEX devices_paired ON devices (id) WHERE revoked_at IS NULL;
    CREATE INDEX devices_due ON devices (purge_at) WHERE purge_at IS NOT NULL;

    CREATE TABLE settings (id TEXT NOT NULL PRIMARY KEY, version INTEGER, purge_at REAL, data TEXT);
    CREATE INDEX settings_due ON settings (purge_at) WHERE purge_at IS NOT NULL;

    -- no seq is given twice, also after a purge: AUTOINCREMENT
    CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, purge_at REAL, data TEXT);
    CREATE INDEX events_due ON events (purge_at) WHERE purge_at IS NOT NULL;

    CREATE TABLE counters (key TEXT NOT NULL PRIMARY KEY, count INTEGER, resets_at REAL) WITHOUT ROWID;
    CREATE INDEX counters_due ON counters (resets_at);
    """,
    """
    ALTER TABLE devices ADD COLUMN name_key TEXT;
    ALTER TABLE devices ADD COLUMN seen_at REAL;
    UPDATE devices SET name_key = name_key_of(data);
    CREATE INDEX devices_named ON devices (name_key) WHERE revoked_at IS NULL;
    """,
)


class Table:
    """The SQL of one kind of record: what it is looked up by has columns, all of it is in `data` as JSON.

    `beside` are the columns of what no commit changes.
    """

    def __init__(self, kind: type[Record], name: str, *looked_up_by: str, beside: Sequence[str] = ()) -> None:
        self.name = name
        self.columns = ("id", "version", "purge_at", *looked_up_by)
        names, marks = ", ".join(self.columns), ", ".join("?" for _ in self.columns)
        changes = ", ".join(f"{column} = ?" for column in self.columns)
        # S608: the names are those of TABLES; every value is bound.
        self.insert = f"INSERT INTO {name} ({names}, data) VALUES ({marks}, ?)"  # noqa: S608
        self.update = f"UPDATE {name} SET {changes}, data = ? WHERE id = ? AND version = ?"  # noqa: S608
        self.read_columns = ", ".join(("data", *beside))
        self.select = f"SELECT {self.read_columns} FROM {name} WHERE id = ?"  # noqa: S608
        self._beside = tuple(beside)
        self._decode: Callable[[str], Any] = msgspec.json.Decoder(kind).decode

    def row(self, record: Record) -> tuple[Any, ...]:
        """The values of a record's columns, in the order of `insert` and `update`."""
        return (*(getattr(record, column) for column in self.columns), encode(record))

    def read(self, data: str, *beside: Any) -> Any:
        """The record of a row, from its `read_columns`."""
        record = self._decode(data)
        return replace(record, **dict(zip(self._beside, beside, strict=True))) if beside else record


TABLES: dict[type[Record], Table] = {
    PairingRequest: Table(PairingRequest, "requests", "state", "expires_at", "code_digest"),
    Device: Table(Device, "devices", "revoked_at", "name_key", beside=["seen_at"]),
    Setting: Table(Setting, "settings"),
}


def encode(record: msgspec.Struct) -> str:
    """A record as JSON text, which SQLite's own shell shows and queries."""
    return msgspec.json.encode(record).decode()


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside, or nothing. Takes the write lock at once: what is read inside stays true."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()  # does nothing where SQLite has rolled back by itself, as on a full disk
        raise


def connect(path: str, busy_timeout: float) -> sqlite3.Connection:
    """A connection to the file, made with mode 0600 if it is missing; nothing is read or locked yet.

    Raises OSError or sqlite3.Error.
    """
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use Python with SQLite 3.35 or newer")
    file = os.path.realpath(path)
    # Only ever made, never opened here: closing a file drops all locks that the process holds on it.
    with contextlib.suppress(FileExistsError):
        Path(file).touch(mode=0o600, exist_ok=False)
    connection = sqlite3.connect(file, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    connection.create_function("name_key_of", 1, _name_key_of, deterministic=True)
    return connection


def _name_key_of(data: str) -> str:
    return msgspec.json.decode(data, type=Device).name_key


def prepare(connection: sqlite3.Connection, path: str, patience: float) -> None:
    """Bring the file to this schema. Raises StoreError or sqlite3.Error; a foreign file is left as it is."""
    deadline = time.monotonic() + patience
    while not _is_prepared(connection, path, deadline):
        time.sleep(RETRY_PAUSE)


def check_schema(connection: sqlite3.Connection, path: str) -> None:
    """Raises StoreError when the file has been migrated by a newer version, or is not ours any more."""
    if _schema_version(connection, path) != len(MIGRATIONS):
        raise StoreError(f"{path} is no pairlock database of this version any more: start this process again")


def _is_prepared(connection: sqlite3.Connection, path: str, deadline: float) -> bool:
    """Whether it worked; switching to WAL beside other processes says 'locked' without waiting."""
    try:
        _schema_version(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
            raise
        return False
    return True


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    """Run the scripts that the file lacks. The lock is taken in any case: it shows that we may write."""
    with transaction(connection):
        for script in MIGRATIONS[_schema_version(connection, path) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _schema_version(connection: sqlite3.Connection, path: str) -> int:
    """How many of the scripts the file has had. Raises StoreError when it is not ours to touch."""
    # In this order: another process may migrate in between, and the marks come with the tables.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise StoreError(f"{path} belongs to another application and is left as it is: give another path")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}, this pairlock knows {len(MIGRATIONS)}:"
            " upgrade pairlock, or give another path"
        )
    return int(version)
