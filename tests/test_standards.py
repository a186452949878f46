"""docs/standards.md is complete and true: every demand has its row, every row a test that exists."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/standards.md"
HEADER = "| id | clause | demand | test |"
WAITS = "waits for the pages"

# The demands by their numbers, as they were collected; what concerns clients alone has none here.
DEMANDS = {
    *(f"D{number}" for number in (*range(1, 15), 17, 18, 19, 20, 24)),
    *(f"S{number}" for number in (1, 2, 4, 7, 8, 9, 10, 11, 12, 14)),
    *(f"B{number}" for number in range(1, 7)),
    *("R1", "R2", "R3", "M1", "M2", "V1", "V2"),
}
CLAUSE = re.compile(r"test_(\d{4}(_\d+)+|bcp)_[a-z]")  # test_8628_3_5_..., or the best practice, which has no number


class Row(NamedTuple):
    ids: list[str]
    clause: str
    demand: str
    tests: list[str]
    waits: bool


def rows() -> list[Row]:
    """The rows of all tables of the page."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        if re.match(r"\| [A-Z]\d", line):
            ids, clause, demand, test = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append(Row(ids.split(", "), clause, demand, re.findall(r"`(tests/[^`]+)`", test), WAITS in test))
    return found


def named_in(path: Path) -> set[str]:
    """The names of the tests of a file."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = (node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, functions))
    return {name for name in found if name.startswith("test_")}


ROWS = rows()


def test_every_table_of_the_page_is_read() -> None:
    text = PAGE.read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("| id", "|---"))]
    assert len(ROWS) == len(lines) > 50
    assert text.count(HEADER) == text.count("|---|---|---|---|") == text.count("\n## ") - 1  # the last is prose


def test_every_demand_has_a_row_and_none_has_two() -> None:
    ids = [each for row in ROWS for each in row.ids]
    assert set(ids) >= DEMANDS
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.ids))
def test_every_row_names_tests_that_exist_or_says_what_it_waits_for(row: Row) -> None:
    assert row.clause
    assert row.demand
    assert row.tests or row.waits
    for test in row.tests:
        path, _, name = test.partition("::")
        assert name in named_in(ROOT / path), test


@pytest.mark.parametrize("path", sorted((ROOT / "tests/rfc").glob("test_*.py")), ids=lambda path: path.stem)
def test_every_test_of_a_standard_says_its_clause_or_is_named_by_a_row(path: Path) -> None:
    named = {test.partition("::")[2] for row in ROWS for test in row.tests}
    assert {name for name in named_in(path) if not CLAUSE.match(name)} <= named


def test_a_test_of_a_standard_is_in_the_file_of_that_standard() -> None:
    for path in (ROOT / "tests/rfc").glob("test_[0-9]*.py"):
        clauses = {name for name in named_in(path) if CLAUSE.match(name)}
        assert {name for name in clauses if not name.startswith(f"{path.stem}_")} == set()
