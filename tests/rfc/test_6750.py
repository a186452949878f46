"""RFC 6750: Bearer tokens, at the guard and at the sub-app's own calls for devices."""

import re
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from pairlock import Pairlock
from tests.guard.parts import Answer, Recorder, ask, pair, scope_of
from tests.rfc.challenges import parse
from tests.services.parts import Make

pytestmark = pytest.mark.anyio

GUARDED, OWN = "/sensors/a", "/pair/whoami"
BOTH = pytest.mark.parametrize("path", [GUARDED, OWN])


async def get(service: ASGIApp, path: str, *tokens: str | bytes, **more: Any) -> Answer:
    """Ask with these Authorization headers."""
    values = [token.encode() if isinstance(token, str) else token for token in tokens]
    headers = [(b"authorization", value) for value in values]
    return await ask(service, scope_of("GET", path, *headers, **more))


# §2.1


@BOTH
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
async def test_6750_2_1_the_scheme_is_taken_in_any_case(
    pairlock: Pairlock, service: ASGIApp, scheme: str, path: str
) -> None:
    phone = await pair(pairlock, read=["/sensors/**"])
    for _ in range(2):
        assert (await get(service, path, f"{scheme} {phone.token}")).status == 200
    assert parse((await get(service, path, f"{scheme} plk_x")).headers[b"www-authenticate"])["error"] == "invalid_token"


# §2


@BOTH
async def test_6750_2_a_token_sent_in_more_than_one_way_is_an_invalid_request(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, path: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    bearer = f"Bearer {phone.token}"
    twice = [
        await get(service, path, bearer, query_string=f"access_token={phone.token}".encode()),
        await get(service, path, bearer, query_string=b"access_token=x"),
        await get(service, path, query_string=f"a=b&access_token={phone.token}".encode()),
    ]
    twice += [await get(service, path, bearer, bearer), await get(service, path, bearer, "Basic eDp5")]
    for answer in twice:
        assert answer.status == 400
        assert parse(answer.headers[b"www-authenticate"])["error"] == "invalid_request"
    assert app.scopes == []


async def test_6750_2_2_a_token_in_a_form_is_not_looked_at(pairlock: Pairlock, service: ASGIApp, app: Recorder) -> None:
    kind = (b"content-type", b"application/x-www-form-urlencoded")
    answer = await ask(service, scope_of("POST", GUARDED, kind))
    assert (answer.status, app.scopes) == (401, [])


@BOTH
async def test_6750_2_3_a_token_in_the_query_lets_nobody_in(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, path: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    for query in (f"access_token={phone.token}", f"access_token=Bearer%20{phone.token}", f"token={phone.token}"):
        assert (await get(service, path, query_string=query.encode())).status in (400, 401)
    assert app.scopes == []


# §3


@BOTH
async def test_6750_3_every_401_carries_a_bearer_challenge(service: ASGIApp, path: str) -> None:
    for tokens in ([], ["Bearer plk_forged"], ["Bearer x"], ["Basic eDp5"], ["Digest x"], [""]):
        answer = await get(service, path, *tokens)
        assert answer.status == 401
        assert parse(answer.headers[b"www-authenticate"])["realm"]


async def test_6750_3_a_revoked_and_an_expired_token_get_the_same_challenge_as_an_unknown_one(
    pairlock: Pairlock, service: ASGIApp
) -> None:
    phone = await pair(pairlock, read=["/**"])
    await pairlock.devices.revoke(phone.id)
    revoked, unknown = await get(service, GUARDED, f"Bearer {phone.token}"), await get(service, GUARDED, "Bearer plk_x")
    assert revoked == unknown


# §3.1


@BOTH
@pytest.mark.parametrize("tokens", [[], ["Basic eDp5"], ["Negotiate abc"]])
async def test_6750_3_1_no_credentials_gets_a_challenge_without_error(
    service: ASGIApp, path: str, tokens: list[str]
) -> None:
    answer = await get(service, path, *tokens)
    parameters = parse(answer.headers[b"www-authenticate"])
    assert answer.status == 401
    assert parameters.keys() & {"error", "error_description", "error_uri"} == set()


@BOTH
@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "bearer  ", "Bearer " + "a" * 9000])
async def test_6750_3_1_a_malformed_request_is_400_invalid_request(service: ASGIApp, path: str, value: str) -> None:
    answer = await get(service, path, value)
    assert answer.status == 400
    assert parse(answer.headers[b"www-authenticate"])["error"] == "invalid_request"


@BOTH
@pytest.mark.parametrize("token", ["x", "plk_", "plk_.", "plk_a.b", "plk_" + "A" * 500, "\xff", '"', "\\"])
async def test_6750_3_1_a_bad_token_is_401_invalid_token(service: ASGIApp, path: str, token: str) -> None:
    answer = await get(service, path, f"Bearer {token}".encode("latin-1"))
    assert answer.status == 401
    assert parse(answer.headers[b"www-authenticate"])["error"] == "invalid_token"


async def test_6750_3_1_too_little_permission_is_403_insufficient_scope(
    pairlock: Pairlock, service: ASGIApp, app: Recorder
) -> None:
    phone = await pair(pairlock, read=["/elsewhere"])
    for _ in range(2):  # the second time it is remembered
        answer = await get(service, GUARDED, f"Bearer {phone.token}")
        assert answer.status == 403
        assert parse(answer.headers[b"www-authenticate"])["error"] == "insufficient_scope"
    assert app.scopes == []


async def test_6750_3_1_what_is_no_matter_of_tokens_carries_no_challenge(pairlock: Pairlock, service: ASGIApp) -> None:
    phone = await pair(pairlock, read=["/**"])
    ambiguous = await get(service, "/sensors/../x", f"Bearer {phone.token}")
    assert (ambiguous.status, b"www-authenticate" in ambiguous.headers) == (400, False)
    assert b"www-authenticate" not in (await get(service, GUARDED, f"Bearer {phone.token}")).headers


# §3: quoted values hold only %x20-21 / %x23-5B / %x5D-7E

NASTY = st.sampled_from(
    ['"', "\\", "\r\n", "\r", "\n", "\x00", "é", "\u2028", "\ud800", "%22", "%0d%0a", ", ", "=", "/"]
)
TEXT = st.lists(NASTY | st.text(alphabet=string.printable, max_size=5), max_size=6).map("".join)
BYTES = st.binary(max_size=30) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))


HOSTS = BYTES | st.sampled_from([b"house.example", b"192.0.2.1:80", b"[::1]:8000", b"house.example:80\r\n"])
RESOURCE = re.compile(r"http://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?/\.well-known/oauth-protected-resource")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=TEXT, raw=st.none() | BYTES, header=st.none() | BYTES, token=BYTES, query=BYTES, method=TEXT, host=HOSTS)
@pytest.mark.no_cover  # it takes twice as long while measured
async def test_6750_3_whatever_is_sent_the_challenge_parses_and_nothing_of_it_comes_back(
    service: ASGIApp,
    app: Recorder,
    path: str,
    raw: bytes | None,
    header: bytes | None,
    token: bytes,
    query: bytes,
    method: str,
    host: bytes,
) -> None:
    headers = [(b"host", host), (b"x-forwarded-host", host), (b"x-forwarded-proto", token), (b"user-agent", token)]
    offered = [] if header is None else [(b"authorization", header + b"Bearer " + token), (b"x", header)]
    for each in (offered, [(b"authorization", b"Bearer " + token)]):
        answer = await ask(service, scope_of(method, "/" + path, *headers, *each, raw_path=raw, query_string=query))
        assert answer.status in (400, 401, 403, 404, 405)
        if answer.status == 401:
            assert b"www-authenticate" in answer.headers
        if b"www-authenticate" in answer.headers:
            assert_tame(answer.headers[b"www-authenticate"])
        for name, value in answer.headers.items():
            assert not set(name + value) & set(b"\r\n\0")
            assert (name + value).isascii()
    assert app.scopes == []


def assert_tame(challenge: bytes) -> None:
    """Nothing but fixed text stands in it, and an address whose host can be one."""
    parameters = parse(challenge)
    assert parameters.keys() <= {"realm", "error", "error_description", "resource_metadata"}
    assert RESOURCE.match(parameters.get("resource_metadata", "http://x/.well-known/oauth-protected-resource"))


@pytest.fixture
def behind_a_proxy(make: Make, app: Recorder) -> ASGIApp:
    return make(trusted_proxies=["10.0.0.0/8"]).protect(app)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(root=TEXT, told=BYTES, forwarded=BYTES, scheme=st.sampled_from(["http", "https", ..., "ws", "h2c"]))
async def test_6750_3_neither_mounts_nor_proxies_put_anything_else_into_a_challenge(
    behind_a_proxy: ASGIApp, root: str, told: bytes, forwarded: bytes, scheme: object
) -> None:
    headers = [(b"host", b"house.example"), (b"x-forwarded-proto", told), (b"x-forwarded-for", forwarded)]
    scope = scope_of("GET", f"/{root}/a", *headers, root_path=f"/{root}", scheme=scheme, client=("10.0.0.1", 1))
    answer = await ask(behind_a_proxy, scope)
    assert answer.status in (400, 401, 404)
    if answer.status == 401:
        assert_tame(answer.headers[b"www-authenticate"].replace(b"https://", b"http://"))
        assert b"oauth-protected-resource/" in answer.headers[b"www-authenticate"]


async def test_6750_3_a_websocket_that_is_refused_gets_the_same_challenge(service: ASGIApp) -> None:
    scope = scope_of("GET", GUARDED, (b"host", b"house.example"), scheme="http")
    handshake = {**scope, "type": "websocket", "scheme": "ws", "extensions": {"websocket.http.response": {}}}
    over_http, over_websocket = await ask(service, scope), await ask(service, handshake)
    assert over_http == over_websocket
    assert b"resource_metadata=" in over_http.headers[b"www-authenticate"]


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic realm=x",
        b"Bearer realm=x",
        b'Bearer realm="x',
        b'Bearer realm="a"b"',
        b'Bearer realm="a\\"b"',
        b'Bearer realm="a\r\nb"',
        b'Bearer realm="a", realm="b"',
        b'Bearer realm="a" error="b"',
        b'Bearer realm="a", ',
    ],
)
def test_the_parser_of_these_tests_takes_nothing_that_the_grammar_does_not_have(challenge: bytes) -> None:
    with pytest.raises(ValueError):
        parse(challenge)
