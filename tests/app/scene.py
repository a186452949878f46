"""One of everything that the sub-app knows, and of each call one that works: what the tests of all calls share."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
from starlette.requests import HTTPConnection

from pairlock import Operator, Pairlock, Permissions
from pairlock._core.clients import Client
from pairlock._core.methods import ONE_TIME_CODE, QR
from tests.app.parts import ALICE, APP, OPERATOR_TOKEN, bearer, calls_of
from tests.services.parts import pair

BOB = Operator("bob")
BOBS_TOKEN = "the-other-operator-of-these-tests"
SERVER_SECRET = "the-secret-of-the-sensors"
GRANTED = Permissions(read=("/sensors/**",))
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"


def alice_or_bob(connection: HTTPConnection) -> Operator | None:
    """An operator hook."""
    tokens = {f"Bearer {OPERATOR_TOKEN}": ALICE, f"Bearer {BOBS_TOKEN}": BOB}
    return tokens.get(connection.headers.get("authorization", ""))


class Call(NamedTuple):
    """A call that works as long as who makes it may: `about` names what is in its path, `{...}` in its body too."""

    about: str = ""
    json: dict[str, Any] | None = None
    form: dict[str, str] | None = None


# The first of those who may make each of these calls is in `WHO` of the tests that say who may.
WORKING: dict[tuple[str, str], Call] = {
    ("POST", "/requests"): Call(json={"name": "x"}),
    ("GET", "/requests/{id}"): Call("approved"),
    ("DELETE", "/requests/{id}"): Call("approved"),
    ("POST", "/requests/{id}/pin"): Call("approved", json={"pin": "000000"}),
    ("POST", "/requests/{id}/token"): Call("approved", json={}),
    ("POST", "/redeem"): Call(json={"code": "{code}", "name": "x"}),
    ("GET", "/identity"): Call(),
    ("GET", "/whoami"): Call(),
    ("DELETE", "/whoami"): Call(),
    ("POST", "/device_authorization"): Call(form={"client_id": "tv"}),
    ("POST", "/token"): Call(form={"client_id": "tv", "grant_type": DEVICE_CODE, "device_code": "{device_code}"}),
    ("POST", "/revoke"): Call(form={"client_id": "tv", "token": "{token}"}),
    ("POST", "/introspect"): Call(form={"token": "{token}"}),
    ("GET", "/.well-known/oauth-authorization-server"): Call(),
    ("GET", "/requests"): Call(),
    ("POST", "/requests/lookup"): Call(json={"user_code": "{user_code}"}),
    ("POST", "/requests/{id}/approve"): Call("pending"),
    ("POST", "/requests/{id}/deny"): Call("pending"),
    ("POST", "/codes"): Call(json={"method": "qr"}),
    ("GET", "/codes/{id}"): Call("minted"),
    ("GET", "/codes/{id}.svg"): Call("qr"),
    ("GET", "/codes/{id}.png"): Call("qr"),
    ("DELETE", "/codes/{id}"): Call("minted"),
    ("GET", "/devices"): Call(),
    ("DELETE", "/devices"): Call(),
    ("PATCH", "/devices/{id}"): Call("device", json={"name": "x"}),
    ("DELETE", "/devices/{id}"): Call("device"),
    ("GET", "/window"): Call(),
    ("PUT", "/window"): Call(json={"open": True}),
    ("GET", "/hold"): Call(),
    ("DELETE", "/hold"): Call(),
    ("GET", "/audit"): Call(),
    ("GET", "/health"): Call(),
}
ALL_CALLS = sorted((method, path) for method, path in calls_of(APP) if method != "OPTIONS")


class Scene(NamedTuple):
    """What there is, by its name, and who might call, by theirs."""

    things: Mapping[str, str]
    callers: Mapping[str, Mapping[str, str]]


async def a_scene(pairlock: Pairlock) -> Scene:
    """A request that waits and one that is approved, one by device code, codes of Alice's, and a device."""
    paired = await pair(pairlock)
    pending, approved = await pairlock.pairing.start("Pending"), await pairlock.pairing.start("Approved")
    await pairlock.deciding.approve(approved.request.id)
    tv = Client(id="tv")
    waiting, let_in = await pairlock.device_codes.start(tv), await pairlock.device_codes.start(tv)
    await pairlock.deciding.approve(let_in.request.id)
    minted = await pairlock.codes.mint(GRANTED, method=ONE_TIME_CODE.name, by=ALICE)
    qr = await pairlock.codes.mint(GRANTED, method=QR.name, by=ALICE)
    things = {
        "pending": pending.request.id,
        "approved": approved.request.id,
        "device": paired.device.id,
        "token": pairlock.tokens.access(paired.device)[0],
        "minted": minted.request.id,
        "code": minted.code,
        "qr": qr.request.id,
        "user_code": waiting.user_code,
        "device_code": let_in.device_code,
    }
    callers = {
        "nobody": {},
        "holder": bearer(approved.secret),
        "another holder": bearer(pending.secret),
        "device": bearer(things["token"]),
        "resource server": basic("sensors", SERVER_SECRET),
        "alice": bearer(OPERATOR_TOKEN),
        "bob": bearer(BOBS_TOKEN),
        "foreign page": {**bearer(OPERATOR_TOKEN), "Sec-Fetch-Site": "cross-site"},
    }
    return Scene(things, callers)


async def make_call(
    client: httpx.AsyncClient, scene: Scene, call: tuple[str, str], caller: str, **headers: str
) -> httpx.Response:
    """Make that call in that scene."""
    method, path = call
    working = WORKING[call]
    return await client.request(
        method,
        path.replace("{id}", scene.things[working.about] if working.about else ""),
        json=_filled(working.json, scene),
        data=_filled(working.form, scene),
        headers={**scene.callers[caller], **headers},
    )


def basic(client_id: str, secret: str = "") -> dict[str, str]:
    """The Authorization header of HTTP Basic."""
    return {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}


def _filled(body: dict[str, Any] | None, scene: Scene) -> dict[str, Any] | None:
    if body is None:
        return None
    return {name: value.format_map(scene.things) if isinstance(value, str) else value for name, value in body.items()}
