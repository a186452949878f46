"""Codes that are derived: from a key, for a purpose, for one request; and how a typed one is found."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.derived import code_digests, code_of, confirmation_pin_of, pin_of
from pairlock._core.keys import Keys
from pairlock._core.methods import DEVICE_CODE, METHODS, ONE_TIME_CODE, PIN, QR, Method, grouped
from pairlock._core.records import PairingRequest
from pairlock.testing import a_request

OLD, NEW = "the-old-key-of-32-bytes-or-more", "the-new-key-of-32-bytes-or-more"
KEYS, ROTATED, REPLACED = Keys([OLD]), Keys([OLD, NEW]), Keys([NEW])
CODED = [DEVICE_CODE, ONE_TIME_CODE, QR]


def by(method: Method, keys: Keys = KEYS) -> PairingRequest:
    return a_request(method=method.name, key_id=keys.newest)


def all_of(keys: Keys, request: PairingRequest) -> list[str | None]:
    return [pin_of(keys, request, 6), confirmation_pin_of(keys, request), code_of(keys, request)]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_is_derived_for_a_request_is_the_same_in_every_process(method: Method) -> None:
    request = by(method)
    assert all_of(Keys([OLD]), request) == all_of(Keys([OLD]), request)
    assert all_of(KEYS, request) == all_of(KEYS, request.evolve(guesses=3, name="Other"))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_what_was_derived_outlives_a_newer_key_and_ends_with_its_own(method: Method) -> None:
    request = by(method)
    assert all_of(ROTATED, request) == all_of(KEYS, request)
    assert all_of(REPLACED, request) == [None, None, None]
    assert all_of(KEYS, a_request(method=method.name)) == [None, None, None]  # under no key at all


@pytest.mark.parametrize("length", [4, 6, 12])
def test_a_pin_has_the_digits_it_is_asked_for(length: int) -> None:
    pin = pin_of(KEYS, by(PIN), length)
    assert pin is not None
    assert len(pin) == length
    assert set(pin) <= set("0123456789")


@pytest.mark.parametrize(
    ("method", "length", "symbols"),
    [
        (DEVICE_CODE, 8, "BCDFGHJKLMNPQRSTVWXZ"),
        (ONE_TIME_CODE, 8, "0123456789ABCDEFGHJKMNPQRSTVWXYZ"),
        (QR, 32, "0123456789ABCDEF"),
    ],
)
def test_a_code_is_of_the_alphabet_and_length_of_its_method(method: Method, length: int, symbols: str) -> None:
    codes = [code_of(KEYS, by(method)) or "" for _ in range(100)]
    assert {len(code) for code in codes} == {length}
    assert set("".join(codes)) == set(symbols)
    assert len(set(codes)) == 100


def test_a_confirmation_pin_has_six_digits() -> None:
    pins = [confirmation_pin_of(KEYS, by(DEVICE_CODE)) or "" for _ in range(100)]
    assert {len(pin) for pin in pins} == {6}
    assert set("".join(pins)) == set("0123456789")


def test_what_is_derived_for_one_purpose_says_nothing_of_another() -> None:
    request = by(DEVICE_CODE)
    purposes = ["pin", "confirmation", *METHODS, *(f"{name} digest" for name in METHODS), "refresh", "refresh family"]
    derived = {KEYS.derive(KEYS.newest, purpose, request.id) for purpose in purposes}
    assert len(derived) == len(set(purposes)) == 11  # the PIN's own is there twice
    same = sum(confirmation_pin_of(KEYS, each) == pin_of(KEYS, each, 6) for each in (by(PIN) for _ in range(200)))
    assert same <= 1  # by chance once in 5000 times


def test_one_id_has_another_code_by_each_method() -> None:
    request = by(ONE_TIME_CODE)
    shown = {name: code_of(KEYS, request.evolve(method=name)) for name in METHODS}
    assert len({(code or "")[:6] for code in shown.values()}) == len(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_another_key_derives_another_code(method: Method) -> None:
    here, there = (a_request(id="1", method=method.name, key_id=keys.newest) for keys in (KEYS, REPLACED))
    assert code_of(ROTATED, here) != code_of(ROTATED, there)


# --- digests


@pytest.mark.parametrize("method", CODED, ids=lambda method: str(method.name))
def test_a_code_is_found_however_it_was_typed(method: Method) -> None:
    code = code_of(KEYS, by(method)) or ""
    spaced = " ".join(code)
    typed = [code, code.lower(), grouped(code), f" {code}\n", spaced, f"{code[:3]}\u2013{code[3:].lower()}."]
    assert {tuple(code_digests(KEYS, method, each)) for each in typed} == {tuple(code_digests(KEYS, method, code))}


@given(noise=st.text(" -._·–\t\n", max_size=5), upper=st.booleans(), number=st.integers(0, 7))
def test_look_alikes_are_read_as_what_they_look_like(noise: str, upper: bool, number: int) -> None:
    code = "01" * 4
    typed = "Ol" * 4 if upper else "oI" * 4
    typed = typed[:number] + noise + typed[number:]
    assert code_digests(KEYS, ONE_TIME_CODE, typed) == code_digests(KEYS, ONE_TIME_CODE, code)


@given(codes=st.lists(st.text("BCDFGHJKLMNPQRSTVWXZ", min_size=8, max_size=8), min_size=2, max_size=2, unique=True))
def test_another_code_has_another_digest(codes: list[str]) -> None:
    one, other = codes
    assert code_digests(KEYS, DEVICE_CODE, one) != code_digests(KEYS, DEVICE_CODE, other)


def test_the_same_symbols_have_another_digest_by_each_method() -> None:
    digests = [code_digests(KEYS, method, "BCDF2345")[0] for method in (ONE_TIME_CODE, QR)]
    digests += [code_digests(KEYS, method, "BCDFBCDF")[0] for method in METHODS.values()]
    assert len(set(digests)) == len(digests)


def test_a_digest_is_made_under_every_key_newest_first() -> None:
    (old,), (new,) = code_digests(KEYS, QR, "0"), code_digests(REPLACED, QR, "0")
    assert code_digests(ROTATED, QR, "0") == [new, old]
    assert len(old) == 32


def test_nobody_without_the_key_can_make_a_digest() -> None:
    digests = [code_digests(Keys([bytes([number]) * 32]), DEVICE_CODE, "BCDFBCDF") for number in range(5)]
    assert all(one != other for one, other in pairwise(digests))
