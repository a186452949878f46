"""Those who hold tokens: they refresh, ask, keep connections open; and the operator who revokes them."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress

from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.chaos.client import BROKEN
from tests.chaos.said import Paired, Said
from tests.chaos.service import TRY_AGAIN, Answer, Service
from tests.chaos.workers import Worker

REPLAY_WITHIN = 9.0  # seconds for which a client repeats its refresh; the service grants 10
CLOSED = 4001
SUSPENDED = 1013
LOOK_AGAIN = 0.02  # seconds
NEVER = 30.0
CHUNK = 65536
LINGER = 5.0
MOST_OPEN = 40
RECENT = 200  # so many devices are used, those that paired last
GUARDED = "/sensors/a"
NOT_ACCEPTED = (OSError, WebSocketException, TimeoutError)


class Holding:
    """Devices that have paired, and their operator.

    `refused` and `closed` are seconds from an acknowledged revocation until another worker refused the device,
    and until one closed what was open for it.
    """

    def __init__(self, service: Service, said: Said) -> None:
        self.service = service
        self.said = said
        self.refused: list[float] = []
        self.closed: list[float] = []
        self._refreshing: set[str] = set()
        self._open: dict[asyncio.Task[None], Paired] = {}
        self.is_calm = True

    async def refresh(self) -> None:
        """With the newest refresh token; the same one again as long as the answer is missing."""
        device = self._some(self.said.current)
        if device is None or device.id in self._refreshing:
            return
        self._refreshing.add(device.id)
        answer, took = await self._refreshed(device)
        self._refreshing.discard(device.id)
        if answer.status == 200:
            self.said.counts["refreshed"] += 1
            device.refreshed += 1
            device.token, device.refresh_token = answer.body["access_token"], answer.body["refresh_token"]
        elif took > REPLAY_WITHIN:
            self.said.give_up(device)  # nobody can know whether its token still counts: it pairs again
        elif not device.revoking:
            self.said.flaws.append(f"refreshing {device.id}: {answer.status} {answer.error}, lost: {answer.lost}")

    async def look(self) -> None:
        """A guarded request of a device that is paired."""
        device = self._some(self.said.current)
        if device is not None:
            await self.ask(device, self.service.any())

    async def look_though_revoked(self) -> None:
        """And of one that is not, any more."""
        device = self._some(self.said.gone)
        if device is not None:
            await self.ask(device, self.service.any())

    async def ask(self, device: Paired, worker: Worker) -> Answer:
        """A guarded request."""
        answer = await self.service.ask(worker, "GET", GUARDED, bearer=device.token)
        self.said.looked(device, answer, worker.name)
        return answer

    async def revoke(self) -> None:
        """The operator revokes a device; from the acknowledgement on, a stopwatch runs for each worker."""
        device = self._some(self.said.current)
        if device is not None:
            self.revoked(device)

    def revoked(self, device: Paired) -> asyncio.Task[None]:
        """Revoke a device, and see it refused by every worker."""
        self.said.being_revoked(device)
        return self.keep(device, self._revoked(device))

    async def _revoked(self, device: Paired) -> None:
        answer = await self.service.operate("DELETE", f"/pair/devices/{device.id}")
        if answer.status == 204 or (answer.lost and answer.status == 404):
            self.said.revoked(device)
            others = [worker for worker in self.service.workers if worker.name != answer.worker]
            await asyncio.gather(*(self._shut_out(device, worker, answer.got) for worker in others))
        else:
            self.said.refused(f"revoking {device.id}", answer)

    async def listen(self) -> None:
        """A device opens a connection and keeps it."""
        device = self._some(self.said.current)
        if device is not None and len(self._open) < MOST_OPEN:
            opened = self.service.chance.choice([self.websocket, self.stream])
            self.keep(device, opened(device, self.service.any()))

    async def websocket(self, device: Paired, worker: Worker) -> None:
        """It is closed with 4001 when the device is revoked, and by nothing else."""
        lives = worker.lives
        with suppress(*NOT_ACCEPTED):
            async with _connected(device, worker) as socket:
                await socket.wait_closed()
                self._note_end(device, worker, lives, how=f"with {socket.close_code}", wanted=f"with {CLOSED}")

    async def revoked_while_connected(self, device: Paired, worker: Worker) -> None:
        """What is open at a worker is closed, whichever revokes the device."""
        async with _connected(device, worker) as socket:
            revocation = self.revoked(device)
            await socket.wait_closed()
            self._note_end(device, worker, worker.lives, how=f"with {socket.close_code}", wanted=f"with {CLOSED}")
            await revocation

    async def stream(self, device: Paired, worker: Worker) -> None:
        """It is broken off when the device is revoked, and by nothing else."""
        lives = worker.lives
        with suppress(*BROKEN):
            async with worker.client.stream("/sensors/stream", device.token) as (status, content):
                if status != 200:
                    return
                with suppress(*BROKEN):
                    while await content.read(CHUNK):
                        pass
                self._note_end(device, worker, lives, how="broken off", wanted="broken off")

    async def end(self) -> None:
        """See everybody out who was revoked; hang up for the others."""
        leaving = [task for task, device in self._open.items() if not device.given_up and device.revoking]
        for task in self._open.keys() - leaving:
            task.cancel()
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=LINGER)
            self.said.flaws += [f"what {self._open[task].id} has open is not closed" for task in late]

    # Steps

    def _some(self, devices: list[Paired]) -> Paired | None:
        return self.service.chance.choice(devices[-RECENT:]) if devices else None

    async def _refreshed(self, device: Paired) -> tuple[Answer, float]:
        """The final answer, unless none came in time; and for how long the first try was without one."""
        form = {"grant_type": "refresh_token", "refresh_token": device.refresh_token}
        form |= {"client_id": device.client_id} if device.client_id else {}
        answer = await self.service.ask(self.service.any(), "POST", "/pair/token", form=form)
        since, lost = answer.sent, False
        while not answer.is_final and answer.got < since + REPLAY_WITHIN:
            await asyncio.sleep(TRY_AGAIN)
            answer, lost = await self.service.ask(self.service.any(), "POST", "/pair/token", form=form), True
        return replace(answer, lost=lost), answer.got - since

    async def _shut_out(self, device: Paired, worker: Worker, since: float) -> None:
        """Ask until the worker knows of it; how long it took until the device was not let in any more is a figure."""
        refused = 0.0
        async with asyncio.timeout(NEVER):
            while (answer := await self.ask(device, worker)).status != 401:
                refused = 0.0 if answer.status == 204 else refused or answer.got
                await asyncio.sleep(LOOK_AGAIN)
        self.refused.append((refused or answer.got) - since)

    def _note_end(self, device: Paired, worker: Worker, lives: int, *, how: str, wanted: str) -> None:
        if worker.lives != lives or (not self.is_calm and how in (f"with {SUSPENDED}", "broken off")):
            return  # a worker that cannot hear of revocations ends whatever is open
        if not device.revoking or how != wanted:
            self.said.flaws.append(
                f"what {device.id} had open at {worker.name} ended {how}, revoked: {device.revoking}"
            )
        else:
            self.closed.append(0.0 if device.revoked_at is None else time.monotonic() - device.revoked_at)

    def keep(self, device: Paired, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Go on with this until it is done, or the scene ends."""
        task = asyncio.create_task(work)
        self._open[task] = device
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        device = self._open.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.said.flaws.append(f"{device.id}: {error!r}")


def _connected(device: Paired, worker: Worker) -> connect:
    uri, headers = f"ws://127.0.0.1:{worker.port}/sensors/live", {"authorization": f"Bearer {device.token}"}
    return connect(uri, additional_headers=headers, proxy=None, open_timeout=NEVER)
