"""Capability tokens: what was signed reads back, and nothing else does."""

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itsdangerous import Signer

from pairlock._core.keys import Keys
from pairlock._core.permissions import MAX_PERMISSIONS_BYTES, Permissions
from pairlock._core.tokens import MAX_TOKEN_BYTES, Claims, TokenSigner
from pairlock.errors import InvalidToken

OLD, NEW = b"old key, sixteen bytes or more", b"new key, sixteen bytes or more"
CLAIMS = Claims("01hf7yat1v000g40r40m30e209", "Kitchen", 3, ("/sensors/**",), ("/lamp",), 1000, 4600)
SIGNER = TokenSigner(Keys([NEW]))
TOKEN = SIGNER.sign(CLAIMS).encode()
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def signature(signed: bytes, key: bytes = NEW, salt: bytes = b"pairlock.capability") -> bytes:
    """What a signer with this key and salt would append, written down independently."""
    derived = hmac.digest(key, salt, "sha256")
    return urlsafe_b64encode(hmac.digest(derived, signed, "sha256")).rstrip(b"=")


def signed(payload: bytes, **how: bytes) -> bytes:
    """A token around any payload, rightly signed."""
    encoded = urlsafe_b64encode(payload).rstrip(b"=")
    return b"plk_" + encoded + b"." + signature(encoded, **how)


def refused(token: bytes, signer: TokenSigner = SIGNER) -> bool:
    try:
        signer.read(token)
    except InvalidToken as error:
        return type(error) is InvalidToken
    return False


def test_a_token_reads_back_as_its_claims() -> None:
    assert SIGNER.read(TOKEN) == CLAIMS


@given(
    claims=st.builds(
        Claims,
        device_id=st.text(),
        device_name=st.text(),
        epoch=st.integers(0, 2**63),
        read=st.lists(st.text(), max_size=5).map(tuple),
        write=st.lists(st.text(), max_size=5).map(tuple),
        issued_at=st.integers(-(2**63), 2**63),
        expires_at=st.integers(-(2**63), 2**63),
    )
)
def test_whatever_the_claims_are_they_read_back(claims: Claims) -> None:
    assert SIGNER.read(SIGNER.sign(claims).encode()) == claims


def test_a_token_is_hmac_sha256_over_its_payload() -> None:
    payload = msgspec.msgpack.encode(
        ["capability.1", CLAIMS.device_id, "Kitchen", 3, ["/sensors/**"], ["/lamp"], 1000, 4600]
    )
    assert signed(payload) == TOKEN


def test_a_token_fits_a_header_as_it_is() -> None:
    assert set(TOKEN) <= set(BASE64 + b".")


def test_reading_does_not_ask_for_the_time() -> None:
    long_gone = Claims("1", "Phone", 0, (), (), 0, 1)
    assert SIGNER.read(SIGNER.sign(long_gone).encode()) == long_gone


# --- keys


def test_tokens_of_an_older_key_still_count_and_the_newest_signs() -> None:
    rotated = TokenSigner(Keys([OLD, NEW]))
    of_old = TokenSigner(Keys([OLD])).sign(CLAIMS).encode()
    assert rotated.read(of_old) == CLAIMS
    assert rotated.sign(CLAIMS).encode() == TOKEN != of_old


def test_tokens_of_a_removed_key_count_no_more() -> None:
    assert refused(TokenSigner(Keys([OLD])).sign(CLAIMS).encode())


def test_a_token_signed_with_another_salt_is_refused() -> None:
    payload = msgspec.msgpack.encode(CLAIMS)
    assert not refused(signed(payload))
    assert refused(signed(payload, salt=b"pairlock.refresh"))
    assert refused(signed(payload, salt=b"itsdangerous.Signer"))


def test_a_signature_of_another_digest_is_refused() -> None:
    encoded = TOKEN[4:].partition(b".")[0]
    sha1 = Signer(NEW, salt=b"pairlock.capability", key_derivation="hmac", digest_method=hashlib.sha1)
    assert refused(b"plk_" + sha1.sign(encoded))


# --- touched tokens


def test_every_token_with_one_bit_flipped_is_refused() -> None:
    for position in range(len(TOKEN)):
        for bit in range(8):
            flipped = bytearray(TOKEN)
            flipped[position] ^= 1 << bit
            assert refused(bytes(flipped)), (position, bit)


def test_every_token_with_one_symbol_replaced_is_refused() -> None:
    for position in range(len(TOKEN)):
        for symbol in {*BASE64, *b"+/=. \x00\xff"} - {TOKEN[position]}:
            assert refused(TOKEN[:position] + bytes([symbol]) + TOKEN[position + 1 :]), (position, symbol)


def test_every_token_cut_short_is_refused() -> None:
    for length in range(len(TOKEN)):
        assert refused(TOKEN[:length])
        assert refused(TOKEN[len(TOKEN) - length :])


def test_every_token_with_a_symbol_more_is_refused() -> None:
    for position in range(len(TOKEN) + 1):
        for symbol in (b"A", b"=", b".", b" ", b"\n", b"\x00", b"\xff", b"-"):
            assert refused(TOKEN[:position] + symbol + TOKEN[position:]), (position, symbol)


def test_every_token_with_two_symbols_swapped_is_refused() -> None:
    for position in range(len(TOKEN) - 1):
        left, right = TOKEN[position], TOKEN[position + 1]
        if left != right:
            assert refused(TOKEN[:position] + bytes([right, left]) + TOKEN[position + 2 :])


def test_no_other_spelling_of_a_signature_is_taken() -> None:
    # 43 symbols carry 258 bits, two more than the signature has: four spellings of the last symbol decode alike.
    last = BASE64.index(TOKEN[-1])
    assert last % 4 == 0
    for spare in (1, 2, 3):
        assert refused(TOKEN[:-1] + BASE64[last + spare : last + spare + 1])
    head, _, tail = TOKEN.rpartition(b".")
    for other in (tail + b"=", tail + b"==", tail.replace(b"-", b"+"), tail.replace(b"_", b"/"), b"\xff" + tail):
        assert other == tail or refused(head + b"." + other)


@pytest.mark.parametrize("number", range(40))
def test_the_standard_alphabet_of_base64_is_not_taken(number: int) -> None:
    token = SIGNER.sign(Claims("1", f"Phone {number}", 0, (), (), 0, 1)).encode()
    respelled = token[:4] + token[4:].replace(b"-", b"+").replace(b"_", b"/")
    assert respelled == token or refused(respelled)


@pytest.mark.parametrize("prefix", [b"", b"plk", b"plk-", b"PLK_", b"plr_", b"plk_plk_", b" plk_", b"Bearer plk_"])
def test_another_prefix_is_refused(prefix: bytes) -> None:
    assert refused(prefix + TOKEN[4:])


@pytest.mark.parametrize(
    "token", [b"", b"plk_", b"plk_.", b"plk_" + 43 * b"A", b"plk_." + 43 * b"A", b".", 44 * b".", "plk_é".encode()]
)
def test_what_only_looks_a_little_like_a_token_is_refused(token: bytes) -> None:
    assert refused(token)


def test_the_signature_of_one_token_does_not_fit_another() -> None:
    other = SIGNER.sign(Claims("2", "Phone", 0, ("/**",), ("/**",), 1000, 4600)).encode()
    assert refused(other.rpartition(b".")[0] + b"." + TOKEN.rpartition(b".")[2])


@settings(max_examples=500)
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    assert refused(noise)
    assert refused(b"plk_" + noise)
    assert refused(TOKEN + noise) or not noise
    assert refused(b"plk_" + urlsafe_b64encode(noise) + b"." + TOKEN.rpartition(b".")[2])


# --- rightly signed, wrongly filled: what another version or another use of the key could make

FIELDS: list[Any] = ["capability.1", "1", "Phone", 0, ["/a"], ["/b"], 1000, 4600]


def test_the_fields_below_make_a_token_when_nothing_is_wrong_with_them() -> None:
    assert SIGNER.read(signed(msgspec.msgpack.encode(FIELDS))) == Claims("1", "Phone", 0, ("/a",), ("/b",), 1000, 4600)


@pytest.mark.parametrize(
    "tag", ["capability.2", "capability.0", "capability", "Capability.1", "refresh.1", "", 1, None, ["capability.1"]]
)
def test_another_version_or_type_is_refused(tag: object) -> None:
    assert refused(signed(msgspec.msgpack.encode([tag, *FIELDS[1:]])))


@pytest.mark.parametrize("missing", range(len(FIELDS)))
def test_a_missing_field_is_refused(missing: int) -> None:
    assert refused(signed(msgspec.msgpack.encode(FIELDS[:missing] + FIELDS[missing + 1 :])))


@pytest.mark.parametrize("extra", [None, 0, "", [], {}])
def test_an_extra_field_is_refused(extra: object) -> None:
    assert refused(signed(msgspec.msgpack.encode([*FIELDS, extra])))


WRONG: dict[int, list[Any]] = {
    1: [None, 1, b"1", ["1"]],
    2: [None, 1, b"Phone", ["Phone"]],
    3: [None, "0", 0.0, 0.5, True, [0]],
    4: [None, "/a", {"/a": 1}, [1], [b"/a"], [None], [["/a"]], 1],
    5: [None, "/b", {"/b": 1}, [1], [b"/b"], [None], [["/b"]], 1],
    6: [None, "1000", 1000.0, 1000.5, True, float("nan")],
    7: [None, "4600", 4600.0, 4600.5, True, float("inf"), []],
}


@pytest.mark.parametrize(("at", "wrong"), [(at, wrong) for at, values in WRONG.items() for wrong in values])
def test_a_field_of_another_type_is_refused(at: int, wrong: object) -> None:
    assert refused(signed(msgspec.msgpack.encode([*FIELDS[:at], wrong, *FIELDS[at + 1 :]])))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\xc1",
        b"not msgpack",
        msgspec.msgpack.encode(dict(enumerate(FIELDS))),
        msgspec.msgpack.encode(FIELDS) + b"\x00",
        msgspec.msgpack.encode(FIELDS)[:-1],
        msgspec.json.encode(FIELDS),
        msgspec.msgpack.encode(["capability.1", "\xff", *FIELDS[2:]]).replace("\xff".encode(), b"\xff\xff"),
    ],
)
def test_a_payload_that_does_not_decode_is_refused(payload: bytes) -> None:
    assert refused(signed(payload))


@pytest.mark.parametrize("encoded", [b"", b"A", b"AAAAA", b"=", b"\xff\xfe", "é".encode(), b"A.A", b"%41"])
def test_a_payload_that_is_no_base64_is_refused(encoded: bytes) -> None:
    assert refused(b"plk_" + encoded + b"." + signature(encoded))


def test_a_payload_in_another_spelling_has_another_signature() -> None:
    encoded = b64encode(msgspec.msgpack.encode(FIELDS))
    for respelled in (encoded, encoded + b"=", b" " + encoded, encoded[:4] + b"\n" + encoded[4:]):
        if respelled != TOKEN[4:].partition(b".")[0]:
            assert refused(b"plk_" + respelled + b"." + TOKEN.rpartition(b".")[2])


# --- size


def test_a_token_of_8192_bytes_is_read_and_one_byte_more_is_refused() -> None:
    def of_size(name: int) -> bytes:
        return signed(msgspec.msgpack.encode([FIELDS[0], FIELDS[1], name * "a", *FIELDS[3:]]))

    sizes = {len(of_size(name)): of_size(name) for name in range(6050, 6110)}
    assert MAX_TOKEN_BYTES == 8192
    for size, token in sizes.items():
        assert refused(token) == (size > 8192), size
    assert {size > 8192 for size in sizes} == {True, False}


def test_the_most_permissions_that_can_be_granted_fit_in_a_token() -> None:
    patterns = [f"/{number:02}" + 61 * "x" for number in range(48)]
    assert sum(map(len, patterns)) == MAX_PERMISSIONS_BYTES
    permissions = Permissions.parse({"read": patterns[:24], "write": patterns[24:]})
    claims = Claims("0" * 26, "🔥" * 64, 2**32, permissions.read, permissions.write, 2**40, 2**40)
    assert SIGNER.read(SIGNER.sign(claims).encode()) == claims
