"""Codes that are derived from a key and the id of their request: shown by any process, kept by none.

Whoever types one is found by its digest, which is keyed too: who reads the store cannot try them all.
"""

from pairlock._core.codes import DIGITS
from pairlock._core.keys import Keys
from pairlock._core.methods import METHODS, Method
from pairlock._core.records import PairingRequest

CONFIRMATION_LENGTH = 6


def pin_of(keys: Keys, request: PairingRequest, length: int) -> str | None:
    """The PIN that proves a request; None when its key is gone."""
    entropy = keys.derive(request.key_id, "pin", request.id)
    return None if entropy is None else DIGITS.draw(length, entropy)


def confirmation_pin_of(keys: Keys, request: PairingRequest) -> str | None:
    """The PIN that confirms an approval; None when its key is gone."""
    entropy = keys.derive(request.key_id, "confirmation", request.id)
    return None if entropy is None else DIGITS.draw(CONFIRMATION_LENGTH, entropy)


def code_of(keys: Keys, request: PairingRequest) -> str | None:
    """The user code, one-time code or QR secret of a request; None when its key is gone."""
    method = METHODS[request.method]
    entropy = keys.derive(request.key_id, method.name, request.id)
    return None if entropy is None else method.alphabet.draw(method.length, entropy)


def code_digests(keys: Keys, method: Method, typed: str) -> list[bytes]:
    """What a code is kept as, however it was typed; under every key, newest first."""
    return keys.derive_all(f"{method.name} digest", method.alphabet.normalise(typed))
