"""What operator commands share: the service's settings, its store, and who the operator is."""

import getpass
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pairlock._core.keys import MIN_KEY_BYTES
from pairlock._core.operators import Operator
from pairlock._core.permissions import Permissions
from pairlock.cli.command import Command, command
from pairlock.cli.outcomes import UNREACHABLE
from pairlock.cli.terminal import Terminal
from pairlock.configuration import Configuration, read_configuration
from pairlock.errors import ConfigurationError, TemporarilyUnavailable
from pairlock.facade import KEY_FILE_SUFFIX, Pairlock
from pairlock.keyfile import VARIABLE
from pairlock.services.introducing import Introduction, introduced
from pairlock.stores import open_store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

DEFAULT_STORE = "sqlite:///pairlock.db"
NO_KEYS = (
    "the service's secret keys are not known here, and there is no key file beside its database:"
    f" set {VARIABLE} to what the service has"
)
CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PAIRLOCK_CONFIG",
    help="Settings of the service; without it, pairlock.yaml or pairlock.toml here.",
)
STORE = click.option("--store", help="Where the service keeps its records, such as sqlite:///pairlock.db.")


class Operating:
    """A started Pairlock on the service's store, beside whatever servers run on it.

    `has_keys` is False where the keys of the service are not known here.
    """

    def __init__(
        self,
        configuration: Configuration,
        pairlock: Pairlock,
        operator: Operator,
        *,
        has_keys: bool = True,
        introduction: Introduction | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.configuration = configuration
        self.pairlock = pairlock
        self.operator = operator
        self.has_keys = has_keys
        self.introduction = introduction
        self.now = now

    @property
    def default_permissions(self) -> Permissions | None:
        """What pairing grants unless more or less is said; None where neither a service nor a setting has said it."""
        return self.pairlock.settings.default_permissions if self._says("default_permissions") else None

    @property
    def address(self) -> str | None:
        """Where devices reach the service, as far as it is known."""
        served = None if self.introduction is None else self.introduction.address
        return self.pairlock.settings.issuer or served

    @property
    def knows_window(self) -> bool:
        """Whether it is known if the window is open as long as nobody has opened or closed it."""
        return self._says("window_open")

    def need_keys(self) -> None:
        """For what only the holder of the keys can make or read. Raises ConfigurationError."""
        if not self.has_keys:
            raise ConfigurationError(NO_KEYS)

    def _says(self, setting: str) -> bool:
        return setting in self.configuration.pairing or self.introduction is not None


def operator_command(
    name: str, *, examples: list[str], group: click.Group | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """An async command on the store: it gets `terminal` and `operating`."""

    def decorate(function: Callable[..., Any]) -> Command:
        @CONFIG
        @STORE
        @wraps(function)
        async def call(*, terminal: Terminal, config: Path | None, store: str | None, **given: Any) -> Any:
            try:
                async with operating_on(config, store) as operating:
                    return await function(terminal=terminal, operating=operating, **given)
            except TemporarilyUnavailable as error:
                if terminal.as_json:
                    raise
                terminal.note(f"The store does not answer: {error.__cause__ or 'try again'}", style="red")
                return UNREACHABLE

        return command(name, examples=examples, group=group)(call)

    return decorate


@asynccontextmanager
async def operating_on(config: Path | None, store: str | None) -> AsyncIterator[Operating]:
    """Open the store that the settings name; it has to be there, and shared with the servers."""
    configuration = read_configuration(config, given={} if store is None else {"store": store})
    url = str(configuration.pairing.get("store", DEFAULT_STORE))
    with configuration.placing():
        check_is_shared(url)
    has_keys = is_told_keys() or ((file := key_file_of(url)) is not None and file.exists())
    # Where a service keeps its keys elsewhere no file is made for it: those of this process are nobody else's.
    keys = {} if has_keys else {"secret_keys": [secrets.token_bytes(MIN_KEY_BYTES)]}
    introduction = await _introduction(url)
    pairlock = configuration.pairlock(**({} if introduction is None else introduction.settings()), **keys)
    await pairlock.start()
    try:
        yield Operating(configuration, pairlock, this_operator(), has_keys=has_keys, introduction=introduction)
    finally:
        await pairlock.aclose()


async def _introduction(url: str) -> Introduction | None:
    """How the service on this store pairs: what it has said itself counts before what is said here."""
    store = open_store(url)
    try:
        await store.open()
        return await introduced(store)
    finally:
        await store.aclose()


def is_told_keys() -> bool:
    """Whether the environment holds the secret keys."""
    return VARIABLE in os.environ


def key_file_of(url: str) -> Path | None:
    """Where a service on this store has its keys unless it was given some; None for a store without a file."""
    store = open_store(url)
    return Path(f"{store.path}{KEY_FILE_SUFFIX}") if isinstance(store, SQLiteStore) else None


def this_operator() -> Operator:
    """Who sits at this terminal, for the audit."""
    try:
        return Operator(f"{getpass.getuser()}@terminal")
    except (KeyError, OSError, ImportError):  # no name for this user id
        return Operator("terminal")


def check_is_shared(url: str) -> None:
    """A command works on records that a service keeps: it makes no store of its own."""
    store = open_store(url)
    if isinstance(store, MemoryStore):
        raise ConfigurationError("store: memory:// lives inside the server; only its own terminal can operate it")
    if isinstance(store, SQLiteStore) and not Path(store.path).exists():
        raise ConfigurationError(
            f"store: there is no {store.path}; run this where the service keeps it, or give --store or --config"
        )
