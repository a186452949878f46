"""What a client does, without doing it: an exchange yields what is to be done next, and is sent what came of it.

`drivers` does it, once for threads and once for tasks; tests play the other end by a list of answers.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Call(Struct, frozen=True, kw_only=True):
    """Make this HTTP call. Sent back: its Answer. Raised there: Unreachable.

    `timeout` is in seconds, for all of it. `again`: it may be made again where the answer was lost.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    json: Any = None
    form: Mapping[str, str] | None = None
    timeout: float = 10.0
    again: bool = False

    def __repr__(self) -> str:  # bodies and headers hold secrets
        return f"<Call {self.method} {self.url}>"


class Answer(Struct, frozen=True):
    """What came back of a call; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Wait(Struct, frozen=True):
    """Let so many seconds pass."""

    seconds: float


class Do(Struct, frozen=True):
    """Call this, where it may block: it reads or writes files. Sent back: what it returns."""

    function: Callable[[], Any]


class Tell(Struct, frozen=True):
    """Call this function of the caller's with what there is to tell. Sent back: what it returns."""

    function: Callable[[Any], Any]
    what: Any


class Unbroken(Struct, frozen=True):
    """Do all of this other exchange, even if nobody waits for it any more. Sent back: what it returns."""

    exchange: Generator[Any, Any, Any]


Effect = Call | Wait | Do | Tell | Unbroken
Exchange = Generator[Effect, Any, T]


def then(exchange: Exchange[Any], following: Callable[[Any], Exchange[T]]) -> Exchange[T]:
    """One after the other: what follows is made of what came of the first."""
    return (yield from following((yield from exchange)))
