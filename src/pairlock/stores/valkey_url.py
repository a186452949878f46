"""What the URL of a Valkey or Redis server says. The same for one server, for Sentinels and for a cluster."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from pairlock.errors import ConfigurationError

SERVER, SOCKET, SENTINEL, CLUSTER = "", "+unix", "+sentinel", "+cluster"
PORTS = {SERVER: 6379, SENTINEL: 26379, CLUSTER: 6379}
PLAIN, TLS = ("valkey", "redis"), ("valkeys", "rediss")
SCHEMES = {
    **{name + kind: kind for name in PLAIN + TLS for kind in PORTS},
    **{name + SOCKET: SOCKET for name in PLAIN},
}

HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[^:@\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?")
PREFIX = re.compile(r"[A-Za-z0-9._:-]{1,64}")
DATABASE = re.compile(r"[0-9]{1,4}")
LEAST_TIMEOUT, LONGEST_TIMEOUT = 0.1, 60.0
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

SPELLINGS = {
    SERVER: "valkey://user:password@host:6379/0",
    SOCKET: "valkey+unix:///run/valkey/valkey.sock",
    SENTINEL: "valkey+sentinel://user:password@host:26379,host:26379/service/0",
    CLUSTER: "valkey+cluster://user:password@host:6379,host:6379",
}


class Address(Struct, frozen=True):
    """Where the server is, and how it is to be used. `options` are the library's, and hold the password."""

    kind: str
    place: str
    nodes: tuple[tuple[str, int], ...]
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]
    path: str = ""
    service: str = ""
    database: int = 0
    tls: bool = False
    prefix: str = "pairlock"
    timeout: float = 5.0

    def __repr__(self) -> str:
        return f"{self.place}, prefix {self.prefix}"


def parse(url: str, **defaults: Any) -> Address:
    """Raises ConfigurationError, which never repeats the URL: it may hold a password."""
    scheme, _, rest = url.partition("://")
    kind, tls = SCHEMES[scheme], scheme.startswith(TLS)
    try:
        parts = urlsplit(f"//{rest}")
        said = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        _misspelt(kind)
    login, _, place = parts.netloc.rpartition("@")
    if "@" in login or "@" in parts.path or parts.fragment:
        _misspelt(kind)
    ours = {name: read(said.pop(name)) for name, read in OURS.items() if name in said}
    return Address(
        kind=kind,
        place=f"{scheme}://{place}{parts.path}",
        nodes=tuple(_nodes(kind, place)),
        tls=tls,
        **{**defaults, **ours},
        **_where(kind, parts.path, said),
        **_options(kind, tls, login, said),
    )


def _misspelt(kind: str) -> NoReturn:
    raise ConfigurationError(
        f"store: write {SPELLINGS[kind]}; what has a meaning in a URL (@ : / ? # % &) stands percent-encoded"
        " in a name or a password"
    )


def _nodes(kind: str, place: str) -> Iterator[tuple[str, int]]:
    hosts = place.split(",")
    if kind == SOCKET:
        hosts = [] if not place else _misspelt(kind)
    if kind == SERVER and len(hosts) > 1:
        raise ConfigurationError(
            "store: valkey:// names one server; of several, write valkey+sentinel:// or valkey+cluster://"
        )
    for host in hosts:
        node = HOST.fullmatch(host) or _misspelt(kind)
        yield node["v6"] or node["name"], int(node["port"] or PORTS[kind])


def _where(kind: str, path: str, said: dict[str, str]) -> dict[str, Any]:
    """What the path says: the socket, the service that Sentinels watch, the database."""
    if kind == SOCKET:
        return {"path": unquote(path) or _misspelt(kind), "database": _database(kind, said.pop("db", "0"))}
    first, _, rest = path.removeprefix("/").partition("/")
    if kind == SENTINEL:
        return {"service": unquote(first) or _misspelt(kind), "database": _database(kind, rest or "0")}
    if kind == CLUSTER and first not in {"", "0"}:
        raise ConfigurationError("store: a cluster has no databases but 0; give each service a prefix= of its own")
    return {"database": _database(kind, first or "0") if not rest else _misspelt(kind)}


def _database(kind: str, said: str) -> int:
    return int(said) if DATABASE.fullmatch(said) else _misspelt(kind)


def _options(kind: str, tls: bool, login: str, said: dict[str, str]) -> dict[str, Any]:
    """What goes to the library: who we are, and how TLS is to be spoken."""
    known, taken = {*SENTINEL_OPTIONS, *TLS_OPTIONS}, {*(SENTINEL_OPTIONS if kind == SENTINEL else ())}
    taken |= {*(TLS_OPTIONS if tls else ())}
    if unknown := said.keys() - taken:  # not named: it may be the end of a password
        why = "has no meaning with this scheme" if unknown <= known else "is not known"
        raise ConfigurationError(f"store: a parameter of the URL {why}; it takes {', '.join(sorted({*OURS, *taken}))}")
    username, _, password = login.partition(":")
    options = {name: read(said[name]) for name, read in TLS_OPTIONS.items() if name in said}
    if tls:  # the library's own default is to take a certificate of any name
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs", "required") == "required")
    return {
        "options": {**options, **_login(unquote(username), unquote(password))},
        "sentinel_options": {**options, **_login(*(said.get(name, "") for name in SENTINEL_OPTIONS))},
    }


def _login(username: str, password: str) -> dict[str, str | None]:
    return {"username": username or None, "password": password or None}


def _prefix(said: str) -> str:
    if not PREFIX.fullmatch(said):
        raise ConfigurationError("store: prefix= takes at most 64 of A-Z, a-z, 0-9 and . _ : -")
    return said


def _timeout(said: str) -> float:
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if not LEAST_TIMEOUT <= seconds <= LONGEST_TIMEOUT:
        raise ConfigurationError("store: timeout= takes seconds, from 0.1 to 60")
    return seconds


def _truth(said: str) -> bool:
    if said.lower() not in TRUTHS:
        raise ConfigurationError("store: ssl_check_hostname= is yes or no")
    return TRUTHS[said.lower()]


def _demand(said: str) -> str:
    if said not in {"required", "optional", "none"}:
        raise ConfigurationError("store: ssl_cert_reqs= is required, optional or none")
    return said


OURS: dict[str, Callable[[str], Any]] = {"prefix": _prefix, "timeout": _timeout}
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
TLS_OPTIONS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_cert_reqs": _demand,
    "ssl_check_hostname": _truth,
    "ssl_ciphers": str,
}
