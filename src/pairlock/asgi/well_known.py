"""The documents at the root of a host by which generic clients find the pairing service (RFC 8414, RFC 9728)."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from pairlock._core.oauth import resource_metadata, server_metadata
from pairlock.asgi.answers import answer, refusal
from pairlock.asgi.callers import Callers
from pairlock.asgi.calls import CORS
from pairlock.errors import InvalidRequest, WireError
from pairlock.settings import Settings

SERVER = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource"


class WellKnown:
    """Serves the metadata of the pairing sub-app that is mounted at `at`, and of what it guards."""

    def __init__(self, settings: Settings, callers: Callers, at: str) -> None:
        self._settings = settings
        self._callers = callers
        self._at = at
        self.server_path = SERVER + (at if settings.issuer is None else urlsplit(settings.issuer).path)

    def routes(self) -> list[Route]:
        """For the host's own routing table, at its root."""
        return [
            Route(self.server_path, self.server),
            Route(RESOURCE, self.resource),
            Route(RESOURCE + "/{path:path}", self.resource),
        ]

    async def server(self, request: Request) -> Response:
        """RFC 8414 §3: the issuer is the one whose address the client put the well-known part into."""
        return self._said(lambda: server_metadata(self._issuer(request.scope)))

    async def resource(self, request: Request) -> Response:
        """RFC 9728 §3: the resource is the one whose address the client put the well-known part into."""
        path = request.path_params.get("path", "")

        def document() -> dict[str, Any]:
            resource = self._callers.host_url(request.scope) + (f"/{quote(path)}" if path else "")
            return resource_metadata(resource, self._issuer(request.scope), self._settings.server_name)

        return self._said(document)

    def metadata_of(self, scope: Scope) -> str | None:
        """Where the metadata of a guarded app stands, for its challenge; None where the caller's Host is malformed."""
        try:
            return self._callers.host_url(scope) + RESOURCE + quote(scope.get("root_path", ""))
        except InvalidRequest:
            return None

    def _issuer(self, scope: Scope) -> str:
        outer = scope.get("root_path", "")
        return self._settings.issuer or f"{self._callers.host_url(scope)}{quote(outer)}{self._at}"

    def _said(self, document: Callable[[], dict[str, Any]]) -> Response:
        try:
            return answer(document(), headers=CORS)
        except WireError as error:
            return refusal(error, bearer=False)
