"""`pairlock keys`: which secret keys the service has, and a new one while it runs."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from pairlock._core.events import service_event
from pairlock._core.keys import Keys
from pairlock._core.records import EventType
from pairlock.cli.command import command
from pairlock.cli.operator.listing import aligned
from pairlock.cli.operator.operating import (
    CONFIG,
    DEFAULT_STORE,
    NO_KEYS,
    STORE,
    check_is_shared,
    is_told_keys,
    key_file_of,
    this_operator,
)
from pairlock.cli.outcomes import DONE, FAILED, INTERRUPTED
from pairlock.cli.terminal import NotSaid, Terminal
from pairlock.configuration import read_configuration
from pairlock.errors import ConfigurationError
from pairlock.keyfile import VARIABLE, configured_keys, file_keys, new_key, rewrite_keys
from pairlock.stores import open_store
from pairlock.stores.contract import Log

HEARD_WITHIN = 1.5  # seconds: all servers hear of a change within one


class Place(NamedTuple):
    """Where the service has its records, and its keys as far as they are known here."""

    store: str
    keys: Keys | None
    file: Path | None  # None: they are no file's

    @property
    def source(self) -> str:
        """Where the keys come from."""
        return VARIABLE if self.file is None else str(self.file)


@click.group("keys")
def keys_group() -> None:
    """List and rotate the secret keys that sign tokens. No command shows a key that is in use.

    The service has them in PAIRLOCK_SECRET_KEYS, or in a file beside its SQLite database.
    """


@command("list", group=keys_group, examples=["pairlock keys list", "pairlock keys list --json"])
@CONFIG
@STORE
def list_keys(*, terminal: Terminal, config: Path | None, store: str | None) -> None:
    """Say how many keys there are, oldest first, and which one signs."""
    place = _place(config, store)
    if place.keys is None:
        raise ConfigurationError(NO_KEYS)
    terminal.answer(_told(place, place.keys), _shown(place, place.keys))


@command("rotate", group=keys_group, examples=["pairlock keys rotate", "pairlock keys rotate --keep 2 --yes"])
@CONFIG
@STORE
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Drop all keys but the newest so many.")
@click.option("--yes", is_flag=True, help="Do not ask before keys are dropped, for scripts.")
async def rotate(*, terminal: Terminal, config: Path | None, store: str | None, keep: int | None, yes: bool) -> int:
    """Add a new key, and let running servers sign with it: nobody has to pair again, and nothing is restarted.

    The older keys go on counting until --keep drops them: an hour later, or after the longest life of a token that
    is not refreshed. Where the keys are in PAIRLOCK_SECRET_KEYS nothing is changed: a new key is printed, to be added.
    """
    place = _place(config, store)
    if place.file is None or place.keys is None:
        return _hand_out(terminal, keep)
    dropped = max(len(place.keys.secrets) + 1 - keep, 0) if keep else 0
    if dropped and not yes and not _may_drop(terminal, dropped):
        terminal.note("Nothing has changed.")
        return FAILED
    try:
        keys = await _rotate(terminal, place.store, place.file, keep)
    except asyncio.CancelledError:  # Ctrl-C
        terminal.note("Interrupted: the new key counts, and may not sign yet. Rotate again to be sure.")
        return INTERRUPTED
    terminal.answer(_told(place, keys), _shown(place, keys))
    return DONE


COMMANDS = {"keys": keys_group}


def _place(config: Path | None, store: str | None) -> Place:
    configuration = read_configuration(config, given={"store": store})
    url = str(configuration.pairing.get("store", DEFAULT_STORE))
    with configuration.placing():
        check_is_shared(url)
        file = key_file_of(url)
    if is_told_keys():
        return Place(url, configured_keys(None, os.environ), None)
    if file is None or not file.exists():
        return Place(url, None, None)
    return Place(url, file_keys(file), file)


def _told(place: Place, keys: Keys) -> dict[str, Any]:
    return {
        "source": place.source,
        "keys": [{"fingerprint": each, "signs": each == keys.newest} for each in _fingerprints(keys)],
    }


def _shown(place: Place, keys: Keys) -> str:
    rows = [(each, "signs" if each == keys.newest else "counts") for each in _fingerprints(keys)]
    return "\n".join([f"Keys in {place.source}, oldest first:", *aligned(rows)])


def _fingerprints(keys: Keys) -> list[str]:
    return [Keys([key]).newest for key in keys.secrets]


def _may_drop(terminal: Terminal, dropped: int) -> bool:
    terminal.note(
        f"Of the oldest keys, {dropped} will be dropped: tokens signed with such a key stop counting at once, and PINs"
        " and codes made with it die. Devices that have a refresh token come back by themselves; others pair again."
    )
    return terminal.confirm("Drop?", otherwise="give --yes.")


def _hand_out(terminal: Terminal, keep: int | None) -> int:
    """A new key for whoever keeps the keys elsewhere."""
    if keep is not None:
        raise NotSaid(f"--keep is for a key file; remove the oldest keys from {VARIABLE}, and restart.")
    key = new_key()
    terminal.answer({"new_key": key}, key)
    terminal.note(
        f"Nothing has changed. Add this key at the end of {VARIABLE}, after a comma, where the service has it,"
        " and restart all its processes soon after one another."
    )
    return DONE


async def _rotate(terminal: Terminal, store: str, file: Path, keep: int | None) -> Keys:
    """First all servers learn the key, then they sign with it: none meets a token whose key it does not know."""
    key = new_key()
    await asyncio.to_thread(rewrite_keys, file, lambda keys: [*keys[:-1], key, keys[-1]])
    await _announce(store, f"the key {Keys([key]).newest} counts")
    terminal.note("All servers take up the new key …")
    await asyncio.sleep(HEARD_WITHIN)
    newest = slice(-keep, None) if keep else slice(None)
    keys = await asyncio.to_thread(rewrite_keys, file, lambda keys: [*_others(keys, key), key][newest])
    await _announce(store, f"the key {keys.newest} signs, {len(keys.secrets)} count")
    return keys


def _others(keys: list[str], key: str) -> list[str]:
    return [each for each in keys if each != key]


async def _announce(url: str, reason: str) -> None:
    """Let all servers load their keys anew."""
    store = open_store(url)
    await store.open()
    try:
        actor = this_operator().actor
        await store.commit(Log(service_event(EventType.KEYS_ROTATED, time.time(), actor, reason=reason)))
    finally:
        await store.aclose()
