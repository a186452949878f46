"""A server's proof that it is the one a device has paired with."""

import pytest

from pairlock._core import refresh
from pairlock._core.codes import digest_secret
from pairlock._core.identity import is_id, is_nonce, is_proof, proof
from pairlock._core.keys import Keys

DEVICE = "0" * 26
TOKEN = refresh.first(Keys([b"k" * 32]), DEVICE, "told")
NONCE = "n" * 22


def said(**other: str) -> str:
    given = {"server": "house", "device": DEVICE, "nonce": NONCE} | other
    return proof(digest_secret(TOKEN.family), given["server"], given["device"], given["nonce"])


def test_a_server_that_knows_the_family_of_the_refresh_tokens_proves_it() -> None:
    assert is_proof(said(), str(TOKEN), "house", NONCE)


def test_the_proof_holds_for_all_later_tokens_of_the_family() -> None:
    later = refresh.successor(Keys([b"x" * 32]), TOKEN)
    assert str(later) != str(TOKEN)
    assert is_proof(said(), str(later), "house", NONCE)


@pytest.mark.parametrize("other", [{"server": "another"}, {"device": "1" * 26}, {"nonce": "m" * 22}])
def test_a_proof_is_of_one_server_one_device_and_one_nonce(other: dict[str, str]) -> None:
    assert not is_proof(said(**other), str(TOKEN), "house", NONCE)


@pytest.mark.parametrize("text", ["", "plr_", "plk_token", str(TOKEN)[:-1]])
def test_what_is_no_refresh_token_proves_nothing(text: str) -> None:
    assert not is_proof(said(), text, "house", NONCE)


def test_a_nonce_is_long_enough_to_be_asked_for_once_only_and_goes_into_an_address() -> None:
    assert is_nonce("a-Z_0" * 4)
    assert not any(map(is_nonce, ["", "short", "n" * 129, "with space in it all", "ü" * 20, NONCE + "\n"]))


def test_an_id_is_26_symbols() -> None:
    assert is_id(DEVICE)
    assert not any(map(is_id, ["", DEVICE + "0", DEVICE[:-1] + "\0", DEVICE.replace("0", "O"), DEVICE + "\n"]))
