"""What the asynchronous client opens is awaited, opened by `async with`, or made a task of."""

import asyncio

import pytest

from pairlock.client import CredentialFile, MemoryCredentials, aio
from tests.client_side.house import House

pytestmark = pytest.mark.anyio


async def test_a_client_is_opened_at_once_and_closed(house: House, file: CredentialFile) -> None:
    async with aio.pair(house.url, name="My Phone", credentials=file) as pairing:
        client = await pairing.submit_pin(house.pin())
    assert (await client.get("/sensors/a")).status_code == 200
    await client.aclose()
    async with aio.connect(house.url, credentials=file) as client:
        assert (await client.get("/sensors/a")).status_code == 200
    assert client.is_closed


async def test_it_can_be_a_task_and_be_cancelled(house: House) -> None:
    asking = asyncio.create_task(aio.pair(house.url, name="My Phone", credentials=MemoryCredentials()))
    async with await asking as pairing:
        assert pairing.server_name == "Studio"
    waiting = asyncio.create_task(aio.pair(house.url, credentials=MemoryCredentials()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_what_is_never_awaited_can_be_closed() -> None:
    aio.connect("http://127.0.0.1:1").close()
