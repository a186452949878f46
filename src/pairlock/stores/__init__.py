"""Where records are kept: the contract, and the stores that keep it."""

import os
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from pairlock.errors import ConfigurationError
from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryStore

__all__ = ["open_store"]

KNOWN = "known are sqlite:///relative.db, sqlite:////absolute/path.db and memory://"
NOT_YET = frozenset({"postgresql", "postgres", "valkey", "valkeys", "redis", "rediss"})


def open_store(url: str) -> Store:
    """The store that a URL names, not yet open: await its `open()`.

    `sqlite:///relative.db`, `sqlite:////absolute/path.db` (percent-decoded) or `memory://`.
    Raises ConfigurationError, which never repeats the URL: it may hold a password.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme in STORES:
        return STORES[scheme](rest)
    if separator and scheme in NOT_YET:
        raise ConfigurationError(f"store: {scheme}:// is not in this version of pairlock; {KNOWN}")
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


def _memory(rest: str) -> Store:
    if rest:
        raise ConfigurationError("store: nothing may follow memory://")
    return MemoryStore()


STORES: dict[str, Callable[[str], Store]] = {"sqlite": _sqlite, "memory": _memory}
