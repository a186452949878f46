"""Endpoints of OAuth: device authorization, token, revocation and introspection (RFC 8628, 6749, 7009, 7662)."""

from starlette.requests import Request
from starlette.responses import Response

from pairlock._core.clients import Client
from pairlock._core.oauth import (
    DEVICE_CODE_GRANT,
    INACTIVE,
    REFRESH_GRANT,
    Form,
    challenge_of,
    credentials,
    device_authorization_answer,
    introspection_answer,
    parse_scope,
    required,
    server_metadata,
)
from pairlock.asgi.answers import answer, token_response
from pairlock.asgi.callers import Callers
from pairlock.asgi.forms import read_form
from pairlock.errors import InvalidClient, UnsupportedGrantType
from pairlock.services.authenticating import Authenticating
from pairlock.services.device_codes import DeviceCodes
from pairlock.services.runtime import Runtime
from pairlock.services.tokens import Redeemed, Tokens

VERIFICATION_PAGE = "/device"


class OAuthSide:
    """What OAuth clients and resource servers may call."""

    def __init__(
        self,
        runtime: Runtime,
        authenticating: Authenticating,
        device_codes: DeviceCodes,
        tokens: Tokens,
        callers: Callers,
    ) -> None:
        self.runtime = runtime
        self.authenticating = authenticating
        self.device_codes = device_codes
        self.tokens = tokens
        self.callers = callers

    async def authorize(self, request: Request) -> Response:
        form = await read_form(request, or_query=True)
        client = await self._client(request, form)
        page = self.runtime.settings.verification_uri or self.callers.mount_url(request) + VERIFICATION_PAGE
        started = await self.device_codes.start(
            client,
            name=form.get("name", ""),
            permissions=parse_scope(form["scope"]) if "scope" in form else None,
            challenge=challenge_of(form),
            origin=self.callers.origin(request, form.get("hint", "")),
        )
        now = self.runtime.clock()
        return answer(
            device_authorization_answer(
                started.request, started.device_code, started.user_code, verification_uri=page, now=now
            )
        )

    async def token(self, request: Request) -> Response:
        form = await read_form(request)
        grants = {DEVICE_CODE_GRANT: self._by_device_code, REFRESH_GRANT: self._by_refresh_token}
        grant = grants.get(required(form, "grant_type"))
        if grant is None:
            raise UnsupportedGrantType
        return token_response(await grant(request, form), self.tokens, self.runtime.server)

    async def revoke(self, request: Request) -> Response:
        form = await read_form(request)
        client_id = await self._named_client(request, form)
        origin = self.callers.origin(request)
        await self.tokens.revoke(required(form, "token"), client_id=client_id, origin=origin)
        return answer({})

    async def introspect(self, request: Request) -> Response:
        form = await read_form(request)
        authorization = request.headers.get("authorization")
        if authorization is None and "client_id" not in form:
            raise InvalidClient
        await self.authenticating.resource_server(credentials(form, authorization), self.callers.origin(request))
        found = await self.tokens.introspect(required(form, "token"))
        if found is None:
            return answer(INACTIVE)
        claims, permissions, device = found
        return answer(introspection_answer(claims, permissions, device.client_id, self.callers.mount_url(request)))

    async def metadata(self, request: Request) -> Response:
        return answer(server_metadata(self.callers.mount_url(request)))

    async def _by_device_code(self, request: Request, form: Form) -> Redeemed:
        client, code = await self._client(request, form), required(form, "device_code")
        verifier, pin = form.get("code_verifier", ""), form.get("confirmation_pin")
        return await self.device_codes.redeem(code, client, verifier=verifier, confirmation_pin=pin)

    async def _by_refresh_token(self, request: Request, form: Form) -> Redeemed:
        client_id, wanted = await self._named_client(request, form), None
        if "scope" in form:
            wanted = parse_scope(form["scope"])
        token, origin = required(form, "refresh_token"), self.callers.origin(request)
        return await self.tokens.refresh(token, client_id=client_id, wanted=wanted, origin=origin)

    async def _client(self, request: Request, form: Form) -> Client:
        offered = credentials(form, request.headers.get("authorization"))
        return await self.authenticating.client(offered, self.callers.origin(request))

    async def _named_client(self, request: Request, form: Form) -> str:
        """The client that calls; empty where none says to be one, as devices that paired without OAuth."""
        named = "client_id" in form or "authorization" in request.headers
        return (await self._client(request, form)).id if named else ""
