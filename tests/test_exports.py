"""The public names are exactly those in `__all__`."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pairlock.errors import WireError

FACADES = ["pairlock", "pairlock.testing"]  # nothing but public names of ours
PUBLIC = [*FACADES, "pairlock.client", "pairlock.client.aio", "pairlock.stores"]


def exported() -> list[tuple[str, str]]:
    return [(package, name) for package in PUBLIC for name in getattr(importlib.import_module(package), "__all__", ())]


def bound(package: str) -> Iterator[str]:
    """The names a package binds: what it imports from us, defines or assigns."""
    source = inspect.getsource(importlib.import_module(package))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pairlock"):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def in_order(name: str) -> tuple[bool, bool, str]:
    """Constants, then classes, then functions."""
    return not name.isupper(), not name[0].isupper(), name


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names_are_listed_once_and_in_order(package: str) -> None:
    names = importlib.import_module(package).__all__
    assert list(names) == sorted(set(names), key=in_order)
    assert not [name for name in names if name.startswith("_") and name != "__version__"]


@pytest.mark.parametrize(("package", "name"), exported())
def test_a_public_name_can_be_imported(package: str, name: str) -> None:
    assert getattr(importlib.import_module(package), name) is not None


@pytest.mark.parametrize("package", FACADES)
def test_no_name_is_public_by_accident(package: str) -> None:
    module = importlib.import_module(package)
    public = {
        name
        for name in bound(package)
        if not name.startswith("_") and not inspect.ismodule(getattr(module, name, None))
    }
    assert public == set(module.__all__) - {"__version__"}


@pytest.mark.parametrize(("package", "name"), exported())
def test_a_public_class_or_function_says_what_it_is_in_a_first_sentence_that_stands_alone(
    package: str, name: str
) -> None:
    public = getattr(importlib.import_module(package), name)
    if inspect.isclass(public) or inspect.isroutine(public):
        assert re.match(r"[A-Z\"'`][^\n]*[.?](\s|$)", said_of(public)), said_of(public)


def said_of(public: Any) -> str:
    """Its own docstring; an error that has none says what it is in its description."""
    own = public.__dict__.get("__doc__") if inspect.isclass(public) else public.__doc__
    if own is None and inspect.isclass(public) and issubclass(public, WireError):
        return public.description
    return inspect.cleandoc(own or "")
