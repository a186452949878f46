"""What `pairlock doctor` finds of encryption: the certificate, or what it means that there is none.

A certificate is looked at by the library that will use it: in a handshake in memory, in which the client trusts
this one certificate.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pairlock._core.sources import parse_address
from pairlock.cli.examination.checks import Finding, ok, problem, warning
from pairlock.cli.moments import moment
from pairlock.cli.service.listening import check_certificate
from pairlock.cli.terminal import safe
from pairlock.configuration import Configuration
from pairlock.errors import ConfigurationError

SOON = 21 * 86400.0  # seconds: three weeks are enough to see to it
FLIGHTS = 8  # a handshake takes half as many


def check_tls(configuration: Configuration, now: float) -> Finding:
    """Whether what devices send is encrypted on its way."""
    serving, issuer = configuration.serving, configuration.pairing.get("issuer")
    if serving.tls_certificate is None:
        return _check_plain(serving.host, behind_proxy=bool(configuration.pairing.get("trusted_proxies")))
    try:
        check_certificate(serving.tls_certificate, serving.tls_key)
        presented = _presented(serving.tls_certificate, serving.tls_key)
        if issuer is not None:
            _presented(serving.tls_certificate, serving.tls_key, host=urlsplit(issuer).hostname)
    except ConfigurationError as error:
        return problem("TLS", str(error))
    except ssl.SSLCertVerificationError as error:
        return problem("TLS", f"{serving.tls_certificate}: {error.verify_message.rstrip('.')}; get a new certificate")
    except ssl.SSLError as error:
        return problem("TLS", f"{serving.tls_certificate}: it cannot be used ({error.reason})")
    return _check_time(serving.tls_certificate, presented, now)


def _check_plain(host: str, *, behind_proxy: bool) -> Finding:
    address = parse_address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return ok("TLS", f"none; {host} is reached from this machine only")
    if behind_proxy:
        return ok("TLS", "none here; the trusted proxies are to encrypt")
    says = f"none, and {host} may be reached from elsewhere: whoever is on the way can read tokens"
    return problem("TLS", f"{says}; set tls, or trusted_proxies where a proxy encrypts")


def _check_time(certificate: Path, presented: Mapping[str, Any], now: float) -> Finding:
    end = ssl.cert_time_to_seconds(presented["notAfter"])
    names = ", ".join(safe(str(value)) for _, value in presented.get("subjectAltName", ())) or "no host"
    says = f"{certificate} is for {names} until {moment(end)}"
    return warning("TLS", f"{says}; renew it") if end - now < SOON else ok("TLS", says)


def _presented(certificate: Path, key: Path | None, host: str | None = None) -> Mapping[str, Any]:
    """What a client reads in the certificate. Raises SSLError where it would not trust it, or not for this host."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _trusting(certificate, named=host is not None).wrap_bio(to_client, to_server, server_hostname=host)
    server = _serving(certificate, key).wrap_bio(to_server, to_client, server_side=True)
    for turn in range(FLIGHTS):
        side = (client, server)[turn % 2]
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return client.getpeercert() or {}


def _trusting(certificate: Path, *, named: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = named
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # nobody else vouches for it here
    context.load_verify_locations(certificate)
    return context


def _serving(certificate: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
