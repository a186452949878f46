"""Reads a configuration file, YAML or TOML, into plain values, and knows the line of each."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pairlock._core.names import clean_text
from pairlock.configuration.shapes import Key, dotted, number, switch
from pairlock.errors import ConfigurationError

NAMES = ("pairlock.yaml", "pairlock.yml", "pairlock.toml")
LARGEST = 256 * 1024  # bytes
MOST_VALUES = 10_000  # what aliases repeat counts each time
DEEPEST = 16  # tables within tables
_YAML_TAG = "tag:yaml.org,2002:"
_NAMES = re.compile(
    r"(alias|anchor|tag handle) .*", re.DOTALL
)  # what follows may be a secret that begins with * & or !
_UNQUOTED = "; put it in quotes if it is text"
_TEXTS = ("str", "timestamp", "value")  # a date is text as it is written


class Document:
    """What a file says; `place` gives a message its file, line and key."""

    def __init__(self, path: Path, data: Any, find_lines: Callable[[], Mapping[Key, int]]) -> None:
        self.path = path
        self.data = data
        self._find_lines = find_lines

    @cached_property
    def lines(self) -> Mapping[Key, int]:
        """The line of each value: that of its key, where it has one."""
        return self._find_lines()

    def place(self, at: Key, says: str) -> str:
        """The message with its place; one that names a setting within goes to that line."""
        name, _, rest = says.partition(": ")
        if (*at, name) in self.lines:
            return self.place((*at, name), rest)
        return f"{self.path}:{self.line(at)}: {dotted(at)}: {says}" if at else f"{self.path}: {says}"

    def line(self, at: Key) -> int:
        """The line of a value, or of what it would stand in."""
        return self.lines[at] if at in self.lines else self.line(at[:-1]) if at else 1


def find_file(folder: Path) -> Path | None:
    """The configuration in a folder, if there is one. Raises ConfigurationError when there are several."""
    found = [folder / name for name in NAMES if os.path.lexists(folder / name)]  # a link into nothing is told of
    if len(found) > 1:
        says = " and ".join(str(path) for path in found)
        raise ConfigurationError(f"{says}: which of them counts? Keep one, or name one with --config")
    return found[0] if found else None


def read_document(path: Path) -> Document:
    """What a file says, as its ending has it: YAML or TOML. Raises ConfigurationError, with the line."""
    if path.suffix.lower() not in READERS:
        raise ConfigurationError(f"{path}: name it so that it ends in .yaml, .yml or .toml")
    return READERS[path.suffix.lower()](path, _text(path))


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: this is no file; name the file itself")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: it cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ConfigurationError(f"{path}: it is over {LARGEST // 1024} KiB; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8") from None


# TOML


def _read_toml(path: Path, text: str) -> Document:
    data: dict[str, Any] = {}
    try:
        data = tomllib.loads(text)
        too_deep = any(len(at) > DEEPEST for at in _ways(data, ()))
    except RecursionError:
        too_deep = True
    except ValueError as error:  # tomllib's own, and that of a number with thousands of digits
        says = str(error)
        found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", says)
        line = text.count("\n") + 1 if found is None or found[1] is None else found[1]
        reason = says[: found.start()] if found else "a number is too long"
        raise ConfigurationError(f"{path}:{line}: this is no TOML: {clean_text(reason)}") from None
    if too_deep:
        raise ConfigurationError(f"{path}: it is nested too deeply")
    return Document(path, data, lambda: _toml_lines(text))


def _toml_lines(text: str) -> dict[Key, int]:
    """The lines of a text that is TOML: each statement is TOML by itself, a header says what the next belong to."""
    lines: dict[Key, int] = {}
    table: Key = ()
    for line, said, is_header in _statements(text):
        if is_header:
            table = _header(said, lines, line)
            continue
        for at in _ways(said, table):
            lines.setdefault(at, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any], bool]]:
    """Each statement with its first line: the fewest lines that are TOML by themselves."""
    statement, first = "", 1
    for line, written in enumerate(text.split("\n"), 1):
        statement += f"{written}\n"
        try:
            said = tomllib.loads(statement)
        except ValueError:
            continue
        yield first, said, statement.lstrip().startswith("[")
        statement, first = "", line + 1


def _header(said: Mapping[str, Any], lines: dict[Key, int], line: int) -> Key:
    """The table that a header begins; one of several alike (`[[…]]`) is the next of them."""
    at: Key = ()
    below: Any = said
    while below:
        name, below = next(iter(below.items()))
        at = (*at, name)
        lines.setdefault(at, line)
        count = next(count for count in range(len(lines) + 1) if (*at, count) not in lines)
        if isinstance(below, list):
            lines[(*at, count)] = line
            return (*at, count)
        if count:
            at = (*at, count - 1)
    return at


def _ways(value: Any, at: Key) -> Iterator[Key]:
    """The way to this value and to all within it."""
    if at:
        yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _ways(item, (*at, key))


# YAML


def _read_yaml(path: Path, text: str) -> Document:
    try:
        import yaml  # only here: TOML does without
    except ModuleNotFoundError:
        says = f"{path}: YAML needs PyYAML; install it with: pip install 'pairlock[cli]', or write TOML"
        raise ConfigurationError(says) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise ConfigurationError(f"{path}: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # it leaves some escapes to chr()
        raise ConfigurationError(_yaml_trouble(path, text, error)) from None
    tree = _Tree(path)
    return Document(path, None if root is None else tree.value(root, ()), lambda: tree.lines)


def _yaml_trouble(path: Path, text: str, error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    line = text.count("\n", 0, getattr(error, "position", 0)) if mark is None else mark.line
    reason = str(getattr(error, "problem", None) or getattr(error, "reason", "it cannot be understood"))
    reason, names = _NAMES.subn(r"\1", reason)
    hint = _UNQUOTED if names else "; indent with spaces, not tabs" if "'\\t'" in reason else ""
    return f"{path}:{line + 1}: this is no YAML: {clean_text(reason)}{hint}"


class _Tree:
    """Makes plain values of YAML's nodes, and notes their lines. Raises ConfigurationError."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[Key, int] = {}
        self._path = path

    def value(self, node: Any, at: Key) -> Any:
        """The value of a node."""
        self.lines.setdefault(at, node.start_mark.line + 1)
        if len(at) > DEEPEST or len(self.lines) > MOST_VALUES:
            self._refuse(at, "this leads too far; does an alias repeat what it stands in?")
        if node.id == "mapping":
            return self._table(node, at)
        if node.id == "sequence":
            return [self.value(item, (*at, place)) for place, item in enumerate(node.value)]
        return self._scalar(node, at)

    def _table(self, node: Any, at: Key) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key, value in node.value:
            way = (*at, key.value if key.id == "scalar" else "?")
            line = key.start_mark.line + 1
            if way in self.lines:
                self._refuse(way, f"it is there twice, first in line {self.lines[way]}", line)
            self.lines[way] = line
            if key.id != "scalar" or key.tag == f"{_YAML_TAG}merge":
                self._refuse(way, "only words stand before a colon; write out what is meant")
            table[key.value] = self.value(value, way)
        return table

    def _scalar(self, node: Any, at: Key) -> Any:
        kind = node.tag.removeprefix(_YAML_TAG)
        text = str(node.value)
        if kind == "null":
            return None
        if kind == "bool":
            return switch(text)
        if kind in ("int", "float"):  # not 010 or 5:00, which YAML 1.1 takes for 8 and 300
            return number(text)
        if kind not in _TEXTS:
            self._refuse(at, f"there are no values of a kind of their own (!…) here{_UNQUOTED}")
        return text

    def _refuse(self, at: Key, says: str, line: int | None = None) -> None:
        raise ConfigurationError(f"{self._path}:{line or self.lines[at]}: {dotted(at)}: {says}")


READERS: dict[str, Callable[[Path, str], Document]] = {".toml": _read_toml, ".yaml": _read_yaml, ".yml": _read_yaml}
