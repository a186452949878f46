"""How a device pairs, as exchanges: by PIN or approval, by a code that it was given, by a code that it shows."""

import hashlib
import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.codes import encode_secret
from pairlock._core.oauth import DEVICE_CODE_GRANT, scope_text
from pairlock._core.permissions import Permissions
from pairlock.client import addresses, answers
from pairlock.client.answers import AWAY, DeviceCodeAnswer, StartedAnswer, StateAnswer, TokenAnswer
from pairlock.client.discovery import Service
from pairlock.client.exchange import Answer, Call, Exchange, T, Tell, Unbroken, Wait, then
from pairlock.errors import (
    AccessDenied,
    AlreadyRedeemed,
    AuthorizationPending,
    Cancelled,
    ConfigurationError,
    ConfirmationRequired,
    ExpiredToken,
    InvalidPin,
    InvalidToken,
    Locked,
    NotPairlock,
    SlowDown,
    TemporarilyUnavailable,
    Unreachable,
)

POLL_WAIT = 10  # seconds that a poll is held open until there is news
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to reach a server that does not answer
SLOW_DOWN_STEP = 5  # RFC 8628 §3.5
ATTEMPTS_TO_REDEEM = 4  # one code: the answer may have been lost
SECRET_BYTES = 32

_PAGE = re.compile("https?://[!-~]{1,2000}")

Clock = Callable[[], float]
OnProgress = Callable[["Progress"], Any]
OnCode = Callable[["DeviceCode"], Any]
Confirm = Callable[[], Any]

UNSUCCESSFUL = {"locked": Locked, "cancelled": Cancelled, "expired": ExpiredToken, "redeemed": AlreadyRedeemed}


class Progress(Struct, frozen=True):
    """How far a pairing has come; `seconds_left` until it expires."""

    state: str
    seconds_left: int
    attempts_left: int | None = None


class DeviceCode(Struct, frozen=True):
    """What a device shows, for an operator to type (RFC 8628 §3.3)."""

    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: int
    has_page: bool = True  # False: nobody serves the page, so that the operator has to approve in another way


def taken_on_trust(uri: str) -> Exchange[bool]:
    """Nobody looks whether a page is there."""
    yield from ()
    return True


def ignore(told: object) -> None:
    """Nobody wants to know."""


class Asking:
    """A pairing request by PIN, from the device that made it.

    `shown` is False while the PIN of another request from the same address is on display.
    """

    def __init__(
        self, service: Service, name: str, started: StartedAnswer, clock: Clock, on_progress: OnProgress
    ) -> None:
        self.service = service
        self.name = name
        self.id = started.id
        self.shown = started.shown
        self.pin_length = started.pin_length
        self.attempts_left = started.attempts
        self.expires_at = clock() + started.expires_in
        self._secret = started.secret
        self._interval = started.interval
        self._clock = clock
        self._on_progress = on_progress

    @property
    def seconds_left(self) -> int:
        """Until it expires."""
        return max(int(self.expires_at - self._clock()), 0)

    def submit(self, pin: str) -> Exchange[TokenAnswer]:
        """Type the PIN. Raises InvalidPin with `attempts_left`, and what else ended the request."""
        try:
            return (yield from self._call("POST", "/pin", TokenAnswer, json={"pin": pin}))
        except InvalidPin as error:
            self.attempts_left = error.attempts_left
            raise

    def wait(self) -> Exchange[None]:
        """Wait until an operator has approved. Raises AccessDenied, ExpiredToken, Locked, Cancelled."""
        pause = SHORTEST_PAUSE
        while True:
            asked_at = self._clock()
            try:
                state = yield from self._state()
            except AWAY as error:  # it may come back in time
                if not self.seconds_left:
                    raise
                yield Wait(min(getattr(error, "retry_after", None) or pause, self.seconds_left))
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            if state.state == "approved":
                return
            _check_goes_on(state)
            _check_time(self._clock(), self.expires_at)
            yield Tell(self._on_progress, self._progress(state))
            pause = SHORTEST_PAUSE
            if self._clock() - asked_at < SHORTEST_PAUSE:  # something on the way does not hold calls open
                yield Wait(max(self._interval, SHORTEST_PAUSE))

    def redeem(self) -> Exchange[TokenAnswer]:
        """Get what was approved."""
        url = self._url("/token")
        return (yield from _insisted(Call(method="POST", url=url, headers=self._proof(), json={})))

    def cancel(self) -> Exchange[None]:
        """Withdraw it."""
        url = self._url("")
        answers.check((yield Call(method="DELETE", url=url, headers=self._proof())), url)

    def _state(self) -> Exchange[StateAnswer]:
        prefer = {"prefer": f"wait={POLL_WAIT}"}  # RFC 7240 §4.3
        try:
            return (yield from self._call("GET", "", StateAnswer, headers=prefer, timeout=POLL_WAIT + 10.0))
        except InvalidToken:  # it is forgotten some time after its end
            raise InvalidToken if self.seconds_left else ExpiredToken from None

    def _call(
        self, method: str, path: str, type: type[answers.T], *, headers: dict[str, str] | None = None, **more: Any
    ) -> Exchange[answers.T]:
        url = self._url(path)
        answer = yield Call(method=method, url=url, headers={**self._proof(), **(headers or {})}, **more)
        return answers.read(answer, type, url)

    def _progress(self, state: StateAnswer) -> Progress:
        self.attempts_left = state.attempts_left
        return Progress(state.state, self.seconds_left, state.attempts_left)

    def _url(self, path: str) -> str:
        return f"{self.service.pairing.url}/requests/{self.id}{path}"

    def _proof(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._secret}"}


def ask(
    service: Service,
    name: str,
    *,
    permissions: Permissions | None = None,
    clock: Clock,
    on_progress: OnProgress = ignore,
) -> Exchange[Asking]:
    """Ask to be let in: a PIN appears at the service. Raises WindowClosed, Busy, TooManyRequests, PairingDisabled."""
    url, body = f"{service.pairing.url}/requests", {"name": name}
    wanted = {} if permissions is None else {"permissions": _lists(permissions)}
    started = answers.read((yield Call(method="POST", url=url, json=body | wanted)), StartedAnswer, url)
    _check_header(started.secret, url)
    return Asking(service, name, started, clock, on_progress)


def redeem(service: Service, code: str, name: str) -> Exchange[TokenAnswer]:
    """Pair with a one-time code or what a QR code says. Raises InvalidCode.

    A secret of our own goes with it: should the answer be lost, the code is redeemed once more with the same.
    """
    url, secret = f"{service.pairing.url}/redeem", encode_secret(secrets.token_bytes(SECRET_BYTES))
    return (
        yield from _insisted(
            Call(method="POST", url=url, json={"code": code, "name": name, "secret": secret}, again=True)
        )
    )


def login(
    service: Service,
    name: str,
    *,
    client_id: str,
    clock: Clock,
    on_code: OnCode,
    keep: Callable[[TokenAnswer], Exchange[T]],
    permissions: Permissions | None = None,
    on_progress: OnProgress = ignore,
    confirm: Confirm | None = None,
    look: Callable[[str], Exchange[bool]] = taken_on_trust,
) -> Exchange[T]:
    """Show a code and wait until an operator has typed it and decided (RFC 8628); what `keep` makes of the answer.

    `look` finds out whether the page is there; `confirm` is asked for the PIN that a service may want confirmed. Raises
    AccessDenied, ExpiredToken, Locked.
    """
    verifier = encode_secret(secrets.token_bytes(SECRET_BYTES))
    shown = yield from _authorize(service, name, client_id, permissions, verifier)
    expires_at, interval = clock() + shown.expires_in, max(shown.interval, SHORTEST_PAUSE)
    code = _device_code(shown)
    has_page = yield from look(code.verification_uri)
    yield Tell(on_code, replace(code, has_page=has_page))
    form = {
        "grant_type": DEVICE_CODE_GRANT,
        "device_code": shown.device_code,
        "client_id": client_id,
        "code_verifier": verifier,
    }
    while True:
        yield Wait(max(min(interval, expires_at - clock()), SHORTEST_PAUSE))
        try:
            return (yield Unbroken(then(_token(service, form), keep)))  # type: ignore[no-any-return]
        except AuthorizationPending:
            _check_time(clock(), expires_at)
            yield Tell(on_progress, Progress("pending", max(int(expires_at - clock()), 0)))
        except SlowDown as error:
            interval = max(interval + SLOW_DOWN_STEP, error.interval or 0)
        except AWAY as error:  # RFC 8628 §3.5: back off
            if clock() >= expires_at:
                raise
            interval = max(min(interval * 2, LONGEST_PAUSE), getattr(error, "retry_after", None) or 0)
        except (ConfirmationRequired, InvalidPin) as error:
            if confirm is None:
                raise
            yield Tell(on_progress, Progress("approved", max(int(expires_at - clock()), 0), error.attempts_left))
            form["confirmation_pin"], interval = str((yield Tell(partial(_asked, confirm), None))), SHORTEST_PAUSE


def page_of(service: Service, uri: str) -> Exchange[bool]:
    """Whether somebody serves this page; that of another origin is taken on trust."""
    if addresses.parse(uri.partition("?")[0].partition("#")[0]).origin != service.pairing.origin:
        return True
    try:
        answer: Answer = yield Call(method="GET", url=uri, headers={"accept": "text/html"})
    except Unreachable:
        return True
    return bool(answer.status != 404)


def split_qr(uri: str) -> tuple[str, str]:
    """The address of the pairing sub-app in what a QR code says, and its secret. Raises ConfigurationError."""
    url, mark, secret = uri.strip().partition("#")
    if not mark or not url.endswith("/qr") or not secret:
        raise ConfigurationError("this is no pairing code: one reads https://house.example/pair/qr#…")
    return url.removesuffix("/qr"), secret


def _authorize(
    service: Service, name: str, client_id: str, permissions: Permissions | None, verifier: str
) -> Exchange[DeviceCodeAnswer]:
    url = f"{service.pairing.url}/device_authorization"
    challenge = encode_secret(hashlib.sha256(verifier.encode()).digest())
    form = {"client_id": client_id, "name": name, "code_challenge": challenge, "code_challenge_method": "S256"}
    wanted = {} if permissions is None else {"scope": scope_text(permissions)}
    return answers.read((yield Call(method="POST", url=url, form=form | wanted)), DeviceCodeAnswer, url)


def _insisted(call: Call) -> Exchange[TokenAnswer]:
    """What a call is answered that cannot be made later: it is made some times more."""
    for attempt in range(1, ATTEMPTS_TO_REDEEM):
        try:
            return answers.read((yield call), TokenAnswer, call.url)
        except (Unreachable, TemporarilyUnavailable):
            yield Wait(attempt)
    return answers.read((yield call), TokenAnswer, call.url)


def _token(service: Service, form: dict[str, str]) -> Exchange[TokenAnswer]:
    url = f"{service.pairing.url}/token"
    return answers.read((yield Call(method="POST", url=url, form=dict(form))), TokenAnswer, url)


def _device_code(shown: DeviceCodeAnswer) -> DeviceCode:
    """What may be shown, whoever says it. Raises NotPairlock for links that lead to no web page."""
    _check_page(shown.verification_uri)
    if shown.verification_uri_complete is not None:
        _check_page(shown.verification_uri_complete)
    return DeviceCode(shown.user_code, shown.verification_uri, shown.verification_uri_complete, int(shown.expires_in))


def _check_page(uri: str) -> None:
    if not _PAGE.fullmatch(uri):
        raise NotPairlock("the service names a page that is none")
    try:
        addresses.parse(uri.partition("?")[0].partition("#")[0])
    except ConfigurationError as error:
        raise NotPairlock(f"the service names a page that is none: {error}") from None


def _check_time(now: float, expires_at: float) -> None:
    """Raises ExpiredToken where a server goes on saying that it waits."""
    if now > expires_at + POLL_WAIT:
        raise ExpiredToken


def _check_header(secret: str, url: str) -> None:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise NotPairlock(f"{url} answers, but not as pairlock does; is the address right?")


def _check_goes_on(state: StateAnswer) -> None:
    """Raises the error that a request has ended with."""
    if state.state == "denied":
        raise AccessDenied(reason=state.reason)
    if state.state in UNSUCCESSFUL:
        raise UNSUCCESSFUL[state.state]


def _asked(confirm: Confirm, _: None) -> Any:
    return confirm()


def _lists(permissions: Permissions) -> dict[str, list[str]]:
    return {"read": list(permissions.read), "write": list(permissions.write)}
