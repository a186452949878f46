"""What the URL of a PostgreSQL database says: most of it to asyncpg, some of it to us."""

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from pairlock.errors import ConfigurationError

SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
HOST = re.compile(r"(\[[^\]@]*\]|[^:@\[\]]*)(:[0-9]+)?")

SPELLING = (
    "store: write postgresql://user:password@host:port/database?schema=pairlock;"
    " what has a meaning in a URL (@ : / ? # % &) stands percent-encoded in a name or a password"
)


class Address(Struct, frozen=True):
    """Where the database is, and how it is to be used. Its `dsns`, one for each host, hold the password."""

    place: str
    dsns: tuple[str, ...]
    parameters: frozenset[str]
    schema: str = "pairlock"
    pgbouncer: bool = False
    timeout: float = 5.0
    pool_size: int = 10

    def __repr__(self) -> str:
        return f"{self.place}, schema {self.schema}"


def parse(url: str, **defaults: Any) -> Address:
    """Raises ConfigurationError, which never repeats the URL."""
    try:
        parts = urlsplit(url)
        said = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(SPELLING) from None
    login, at, place = parts.netloc.rpartition("@")
    hosts = place.split(",")
    if "@" in login or "@" in parts.path or parts.fragment or not all(map(HOST.fullmatch, hosts)):
        raise ConfigurationError(SPELLING)  # else a part of the password could pass for a host
    ours = {name: OURS[name](said.pop(name)) for name in OURS if name in said}
    query = urlencode({"target_session_attrs": "read-write", **said})
    if "host" in said or "port" in said:
        hosts = [place]
    dsns = tuple(f"{parts.scheme}://{login}{at}{host}{parts.path}?{query}" for host in hosts)
    return Address(place + parts.path, dsns, frozenset(said), **{**defaults, **ours})


def _schema(said: str) -> str:
    if not SCHEMA.fullmatch(said):
        raise ConfigurationError("store: schema= takes at most 63 of a-z, 0-9 and _, and begins with no digit")
    return said


def _pgbouncer(said: str) -> bool:
    if said not in {"true", "false"}:
        raise ConfigurationError("store: pgbouncer= is true or false")
    return said == "true"


def _timeout(said: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 60:
        raise ConfigurationError("store: timeout= takes seconds, from 0.1 to 60")
    return seconds


def _pool_size(said: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,2}", said):
        raise ConfigurationError("store: pool_size= takes a number from 1 to 999")
    return int(said)


OURS: dict[str, Callable[[str], Any]] = {
    "schema": _schema,
    "pgbouncer": _pgbouncer,
    "timeout": _timeout,
    "pool_size": _pool_size,
}
