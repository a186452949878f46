"""`protect`: an app, its guard and the pairing sub-app as one ASGI app."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pairlock.asgi.app import documents_app
from pairlock.asgi.ending import hearing_of_the_end
from pairlock.asgi.well_known import WellKnown
from pairlock.errors import PairlockError
from pairlock.services.introducing import introduce
from pairlock.services.runtime import Runtime

SHUT_DOWN = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class Protected:
    """Serves the pairing sub-app below `at` and everything else through the guard; starts and stops with its host."""

    def __init__(
        self, guarded: ASGIApp, *, app: ASGIApp, pairing: ASGIApp, well_known: WellKnown, at: str, runtime: Runtime
    ) -> None:
        self.guarded = guarded
        self.app = app
        self.pairing = pairing
        self.well_known = documents_app(well_known.routes())
        self.is_document = well_known.is_document
        self.at = at
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        outer = scope.get("root_path", "")
        root = outer + self.at
        if scope["path"] == root or scope["path"].startswith(root + "/"):
            await self.pairing({**scope, "root_path": root}, receive, send)
        elif scope["type"] == "http" and self.is_document(scope):
            await self.well_known(scope, receive, send)
        else:
            await self.guarded(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] in SHUT_DOWN:
                await self.runtime.aclose()
            await send(message)

        try:
            await self.runtime.ready()
            await introduce(self.runtime)
        except PairlockError as error:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            with hearing_of_the_end(self.runtime.part):
                await _live_with(self.app, scope, receive, send_on)
        finally:
            await self.runtime.aclose()


async def _live_with(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """The lifespan of an app; ours alone where it does not know of any, as Django's."""
    heard = False

    async def receive_on() -> Message:
        nonlocal heard
        heard = True
        return await receive()

    try:
        await app(scope, receive_on, send)
    except Exception:
        if heard:
            raise
    if not heard:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
