"""The secret keys of a service, and what is derived from them for each purpose."""

import hashlib
import hmac
from collections.abc import Sequence

from pairlock.errors import ConfigurationError

MIN_KEY_BYTES = 16
FINGERPRINT_BYTES = 6


class Keys:
    """Secret keys from oldest to newest: the newest makes, all verify, so that keys rotate.

    Raises ConfigurationError when there is none, or one is too short to be secret.
    """

    def __init__(self, secret_keys: Sequence[str | bytes]) -> None:
        self.secrets = tuple(key.encode() if isinstance(key, str) else key for key in secret_keys)
        if not self.secrets or any(len(key) < MIN_KEY_BYTES for key in self.secrets):
            raise ConfigurationError(
                f"secret_keys: give at least one key of at least {MIN_KEY_BYTES} bytes, oldest first,"
                " for example from `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        self._by_fingerprint = {self._fingerprint(key): key for key in self.secrets}

    def __repr__(self) -> str:
        return f"Keys({len(self.secrets)} secret)"

    @property
    def newest(self) -> str:
        """The fingerprint of the key that makes new things."""
        return self._fingerprint(self.secrets[-1])

    def derive(self, fingerprint: str, purpose: str, text: str) -> bytes | None:
        """32 bytes that only holders of that key can compute; None when the key is gone."""
        key = self._by_fingerprint.get(fingerprint)
        return None if key is None else _derive(key, purpose, text)

    def derive_all(self, purpose: str, text: str) -> list[bytes]:
        """The same under every key, newest first: what is looked for was most likely made lately."""
        return [_derive(key, purpose, text) for key in reversed(self.secrets)]

    @staticmethod
    def _fingerprint(key: bytes) -> str:
        return hashlib.sha256(b"pairlock.fingerprint" + key).hexdigest()[: 2 * FINGERPRINT_BYTES]


def _derive(key: bytes, purpose: str, text: str) -> bytes:
    return hmac.digest(hmac.digest(key, f"pairlock.{purpose}".encode(), "sha256"), text.encode(), "sha256")
