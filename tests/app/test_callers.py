"""Who calls and by which address: behind proxies, below prefixes, with a Host that somebody made up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from pairlock import Limits, Pairlock
from tests.app.parts import AS_OPERATOR, bearer, start
from tests.app.test_code_side import mint, scanned
from tests.services.parts import UNLIMITED, Make, wrong

pytestmark = pytest.mark.anyio

PROXIES = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]
PROXY, STRANGER = "10.0.0.1", "203.0.113.9"


@asynccontextmanager
async def calling(
    app: ASGIApp, peer: str | None = STRANGER, base_url: str = "http://pair.test", **headers: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the operator's, from this address."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=peer and (peer, 4711))  # type: ignore[arg-type]  # servers give None on a Unix socket
    async with httpx.AsyncClient(transport=transport, base_url=base_url, headers={**AS_OPERATOR, **headers}) as client:
        yield client


async def begin(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """A device asks for a device code; it knows nothing of the operator's token."""
    request = client.build_request("POST", "/device_authorization", data={"client_id": "tv"}, headers=headers)
    del request.headers["Authorization"]
    return await client.send(request)


def at_root_path(app: ASGIApp, root_path: str) -> ASGIApp:
    """As a server that is told its root path, and puts it before the paths it gets."""

    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        path, raw_path = root_path + scope["path"], quote(root_path).encode() + scope["raw_path"]
        await app({**scope, "root_path": root_path, "path": path, "raw_path": raw_path}, receive, send)

    return server


# The address of a caller


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        # who is no trusted proxy may say what it likes
        (STRANGER, [], STRANGER),
        (STRANGER, ["10.0.0.7"], STRANGER),
        (STRANGER, ["198.51.100.1", "198.51.100.2"], STRANGER),
        ("11.0.0.1", ["198.51.100.1"], "11.0.0.1"),
        # right to left, to the first that is no trusted proxy
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        (PROXY, ["6.6.6.6,198.51.100.1,10.9.9.9"], "198.51.100.1"),
        (PROXY, ["6.6.6.6", "198.51.100.1 , 192.0.2.1", " 10.9.9.9"], "198.51.100.1"),
        (PROXY, ["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
        (PROXY, ["", " , "], PROXY),
        # what is no address tells nothing
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["198.51.100.1, unknown"], PROXY),
        (PROXY, ["198.51.100.1, unknown, 10.9.9.9"], "10.9.9.9"),
        (PROXY, ["198.51.100.1:1234"], "198.51.100.1:1234"),
        ("2001:db8::1", ["2001:db9::7"], "2001:db9::7"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
    ],
)
async def test_the_address_of_a_caller_is_told_by_trusted_proxies_alone(
    make: Make, peer: str, forwarded: list[str], address: str
) -> None:
    pairlock = make(trusted_proxies=PROXIES)
    async with calling(pairlock.app, peer) as client:
        headers = [("X-Forwarded-For", value) for value in forwarded]
        answer = await client.post("/requests", json={"name": "Phone"}, headers=headers)
        assert answer.status_code == 201
        (event,) = (await client.get("/audit")).json()["events"]
        (shown,) = (await client.get("/requests")).json()["requests"]
    assert event["address"] == shown["address"] == address


async def test_by_default_no_proxy_is_trusted(pairlock: Pairlock) -> None:
    headers = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}
    async with calling(pairlock.app, "127.0.0.1", **headers) as client:
        await start(client)
        assert (await client.get("/audit")).json()["events"][0]["address"] == "127.0.0.1"
        assert (await mint(client, method="qr"))["uri"].startswith("http://pair.test/qr#")


async def test_other_headers_of_proxies_count_for_nothing(make: Make) -> None:
    headers = {"Forwarded": "for=6.6.6.6;host=evil.test", "X-Real-IP": "6.6.6.6", "X-Forwarded-Host": "evil.test"}
    async with calling(make(trusted_proxies=PROXIES).app, PROXY, **headers) as client:
        await start(client)
        assert (await client.get("/audit")).json()["events"][0]["address"] == PROXY
        assert (await mint(client, method="qr"))["uri"].startswith("http://pair.test/qr#")


async def test_who_has_no_address_is_taken_too_and_says_nothing_of_others(make: Make) -> None:
    async with calling(make(trusted_proxies=PROXIES).app, None, **{"X-Forwarded-For": "6.6.6.6"}) as client:
        await start(client)
        (shown,) = (await client.get("/requests")).json()["requests"]
        assert (shown["address"], shown["network"]) == ("", "unknown")


async def test_every_call_that_is_audited_carries_the_address_it_came_from(make: Make) -> None:
    async with calling(make(trusted_proxies=PROXIES).app, PROXY) as client:

        def at(address: str) -> dict[str, str]:
            return {"X-Forwarded-For": address}

        minted = await mint(client)
        await client.post("/redeem", json={"code": minted["code"], "name": "Tablet"}, headers=at("198.51.100.2"))
        await begin(client, **at("198.51.100.3"))
        (begun, redeemed, minting) = (await client.get("/audit")).json()["events"]
    assert [each["type"] for each in (minting, redeemed, begun)] == ["minted", "redeemed", "requested"]
    assert [each.get("address") for each in (minting, redeemed, begun)] == [None, "198.51.100.2", "198.51.100.3"]


# Limits by that address


async def test_starts_are_limited_by_the_address_that_trusted_proxies_tell(make: Make) -> None:
    pairlock = make(trusted_proxies=PROXIES, limits=replace(UNLIMITED, starts=Limits().starts))
    async with calling(pairlock.app, PROXY) as client:
        for ask, address in ((ask_by_pin, "198.51.100.1"), (begin, "198.51.100.2")):
            for forged in ("6.6.6.1", "6.6.6.2", "6.6.6.3"):
                assert (await ask(client, **{"X-Forwarded-For": f"{forged}, {address}"})).status_code in (200, 201)
            answer = await ask(client, **{"X-Forwarded-For": f"6.6.6.4, {address}"})
            assert (answer.status_code, answer.json()["error"]) == (429, "too_many_requests")
            assert answer.headers["retry-after"] == "60" == str(answer.json()["retry_after"])
            assert (await ask(client, **{"X-Forwarded-For": "198.51.100.99"})).status_code in (200, 201)


async def ask_by_pin(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/requests", json={"name": "Phone"}, headers=headers)


async def test_starts_of_a_stranger_are_limited_whatever_it_says_of_itself(make: Make) -> None:
    pairlock = make(trusted_proxies=PROXIES, limits=replace(UNLIMITED, starts=Limits().starts))
    async with calling(pairlock.app, STRANGER) as client:
        answers = [await ask_by_pin(client, **{"X-Forwarded-For": f"6.6.6.{number}"}) for number in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]


async def test_wrong_pins_and_wrong_codes_are_limited_by_that_address_too(make: Make) -> None:
    pairlock = make(trusted_proxies=PROXIES, limits=replace(UNLIMITED, wrong_pins="1/minute", wrong_codes="1/minute"))
    async with calling(pairlock.app, PROXY) as client:
        for address in ("198.51.100.1", "198.51.100.2"):
            client.headers["X-Forwarded-For"] = f"6.6.6.6, {address}"
            answers = []
            for _ in range(2):
                answers.append(await guess_a_pin(client, pairlock))
                answers.append(await client.post("/redeem", json={"code": "K3F9-X2NM", "name": "x"}))
            told = ["invalid_pin", "invalid_code", "too_many_requests", "too_many_requests"]
            assert [each.json()["error"] for each in answers] == told
            for refused in answers[2:]:
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
                assert refused.json()["retry_after"] == 60


async def test_wrong_user_codes_are_limited_by_that_address_too(make: Make) -> None:
    limits = replace(UNLIMITED, wrong_user_codes_per_source="1/minute")
    async with calling(make(trusted_proxies=PROXIES, limits=limits).app, PROXY) as client:
        for address in ("198.51.100.1", "198.51.100.2"):
            client.headers["X-Forwarded-For"] = f"6.6.6.6, {address}"
            answers = [await client.post("/requests/lookup", json={"user_code": "WDJB-MJHT"}) for _ in range(2)]
            assert [each.json()["error"] for each in answers] == ["invalid_code", "too_many_requests"]


async def guess_a_pin(client: httpx.AsyncClient, pairlock: Pairlock) -> httpx.Response:
    started = await start(client)
    typed = wrong(pairlock.deciding.pin(await pairlock.deciding.show(started["id"])))
    return await client.post(f"/requests/{started['id']}/pin", json={"pin": typed}, headers=bearer(started["secret"]))


# Networks


@pytest.mark.parametrize(
    ("device", "operator", "network"),
    [
        ("192.168.1.7", "192.168.1.9", "same"),
        ("192.168.1.7", "192.168.2.9", "different"),
        ("1.2.3.4", "1.2.3.4", "same"),
        ("1.2.3.4", "1.2.3.5", "different"),
        ("2001:db9:0:1::7", "2001:db9:0:1:ffff::9", "same"),
        ("2001:db9:0:1::7", "2001:db9:0:2::7", "different"),
    ],
)
async def test_an_operator_is_told_whether_a_device_is_in_her_own_network(
    make: Make, device: str, operator: str, network: str
) -> None:
    async with calling(make(trusted_proxies=PROXIES, same_network=True).app, PROXY) as client:
        started = (await ask_by_pin(client, **{"X-Forwarded-For": device})).json()
        begun = await begin(client, **{"X-Forwarded-For": device})
        client.headers["X-Forwarded-For"] = operator
        (shown,) = (await client.get("/requests")).json()["requests"]
        found = (await client.post("/requests/lookup", json={"user_code": begun.json()["user_code"]})).json()
        assert (shown["network"], found["network"]) == (network, network)
        for each_id in (started["id"], found["id"]):
            answer = await client.post(f"/requests/{each_id}/approve")
            if network == "same":
                assert (answer.status_code, answer.json()["network"]) == (200, network)
            else:
                assert (answer.status_code, answer.json()["error"]) == (403, "different_network")
                assert (await client.post(f"/requests/{each_id}/deny")).status_code == 200


# The address of the service


async def address_in_picture(client: httpx.AsyncClient, prefix: str = "") -> str:
    """Where a device is sent that scans a code minted here; minting and picture agree."""
    answer = await client.post(f"{prefix}/codes", json={"method": "qr"})
    assert answer.status_code == 201, answer.text
    minted = answer.json()
    assert minted["uri"] == scanned(await client.get(f"{prefix}/codes/{minted['id']}.png"))
    assert minted["uri"].isascii()
    address, landing, _ = minted["uri"].rpartition("/qr#")
    assert landing
    return str(address)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://pair.test",
        "https://pair.test",
        "http://192.168.1.7:8000",
        "http://[fe80::1]:8000",
        "http://[2001:db8::1]",
        "https://PAIR.test:8443",
        "http://my_box.local",
    ],
)
async def test_a_qr_code_leads_to_where_its_operator_is(pairlock: Pairlock, base_url: str) -> None:
    async with calling(pairlock.app, base_url=base_url, Host=urlsplit(base_url).netloc) as client:
        assert await address_in_picture(client) == base_url


@pytest.mark.parametrize("at", ["/pair", "/api/v1/pairing", "/~home/pair-2", "/café", "/a b", "/a%b", '/a"b'])
async def test_a_qr_code_leads_below_where_the_sub_app_is_mounted(pairlock: Pairlock, at: str) -> None:
    async with calling(Starlette(routes=[Mount(at, pairlock.app)])) as client:
        assert await address_in_picture(client, quote(at)) == f"http://pair.test{quote(at)}"
    async with calling(at_root_path(pairlock.app, at)) as client:
        assert await address_in_picture(client) == f"http://pair.test{quote(at)}"


async def test_a_qr_code_leads_below_a_mount_in_a_mount_below_a_root_path(pairlock: Pairlock) -> None:
    inner = Starlette(routes=[Mount("/pair", pairlock.app)])
    async with calling(at_root_path(Starlette(routes=[Mount("/api", inner)]), "/home")) as client:
        assert await address_in_picture(client, "/api/pair") == "http://pair.test/home/api/pair"


async def test_a_qr_code_leads_below_where_protect_has_the_sub_app(pairlock: Pairlock) -> None:
    protected = pairlock.protect(Starlette(), at="/devices/pair")
    async with calling(Starlette(routes=[Mount("/home", protected)])) as client:
        assert await address_in_picture(client, "/home/devices/pair") == "http://pair.test/home/devices/pair"


@pytest.mark.parametrize(
    ("peer", "told", "scheme"),
    [
        (PROXY, "https", "https"),
        (PROXY, "http", "http"),
        (PROXY, "wss", "https"),
        (PROXY, "javascript", "http"),
        (PROXY, "", "http"),
        (STRANGER, "https", "http"),
        (None, "https", "http"),
    ],
)
async def test_a_trusted_proxy_tells_the_scheme(make: Make, peer: str | None, told: str, scheme: str) -> None:
    async with calling(make(trusted_proxies=PROXIES).app, peer, **{"X-Forwarded-Proto": told}) as client:
        assert await address_in_picture(client) == f"{scheme}://pair.test"


@pytest.mark.parametrize("told", ["https, https", "https,http", "HTTPS"])
async def test_a_row_of_trusted_proxies_tells_the_scheme_of_the_first(make: Make, told: str) -> None:
    async with calling(make(trusted_proxies=PROXIES).app, PROXY, **{"X-Forwarded-Proto": told}) as client:
        assert await address_in_picture(client) == "https://pair.test"


async def test_the_setting_issuer_goes_before_whatever_a_request_says(make: Make) -> None:
    pairlock = make(issuer="https://house.example/pair", trusted_proxies=PROXIES)
    for app, prefix in ((pairlock.app, ""), (Starlette(routes=[Mount("/x", pairlock.app)]), "/x")):
        headers = {"X-Forwarded-Proto": "http", "Host": "evil.test"}
        async with calling(app, PROXY, **headers) as client:
            assert await address_in_picture(client, prefix) == "https://house.example/pair"


MALFORMED = [
    *("", " ", "evil test", "a/b", "a?b", "a#b", "a@b", "user:pass@b", "a\\b", 'a"b', "<b>", "a,b", "a;b"),
    *("a:", "a:x", "a:123456", "a:80:80", "[::1", "::1", "[::1]x", "[g::1]", "[]", "x" * 256),
]


@pytest.mark.parametrize("host", MALFORMED)
async def test_a_malformed_host_is_refused_where_an_address_is_made_of_it(pairlock: Pairlock, host: str) -> None:
    async with calling(pairlock.app) as client:
        qr = await mint(client, method="qr")
        client.headers["Host"] = host
        for answer in (
            await client.post("/codes", json={"method": "qr"}),
            await client.get(f"/codes/{qr['id']}.svg"),
            await client.get(f"/codes/{qr['id']}.png"),
            await client.get("/.well-known/oauth-authorization-server"),
            await begin(client),
        ):
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
            assert answer.json()["detail"] == "the Host header is missing or malformed"
            assert answer.headers["cache-control"] == "no-store"
        assert (await client.post("/codes", json={})).status_code == 201  # elsewhere it does not matter


async def test_nothing_is_begun_that_cannot_be_answered_for_want_of_an_address(pairlock: Pairlock) -> None:
    async with calling(pairlock.app, Host="evil test") as client:
        assert (await begin(client)).status_code == 400
        assert (await client.post("/codes", json={"method": "qr"})).status_code == 400
        assert await pairlock.audit.list() == []


async def test_with_an_issuer_the_host_does_not_matter(make: Make) -> None:
    async with calling(make(issuer="https://house.example/pair").app, Host="evil test") as client:
        assert await address_in_picture(client) == "https://house.example/pair"


async def test_a_server_that_says_no_scheme_means_http(pairlock: Pairlock) -> None:
    async def server(scope: Scope, receive: Receive, send: Send) -> None:
        scope.pop("scheme")  # optional: "http" where it is left out
        await pairlock.app(scope, receive, send)

    async with calling(server) as client:
        assert await address_in_picture(client) == "http://pair.test"
