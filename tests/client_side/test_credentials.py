"""What is written down: one credential a server and address, and whatever else is there left alone."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pairlock import Permissions
from pairlock.client.addresses import parse
from pairlock.client.answers import TokenAnswer
from pairlock.client.credentials import Credential, Document, decode
from tests.client_side.parts import GRANTED, NOW, SERVER, TOKENS, credential


def kept(*credentials: Credential) -> Document:
    document = Document({})
    for each in credentials:
        document = document.put(document.key_for(each), each)
    return document


def test_a_credential_stands_below_host_and_port_in_the_shape_that_was_promised() -> None:
    written = json.loads(kept(credential()).encode())
    assert list(written) == ["routers"]
    assert list(written["routers"]) == ["192.168.1.100:7330"]
    entry = written["routers"]["192.168.1.100:7330"]
    assert entry["token"] == "plk_token"
    assert entry["name"] == "My Phone"
    assert entry["paired_at"] == "2023-11-14T22:13:20+00:00"
    assert entry["server"] == SERVER


def test_what_is_written_is_read_again() -> None:
    document = kept(credential())
    assert decode(document.encode()).credentials() == document.credentials() == {"192.168.1.100:7330": credential()}


def test_an_app_below_a_path_has_a_key_of_its_own() -> None:
    document = kept(credential(), credential("http://192.168.1.100:7330/a/pair", "01other"))
    assert list(document.credentials()) == ["192.168.1.100:7330", "192.168.1.100:7330/a"]


def test_a_second_server_at_the_same_address_takes_the_place_of_none() -> None:
    document = kept(credential(), credential(id="01other"))
    assert list(document.credentials()) == ["192.168.1.100:7330", "192.168.1.100:7330#01other"]
    again = document.put(document.key_for(credential()), replace(credential(), token="plk_new"))
    assert again.credentials()["192.168.1.100:7330"].token == "plk_new"
    assert len(again.credentials()) == 2
    left = again.without("192.168.1.100:7330")
    assert left.key_for(credential(id="01third")) == "192.168.1.100:7330"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://192.168.1.100:7330", ["01server", "01other"]),
        ("http://192.168.1.100:7330/pair", ["01server"]),
        ("https://192.168.1.100:7330/pair", ["01server"]),
        ("http://192.168.1.100:7330/a", ["01other"]),
        ("http://192.168.1.100:7330/a/pair", ["01other"]),
        ("http://192.168.1.100:7330/b", []),
        ("http://192.168.1.100", []),
        ("http://192.168.1.101:7330", []),
    ],
)
def test_what_is_kept_is_found_by_the_app_by_the_sub_app_and_by_host_and_port(url: str, found: list[str]) -> None:
    document = kept(credential(), credential("http://192.168.1.100:7330/a/pair", "01other"))
    assert [each.server.id for each in document.at(parse(url)).values()] == found


def test_what_others_have_written_stays() -> None:
    theirs = {
        "version": 3,
        "routers": {
            "192.168.1.100:7330": {"token": "abc", "paired_at": "2020", "name": "Old phone"},
            "10.0.0.1:1": {"token": 5, "nested": {"x": [1, None]}},
        },
        "else": ["x"],
    }
    document = decode(json.dumps(theirs).encode())
    assert document.credentials() == {}
    key = document.key_for(credential())
    assert key == "192.168.1.100:7330#01server"
    written = json.loads(document.put(key, credential()).encode())
    assert written["routers"].pop(key)["token"] == "plk_token"
    assert written == theirs
    assert json.loads(document.put(key, credential()).without(key).encode()) == theirs


def test_fields_of_a_later_version_stay_when_a_token_is_refreshed() -> None:
    entry = {**msgspec.to_builtins(credential()), "colour": "red"}
    document = decode(json.dumps({"routers": {"192.168.1.100:7330": entry}}).encode())
    key = "192.168.1.100:7330"
    written = json.loads(document.put(key, replace(credential(), token="plk_new")).encode())["routers"][key]
    assert (written["colour"], written["token"]) == ("red", "plk_new")


def test_a_field_that_is_gone_is_not_kept_from_before() -> None:
    document = kept(credential())
    key = "192.168.1.100:7330"
    written = json.loads(document.put(key, replace(credential(), refresh_token=None)).encode())["routers"][key]
    assert "refresh_token" not in written


@pytest.mark.parametrize(
    "changed",
    [
        {"url": ""},
        {"url": "ftp://x"},
        {"base_url": "http://a b"},
        {"permissions": {"read": ["no slash"]}},
        {"permissions": []},
        {"server": {"id": "\x1b", "name": "x"}},
        {"server": None},
        {"expires_at": "soon"},
        {"token": None},
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_not_used_and_spoils_no_other(changed: dict[str, Any]) -> None:
    broken = {**msgspec.to_builtins(credential()), **changed}
    good = msgspec.to_builtins(credential("http://192.168.1.100:7331/pair"))
    document = decode(json.dumps({"routers": {"192.168.1.100:7330": broken, "192.168.1.100:7331": good}}).encode())
    assert list(document.credentials()) == ["192.168.1.100:7331"]
    assert list(document.at(parse("http://192.168.1.100:7331"))) == ["192.168.1.100:7331"]
    written = json.loads(document.put(document.key_for(credential(id="01new")), credential(id="01new")).encode())
    assert written["routers"]["192.168.1.100:7330"] == broken


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"routers": []}',
        b'{"routers": {"a": 5}}',
        b'{"routers": null}',
        b'{"routers": {"a": {"token": "x"}}',
        b"\x00\x01\xff",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_damaged_is_told(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode(text)


def test_an_empty_document_is_none() -> None:
    assert decode(b"{}").credentials() == {}
    assert json.loads(decode(b"{}").encode()) == {"routers": {}}


@pytest.mark.parametrize(("life", "early"), [(3600, 60), (600, 60), (60, 6), (1, 0.1), (90 * 86400, 60)])
def test_a_token_is_due_a_minute_before_its_end_or_a_tenth_of_its_life(life: float, early: float) -> None:
    made = credential(expires_in=life)
    assert not made.is_due(NOW + life - early - 0.01)
    assert made.is_due(NOW + life - early)


def test_a_credential_says_what_it_grants_and_no_secret() -> None:
    assert credential().granted == Permissions.parse(GRANTED)
    assert repr(credential()) == "<Credential of 'My Phone' for 'Studio' at 192.168.1.100:7330>"


def test_after_a_refresh_everything_is_as_the_server_says() -> None:
    changes = {"access_token": "plk_2", "refresh_token": "plr_2", "device_name": "Renamed", "expires_in": 60}
    answer = msgspec.convert({**TOKENS, **changes, "permissions": {"read": ["/a"]}}, TokenAnswer)
    fresh = replace(credential(), client_id="tv", insecure=True, ca="/ca.pem").refreshed(answer, NOW + 10)
    assert (fresh.token, fresh.refresh_token, fresh.name, fresh.life) == ("plk_2", "plr_2", "Renamed", 60)
    assert (fresh.expires_at, fresh.permissions) == (NOW + 70, {"read": ["/a"]})
    assert (fresh.client_id, fresh.insecure, fresh.ca) == ("tv", True, "/ca.pem")
