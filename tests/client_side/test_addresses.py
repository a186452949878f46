"""Addresses as people write them: read alike by us and by the libraries that connect, or refused."""

import sys

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.client.addresses import Address, check_encrypted, parse
from pairlock.errors import ConfigurationError, Unencrypted


@pytest.mark.parametrize(
    ("typed", "url", "place"),
    [
        ("https://house.example", "https://house.example", "house.example:443"),
        ("house.example", "https://house.example", "house.example:443"),
        ("house.example:7330", "https://house.example:7330", "house.example:7330"),
        ("house.example/pair/", "https://house.example/pair", "house.example:443"),
        ("  HTTPS://House.Example/Pair  ", "https://house.example/Pair", "house.example:443"),
        ("https://house.example.", "https://house.example", "house.example:443"),
        ("https://house.example:443/", "https://house.example", "house.example:443"),
        ("http://house.example:80", "http://house.example", "house.example:80"),
        ("http://house.example:443", "http://house.example:443", "house.example:443"),
        ("localhost:8000", "http://localhost:8000", "localhost:8000"),
        ("127.0.0.1", "http://127.0.0.1", "127.0.0.1:80"),
        ("192.168.1.100:7330", "https://192.168.1.100:7330", "192.168.1.100:7330"),
        ("[::1]:8000", "http://[::1]:8000", "[::1]:8000"),
        ("http://[2001:DB8::1]/x", "http://[2001:db8::1]/x", "[2001:db8::1]:80"),
        ("https://[fe80::1%eth0]:8443", "https://[fe80::1%eth0]:8443", "[fe80::1%eth0]:8443"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example:443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example:443"),
        ("https://stra\u00dfe.example", "https://xn--strae-oqa.example", "xn--strae-oqa.example:443"),
        ("https://my_house.example", "https://my_house.example", "my_house.example:443"),
    ],
)
def test_an_address_is_read_as_it_is_written(typed: str, url: str, place: str) -> None:
    address = parse(typed)
    assert (address.url, address.place) == (url, place)
    assert parse(address.url) == address


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "/",
        "https://",
        "https:///pair",
        "://house.example",
        "ftp://house.example",
        "file:///etc/passwd",
        "javascript://house.example",
        "https://ann@house.example",
        "https://ann:secret@house.example",
        "https://:@house.example",
        "https://house.example?x=1",
        "https://house.example/pair#s3cret",
        "https://house.example:port",
        "https://house.example:99999",
        "https://house.example:-1",
        "https://house example",
        "https://house.example/with space",
        "https://house.example/tab\there",
        "https://house.example/\x1b[2J",
        "https://house.example/\u202e",
        "https://house.example/\udcff",
        "https://ho\x00use.example",
        "https://[::1",
        "https://::1",
        "https://[house.example]",
        "https://[::1%]",
        "https://good.example\\@evil.example",
        "https://evil.example\\.good.example",
        "http://evil.example\\.localhost",
        "http://127.0.0.1%x.evil.example",
        "http://ho%73t.example",
        "https://\u2100.example",
        "https://b\u00fccher..example",
        "https://\u202ehouse.example",
        "https://" + "x" * 300,
    ],
)
def test_what_is_no_address_is_refused_and_what_to_write_is_said(typed: str) -> None:
    with pytest.raises(ConfigurationError, match="write one such as https://house") as refused:
        parse(typed)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


@given(st.text() | st.from_regex(r"(https?://)?[^/]{0,20}(:[0-9]{0,6})?(/[^?#]{0,20})?", fullmatch=True))
def test_whatever_is_typed_is_read_or_refused_and_led_nowhere_else(typed: str) -> None:
    try:
        address = parse(typed)
    except ConfigurationError:
        return
    assert parse(address.url) == address
    for library in (httpx, httpx2):
        connected_to = library.URL(address.url)
        assert connected_to.raw_host.decode() == address.host
        assert (connected_to.scheme, connected_to.userinfo) == (address.scheme, b"")
        assert connected_to.port in (None, address.port)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"])
def test_plain_http_may_stay_on_this_machine(host: str) -> None:
    check_encrypted(parse(f"http://{host}:8000"), insecure=False)


@pytest.mark.parametrize(
    "host",
    [
        *("house.example", "192.168.1.5", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "127.0.0.1.nip.io"),
        *("localhost.evil.example", "notlocalhost", "[::]", "[fe80::1%lo]", "[::ffff:10.0.0.1]"),
    ],
)
def test_plain_http_to_anywhere_else_is_refused_unless_it_is_allowed(host: str) -> None:
    address = parse(f"http://{host}")
    with pytest.raises(Unencrypted, match="insecure=True"):
        check_encrypted(address, insecure=False)
    check_encrypted(address, insecure=True)
    check_encrypted(parse(f"https://{host}"), insecure=False)


def test_addresses_go_up_and_down() -> None:
    app = Address("https", "house.example", 443, "/a")
    assert app.below("/pair").url == "https://house.example/a/pair"
    assert app.below("/pair").parent() == app
    assert app.parent().parent() == Address("https", "house.example", 443)


def test_without_an_http_library_international_names_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, name, None)
    assert parse("house.example").host == "house.example"
    with pytest.raises(ConfigurationError, match=r"pairlock\[client\]"):
        parse("b\u00fccher.example")


@pytest.mark.parametrize(
    "typed", ["https://ann:hunter2@house.example", "https://house.example/pair#hunter2", "//a:hunter2@b"]
)
def test_what_may_be_a_secret_is_not_repeated(typed: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(typed)
    assert "hunter2" not in str(refused.value)
