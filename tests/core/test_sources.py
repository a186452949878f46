"""Where a call comes from: addresses, networks, and what proxies say of them."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.sources import forwarded_for, is_trusted, nearness, parse_address, parse_networks, source_of
from pairlock.errors import ConfigurationError

# --- addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),  # without brackets there is no port
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("::1", "::1"),
    ],
)
def test_an_address_is_read_without_port_and_zone_and_unwrapped(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


GARBAGE = [
    "",
    " ",
    "localhost",
    "unknown",
    "_hidden",
    "192.0.2",
    "192.0.2.256",
    "192.0.2.1 ",
    "192.0.2.1:",
    "192.0.2.1:http",
    "192.0.2.1/24",
    "192.0.2.01",  # octal to some readers
    "[192.0.2.1",
    "192.0.2.1]:80",
    "[2001:db8::1",
    "[]:80",
    "2001:db8:::1",
    "%eth0",
    "1",
    "٣.0.0.1",
    "/run/pairlock.sock",
    1000 * "1",
]


@pytest.mark.parametrize("text", GARBAGE)
def test_what_is_no_address_is_none_and_a_source_of_its_own(text: str) -> None:
    assert parse_address(text) is None
    assert source_of(text) == text


@given(text=st.text())
def test_no_text_is_too_strange(text: str) -> None:
    assert parse_address(text) is None or source_of(text)
    assert nearness(text, "192.0.2.1") in ("same", "different", "unknown")
    assert forwarded_for(text, [text], parse_networks(["10.0.0.0/8"])) == text


@given(number=st.integers(0, 2**32 - 1), port=st.integers(0, 65535))
def test_every_ipv4_address_is_one_source_however_it_is_written(number: int, port: int) -> None:
    address = str(IPv4Address(number))
    written = [address, f"{address}:{port}", f"::ffff:{address}", f"[::ffff:{address}]:{port}"]
    assert {source_of(each) for each in written} == {address}


@given(network=st.integers(0, 2**64 - 1), hosts=st.tuples(*2 * [st.integers(0, 2**64 - 1)]), port=st.integers(0, 65535))
def test_every_ipv6_64_is_one_source(network: int, hosts: tuple[int, int], port: int) -> None:
    one, other = (IPv6Address(network << 64 | host) for host in hosts)
    if one.ipv4_mapped is None and other.ipv4_mapped is None:
        source = str(IPv6Network((network << 64, 64)))
        assert source_of(str(one)) == source_of(f"[{other}]:{port}") == source
        assert source_of(f"{one}%1") == source


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("2001:db8::1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_others_are_other_sources(one: str, other: str) -> None:
    assert source_of(one) != source_of(other)


# --- nearness

NEAR = [
    ("192.0.2.1", "192.0.2.1", "same"),
    ("8.8.8.8", "8.8.8.8", "same"),  # behind one router, seen from outside
    ("8.8.8.8", "8.8.8.9", "different"),
    ("192.168.1.10", "192.168.1.99", "same"),
    ("192.168.1.10", "192.168.2.10", "different"),
    ("10.0.0.1", "10.0.0.254", "same"),
    ("10.0.0.1", "8.8.8.8", "different"),
    ("::ffff:10.0.0.1", "10.0.0.2", "same"),
    ("127.0.0.1", "::1", "same"),
    ("127.0.0.1", "127.3.2.1", "same"),
    ("127.0.0.1", "192.168.1.10", "different"),
    ("2001:db8::1", "2001:db8::2", "same"),
    ("2001:db8::1", "2001:db8:0:1::1", "different"),
    ("fe80::1%eth0", "fe80::2", "same"),
    ("fd00::1", "fd00::ffff", "same"),
    ("10.0.0.1:5000", "10.0.0.2", "same"),
    ("", "10.0.0.1", "unknown"),
    ("", "", "unknown"),
    ("unknown", "unknown", "unknown"),
    ("/run/a.sock", "127.0.0.1", "unknown"),
]


@pytest.mark.parametrize(("one", "other", "near"), NEAR)
def test_two_addresses_are_of_one_network_or_not_whichever_is_asked_of_which(one: str, other: str, near: str) -> None:
    assert nearness(one, other) == near
    assert nearness(other, one) == near


# --- proxies

PROXIES = parse_networks(["10.0.0.0/8", "fd00::/8", "::1"])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.1", True),
        ("10.0.0.1:4000", True),
        ("::ffff:10.0.0.1", True),
        ("11.0.0.1", False),
        ("fd12::1", True),
        ("::1", True),
        ("::2", False),
        ("", False),
        ("unknown", False),
        ("10.0.0.1, 8.8.8.8", False),
    ],
)
def test_a_proxy_is_trusted_by_its_network(address: str, trusted: bool) -> None:
    assert is_trusted(address, PROXIES) is trusted
    assert not is_trusted(address, ())


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", [], "8.8.8.8"),
        ("8.8.8.8", ["1.1.1.1"], "8.8.8.8"),  # no proxy of ours says so
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", ["1.1.1.1", "10.0.0.2"], "1.1.1.1"),  # two of ours in a row
        ("10.0.0.1", ["9.9.9.9", "1.1.1.1", "10.0.0.2"], "1.1.1.1"),  # 9.9.9.9 is what 1.1.1.1 says
        ("10.0.0.1", ["10.0.0.9", "1.1.1.1"], "1.1.1.1"),  # who pretends to be a proxy of ours
        ("10.0.0.1", ["9.9.9.9", "unknown", "10.0.0.2"], "10.0.0.2"),  # what is no address is not looked behind
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["1.1.1.1:4000"], "1.1.1.1:4000"),
        ("10.0.0.1", ["10.0.0.3", "10.0.0.2"], "10.0.0.3"),  # all of ours: the first of them asks itself
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("", ["1.1.1.1"], ""),  # a Unix socket is no proxy by itself
    ],
)
def test_a_call_comes_from_the_first_address_seen_from_here_that_is_no_proxy_of_ours(
    peer: str, forwarded: list[str], address: str
) -> None:
    assert forwarded_for(peer, forwarded, PROXIES) == address


ADDRESSES = st.sampled_from(["1.1.1.1", "8.8.8.8", "10.0.0.1", "10.9.9.9", "fd00::1", "2001:db8::1", "unknown"])


@given(said=st.lists(ADDRESSES, max_size=4), own=st.sampled_from(["1.1.1.1", "2001:db8::1"]), ours=st.integers(0, 3))
def test_whatever_a_stranger_says_the_proxies_add_where_it_is(said: list[str], own: str, ours: int) -> None:
    seen = [*said, own, *(f"10.0.0.{number}" for number in range(ours))]
    *forwarded, peer = seen
    assert forwarded_for(peer, forwarded, PROXIES) == own


@given(said=st.lists(ADDRESSES, max_size=4), peer=ADDRESSES)
def test_without_trusted_proxies_nothing_that_is_said_counts(said: list[str], peer: str) -> None:
    assert forwarded_for(peer, said, ()) == peer


# --- the setting


def test_networks_are_read_of_both_kinds() -> None:
    assert list(map(str, PROXIES)) == ["10.0.0.0/8", "fd00::/8", "::1/128"]
    assert parse_networks([]) == ()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "", "10.0.0.0/33", "*"])
def test_what_is_no_network_is_refused_and_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"trusted_proxies: .*write networks such as 10\.0\.0\.0/8 or ::1"):
        parse_networks(["10.0.0.0/8", text])


def test_one_text_is_not_taken_for_a_list() -> None:
    with pytest.raises(ConfigurationError, match=r"trusted_proxies: give a list, such as \['10\.0\.0\.0/8'\]"):
        parse_networks("10.0.0.0/8")


@pytest.mark.parametrize("networks", [None, 5, {"10.0.0.0/8"}])
def test_what_is_no_list_is_refused(networks: Any) -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies: give a list"):
        parse_networks(networks)
