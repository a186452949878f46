"""The settings of a service and of how it is served: from a file, the environment and arguments, later ones first."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from msgspec import Struct

from pairlock._core.clients import Client
from pairlock._core.permissions import NOTHING, Permissions
from pairlock.configuration.file import find_file, read_document
from pairlock.configuration.shapes import (
    PATTERNS,
    SECONDS,
    SWITCH,
    TEXT,
    TEXTS,
    WHOLE,
    AnyTable,
    Key,
    ListOf,
    Problems,
    Shape,
    Table,
    dotted,
    unknown,
)
from pairlock.errors import ConfigurationError, StoreError
from pairlock.facade import Pairlock
from pairlock.settings import Limits

logger = logging.getLogger("pairlock")

PREFIX = "PAIRLOCK_"
FILE_VARIABLE = "PAIRLOCK_CONFIG"
SQLITE = "sqlite:///"
OF_OTHERS = (  # of Kubernetes, where a service is called pairlock, and of tests
    *("PAIRLOCK_SERVICE_", "PAIRLOCK_PORT_"),
    *("PAIRLOCK_TEST_", "PAIRLOCK_CHAOS_"),
)
KNOWN_ELSEWHERE = ("config", "secret_keys", "credentials", "operator_token")
OTHER_NAME: Key = ("server", "security", "pairing", "timeout")

PERMISSIONS = Table({"read": PATTERNS, "write": PATTERNS})
CLIENT = Table({"id": TEXT, "secret": TEXT, "name": TEXT, "permissions": PERMISSIONS}, required=("id",))
LIMITS = Table(
    {
        name: TEXT if isinstance(default, str) else WHOLE
        for name, default in zip(Limits.__struct_fields__, Limits.__struct_defaults__, strict=True)
    }
)
PAIRING: dict[str, Shape] = {
    "store": TEXT,
    "server_name": TEXT,
    "enabled": SWITCH,
    "default_permissions": PERMISSIONS,
    "window_open": SWITCH,
    "window_timeout": SECONDS,
    "pin_length": WHOLE,
    "pin_timeout": SECONDS,
    "device_code_timeout": SECONDS,
    "confirmation_pin": SWITCH,
    "same_network": SWITCH,
    "decide_timeout": SECONDS,
    "token_life": AnyTable(SECONDS, bare=SECONDS),
    "long_lived": TEXTS,
    "refresh_idle": SECONDS,
    "clients": ListOf(CLIENT),
    "resource_servers": AnyTable(TEXT),
    "limits": LIMITS,
    "trusted_proxies": TEXTS,
    "issuer": TEXT,
    "verification_uri": TEXT,
    "max_staleness": SECONDS,
}
SERVER: dict[str, Shape] = {
    "host": TEXT,
    "port": WHOLE,
    "app": TEXT,
    "at": TEXT,
    "public": PATTERNS,
    "origins": TEXTS,
}
TLS: dict[str, Shape] = {"certificate": TEXT, "key": TEXT}
IN_CODE = "it is given in code: Pairlock({}=...)"
ELSEWHERE = {
    **dict.fromkeys(LIMITS.keys, "it belongs under server.security.pairing.limits"),
    **dict.fromkeys(PERMISSIONS.keys, "it belongs under server.security.pairing.default_permissions"),
    **dict.fromkeys(PAIRING, "it belongs under server.security.pairing"),
    **dict.fromkeys(SERVER, "it belongs under server"),
    **dict.fromkeys(TLS, "it belongs under server.tls"),
    "security": "it belongs under server",
    "pairing": "it belongs under server.security",
    "tls": "it belongs under server",
    "secret_keys": "keys do not belong in a file like this; set PAIRLOCK_SECRET_KEYS, or leave them to the key file",
    **{name: IN_CODE.format(name) for name in ("operator", "decide", "clock")},
}
FILE = Table(
    {
        "server": Table(
            {
                **SERVER,
                "tls": Table(TLS, ELSEWHERE),
                "security": Table({"pairing": Table({**PAIRING, "timeout": SECONDS}, ELSEWHERE)}, ELSEWHERE),
            },
            ELSEWHERE,
        )
    },
    ELSEWHERE,
)
HOLD_SECRETS = ("store", "clients", "resource_servers")

# Each setting by the name that arguments and variables have for it: its shape, and its place in a file.
SETTINGS: dict[str, tuple[Shape, Key]] = {
    **{name: (shape, ("server", "security", "pairing", name)) for name, shape in PAIRING.items()},
    **{name: (shape, ("server", name)) for name, shape in SERVER.items()},
    **{f"tls_{name}": (shape, ("server", "tls", name)) for name, shape in TLS.items()},
}
VARIABLES = {f"{PREFIX}{name.upper()}": name for name in SETTINGS}


class Serving(Struct, frozen=True, kw_only=True):
    """How `pairlock serve` serves: where it listens, what it guards, and its certificate."""

    host: str = "127.0.0.1"
    port: int = 8000
    app: str | None = None
    at: str = "/pair"
    public: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if not self.host:
            raise ConfigurationError("host: it is empty; write 127.0.0.1, or 0.0.0.0 for all addresses of this machine")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"port: {self.port} is no port; they go from 1 to 65535, and 0 is any free one")
        if self.tls_key is not None and self.tls_certificate is None:
            raise ConfigurationError("tls_key: a key without a certificate; set the certificate too")


class Said(NamedTuple):
    """The value of a setting, and how a message about it begins."""

    value: Any
    place: Callable[[str], str]
    in_file: bool = False


class Configuration:
    """What a file, the environment and arguments say, the later ones first.

    `pairing` holds the settings of Pairlock that somebody said, `serving` all of how it is served; `path` is the file
    that was read, `in_file` the names of what counts as it stands there.
    """

    def __init__(self, said: Mapping[str, Said], path: Path | None = None) -> None:
        self.path = path
        self.in_file = frozenset(name for name, found in said.items() if found.in_file)
        self._said = said
        self.pairing: Mapping[str, Any] = {name: said[name].value for name in PAIRING if name in said}
        with self.placing():
            self.serving = Serving(**{name: said[name].value for name in said if name not in PAIRING})

    def pairlock(self, **more: Any) -> Pairlock:
        """A Pairlock with these settings; where nobody said any, pairing by PIN grants nothing."""
        with self.placing():
            return Pairlock(**{"default_permissions": NOTHING, **self.pairing, **more})

    @contextmanager
    def placing(self) -> Iterator[None]:
        """What is raised of a setting is told with the place where it was said."""
        try:
            yield
        except (ConfigurationError, StoreError) as error:
            name, _, says = str(error).partition(": ")
            if name not in self._said:
                raise
            raise type(error)(self._said[name].place(says)) from error


def read_configuration(
    path: Path | None = None, *, given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Configuration:
    """The settings of a file (without `path`: PAIRLOCK_CONFIG, else pairlock.yaml, .yml or .toml here), the environment
    and arguments, by their names in SETTINGS; None is not given.

    Raises ConfigurationError with a line for each problem: file, line, key, and what to write.
    """
    for says in unknown_variables(environ).values():
        logger.warning("%s", says)
    named = path or environ.get(FILE_VARIABLE)
    file = Path(named) if named else find_file(Path())
    return Configuration(
        {**({} if file is None else _in_file(file)), **_in_environment(environ), **_in_arguments(given or {})}, file
    )


# The file


def _in_file(path: Path) -> dict[str, Said]:
    document, problems = read_document(path), Problems(HOLD_SECRETS)
    tree = FILE.read(document.data, (), problems)
    ways = {name: way for name, (_, way) in SETTINGS.items()}
    if _value(tree, OTHER_NAME) is not None:
        if _value(tree, ways["pin_timeout"]) is not None:
            problems.add(OTHER_NAME, "it is another name of pin_timeout, which is there too; remove one of them")
        ways["pin_timeout"] = OTHER_NAME
    said = {}
    for name, way in ways.items():
        if (value := _value(tree, way)) is not None:
            made = _made(name, value, way, problems)
            said[name] = Said(made, partial(document.place, way), in_file=True)
    problems.found.sort(key=lambda problem: document.line(problem[0]))
    problems.check(document.place)
    return {name: found._replace(value=_from(path.parent, name, found.value)) for name, found in said.items()}


def _value(tree: Any, way: Key) -> Any:
    """What stands there; None for nothing, and for a table with nothing in it."""
    for part in way:
        tree = tree.get(part, {})
    return None if tree == {} else tree


def _from(folder: Path, name: str, value: Any) -> Any:
    """Paths in a file start from its folder."""
    if name.startswith("tls_"):
        return folder / value
    return _store_from(folder, value) if name == "store" else value


def _store_from(folder: Path, url: str) -> str:
    path = url.removeprefix(SQLITE)
    is_relative = url.startswith(SQLITE) and path and not Path(unquote(path)).is_absolute()
    if not is_relative or path.startswith(":") or folder == Path():
        return url
    return f"{SQLITE}{quote(os.fsencode(folder))}/{path}"


def _made(name: str, value: Any, way: Key, problems: Problems) -> Any:
    """The value as Pairlock and Serving take it, where its shape is right."""
    if problems.are_within(way):
        return value
    if name == "limits":
        return problems.catch(way, partial(Limits, **value))
    if name == "clients":
        return tuple(problems.catch((*way, at), partial(_client, client)) for at, client in enumerate(value))
    if name.startswith("tls_"):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def _client(said: Mapping[str, Any]) -> Client:
    permissions = Permissions.parse(said["permissions"]) if "permissions" in said else None
    return Client(**{**said, "permissions": permissions})


# The environment


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What to tell of variables that look like settings of pairlock, and are none: a misspelt one is not silent."""
    known = VARIABLES.keys() | {*map(_variable, KNOWN_ELSEWHERE)}
    return {
        variable: _placed_in(variable, unknown(variable.removeprefix(PREFIX), SETTINGS, _variable))
        for variable in sorted(_of_pairlock(environ).keys() - known)
        if not variable.startswith(OF_OTHERS)
    }


def _in_environment(environ: Mapping[str, str]) -> dict[str, Said]:
    said: dict[str, Said] = {}
    problems = Problems(map(_variable, HOLD_SECRETS))
    for variable, text in sorted(_of_pairlock(environ).items()):
        if name := VARIABLES.get(variable):
            said[name] = Said(_in_variable(variable, name, text, problems), partial(_placed_in, variable))
    problems.check(lambda at, says: _placed_in(str(at[0]), f"{dotted(at[1:])}: {says}".removeprefix(": ")))
    return said


def _in_variable(variable: str, name: str, text: str, problems: Problems) -> Any:
    shape, at = SETTINGS[name][0], (variable,)
    value = shape.parse(text)
    if isinstance(value, str) and _is_json(shape):
        problems.unfit(at, f"{shape.called} in JSON", text)
        return value
    return _made(name, shape.read(value, at, problems), at, problems)


def _is_json(shape: Shape) -> bool:
    return isinstance(shape, ListOf | Table) or (isinstance(shape, AnyTable) and shape.bare is None)


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _of_pairlock(environ: Mapping[str, str]) -> dict[str, str]:
    """Our variables that are not empty; in Kubernetes, PAIRLOCK_PORT may be the address of a service: tcp://…"""
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text}
    return {name: text for name, text in ours.items() if name != _variable("port") or "://" not in text}


def _placed_in(variable: str, says: str) -> str:
    return f"{variable}: {says}"


# Arguments


def _in_arguments(given: Mapping[str, Any]) -> dict[str, Said]:
    if strange := given.keys() - SETTINGS.keys():
        raise TypeError(f"there are no settings {sorted(strange)}")
    return {
        name: Said(tuple(value) if isinstance(value, list) else value, partial(_placed_in, name))
        for name, value in given.items()
        if value is not None
    }
