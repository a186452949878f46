"""Refresh tokens: their form, what counts, what takes their place, and how one that was stolen is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core import refresh
from pairlock._core.codes import digest_secret, encode_secret
from pairlock._core.keys import Keys
from pairlock._core.records import Device
from pairlock._core.refresh import RefreshToken
from pairlock.testing import a_device

OLD, NEW = Keys(["the-old-key-of-32-bytes-or-more"]), Keys(["the-new-key-of-32-bytes-or-more"])
BOTH = Keys([*OLD.secrets, *NEW.secrets])
DEVICE_ID = "01hf7yat00000000000000000a"
TOLD = "what-the-device-told-at-its-pairing"
NOW = 1_700_000_000.0
TOKEN = refresh.first(OLD, DEVICE_ID, TOLD)
STRANGE = encode_secret(bytes(range(32)))


def holding(token: RefreshToken) -> Device:
    """A device that this token is of."""
    return refresh.kept(a_device(id=token.device_id), token)


def rotated(keys: Keys, device: Device, token: RefreshToken, now: float = NOW) -> tuple[Device, RefreshToken]:
    """The device after a rotation, and the token it was given."""
    following = refresh.successor(keys, token)
    changed = device.evolve(rotated_from=device.refresh_digest, rotated_at=now)
    return refresh.kept(changed, following), following


# --- form


def test_a_refresh_token_reads_as_it_was_written() -> None:
    assert str(TOKEN) == f"plr_{DEVICE_ID}.{TOKEN.family}.{TOKEN.secret}"
    assert refresh.parse(str(TOKEN)) == TOKEN
    assert (len(TOKEN.family), len(TOKEN.secret)) == (43, 43)


@given(family=st.binary(min_size=32, max_size=32), secret=st.binary(min_size=32, max_size=32))
def test_every_refresh_token_reads_as_it_was_written(family: bytes, secret: bytes) -> None:
    token = RefreshToken(DEVICE_ID, encode_secret(family), encode_secret(secret))
    assert refresh.parse(str(token)) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plr_",
        "plr_..",
        str(TOKEN)[4:],
        f"plk_{str(TOKEN)[4:]}",
        f"PLR_{str(TOKEN)[4:]}",
        f" {TOKEN}",
        f"{TOKEN}\n",
        f"{TOKEN}=",
        f"{TOKEN}.",
        str(TOKEN)[:-1],
        str(TOKEN).replace(DEVICE_ID, DEVICE_ID.upper()),
        str(TOKEN).replace(DEVICE_ID, DEVICE_ID[1:]),
        str(TOKEN).replace(TOKEN.secret, TOKEN.secret[1:]),
        str(TOKEN).replace(TOKEN.secret, f"{TOKEN.secret[1:]}é"),
        str(TOKEN).replace(TOKEN.family, f"{TOKEN.family[1:]}+"),
        f"plr_{DEVICE_ID}.{TOKEN.secret}",
        "plr_" + 10_000 * "a",
    ],
)
def test_what_has_not_the_form_of_a_refresh_token_is_none(text: str) -> None:
    assert refresh.parse(text) is None


@given(text=st.text())
def test_no_text_is_too_strange_to_be_refused(text: str) -> None:
    assert refresh.parse(text) is None
    assert refresh.parse(f"plr_{text}") is None


def test_a_refresh_token_does_not_show_its_secrets() -> None:
    assert repr(TOKEN) == f"<RefreshToken of {DEVICE_ID}>"


def test_what_is_kept_are_digests() -> None:
    device = holding(TOKEN)
    assert (device.refresh_digest, device.family_digest) == (digest_secret(TOKEN.secret), digest_secret(TOKEN.family))
    assert (device.version, device.rotated_from, device.rotated_at) == (1, None, None)


# --- which one counts


def test_the_token_of_a_device_counts() -> None:
    assert refresh.counts(holding(TOKEN), TOKEN)
    assert refresh.is_of_family(holding(TOKEN), TOKEN)


def test_a_device_without_a_refresh_token_takes_none() -> None:
    assert not refresh.counts(a_device(), TOKEN)
    assert not refresh.is_of_family(a_device(), TOKEN)
    assert not refresh.was_just_rotated(a_device(), TOKEN, NOW)


def test_another_secret_does_not_count() -> None:
    assert not refresh.counts(holding(TOKEN), RefreshToken(DEVICE_ID, TOKEN.family, STRANGE))
    assert not refresh.counts(holding(TOKEN), RefreshToken(DEVICE_ID, TOKEN.secret, TOKEN.family))


def test_a_secret_with_the_family_of_another_does_not_count() -> None:
    # Else a thief changes the family with the token, and the token of who was robbed is known to nobody any more.
    forged = RefreshToken(DEVICE_ID, STRANGE, TOKEN.secret)
    device = holding(TOKEN)
    assert not refresh.counts(device, forged)
    device, _ = rotated(OLD, device, TOKEN)
    assert not refresh.was_just_rotated(device, forged, NOW)


BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(place=st.integers(4 + len(DEVICE_ID) + 1, len(str(TOKEN)) - 1), symbol=st.sampled_from(BASE64))
def test_a_token_with_one_symbol_changed_does_not_count(place: int, symbol: str) -> None:
    text = str(TOKEN)
    forged = refresh.parse(text[:place] + symbol + text[place + 1 :])
    if forged is not None and forged != TOKEN:
        assert not refresh.counts(holding(TOKEN), forged)
        assert not refresh.was_just_rotated(rotated(OLD, holding(TOKEN), TOKEN)[0], forged, NOW)


def test_the_token_that_counts_does_so_after_all_keys_were_replaced() -> None:
    device = holding(TOKEN)
    assert refresh.counts(device, TOKEN)  # no key is asked
    device, following = rotated(NEW, device, TOKEN)
    assert refresh.counts(device, following)
    assert not refresh.counts(device, TOKEN)
    assert refresh.is_of_family(device, TOKEN)  # and one that was stolen before is still known


# --- the family


def test_a_token_of_another_device_is_of_another_family() -> None:
    other = refresh.first(OLD, "01hf7yat00000000000000000b", TOLD)
    assert not refresh.is_of_family(holding(TOKEN), other)
    assert not refresh.counts(holding(TOKEN), other)


def test_what_a_stranger_makes_up_is_of_no_family() -> None:
    for family in (STRANGE, TOKEN.secret, 43 * "A", refresh.first(NEW, DEVICE_ID, TOLD).family):
        assert not refresh.is_of_family(holding(TOKEN), RefreshToken(DEVICE_ID, family, STRANGE))


def test_the_tokens_of_a_chain_are_of_one_family_and_only_the_last_counts() -> None:
    device, chain = holding(TOKEN), [TOKEN]
    for number in range(50):
        device, following = rotated(OLD if number % 2 else NEW, device, chain[-1], NOW + number)
        chain.append(following)
    assert len({token.secret for token in chain}) == 51
    assert {(token.device_id, token.family) for token in chain} == {(DEVICE_ID, TOKEN.family)}
    assert [token for token in chain if refresh.counts(device, token)] == [chain[-1]]
    assert all(refresh.is_of_family(device, token) for token in chain)


# --- the first one


def test_the_first_token_is_derived_so_that_its_device_can_be_given_it_again() -> None:
    assert refresh.first(OLD, DEVICE_ID, TOLD) == TOKEN
    assert refresh.first_again(OLD, holding(TOKEN), TOLD) == TOKEN


def test_the_first_token_is_another_for_each_device_secret_and_key() -> None:
    others = [
        refresh.first(OLD, "01hf7yat00000000000000000b", TOLD),
        refresh.first(OLD, DEVICE_ID, TOLD + "x"),
        refresh.first(NEW, DEVICE_ID, TOLD),
    ]
    parts = [part for token in (TOKEN, *others) for part in (token.family, token.secret)]
    assert len(set(parts)) == 8
    assert TOLD not in str(TOKEN)


def test_the_first_token_is_the_same_though_a_newer_key_was_added_meanwhile() -> None:
    assert refresh.first_again(BOTH, holding(TOKEN), TOLD) == TOKEN
    assert refresh.first(BOTH, DEVICE_ID, TOLD) == refresh.first(NEW, DEVICE_ID, TOLD)


def test_the_first_token_is_not_found_again_once_its_key_is_gone_or_it_was_rotated() -> None:
    assert refresh.first_again(NEW, holding(TOKEN), TOLD) is None
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.first_again(OLD, device, TOLD) is None
    assert refresh.first_again(OLD, a_device(id=DEVICE_ID), TOLD) is None


def test_who_told_something_else_is_given_nothing() -> None:
    assert refresh.first_again(OLD, holding(TOKEN), TOLD[:-1]) is None


# --- what takes its place


def test_a_successor_is_derived_so_that_asking_again_gives_the_same() -> None:
    assert refresh.successor(OLD, TOKEN) == refresh.successor(OLD, TOKEN) != TOKEN


def test_the_newest_key_derives_the_successor() -> None:
    assert refresh.successor(BOTH, TOKEN) == refresh.successor(NEW, TOKEN)


def test_who_knows_a_digest_or_another_key_cannot_tell_the_successor() -> None:
    following = refresh.successor(OLD, TOKEN)
    assert refresh.successor(NEW, TOKEN).secret != following.secret
    assert encode_secret(digest_secret(TOKEN.secret)) != following.secret


def test_the_successor_is_found_again() -> None:
    device, following = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.successor_again(OLD, device, TOKEN) == following


def test_the_successor_is_found_again_though_a_newer_key_was_added_meanwhile() -> None:
    device, following = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.successor_again(BOTH, device, TOKEN) == following


def test_the_successor_is_not_found_again_once_its_key_is_gone() -> None:
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.successor_again(NEW, device, TOKEN) is None


def test_the_successor_is_not_found_again_once_it_was_rotated_itself() -> None:
    device, following = rotated(OLD, holding(TOKEN), TOKEN)
    device, _ = rotated(OLD, device, following)
    assert refresh.successor_again(OLD, device, TOKEN) is None


# --- presented again


@pytest.mark.parametrize(("after", "just"), [(0, True), (0.5, True), (9.99, True), (10, False), (3600, False)])
def test_a_rotated_token_may_be_presented_again_for_ten_seconds(after: float, just: bool) -> None:
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.was_just_rotated(device, TOKEN, NOW + after) is just


@pytest.mark.parametrize("behind", [0.05, 1, 60])
def test_a_clock_that_is_a_little_behind_takes_nobody_for_a_thief(behind: float) -> None:
    # The clock was set back, or another machine rotated: else a token that was sent twice revokes its device.
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert refresh.was_just_rotated(device, TOKEN, NOW - behind)


@pytest.mark.parametrize("behind", [60.1, 3600])
def test_a_clock_that_is_far_behind_opens_no_way_back(behind: float) -> None:
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert not refresh.was_just_rotated(device, TOKEN, NOW - behind)


def test_only_the_token_that_was_rotated_last_may_be_presented_again() -> None:
    device, following = rotated(OLD, holding(TOKEN), TOKEN)
    assert not refresh.was_just_rotated(device, following, NOW)
    device, _ = rotated(OLD, device, following)
    assert refresh.was_just_rotated(device, following, NOW)
    assert not refresh.was_just_rotated(device, TOKEN, NOW)


def test_a_stranger_s_token_was_never_rotated() -> None:
    device, _ = rotated(OLD, holding(TOKEN), TOKEN)
    assert not refresh.was_just_rotated(device, RefreshToken(DEVICE_ID, TOKEN.family, STRANGE), NOW)
