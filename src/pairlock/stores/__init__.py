"""Where records are kept: the contract, and the stores that keep it."""

import os
from collections.abc import Callable
from functools import partial
from urllib.parse import unquote_to_bytes

from pairlock.errors import ConfigurationError, StoreError
from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.valkey_url import SCHEMES

__all__ = ["open_store"]

KNOWN = (
    "known are sqlite:///relative.db, sqlite:////absolute/path.db, postgresql://host/database,"
    " valkey://host, redis://host and memory://"
)


def open_store(url: str) -> Store:
    """The store that a URL names, not yet open: await its `open()`.

    `sqlite:///relative.db`, `sqlite:////absolute/path.db` (percent-decoded),
    `postgresql://user:password@host:port/database?schema=pairlock`,
    `valkey://user:password@host:port/0?prefix=pairlock` (also `redis://`; more in docs/valkey.md) or `memory://`.
    Raises ConfigurationError, which never repeats the URL: it may hold a password; StoreError for
    a library that is missing.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in STORES:
        return STORES[scheme](rest)
    raise ConfigurationError(f"store: this is not the URL of a store; {KNOWN}")


def _sqlite(rest: str) -> Store:
    from pairlock.stores.sqlite import SQLiteStore  # only here: other stores do without aiosqlite

    path = os.fsdecode(unquote_to_bytes(rest[1:]))
    if not rest.startswith("/") or not path:
        raise ConfigurationError(f"store: sqlite:// needs a third slash and a path after it; {KNOWN}")
    if path == ":memory:":
        raise ConfigurationError("store: several processes cannot share sqlite's :memory:; write memory:// instead")
    if "\0" in path or "?" in rest or "#" in rest:
        raise ConfigurationError("store: a sqlite path has no parameters; write ? as %3F and # as %23 in its name")
    return SQLiteStore(path)


def _postgres(rest: str) -> Store:
    try:
        from pairlock.stores.postgres import PostgresStore  # only here: other stores do without asyncpg
    except ModuleNotFoundError as error:
        raise StoreError("store: postgresql:// needs asyncpg: install pairlock[postgres]") from error
    return PostgresStore(f"postgresql://{rest}")


def _valkey(scheme: str, rest: str) -> Store:
    try:
        from pairlock.stores.valkey import ValkeyStore  # only here: other stores do without its library
    except ModuleNotFoundError as error:
        raise StoreError(f"store: {scheme}:// needs the library of Valkey: install pairlock[valkey]") from error
    return ValkeyStore(f"{scheme}://{rest}")


def _memory(rest: str) -> Store:
    if rest:
        raise ConfigurationError("store: nothing may follow memory://")
    return MemoryStore()


STORES: dict[str, Callable[[str], Store]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
    "memory": _memory,
    **{scheme: partial(_valkey, scheme) for scheme in SCHEMES},
}
