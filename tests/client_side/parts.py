"""What the tests of the client share: exchanges played from a list of answers, and what a service would say."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from msgspec import Struct, field

from pairlock._core.codes import digest_secret
from pairlock._core.identity import proof
from pairlock.client.addresses import parse
from pairlock.client.answers import ServerAnswer, TokenAnswer
from pairlock.client.credentials import Credential, made
from pairlock.client.discovery import Service
from pairlock.client.exchange import Answer, Call, Do, Effect, Exchange, Tell, Unbroken, Wait
from pairlock.testing import FakeClock

T = TypeVar("T")

PAIRING = "http://127.0.0.1:8000/pair"
SERVER = {"id": "01server", "name": "Studio"}
GRANTED = {"read": ["/sensors/**"], "write": []}
TOKENS = {
    "access_token": "plk_token",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "plr_refresh",
    "device_id": "01device",
    "device_name": "My Phone",
    "permissions": GRANTED,
    "server": SERVER,
}
STARTED = {"id": "01request", "secret": "s3cret", "expires_in": 300, "interval": 5, "attempts": 5, "pin_length": 6}
SHOWN = {
    "device_code": "01request.code",
    "user_code": "WDJB-MJHT",
    "verification_uri": "http://127.0.0.1:8000/pair/device",
    "expires_in": 600,
    "interval": 5,
}

NOW = 1_700_000_000.0

Reply = Answer | Exception | Callable[[Call], Answer]


def says(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer with this JSON, or with these bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def refuses(code: str, status: int = 400, **extras: Any) -> Answer:
    """An answer with an error of ours."""
    return says({"error": code, "error_description": "x", **extras}, status)


class Played(Struct, Generic[T]):
    """An exchange that was played, as far as it came: `result` unless it raised `error`."""

    calls: list[Call] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    result: T | None = None
    error: Exception | None = None

    @property
    def asked(self) -> list[str]:
        """What was called."""
        return [f"{call.method} {call.url}" for call in self.calls]


class _Other(Struct):
    """The other end of an exchange."""

    replies: Iterator[Reply]
    clock: FakeClock
    held_open_for: float


def play(
    exchange: Exchange[T], replies: Iterable[Reply], clock: FakeClock | None = None, *, held_open_for: float = 0
) -> Played[T]:
    """Play the other end of an exchange: each call gets the next reply, and waiting lets the clock go on."""
    played: Played[T] = Played()
    try:
        played.result = _played(exchange, played, _Other(iter(replies), clock or FakeClock(), held_open_for))
    except Exception as error:  # noqa: BLE001  # it is looked at
        played.error = error
    return played


def _played(exchange: Exchange[Any], played: Played[Any], other: _Other) -> Any:
    try:
        effect = next(exchange)
        while True:
            try:
                done = _done(effect, played, other)
            except Exception as error:  # noqa: BLE001  # the exchange may know what to do
                effect = exchange.throw(error)
            else:
                effect = exchange.send(done)
    except StopIteration as ended:
        return ended.value
    finally:
        exchange.close()


def _done(effect: Effect, played: Played[Any], other: _Other) -> Any:
    match effect:
        case Call():
            played.calls.append(effect)
            other.clock.advance(other.held_open_for)
            reply = next(other.replies, None)
            assert reply is not None, f"one call too many: {effect}"
            if isinstance(reply, Exception):
                raise reply
            return reply(effect) if callable(reply) else reply
        case Wait(seconds):
            played.waits.append(seconds)
            other.clock.advance(seconds)
        case Tell(function, what):
            played.told.append(what)
            return function(what)
        case Do(function):
            return function()
        case Unbroken(inner):
            return _played(inner, played, other)
    return None


def kept_as(answer: TokenAnswer) -> Exchange[TokenAnswer]:
    """For `login`: keeps nothing, and hands on what was answered."""
    yield from ()
    return answer


def service(url: str = "http://192.168.1.100:7330/pair", id: str = "01server") -> Service:
    """A service as it was found."""
    pairing = parse(url)
    return Service(pairing, pairing.parent(), ServerAnswer(id, "Studio"))


def credential(url: str = "http://192.168.1.100:7330/pair", id: str = "01server", **changed: Any) -> Credential:
    """What is kept of a device that has just paired there."""
    answer = msgspec.convert({**TOKENS, "server": {"id": id, "name": "Studio"}, **changed}, TokenAnswer)
    return made(service(url, id), answer, NOW)


FAMILY = "f" * 43


def refresh_token(secret: str) -> str:
    """One of a device's refresh tokens."""
    return f"plr_{'0' * 26}.{FAMILY}.{secret * 43}"


def proves(call: Call) -> Answer:
    """What the server of that device says when it is asked who it is."""
    asked = dict(parse_qsl(urlsplit(call.url).query))
    said = proof(digest_secret(FAMILY), "01server", asked["device_id"], asked["nonce"])
    return says({"server": SERVER, "proof": said})
