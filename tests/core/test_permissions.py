"""Patterns, proved against enumeration; sets of them; the limits of parsing."""

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pairlock._core.addresses import MAX_SEGMENTS
from pairlock._core.operators import Operator
from pairlock._core.permissions import (
    EVERYTHING,
    MAX_PATTERN_BYTES,
    MAX_PERMISSIONS_BYTES,
    NOTHING,
    Action,
    Patterns,
    Permissions,
    include_pattern,
    parse_pattern,
)
from pairlock.errors import ConfigurationError, InvalidPermissions

Segments = tuple[str, ...]

# --- the grammar


@pytest.mark.parametrize(
    "pattern",
    [
        "/",
        "/a",
        "/*",
        "/**",
        "/a/*/b/**",
        "/**/a/**/b",
        "/*/*",
        "/**/**",
        "/a.b",
        "/.hidden",
        "/...",
        "/a b",
        "/a:b@c,d;e=f",
        "/100%",
        "/%zz",
        "/größe",
        "/温度/🔥",
        "/~user/-_!$&'()+",
    ],
)
def test_a_well_formed_pattern_is_kept_as_it_is(pattern: str) -> None:
    assert parse_pattern(pattern) == pattern


SPECIAL = "write * for any one segment, ** for any number"
HOLLOW = "has an empty or dot segment"


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "must start with /"),
        ("a", "must start with /"),
        ("**", "must start with /"),
        (" /a", "must start with /"),
        ("//", HOLLOW),
        ("/a/", HOLLOW),
        ("/a//b", HOLLOW),
        ("//a", HOLLOW),
        ("/.", HOLLOW),
        ("/a/./b", HOLLOW),
        ("/..", HOLLOW),
        ("/a/../b", HOLLOW),
        ("/**/", HOLLOW),
        ("/room*", SPECIAL),
        ("/*room", SPECIAL),
        ("/***", SPECIAL),
        ("/a/****", SPECIAL),
        ("/a?", SPECIAL),
        ("/a#b", SPECIAL),
        ("/[ab]", SPECIAL),
        ("/a]", SPECIAL),
        ("/{a,b}", SPECIAL),
        ("/a}", SPECIAL),
        ("/a\\b", SPECIAL),
        ("/%2f", SPECIAL),
        ("/a%2Eb", SPECIAL),
        ("/%41", SPECIAL),
        ("/a\x00", SPECIAL),
        ("/a\nb", SPECIAL),
        ("/a\x7f", SPECIAL),
        ("/a\x85", SPECIAL),
        ("/a\u2028b", SPECIAL),
        ("/a\ufffd", SPECIAL),
        ("/b\ud800", SPECIAL),
        ("/" + 256 * "a", "is over 256 bytes"),
        ("/" + 128 * "é", "is over 256 bytes"),
        ("/" + 256 * "\ud800", "is over 256 bytes"),
    ],
)
def test_a_malformed_pattern_is_refused_with_its_problem(pattern: str, problem: str) -> None:
    with pytest.raises(InvalidPermissions) as refused:
        parse_pattern(pattern)
    assert problem in refused.value.detail


@pytest.mark.parametrize("pattern", [None, 1, b"/a", ["/a"], {"/a": 1}, True])
def test_what_is_not_a_string_is_no_pattern(pattern: object) -> None:
    with pytest.raises(InvalidPermissions) as refused:
        parse_pattern(pattern)
    assert refused.value.detail == "a pattern must be a string"


def test_a_pattern_may_take_256_bytes() -> None:
    assert parse_pattern("/" + 255 * "a")
    assert parse_pattern("/a" + 127 * "é")


def test_a_refusal_shows_the_pattern_in_printable_ascii_and_never_at_length() -> None:
    with pytest.raises(InvalidPermissions) as refused:
        parse_pattern("/a\u202e\x1b[2J")
    assert refused.value.detail.startswith(r"'/a\u202e\x1b[2J': ")
    with pytest.raises(InvalidPermissions) as refused:
        parse_pattern("/" + 10_000 * "a")
    assert len(refused.value.detail) < 100


# --- matching, proved against regular expressions over a small alphabet

LETTERS = "abz"  # z occurs in no pattern: it stands for every segment that a pattern does not name
SHORT: list[Segments] = [word for length in range(5) for word in product(("a", "b", "*", "**"), repeat=length)]
REGEX = {"*": "/[^/]+", "**": "(?:/[^/]+)*"}


def path(segments: Segments) -> str:
    return "/" + "/".join(segments)


def as_regex(pattern: Segments) -> re.Pattern[str]:
    return re.compile("".join(REGEX.get(segment, f"/{segment}") for segment in pattern))


@pytest.mark.no_cover  # it takes twice as long while measured
def test_every_short_pattern_covers_exactly_the_addresses_of_its_regular_expression() -> None:
    words = ["".join(f"/{letter}" for letter in word) for n in range(7) for word in product(LETTERS, repeat=n)]
    for pattern in SHORT:
        compiled, regex = Patterns([path(pattern)]), as_regex(pattern)
        wrong = [word for word in words if compiled.cover(word or "/") != bool(regex.fullmatch(word))]
        assert not wrong, path(pattern)


@given(patterns=st.lists(st.sampled_from(SHORT), max_size=5), word=st.text(LETTERS, max_size=9))
def test_a_set_of_patterns_covers_what_any_of_them_covers(patterns: list[Segments], word: str) -> None:
    address = "".join(f"/{letter}" for letter in word)
    covered = Patterns(map(path, patterns)).cover(address or "/")
    assert covered == any(as_regex(pattern).fullmatch(address) for pattern in patterns)


@pytest.mark.parametrize(
    ("pattern", "address", "covered"),
    [
        ("/x/**", "/x", True),
        ("/x/**", "/xy", False),
        ("/**", "/", True),
        ("/*", "/", False),
        ("/", "/", True),
        ("/", "/a", False),
        ("/A", "/a", False),
        ("/a.b", "/axb", False),
        ("/a", "/a/b", False),
        ("/*", "/*", True),
        ("/a+", "/aa", False),
    ],
)
def test_a_pattern_covers_an_address(pattern: str, address: str, covered: bool) -> None:
    assert Patterns([pattern]).cover(address) is covered


def test_no_patterns_cover_nothing() -> None:
    assert not Patterns([]).cover("/")
    assert not Patterns([]).cover("/a")


def steps(patterns: list[str], address: str) -> int:
    """How many primitive operations deciding takes: each visited node makes at least one."""
    compiled, taken = Patterns(patterns), 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal taken
        taken += event == "c_call"
        assert taken < 1_000_000, "no end in sight"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        compiled.cover(address)
    finally:
        sys.setprofile(before)
    return taken


HOSTILE: list[Callable[[int], str]] = [
    lambda n: n * "/**/a" + "/b",
    lambda n: n * "/**/*" + "/b",
    lambda n: n * "/**/**" + "/b",
    lambda n: n * "/**/a/*" + "/b",
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_the_work_of_matching_grows_no_faster_than_the_pattern_and_the_address(pattern: Callable[[int], str]) -> None:
    small = steps([pattern(8)], 32 * "/a")
    assert steps([pattern(16)], 32 * "/a") < 2.5 * small
    assert steps([pattern(8)], 64 * "/a") < 2.5 * small


@pytest.mark.parametrize("pattern", HOSTILE)
def test_the_worst_patterns_at_the_limits_visit_each_node_at_most_twice_per_segment(
    pattern: Callable[[int], str],
) -> None:
    longest = max((pattern(n) for n in range(60) if len(pattern(n)) <= MAX_PATTERN_BYTES - 2), key=len)
    patterns = [f"{longest}{i:x}" for i in range(12)]
    held = Permissions.parse({"read": patterns}).read
    nodes = sum(p.count("/") for p in held) + 1
    assert steps(list(held), MAX_SEGMENTS * "/a") < MAX_SEGMENTS * nodes * 2 * 3


# --- containment of one pattern in another, proved exact

# Words up to this length are enough to show every pair of SHORT patterns that is not included.
# Let a word be in `inner` and not in `outer`. Spell every segment that stands for a wildcard of `inner` as z: no
# literal of `outer` is z, so the word is still not in `outer`. It is now the literals of `inner`, one z for each `*`
# and a block of z for each stretch of `**`; only the blocks can be long.
# - `outer` without `**` covers words of one length, at most 4: if `inner` has a `**`, one block can be sized so that
#   the word has 5 segments, which is not in `outer`; if it has none, its words have at most 4.
# - `outer` with a `**` has at most three other segments. Of a block of four z or more one rests on the `**`, and
#   could be there twice: so if `outer` covers the word with a block of k >= 4, it covers the one with k + 1. A word
#   that is not in `outer` thus stays so when its blocks are cut down to 4. Four segments of `inner` make at most
#   two blocks and two single segments: 4 + 1 + 4 + 1.
ENOUGH = 10


@cache
def by_length(pattern: Segments) -> tuple[int, ...]:
    """The words of a pattern: bit i of number n stands for the word of n letters that reads as i in base 3."""
    if not pattern:
        return 1, *(ENOUGH * [0])
    rest = by_length(pattern[1:])
    if pattern[0] == "**":
        words = [rest[0]]
        for n in range(1, ENOUGH + 1):
            words.append(rest[n] | prefixed(LETTERS, words[n - 1], n))
        return tuple(words)
    letters = LETTERS if pattern[0] == "*" else pattern[0]
    return 0, *(prefixed(letters, rest[n - 1], n) for n in range(1, ENOUGH + 1))


def prefixed(letters: str, words: int, n: int) -> int:
    together = 0
    for letter in letters:
        together |= words << LETTERS.index(letter) * 3 ** (n - 1)
    return together


@cache
def language(pattern: Segments) -> int:
    """All words of a pattern up to length ENOUGH, as the bits of one number."""
    joined = 0
    for n, words in enumerate(by_length(pattern)):
        joined |= words << (3**n - 1) // 2
    return joined


def test_the_enumeration_agrees_with_the_regular_expressions() -> None:
    words = ["".join(word) for n in range(6) for word in product(LETTERS, repeat=n)]
    for pattern in SHORT:
        bits, regex = language(pattern), as_regex(pattern)
        assert all(
            bool(bits >> i & 1) == bool(regex.fullmatch("".join(f"/{letter}" for letter in word)))
            for i, word in enumerate(words)
        ), pattern


@pytest.mark.no_cover  # it takes twice as long while measured
def test_one_short_pattern_includes_another_exactly_when_all_its_addresses_are_covered() -> None:
    wrong = [
        (path(outer), path(inner))
        for outer in SHORT
        for inner in SHORT
        if include_pattern(path(outer), path(inner)) != (not language(inner) & ~language(outer))
    ]
    assert len(SHORT) == 341
    assert not wrong


def after(pattern: Segments, places: frozenset[int], letter: str) -> frozenset[int]:
    """Where in a pattern one more segment leads."""
    stay = {place for place in places if place < len(pattern) and pattern[place] == "**"}
    step = {place + 1 for place in places if place < len(pattern) and pattern[place] in ("*", letter)}
    return entered(pattern, stay | step)


def entered(pattern: Segments, places: set[int]) -> frozenset[int]:
    """These places, and those after any `**` that stands for nothing."""
    for place in range(len(pattern)):
        if place in places and pattern[place] == "**":
            places.add(place + 1)
    return frozenset(places)


def truly_includes(outer: Segments, inner: Segments) -> bool:
    """Walk both patterns at once, letter by letter, through every pair of places that can be reached."""
    letters = {segment for segment in (*outer, *inner) if "*" not in segment} | {"z"}
    waiting = [(entered(outer, {0}), entered(inner, {0}))]
    seen = set(waiting)
    while waiting:
        ours, theirs = waiting.pop()
        if len(inner) in theirs and len(outer) not in ours:
            return False
        for letter in letters:
            pair = after(outer, ours, letter), after(inner, theirs, letter)
            if pair[1] and pair not in seen:
                seen.add(pair)
                waiting.append(pair)
    return True


def patterns(longest: int) -> st.SearchStrategy[Segments]:
    return st.lists(st.sampled_from(("a", "b", "c", "*", "**", "**")), max_size=longest).map(tuple)


@st.composite
def narrowed(draw: st.DrawFn) -> tuple[Segments, Segments]:
    """A pattern and one that is inside it, or just not."""
    outer = draw(patterns(8))
    inner: list[str] = []
    for segment in outer:
        if segment == "**":
            inner += draw(st.lists(st.sampled_from(("a", "b", "*", "**")), max_size=3))
        else:
            inner.append(draw(st.sampled_from(("a", "b", "*"))) if segment == "*" else segment)
    if draw(st.booleans()) and inner:
        inner[draw(st.integers(0, len(inner) - 1))] = draw(st.sampled_from(("a", "b", "*", "**")))
    return outer, tuple(inner)


@settings(max_examples=350)
@given(pair=st.tuples(patterns(8), patterns(8)) | narrowed())
@pytest.mark.no_cover  # it takes twice as long while measured
def test_one_pattern_includes_another_exactly_when_walking_both_finds_no_way_out(
    pair: tuple[Segments, Segments],
) -> None:
    outer, inner = pair
    assert include_pattern(path(outer), path(inner)) == truly_includes(outer, inner)


@pytest.mark.parametrize(
    ("outer", "inner", "included"),
    [
        ("/a/**/public", "/a/**", False),  # though `/a/**` reads as an address that the other covers
        ("/a/**", "/a/**/public", True),
        ("/a/**", "/a", True),
        ("/a/**", "/a/*", True),
        ("/a/*", "/a/**", False),
        ("/*/**", "/**/*", True),
        ("/**/*", "/*/**", True),
        ("/**/a/**", "/a", True),
        ("/**", "/", True),
        ("/", "/**", False),
        ("/*", "/a", True),
        ("/a", "/*", False),
        ("/**/a/*/b", "/**/a/a/a/b", True),
        ("/**/a/*/b", "/**/a/**/b", False),
    ],
)
def test_a_pattern_includes_another(outer: str, inner: str, included: bool) -> None:
    assert include_pattern(outer, inner) is included


@pytest.mark.parametrize("pattern", HOSTILE)
def test_containment_of_the_worst_patterns_takes_no_exponential_time(pattern: Callable[[int], str]) -> None:
    assert include_pattern(pattern(24), pattern(24))
    assert not include_pattern(pattern(24), pattern(24) + "/c")


# --- permissions: two lists of patterns


def test_read_and_write_do_not_imply_each_other() -> None:
    permissions = Permissions(read=("/a",), write=("/b",))
    asked: list[tuple[Action, str]] = [("read", "/a"), ("write", "/a"), ("read", "/b"), ("write", "/b")]
    assert [permissions.allows(action, address) for action, address in asked] == [True, False, False, True]


def test_empty_permissions_allow_nothing_and_are_included_in_all() -> None:
    assert Permissions.parse({}) == NOTHING
    assert not NOTHING.allows("read", "/")
    assert not NOTHING.allows("write", "/")
    assert NOTHING.include(NOTHING)
    assert Permissions(read=("/a",)).include(NOTHING)
    assert not NOTHING.include(Permissions(read=("/a",)))
    assert NOTHING.scopes() == []


def test_everything_includes_all() -> None:
    assert EVERYTHING.include(Permissions(read=("/**", "/a"), write=("/", "/*/b/**")))


def of_read(patterns: list[Segments]) -> Permissions:
    return Permissions(read=tuple(map(path, patterns)))


def union(patterns: list[Segments]) -> int:
    together = 0
    for pattern in patterns:
        together |= language(pattern)
    return together


SETS = st.lists(st.sampled_from(SHORT), max_size=4)


@settings(max_examples=150)
@given(held=SETS, wanted=SETS)
@example(held=[(), ("*",), ("*", "*", "**")], wanted=[("**",)])
def test_a_set_never_includes_what_it_does_not_cover(held: list[Segments], wanted: list[Segments]) -> None:
    if of_read(held).include(of_read(wanted)):
        assert not union(wanted) & ~union(held)


@settings(max_examples=150)
@given(held=SETS, wanted=st.sampled_from([pattern for pattern in SHORT if "**" not in pattern]))
@example(held=[("a", "**"), ("*", "b")], wanted=("*", "b"))
def test_a_set_includes_a_pattern_of_fixed_length_exactly_when_it_covers_it(
    held: list[Segments], wanted: Segments
) -> None:
    assert of_read(held).include(of_read([wanted])) == (not language(wanted) & ~union(held))


def test_write_is_not_included_in_read() -> None:
    assert not Permissions(read=("/**",)).include(Permissions(write=("/a",)))
    assert not Permissions(write=("/**",)).include(Permissions(read=("/a",)))


def test_what_is_too_much_is_named_in_order() -> None:
    held = Permissions(read=("/a/**", "/b"), write=("/c/*",))
    asked = Permissions(read=("/b", "/b/x", "/a/*/y"), write=("/c/**", "/c/d"))
    assert held.excess(asked) == ["read:/b/x", "write:/c/**"]


def test_narrowing_gives_the_smaller_permissions() -> None:
    to = Permissions(read=("/a/b",))
    assert Permissions(read=("/a/**",), write=("/c",)).narrow(to) is to


def test_narrowing_to_more_is_refused_and_names_it() -> None:
    with pytest.raises(InvalidPermissions) as refused:
        Permissions(read=("/a",)).narrow(Permissions(read=("/a", "/**"), write=("/b",)))
    assert refused.value.detail == "wider than what is held or was asked for: read:/**, write:/b"


# --- what two sets have in common


def words(permissions: tuple[str, ...]) -> int:
    return union([tuple(pattern[1:].split("/")) if pattern != "/" else () for pattern in permissions])


@settings(max_examples=150)
@given(one=SETS, other=SETS)
@example(one=[("a", "*")], other=[("*", "b")])  # whose common address no pattern of theirs names
def test_what_two_sets_have_in_common_is_never_wider_than_either(one: list[Segments], other: list[Segments]) -> None:
    common = of_read(one).common(of_read(other))
    assert not words(common.read) & ~union(one)
    assert not words(common.read) & ~union(other)
    assert set(common.read) <= set(map(path, one + other))
    assert common.write == ()


@settings(max_examples=150)
@given(one=SETS, other=SETS)
def test_what_two_sets_have_in_common_is_the_same_whichever_is_asked(
    one: list[Segments], other: list[Segments]
) -> None:
    ours, theirs = of_read(one).common(of_read(other)), of_read(other).common(of_read(one))
    assert set(ours.read) == set(theirs.read)
    assert len(set(ours.read)) == len(ours.read)


@settings(max_examples=150)
@given(wide=SETS, more=SETS, data=st.data())
def test_what_a_set_has_in_common_with_a_narrower_one_is_the_narrower_one(
    wide: list[Segments], more: list[Segments], data: st.DataObject
) -> None:
    inner = [pattern for pattern in more if of_read(wide).include(of_read([pattern]))]
    narrow = inner + data.draw(st.lists(st.sampled_from(wide), max_size=2) if wide else st.just([]))
    for common in (of_read(wide).common(of_read(narrow)), of_read(narrow).common(of_read(wide))):
        assert words(common.read) == union(narrow)


@settings(max_examples=100)
@given(held=SETS)
def test_everything_nothing_and_itself_have_with_a_set_in_common_what_they_should(held: list[Segments]) -> None:
    mine = of_read(held)
    assert words(mine.common(EVERYTHING).read) == union(held)
    assert words(mine.common(mine).read) == union(held)
    assert mine.common(NOTHING) == NOTHING.common(mine) == NOTHING


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (["/a/**"], ["/a/x", "/b"], ["/a/x"]),
        (["/a/x", "/b"], ["/a/**"], ["/a/x"]),
        (["/a/**", "/b"], ["/a/x", "/b"], ["/b", "/a/x"]),
        (["/a/*"], ["/*/b"], []),
        (["/a/**"], ["/b/**"], []),
        (["/**"], ["/**"], ["/**"]),
    ],
)
def test_what_two_sets_have_in_common_are_the_patterns_that_the_other_includes(
    one: list[str], other: list[str], common: list[str]
) -> None:
    for action in ("read", "write"):
        ours, theirs = Permissions.parse({action: one}), Permissions.parse({action: other})
        assert ours.common(theirs) == Permissions.parse({action: common})


def test_reading_and_writing_have_nothing_in_common() -> None:
    assert Permissions(read=("/**",)).common(Permissions(write=("/**",))) == NOTHING


def test_permissions_read_as_scopes() -> None:
    permissions = Permissions(read=("/a/**", "/b"), write=("/c",))
    assert permissions.scopes() == ["read:/a/**", "read:/b", "write:/c"]


def comparisons(held: Permissions, wanted: Permissions) -> int:
    """How many Python calls and primitive operations it takes to compare two sets."""
    taken = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal taken
        taken += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        held.excess(wanted)
    finally:
        sys.setprofile(before)
    return taken


def test_comparing_the_largest_sets_of_fixed_patterns_is_not_quadratic() -> None:
    def some(count: int, letters: str) -> Permissions:
        names = ["".join(pair) for pair in product(letters, repeat=2)]
        return Permissions(read=tuple(f"/{name}" for name in names[:count]))

    lower, upper = "abcdefghijklmnopqrstuvwxyz012345", "ABCDEFGHIJKLMNOPQRSTUVWXYZ6789_-"
    half = comparisons(some(512, lower), some(512, upper))
    assert comparisons(some(1024, lower), some(1024, upper)) < 2.5 * half


# --- parsing


def test_parsing_takes_lists_and_tuples_and_drops_what_is_repeated() -> None:
    parsed = Permissions.parse({"read": ["/b", "/a", "/b"], "write": ("/c", "/c")})
    assert parsed == Permissions(read=("/b", "/a"), write=("/c",))


def test_parsing_what_is_parsed_checks_it_again() -> None:
    assert Permissions.parse(Permissions(read=("/a",))) == Permissions(read=("/a",))
    with pytest.raises(InvalidPermissions):
        Permissions.parse(Permissions(read=("a",)))


@pytest.mark.parametrize("patterns", ["/a", b"/a", None, 1, {"/a": True}, {"/a"}])
def test_patterns_that_are_not_a_list_are_refused(patterns: Any) -> None:
    with pytest.raises(InvalidPermissions) as refused:
        Permissions.parse({"read": patterns})
    assert refused.value.detail == 'patterns must be a list, such as ["/sensors/**"]'


@pytest.mark.parametrize("action", ["Read", "admin", "", 1])
def test_lists_under_another_word_are_refused_and_named(action: Any) -> None:
    with pytest.raises(InvalidPermissions) as refused:
        Permissions.parse({"read": [], action: []})
    assert refused.value.detail == f"permissions have lists under read and write, not {[action]}"


def test_one_bad_pattern_spoils_the_whole() -> None:
    with pytest.raises(InvalidPermissions):
        Permissions.parse({"read": ["/a"], "write": ["/b", "/room*"]})


def long_patterns(total: int) -> Iterator[str]:
    """Distinct patterns that take so many bytes together."""
    while total:
        size = min(total, 256)
        yield f"/{total:0{size - 1}}"
        total -= size


def test_all_patterns_together_may_take_3072_bytes_and_no_more() -> None:
    assert MAX_PERMISSIONS_BYTES == 3072
    read, write = list(long_patterns(1536)), list(long_patterns(1536))
    assert Permissions.parse({"read": read, "write": write}).write == tuple(write)
    with pytest.raises(InvalidPermissions, match="over 3072 bytes"):
        Permissions.parse({"read": [*read, "/"], "write": write})


def test_bytes_are_counted_not_characters_and_not_repetitions() -> None:
    with pytest.raises(InvalidPermissions, match="over 3072 bytes"):
        Permissions.parse({"read": [f"/{i:03}" + 125 * "é" for i in range(13)]})
    assert Permissions.parse({"read": 64 * ["/" + 249 * "a"]}).read == ("/" + 249 * "a",)


def test_a_list_has_at_most_64_patterns() -> None:
    patterns = [f"/{number}" for number in range(65)]
    assert Permissions.parse({"read": patterns[:64], "write": patterns[1:]}).read == tuple(patterns[:64])
    with pytest.raises(InvalidPermissions, match="a list has at most 64 patterns"):
        Permissions.parse({"read": patterns})


@pytest.mark.parametrize("given", [None, 1, "/a", ["/a"], [("read", ["/a"])]])
def test_permissions_are_parsed_from_nothing_but_a_mapping(given: Any) -> None:
    with pytest.raises(InvalidPermissions) as caught:
        Permissions.parse(given)
    assert caught.value.detail == 'give {"read": [...], "write": [...]}'


@pytest.mark.parametrize("id", ["", None, 5, b"ada"])
def test_an_operator_has_an_id_that_the_audit_can_name(id: Any) -> None:
    with pytest.raises(ConfigurationError, match="Operator: its id is a text"):
        Operator(id)


@pytest.mark.parametrize("permissions", [{"read": ["/a"]}, ["/a"], None])
def test_an_operator_is_bounded_by_permissions_that_were_parsed(permissions: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Operator: give its permissions as Permissions\.parse"):
        Operator("ada", permissions)
