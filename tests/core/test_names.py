"""Text that strangers chose, made safe to show."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock._core.names import MAX_NAME, MAX_TEXT, clean_name, clean_text, fold, visible
from pairlock.errors import InvalidRequest

FAMILY = "👨\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Phone", "Phone"),
        ("  My   Phone \n", "My Phone"),
        ("a\r\nX-Evil: 1", "a X-Evil: 1"),
        ("a\tb\x0bc\x0cd", "a b c d"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("a\u00a0\u3000b", "a b"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("\u202eenohP\u202c", "enohP"),
        ("\u2066a\u2069\u200e\u200f\u061c", "a"),
        ("a\u200bb\u2060c\ufeffd\u00ade", "abcde"),
        ("a \u200b b", "a b"),
        ("\ud800a\udfff", "a"),
        ("a\ue000", "a"),
        ("a\u3164b", "a b"),
        ("a\u2800\u115f\u1160\uffa0b", "a b"),
        ("e\u0301", "\u00e9"),
        ("e\u200c\u0301", "\u00e9"),
        (FAMILY, FAMILY),
        ("❤\ufe0f", "❤\ufe0f"),
        ("👍🏽", "👍🏽"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # escaped where it is shown, not here
        ("Küche 温度 مطبخ", "Küche 温度 مطبخ"),
        ("", ""),
    ],
)
def test_text_is_kept_on_one_line_without_what_cannot_be_seen(given: str, kept: str) -> None:
    assert clean_text(given) == kept


def test_long_text_is_cut() -> None:
    assert clean_text("a" * 1000) == "a" * MAX_TEXT == "a" * 200
    assert clean_text("abc def", limit=4) == "abc"


@given(text=st.text())
def test_clean_text_is_clean_however_dirty_it_was(text: str) -> None:
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert len(cleaned) <= MAX_TEXT
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert not {unicodedata.category(symbol) for symbol in cleaned if symbol != "\u200d"} & {"Cc", "Cf", "Cs", "Co"}


@pytest.mark.parametrize("name", ["Phone", "7", "温", "🔥", FAMILY, "$", "-", "a" * 64, "é" * 64, "e\u0301" * 64])
def test_a_name_with_something_to_see_is_kept(name: str) -> None:
    assert clean_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "\n\t",
        "\u200b",
        "\u200d",
        "\u200d\u200d \u200d",
        "\u202e\u202c",
        "\x00\x1b",
        "\u0301",
        "\ufe0f",
        "\u034f",
        "\u3164",
        "\uffa0\u1160 \u115f",
        "\u2800",
        "\ud800",
        "\ue000",
        "\U000e0041",
    ],
)
def test_a_name_with_nothing_to_see_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        clean_name(name)
    assert refused.value.detail == "name needs at least one visible character"


@pytest.mark.parametrize("name", ["a" * 65, "🔥" * 65, "a" * 64 + "\u0301b", "a" * 100_000])
def test_a_name_over_64_characters_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        clean_name(name)
    assert refused.value.detail == f"name is over {MAX_NAME} characters"


def test_characters_are_counted_after_cleaning() -> None:
    assert clean_name("a" * 64 + "\u200b" * 100 + "  ") == "a" * 64


def test_a_refusal_names_the_field_and_not_its_content() -> None:
    with pytest.raises(InvalidRequest) as refused:
        clean_name("\u202e" + "x" * 65, what="hint")
    assert refused.value.detail == "hint is over 64 characters"


def test_a_name_of_very_many_characters_is_refused_however_few_of_them_can_be_seen() -> None:
    with pytest.raises(InvalidRequest, match="name is over 64 characters"):
        clean_name("Phone" + 512 * "\u200b")


def test_long_text_is_cut_before_it_is_looked_at() -> None:
    assert clean_text(1600 * "\u200b" + "hidden") == ""
    assert clean_text(1500 * "\u200b" + "seen") == "seen"


@pytest.mark.parametrize("unseen", ["\u034f", "\u115f", "\u200d", "\u3164", "\ufe0f", "\uffa0", "\U000e0100"])
def test_names_that_differ_in_what_cannot_be_seen_are_the_same_when_compared(unseen: str) -> None:
    assert fold(f"TV{unseen} {unseen}2") == fold("tv 2")


@given(text=st.text())
def test_folded_text_folds_to_itself(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/sensors/**", "/sensors/**"),
        ("/Küche/温度/🔥", "/Küche/温度/🔥"),
        ("/a\u202eb\x1b", "/a\\u202eb\\u001b"),
        ("/a write\u3164/**", "/a\\u0020write\\u3164/**"),
        ("/a\ufe0f\U000e0100", "/a\\ufe0f\\U000e0100"),
    ],
)
def test_what_cannot_be_seen_is_written_out_where_every_letter_counts(text: str, shown: str) -> None:
    assert visible(text) == shown
