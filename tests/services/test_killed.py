"""A service that is killed ten times while devices pair: what it has said stays true."""

import asyncio
import random
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.stores.sqlite import SQLiteStore
from tests.services.served import OPERATOR_TOKEN

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
KILLS = 10
CALLERS = 4
AS_OPERATOR = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}


@dataclass
class Said:
    """What the service has acknowledged, and what was asked of it without an answer."""

    tokens: dict[str, str] = field(default_factory=dict)  # by device
    revoking: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    locked: set[tuple[str, str]] = field(default_factory=set)  # id and secret


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(path: Path, port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.services.served", str(path), str(port)], cwd=ROOT)


@asynccontextmanager
async def served(path: Path, port: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The service as a process of its own; killed in the end, as it is in between."""
    process = spawn(path, port)
    try:
        yield process
    finally:
        process.kill()
        assert await asyncio.to_thread(process.wait, 10) == -signal.SIGKILL


async def answering(port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def pair_for_ever(client: httpx.AsyncClient, said: Said, chance: random.Random) -> None:
    """One device after the other, by PIN or by hand; some are revoked, some requests locked."""
    while True:
        started = (await client.post("/pair/requests", json={"name": "Phone"})).raise_for_status().json()
        path, holder = f"/pair/requests/{started['id']}", bearer(started["secret"])
        kind = chance.random()
        if kind < 0.1:
            await lock(client, path, holder)
            said.locked.add((started["id"], started["secret"]))
            continue
        if kind < 0.5:
            (await client.post(f"{path}/approve", headers=AS_OPERATOR)).raise_for_status()
            answer = await client.post(f"{path}/token", headers=holder)
        else:
            answer = await client.post(f"{path}/pin", json={"pin": await pin(client, started["id"])}, headers=holder)
        paired = answer.raise_for_status().json()
        said.tokens[paired["device_id"]] = paired["access_token"]
        if chance.random() < 0.3:
            said.revoking.add(paired["device_id"])
            (await client.delete(f"/pair/devices/{paired['device_id']}", headers=AS_OPERATOR)).raise_for_status()
            said.revoked.add(paired["device_id"])


async def pin(client: httpx.AsyncClient, request_id: str) -> str:
    listed = (await client.get("/pair/requests", headers=AS_OPERATOR)).raise_for_status().json()["requests"]
    return str(next(each["pin"] for each in listed if each["id"] == request_id))


async def lock(client: httpx.AsyncClient, path: str, holder: dict[str, str]) -> None:
    right = await pin(client, path.rpartition("/")[2])
    wrong = "000000" if right != "000000" else "111111"
    for left in (4, 3, 2, 1, 0):
        answer = await client.post(f"{path}/pin", json={"pin": wrong}, headers=holder)
        assert answer.json()["attempts_left"] == left


async def until_killed(client: httpx.AsyncClient, said: Said, chance: random.Random) -> None:
    with suppress(httpx.TransportError):
        await pair_for_ever(client, said, chance)


async def one_life(path: Path, port: int, said: Said, chance: random.Random) -> None:
    """Start, pair for a moment, kill; in one of five lives it does not get beyond its start."""
    async with served(path, port) as process, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        if chance.random() < 0.2:
            await asyncio.sleep(chance.uniform(0, 0.8))
            return
        await answering(port)
        callers = [asyncio.create_task(until_killed(client, said, chance)) for _ in range(CALLERS)]
        await asyncio.sleep(chance.uniform(0.05, 0.6))
        process.kill()
        await asyncio.gather(*callers)


async def test_what_a_killed_service_has_acknowledged_stays_so(path: Path) -> None:
    port, said, chance = free_port(), Said(), random.Random()
    for _ in range(KILLS):
        await one_life(path, port, said, chance)
    kept = set(said.tokens) - said.revoking
    assert len(kept) > 8
    assert len(said.revoked) > 1

    async with served(path, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await answering(port)
        for devices, status in ((kept, 204), (said.revoked, 401)):
            for device in devices:
                answer = await client.get("/sensors/a", headers=bearer(said.tokens[device]))
                assert answer.status_code == status
        for request_id, secret in said.locked:
            answer = await client.get(f"/pair/requests/{request_id}", headers=bearer(secret))
            assert answer.json()["state"] == "locked"
        listed = await client.get("/pair/requests", headers=AS_OPERATOR)
        assert listed.status_code == 200

    await assert_whole(path, kept, said.revoked)


async def assert_whole(path: Path, kept: set[str], revoked: set[str]) -> None:
    """Each redeemed request has its device and each device its redeemed request, and the file is sound."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ids = {
            kind: [each for (each,) in connection.execute(f"SELECT id FROM {kind}")] for kind in ("requests", "devices")
        }
    store = SQLiteStore(path)
    await store.open()
    requests = [await store.find(PairingRequest, each) for each in ids["requests"]]
    devices = [await store.find(Device, each) for each in ids["devices"]]
    paired = await store.list_devices(limit=100_000)
    await store.aclose()
    redeemed = {each.device_id: each.id for each in requests if each and each.state is State.REDEEMED}
    assert redeemed == {each.id: each.request_id for each in devices if each}
    assert kept <= {each.id for each in paired}
    assert not revoked & {each.id for each in paired}
