"""Each call and each kind of caller: who may, and what all others are told. A new call needs its row here."""

from collections.abc import AsyncIterator

import httpx
import pytest

from pairlock import Pairlock
from pairlock.errors import wire_errors
from tests.app.parts import client_of
from tests.app.scene import ALL_CALLS, SERVER_SECRET, WORKING, a_scene, alice_or_bob, make_call
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

OK = "ok"
NOT_FROM_A_PAGE = {"foreign page": "cross_site"}
BEARERS = ("holder", "another holder", "device", "alice", "bob")
ANYBODY = dict.fromkeys(("nobody", *BEARERS, "resource server"), OK) | NOT_FROM_A_PAGE
FOR_PAGES_TOO = ANYBODY | {"foreign page": OK}
HOLDER = (
    dict.fromkeys(BEARERS, "invalid_token")
    | {"nobody": "missing_token", "resource server": "missing_token", "holder": OK}
    | NOT_FROM_A_PAGE
)
DEVICE = HOLDER | {"holder": "invalid_token", "device": OK}
OPERATOR = dict.fromkeys(ANYBODY, "operator_required") | {"alice": OK, "bob": OK} | NOT_FROM_A_PAGE
MINTER = OPERATOR | {"bob": "not_found"}
# The client's id is in the form: an Authorization header that is no Basic one proves no client.
CLIENT = (
    dict.fromkeys(BEARERS, "invalid_client")
    | {"nobody": OK, "resource server": "invalid_request"}  # two ids that differ
    | NOT_FROM_A_PAGE
)
RESOURCE_SERVER = CLIENT | {"nobody": "invalid_client", "resource server": OK}

WHO: dict[tuple[str, str], dict[str, str]] = {
    ("POST", "/requests"): ANYBODY,
    ("GET", "/requests/{id}"): HOLDER,
    ("DELETE", "/requests/{id}"): HOLDER,
    ("POST", "/requests/{id}/pin"): HOLDER,
    ("POST", "/requests/{id}/token"): HOLDER,
    ("POST", "/redeem"): ANYBODY,
    ("GET", "/identity"): ANYBODY,
    ("GET", "/whoami"): DEVICE,
    ("DELETE", "/whoami"): DEVICE,
    ("POST", "/device_authorization"): CLIENT,
    ("POST", "/token"): CLIENT | {"foreign page": "invalid_client"},  # it may call, but not as an operator
    ("POST", "/revoke"): CLIENT,
    ("POST", "/introspect"): RESOURCE_SERVER,
    ("GET", "/.well-known/oauth-authorization-server"): FOR_PAGES_TOO,
    ("GET", "/requests"): OPERATOR,
    ("POST", "/requests/lookup"): OPERATOR,
    ("POST", "/requests/{id}/approve"): OPERATOR,
    ("POST", "/requests/{id}/deny"): OPERATOR,
    ("POST", "/codes"): OPERATOR,
    ("GET", "/codes/{id}"): OPERATOR,  # another's code looks like one that has expired
    ("GET", "/codes/{id}.svg"): MINTER,
    ("GET", "/codes/{id}.png"): MINTER,
    ("DELETE", "/codes/{id}"): MINTER,
    ("GET", "/devices"): OPERATOR,
    ("DELETE", "/devices"): OPERATOR,
    ("PATCH", "/devices/{id}"): OPERATOR,
    ("DELETE", "/devices/{id}"): OPERATOR,
    ("GET", "/window"): OPERATOR,
    ("PUT", "/window"): OPERATOR,
    ("GET", "/hold"): OPERATOR,
    ("DELETE", "/hold"): OPERATOR,
    ("GET", "/audit"): OPERATOR,
    ("GET", "/health"): ANYBODY,
}


@pytest.fixture
def pairlock(make: Make) -> Pairlock:
    return make(store="memory://", operator=alice_or_bob, resource_servers={"sensors": SERVER_SECRET})


@pytest.fixture
async def client(pairlock: Pairlock) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(pairlock.app) as client:
        yield client


def test_every_call_is_in_the_table() -> None:
    assert sorted(WHO) == sorted(WORKING) == ALL_CALLS
    assert {frozenset(row) for row in WHO.values()} == {frozenset(ANYBODY)}


@pytest.mark.parametrize("call", ALL_CALLS)
async def test_who_may_call_is_answered_and_nobody_else(
    client: httpx.AsyncClient, pairlock: Pairlock, call: tuple[str, str]
) -> None:
    scene = await a_scene(pairlock)
    before = await pairlock.audit.list()
    for caller, told in WHO[call].items():
        if told != OK:
            answer = await make_call(client, scene, call, caller)
            assert (caller, answer.status_code, answer.json()["error"]) == (caller, wire_errors()[told].status, told)
            assert answer.headers["cache-control"] == "no-store"
    assert await pairlock.audit.list() == before
    for caller, told in WHO[call].items():
        if told == OK:
            answer = await make_call(client, await a_scene(pairlock), call, caller)
            assert (caller, answer.status_code) in [(caller, 200), (caller, 201), (caller, 204)]
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("call", [call for call, row in WHO.items() if row["alice"] == OK != row["device"]])
async def test_no_paired_device_and_no_stranger_is_told_whether_what_an_operator_asks_about_is_there(
    client: httpx.AsyncClient, pairlock: Pairlock, call: tuple[str, str]
) -> None:
    scene = await a_scene(pairlock)
    elsewhere = scene._replace(things=dict.fromkeys(scene.things, "0" * 26))
    for caller in ("nobody", "holder", "device"):
        here = await make_call(client, scene, call, caller)
        there = await make_call(client, elsewhere, call, caller)
        assert (here.status_code, here.content, here.headers) == (there.status_code, there.content, there.headers)
