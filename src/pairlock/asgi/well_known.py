"""The documents at the root of a host by which generic clients find the pairing service (RFC 8414, RFC 9728)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from pairlock._core.oauth import resource_metadata, server_metadata
from pairlock.asgi.answers import answer, refusal
from pairlock.asgi.callers import Callers, as_path, path_as_asked
from pairlock.asgi.calls import CORS
from pairlock.errors import InvalidRequest, NotFound, WireError
from pairlock.settings import Settings

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"
METHODS = ["GET", "OPTIONS"]


class WellKnown:
    """Serves the metadata of the pairing sub-app that is mounted at `at`, and of what it guards."""

    def __init__(self, settings: Settings, callers: Callers, at: str) -> None:
        self._settings = settings
        self._callers = callers
        self._at = at
        self._issued = None if settings.issuer is None else urlsplit(settings.issuer).path

    def routes(self) -> list[Route]:
        """For the host's own routing table, at its root."""
        return [
            Route(
                SERVER + ("{outer:path}" + self._at if self._issued is None else self._issued),
                self.server,
                methods=METHODS,
            ),
            Route(RESOURCE, self.resource, methods=METHODS),
            Route(RESOURCE + "/{path:path}", self.resource, methods=METHODS),
        ]

    def is_document(self, scope: Scope) -> bool:
        """Whether one of these is asked for."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return self._is_server(scope) or path == RESOURCE or path.startswith(RESOURCE + "/")

    async def server(self, request: Request) -> Response:
        """RFC 8414 §3: the issuer is the one whose address the client put the well-known part into."""
        if not self._is_server(request.scope):
            return refusal(NotFound())
        return self._said(request, lambda: server_metadata(self._issuer(request.scope)))

    async def resource(self, request: Request) -> Response:
        """RFC 9728 §3: the resource is the one whose address the client put the well-known part into."""
        outer, _, inner = path_as_asked(request.scope).partition(RESOURCE)
        path = "" if inner == "/" else inner

        def document() -> dict[str, Any]:
            # Below a prefix, proxies pass on what stands at the root of the host, or only what stands below it.
            resource = self._callers.host_url(request.scope) + (
                path if f"{path}/".startswith(f"{outer}/") else outer + path
            )
            return resource_metadata(resource, self._issuer(request.scope), self._settings.server_name)

        return self._said(request, document)

    def metadata_of(self, scope: Scope) -> str | None:
        """Where the metadata of a guarded app stands, for its challenge; None where the caller's Host is malformed."""
        try:
            return self._callers.host_url(scope) + RESOURCE + as_path(scope.get("root_path", ""))
        except InvalidRequest:
            return None

    def _is_server(self, scope: Scope) -> bool:
        outer = scope.get("root_path", "")
        path = scope["path"].removeprefix(outer)
        if self._issued is not None:
            return bool(path == SERVER + self._issued)
        return path in (SERVER + self._at, SERVER + outer + self._at)

    def _issuer(self, scope: Scope) -> str:
        outer = scope.get("root_path", "")
        return self._settings.issuer or self._callers.host_url(scope) + as_path(outer + self._at)

    def _said(self, request: Request, document: Callable[[], dict[str, Any]]) -> Response:
        if request.method == "OPTIONS":
            return answer(None, 204, CORS)
        try:
            return answer(document(), headers=CORS)
        except WireError as error:
            return refusal(error, bearer=False)
