"""What a paired device keeps: one credential a server and address, in the JSON that is written down."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.permissions import Permissions
from pairlock.client import addresses
from pairlock.client.addresses import Address
from pairlock.client.answers import ServerAnswer, TokenAnswer
from pairlock.client.discovery import Service
from pairlock.errors import PairlockError

EARLY = 60.0  # seconds before its end in which a token is refreshed, or
EARLY_PART = 0.1  # this part of its life, if that is less


class Credential(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What lets a device in: its token, and for which server, at which address.

    `name` is the device's; `url` is that of the pairing sub-app, `base_url` that of the app behind it. `expires_at`
    and `life` are of the token, in seconds. `client_id` is of OAuth, where it paired so. `insecure`: plain HTTP was
    allowed when it paired. `ca`: the file of the certificate authority that its server is known by. `keyring`: the
    tokens are in the keyring of the operating system, and empty here.
    """

    token: str
    paired_at: str
    name: str
    url: str
    base_url: str
    server: ServerAnswer
    device_id: str
    permissions: dict[str, list[str]]
    expires_at: float
    life: float
    refresh_token: str | None = None
    client_id: str = ""
    insecure: bool = False
    ca: str | None = None
    keyring: bool = False

    def __repr__(self) -> str:
        return f"<Credential of {self.name!r} for {self.server.name!r} at {self.place}>"

    @property
    def place(self) -> str:
        """The host and port it is for, and the path of the app unless that is at the root."""
        base = addresses.parse(self.base_url)
        return base.place + base.path

    @property
    def address(self) -> Address:
        """Of the pairing sub-app."""
        return addresses.parse(self.url)

    @property
    def granted(self) -> Permissions:
        """What the device may do."""
        return Permissions.parse(self.permissions)

    def is_due(self, now: float) -> bool:
        """Whether its token has ended, or will so soon that it should be refreshed."""
        return now >= self.expires_at - min(EARLY, self.life * EARLY_PART)

    def refreshed(self, answer: TokenAnswer, now: float) -> "Credential":
        """The same after a refresh; another server's answer never gets here."""
        return replace(
            self,
            token=answer.access_token,
            refresh_token=answer.refresh_token,
            name=answer.device_name,
            permissions=answer.permissions,
            expires_at=now + answer.expires_in,
            life=answer.expires_in,
            server=answer.server,
        )


def made(service: Service, answer: TokenAnswer, now: float, **how: Any) -> Credential:
    """The credential of a device that has just paired; `how`: its client_id, insecure, ca and keyring."""
    return Credential(
        token=answer.access_token,
        refresh_token=answer.refresh_token,
        paired_at=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        name=answer.device_name,
        url=service.pairing.url,
        base_url=service.app.url,
        server=answer.server,
        device_id=answer.device_id,
        permissions=answer.permissions,
        expires_at=now + answer.expires_in,
        life=answer.expires_in,
        **how,
    )


class Document:
    """The whole of what is written down: `{"routers": {"192.168.1.100:7330": {"token", "paired_at", "name", …}}}`.

    The credentials of further servers at the same address are below `host:port#server id`. What is not known here is
    kept as it is.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {**content, "routers": dict(content.get("routers", {}))}

    def credentials(self) -> dict[str, Credential]:
        """All that are ours, by their keys."""
        return dict(self._readable())

    def at(self, address: Address) -> dict[str, Credential]:
        """Those for an address: of the app, of its pairing sub-app, or only its host and port."""
        return {key: found for key, found in self._readable() if _is_at(found, address)}

    def key_for(self, credential: Credential) -> str:
        """Below which key this credential stands, or should."""
        place = credential.place
        held = self._content["routers"].get(place)
        if held is None or _server_id(held) == credential.server.id:
            return place
        return f"{place}#{credential.server.id}"

    def put(self, key: str, credential: Credential) -> "Document":
        """With this one in its place; fields of it that are not known here stay."""
        kept = self._content["routers"].get(key, {})
        unknown = {name: value for name, value in kept.items() if name not in Credential.__struct_fields__}
        routers = {**self._content["routers"], key: {**unknown, **msgspec.to_builtins(credential)}}
        return Document({**self._content, "routers": routers})

    def without(self, key: str) -> "Document":
        """With that one gone."""
        routers = {each: kept for each, kept in self._content["routers"].items() if each != key}
        return Document({**self._content, "routers": routers})

    def encode(self) -> bytes:
        """As it is written down."""
        return msgspec.json.format(msgspec.json.encode(self._content), indent=2) + b"\n"

    def _readable(self) -> Iterator[tuple[str, Credential]]:
        for key, kept in self._content["routers"].items():
            try:
                found = msgspec.convert(kept, Credential)
                addresses.parse(found.url), addresses.parse(found.base_url), Permissions.parse(found.permissions)
            except (ValueError, PairlockError):
                continue  # another program's, or of another version: not ours to use, nor to drop
            yield key, found


def decode(text: bytes) -> Document:
    """What was written down. Raises ValueError when it is damaged."""
    try:
        content = msgspec.json.decode(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(content, dict) or not isinstance(content.get("routers", {}), dict):
        raise ValueError('it is no object with "routers"')  # noqa: TRY004  # as of JSON that is damaged
    if not all(isinstance(kept, dict) for kept in content.get("routers", {}).values()):
        raise ValueError('something among its "routers" is no object')
    return Document(content)


def _server_id(kept: Mapping[str, Any]) -> object:
    server = kept.get("server")
    return server.get("id") if isinstance(server, dict) else None


def _is_at(credential: Credential, address: Address) -> bool:
    pairing, app = credential.address, addresses.parse(credential.base_url)
    return pairing.place == address.place and address.path in ("", app.path, pairing.path)
