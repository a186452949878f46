"""OAuth clients: who may ask for a device code, and how they prove who they are (RFC 6749 §2.3)."""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from pairlock._core.codes import digest_secret, is_secret
from pairlock._core.names import clean_name
from pairlock._core.permissions import Permissions
from pairlock.errors import ConfigurationError, InvalidClient, InvalidRequest

MIN_SECRET = 16
MAX_ID = 200
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Client(Struct, frozen=True, kw_only=True):
    """A client that may ask for device codes: `Client(id="tv")`, or with a `secret` that it has to prove.

    `name` is what operators read where a device gives none of its own; `permissions` bounds what may be asked for.
    """

    id: str
    secret: str | None = None
    name: str = ""
    permissions: Permissions | None = None

    def __post_init__(self) -> None:
        check_client_id(self.id, "clients")
        _check_name(self.name, f"clients: {self.id}")
        if self.permissions is not None and not isinstance(self.permissions, Permissions):
            raise ConfigurationError(f"clients: {self.id}: give its permissions as Permissions.parse({{...}})")
        if self.secret is not None:
            _check_secret(self.secret, f"clients: {self.id}")

    def __repr__(self) -> str:
        return f"Client({self.id!r})"


class Credentials(Struct, frozen=True):
    """Who a caller says to be, and the secret it offers; an empty one is none."""

    client_id: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.client_id!r})"


class Clients:
    """The registry. Without one (None) any public client is taken at its word."""

    def __init__(self, clients: Iterable[Client] | None) -> None:
        self._known = None if clients is None else _by_id(clients)

    def authenticate(self, offered: Credentials) -> Client:
        """The client that calls. Raises InvalidClient."""
        client = Client(id=offered.client_id) if self._known is None else self._known.get(offered.client_id)
        if client is None or not _proves(offered.secret, client.secret):
            raise InvalidClient
        return client


class ResourceServers:
    """Those who may ask what a token is good for (RFC 7662 §2.1): id and secret of each."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        if not isinstance(secrets, Mapping):
            raise ConfigurationError("resource_servers: give ids and secrets, such as {'grafana': secret}")
        for client_id, secret in secrets.items():
            check_client_id(client_id, "resource_servers")
            _check_secret(secret, f"resource_servers: {client_id}")
        self._digests = {client_id: digest_secret(secret) for client_id, secret in secrets.items()}

    def authenticate(self, offered: Credentials) -> None:
        """Raises InvalidClient for everybody else."""
        if not is_secret(offered.secret, self._digests.get(offered.client_id, b"")):
            raise InvalidClient


def is_client_id(text: str) -> bool:
    """Whether this can be a client's id: visible ASCII, not too long."""
    return len(text) <= MAX_ID and _VISIBLE.fullmatch(text) is not None


def check_client_id(text: object, setting: str) -> None:
    """Raises ConfigurationError for what cannot be a client's id."""
    if not isinstance(text, str) or not is_client_id(text):
        raise ConfigurationError(f"{setting}: an id is 1 to {MAX_ID} visible ASCII characters, not {text!r}")


def _by_id(clients: Iterable[Client]) -> dict[str, Client]:
    if not isinstance(clients, Iterable):
        raise ConfigurationError('clients: give a list such as [Client(id="tv")]')
    known: dict[str, Client] = {}
    for client in clients:
        if not isinstance(client, Client):
            raise ConfigurationError(f'clients: give a list such as [Client(id="tv")], not {type(client).__name__}')
        if client.id in known:
            raise ConfigurationError(f"clients: {client.id} is there twice")
        known[client.id] = client
    return known


def _check_secret(secret: object, setting: str) -> None:
    if not isinstance(secret, str) or len(secret) < MIN_SECRET or not _VISIBLE.fullmatch(secret):
        raise ConfigurationError(f"{setting}: a secret is at least {MIN_SECRET} visible ASCII characters")


def _check_name(name: str, setting: str) -> None:
    try:
        if name:
            clean_name(name)
    except InvalidRequest as error:
        raise ConfigurationError(f"{setting}: {error.details['detail']}") from None


def _proves(offered: str, secret: str | None) -> bool:
    return not offered if secret is None else is_secret(offered, digest_secret(secret))
