"""Endpoints for devices: ask, prove, wait, redeem, cancel; and who am I."""

import re

from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.permissions import Permissions
from pairlock._core.polls import INTERVAL
from pairlock._core.wire import (
    NoBody,
    PinBody,
    StartBody,
    device_answer,
    started_answer,
    state_answer,
)
from pairlock.asgi.answers import answer, token_response
from pairlock.asgi.bodies import decode
from pairlock.asgi.callers import Callers
from pairlock.asgi.calls import request_secret
from pairlock.asgi.credentials import credentials
from pairlock.services.deciding import Deciding
from pairlock.services.devices import Devices
from pairlock.services.identifying import Identifying
from pairlock.services.pairing import Pairing
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Tokens
from pairlock.services.verifier import Verifier

LONGEST_WAIT = 30  # seconds


class DeviceSide:
    """What a device may call; every call proves itself by a secret of its own."""

    def __init__(
        self,
        runtime: Runtime,
        pairing: Pairing,
        deciding: Deciding,
        tokens: Tokens,
        devices: Devices,
        verifier: Verifier,
        callers: Callers,
    ) -> None:
        self.runtime = runtime
        self.pairing = pairing
        self.deciding = deciding
        self.tokens = tokens
        self.devices = devices
        self.verifier = verifier
        self.callers = callers
        self.identifying = Identifying(runtime)

    async def start(self, request: Request) -> Response:
        body = await decode(request, StartBody)
        wanted = None if body.permissions is None else Permissions.parse(body.permissions)
        origin = self.callers.origin(request, body.hint)
        started = await self.pairing.start(body.name, permissions=wanted, origin=origin)
        told = started_answer(
            started.request,
            started.secret,
            interval=INTERVAL,
            pin_length=self.runtime.settings.pin_length,
            shown=await self.deciding.is_shown(started.request),
            now=self.runtime.clock(),
        )
        return answer(told, 201)

    async def submit_pin(self, request: Request) -> Response:
        secret, body = request_secret(request), await decode(request, PinBody)
        origin = self.callers.origin(request)
        redeemed = await self.pairing.submit_pin(request.path_params["id"], secret, body.pin, origin=origin)
        return token_response(redeemed, self.tokens, self.runtime.server)

    async def poll(self, request: Request) -> Response:
        seconds = _preferred_wait(request)
        found = await self.pairing.wait(request.path_params["id"], request_secret(request), seconds)
        applied = {"preference-applied": f"wait={seconds}"} if seconds else {}
        return answer(state_answer(found, self.runtime.clock()), headers=applied)

    async def redeem(self, request: Request) -> Response:
        secret, _ = request_secret(request), await decode(request, NoBody, optional=True)
        redeemed = await self.pairing.redeem(request.path_params["id"], secret)
        return token_response(redeemed, self.tokens, self.runtime.server)

    async def cancel(self, request: Request) -> Response:
        await self.pairing.cancel(request.path_params["id"], request_secret(request))
        return answer(None, 204)

    async def identity(self, request: Request) -> Response:
        await self.runtime.ready()
        told: dict[str, object] = {"server": self.runtime.server}
        if "device_id" in request.query_params:
            device_id, nonce = request.query_params["device_id"], request.query_params.get("nonce", "")
            told["proof"] = await self.identifying.prove(device_id, nonce)
        return answer(told)

    async def whoami(self, request: Request) -> Response:
        grant = await self.verifier.admit(credentials(request.scope))
        device = await self.devices.find(grant.device_id)
        return answer({"device": device_answer(device), "server": self.runtime.server})

    async def unpair(self, request: Request) -> Response:
        grant = await self.verifier.admit(credentials(request.scope))
        await self.devices.revoke(grant.device_id, by=f"device:{grant.device_id}")
        return answer(None, 204)


def _preferred_wait(request: Request) -> int:
    """For how many seconds the caller would wait for a change (RFC 7240 §4.3)."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,4})\b", request.headers.get("prefer", ""), re.IGNORECASE)
    return min(int(found[1]), LONGEST_WAIT) if found else 0
