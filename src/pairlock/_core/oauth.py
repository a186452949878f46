"""OAuth's words: what its forms ask for, and what it is told (RFC 6749, 7009, 7636, 7662, 8414, 8628, 9728)."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from pairlock._core.clients import Credentials, is_client_id
from pairlock._core.codes import encode_secret, is_same
from pairlock._core.methods import grouped
from pairlock._core.permissions import Permissions
from pairlock._core.records import PairingRequest
from pairlock._core.requests import seconds_left
from pairlock._core.tokens import Claims
from pairlock.errors import InvalidClient, InvalidPermissions, InvalidRequest

DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH_GRANT = "refresh_token"

Form = Mapping[str, str]
Answer = dict[str, Any]

# What a scope may hold (RFC 6749 §3.3) besides letters and digits; the rest is percent-encoded.
_PLAIN = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def required(form: Form, name: str) -> str:
    """A parameter of a form. Raises InvalidRequest when it is missing or empty (RFC 6749 §3.1)."""
    if not form.get(name):
        raise InvalidRequest(detail=f"the parameter {name} is missing")
    return form[name]


def scope_text(permissions: Permissions) -> str:
    """Permissions as a scope: `read:/sensors/** write:/control/lamp`."""
    return " ".join(quote(scope, safe=_PLAIN) for scope in permissions.scopes())


def parse_scope(text: str) -> Permissions:
    """The permissions that a scope asks for. Raises InvalidPermissions."""
    lists: dict[str, list[str]] = {}
    for scope in text.split():
        action, _, pattern = scope.partition(":")
        if action not in ("read", "write"):
            raise InvalidPermissions(detail="write a scope such as read:/sensors/** write:/control/lamp")
        lists.setdefault(action, []).append(unquote(pattern, errors="replace"))
    return Permissions.parse(lists)


def credentials(form: Form, authorization: str | None) -> Credentials:
    """Which client calls, by the form or by HTTP Basic. Raises InvalidRequest, InvalidClient (RFC 6749 §2.3.1)."""
    basic = None if authorization is None else _basic(authorization)
    posted = form.get("client_id")
    if basic is None:
        return Credentials(_client_id(required(form, "client_id")), form.get("client_secret", ""))
    if posted not in (None, basic.client_id):
        raise InvalidRequest(detail="client_id is not the one of the Authorization header")
    if form.get("client_secret"):
        raise InvalidRequest(detail="send the client's secret once: in the Authorization header, or in the form")
    return basic


def challenge_of(form: Form) -> str:
    """The PKCE challenge of a device request; empty without one (RFC 7636 §4.3). Raises InvalidRequest."""
    challenge = form.get("code_challenge", "")
    if not challenge and "code_challenge_method" not in form:
        return ""
    if form.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise InvalidRequest(detail="send code_challenge with code_challenge_method=S256")
    return challenge


def proves(verifier: str, challenge: str) -> bool:
    """Whether a verifier is that of the challenge; without one there must be none (RFC 7636 §4.6)."""
    if not challenge or not verifier:
        return challenge == verifier
    digest = hashlib.sha256(verifier.encode(errors="replace")).digest()
    return _VERIFIER.fullmatch(verifier) is not None and is_same(encode_secret(digest), challenge)


def device_authorization_answer(
    request: PairingRequest, device_code: str, user_code: str, *, verification_uri: str, now: float
) -> Answer:
    """RFC 8628 §3.2."""
    shown = grouped(user_code)
    return {
        "device_code": device_code,
        "user_code": shown,
        "verification_uri": verification_uri,
        "verification_uri_complete": f"{verification_uri}?user_code={shown}",
        "expires_in": seconds_left(request, now),
        "interval": request.interval,
    }


def introspection_answer(claims: Claims, permissions: Permissions, client_id: str, issuer: str) -> Answer:
    """What a token that counts is good for (RFC 7662 §2.2)."""
    answer: Answer = {
        "active": True,
        "scope": scope_text(permissions),
        "token_type": "Bearer",
        "sub": claims.device_id,
        "username": claims.device_name,
        "iat": claims.issued_at,
        "exp": claims.expires_at,
        "iss": issuer,
    }
    return {**answer, "client_id": client_id} if client_id else answer


INACTIVE: Answer = {"active": False}


def server_metadata(issuer: str) -> Answer:
    """RFC 8414 §2."""
    return {
        "issuer": issuer,
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
        "response_types_supported": [],
        "grant_types_supported": [DEVICE_CODE_GRANT, REFRESH_GRANT],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
    }


def resource_metadata(resource: str, issuer: str, name: str) -> Answer:
    """RFC 9728 §2."""
    return {
        "resource": resource,
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": name,
    }


def _client_id(text: str) -> str:
    if not is_client_id(text):
        raise InvalidRequest(detail="client_id must be visible ASCII, and not that long")
    return text


def _basic(authorization: str) -> Credentials:
    """What an Authorization header of the Basic scheme offers; both parts percent-decoded (RFC 6749 §2.3.1)."""
    scheme, _, encoded = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        raise InvalidClient
    try:
        client_id, colon, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # of base64, or of UTF-8
        raise InvalidClient from None
    if not colon or not is_client_id(unquote(client_id)):
        raise InvalidClient
    return Credentials(unquote(client_id), unquote(secret))
