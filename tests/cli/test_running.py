"""How commands are found, also where not all of them are installed."""

import os
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import click
import pytest

from pairlock.cli.running import COMMANDS, SERVED_WITH, _failed, pairlock, run
from pairlock.cli.terminal import Terminal
from pairlock.errors import NotPaired

pytestmark = pytest.mark.usefixtures("nowhere")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `pip install 'pairlock[cli]'`: nothing to serve with."""
    for name in [name for name in sys.modules if name.startswith("pairlock.cli.service")]:
        monkeypatch.delitem(sys.modules, name)
    for name in SERVED_WITH:
        monkeypatch.setitem(sys.modules, name, None)


def test_help_lists_every_command_also_those_that_are_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert "serve       Needs uvicorn; install it with: pip install 'pairlock[server]'" in shown


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "house:app", "--pairing", "--read", "/**"]])
def test_what_is_not_installed_says_how_to_get_it(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    says = "pairlock serve: Needs uvicorn; install it with: pip install 'pairlock[server]'\n"
    assert capsys.readouterr().err.casefold() == says.casefold()


def test_anything_else_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pairlock.cli.operator.audit", raising=False)
    monkeypatch.setitem(sys.modules, "pairlock.cli.moments", None)
    with pytest.raises(ModuleNotFoundError):
        run(["audit"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [("device", "No such command 'device'. Did you mean 'devices'?"), ("xyzzy", "No such command 'xyzzy'.")],
)
def test_a_mistyped_command_is_answered_with_one_that_is_alike(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([typed]) == 2
    assert said in capsys.readouterr().err


def test_an_answer_that_nobody_can_read_ends_in_a_line_all_the_same() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "pairlock.cli", "whoami", "--json", "--credentials", "/nonexistent/tokens.json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (4, 1), ended.stderr


def test_an_error_that_nobody_can_read_is_told_on_the_other_stream(capsys: pytest.CaptureFixture[str]) -> None:
    terminal, kept = Terminal(as_json=True), os.dup(1)
    full = Path("/dev/full").open("w")  # noqa: SIM115  # it is put in the place of stdout
    try:
        with redirect_stdout(full):
            assert _failed(terminal, NotPaired("This device is paired with nothing.")) == 4
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with suppress(OSError):
            full.close()
    assert capsys.readouterr().err == "This device is paired with nothing.\n"


def test_shells_are_told_every_command() -> None:
    assert pairlock.list_commands(click.Context(pairlock)) == list(COMMANDS)
