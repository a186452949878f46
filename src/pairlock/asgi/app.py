"""The pairing sub-app: which address takes which call."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pairlock.asgi.answers import answer, refusal, wire_error
from pairlock.asgi.calls import CORS, SameSite
from pairlock.asgi.code_side import CodeSide
from pairlock.asgi.device_side import DeviceSide
from pairlock.asgi.oauth_side import OAuthSide
from pairlock.asgi.operator_side import OperatorSide
from pairlock.asgi.service_side import ServiceSide
from pairlock.asgi.well_known import SERVER
from pairlock.errors import MethodNotAllowed, NotFound, OperatorRequired, PairlockError, ServerError, WireError

Endpoint = Callable[[Request], Awaitable[Response]]
Lifespan = Callable[[object], AbstractAsyncContextManager[None]]

HTTP_ERRORS: dict[int, type[WireError]] = {404: NotFound, 405: MethodNotAllowed}
SHARED = ("/token", SERVER)  # what pages of any site may call


def pairing_app(
    device: DeviceSide,
    oauth: OAuthSide,
    code: CodeSide,
    operator: OperatorSide,
    service: ServiceSide,
    lifespan: Lifespan,
) -> Starlette:
    """The mountable sub-app."""
    app = Starlette(
        routes=[
            _route("/requests", POST=device.start, GET=operator.requests),
            _route("/requests/lookup", POST=operator.look_up),
            _route("/requests/{id}", GET=device.poll, DELETE=device.cancel),
            _route("/requests/{id}/pin", POST=device.submit_pin),
            _route("/requests/{id}/token", POST=device.redeem),
            _route("/requests/{id}/approve", POST=operator.approve),
            _route("/requests/{id}/deny", POST=operator.deny),
            _route("/redeem", POST=code.redeem),
            _route("/codes", POST=code.mint),
            _route("/codes/{id}.svg", GET=code.svg),
            _route("/codes/{id}.png", GET=code.png),
            _route("/codes/{id}", GET=code.watch, DELETE=code.withdraw),
            _oauth_route("/device_authorization", POST=oauth.authorize),
            _oauth_route("/token", POST=oauth.token),
            _oauth_route("/revoke", POST=oauth.revoke),
            _oauth_route("/introspect", POST=oauth.introspect),
            _oauth_route(SERVER, GET=oauth.metadata),
            _route("/identity", GET=device.identity),
            _route("/whoami", GET=device.whoami, DELETE=device.unpair),
            _route("/devices", GET=operator.list, DELETE=operator.revoke_all),
            _route("/devices/{id}", PATCH=operator.change, DELETE=operator.revoke),
            _route("/window", GET=service.window, PUT=service.set_window),
            _route("/hold", GET=service.hold, DELETE=service.reopen),
            _route("/audit", GET=service.events),
            _route("/health", GET=service.health),
        ],
        middleware=[Middleware(SameSite, shared=SHARED)],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # one address a call: a redirected POST may lose its body or its secret
    return app


def documents_app(documents: list[Route]) -> Starlette:
    """The documents at the root of a host, with errors as the sub-app has them."""
    app = Starlette(routes=documents, exception_handlers=HANDLERS)
    app.router.redirect_slashes = False
    return app


def _route(path: str, **endpoints: Endpoint) -> Route:
    async def call(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, call, methods=list(endpoints))


def _oauth_route(path: str, **endpoints: Endpoint) -> Route:
    """A call by OAuth's rules: a Bearer token is never the matter; what any page may call answers preflights."""
    route = _route(path, **endpoints)
    shared = CORS if path in SHARED else {}

    async def call(request: Request) -> Response:
        if request.method == "OPTIONS":
            return answer(None, 204, CORS)
        try:
            response: Response = await route.endpoint(request)
        except PairlockError as error:
            response = refusal(wire_error(error), bearer=False)
        response.headers.update(shared)
        return response

    return Route(path, call, methods=[*endpoints, *(["OPTIONS"] if shared else [])])


async def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, PairlockError)  # noqa: S101  # Starlette hands over what was registered
    return refusal(wire_error(error))


async def _http_error(request: Request, error: Exception) -> Response:
    """No such call; or the host's own authentication turns somebody away in its own way."""
    assert isinstance(error, HTTPException)  # noqa: S101  # as above
    response = refusal(HTTP_ERRORS.get(error.status_code, OperatorRequired)())
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(ServerError())


HANDLERS = {PairlockError: _said, HTTPException: _http_error, Exception: _failed}
