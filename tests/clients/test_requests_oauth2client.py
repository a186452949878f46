"""requests-oauth2client, as it is: its polling job sleeps by our clock, and nothing else of it is touched."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import requests
from requests_oauth2client import (
    AccessDenied,
    BearerToken,
    ClientSecretBasic,
    ClientSecretPost,
    DeviceAuthorizationPollingJob,
    ExpiredToken,
    InvalidGrant,
    OAuth2Client,
    OAuth2DeviceCodeAuth,
    PublicApp,
)

from tests.clients.parts import BOX, CAMERA, SCOPE, SECRET, TV, Service

PROOFS: dict[str, Callable[[], requests.auth.AuthBase]] = {
    "none": lambda: PublicApp(TV),
    "client_secret_basic": lambda: ClientSecretBasic(BOX, SECRET),
    "client_secret_post": lambda: ClientSecretPost(BOX, SECRET),
}


@pytest.fixture(params=PROOFS)
def client(request: pytest.FixtureRequest, service: Service, monkeypatch: pytest.MonkeyPatch) -> OAuth2Client:
    """Found by discovery, which does not read where device codes are given out: that its users say themselves."""
    monkeypatch.setattr("requests_oauth2client.polling.time", SimpleNamespace(sleep=service.clock.advance))
    return OAuth2Client.from_discovery_endpoint(
        url=service.metadata,
        issuer=f"{service.url}/pair",
        auth=PROOFS[request.param](),
        device_authorization_endpoint=service.ask,
        testing=True,  # as it calls plain HTTP
    )


def status(service: Service, token: BearerToken) -> int:
    return requests.get(service.sensor, auth=token, timeout=10).status_code


def test_requests_oauth2client_pairs_calls_refreshes_and_gives_back(client: OAuth2Client, service: Service) -> None:
    begun = client.authorize_device(scope=SCOPE)
    job = DeviceAuthorizationPollingJob(client, begun)
    assert [job(), job(), job()] == [None, None, None]
    assert job.interval == begun.interval == 5  # at the pace it was told, it is never told to slow down
    service.decide(begun.user_code, "approve")
    first = job()
    assert first is not None
    assert (first.scope, status(service, first)) == (SCOPE, 200)
    second = client.refresh_token(first)
    assert second.refresh_token != first.refresh_token
    assert status(service, second) == 200
    assert client.revoke_refresh_token(second) is True
    assert status(service, second) == 401
    assert service.devices() == []
    with pytest.raises(InvalidGrant):
        client.refresh_token(second)


def test_requests_oauth2client_that_hurries_slows_down_until_its_pace_is_right(
    client: OAuth2Client, service: Service
) -> None:
    begun = client.authorize_device()
    job, paces = DeviceAuthorizationPollingJob(client, begun, interval=1), []
    for _ in range(12):
        assert job() is None
        paces.append(job.interval)
    assert paces[0] == 1  # the first poll is free
    assert paces[1] == 6  # then it is told to slow down
    assert paces[-5:] == [paces[-1]] * 5  # and soon no more
    service.decide(begun.user_code, "approve")
    token = job()
    assert token is not None
    assert status(service, token) == 200


def test_requests_oauth2client_gives_back_an_access_token_too(client: OAuth2Client, service: Service) -> None:
    begun = client.authorize_device()
    service.decide(begun.user_code, "approve")
    token = client.device_code(begun)
    assert client.revoke_access_token(token) is True
    assert status(service, token) == 401


def test_requests_oauth2client_waits_for_a_token_within_a_call(client: OAuth2Client, service: Service) -> None:
    begun = client.authorize_device()
    service.decide(begun.user_code, "approve")
    auth = OAuth2DeviceCodeAuth(client, device_code=begun)
    for _ in range(2):
        assert requests.get(service.sensor, auth=auth, timeout=10).status_code == 200
    assert len(service.devices()) == 1


def test_requests_oauth2client_is_told_how_it_ended(client: OAuth2Client, service: Service) -> None:
    denied, late = client.authorize_device(), client.authorize_device()
    service.decide(denied.user_code, "deny")
    with pytest.raises(AccessDenied):
        DeviceAuthorizationPollingJob(client, denied)()
    service.clock.advance(600)
    with pytest.raises(ExpiredToken):
        DeviceAuthorizationPollingJob(client, late)()


def test_requests_oauth2client_introspects_for_a_resource_server(client: OAuth2Client, service: Service) -> None:
    begun = client.authorize_device(scope=SCOPE)
    service.decide(begun.user_code, "approve")
    token = client.device_code(begun)
    camera = OAuth2Client.from_discovery_endpoint(
        url=service.metadata, auth=ClientSecretBasic(CAMERA, SECRET), testing=True
    )
    told = camera.introspect_token(token)
    assert (told["active"], told["scope"], told["iss"]) == (True, SCOPE, f"{service.url}/pair")
    assert camera.introspect_token("x") == {"active": False}
