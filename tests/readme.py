"""What the README promises, done to the app it builds."""

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp


def pair_and_read(app: ASGIApp, path: str) -> Any:
    """Pair a device with an app as the README says, and what it then reads there."""
    return asyncio.run(_pair_and_read(app, path))


async def _pair_and_read(app: ASGIApp, path: str) -> Any:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://house") as client:
        asked = (await client.post("/pair/requests", json={"name": "My Phone"})).json()
        operator = {"Authorization": "Bearer the-operator-token-of-the-readme"}
        pin = (await client.get("/pair/requests", headers=operator)).json()["requests"][0]["pin"]
        proof = {"Authorization": f"Bearer {asked['secret']}"}
        paired = await client.post(f"/pair/requests/{asked['id']}/pin", json={"pin": pin}, headers=proof)
        token = {"Authorization": f"Bearer {paired.json()['access_token']}"}
        return (await client.get(path, headers=token)).json()
