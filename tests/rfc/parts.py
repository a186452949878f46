"""The steps of an OAuth client over HTTP, and of the operator it meets."""

from base64 import b64encode
from typing import Any

import httpx

from tests.app.parts import AS_OPERATOR

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TV, SECRET = "tv", "the-secret-of-the-client-of-these-tests"


def basic(client_id: str, secret: str = "") -> dict[str, str]:
    """The Authorization header of HTTP Basic."""
    return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}


def said(answer: httpx.Response) -> tuple[int, str]:
    """Status and error of an answer that refuses."""
    return answer.status_code, answer.json()["error"]


async def begin(client: httpx.AsyncClient, **form: Any) -> dict[str, Any]:
    """The device authorization answer (RFC 8628 §3.2)."""
    answer = await client.post("/pair/device_authorization", data={"client_id": TV, **form})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def poll(client: httpx.AsyncClient, begun: dict[str, Any], **form: Any) -> httpx.Response:
    """Ask for the token (RFC 8628 §3.4)."""
    asked = {"grant_type": DEVICE_CODE, "device_code": begun["device_code"], "client_id": TV}
    return await client.post("/pair/token", data={**asked, **form})


async def look_up(client: httpx.AsyncClient, user_code: str, **headers: str) -> httpx.Response:
    """An operator types a user code."""
    return await client.post("/pair/requests/lookup", json={"user_code": user_code}, headers={**AS_OPERATOR, **headers})


async def decide(client: httpx.AsyncClient, begun: dict[str, Any], decision: str, **body: Any) -> httpx.Response:
    """An operator types the user code, then decides."""
    found = await look_up(client, begun["user_code"])
    assert found.status_code == 200, found.text
    answer = await client.post(f"/pair/requests/{found.json()['id']}/{decision}", json=body, headers=AS_OPERATOR)
    assert answer.status_code == 200, answer.text
    return answer


async def approve(client: httpx.AsyncClient, begun: dict[str, Any], **body: Any) -> None:
    """An operator lets the device in."""
    await decide(client, begun, "approve", **body)


async def deny(client: httpx.AsyncClient, begun: dict[str, Any], **body: Any) -> None:
    """An operator does not."""
    await decide(client, begun, "deny", **body)


async def paired(client: httpx.AsyncClient, **form: Any) -> dict[str, Any]:
    """The token answer of a device that paired by device code."""
    begun = await begin(client, **form)
    await approve(client, begun)
    answer = await poll(client, begun)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refresh(client: httpx.AsyncClient, refresh_token: str, **form: Any) -> httpx.Response:
    """Ask for the next tokens (RFC 6749 §6)."""
    asked = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": TV}
    return await client.post("/pair/token", data={**asked, **form})


async def revoke(client: httpx.AsyncClient, token: str, **form: Any) -> httpx.Response:
    """Give a token back (RFC 7009 §2.1)."""
    return await client.post("/pair/revoke", data={"token": token, "client_id": TV, **form})


async def status_of(client: httpx.AsyncClient, token: str, path: str = "/sensors/a", method: str = "GET") -> int:
    """What the guard answers to this token."""
    return (await client.request(method, path, headers={"Authorization": f"Bearer {token}"})).status_code
