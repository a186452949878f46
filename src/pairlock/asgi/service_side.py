"""Endpoints about the service as a whole: the pairing window, the PIN method's hold, the audit; its health."""

import re

from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.wire import WindowBody, event_answer, health_answer, window_answer
from pairlock.asgi.answers import answer
from pairlock.asgi.bodies import decode
from pairlock.asgi.calls import OperatorHook, page_limit, require_operator
from pairlock.errors import InvalidRequest
from pairlock.services.audit import Audit
from pairlock.services.health import Checking
from pairlock.services.pin_guesses import PinGuesses
from pairlock.services.runtime import Runtime
from pairlock.services.windows import Windows


class ServiceSide:
    """What an operator may see and switch, and what a load balancer may ask."""

    def __init__(
        self,
        runtime: Runtime,
        windows: Windows,
        guesses: PinGuesses,
        audit: Audit,
        checking: Checking,
        hook: OperatorHook | None,
    ) -> None:
        self.runtime = runtime
        self.windows = windows
        self.guesses = guesses
        self.audit = audit
        self.checking = checking
        self.hook = hook

    async def window(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        return answer(window_answer(await self.windows.status(), self.runtime.clock()))

    async def set_window(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        body = await decode(request, WindowBody)
        if body.open:
            window = await self.windows.open(body.expires_in, by=operator.actor)
        else:
            window = await self.windows.close(by=operator.actor)
        return answer(window_answer(window, self.runtime.clock()))

    async def hold(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        return answer({"held": await self.guesses.is_held()})

    async def reopen(self, request: Request) -> Response:
        operator = await require_operator(request, self.hook)
        await self.guesses.reopen(by=operator.actor)
        return answer({"held": False})

    async def events(self, request: Request) -> Response:
        await require_operator(request, self.hook)
        limit, before = page_limit(request), request.query_params.get("before")
        if before is not None and not re.fullmatch("[0-9]{1,18}", before):
            raise InvalidRequest(detail="before must be the seq of an event")
        page = await self.audit.list(before=None if before is None else int(before), limit=limit)
        following = page[-1].seq if len(page) == limit else None
        return answer({"events": [event_answer(event) for event in page], "next": following})

    async def health(self, request: Request) -> Response:
        health = await self.checking.check()
        retry = {} if health.ok else {"retry-after": "1"}
        return answer(
            health_answer(health.ok, store=health.store, schema=health.schema, feed=health.feed),
            200 if health.ok else 503,
            retry,
        )
