"""Where `pairlock serve` listens: the socket, its certificate, and the addresses by which devices reach it."""

import errno
import socket
import ssl
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from msgspec import Struct

from pairlock.errors import ConfigurationError, PairlockError

OUTSIDE = "192.0.2.1"  # RFC 5737: an address that nobody has; asking the way there sends nothing
PORT = 9

REASONS = {
    errno.EADDRINUSE: "somebody listens there already; give another --port, or 0 for any that is free",
    errno.EACCES: "ports under 1024 are for privileged users; give another, such as --port 8443",
    errno.EADDRNOTAVAIL: "this machine has no such address; 127.0.0.1 is for itself, 0.0.0.0 for all its addresses",
}


class CannotListen(PairlockError):
    """The address and port that were given cannot be listened on."""


class Place(Struct, frozen=True):
    """Where a service listens; `host` as it was given, `address` and `port` as they came to be."""

    scheme: str
    host: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        return ip_address(self.address).is_loopback

    @property
    def is_anywhere(self) -> bool:
        """Whether all addresses of this machine lead there."""
        return ip_address(self.address).is_unspecified

    def urls(self, towards: str = OUTSIDE) -> list[str]:
        """The addresses that devices can use; of those of all networks, that of ours first."""
        if not self.is_anywhere:
            return [self._url(self.host)]
        ours = own_address(towards)
        return [self._url(host) for host in ([ours] if ours else []) + [_LOOPBACK[":" in self.address]]]

    def _url(self, host: str) -> str:
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


_LOOPBACK = {False: "127.0.0.1", True: "::1"}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises CannotListen, and ConfigurationError for what is no address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"host: {host!r} is no address that is known here; try 127.0.0.1") from error
    family, kind, protocol, _, address = min(
        found, key=lambda each: each[0] != socket.AF_INET
    )  # who has both, has IPv4
    listener = socket.socket(family, kind, protocol)  # asyncio sends without delay where the protocol is said
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        why = REASONS.get(error.errno or 0, error.strerror)
        raise CannotListen(f"Cannot listen on {host}, port {port}: {why}") from error
    return listener


def place_of(listener: socket.socket, host: str, *, encrypted: bool) -> Place:
    """Where a socket listens."""
    address, port = listener.getsockname()[:2]
    return Place("https" if encrypted else "http", host, address.partition("%")[0], port)


def own_address(towards: str) -> str | None:
    """The address of this machine in the network that leads there; None where nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, PORT))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def check_certificate(certificate: Path, key: Path | None) -> None:
    """Raises ConfigurationError for a certificate or key that a server cannot use."""
    for file in (certificate, *([] if key is None else [key])):
        _check_readable(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=partial(_refuse, file=key or certificate)
        )
    except ssl.SSLError as error:
        raise ConfigurationError(_mismatch(certificate, key, error)) from error


def _check_readable(file: Path) -> None:
    try:
        with file.open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{file}: it cannot be read: {error.strerror}") from error


def _refuse(file: Path) -> str:
    raise ConfigurationError(
        f"{file}: the key is encrypted, and nobody could type its password at each start;"
        " decrypt it with `openssl pkey -in KEY -out PLAIN`, and let the service alone read that"
    )


def _mismatch(certificate: Path, key: Path | None, error: ssl.SSLError) -> str:
    if "MISMATCH" in str(error.reason):
        return f"{key or certificate}: it is not the key of {certificate}"
    if key is None:
        return f"{certificate}: it does not hold a certificate and its key, both in PEM; give --tls-key too"
    return f"{certificate}, {key}: they do not hold a certificate and its key in PEM"
