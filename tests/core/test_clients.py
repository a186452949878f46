"""OAuth clients and resource servers: who is known, and who proves to be it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.clients import Client, Clients, Credentials, ResourceServers, is_client_id
from pairlock._core.permissions import Permissions
from pairlock.errors import ConfigurationError, InvalidClient

SECRET = "a-secret-of-24-characters"
TV, CAR = Client(id="tv", name="Television"), Client(id="car", secret=SECRET)
KNOWN = Clients([TV, CAR])

# --- authenticating


@pytest.mark.parametrize(
    ("client_id", "secret", "client"),
    [
        ("tv", "", TV),
        ("car", SECRET, CAR),
        ("car", "", None),
        ("car", SECRET[:-1], None),
        ("car", SECRET.upper(), None),
        ("car", "sécret", None),
        ("tv", "x", None),  # who offers a secret expects it to be checked
        ("TV", "", None),
        ("bus", "", None),
        ("bus", SECRET, None),
        ("", "", None),
    ],
)
def test_a_client_is_known_and_proves_to_be_it(client_id: str, secret: str, client: Client | None) -> None:
    if client is None:
        with pytest.raises(InvalidClient):
            KNOWN.authenticate(Credentials(client_id, secret))
    else:
        assert KNOWN.authenticate(Credentials(client_id, secret)) is client


def test_without_a_registry_any_public_client_is_taken_at_its_word() -> None:
    client = Clients(None).authenticate(Credentials("anything-at-all"))
    assert (client.id, client.secret, client.name, client.permissions) == ("anything-at-all", None, "", None)
    with pytest.raises(InvalidClient):
        Clients(None).authenticate(Credentials("anything-at-all", "secret"))


def test_an_empty_registry_knows_nobody() -> None:
    with pytest.raises(InvalidClient):
        Clients([]).authenticate(Credentials("tv"))


@pytest.mark.parametrize(
    ("client_id", "secret", "proven"),
    [
        ("camera", SECRET, True),
        ("camera", "", False),
        ("camera", SECRET + "x", False),
        ("grafana", SECRET, False),
        ("grafana", "", False),
        ("", "", False),
    ],
)
def test_a_resource_server_always_proves_to_be_it(client_id: str, secret: str, proven: bool) -> None:
    servers = ResourceServers({"camera": SECRET})
    if proven:
        servers.authenticate(Credentials(client_id, secret))
    else:
        with pytest.raises(InvalidClient):
            servers.authenticate(Credentials(client_id, secret))


def test_nobody_introspects_where_no_resource_server_is_set() -> None:
    with pytest.raises(InvalidClient):
        ResourceServers({}).authenticate(Credentials("", ""))


# --- settings


@pytest.mark.parametrize("client_id", ["a", "urn:device:tv", "https://tv.example/", "!", 200 * "a"])
def test_an_id_is_visible_ascii(client_id: str) -> None:
    assert is_client_id(client_id)
    assert Client(id=client_id).id == client_id


@pytest.mark.parametrize("client_id", ["", " ", "a b", "tv\n", "é", "\x7f", 201 * "a"])
def test_what_is_no_visible_ascii_or_too_long_is_no_id(client_id: str) -> None:
    assert not is_client_id(client_id)
    with pytest.raises(ConfigurationError, match="clients: an id is 1 to 200 visible ASCII characters, not"):
        Client(id=client_id)
    with pytest.raises(ConfigurationError, match="resource_servers: an id is 1 to 200 visible ASCII characters, not"):
        ResourceServers({client_id: SECRET})


@given(text=st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200))
def test_every_visible_ascii_is_an_id(text: str) -> None:
    assert is_client_id(text)


@pytest.mark.parametrize("client_id", [None, 5, b"tv"])
def test_what_is_no_text_is_no_id(client_id: Any) -> None:
    with pytest.raises(ConfigurationError, match="clients: an id is"):
        Client(id=client_id)


@pytest.mark.parametrize(
    "secret", ["", "fifteen-letters", "with space in it, sixteen", "é" * 20, 5, b"bytes of sixteen"]
)
def test_a_secret_that_is_short_or_no_visible_ascii_is_refused_and_not_shown(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="clients: car: a secret is at least 16 visible") as refused:
        Client(id="car", secret=secret)
    assert not secret or str(secret) not in str(refused.value)
    with pytest.raises(ConfigurationError, match="resource_servers: camera: a secret is at least 16 visible"):
        ResourceServers({"camera": secret})


@pytest.mark.parametrize("name", ["", "Television", "größer", 64 * "a"])
def test_a_client_may_have_a_name(name: str) -> None:
    assert Client(id="tv", name=name).name == name


@pytest.mark.parametrize("name", [" ", "\u200b", 65 * "a"])
def test_a_name_that_no_device_could_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="clients: tv: name "):
        Client(id="tv", name=name)


@pytest.mark.parametrize("servers", [["camera"], "camera", [("camera", SECRET)]])
def test_what_are_no_ids_with_their_secrets_is_refused_with_advice(servers: Any) -> None:
    with pytest.raises(ConfigurationError, match="resource_servers: give ids and secrets"):
        ResourceServers(servers)


@pytest.mark.parametrize("permissions", [{"read": ["/a"]}, ["/a"], "read:/a"])
def test_the_bound_of_a_client_is_permissions_that_were_parsed(permissions: Any) -> None:
    assert Client(id="tv", permissions=Permissions(read=("/a",))).permissions == Permissions(read=("/a",))
    with pytest.raises(ConfigurationError, match="clients: tv: "):
        Client(id="tv", permissions=permissions)


def test_a_client_stands_in_the_registry_once() -> None:
    with pytest.raises(ConfigurationError, match="clients: tv is there twice"):
        Clients([TV, CAR, Client(id="tv")])


@pytest.mark.parametrize("clients", [["tv"], {"tv": TV}, [TV, {"id": "car"}], "tv"])
def test_what_is_no_list_of_clients_is_refused_with_advice(clients: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'clients: give a list such as \[Client\(id="tv"\)\], not'):
        Clients(clients)


@pytest.mark.parametrize("clients", [5, TV])
def test_what_is_no_list_at_all_is_refused_with_advice(clients: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'clients: give a list such as \[Client\(id="tv"\)\]'):
        Clients(clients)


def test_no_secret_shows_itself() -> None:
    assert repr(CAR) == str(CAR) == "Client('car')"
    assert repr(Credentials("car", SECRET)) == str(Credentials("car", SECRET)) == "Credentials('car')"
