"""Reads what servers answer: the records of the wire, or the very error that the server raised.

Nothing in an answer is trusted further than its form: it may be anybody's.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from pairlock._core.names import clean_text
from pairlock._core.permissions import Permissions
from pairlock.client.exchange import Answer
from pairlock.errors import (
    InvalidPermissions,
    NotPairlock,
    TemporarilyUnavailable,
    TooManyRequests,
    Unreachable,
    WireError,
    error_from,
    wire_errors,
)

T = TypeVar("T", bound=Struct)

AWAY = (Unreachable, TemporarilyUnavailable, TooManyRequests)  # who may be back when asked again
TEXTS = {"name", "device_name", "state", "message", "reason", "user_code"}
NUMBERS = ("attempts_left", "interval", "retry_after")
LONGEST = 86400  # seconds that a server may let us wait
_TOKEN = re.compile(r"[!-~]{1,8192}")

Id = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z._~-]{1,200}\Z")]  # it goes into addresses
Life = Annotated[float, Meta(ge=0, le=1e10)]  # seconds
Interval = Annotated[float, Meta(ge=0, le=LONGEST)]
Count = Annotated[int, Meta(ge=0, le=10**6)]


class Said(Struct, frozen=True):
    """What a server says; its texts are cleaned, so that they can be shown."""

    def __post_init__(self) -> None:
        for name in TEXTS & set(self.__struct_fields__):
            if isinstance(text := getattr(self, name), str):
                force_setattr(self, name, clean_text(text))


class ServerAnswer(Said, frozen=True):
    """Which server this is."""

    id: Id
    name: str


class IdentityAnswer(Said, frozen=True):
    server: ServerAnswer
    proof: str = ""


class StartedAnswer(Said, frozen=True):
    id: Id
    secret: str
    expires_in: Life
    state: str = "pending"
    shown: bool = True
    interval: Interval = 5
    attempts: Count | None = None
    pin_length: Count | None = None

    def __repr__(self) -> str:
        return f"<StartedAnswer {self.id}>"


class StateAnswer(Said, frozen=True):
    state: str
    expires_in: Life = 0
    attempts_left: Count | None = None
    message: str | None = None
    reason: str | None = None


class TokenAnswer(Said, frozen=True):
    """What a device is handed."""

    access_token: str
    expires_in: Life
    device_id: Id
    device_name: str
    permissions: dict[str, list[str]]
    server: ServerAnswer
    refresh_token: str | None = None
    message: str | None = None

    def __post_init__(self) -> None:
        if not all(_TOKEN.fullmatch(token) for token in (self.access_token, self.refresh_token or "-")):
            raise ValueError("a token that fits into no header")
        Permissions.parse(self.permissions)
        super().__post_init__()

    def __repr__(self) -> str:
        return f"<TokenAnswer of {self.device_id}>"


class DeviceCodeAnswer(Said, frozen=True):
    """RFC 8628 §3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: Life
    interval: Interval = 5  # §3.2: when there is none
    verification_uri_complete: str | None = None

    def __repr__(self) -> str:
        return "<DeviceCodeAnswer>"


class DeviceAnswer(Said, frozen=True):
    id: Id
    name: str
    permissions: dict[str, list[str]]

    def __post_init__(self) -> None:
        Permissions.parse(self.permissions)
        super().__post_init__()


class WhoAmIAnswer(Said, frozen=True):
    device: DeviceAnswer
    server: ServerAnswer


def read(answer: Answer, type: type[T], url: str) -> T:
    """The record in an answer. Raises the error that it speaks of, or NotPairlock for what we never say."""
    check(answer, url)
    try:
        return msgspec.json.decode(answer.content, type=type)
    except (ValueError, InvalidPermissions, RecursionError):  # of JSON, of UTF-8, of a record
        raise NotPairlock(f"{url} answers, but not as pairlock does; is the address right?") from None


def check(answer: Answer, url: str) -> None:
    """Raises the error that an answer speaks of."""
    if not 200 <= answer.status < 300:
        raise error_in(answer) or _not_ours(answer, url)


def error_in(answer: Answer) -> WireError | None:
    """The error of ours that an answer speaks of; None when it speaks of none."""
    body = _object(answer.content)
    if isinstance(body.get("error"), str) and body["error"] in wire_errors():
        retry_after = {"retry_after": _number(answer.headers.get("retry-after"))}
        return error_from(_cleaned({**retry_after, **body}))
    if answer.status == 429:
        return TooManyRequests(retry_after=_number(answer.headers.get("retry-after")))
    if answer.status in (502, 503, 504):  # of a proxy in front of it
        return TemporarilyUnavailable(retry_after=_number(answer.headers.get("retry-after")))
    return None


def _not_ours(answer: Answer, url: str) -> NotPairlock:
    if 300 <= answer.status < 400:
        to = clean_text(answer.headers.get("location", ""))
        return NotPairlock(f"{url} leads on to {to or 'nowhere'}; give the address that it leads to, if you trust it")
    return NotPairlock(f"{url} answers {answer.status}, but not as pairlock does; is the address right?")


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _cleaned(body: Mapping[str, Any]) -> dict[str, Any]:
    """What may be shown and counted with, whoever wrote it."""
    cleaning: dict[str, Callable[[Any], Any]] = dict.fromkeys(NUMBERS, _number)
    return {name: cleaning.get(name, _text)(value) for name, value in body.items()}


def _text(value: object) -> str | None:
    return clean_text(value) if isinstance(value, str) else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value):
        value = int(value)
    return min(int(value), LONGEST) if type(value) in (int, float) and 0 <= value < 1e9 else None  # type: ignore[call-overload, operator]
