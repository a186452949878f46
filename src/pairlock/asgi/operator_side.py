"""Endpoints for operators: decide about requests; list, change and revoke devices."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.operators import Operator
from pairlock._core.permissions import Permissions
from pairlock._core.records import PairingRequest, Record
from pairlock._core.sources import nearness
from pairlock._core.wire import ApproveBody, DenyBody, DeviceBody, UserCodeBody, device_answer, pending_answer
from pairlock.asgi.answers import answer
from pairlock.asgi.bodies import decode
from pairlock.asgi.callers import Callers
from pairlock.asgi.calls import OperatorHook, page_limit, require_operator
from pairlock.errors import InvalidRequest
from pairlock.services.deciding import Deciding
from pairlock.services.devices import Devices
from pairlock.services.runtime import Runtime


class OperatorSide:
    """What an operator may call; who that is, the host's own authentication says."""

    def __init__(
        self, runtime: Runtime, deciding: Deciding, devices: Devices, callers: Callers, hook: OperatorHook | None
    ) -> None:
        self.runtime = runtime
        self.deciding = deciding
        self.devices = devices
        self.callers = callers
        self.hook = hook

    async def requests(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        before, limit = request.query_params.get("before"), page_limit(request)
        pending = await self.deciding.pending(before=before, limit=limit)
        return answer(
            {"requests": [self._shown(request, each, operator) for each in pending], "next": _next(pending, limit)}
        )

    async def look_up(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, UserCodeBody)
        found = await self.deciding.look_up(body.user_code, by=operator, origin=self.callers.origin(request))
        return answer(self._shown(request, found, operator))

    async def approve(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, ApproveBody, optional=True)
        granted = None if body.permissions is None else Permissions.parse(body.permissions)
        approved = await self.deciding.approve(
            request.path_params["id"],
            permissions=granted,
            message=body.message,
            by=operator,
            origin=self.callers.origin(request),
        )
        return answer(self._shown(request, approved, operator))

    async def deny(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, DenyBody, optional=True)
        denied = await self.deciding.deny(request.path_params["id"], reason=body.reason, by=operator)
        return answer(self._shown(request, denied, operator))

    async def list(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        asked, limit = request.query_params, page_limit(request)
        if "name" not in asked:
            devices = await self.devices.list(before=asked.get("before"), limit=limit)
            following = _next(devices, limit)
        elif "before" in asked:
            raise InvalidRequest(detail="a search by name goes on with after=, not before=")
        else:
            devices = await self.devices.search(asked["name"], after=_key(asked.get("after")), limit=limit)
            following = _place(devices[-1].name_key) if len(devices) == limit else None
        return answer({"devices": [device_answer(device) for device in devices], "next": following})

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

    def _shown(self, request: Request, shown: PairingRequest, operator: Operator) -> dict[str, object]:
        return pending_answer(
            shown,
            default=self.runtime.settings.default_permissions,
            network=nearness(shown.origin.address, self.callers.address(request)),
            now=self.runtime.clock(),
            pin=self.deciding.pin(shown, operator),
            confirmation_pin=self.deciding.confirmation_pin(shown),
        )


def _next(page: Sequence[Record], limit: int) -> str | None:
    """Where the next page starts; None after the last."""
    return page[-1].id if len(page) == limit else None


def _place(key: str) -> str:
    """Where a page of a search goes on, as it stands in an address."""
    return urlsafe_b64encode(key.encode()).decode()


def _key(place: str | None) -> str | None:
    """What that was made from. Raises InvalidRequest."""
    try:
        return None if place is None else urlsafe_b64decode(place).decode()
    except ValueError as error:
        raise InvalidRequest(detail="after must be the `next` of the page before") from error
