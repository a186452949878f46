"""httpx and httpx2: whichever a client is of, and whichever is there."""

import importlib
import os
import ssl
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

from pairlock.errors import ConfigurationError

# What is sent to this machine never leaves it, whatever proxies the environment names.
DIRECTLY = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}
NAMES = ("httpx", "httpx2")


def library_of(http: Any) -> ModuleType:
    """The library that an HTTP client or request is of. Raises ConfigurationError for what is none."""
    for base in type(http).__mro__:
        name = base.__module__.partition(".")[0]
        if name in NAMES:
            return sys.modules[name]
    raise ConfigurationError(f"http: give a client of httpx or httpx2, not {http!r}")


def library() -> ModuleType:
    """The library to make clients with. Raises ConfigurationError when there is none."""
    for name in NAMES:
        with suppress(ConfigurationError):
            return needed(name)
    return needed(NAMES[0])


def needed(name: str) -> ModuleType:
    """A library that comes with the client; imported when it is first used. Raises ConfigurationError without it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ConfigurationError(f"the client needs {name}; install it with: pip install 'pairlock[client]'") from None


def trusting(ca: str | os.PathLike[str] | None) -> dict[str, Any]:
    """What to make a client with: it knows a certificate authority of its own. Raises ConfigurationError."""
    if ca is None:
        return {"mounts": dict(DIRECTLY)}
    try:
        return {"mounts": dict(DIRECTLY), "verify": ssl.create_default_context(cafile=ca)}
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"{ca}: no certificate can be read there ({error.strerror or error})") from error


def loaded() -> list[ModuleType]:
    """The libraries that this process uses."""
    return [sys.modules[name] for name in NAMES if name in sys.modules]
