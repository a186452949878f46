"""Imports point inwards only. A new arrow is a changed line in one of these tables, seen in review."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pairlock

# From each package of ours to those it may import. `services` are the modules beside `errors`: pairing, devices, ...
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "_core": {"errors"},
    "stores": {"errors", "_core"},
    "testing": {"errors", "_core", "stores"},
    "services": {"errors", "_core", "stores"},
    "asgi": {"errors", "_core", "stores", "services"},
    "facade": {"errors", "_core", "stores", "services", "asgi"},  # the one object an application makes, put together
    "configuration": {"errors", "_core", "stores", "services", "asgi", "facade"},
    "client": {"errors", "_core"},
    "cli": {"errors", "_core", "stores", "services", "asgi", "facade", "configuration", "client"},
    "__init__": {"errors", "_core", "stores", "services", "asgi", "facade"},
}

# What only these modules (and those below them) may import.
ONLY = {
    "starlette": {"pairlock.asgi", "pairlock.facade"},  # the facade for its types
    "itsdangerous": {"pairlock._core.tokens"},
    "aiosqlite": {"pairlock.stores.sqlite"},
    "sqlite3": {"pairlock.stores.sqlite", "pairlock.stores.sqlite_schema"},
    "asyncpg": {"pairlock.stores.postgres", "pairlock.stores.postgres_pool"},
    "valkey": {"pairlock.stores.valkey_link", "pairlock.stores.valkey_opening"},
    "limits": {"pairlock.services.limiter"},
    "qrcode": {"pairlock.services.pictures"},
    "png": {"pairlock.services.pictures"},  # comes with qrcode[png]
    "httpx": {"pairlock.client"},
    "httpx2": {"pairlock.client"},
    "anyio": {"pairlock.client"},
    "filelock": {"pairlock.client"},
    "keyring": {"pairlock.client"},
    "click": {"pairlock.cli"},
    "rich": {"pairlock.cli"},
    "prompt_toolkit": {"pairlock.cli"},
    "uvicorn": {"pairlock.cli.service.serve", "pairlock.cli.service.server"},
    "yaml": {"pairlock.configuration.file"},
    "pytest": {"pairlock.testing"},
    "hypothesis": {"pairlock.testing"},
}

# The rules have no clock, no randomness and no input or output of their own.
NOT_IN_RULES = {
    *("time", "datetime", "random", "secrets", "uuid"),
    *("os", "io", "pathlib", "shutil", "tempfile", "subprocess", "sqlite3"),
    *("asyncio", "socket", "ssl", "threading", "select", "urllib.request", "http"),
}

DRAWERS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "shared", "base"}

SOURCE = Path(pairlock.__file__).parent


def name_of(path: Path) -> str:
    return ".".join(("pairlock", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports(source: str) -> Iterator[str]:
    """Every module that a source text imports, wherever in it, by its full name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module or ""


IMPORTS = {name: set(imports(path.read_text("utf-8"))) for name, path in FILES.items()}
PACKAGES = {name.split(".")[1] for name, path in FILES.items() if path.parent != SOURCE}


def package_of(module: str) -> str:
    """The row of a module in MAY_IMPORT."""
    first = module.split(".")[1] if "." in module else "__init__"
    return first if first in PACKAGES | MAY_IMPORT.keys() else "services"


def is_below(module: str, parents: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{parent}.") for parent in parents)


def test_imports_are_read_wherever_they_stand() -> None:
    source = "import a.b\ndef f():\n  from pairlock import errors\nif 1:\n  from pairlock.errors import PairlockError"
    assert sorted(imports(source)) == ["a.b", "pairlock.errors", "pairlock.errors"]


def test_every_package_has_its_row() -> None:
    assert {package_of(module) for module in FILES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    ours = package_of(module)
    used = {package_of(used) for used in IMPORTS[module] if is_below(used, {"pairlock"})}
    assert used <= MAY_IMPORT[ours] | {ours}


@pytest.mark.parametrize("library", ONLY)
def test_a_library_is_known_in_one_place_only(library: str) -> None:
    knowing = {module for module, used in IMPORTS.items() if any(is_below(name, {library}) for name in used)}
    assert {module for module in knowing if not is_below(module, ONLY[library])} == set()


@pytest.mark.parametrize("module", [module for module in FILES if package_of(module) in ("_core", "errors")])
def test_the_rules_know_no_clock_no_randomness_and_no_input_or_output(module: str) -> None:
    assert {name for name in IMPORTS[module] if is_below(name, NOT_IN_RULES)} == set()


def test_importing_the_rules_loads_none_of_our_other_packages() -> None:
    assert {package_of(used) for used in reachable("pairlock._core.requests")} == {"_core", "errors"}


def reachable(module: str) -> set[str]:
    found, waiting = {module}, [module]
    while waiting:
        for used in IMPORTS[waiting.pop()] & FILES.keys() - found:
            found.add(used)
            waiting.append(used)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: used & FILES.keys() for module, used in IMPORTS.items()}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_no_module_is_a_drawer_for_anything() -> None:
    assert {module for module in FILES if DRAWERS & set(module.split("."))} == set()


def test_only_dependencies_that_are_declared_are_imported() -> None:
    known = set(sys.stdlib_module_names) | {"pairlock", "msgspec", *ONLY}
    used = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    assert used <= known
