"""RFC 9700, OAuth security: least privilege at every request, and no token in a query."""

import pytest
from starlette.types import ASGIApp

from pairlock import Pairlock
from tests.guard.parts import Recorder, ask, pair, scope_of

pytestmark = pytest.mark.anyio

# What each pattern covers, and what it does not.
MATRIX = {
    "/": (["/"], ["/a", "/a/b"]),
    "/a": (["/a", "/a/"], ["/", "/b", "/aa", "/a/b", "/A"]),
    "/*": (["/a", "/b/", "/é"], ["/", "/a/b"]),
    "/**": (["/", "/a", "/a/b/c", "/.hidden"], []),
    "/a/*": (["/a/b", "/a/a"], ["/a", "/a/b/c", "/b/a"]),
    "/a/**": (["/a", "/a/", "/a/b", "/a/b/c"], ["/", "/b", "/ab", "/b/a"]),
    "/*/b": (["/a/b", "/b/b"], ["/b", "/a/b/c", "/a/a/b"]),
    "/**/b": (["/b", "/a/b", "/a/a/b", "/b/b"], ["/", "/a", "/b/a"]),
    "/a/**/b": (["/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"], ["/a", "/b", "/a/b/x", "/x/a/b"]),
    "/a/*/b/**": (["/a/x/b", "/a/x/b/c/d"], ["/a/b", "/a/x/y/b", "/a/x"]),
}


@pytest.mark.parametrize("pattern", MATRIX)
@pytest.mark.parametrize("action", ["read", "write"])
async def test_9700_2_3_a_token_opens_what_its_patterns_cover_and_nothing_else(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, pattern: str, action: str
) -> None:
    permissions: dict[str, list[str]] = {action: [pattern]}
    phone = await pair(pairlock, **permissions)
    method, other = ("GET", "PUT") if action == "read" else ("PUT", "GET")
    inside, outside = MATRIX[pattern]
    for _ in range(2):
        for path in inside:
            assert (await ask(service, scope_of(method, path, phone.raw))).status == 200, path
            assert (await ask(service, scope_of(other, path, phone.raw))).status == 403, path
        for path in outside:
            assert (await ask(service, scope_of(method, path, phone.raw))).status == 403, path
    assert len(app.scopes) == 2 * len(inside)


@pytest.mark.parametrize("where", ["/sensors/a", "/pair/whoami"])
async def test_9700_4_3_2_a_token_in_the_query_is_refused_even_beside_a_good_one(
    pairlock: Pairlock, service: ASGIApp, app: Recorder, where: str
) -> None:
    phone = await pair(pairlock, read=["/**"])
    for headers in ([], [phone.raw]):
        for query in (f"access_token={phone.token}", f"a=1&access_token={phone.token}&b=2"):
            answer = await ask(service, scope_of("GET", where, *headers, query_string=query.encode()))
            assert answer.status == 400
            assert phone.token.encode() not in answer.body
    assert app.scopes == []
