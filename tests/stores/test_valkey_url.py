"""What may be written as the URL of a Valkey or Redis server."""

from typing import Any

import pytest

from pairlock.errors import ConfigurationError
from pairlock.stores import open_store
from pairlock.stores.valkey import ValkeyStore
from pairlock.stores.valkey_url import SCHEMES, parse


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("valkey://host", {"nodes": (("host", 6379),), "database": 0, "prefix": "pairlock", "timeout": 5.0}),
        ("redis://host:7000/3", {"nodes": (("host", 7000),), "database": 3, "tls": False}),
        ("valkeys://[::1]:7000", {"nodes": (("::1", 7000),), "tls": True}),
        ("valkey://host?prefix=house.1:a_b-c&timeout=0.5", {"prefix": "house.1:a_b-c", "timeout": 0.5}),
        ("valkey+unix:///run/a%20b.sock?db=2", {"path": "/run/a b.sock", "nodes": (), "database": 2}),
        ("redis+sentinel://a,b:1/main", {"nodes": (("a", 26379), ("b", 1)), "service": "main", "database": 0}),
        ("redis+sentinel://a/my%20main/4", {"service": "my main", "database": 4}),
        ("valkey+cluster://a,b:1", {"nodes": (("a", 6379), ("b", 1)), "database": 0}),
        ("rediss+cluster://a/0", {"nodes": (("a", 6379),), "tls": True}),
    ],
)
def test_a_url_says_where_and_how(url: str, said: dict[str, Any]) -> None:
    address = parse(url)
    assert {name: getattr(address, name) for name in said} == said
    assert isinstance(open_store(url), ValkeyStore)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_opens_a_store(scheme: str) -> None:
    place = "/run/valkey.sock" if "unix" in scheme else "host/main" if "sentinel" in scheme else "host"
    store = open_store(f"{scheme}://{place}")
    assert repr(store) == f"ValkeyStore({scheme}://{place}, prefix pairlock)"


def test_names_and_passwords_are_percent_decoded() -> None:
    assert parse("valkey://b%C3%A4r:p%40ss%2F%3A@host").options == {"username": "bär", "password": "p@ss/:"}
    assert parse("valkey://:secret@host").options == {"username": None, "password": "secret"}
    sentinel = parse("valkey+sentinel://u:p@host/main?sentinel_username=su&sentinel_password=sp")
    assert sentinel.options == {"username": "u", "password": "p"}
    assert sentinel.sentinel_options == {"username": "su", "password": "sp"}


def test_the_name_in_a_certificate_counts_unless_it_is_said() -> None:
    def checks(query: str) -> bool:
        return bool(parse(f"valkeys://host{query}").options["ssl_check_hostname"])

    assert checks("")
    assert checks("?ssl_cert_reqs=required&ssl_check_hostname=Yes")
    assert not checks("?ssl_check_hostname=no")
    assert not checks("?ssl_cert_reqs=none")
    assert "ssl_check_hostname" not in parse("valkey://host").options


@pytest.mark.parametrize(
    "place",
    [
        "valkey://user:hunter2@host",
        "valkeys://user:hunter2@host:6379/3?ssl_ca_certs=/ca.pem",
        "valkey+sentinel://user:hunter2@a,b/main?sentinel_password=hunter2",
        "valkey+cluster://:hunter2@a,b",
    ],
)
def test_no_password_shows(place: str) -> None:
    store = open_store(place)
    assert isinstance(store, ValkeyStore)
    assert "hunter2" not in repr(store) + repr(store._address) + str(store._address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("valkey://", "write valkey://user:password@host:6379/0"),
        ("valkey://user:hunter2@", "write valkey://user:password@host:6379/0"),
        ("valkey://user:hunt#er2@host", "stands percent-encoded"),
        ("valkey://user:hunt/er2@host", "stands percent-encoded"),
        ("valkey://user:hunt?er2@host", "write valkey://user:password@host"),
        ("valkey://user:hunt@er2@host", "stands percent-encoded"),
        ("valkey://[::1", "write valkey://"),
        ("valkey://host:port", "write valkey://"),
        ("valkey://host/name", "write valkey://"),
        ("valkey://host/0/1", "write valkey://"),
        ("valkey://host?prefix", "write valkey://"),
        ("valkey://a,b", "of several, write valkey+sentinel:// or valkey+cluster://"),
        ("valkey+unix://host/run/valkey.sock", "write valkey+unix:///run/valkey/valkey.sock"),
        ("valkey+unix://", "write valkey+unix:///run/valkey/valkey.sock"),
        ("valkey+sentinel://host", "write valkey+sentinel://"),
        ("valkey+sentinel://host/main/x", "write valkey+sentinel://"),
        ("valkey+cluster://host/1", "a cluster has no databases but 0"),
        ("valkey://host?prefix=a b", "prefix= takes"),
        ("valkey://host?prefix={a}", "prefix= takes"),
        ("valkey://host?prefix=", "prefix= takes"),
        ("valkey://host?timeout=0", "timeout= takes seconds, from 0.1 to 60"),
        ("valkey://host?timeout=soon", "timeout= takes seconds, from 0.1 to 60"),
        ("valkey://host?hunter2=1", "is not known; it takes prefix, timeout"),
        ("valkey://host?decode_responses=yes", "is not known"),
        ("valkey://host?ssl_ca_certs=x", "has no meaning with this scheme"),
        ("valkey://host?sentinel_password=hunter2", "has no meaning with this scheme"),
        ("valkeys://host?ssl_check_hostname=perhaps", "ssl_check_hostname= is yes or no"),
        ("valkeys://host?ssl_cert_reqs=some", "ssl_cert_reqs= is required, optional or none"),
    ],
)
def test_a_url_spelt_wrongly_says_how_to_write_it(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)
    assert said in str(raised.value)
    assert "hunt" not in str(raised.value)
