"""Codes that people type, ids that sort, and what is kept of secrets."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.codes import (
    BASE20,
    CROCKFORD,
    DIGITS,
    HEX,
    SPARE_BITS,
    Alphabet,
    digest_secret,
    encode_secret,
    is_same,
    is_secret,
    make_id,
)

ALPHABETS = [DIGITS, BASE20, CROCKFORD, HEX]

# --- drawing


@pytest.mark.parametrize(("alphabet", "length"), [(DIGITS, 3), (BASE20, 2), (CROCKFORD, 2), (Alphabet("ab"), 9)])
def test_as_many_numbers_in_a_row_as_there_are_codes_draw_each_code_once(alphabet: Alphabet, length: int) -> None:
    space = len(alphabet.symbols) ** length
    size = (space.bit_length() + SPARE_BITS + 7) // 8
    for first in (0, 12_345_678_901, 256**size - space):
        drawn = Counter(alphabet.draw(length, number.to_bytes(size)) for number in range(first, first + space))
        assert len(drawn) == space
        assert set(drawn.values()) == {1}


@pytest.mark.parametrize(("alphabet", "length"), [(DIGITS, 4), (DIGITS, 6), (DIGITS, 12), (BASE20, 8)])
def test_no_code_is_likelier_than_another_by_more_than_one_in_2_to_the_128(alphabet: Alphabet, length: int) -> None:
    space = len(alphabet.symbols) ** length
    size = least(alphabet, length)
    # Each code is drawn by one number in every `space` in a row (above), so by this many of all, or by one more.
    assert 256**size // space >= 2**SPARE_BITS - 1


@pytest.mark.parametrize(
    ("alphabet", "length", "size"),
    [(CROCKFORD, 8, 5), (CROCKFORD, 1, 1), (HEX, 32, 16), (HEX, 1, 1), (HEX, 3, 2), (Alphabet("ab"), 9, 2)],
)
def test_of_as_many_symbols_as_a_power_of_two_every_code_is_equally_likely_with_no_bit_to_spare(
    alphabet: Alphabet, length: int, size: int
) -> None:
    assert least(alphabet, length) == size
    assert 256**size % len(alphabet.symbols) ** length == 0


@pytest.mark.parametrize(
    ("alphabet", "length"), [(CROCKFORD, 2), (CROCKFORD, 3), (HEX, 2), (HEX, 4), (Alphabet("ab"), 9)]
)
def test_all_entropies_of_the_least_size_draw_each_code_as_often(alphabet: Alphabet, length: int) -> None:
    size = least(alphabet, length)
    drawn = Counter(alphabet.draw(length, number.to_bytes(size)) for number in range(256**size))
    assert len(drawn) == len(alphabet.symbols) ** length
    assert len(set(drawn.values())) == 1


def least(alphabet: Alphabet, length: int) -> int:
    """How few bytes of entropy are enough."""
    return next(size for size in range(100) if draws(alphabet, length, size))


def draws(alphabet: Alphabet, length: int, size: int) -> bool:
    try:
        return bool(alphabet.draw(length, bytes(size)))
    except ValueError:
        return False


def test_too_little_entropy_is_refused() -> None:
    assert DIGITS.draw(6, bytes(19)) == "000000"  # 20 bits for the code, 128 to spare: 148 bits
    with pytest.raises(ValueError, match="18 bytes of entropy are too few for 6 symbols"):
        DIGITS.draw(6, bytes(18))
    assert HEX.draw(32, bytes(16)) == 32 * "0"  # 128 bits for the code, none to spare
    with pytest.raises(ValueError, match="15 bytes of entropy are too few for 32 symbols"):
        HEX.draw(32, bytes(15))


@given(entropy=st.binary(min_size=16, max_size=16))
def test_a_qr_secret_is_all_of_its_entropy(entropy: bytes) -> None:
    assert sorted(HEX.draw(32, entropy)) == sorted(entropy.hex().upper())
    assert HEX.draw(32, entropy)[::-1] == entropy.hex().upper()


@given(entropy=st.binary(min_size=40, max_size=64), alphabet=st.sampled_from(ALPHABETS))
def test_a_code_has_its_length_its_symbols_and_one_source(entropy: bytes, alphabet: Alphabet) -> None:
    code = alphabet.draw(8, entropy)
    assert len(code) == 8
    assert set(code) <= set(alphabet.symbols)
    assert alphabet.draw(8, entropy) == code


# --- reading what was typed


@pytest.mark.parametrize(
    ("alphabet", "typed", "meant"),
    [
        (BASE20, "WDJB-MJHT", "WDJBMJHT"),
        (BASE20, "wdjb mjht", "WDJBMJHT"),
        (BASE20, "wdjbmjht.", "WDJBMJHT"),
        (BASE20, " WdJb\u2013mJhT\n", "WDJBMJHT"),
        (BASE20, "WADEJIBOMUJYHT", "WDJBMJHT"),  # no vowels
        (CROCKFORD, "k3f9-x2nm", "K3F9X2NM"),
        (CROCKFORD, "oO iI lL", "001111"),
        (CROCKFORD, "u-U", ""),
        (DIGITS, "847 291", "847291"),
        (DIGITS, "847-291 abc", "847291"),
        (DIGITS, "O1", "1"),
        (DIGITS, "١٢٣１²", ""),  # digits of other scripts are outside the alphabet
        (HEX, "dead-BEEF xyz", "DEADBEEF"),
        (BASE20, "ß", ""),  # whose upper case is SS
        (CROCKFORD, "ﬆſı", ""),  # whose upper cases are ST, S and I
        (CROCKFORD, "\ud800a", "A"),
        (HEX, "", ""),
    ],
)
def test_what_was_typed_is_read_as_it_was_meant(alphabet: Alphabet, typed: str, meant: str) -> None:
    assert alphabet.normalise(typed) == meant


@given(entropy=st.binary(min_size=40, max_size=40), alphabet=st.sampled_from(ALPHABETS), noise=st.text(" -.–_·\t"))
def test_case_spaces_and_dashes_do_not_matter(entropy: bytes, alphabet: Alphabet, noise: str) -> None:
    code = alphabet.draw(8, entropy)
    assert alphabet.normalise(code) == code
    assert alphabet.normalise(noise + code[:4].lower() + noise + code[4:] + noise) == code


@given(typed=st.text(), alphabet=st.sampled_from(ALPHABETS))
def test_what_is_read_is_in_the_alphabet_and_reads_the_same_again(typed: str, alphabet: Alphabet) -> None:
    read = alphabet.normalise(typed)
    assert set(read) <= set(alphabet.symbols)
    assert len(read) <= len(typed)
    assert alphabet.normalise(read) == read


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_no_symbol_stands_twice_and_no_fold_hides_one(alphabet: Alphabet) -> None:
    assert len(set(alphabet.symbols)) == len(alphabet.symbols)
    assert not set(alphabet.folds) & set(alphabet.symbols)
    assert set(alphabet.folds.values()) <= set(alphabet.symbols)


# --- ids


def test_an_id_is_26_lower_case_symbols_of_48_bits_of_milliseconds_and_80_random_ones() -> None:
    made = make_id(1_700_000_000.125, bytes(range(10)))
    assert len(made) == 26
    number = 0
    for symbol in made:
        number = number * 32 + "0123456789abcdefghjkmnpqrstvwxyz".index(symbol)
    assert number.to_bytes(16) == (1_700_000_000_125).to_bytes(6) + bytes(range(10))


@given(
    times=st.tuples(st.integers(0, 2**47), st.integers(0, 2**47)),
    entropies=st.tuples(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10)),
)
def test_ids_sort_by_the_millisecond_of_their_making(times: tuple[int, int], entropies: tuple[bytes, bytes]) -> None:
    first, second = (make_id(time / 1000, entropy) for time, entropy in zip(times, entropies, strict=True))
    assert len(first) == len(second) == 26
    if int(times[0] / 1000 * 1000) < int(times[1] / 1000 * 1000):
        assert first < second


@given(entropies=st.sets(st.binary(min_size=10, max_size=10), min_size=2, max_size=2))
def test_ids_of_the_same_moment_differ(entropies: set[bytes]) -> None:
    assert len({make_id(1_700_000_000, entropy) for entropy in entropies}) == 2


# --- secrets


def test_a_secret_is_url_safe_text_without_padding() -> None:
    assert encode_secret(bytes([251, 255, 254, 0])) == "-__-AA"
    assert len(encode_secret(bytes(32))) == 43


def test_of_a_secret_its_sha_256_is_kept() -> None:
    assert digest_secret("secret") == hashlib.sha256(b"secret").digest()


@pytest.mark.parametrize("wrong", ["", "Secret", "secre", "secrets", "sécret"])
def test_only_the_secret_itself_has_its_digest(wrong: str) -> None:
    assert is_secret("secret", digest_secret("secret"))
    assert not is_secret(wrong, digest_secret("secret"))
    assert not is_secret("secret", b"")


@pytest.mark.parametrize(("typed", "same"), [("123456", True), ("123457", False), ("12345", False), ("", False)])
def test_codes_are_the_same_symbol_by_symbol(typed: str, same: bool) -> None:
    assert is_same(typed, "123456") is same
    assert is_same("é", "é")
