"""Finds the pairing service that goes with an address, and which server it is."""

import secrets
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from pairlock._core.codes import encode_secret
from pairlock._core.identity import is_proof
from pairlock.client import addresses, answers
from pairlock.client.addresses import Address
from pairlock.client.answers import IdentityAnswer, ServerAnswer
from pairlock.client.exchange import Answer, Call, Exchange
from pairlock.errors import AnotherServer, NotPairlock, PairlockError

RESOURCE = "/.well-known/oauth-protected-resource"  # RFC 9728 §3
MOUNTED = "/pair"  # where `protect` puts the pairing sub-app unless it is told otherwise
NONCE_BYTES = 16


class Service(Struct, frozen=True):
    """A pairing service: `pairing` is the address of its sub-app, `app` that of what it guards."""

    pairing: Address
    app: Address
    server: ServerAnswer


def find(url: str, *, insecure: bool = False) -> Exchange[Service]:
    """The service at an address, of its pairing sub-app or of the app that it guards.

    Raises ConfigurationError, Unencrypted, Unreachable, NotPairlock.
    """
    address = addresses.parse(url)
    addresses.check_encrypted(address, insecure=insecure)
    server = yield from server_at(address.url)
    if server is not None:
        return Service(address, address.parent(), server)
    pairing = (yield from _announced(address)) or address.below(MOUNTED)
    server = yield from server_at(pairing.url, or_redirect=True)
    if server is None:
        raise NotPairlock(
            f"{address.url} answers, but there is no pairlock; give the address of its pairing, such as …/pair"
        )
    return Service(pairing, address, server)


def check_identity(pairing: str, server_id: str, *, device_id: str, refresh_token: str | None) -> Exchange[None]:
    """Make sure that this is still the server that a device has paired with. Raises AnotherServer.

    One that hands out refresh tokens has to prove it; of one that does not, the id is compared.
    """
    nonce = encode_secret(secrets.token_bytes(NONCE_BYTES))
    asked = f"{pairing}/identity" + ("" if refresh_token is None else f"?device_id={device_id}&nonce={nonce}")
    answer = yield Call(method="GET", url=asked, again=True)
    said = answers.read(answer, IdentityAnswer, pairing)
    proved = refresh_token is None or is_proof(said.proof, refresh_token, server_id, nonce)
    if said.server.id != server_id or not proved:
        raise AnotherServer(
            f"{pairing} belongs to another server now, or it has forgotten this device. Nothing was sent to it."
            " If you trust it, pair again."
        )


def server_at(pairing: str, *, or_redirect: bool = False) -> Exchange[ServerAnswer | None]:
    """Which server has its pairing sub-app there; None when there is none.

    With `or_redirect`, raises NotPairlock that says where an answer leads on to.
    """
    answer: Answer = yield Call(method="GET", url=f"{pairing}/identity")
    try:
        return answers.read(answer, IdentityAnswer, pairing).server
    except PairlockError:
        if answer.status in (429, 502, 503, 504):  # it may well be there, and cannot say so now
            raise
        if or_redirect and 300 <= answer.status < 400:
            raise
        return None


def _announced(address: Address) -> Exchange[Address | None]:
    """Where a guarded app says that one pairs for it (RFC 9728); of its own origin, or it does not count."""
    answer: Answer = yield Call(method="GET", url=f"{address.origin}{RESOURCE}{address.path}")
    servers = _document(answer).get("authorization_servers")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], str):
        return None
    try:
        announced = addresses.parse(servers[0])
    except PairlockError:
        return None
    if announced.origin != address.origin:
        raise NotPairlock(f"{address.url} says that one pairs at {announced.url}; give that address, if you trust it")
    return announced


def _document(answer: Answer) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, object]) if answer.status == 200 else {}
    except (ValueError, RecursionError):
        return {}
