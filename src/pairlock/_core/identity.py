"""How a server proves to a paired device that it is the one: only both know the family of the refresh tokens.

An address may come to belong to another machine, and the id of a server is no secret. So before a device sends
its token there, it asks for a proof over a nonce of its own. Devices without a refresh token compare the id alone.
"""

import hmac
import re

from pairlock._core.codes import ID_SYMBOLS, digest_secret, encode_secret, is_same
from pairlock._core.refresh import parse

_NONCE = re.compile(r"[\w-]{16,128}", re.ASCII)
_ID = re.compile(f"[{ID_SYMBOLS}]{{26}}")


def is_nonce(text: str) -> bool:
    """Whether this is long enough to be asked for once only."""
    return _NONCE.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Whether this has the form of a device's id."""
    return _ID.fullmatch(text) is not None


def proof(family_digest: bytes, server_id: str, device_id: str, nonce: str) -> str:
    """What only the two of them can say about this nonce."""
    said = f"pairlock identity\n{server_id}\n{device_id}\n{nonce}"
    return encode_secret(hmac.digest(family_digest, said.encode(), "sha256"))


def is_proof(text: str, refresh_token: str, server_id: str, nonce: str) -> bool:
    """Whether the server that said this knows the device whose refresh token this is; in constant time."""
    token = parse(refresh_token)
    if token is None:
        return False
    return is_same(text, proof(digest_secret(token.family), server_id, token.device_id, nonce))
