"""What values of a configuration look like; what does not look so is told with its place, all of it at once."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from pairlock._core.names import clean_text
from pairlock._core.permissions import parse_pattern
from pairlock.errors import ConfigurationError, InvalidPermissions

T = TypeVar("T")
Key = tuple[str | int, ...]  # the way to a value: names of tables and settings, places in lists
LONGEST_SHOWN = 40  # characters
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,2}):([0-5][0-9])")
_SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Problems:
    """What is wrong, and where; of settings that hold secrets it says nothing of what stands there."""

    def __init__(self, secret: Iterable[str] = ()) -> None:
        self.found: list[tuple[Key, str]] = []
        self._secret = frozenset(secret)

    def add(self, at: Key, says: str) -> None:
        """Something is wrong there."""
        self.found.append((at, says))

    def unfit(self, at: Key, called: str, value: object, hint: str = "") -> None:
        """A value is not what is expected there."""
        self.add(at, f"expected {called}, not {_described(value, shown=self._secret.isdisjoint(at))}{hint}")

    def catch(self, at: Key, make: Callable[[], T]) -> T | None:
        """What is made, unless it is refused."""
        try:
            return make()
        except InvalidPermissions as error:
            self.add(at, str(error.details["detail"]))
        except ConfigurationError as error:
            self.add(at, str(error).partition(": ")[2])
        return None

    def are_within(self, at: Key) -> bool:
        """Whether there are any in this value."""
        return any(found[: len(at)] == at for found, _ in self.found)

    def check(self, place: Callable[[Key, str], str]) -> None:
        """Raises ConfigurationError with a line for each, if there are any."""
        if self.found:
            raise ConfigurationError("\n".join(place(at, says) for at, says in self.found))


class Shape(Protocol):
    """What a value has to look like."""

    @property
    def called(self) -> str:
        """What it is for people."""

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The value as it counts; whatever is wrong goes to the problems."""

    def parse(self, text: str) -> Any:
        """What text in the environment says; what cannot be understood stays as it is."""


class Leaf(Struct, frozen=True):
    """One value without parts."""

    called: str
    kinds: tuple[type, ...]
    check: Callable[[Any], Any] | None = None

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The value itself."""
        if type(value) not in self.kinds:  # True is no number here
            is_bare = str in self.kinds and type(value) in (bool, int, float)
            problems.unfit(at, self.called, value, hint="; put it in quotes" if is_bare else "")
        elif self.check is not None:
            problems.catch(at, partial(self.check, value))
        return value

    def parse(self, text: str) -> Any:
        """Text as this kind."""
        if bool in self.kinds:
            return switch(text)
        return text if str in self.kinds else number(text)


class Duration(Struct, frozen=True):
    """A number of seconds, which may be written 5:00 or 1:30:00."""

    called: str = "a number of seconds"

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The seconds."""
        clock = _CLOCK.fullmatch(value) if isinstance(value, str) else None
        if clock is not None:
            hours, minutes, seconds = (int(part or 0) for part in clock.groups())
            return (hours * 60 + minutes) * 60 + seconds
        return NUMBER.read(value, at, problems)

    def parse(self, text: str) -> Any:
        """Text as a number, where it is one."""
        return number(text)


class ListOf(Struct, frozen=True):
    """A list of values that are alike."""

    item: Shape

    @property
    def called(self) -> str:
        """What it is for people."""
        return "a list"

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The list of what each of them is."""
        if not isinstance(value, list):
            problems.unfit(at, self.called, value)
            return []
        return [self.item.read(item, (*at, place), problems) for place, item in enumerate(value)]

    def parse(self, text: str) -> Any:
        """JSON."""
        return _json(text)


class AnyTable(Struct, frozen=True):
    """A table with names of the writer's own; where `bare` is given, that alone will do too."""

    item: Shape
    bare: Shape | None = None

    @property
    def called(self) -> str:
        """What it is for people."""
        return "a table" if self.bare is None else f"{self.bare.called} or a table"

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The table of what each of them is."""
        if isinstance(value, dict):
            return {name: self.item.read(item, (*at, name), problems) for name, item in value.items()}
        if self.bare is not None and not isinstance(value, list):
            return self.bare.read(value, at, problems)
        problems.unfit(at, self.called, value)
        return {}

    def parse(self, text: str) -> Any:
        """JSON, or what stands bare."""
        found = _json(text)
        return self.bare.parse(text) if self.bare is not None and not isinstance(found, dict) else found


class Table(Struct, frozen=True):
    """A table of named settings; `elsewhere` says where those belong that people look for in it."""

    keys: Mapping[str, Shape]
    elsewhere: Mapping[str, str] = {}
    required: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """What it is for people."""
        return "a table"

    def read(self, value: Any, at: Key, problems: Problems) -> Any:
        """The table of what is said in it; one with nothing after its name says nothing."""
        if value is not None and not isinstance(value, dict):
            problems.unfit(at, self.called, value)
            return {}
        said = value or {}
        for name in said.keys() - self.keys.keys():
            problems.add((*at, name), self.elsewhere.get(name) or unknown(name, self.keys))
        for name in self.required:
            if name not in said:
                problems.add(at, f"{name} is missing")
        return {
            name: shape.read(said[name], (*at, name), problems) for name, shape in self.keys.items() if name in said
        }

    def parse(self, text: str) -> Any:
        """JSON."""
        return _json(text)


TEXT = Leaf("text", (str,))
SWITCH = Leaf("true or false", (bool,))
WHOLE = Leaf("a whole number", (int,))
NUMBER = Leaf("a number of seconds", (int, float))
SECONDS = Duration()
TEXTS = ListOf(TEXT)
PATTERNS = ListOf(Leaf("a pattern", (str,), parse_pattern))


def number(text: str) -> int | float | str:
    """The number that is written so, without leading zeros and the like; else the text."""
    written = _NUMBER.fullmatch(text.strip())
    if written is None:
        return text
    return int(written[0]) if written[1] is None else float(written[0])


def switch(text: str) -> bool | str:
    """Whether this says yes or no; else the text."""
    return _SWITCH.get(text.lower(), text)


def unknown(name: str, known: Iterable[str], spell: Callable[[str], str] = str) -> str:
    """There is no such setting, and which one was perhaps meant."""
    near = difflib.get_close_matches(name.lower(), known, 1)
    return "there is no such setting" + (f"; did you mean {spell(near[0])}?" if near else "")


def dotted(at: Key) -> str:
    """The way to a value as people write it: clients[0].secret."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{clean_text(part, LONGEST_SHOWN)}" for part in at)
    return "".join(parts).removeprefix(".")


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _described(value: object, *, shown: bool) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    written = f'"{clean_text(value, LONGEST_SHOWN)}"' if isinstance(value, str) else str(value)
    return f"{_kind(value)} ({written})" if shown else _kind(value)


def _kind(value: object) -> str:
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a date"
