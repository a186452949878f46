"""Addresses of services: read as people write them, compared by origin, and whether a secret may go there."""

import re
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from pairlock._core.sources import parse_address
from pairlock.client.libraries import library
from pairlock.errors import ConfigurationError, Unencrypted

PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.]*:[0-9a-f:.]*(%[\w.-]{1,64})?", re.ASCII)  # a name, or IPv6


class Address(Struct, frozen=True):
    """Where something is served; `path` has no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def place(self) -> str:
        """The host and its port, always with the port: `192.168.1.100:7330`."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port; the port only where it is not the scheme's own."""
        return f"{self.scheme}://{_bracketed(self.host) if self.port == PORTS[self.scheme] else self.place}"

    @property
    def url(self) -> str:
        """All of it."""
        return self.origin + self.path

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent there never leaves this machine."""
        address = parse_address(self.host)
        return self.host == "localhost" or (address is not None and address.is_loopback)

    def below(self, path: str) -> "Address":
        """The address of something further down."""
        return Address(self.scheme, self.host, self.port, self.path + path)

    def parent(self) -> "Address":
        """One segment up."""
        return Address(self.scheme, self.host, self.port, self.path.rpartition("/")[0])


def parse(text: str) -> Address:
    """An address as it was typed; without a scheme it is https, or http on this machine. Raises ConfigurationError."""
    typed = text.strip()
    try:
        if any(symbol.isspace() or not symbol.isprintable() for symbol in typed):
            raise ValueError("there is a space in it, or something that cannot be seen")  # noqa: TRY301  # as of urlsplit
        split = urlsplit(typed if "://" in typed else f"//{typed}")
        return _address(split, split.port)
    except ValueError as error:
        raise _malformed(text, str(error)) from None


def check_encrypted(address: Address, *, insecure: bool) -> None:
    """Raises Unencrypted for plain HTTP to another machine, unless the caller said that this may be."""
    if address.scheme == "http" and not insecure and not address.is_loopback:
        raise Unencrypted(
            f"{address.origin} is not encrypted: whoever is on the way could read the token."
            " Use https://, or say that it may be (insecure=True, --insecure)."
        )


def _address(split: SplitResult, port: int | None) -> Address:
    host, scheme = _in_ascii((split.hostname or "").rstrip(".")), split.scheme.lower()
    if not _HOST.fullmatch(host) or (":" in host and parse_address(host) is None):
        raise ValueError("it names no host")
    if split.username is not None or split.query or split.fragment:
        raise ValueError("leave out user name, query and fragment")
    if not scheme:
        scheme = "http" if Address("http", host, 80).is_loopback else "https"
    if scheme not in PORTS:
        raise ValueError("it is neither http nor https")
    return Address(scheme, host, PORTS[scheme] if port is None else port, split.path.rstrip("/"))


def _in_ascii(host: str) -> str:
    """An international name in the very form in which it will be connected to."""
    if host.isascii():
        return host
    http = library()
    try:
        return http.URL(f"https://{host}").raw_host.decode("ascii")  # type: ignore[no-any-return]
    except http.InvalidURL as error:
        raise ValueError(str(error)) from None


def _malformed(text: str, why: str) -> ConfigurationError:
    shown = re.sub(r"//[^/]*@", "//…@", text[:200]).partition("#")[0]  # no password, no code
    return ConfigurationError(f"{shown!r} is no address of a service ({why}); write one such as https://house.example")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
