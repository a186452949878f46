"""OAuth's words: scopes, credentials, PKCE, and what is answered."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pairlock._core.clients import Credentials
from pairlock._core.codes import encode_secret
from pairlock._core.oauth import (
    INACTIVE,
    challenge_of,
    credentials,
    device_authorization_answer,
    introspection_answer,
    parse_scope,
    proves,
    required,
    resource_metadata,
    scope_text,
    server_metadata,
)
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.tokens import Claims
from pairlock.errors import InvalidClient, InvalidPermissions, InvalidRequest
from pairlock.testing import a_request

# --- forms


@pytest.mark.parametrize("form", [{}, {"code": ""}, {"Code": "x"}])
def test_6749_3_1_a_parameter_that_is_missing_or_empty_is_named(form: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        required(form, "code")
    assert refused.value.detail == "the parameter code is missing"


def test_a_parameter_that_is_there_is_taken_as_it_is() -> None:
    assert required({"code": " x "}, "code") == " x "


# --- scopes

SCOPES = [
    (NOTHING, ""),
    (Permissions(read=("/",)), "read:/"),
    (Permissions(read=("/sensors/**",), write=("/control/lamp",)), "read:/sensors/** write:/control/lamp"),
    (Permissions(write=("/a", "/b")), "write:/a write:/b"),
    (Permissions(read=("/a b",)), "read:/a%20b"),
    (Permissions(read=('/"quoted"',)), "read:/%22quoted%22"),
    (Permissions(read=("/100%",)), "read:/100%25"),
    (Permissions(read=("/%zz",)), "read:/%25zz"),
    (Permissions(read=("/größe",)), "read:/gr%C3%B6%C3%9Fe"),
    (Permissions(read=("/温/🔥",)), "read:/%E6%B8%A9/%F0%9F%94%A5"),
    (Permissions(read=("/\xa0",)), "read:/%C2%A0"),  # a space to some
    (Permissions(read=("/a:b@c,d;e=f~!$&'()+_-.^`|<>",)), "read:/a:b@c,d;e=f~!$&'()+_-.^`|<>"),
]


@pytest.mark.parametrize(("permissions", "scope"), SCOPES)
def test_permissions_read_as_a_scope_and_back(permissions: Permissions, scope: str) -> None:
    assert Permissions.parse(permissions) == permissions
    assert scope_text(permissions) == scope
    assert parse_scope(scope) == permissions


# Anything that the grammar of patterns lets through, and with it whatever is special to URLs, forms and headers.
LITERALS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(" %\"+&=;,:~'<>@!$^`|é🔥\xa0\u3000"), max_size=8
)
SEGMENTS = st.one_of(st.sampled_from(["*", "**"]), LITERALS)
PATTERNS = st.lists(SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments))


def legal(pattern: str) -> bool:
    try:
        return bool(Permissions.parse({"read": [pattern]}))
    except InvalidPermissions:
        return False


LISTS = st.lists(PATTERNS.filter(legal), max_size=4, unique=True).map(tuple)
SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


@given(permissions=st.builds(Permissions, LISTS, LISTS))
@example(permissions=Permissions(read=("/a b", "/%", '/"', "/+", "/é"), write=("/*/**",)))
def test_6749_3_3_every_permissions_make_a_legal_scope_that_reads_as_the_same(permissions: Permissions) -> None:
    scope = scope_text(permissions)
    assert all(SCOPE_TOKEN.fullmatch(token) for token in scope.split(" ") if scope)
    assert parse_scope(scope) == permissions


@pytest.mark.parametrize("scope", ["  read:/a   write:/b ", "write:/b read:/a", "read:/a\twrite:/b read:/a"])
def test_order_repetition_and_more_space_do_not_matter(scope: str) -> None:
    assert parse_scope(scope) == Permissions(read=("/a",), write=("/b",))


@pytest.mark.parametrize(
    "scope",
    [
        "openid",
        "read",
        "read:",
        "read:a",
        "READ:/a",
        "admin:/a",
        ":/a",
        "read:/a write",
        "read:/a//b",
        "read:/a/%2e%2e",
        "read:/a%2F",
        "read:/%00",
        "read:/%252f",  # which reads as %2f
        "read:/%ff",  # no UTF-8
        "read:/a?b",
        "read%3A/a",
        " ".join(f"read:/{number}" for number in range(65)),
    ],
)
def test_6749_5_2_a_scope_that_is_no_permissions_is_refused(scope: str) -> None:
    with pytest.raises(InvalidPermissions):
        parse_scope(scope)


@given(text=st.text())
def test_no_scope_is_too_strange_to_be_refused(text: str) -> None:
    for scope in (text, f"read:/{text}"):
        try:
            read = parse_scope(scope)
            assert Permissions.parse(read) == read
        except InvalidPermissions as refused:
            assert refused.detail  # noqa: PT017  # which of both it is depends on the text


# --- credentials


def basic(client_id: str, secret: str, scheme: str = "Basic") -> str:
    return f"{scheme} {b64encode(f'{client_id}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    ("form", "authorization", "offered"),
    [
        ({"client_id": "tv"}, None, Credentials("tv")),
        ({"client_id": "tv", "client_secret": "s"}, None, Credentials("tv", "s")),
        ({}, basic("tv", ""), Credentials("tv")),  # golang x/oauth2 sends a public client like this
        ({}, basic("tv", "secret"), Credentials("tv", "secret")),
        ({}, basic("tv", "secret", "BASIC"), Credentials("tv", "secret")),
        ({}, f"  {basic('tv', 'secret', 'basic ')} ", Credentials("tv", "secret")),
        ({}, basic("tv", "a:b:c"), Credentials("tv", "a:b:c")),
        ({"client_id": "tv"}, basic("tv", "secret"), Credentials("tv", "secret")),
        ({"client_id": "tv", "client_secret": ""}, basic("tv", "secret"), Credentials("tv", "secret")),
        ({"client_id": "a:b"}, basic("a%3Ab", ""), Credentials("a:b")),
        ({}, basic("https%3A%2F%2Ftv.example%2f", "p%40ss+%2B%25"), Credentials("https://tv.example/", "p@ss++%")),
        ({}, basic("tv", "%C3%A9é%ff"), Credentials("tv", "éé\ufffd")),
    ],
)
def test_6749_2_3_1_a_client_says_who_it_is_in_the_form_or_by_basic(
    form: dict[str, str], authorization: str | None, offered: Credentials
) -> None:
    assert credentials(form, authorization) == offered


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)


@given(client_id=VISIBLE, secret=VISIBLE)
def test_6749_2_3_1_every_id_and_secret_travels_percent_encoded(client_id: str, secret: str) -> None:
    offered = credentials({}, basic(quote(client_id, safe=""), quote(secret, safe="")))
    assert offered == Credentials(client_id, secret)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer plk_x",
        "Basic tv:secret",
        "Basic !!!!",
        "Basic dHY",  # no padding
        "Basic " + b64encode(b"tv").decode(),
        "Basic " + b64encode(b":secret").decode(),
        "Basic " + b64encode(b"\xff\xfe:x").decode(),
        "Basic " + b64encode(b"t v:x").decode(),
        "Basic " + b64encode(b"t%20v:x").decode(),
        "Basic " + b64encode(b"t%00v:x").decode(),
        "Basic " + b64encode("é:x".encode()).decode(),
        "Basic " + b64encode(201 * b"a" + b":x").decode(),
        "Basic dHY6\u00e9",
        "Basic \u00e9",
    ],
)
def test_6749_5_2_credentials_that_are_malformed_or_of_another_scheme_are_refused(authorization: str) -> None:
    with pytest.raises(InvalidClient):
        credentials({}, authorization)


@given(text=st.text(st.characters(max_codepoint=255)))
def test_no_header_is_too_strange_to_be_refused(text: str) -> None:
    for header in (text, f"Basic {text}"):
        try:
            assert credentials({}, header).client_id
        except InvalidClient as refused:
            assert refused.status == 401  # noqa: PT017  # which of both it is depends on the text


@pytest.mark.parametrize("form", [{}, {"client_id": ""}, {"client_secret": "secret"}])
def test_who_says_nothing_is_told_that_the_client_id_is_missing(form: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        credentials(form, None)
    assert refused.value.detail == "the parameter client_id is missing"


@pytest.mark.parametrize("client_id", [" ", "a b", "é", "\x00", 201 * "a"])
def test_a_client_id_is_visible_ascii_in_the_form_too(client_id: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        credentials({"client_id": client_id}, None)
    assert refused.value.detail == "client_id must be visible ASCII, and not that long"


def test_6749_2_3_a_client_does_not_say_who_it_is_in_two_ways() -> None:
    with pytest.raises(InvalidRequest) as refused:
        credentials({"client_id": "car"}, basic("tv", ""))
    assert refused.value.detail == "client_id is not the one of the Authorization header"
    with pytest.raises(InvalidRequest) as refused:
        credentials({"client_id": "tv", "client_secret": "secret"}, basic("tv", "secret"))
    assert "send the client's secret once" in refused.value.detail


# --- PKCE

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636 appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_7636_appendix_b() -> None:
    assert proves(VERIFIER, CHALLENGE)


@pytest.mark.parametrize(
    ("verifier", "challenge", "proven"),
    [
        ("", "", True),
        (VERIFIER, CHALLENGE, True),
        ("", CHALLENGE, False),
        (VERIFIER, "", False),  # RFC 9700 §2.1.1: no challenge was sent, so something was taken out
        (VERIFIER[:-1] + "l", CHALLENGE, False),
        (CHALLENGE, CHALLENGE, False),
        (VERIFIER, VERIFIER, False),
    ],
)
def test_7636_4_6_a_verifier_is_that_of_the_challenge_or_both_are_not_there(
    verifier: str, challenge: str, proven: bool
) -> None:
    assert proves(verifier, challenge) is proven


def challenge_for(verifier: str) -> str:
    return encode_secret(sha256(verifier.encode(errors="replace")).digest())


@given(verifier=st.text("ABCXYZabcxyz0189-._~", min_size=43, max_size=128))
def test_7636_4_1_every_verifier_proves_its_challenge_and_no_other(verifier: str) -> None:
    assert proves(verifier, challenge_for(verifier))
    assert not proves(verifier, CHALLENGE)


@pytest.mark.parametrize(
    "verifier", [42 * "a", 129 * "a", 43 * "é", 42 * "a" + "+", 43 * " ", 43 * "a" + "\n", 43 * "\ud800"]
)
def test_7636_4_1_a_verifier_that_is_too_short_or_of_other_symbols_proves_nothing(verifier: str) -> None:
    assert not proves(verifier, challenge_for(verifier))


S256 = {"code_challenge_method": "S256"}


@pytest.mark.parametrize(("form", "challenge"), [({}, ""), ({"code_challenge": CHALLENGE} | S256, CHALLENGE)])
def test_7636_4_3_a_challenge_is_sent_with_its_method_or_not_at_all(form: dict[str, str], challenge: str) -> None:
    assert challenge_of(form) == challenge


@pytest.mark.parametrize(
    "form",
    [
        {"code_challenge": CHALLENGE},  # which means plain
        {"code_challenge": CHALLENGE, "code_challenge_method": "plain"},
        {"code_challenge": CHALLENGE, "code_challenge_method": "s256"},
        {"code_challenge": CHALLENGE, "code_challenge_method": ""},
        S256,
        {"code_challenge": ""} | S256,
        {"code_challenge": CHALLENGE[:-1]} | S256,
        {"code_challenge": CHALLENGE + "="} | S256,
        {"code_challenge": CHALLENGE + "\n"} | S256,
        {"code_challenge": CHALLENGE[:-1] + "+"} | S256,
        {"code_challenge": CHALLENGE[:-1] + "é"} | S256,
    ],
)
def test_7636_4_4_1_any_other_challenge_is_refused(form: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        challenge_of(form)
    assert refused.value.detail == "send code_challenge with code_challenge_method=S256"


# --- answers


def test_8628_3_2_the_answer_to_a_device_has_whole_seconds_and_both_addresses() -> None:
    request = a_request(method="device_code", created_at=1000, expires_at=1600, interval=5)
    page = "https://house.example/pair/device"
    answer = device_authorization_answer(request, "1.secret", "WDJBMJHT", verification_uri=page, now=1000.4)
    assert answer == {
        "device_code": "1.secret",
        "user_code": "WDJB-MJHT",
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code=WDJB-MJHT",
        "expires_in": 600,
        "interval": 5,
    }
    assert {type(answer[name]) for name in ("expires_in", "interval")} == {int}


@pytest.mark.parametrize(("client_id", "more"), [("", {}), ("tv", {"client_id": "tv"})])
def test_7662_2_2_a_token_that_counts_says_what_it_is_good_for(client_id: str, more: dict[str, Any]) -> None:
    claims = Claims("1", "Phone", 0, ("/a/**", "/b"), (), 1000, 4600)
    assert introspection_answer(claims, Permissions(read=("/b",)), client_id, "https://house.example/pair") == {
        "active": True,
        "scope": "read:/b",  # what it lets its holder do now, not what it was issued with
        "token_type": "Bearer",
        "sub": "1",
        "username": "Phone",
        "iat": 1000,
        "exp": 4600,
        "iss": "https://house.example/pair",
        **more,
    }


def test_7662_2_2_of_any_other_token_nothing_is_said() -> None:
    assert INACTIVE == {"active": False}


def test_8414_2_the_metadata_name_what_is_below_the_issuer() -> None:
    issuer = "https://house.example/pair"
    metadata = server_metadata(issuer)
    assert metadata["issuer"] == issuer
    assert {name: address for name, address in metadata.items() if name.endswith("_endpoint")} == {
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "token_endpoint": f"{issuer}/token",
        "revocation_endpoint": f"{issuer}/revoke",
        "introspection_endpoint": f"{issuer}/introspect",
    }
    assert metadata["response_types_supported"] == []
    assert metadata["grant_types_supported"] == ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert "none" not in metadata["introspection_endpoint_auth_methods_supported"]


def test_9728_2_a_resource_names_its_authorization_server() -> None:
    assert resource_metadata("https://house.example", "https://house.example/pair", "Home") == {
        "resource": "https://house.example",
        "authorization_servers": ["https://house.example/pair"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Home",
    }
