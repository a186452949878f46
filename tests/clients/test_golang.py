"""golang.org/x/oauth2, replayed: what it sends, as its `deviceauth.go` and `internal/token.go` have it.

It tries HTTP Basic first, with an empty secret where the client has none. Whatever is wrong with the answer, it takes
the way for wrong and sends the same at once with the client in the form. So every poll comes twice, until one
succeeds; only then it remembers the way.
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from tests.clients.parts import BOX, DEVICE_CODE, SCOPE, SECRET, TV, Service


class Refused(Exception):
    """What the library returns as a RetrieveError."""


class Config:
    """`oauth2.Config` with an unknown `AuthStyle`."""

    def __init__(self, http: httpx.Client, service: Service, client_id: str, secret: str = "") -> None:
        self.http, self.service = http, service
        self.client_id, self.secret = client_id, secret
        self.style = ""  # that worked
        self.sent: list[tuple[str, str]] = []  # by which style, and what was said

    def device_auth(self) -> dict[str, Any]:
        """It sends no secret here, though RFC 8628 §3.1 asks for it: its users add one by `SetAuthURLParam`."""
        secret = {"client_secret": self.secret} if self.secret else {}
        answer = self.http.post(self.service.ask, data={"client_id": self.client_id, "scope": SCOPE, **secret})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def device_access_token(self, begun: dict[str, Any], ticks: int) -> dict[str, Any] | None:
        """Polls at once, whatever comes of it, and then for so many ticks of the interval."""
        form = {"client_id": self.client_id, "grant_type": DEVICE_CODE, "device_code": begun["device_code"]}
        form["scope"] = SCOPE
        try:
            return self.retrieve(form)
        except Refused:
            pass
        interval = begun["interval"]
        for _ in range(ticks):
            self.service.clock.advance(interval)
            try:
                return self.retrieve(form)
            except Refused as error:
                if error.args[0] == "slow_down":
                    interval += 5
                elif error.args[0] != "authorization_pending":
                    raise
        return None

    def retrieve(self, form: dict[str, str]) -> dict[str, Any]:
        if self.style:
            return self._round_trip(form, self.style)
        try:
            token, worked = self._round_trip(form, "header"), "header"
        except Refused:
            token, worked = self._round_trip(form, "form"), "form"
        self.style = worked
        return token

    def _round_trip(self, form: dict[str, str], style: str) -> dict[str, Any]:
        headers = {}
        if style == "header":
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        else:
            form = {**form, "client_id": self.client_id, **({"client_secret": self.secret} if self.secret else {})}
        answer = self.http.post(self.service.token, data=form, headers=headers)
        said = answer.json()
        self.sent.append((style, said.get("error", "token")))
        if answer.status_code != 200:
            raise Refused(said["error"])
        return dict(said)


@pytest.fixture(params=[(TV, ""), (BOX, SECRET)], ids=["public", "with a secret"])
def config(request: pytest.FixtureRequest, service: Service) -> Iterator[Config]:
    with httpx.Client() as http:
        yield Config(http, service, *request.param)


def status(config: Config, token: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return config.http.get(config.service.sensor, headers=headers).status_code


def test_golang_sends_every_poll_twice_and_is_never_told_to_slow_down(config: Config, service: Service) -> None:
    begun = config.device_auth()
    assert config.device_access_token(begun, ticks=6) is None
    assert config.sent == [("header", "authorization_pending"), ("form", "authorization_pending")] * 7


def test_golang_pairs_calls_refreshes_and_gives_back(config: Config, service: Service) -> None:
    begun = config.device_auth()
    assert config.device_access_token(begun, ticks=2) is None
    service.clock.advance(begun["interval"])
    service.decide(begun["user_code"], "approve")
    token = config.device_access_token(begun, ticks=0)
    assert token is not None
    assert (config.style, config.sent[-1]) == ("header", ("header", "token"))
    assert len(service.devices()) == 1
    assert status(config, token) == 200
    config.sent.clear()
    refreshed = config.retrieve({"grant_type": "refresh_token", "refresh_token": token["refresh_token"]})
    assert config.sent == [("header", "token")]
    assert status(config, refreshed) == 200
    given = {"token": refreshed["refresh_token"]}
    proof = httpx.BasicAuth(quote_plus(config.client_id), quote_plus(config.secret))
    assert config.http.post(service.revocation, data=given, auth=proof).status_code == 200
    assert status(config, refreshed) == 401


def test_golang_that_starts_too_fast_is_slowed_down_once_for_both_of_its_polls(
    config: Config, service: Service
) -> None:
    begun = {**config.device_auth(), "interval": 2}
    config.device_access_token(begun, ticks=8)
    errors = [error for style, error in config.sent if style == "form"]
    assert [error for style, error in config.sent if style == "header"] == errors  # both are told the same
    assert errors[:3] == ["authorization_pending", "slow_down", "authorization_pending"]
    assert errors[-3:] == ["authorization_pending"] * 3  # its 5 s more and ours agree in the end
    service.decide(begun["user_code"], "approve")
    assert config.device_access_token(begun, ticks=0) is not None


def test_golang_ends_when_it_is_denied_or_too_late(config: Config, service: Service) -> None:
    denied, late = config.device_auth(), config.device_auth()
    service.decide(denied["user_code"], "deny")
    with pytest.raises(Refused, match="access_denied"):
        config.device_access_token(denied, ticks=1)
    service.clock.advance(600)
    with pytest.raises(Refused, match="expired_token"):
        config.device_access_token(late, ticks=1)
