"""What was measured: a row for each trouble."""

from collections.abc import Iterable
from statistics import median

import pytest
from msgspec import Struct

PROPERTY = "chaos figures"
TITLE = "chaos: four workers under load"
COLUMNS = (
    "store",
    "trouble",
    "lasted",
    "back in",
    "paired",
    "refreshed",
    "guarded",
    "revoked",
    "503",
    "broken",
    "slowest",
    "let in",
    "refused p50",
    "p99",
    "closed p50",
    "p99",
)
LEGEND = (
    "in seconds; back in: until every worker is well again by itself; let in: the longest after an acknowledged"
    " revocation; refused: by the other workers; closed: what was open; both from the acknowledgement on"
)


class Row(Struct, frozen=True):
    """What was measured during one trouble."""

    trouble: str
    lasted: float
    back_in: float
    counts: dict[str, int]
    unavailable: int
    broken: int
    slowest: float
    let_in: float
    refused: list[float]
    closed: list[float]

    @property
    def slowest_to_revoke(self) -> float:
        """How long after an acknowledged revocation a device was let in or connected, but for one case in a hundred."""
        return max(self.let_in, p99(self.refused), p99(self.closed))

    def cells(self) -> list[str]:
        """As text, in the order of the columns."""
        return [
            self.trouble,
            f"{self.lasted:.1f}",
            f"{self.back_in:.2f}",
            *(str(self.counts.get(name, 0)) for name in ("paired", "refreshed", "guarded", "revoked")),
            str(self.unavailable),
            str(self.broken),
            f"{self.slowest:.1f}",
            f"{self.let_in:.3f}",
            *_spread(self.refused),
            *_spread(self.closed),
        ]


def _spread(figures: list[float]) -> tuple[str, str]:
    return (f"{median(figures):.3f}", f"{p99(figures):.3f}") if figures else ("", "")


def p99(figures: list[float]) -> float:
    """The figure that 99 of 100 do not exceed."""
    return sorted(figures)[min(len(figures) - 1, int(len(figures) * 0.99))]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures of all tests that have some."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    rows = [row for report in reports for name, rows in report.user_properties if name == PROPERTY for row in rows]
    if rows:
        terminalreporter.section(TITLE)
        terminalreporter.write_line("\n".join([*table(rows), LEGEND]))


def table(rows: Iterable[list[str]]) -> list[str]:
    """Lines with the columns in line."""
    all_rows = [list(COLUMNS), *rows]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in all_rows]
