"""Authlib, as it is: its client over requests, and its client over httpx."""

from collections.abc import Iterator
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]  # Authlib has no types
from authlib.integrations.httpx_client import OAuth2Client  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url  # type: ignore[import-untyped]
from authlib.oauth2.rfc8628 import (  # type: ignore[import-untyped]
    DEVICE_CODE_GRANT_TYPE,
    AuthorizationPendingError,
    SlowDownError,
)

from tests.clients.parts import BOX, CAMERA, SCOPE, SECRET, TV, Service


@pytest.fixture(params=[OAuth2Session, OAuth2Client], ids=["requests", "httpx"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["none", "client_secret_basic", "client_secret_post"])
def session(kind: Any, service: Service, request: pytest.FixtureRequest) -> Iterator[Any]:
    proof = {"client_id": TV} if request.param == "none" else {"client_id": BOX, "client_secret": SECRET}
    methods = {f"{endpoint}_endpoint_auth_method": request.param for endpoint in ("token", "revocation")}
    with kind(**proof, **methods, scope=SCOPE, token_endpoint=service.token) as session:
        yield session


def begin(session: Any, service: Service) -> dict[str, Any]:
    """Authlib has no call of its own for this: a form, with the client's own authentication."""
    proof = session.client_auth(session.token_endpoint_auth_method)
    answer = session.request("POST", service.ask, data={"scope": SCOPE}, auth=proof, withhold_token=True)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def poll(session: Any, begun: dict[str, Any]) -> Any:
    return session.fetch_token(grant_type=DEVICE_CODE_GRANT_TYPE, device_code=begun["device_code"])


def error_of(session: Any, begun: dict[str, Any]) -> str:
    with pytest.raises(OAuthError) as told:
        poll(session, begun)
    return str(told.value.error)


def test_authlib_pairs_calls_refreshes_and_gives_back(session: Any, service: Service) -> None:
    begun = begin(session, service)
    assert error_of(session, begun) == AuthorizationPendingError.error
    service.clock.advance(2)
    assert error_of(session, begun) == SlowDownError.error
    service.clock.advance(begun["interval"] + 5)
    assert error_of(session, begun) == AuthorizationPendingError.error
    service.decide(begun["user_code"], "approve")
    first = poll(session, begun)
    assert (first["scope"], session.get(service.sensor).status_code) == (SCOPE, 200)
    second = session.refresh_token()
    assert second["refresh_token"] != first["refresh_token"]
    assert session.get(service.sensor).status_code == 200
    assert session.revoke_token(service.revocation, token_type_hint="refresh_token").status_code == 200
    assert session.get(service.sensor).status_code == 401
    assert service.devices() == []


def test_authlib_refreshes_by_itself_once_its_token_is_old(session: Any, service: Service) -> None:
    begun = begin(session, service)
    service.decide(begun["user_code"], "approve")
    first = dict(poll(session, begun))
    service.clock.advance(3600)
    session.token = {**first, "expires_at": 1}
    assert session.get(service.sensor).status_code == 200
    assert session.token["access_token"] != first["access_token"]


def test_authlib_is_told_how_it_ended(session: Any, service: Service) -> None:
    denied, late = begin(session, service), begin(session, service)
    service.decide(denied["user_code"], "deny")
    assert error_of(session, denied) == "access_denied"
    service.clock.advance(600)
    assert error_of(session, late) == "expired_token"


def test_authlib_introspects_for_a_resource_server(kind: Any, service: Service, session: Any) -> None:
    begun = begin(session, service)
    service.decide(begun["user_code"], "approve")
    token = poll(session, begun)["access_token"]
    with kind(client_id=CAMERA, client_secret=SECRET, token_endpoint_auth_method="client_secret_post") as camera:
        told = camera.introspect_token(service.introspection, token=token).json()
        assert (told["active"], told["scope"], told["client_id"]) == (True, SCOPE, session.client_id)
        assert camera.introspect_token(service.introspection, token="x").json() == {"active": False}


def test_authlib_finds_the_metadata_of_the_issuer(kind: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    with kind(client_id=TV) as session:
        where = get_well_known_url(f"{service.url}/pair", external=True)
        found = AuthorizationServerMetadata(session.request("GET", where, withhold_token=True).json())
    assert (where, found.issuer) == (service.metadata, f"{service.url}/pair")
    for key in set(found) & set(found.REGISTRY_KEYS) - {"response_types_supported"}:  # it wants that one not empty
        getattr(found, f"validate_{key}")()
    assert found.token_endpoint == service.token
    assert found.revocation_endpoint == service.revocation
    assert found["device_authorization_endpoint"] == service.ask
