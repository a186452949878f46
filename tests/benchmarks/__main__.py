"""Every benchmark, one after the other, each in a process of its own; a table of all at the end.

It takes six minutes. Leave the machine alone meanwhile; figures are ratios taken side by side, so that a
busy machine disturbs them little, but not never. What each figure means: docs/performance.md.
"""

import argparse
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.benchmarks.report import Row, Rows, table

SCRIPTS = [path.stem for path in Path(__file__).parent.glob("p[0-9]*_*.py")]
BENCHMARKS = {
    name.partition("_")[0]: name
    for name in sorted(SCRIPTS, key=lambda name: (int(re.sub(r"\D.*", "", name[1:])), name))
}
BENCHMARKS["qr"] = "qr"  # it has no number, for it has no goal
LISTED = "\n".join(
    f"  {number:4} {name.removeprefix(f'{number}_').replace('_', ' ')}" for number, name in BENCHMARKS.items()
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{LISTED}\n\nexamples:\n"
        "  python -m tests.benchmarks --only p1,p4\n"
        "  python -m tests.benchmarks.p1_guard       one alone\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="P1,P4", type=chosen, default=list(BENCHMARKS), help="run just these")
    parser.add_argument("--json", action="store_true", help="print all rows as JSON instead of tables")
    wanted = parser.parse_args()
    rows: Rows = []
    for number in wanted.only:
        measured = run(BENCHMARKS[number])
        rows += measured
        if not wanted.json:
            sys.stdout.write(f"{table(measured)}\n\n")
            sys.stdout.flush()
    if wanted.json:
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    else:
        sys.stdout.write(f"{summary(rows)}\n")
    return 0


def chosen(text: str) -> list[str]:
    numbers = [number.strip().lower() for number in text.split(",")]
    for number in numbers:
        if number not in BENCHMARKS:
            raise argparse.ArgumentTypeError(f"{number!r} is not one of {', '.join(BENCHMARKS)}")
    return numbers


def run(name: str) -> Rows:
    """The rows of one benchmark; a process of its own, so that none works on what another left behind."""
    command = [sys.executable, "-m", f"tests.benchmarks.{name}", "--json"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return msgspec.json.decode(output, type=list[Row])


def summary(rows: Rows) -> str:
    judged = [row for row in rows if row.met is not None]
    missed = sum(not row.met for row in judged)
    return (
        f"All together: {len(judged) - missed} of {len(judged)} goals met, on {platform.python_implementation()}"
        f" {platform.python_version()} with pairlock {version('pairlock')}\n\n{table(rows)}"
    )


if __name__ == "__main__":
    sys.exit(main())
