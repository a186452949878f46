"""Secret keys, and what is derived from them."""

import pytest

from pairlock._core.keys import Keys
from pairlock.errors import ConfigurationError

OLD, NEW = "old key, sixteen bytes or more", b"new key, sixteen bytes or more"


@pytest.mark.parametrize("secret_keys", [[], [""], ["fifteen bytes.."], [NEW, b"short"], ["short", NEW], "0" * 64])
def test_no_key_or_one_too_short_to_be_secret_is_refused_with_advice(secret_keys: list[str | bytes]) -> None:
    with pytest.raises(ConfigurationError, match=r"at least one key of at least 16 bytes.*token_urlsafe\(32\)"):
        Keys(secret_keys)


def test_sixteen_bytes_are_enough() -> None:
    assert Keys(["é" * 8]).secrets == ("é".encode() * 8,)


def test_text_and_bytes_are_the_same_key() -> None:
    assert Keys([OLD]).newest == Keys([OLD.encode()]).newest


def test_the_newest_key_is_the_last() -> None:
    assert Keys([OLD, NEW]).newest == Keys([NEW]).newest != Keys([OLD]).newest


def test_an_old_key_still_derives_the_same() -> None:
    before, after = Keys([OLD]), Keys([OLD, NEW])
    derived = before.derive(before.newest, "pin", "1")
    assert derived is not None
    assert len(derived) == 32
    assert after.derive(before.newest, "pin", "1") == derived


def test_a_key_that_is_gone_derives_nothing() -> None:
    assert Keys([NEW]).derive(Keys([OLD]).newest, "pin", "1") is None
    assert Keys([NEW]).derive("", "pin", "1") is None


def test_key_purpose_and_text_each_change_what_is_derived() -> None:
    keys = Keys([OLD, NEW])
    derived = {
        keys.derive(fingerprint, purpose, text)
        for fingerprint in (keys.newest, Keys([OLD]).newest)
        for purpose in ("pin", "code")
        for text in ("", "1", "11")
    }
    assert len(derived) == 12


def test_what_every_key_derives_comes_newest_first() -> None:
    keys = Keys([OLD, NEW])
    old, new = (keys.derive(fingerprint, "code", "1") for fingerprint in (Keys([OLD]).newest, keys.newest))
    assert keys.derive_all("code", "1") == [new, old]
    assert Keys([OLD]).derive_all("code", "1") == [old]


def test_no_purpose_and_text_run_into_each_other() -> None:
    keys = Keys([OLD])
    pairs = [("a", " b.x"), ("a b", ".x"), ("a b.", "x"), ("a", "x"), ("", "ax")]
    assert len({keys.derive(keys.newest, purpose, text) for purpose, text in pairs}) == len(pairs)


def test_a_fingerprint_tells_keys_apart_and_is_no_part_of_the_key() -> None:
    assert len(Keys([NEW]).newest) == 12
    assert Keys([NEW]).newest not in NEW.hex()


def test_keys_do_not_show_themselves() -> None:
    assert repr(Keys([OLD, NEW])) == str(Keys([OLD, NEW])) == "Keys(2 secret)"
