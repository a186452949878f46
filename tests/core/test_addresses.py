"""From what a server says of a request to the one address that is guarded."""

import posixpath
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairlock._core.addresses import MAX_BYTES, MAX_SEGMENTS, action_of, canonical, check_address
from pairlock.errors import AmbiguousPath


def served(raw: str, root_path: str = "") -> str:
    """The address of a raw path as a server hands it over: decoded by lenient UTF-8."""
    return canonical(unquote(raw), raw.encode(), root_path)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a"),
        ("/a/b/", "/a/b"),
        ("/A", "/A"),
        ("/%61", "/a"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/gr%C3%B6%C3%9Fe", "/größe"),
        ("/%F0%9F%94%A5", "/🔥"),
        ("/100%25", "/100%"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a..b", "/a..b"),
        ("/a;b=c/d", "/a;b=c/d"),
        ("/a;/b", "/a;/b"),
        ("/a%3Bb", "/a;b"),
        ("/a:80@b", "/a:80@b"),
        ("/*", "/*"),
        ("/**", "/**"),
        ("/[a]{b}", "/[a]{b}"),
    ],
)
def test_a_path_that_reads_one_way_is_the_address(raw: str, address: str) -> None:
    assert served(raw) == address


@pytest.mark.parametrize(
    "raw",
    [
        # an encoded slash
        "/a%2Fb",
        "/a%2fb",
        "/a%252Fb",
        "/a%25252Fb",
        "/%2F",
        # dot segments
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/%2e%2e/a",
        "/%2E/a",
        "/.%2e/a",
        "/%252e%252e/a",
        "/%252E%252e/a",
        "/a/%2e%2e%2fb",
        # empty segments
        "//",
        "//a",
        "/a//",
        "/a//b",
        "///",
        # a backslash
        "/a\\b",
        "/a%5Cb",
        "/a%5cb",
        "/a%255Cb",
        "/..\\b",
        # NUL and controls
        "/a%00",
        "/a%00.png",
        "/a%2500",
        "/a%0d%0aX: y",
        "/a%0A",
        "/a\tb",
        "/a%7F",
        "/a%C2%85b",
        "/a%C2%9Fb",
        "/a%E2%80%A8b",
        "/a%E2%80%A9b",
        # parameters
        "/..;/a",
        "/a/..;x/b",
        "/.;/a",
        "/;/a",
        "/a/;x",
        "/;",
        "/%2e%2e;/a",
        "/..%3B/a",
        # what ends a path
        "/a%3Fb",
        "/a/..%3F/b",
        "/a%23b",
        "/a%253Fb",
        "/a#b",
        # over-long and otherwise invalid UTF-8
        "/a%C0%AFb",
        "/%C0%AE%C0%AE/a",
        "/%E0%80%AFa",
        "/%F0%80%80%AFa",
        "/%FF",
        "/%C3",
        "/%C3%28",
        "/%ED%A0%80",
        "/a%EF%BF%BD",
        # a percent sign that encodes nothing
        "/a%",
        "/a%2",
        "/a%zz",
        "/%u002e%u002e/a",
        "/%%32%65",
        "/100%",
        # other forms of request target
        "*",
        "a",
        "a/b",
        "http://host/a",
        "host:80",
    ],
)
def test_a_path_that_reads_in_more_than_one_way_is_refused(raw: str) -> None:
    with pytest.raises(AmbiguousPath):
        served(raw)


@pytest.mark.parametrize(
    "path",
    [
        "/a\\b",
        "/a\x00",
        "/a%2fb",
        "/%2e%2e",
        "/a//b",
        "/../a",
        "/..;",
        "/a?b",
        "/a#b",
        "/a\ufffd",
        "/b\ud800",
        "/\udce9",
    ],
)
def test_a_decoded_path_is_checked_too_where_a_server_gives_no_raw_one(path: str) -> None:
    with pytest.raises(AmbiguousPath):
        canonical(path)
    assert canonical("/a/b/") == "/a/b"


@pytest.mark.parametrize("raw", [b"/a%2fb", b"/a%5Cb", b"/a%", b"/\xff", b"/%c0%af"])
def test_a_raw_path_is_checked_even_if_the_decoded_one_looks_plain(raw: bytes) -> None:
    with pytest.raises(AmbiguousPath):
        canonical("/a/b", raw)


def test_upper_and_lower_case_are_different_addresses() -> None:
    assert served("/Admin") != served("/admin")


def test_composed_and_decomposed_letters_are_different_addresses() -> None:
    assert served("/%C3%A9") != served("/e%CC%81")


@pytest.mark.parametrize(
    ("path", "root_path", "address"),
    [
        ("/api/x", "/api", "/x"),
        ("/api/x/", "/api", "/x"),
        ("/api", "/api", "/"),
        ("/api/", "/api", "/"),
        ("/x", "/api", "/x"),
        ("/apix", "/api", "/apix"),
        ("/api/api/x", "/api", "/api/x"),
        ("/api/v1/x", "/api/v1", "/x"),
        ("/x/api", "/api", "/x/api"),
        ("/api/x", "", "/api/x"),
        ("", "", "/"),
    ],
)
def test_an_address_is_what_is_below_the_root_path(path: str, root_path: str, address: str) -> None:
    assert canonical(path, path.encode(), root_path) == address
    assert canonical(path, None, root_path) == address


@pytest.mark.parametrize("path", ["/api//x", "/api/../x", "/api//", "/api/%2e%2e/x", "/api/;x"])
def test_a_root_path_hides_nothing_ambiguous(path: str) -> None:
    with pytest.raises(AmbiguousPath):
        canonical(path, path.encode(), "/api")


@pytest.mark.parametrize("unit", [lambda n: "/" + (n - 1) * "a", lambda n: "/a" + (n - 2) // 2 * "é"])
def test_an_address_may_take_2048_bytes(unit: Callable[[int], str]) -> None:
    longest = unit(MAX_BYTES)
    assert len(longest.encode()) == 2048
    assert check_address(longest) == longest
    with pytest.raises(AmbiguousPath):
        check_address(longest + "a")


def test_an_address_may_have_128_segments() -> None:
    assert check_address(MAX_SEGMENTS * "/a") == 128 * "/a"
    assert check_address(MAX_SEGMENTS * "/a" + "/") == 128 * "/a"
    with pytest.raises(AmbiguousPath):
        check_address((MAX_SEGMENTS + 1) * "/a")


FRAGMENTS = (
    "/ / / a b . .. ... %2e %2E%2e %252e %2f %2F %252f %5c %255c \\ ; ;x %3b %253b ? %3f %23 # % %2 %25 %zz "
    "%00 %0a %09 %20 + %61 %c3%a9 é %c0%af %c0%ae %ff %ef%bf%bd %ed%a0%80 %u002e %e2%80%a8 %ef%bc%8f * ** : @ ~"
)


@settings(max_examples=400)
@given(raw=st.lists(st.sampled_from(FRAGMENTS.split()), max_size=10).map(lambda parts: "/" + "".join(parts)))
@example(raw="/a%253bb")
@example(raw="/a/b%25")
@example(raw="/a;x/b")
@pytest.mark.no_cover  # it takes twice as long while measured
def test_what_is_accepted_has_the_same_segments_for_every_lenient_reader(raw: str) -> None:
    try:
        address = served(raw)
    except AmbiguousPath:
        return
    segments = address.split("/")
    readings = {
        "decoded twice": unquote(address),
        "decoded three times": unquote(unquote(address)),
        "backslashes as slashes": address.replace("\\", "/"),
        "normalised": posixpath.normpath(address),
        "parsed as a URL again": urlsplit("http://host" + address).path,
        "cut at NUL": address.split("\x00")[0],
        "stripped of controls": "".join(symbol for symbol in address if symbol.isprintable()),
        "decoded from the raw path": unquote(raw, errors="ignore").removesuffix("/") or "/",
    }
    assert {name: reading for name, reading in readings.items() if reading.split("/") != segments} == {}
    if address != "/":
        assert not {segment.split(";")[0] for segment in segments[1:]} & {"", ".", ".."}


@given(path=st.text(max_size=30).map(lambda text: "/" + text))
def test_an_address_is_its_own_address(path: str) -> None:
    try:
        address = canonical(path)
    except AmbiguousPath:
        return
    assert canonical(address) == check_address(address) == address


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "QUERY"])
def test_a_safe_method_reads(method: str) -> None:
    assert action_of(method) == "read"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get", "", "X"])
def test_every_other_method_writes(method: str) -> None:
    assert action_of(method) == "write"
