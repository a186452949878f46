"""What a benchmark prints: a table with a goal in each row, or the same rows as JSON."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

HEADINGS = ("", "what", "ours", "compared with", "figure", "goal", "met")


class Row(msgspec.Struct, frozen=True):
    """One measured figure: a ratio (unit "×"), or a time that is judged as such.

    `goal` is the most the figure may be, or the least with `at_least`; None where it only informs.
    """

    number: str
    what: str
    ours: str
    compared: str
    figure: float
    goal: float | None = None
    unit: str = "×"
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.figure >= self.goal if self.at_least else self.figure <= self.goal

    def cells(self) -> tuple[str, ...]:
        """As shown in a table."""
        goal = "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self._shown(self.goal)}"
        met = {None: "", True: "yes", False: "NO"}[self.met]
        return self.number, self.what, self.ours, self.compared, self._shown(self.figure), goal, met

    def _shown(self, value: float) -> str:
        return f"{value:.3g}{'' if self.unit == '×' else ' '}{self.unit}"


Rows = list[Row]


def microseconds(seconds: float) -> str:
    """A time as the tables show it."""
    return f"{seconds * 1e6:.3g} µs" if seconds < 999e-6 else f"{seconds * 1e3:.3g} ms"


def megabytes(count: float) -> str:
    """So many bytes as the tables show them."""
    return f"{count / 1e6:.3g} MB"


def kilobytes(count: float) -> str:
    """So many bytes as the tables show them."""
    return f"{count / 1e3:.3g} KB"


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table that is aligned to be read as it is."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], tuple("-" * width for width in widths), *lines[1:]]
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in ruled)


def script(measure: Callable[..., Awaitable[Rows]], doc: str | None, **options: Any) -> None:
    """Run one benchmark alone: its table, or with --json its rows.

    `options` are what it may be told, with what holds where it is not.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"by default {default}")
    wanted = parser.parse_args()

    async def run() -> Rows:
        return await measure(**{name: getattr(wanted, name) for name in options})

    rows = asyncio.run(run())
    sys.stdout.write((msgspec.json.encode(rows).decode() if wanted.json else f"{doc}\n\n{table(rows)}") + "\n")
