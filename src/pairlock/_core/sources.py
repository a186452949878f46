"""Where a call comes from, as far as limits and operators are concerned: an address, or a network."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

from pairlock.errors import ConfigurationError

Network = IPv4Network | IPv6Network
Nearness = Literal["same", "different", "unknown"]

SUBSCRIBER = 64  # bits: what one IPv6 subscriber has at least, all of it a single source
NEIGHBOURS = 24  # bits: how much of a private IPv4 address two in one home share


_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, without a port or zone, one that IPv6 wraps unwrapped; None when it is none."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        bare = (with_port[1] or with_port[2]) if with_port else text
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def source_of(address: str) -> str:
    """What is counted as one: an IPv4 address, or an IPv6 /64."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, SUBSCRIBER), strict=False))
    return address if parsed is None else str(parsed)


def nearness(one: str, other: str) -> Nearness:
    """Whether two addresses are of the same network, as seen from here: one source, or one private /24."""
    here, there = parse_address(one), parse_address(other)
    if here is None or there is None:
        return "unknown"
    if source_of(one) == source_of(other) or (here.is_loopback and there.is_loopback):
        return "same"
    if here.version != there.version:  # a home has a network of each
        return "unknown"
    if isinstance(here, IPv4Address) and here.is_private:
        return "same" if there in IPv4Network((here, NEIGHBOURS), strict=False) else "different"
    return "different"


def parse_networks(networks: Sequence[str]) -> tuple[Network, ...]:
    """The networks of trusted proxies. Raises ConfigurationError, naming the one that is none."""
    if isinstance(networks, str) or not isinstance(networks, Sequence):
        raise ConfigurationError(f"trusted_proxies: give a list, such as [{networks!r}]")
    return tuple(_network(text) for text in networks)


def forwarded_for(peer: str, forwarded: Sequence[str], proxies: Sequence[Network]) -> str:
    """The address a call comes from: the first, seen from here, that is no trusted proxy's."""
    known = peer
    for address in reversed(forwarded):
        if not is_trusted(known, proxies) or parse_address(address) is None:
            break
        known = address
    return known


def is_trusted(address: str, proxies: Sequence[Network]) -> bool:
    """Whether this is the address of a trusted proxy."""
    parsed = parse_address(address) if proxies else None
    return parsed is not None and any(parsed in network for network in proxies)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigurationError(f"trusted_proxies: {error}; write networks such as 10.0.0.0/8 or ::1") from None
