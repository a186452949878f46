"""Endpoints for operators: decide about requests; list, change and revoke devices."""

import re
from collections.abc import Sequence

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.permissions import Permissions
from pairlock._core.records import PairingRequest, Record
from pairlock._core.wire import ApproveBody, DenyBody, DeviceBody, device_answer, pending_answer
from pairlock.asgi.answers import answer
from pairlock.asgi.bodies import decode
from pairlock.asgi.calls import OperatorHook, require_operator
from pairlock.errors import InvalidRequest
from pairlock.services.devices import Devices
from pairlock.services.pairing import Pairing
from pairlock.services.runtime import Runtime

PAGE = 100


class OperatorSide:
    """What an operator may call; who that is, the host's own authentication says."""

    def __init__(self, runtime: Runtime, pairing: Pairing, devices: Devices, hook: OperatorHook | None) -> None:
        self.runtime = runtime
        self.pairing = pairing
        self.devices = devices
        self.hook = hook

    async def requests(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        before, limit = _page(request)
        pending = await self.pairing.pending(before=before, limit=limit)
        return answer({"requests": [self._shown(each) for each in pending], "next": _next(pending, limit)})

    async def approve(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, ApproveBody, optional=True)
        granted = None if body.permissions is None else Permissions.parse(body.permissions)
        approved = await self.pairing.approve(
            request.path_params["id"], permissions=granted, message=body.message, by=operator
        )
        return answer(self._shown(approved))

    async def deny(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, DenyBody, optional=True)
        return answer(self._shown(await self.pairing.deny(request.path_params["id"], reason=body.reason, by=operator)))

    async def list(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        before, limit = _page(request)
        devices = await self.devices.list(before=before, limit=limit)
        return answer({"devices": [device_answer(device) for device in devices], "next": _next(devices, limit)})

    async def change(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, DeviceBody)
        if body.name is UNSET and body.permissions is UNSET:
            raise InvalidRequest(detail="give a name, permissions or both")
        device = await self.devices.change(
            request.path_params["id"],
            name=None if body.name is UNSET else body.name,
            permissions=None if body.permissions is UNSET else Permissions.parse(body.permissions),
            by=operator.actor,
        )
        return answer(device_answer(device))

    async def revoke(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        await self.devices.revoke(request.path_params["id"], by=operator.actor)
        return answer(None, 204)

    async def revoke_all(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        return answer({"revoked": await self.devices.revoke_all(by=operator.actor)})

    def _shown(self, request: PairingRequest) -> dict[str, object]:
        default, now = self.runtime.settings.default_permissions, self.runtime.clock()
        return pending_answer(request, self.pairing.pin(request), default, now)


def _page(request: Request) -> tuple[str | None, int]:
    """Where a page of a list starts and how long it is. Raises InvalidRequest."""
    limit = request.query_params.get("limit", str(PAGE))
    if not re.fullmatch("[0-9]{1,3}", limit) or not 1 <= int(limit) <= PAGE:
        raise InvalidRequest(detail=f"limit must be a number from 1 to {PAGE}")
    return request.query_params.get("before"), int(limit)


def _next(page: Sequence[Record], limit: int) -> str | None:
    """Where the next page starts; None after the last."""
    return page[-1].id if len(page) == limit else None
