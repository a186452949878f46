"""Lists of any length: read page after page, printed as they come, never held as a whole."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click
from rich.cells import cell_len

from pairlock.cli.terminal import Terminal

T = TypeVar("T")
Row = Sequence[str]

PAGE = 100  # records that are read at once; the widths of columns are those of the first page
GAP = "  "


async def pages(read: Callable[[T | None, int], Awaitable[list[T]]], limit: int | None) -> AsyncIterator[list[T]]:
    """Every page; `read` gets the last record of the page before, and how many may come."""
    last: T | None = None
    left = limit
    while page := await read(last, PAGE if left is None else min(PAGE, left)):
        yield page
        last = page[-1]
        left = None if left is None else left - len(page)
        if left == 0:
            return


async def print_list(
    terminal: Terminal,
    name: str,
    found: AsyncIterator[list[T]],
    *,
    told: Callable[[T], dict[str, Any]],
    columns: Row,
    shown: Callable[[T], Row],
) -> int:
    """Print every record: as `{name: [...]}` with --json, else a line each. How many there were."""
    if terminal.as_json:
        return await _print_json(name, found, told)
    count, widths = 0, [0]
    async for page in found:
        rows = [shown(record) for record in page]
        if not count:
            widths = _widths([columns, *rows])
            terminal.out.print(_line(columns, widths), style="bold")
        click.echo("\n".join(_line(row, widths) for row in rows))
        count += len(page)
    return count


async def _print_json(name: str, found: AsyncIterator[list[T]], told: Callable[[T], dict[str, Any]]) -> int:
    """One object on one line, written piece by piece."""
    count = 0
    click.echo(f"{{{json.dumps(name)}: [", nl=False)
    async for page in found:
        text = ", ".join(json.dumps(told(record), ensure_ascii=False) for record in page)
        click.echo(", " * bool(count) + text, nl=False)
        count += len(page)
    click.echo("]}")
    return count


def aligned(rows: Sequence[Row]) -> list[str]:
    """Rows as lines, with columns below each other."""
    widths = _widths(rows)
    return [_line(row, widths) for row in rows]


def _widths(rows: Sequence[Row]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _line(row: Row, widths: Sequence[int]) -> str:
    cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
    return GAP.join(cells).rstrip()
