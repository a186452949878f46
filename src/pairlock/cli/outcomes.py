"""How a command ends: one clear line, and an exit code that scripts can use."""

import re
from collections.abc import Mapping
from typing import Any

from pairlock import errors
from pairlock.errors import PairlockError, WireError

DONE = 0
FAILED = 1
USAGE = 2  # wrong arguments or a wrong configuration
REFUSED = 3  # denied, wrong PIN or code, locked, held, closed
NOT_PAIRED = 4  # no credential, or one that counts no more
UNREACHABLE = 5  # nobody answers, it is no pairlock, its certificate does not count, or it is overloaded
EXPIRED = 6  # nobody decided in time
NO_SUCH = 7  # there is none such (any more), or there are several
INTERRUPTED = 130  # Ctrl-C

CODES: Mapping[type[PairlockError], int] = {
    errors.ConfigurationError: USAGE,
    errors.AccessDenied: REFUSED,
    errors.InvalidPin: REFUSED,
    errors.InvalidCode: REFUSED,
    errors.InvalidPermissions: REFUSED,
    errors.Locked: REFUSED,
    errors.Cancelled: REFUSED,
    errors.WindowClosed: REFUSED,
    errors.PairingDisabled: REFUSED,
    errors.PinHeld: REFUSED,
    errors.DifferentNetwork: REFUSED,
    errors.InvalidClient: REFUSED,
    errors.Busy: REFUSED,
    errors.TooManyRequests: REFUSED,
    errors.AlreadyPaired: REFUSED,
    errors.NotPermitted: REFUSED,
    errors.InvalidToken: NOT_PAIRED,
    errors.InvalidGrant: NOT_PAIRED,
    errors.NotPaired: NOT_PAIRED,
    errors.PairAgain: NOT_PAIRED,
    errors.AnotherServer: NOT_PAIRED,
    errors.Unreachable: UNREACHABLE,
    errors.NotPairlock: UNREACHABLE,
    errors.Unencrypted: REFUSED,
    errors.TemporarilyUnavailable: UNREACHABLE,
    errors.ServerError: UNREACHABLE,
    errors.ExpiredToken: EXPIRED,
    errors.NotFound: NO_SUCH,
    errors.AlreadyDecided: NO_SUCH,
    errors.AlreadyRedeemed: NO_SUCH,
}


LATER = (errors.TooManyRequests, errors.Busy, errors.TemporarilyUnavailable)
KEYWORD = re.compile(r"\b[a-z_]+=[^\s,]*, (?=--)")  # how a program would say it
BEGINS = re.compile(r"[a-z]+ ")


class NoSuch(PairlockError):
    """Nothing, or more than one thing, is called so; the message names the candidates."""


def exit_code(error: Exception) -> int:
    """The exit code of a command that ended with this error."""
    if isinstance(error, NoSuch):
        return NO_SUCH
    return CODES.get(type(error), FAILED) if isinstance(error, PairlockError) else FAILED


def line(error: Exception) -> str:
    """The one line that is printed of it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if not isinstance(error, WireError):
        return _capital(KEYWORD.sub("", str(error)))
    if isinstance(error, LATER) and error.retry_after:
        seconds = "1 second" if error.retry_after == 1 else f"{error.retry_after} seconds"
        return f"{error.description.removesuffix('.')}, in {seconds}."
    told = [f"{name.replace('_', ' ')}: {value}" for name, value in error.details.items()]
    return f"{error.description} ({'; '.join(told)})" if told else error.description


def _capital(text: str) -> str:
    """A sentence, unless it begins with an address or the name of something."""
    return text[0].upper() + text[1:] if BEGINS.match(text) else text


def as_json(error: Exception) -> dict[str, Any]:
    """The same for --json: as on the wire, where it can come from there."""
    if isinstance(error, WireError):
        return error.body()
    return {"error": _snake(type(error).__name__), "error_description": str(error)}


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
