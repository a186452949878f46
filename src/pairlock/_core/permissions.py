"""Permissions: read and write patterns, with allow, include and narrow.

A pattern is segments between slashes: literal, `*` (exactly one segment) or `**` (zero or more).
One matcher, one containment test; both are proved against enumeration in the tests.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, Self

from msgspec import Struct

from pairlock.errors import InvalidPermissions

Action = Literal["read", "write"]

MAX_PATTERN_BYTES = 256
MAX_PATTERNS = 64  # in a list; bounds what comparing two takes
MAX_PERMISSIONS_BYTES = 3072  # a token carries its permissions in a header; common servers stop at 8 KiB

_NOT_LITERAL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\*?#\[\]{}\ufffd\ud800-\udfff]|%[0-9A-Fa-f]{2}")


def parse_pattern(pattern: object) -> str:
    """A well-formed pattern. Raises InvalidPermissions, saying what is wrong with it."""
    if not isinstance(pattern, str):
        raise InvalidPermissions(detail="a pattern must be a string")
    if problem := _problem(pattern):
        raise InvalidPermissions(detail=f"{_shown(pattern)}: {problem}")
    return pattern


def _problem(pattern: str) -> str | None:
    if not pattern.startswith("/"):
        return "must start with /"
    if len(pattern.encode(errors="replace")) > MAX_PATTERN_BYTES:
        return f"is over {MAX_PATTERN_BYTES} bytes"
    return next((problem for segment in _segments(pattern) if (problem := _segment_problem(segment))), None)


def _segment_problem(segment: str) -> str | None:
    if segment in ("*", "**"):
        return None
    if segment in ("", ".", ".."):
        return "has an empty or dot segment (write /x, not /x/)"
    if _NOT_LITERAL.search(segment):
        return "write * for any one segment, ** for any number; *, ?, #, [], {}, \\, %XX and controls stand in no other"
    return None


def _shown(pattern: str) -> str:
    return ascii(pattern if len(pattern) <= MAX_PATTERN_BYTES else pattern[:40] + "…")


def _segments(pattern: str) -> list[str]:
    return pattern[1:].split("/") if pattern != "/" else []


class _Places:
    """Patterns laid end to end, one bit for each place in them: where an address can have led is one number.

    A step is the same few operations on it however many places that are; nothing backtracks.
    """

    __slots__ = ("_any", "_deep", "_ends", "_literals", "_start")

    def __init__(self, patterns: Iterable[list[str]]) -> None:
        self._literals: dict[str, int] = {}
        self._start = self._any = self._deep = self._ends = 0
        place = 1
        for segments in patterns:
            self._start |= place
            for segment in _without_repeats(segments):
                if segment == "**":
                    self._deep |= place
                elif segment == "*":
                    self._any |= place
                else:
                    self._literals[segment] = self._literals.get(segment, 0) | place
                place <<= 1
            self._ends |= place
            place <<= 1
        self._start |= (self._start & self._deep) << 1

    def cover(self, segments: list[str]) -> bool:
        places, deep = self._start, self._deep
        for segment in segments:
            places = (places & (self._literals.get(segment, 0) | self._any)) << 1 | (places & deep)
            places |= (places & deep) << 1  # `**` may stand for nothing
            if not places:
                return False
        return places & self._ends != 0


def _without_repeats(segments: list[str]) -> Iterator[str]:
    """`**/**` says no more than `**`."""
    for before, segment in zip(["", *segments], segments, strict=False):
        if not before == segment == "**":
            yield segment


class Patterns:
    """A set of patterns, compiled: whether it covers an address takes time linear in the address.

    Kept by their first segment, so that of many patterns few are looked at.
    """

    __slots__ = ("_anywhere", "_below")

    def __init__(self, patterns: Iterable[str]) -> None:
        firsts: dict[str, list[list[str]]] = {}
        for segments in map(_segments, patterns):
            firsts.setdefault(segments[0] if segments else "", []).append(segments)
        self._anywhere = _Places([segments for first in ("", "*", "**") for segments in firsts.pop(first, ())])
        self._below = {first: _Places(below) for first, below in firsts.items()}

    def cover(self, address: str) -> bool:
        """Whether some pattern matches this canonical address."""
        segments = _segments(address)
        below = self._below.get(segments[0]) if segments else None
        return (below is not None and below.cover(segments)) or self._anywhere.cover(segments)


@lru_cache(maxsize=1024)
def compile_patterns(patterns: tuple[str, ...]) -> Patterns:
    """The compiled form; most devices share the few sets an app hands out."""
    return Patterns(patterns)


Landmark = tuple[str, int, int]


@lru_cache(maxsize=4096)
def _landmarks(pattern: str) -> tuple[Landmark, ...]:
    """What is fixed in a pattern: (literal, least position, how many `**` stand before it), start to end.

    The start is the literal "" and the end is "/", neither of which a segment can be.
    """
    return tuple(_walk(pattern))


def _walk(pattern: str) -> Iterator[Landmark]:
    position = stretches = 0
    yield "", position, stretches
    for segment in _segments(pattern):
        if segment == "**":
            stretches += 1
            continue
        position += 1
        if segment != "*":
            yield segment, position, stretches
    yield "/", position + 1, stretches


def include_pattern(outer: str, inner: str) -> bool:
    """Whether every address that `inner` matches is matched by `outer`; exact, linear in the product of lengths.

    A wildcard of `inner` can always be read as a segment that occurs nowhere else, so only wildcards
    of `outer` can stand for it: each literal of `outer` must rest on the same literal of `inner`,
    at the same distance where `outer` is rigid, at least as far where it has a `**`.
    """
    fixed = _landmarks(inner)
    index = {(stretches, position): at for at, (_, position, stretches) in enumerate(fixed)}
    reached = [0]
    (_, last, crossed), *rest = _landmarks(outer)
    for literal, position, stretches in rest:
        distance = position - last
        if stretches > crossed:
            least = fixed[reached[0]][1] + distance
            reached = [at for at in range(reached[0] + 1, len(fixed)) if fixed[at][1] >= least]
        else:
            rigid = (index.get((fixed[at][2], fixed[at][1] + distance)) for at in reached)
            reached = [at for at in rigid if at is not None]
        reached = [at for at in reached if fixed[at][0] == literal]
        if not reached:
            return False
        last, crossed = position, stretches
    return True


class Permissions(Struct, frozen=True):
    """What a device may read and what it may write; neither implies the other, empty means nothing.

    Built by `parse` from anything with lists of patterns under "read" and "write".
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    @classmethod
    def parse(cls, given: "Permissions | Mapping[str, Any]") -> Self:
        """Checked permissions. Raises InvalidPermissions, naming the pattern and the rule."""
        if isinstance(given, Permissions):
            given = {"read": given.read, "write": given.write}
        if not isinstance(given, Mapping):
            raise InvalidPermissions(detail='give {"read": [...], "write": [...]}')
        lists = dict(given)
        if unknown := lists.keys() - {"read", "write"}:
            raise InvalidPermissions(detail=f"permissions have lists under read and write, not {sorted(unknown)}")
        parsed = {action: _parse_list(patterns) for action, patterns in lists.items()}
        if sum(len(pattern.encode()) for patterns in parsed.values() for pattern in patterns) > MAX_PERMISSIONS_BYTES:
            raise InvalidPermissions(
                detail=f"the patterns take over {MAX_PERMISSIONS_BYTES} bytes; use fewer, wider ones"
            )
        return cls(**parsed)

    def allows(self, action: Action, address: str) -> bool:
        """Whether this action on this canonical address is permitted."""
        return compile_patterns(self.read if action == "read" else self.write).cover(address)

    def excess(self, other: "Permissions") -> list[str]:
        """The patterns of `other` that these permissions do not include, as "action:pattern"."""
        asked = (("read", self.read, other.read), ("write", self.write, other.write))
        return [f"{action}:{inner}" for action, held, wanted in asked for inner in wanted if not _includes(held, inner)]

    def include(self, other: "Permissions") -> bool:
        """Whether `other` is no wider than these; for a union of patterns, never yes wrongly."""
        return not self.excess(other)

    def narrow(self, to: "Permissions") -> "Permissions":
        """The smaller permissions. Raises InvalidPermissions when they are not smaller."""
        if excess := self.excess(to):
            raise InvalidPermissions(detail=f"wider than what is held or was asked for: {', '.join(excess)}")
        return to

    def common(self, other: "Permissions") -> "Permissions":
        """What both hold for certain: the patterns of each that the other includes. Never wider than either."""
        return Permissions(_common(self.read, other.read), _common(self.write, other.write))

    def scopes(self) -> list[str]:
        """As on the wire: "read:/sensors/**", "write:/control/lamp"."""
        return [f"read:{pattern}" for pattern in self.read] + [f"write:{pattern}" for pattern in self.write]


def _includes(held: tuple[str, ...], inner: str) -> bool:
    """Whether these patterns include that one: exactly where it has no `**`, else by any one of them."""
    if "**" not in inner:  # then the pattern itself, its `*` a segment no literal equals, is its widest address
        return compile_patterns(held).cover(inner)
    return inner in held or any(include_pattern(outer, inner) for outer in held)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    inner = [pattern for pattern in one if _includes(other, pattern)]
    inner += [pattern for pattern in other if _includes(one, pattern)]
    return tuple(dict.fromkeys(inner))


def _parse_list(patterns: object) -> tuple[str, ...]:
    if not isinstance(patterns, list | tuple):
        raise InvalidPermissions(detail='patterns must be a list, such as ["/sensors/**"]')
    if len(patterns) > MAX_PATTERNS:
        raise InvalidPermissions(detail=f"a list has at most {MAX_PATTERNS} patterns; use fewer, wider ones")
    return tuple(dict.fromkeys(parse_pattern(pattern) for pattern in patterns))


NOTHING = Permissions()
EVERYTHING = Permissions(read=("/**",), write=("/**",))
