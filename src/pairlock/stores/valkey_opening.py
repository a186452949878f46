"""How a place in a server is opened: marked if it is new, refused if it is not ours, warned of if it may forget."""

import logging
import uuid
from collections.abc import Iterator, Mapping

from valkey.exceptions import AuthenticationError, NoPermissionError, ResponseError

from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores.valkey_link import Link
from pairlock.stores.valkey_scripts import LAYOUT, LEAST_VERSION, PREPARE
from pairlock.stores.valkey_url import Address

logger = logging.getLogger("pairlock")


async def opened(address: Address, keys: list[str]) -> Link:
    """A link to what lies under these keys. Raises StoreError."""
    link = Link(address)
    try:
        await _prepare(link, address, keys)
    except BaseException:
        await link.aclose()
        raise
    return link


async def _prepare(link: Link, address: Address, keys: list[str]) -> None:
    try:
        layout, info = await link.run(PREPARE, keys, LEAST_VERSION[0] * 100 + LEAST_VERSION[1], uuid.uuid4().hex)
    except TemporarilyUnavailable as error:
        raise StoreError(_explained(address, error.__cause__)) from error.__cause__
    told = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    _check_version(address, told)
    _check_layout(address, layout.decode())
    for warning in _warnings(told):
        logger.warning("%r: %s", address, warning)


def _explained(address: Address, cause: BaseException | None) -> str:
    said = f"{address!r} cannot be opened: {cause}."
    if isinstance(cause, AuthenticationError | NoPermissionError):
        return f"{said} Give a user and password in the URL that are right, and the user the rights of docs/valkey.md"
    if isinstance(cause, ResponseError) and str(cause).startswith(("MOVED", "CLUSTERDOWN")):
        return f"{said} The server belongs to a cluster: write valkey+cluster:// in the URL"
    return f"{said} Give the URL of a Valkey or Redis server that runs and takes writes"


def _check_version(address: Address, told: Mapping[str, str]) -> None:
    version = told.get("redis_version")  # Valkey gives the one it is compatible with
    if version is not None and tuple(map(int, version.split(".")[:2])) < LEAST_VERSION:
        raise StoreError(f"{address!r} is Redis {version}, which is too old: use Valkey, or Redis 6.2 or newer")


def _check_layout(address: Address, layout: str) -> None:
    if not layout:
        raise StoreError(
            f"{address!r} has keys of something else under this prefix, and is left as it is: give another prefix="
        )
    if layout != LAYOUT:
        raise StoreError(
            f"{address!r} has schema version {layout!r}, this pairlock knows {LAYOUT}:"
            " upgrade pairlock, or give another prefix="
        )


def _warnings(told: Mapping[str, str]) -> Iterator[str]:
    """What of the server's settings breaks a promise."""
    if not told:
        yield (
            "this user may not call INFO, so it cannot be told whether data survive a restart of the server;"
            " see to appendonly yes and maxmemory-policy noeviction, or grant +info"
        )
    elif told.get("aof_enabled") == "0":
        yield (
            "pairings and revocations do not survive a restart of the server:"
            " set appendonly yes (a revoked device would be let in again)"
        )
    if told.get("maxmemory", "0") != "0" and told.get("maxmemory_policy") != "noeviction":
        yield ("the server drops keys when its memory is full, revocations among them: set maxmemory-policy noeviction")
