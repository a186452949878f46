"""Capability tokens: `plk_`, a payload and a signature by itsdangerous.

Anything but an untouched token of this version is refused: the tag of the payload names its
type and version, its fields are decoded strictly, and a second spelling of a signature is no token.
"""

import hashlib
import re
from typing import Any

import msgspec
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from itsdangerous.signer import SigningAlgorithm

from pairlock._core.keys import Keys
from pairlock.errors import InvalidToken

PREFIX = b"plk_"
MAX_TOKEN_BYTES = 8192
BLOCK_BYTES = 64  # of SHA-256; the derived keys have 32

# 32 bytes in URL-safe base64 without padding; the last symbol carries four bits, so its lowest two are zero.
_SIGNATURE = re.compile(rb"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")


class Claims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="capability.1"):
    """What a capability token says. Times are in seconds since the epoch."""

    device_id: str
    device_name: str
    epoch: int
    read: tuple[str, ...]
    write: tuple[str, ...]
    issued_at: int
    expires_at: int


class _HmacSha256(SigningAlgorithm):
    """HMAC-SHA256 (RFC 2104) that takes up each key once: for a text as short as a token, most of the work."""

    def __init__(self) -> None:
        self._keyed: dict[bytes, tuple[Any, Any]] = {}

    def take_up(self, key: bytes) -> None:
        block = key.ljust(BLOCK_BYTES, b"\0")
        inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in block)) for pad in (0x36, 0x5C))
        self._keyed[key] = inner, outer

    def get_signature(self, key: bytes, value: bytes) -> bytes:
        inner, outer = self._keyed[key]
        inner, outer = inner.copy(), outer.copy()
        inner.update(value)
        outer.update(inner.digest())
        return bytes(outer.digest())


class _DerivedOnce(Signer):
    """Signer derives its keys at every call; this one remembers them."""

    def __init__(self, secret_keys: tuple[bytes, ...]) -> None:
        algorithm = _HmacSha256()
        super().__init__(
            secret_keys,
            salt=b"pairlock.capability",
            key_derivation="hmac",
            digest_method=hashlib.sha256,
            algorithm=algorithm,
        )
        self._derived = {key: super(_DerivedOnce, self).derive_key(key) for key in self.secret_keys}
        for key in self._derived.values():
            algorithm.take_up(key)

    def derive_key(self, secret_key: str | bytes | None = None) -> bytes:
        return self._derived[self.secret_key if secret_key is None else secret_key]  # type: ignore[index]  # always bytes


class TokenSigner:
    """Makes and reads capability tokens: the newest key signs, all keys verify."""

    def __init__(self, keys: Keys) -> None:
        self._signer = _DerivedOnce(keys.secrets)
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Claims).decode

    def sign(self, claims: Claims) -> str:
        """The token that carries these claims."""
        return (PREFIX + self._signer.sign(base64_encode(self._encode(claims)))).decode()

    def read(self, token: bytes) -> Claims:
        """The claims of an untouched token, whatever its time. Raises InvalidToken."""
        payload, _, signature = token[len(PREFIX) :].rpartition(b".")
        if not token.startswith(PREFIX) or not _SIGNATURE.fullmatch(signature) or len(token) > MAX_TOKEN_BYTES:
            raise InvalidToken
        if not self._signer.verify_signature(payload, signature):
            raise InvalidToken
        try:
            return self._decode(base64_decode(payload))
        except (BadData, msgspec.MsgspecError, ValueError):
            raise InvalidToken from None
