"""The four ways a code travels. A method is data: a fifth needs a row here, no new state."""

from dataclasses import dataclass

from pairlock._core.codes import BASE20, CROCKFORD, DIGITS, HEX, Alphabet
from pairlock._core.states import State


@dataclass(frozen=True)
class Method:
    """How a pairing request is proved, and what it starts with.

    `lifetime` is in seconds. `initial` is APPROVED where the operator decided when minting. `attempts` is how
    many PINs may be typed: the one of the method, or the one that confirms an approval.
    """

    name: str
    alphabet: Alphabet
    length: int
    lifetime: int
    initial: State
    attempts: int | None = None


PIN = Method("pin", DIGITS, length=6, lifetime=300, initial=State.PENDING, attempts=5)
DEVICE_CODE = Method("device_code", BASE20, length=8, lifetime=600, initial=State.PENDING, attempts=5)
ONE_TIME_CODE = Method("one_time_code", CROCKFORD, length=8, lifetime=600, initial=State.APPROVED)
QR = Method("qr", HEX, length=32, lifetime=300, initial=State.APPROVED)

HALF = 4  # symbols between the dashes of a code that people type


def grouped(code: str) -> str:
    """A code of eight symbols as people read it: K3F9-X2NM."""
    return f"{code[:HALF]}-{code[HALF:]}"


METHODS = {method.name: method for method in (PIN, DEVICE_CODE, ONE_TIME_CODE, QR)}
