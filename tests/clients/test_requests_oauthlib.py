"""oauthlib's device client with requests-oauthlib, as they are."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from oauthlib.oauth2 import AccessDeniedError, DeviceClient  # type: ignore[import-untyped]  # oauthlib has no types
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error  # type: ignore[import-untyped]
from oauthlib.oauth2.rfc8628.errors import (  # type: ignore[import-untyped]
    AuthorizationPendingError,
    ExpiredTokenError,
    SlowDownError,
)
from requests_oauthlib import OAuth2Session  # type: ignore[import-untyped]  # requests-oauthlib has no types

from tests.clients.parts import BOX, SCOPE, SECRET, TV, Service

# How it says who it is: by Basic with an empty secret, which is its default; in the form; by Basic with a secret.
WAYS: dict[str, dict[str, Any]] = {
    "basic": {},
    "form": {"include_client_id": True},
    "basic with a secret": {"client_secret": SECRET},
    "form with a secret": {"include_client_id": True, "client_secret": SECRET},
}


@pytest.fixture(autouse=True)
def over_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


@pytest.fixture
def session(way: dict[str, Any]) -> Iterator[Any]:
    secret = way.get("client_secret")
    client = DeviceClient(BOX if secret else TV, client_secret=secret, scope=[SCOPE])
    with OAuth2Session(client=client) as session:
        yield session


def begin(session: Any, service: Service) -> dict[str, Any]:
    """It puts the whole request into the query of a POST without a body."""
    answer = requests.post(session._client.prepare_request_uri(service.ask), timeout=10)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(session: Any, service: Service, begun: dict[str, Any], way: dict[str, Any]) -> Any:
    return session.fetch_token(service.token, device_code=begun["device_code"], **way)


def error_of(session: Any, service: Service, begun: dict[str, Any], way: dict[str, Any]) -> str:
    with pytest.raises(CustomOAuth2Error) as told:  # requests-oauthlib finds only the errors of RFC 6749 by class
        poll(session, service, begun, way)
    return str(told.value.error)


def credentials(session: Any, way: dict[str, Any]) -> dict[str, str]:
    """What its users have to add to a refresh and a revocation."""
    secret = way.get("client_secret")
    return {"client_id": session.client_id, **({"client_secret": secret} if secret else {})}


def test_requests_oauthlib_pairs_calls_refreshes_and_gives_back(
    session: Any, service: Service, way: dict[str, Any]
) -> None:
    begun = begin(session, service)
    assert error_of(session, service, begun, way) == AuthorizationPendingError.error
    service.clock.advance(2)
    assert error_of(session, service, begun, way) == SlowDownError.error
    service.clock.advance(begun["interval"] + 5)
    assert error_of(session, service, begun, way) == AuthorizationPendingError.error
    service.decide(begun["user_code"], "approve")
    first = poll(session, service, begun, way)
    assert (first["scope"], session.get(service.sensor).status_code) == ([SCOPE], 200)
    second = session.refresh_token(service.token, **credentials(session, way))
    assert second["refresh_token"] != first["refresh_token"]
    assert session.get(service.sensor).status_code == 200
    url, headers, body = session._client.prepare_token_revocation_request(
        service.revocation, second["access_token"], **credentials(session, way)
    )
    assert session.post(url, data=body, headers=headers, withhold_token=True).status_code == 200
    assert session.get(service.sensor).status_code == 401
    assert service.devices() == []


def test_requests_oauthlib_refreshes_by_itself_once_its_token_is_old(
    session: Any, service: Service, way: dict[str, Any]
) -> None:
    begun = begin(session, service)
    service.decide(begun["user_code"], "approve")
    first = dict(poll(session, service, begun, way))
    service.clock.advance(3600)
    kept: list[dict[str, Any]] = []
    automatic = {"auto_refresh_url": service.token, "auto_refresh_kwargs": credentials(session, way)}
    old = {**first, "expires_at": 1, "expires_in": -1}
    with OAuth2Session(session.client_id, token=old, token_updater=kept.append, **automatic) as later:
        assert later.get(service.sensor).status_code == 200
    assert [token["access_token"] != first["access_token"] for token in kept] == [True]


def test_requests_oauthlib_is_told_how_it_ended(session: Any, service: Service, way: dict[str, Any]) -> None:
    denied, late = begin(session, service), begin(session, service)
    service.decide(denied["user_code"], "deny")
    with pytest.raises(AccessDeniedError):
        poll(session, service, denied, way)
    service.clock.advance(600)
    assert error_of(session, service, late, way) == ExpiredTokenError.error
