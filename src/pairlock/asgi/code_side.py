"""Endpoints for codes: operators mint, watch, draw and withdraw them; whoever was given one redeems it."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.methods import QR, grouped
from pairlock._core.permissions import Permissions
from pairlock._core.wire import MintBody, RedeemBody, code_answer, unknown_code_answer
from pairlock.asgi.answers import NO_STORE, answer, token_response
from pairlock.asgi.bodies import decode
from pairlock.asgi.callers import Callers
from pairlock.asgi.calls import OperatorHook, require_operator
from pairlock.services.codes import Codes, Minted, uri_of
from pairlock.services.pictures import Picture
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Tokens


class CodeSide:
    """What operators and devices may call about codes."""

    def __init__(
        self, runtime: Runtime, codes: Codes, tokens: Tokens, callers: Callers, hook: OperatorHook | None
    ) -> None:
        self.runtime = runtime
        self.codes = codes
        self.tokens = tokens
        self.callers = callers
        self.hook = hook

    async def mint(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, MintBody, optional=True)
        permissions = self.runtime.settings.default_permissions
        if body.permissions is not None:
            permissions = Permissions.parse(body.permissions)
        address = self.callers.mount_url(request) if body.method == QR.name else ""
        minted = await self.codes.mint(
            permissions, method=body.method, expires_in=body.expires_in, hint=body.hint, by=operator
        )
        return answer(self._shown(minted, address), 201)

    async def watch(self, request: Request) -> Response:
        operator, code_id = await require_operator(request, self.hook), request.path_params["id"]
        found = await self.codes.watch(code_id, by=operator)
        return answer(unknown_code_answer(code_id) if found is None else code_answer(found, self.runtime.clock()))

    async def withdraw(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        await self.codes.withdraw(request.path_params["id"], by=operator)
        return answer(None, 204)

    async def svg(self, request: Request) -> Response:
        drawn = await asyncio.to_thread((await self._picture(request)).svg)
        return Response(drawn, headers=NO_STORE, media_type="image/svg+xml")

    async def png(self, request: Request) -> Response:
        drawn = await asyncio.to_thread((await self._picture(request)).png)
        return Response(drawn, headers=NO_STORE, media_type="image/png")

    async def redeem(self, request: Request) -> Response:
        body = await decode(request, RedeemBody)
        origin = self.callers.origin(request, body.hint)
        redeemed = await self.codes.redeem(body.code, body.name, secret=body.secret, origin=origin)
        return token_response(redeemed, self.tokens, self.runtime.server)

    async def _picture(self, request: Request) -> Picture:
        operator = await require_operator(request, self.hook)
        address = self.callers.mount_url(request)
        return await self.codes.picture(request.path_params["id"], address=address, by=operator)

    def _shown(self, minted: Minted, address: str) -> dict[str, object]:
        now = self.runtime.clock()
        if minted.request.method == QR.name:
            return code_answer(minted.request, now, uri=uri_of(address, minted.code))
        return code_answer(minted.request, now, code=grouped(minted.code))
