"""What operator commands share: the service's settings, its store, and who the operator is."""

import getpass
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pairlock._core.operators import Operator
from pairlock.cli.command import Command, command
from pairlock.cli.terminal import Terminal
from pairlock.configuration import Configuration, read_configuration
from pairlock.errors import ConfigurationError
from pairlock.facade import Pairlock
from pairlock.stores import open_store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PAIRLOCK_CONFIG",
    help="Settings of the service; without it, pairlock.yaml or pairlock.toml here.",
)
STORE = click.option("--store", help="Where the service keeps its records, such as sqlite:///pairlock.db.")


class Operating:
    """A started Pairlock on the service's store, beside whatever servers run on it."""

    def __init__(self, configuration: Configuration, pairlock: Pairlock, operator: Operator) -> None:
        self.configuration = configuration
        self.pairlock = pairlock
        self.operator = operator


def operator_command(
    name: str, *, examples: list[str], group: click.Group | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """An async command on the store: it gets `terminal` and `operating`."""

    def decorate(function: Callable[..., Any]) -> Command:
        @CONFIG
        @STORE
        @wraps(function)
        async def call(*, terminal: Terminal, config: Path | None, store: str | None, **given: Any) -> Any:
            async with operating_on(config, store) as operating:
                return await function(terminal=terminal, operating=operating, **given)

        return command(name, examples=examples, group=group)(call)

    return decorate


@asynccontextmanager
async def operating_on(config: Path | None, store: str | None) -> AsyncIterator[Operating]:
    """Open the store that the settings name; it has to be there, and shared with the servers."""
    configuration = read_configuration(config, given={} if store is None else {"store": store})
    _check_is_shared(str(configuration.pairing.get("store", "sqlite:///pairlock.db")))
    pairlock = configuration.pairlock()
    await pairlock.start()
    try:
        yield Operating(configuration, pairlock, this_operator())
    finally:
        await pairlock.aclose()


def this_operator() -> Operator:
    """Who sits at this terminal, for the audit."""
    try:
        return Operator(f"{getpass.getuser()}@terminal")
    except (KeyError, OSError, ImportError):  # no name for this user id
        return Operator("terminal")


def _check_is_shared(url: str) -> None:
    """A command works on records that a service keeps: it makes no store of its own."""
    store = open_store(url)
    if isinstance(store, MemoryStore):
        raise ConfigurationError("store: memory:// lives inside the server; only its own terminal can operate it")
    if isinstance(store, SQLiteStore) and not Path(store.path).exists():
        raise ConfigurationError(
            f"store: there is no {store.path}; run this where the service keeps it, or give --store or --config"
        )
