"""Codes that people read and type, and secrets that machines keep."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

SPARE_BITS = 128  # entropy beyond the code itself: what is left of the modulo bias is below 2^-128


@dataclass(frozen=True)
class Alphabet:
    """The symbols of a code, and which look-alikes are read as which symbol."""

    symbols: str
    folds: Mapping[str, str] = field(default_factory=dict)

    def normalise(self, typed: str) -> str:
        """What was meant by what was typed: upper case, look-alikes folded, the rest dropped."""
        ascii_only = typed.encode("ascii", "ignore").decode()  # so that ß does not become SS
        read = (self.folds.get(symbol, symbol) for symbol in ascii_only.upper())
        return "".join(symbol for symbol in read if symbol in self.symbols)

    def draw(self, length: int, entropy: bytes) -> str:
        """A code of `length` symbols, each equally likely, out of uniformly random bytes.

        Raises ValueError when `entropy` is too short to leave no bias.
        """
        number, base = int.from_bytes(entropy), len(self.symbols)
        spare = SPARE_BITS if base & (base - 1) else 0  # a power of two leaves none
        if len(entropy) * 8 < (base**length - 1).bit_length() + spare:
            raise ValueError(f"{len(entropy)} bytes of entropy are too few for {length} symbols")
        code = []
        for _ in range(length):
            number, digit = divmod(number, base)
            code.append(self.symbols[digit])
        return "".join(code)


DIGITS = Alphabet("0123456789")
BASE20 = Alphabet("BCDFGHJKLMNPQRSTVWXZ")  # RFC 8628 §6.1: no vowels, no look-alikes
CROCKFORD = Alphabet("0123456789ABCDEFGHJKMNPQRSTVWXYZ", {"O": "0", "I": "1", "L": "1"})
HEX = Alphabet("0123456789ABCDEF")

ID_SYMBOLS = CROCKFORD.symbols.lower()
ID_RANDOM_BYTES = 10


def make_id(now: float, entropy: bytes) -> str:
    """A 26-symbol id that sorts by its time of making: 48 bits of milliseconds, 80 random bits."""
    number = (int(now * 1000) << 80) | int.from_bytes(entropy[:ID_RANDOM_BYTES])
    return "".join(ID_SYMBOLS[(number >> shift) & 31] for shift in range(125, -1, -5))


def encode_secret(entropy: bytes) -> str:
    """A long secret as URL-safe text."""
    return urlsafe_b64encode(entropy).rstrip(b"=").decode()


def digest_secret(secret: str) -> bytes:
    """What is kept of a long random secret: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret(secret: str, digest: bytes) -> bool:
    """Whether this is the secret with that digest, in constant time."""
    return hmac.compare_digest(digest_secret(secret), digest)


def is_same(typed: str, code: str) -> bool:
    """Whether two codes are equal, in constant time."""
    return hmac.compare_digest(typed.encode(), code.encode())
