"""Tokens in the keyring of the operating system: a keyring in memory stands in for it, and some that fail."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import keyring
import keyring.backends.fail
import keyring.backends.null
import keyring.errors
import pytest
from keyring.backend import KeyringBackend

from pairlock.client import CredentialFile
from pairlock.client.vault import Tokens
from pairlock.errors import CredentialsError
from pairlock.testing import FakeClock
from tests.client_side.house import House
from tests.client_side.sides import Side


class Ring(KeyringBackend):
    """A keyring in memory, which can be locked."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        if self.kept.pop((service, username), None) is None:
            raise keyring.errors.PasswordDeleteError("not found")

    def _check(self) -> None:
        if self.locked:
            raise keyring.errors.KeyringLocked("it is locked")


@pytest.fixture
def use() -> Iterator[Any]:
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


@pytest.fixture
def ring(use: Any) -> Ring:
    ring = Ring()
    use(ring)
    return ring


@pytest.fixture
def vaulted(file: CredentialFile) -> CredentialFile:
    return CredentialFile(file.path, keyring=True)


def test_tokens_are_in_the_keyring_and_not_in_the_file(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    client = one_side.redeem(house.url, house.code(), credentials=vaulted)
    assert client.get("/sensors/a").status_code == 200
    text = vaulted.path.read_text()
    assert "plk_" not in text
    assert "plr_" not in text
    (kept,) = vaulted.read().credentials().values()
    assert list(ring.kept) == [("pairlock", f"{kept.server.id}/{kept.device_id}")]
    again = one_side.connect(house.url, credentials=vaulted.path)  # whoever reads needs not know
    assert again.get("/sensors/a").status_code == 200


def test_a_refresh_and_a_log_out_go_to_the_keyring_too(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    clock = FakeClock(time.time())
    client = one_side.redeem(house.url, house.code(), credentials=vaulted, clock=clock)
    before = dict(ring.kept)
    clock.advance(3600)
    assert client.get("/sensors/a").status_code == 200
    assert ring.kept != before
    assert "plr_" not in vaulted.path.read_text()
    one_side.module.logout(house.url, credentials=vaulted)
    assert ring.kept == {}
    assert vaulted.read().credentials() == {}


def test_a_keyring_that_is_locked_says_so_and_no_code_is_used_up(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    ring.locked = True
    code = house.code()
    with pytest.raises(CredentialsError, match="it is locked"):
        one_side.redeem(house.url, code, credentials=vaulted)
    ring.locked = False
    assert one_side.redeem(house.url, code, credentials=vaulted).get("/sensors/a").status_code == 200
    ring.locked = True
    with pytest.raises(CredentialsError, match=r"does not give.*it is locked.*unlock it"):
        one_side.connect(house.url, credentials=vaulted)


@pytest.mark.parametrize("backend", [keyring.backends.fail.Keyring, keyring.backends.null.Keyring])
def test_where_no_keyring_keeps_anything_no_code_is_used_up(
    one_side: Side, house: House, vaulted: CredentialFile, use: Any, backend: type[KeyringBackend]
) -> None:
    use(backend())
    code = house.code()
    with pytest.raises(CredentialsError, match="leave it out, to keep tokens in a file"):
        one_side.redeem(house.url, code, credentials=vaulted)
    assert house.devices() == []


def test_without_the_package_it_says_what_to_install(
    one_side: Side, house: House, vaulted: CredentialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(CredentialsError, match=r"pairlock\[keyring\]"):
        one_side.redeem(house.url, "K3F9-X2NM", credentials=vaulted)


def test_tokens_that_the_keyring_has_lost_are_told_and_one_can_pair_again(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    one_side.redeem(house.url, house.code(), credentials=vaulted)
    ring.kept.clear()
    with pytest.raises(CredentialsError, match=r"no tokens of 127.* any more; pair again"):
        one_side.connect(house.url, credentials=vaulted)
    client = one_side.redeem(house.url, house.code(), credentials=vaulted, replace=True)
    assert client.get("/sensors/a").status_code == 200


def test_what_is_no_token_in_the_keyring_is_told(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    one_side.redeem(house.url, house.code(), credentials=vaulted)
    ring.kept = dict.fromkeys(ring.kept, "nonsense")
    with pytest.raises(CredentialsError, match="does not give"):
        one_side.connect(house.url, credentials=vaulted)


def test_a_pairing_that_the_keyring_does_not_take_is_taken_back(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    asked = one_side.pair(house.url, credentials=vaulted)
    ring.locked = True
    with pytest.raises(CredentialsError, match="does not take"):
        asked.submit_pin(house.pin())
    assert house.devices() == []


def test_what_the_keyring_does_not_drop_can_be_forgotten_later(
    one_side: Side, house: House, vaulted: CredentialFile, ring: Ring
) -> None:
    one_side.redeem(house.url, house.code(), credentials=vaulted)
    (key,) = vaulted.read().credentials()
    ring.locked = True
    with pytest.raises(CredentialsError, match="does not drop"):
        remove(vaulted, key)
    assert key in vaulted.read().credentials()
    ring.locked = False
    ring.kept.clear()
    remove(vaulted, key)
    assert vaulted.read().credentials() == {}


def remove(file: CredentialFile, key: str) -> None:
    with file.drafting() as draft:
        draft.remove(key)


def test_tokens_are_in_no_repr() -> None:
    assert repr(Tokens("plk_x", "plr_x")) == "<Tokens>"
