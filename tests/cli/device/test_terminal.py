"""What all commands share: where they speak, what they ask, and how they end."""

import asyncio
import io
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

import click
import pytest

from pairlock.cli import main, outcomes
from pairlock.cli.device.asking import _piped
from pairlock.cli.outcomes import DONE, FAILED, INTERRUPTED, NO_SUCH
from pairlock.cli.running import run
from pairlock.cli.terminal import Terminal, countdown, safe, spoken
from pairlock.errors import Busy, InvalidRequest, NotPaired, PairlockError
from tests.cli.device.parts import Home, House, meanwhile
from tests.cli.parts import Cli, at_a_terminal
from tests.services.codes_parts import DEFAULT, NARROW

# Questions


@pytest.mark.parametrize(
    ("typed", "answer"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("what\nyes\n", True)]
)
def test_a_question_is_answered_by_yes_or_no(monkeypatch: pytest.MonkeyPatch, typed: str, answer: bool) -> None:
    shown = at_a_terminal(monkeypatch, typed)
    assert Terminal(as_json=False).confirm("Really?", otherwise="give --yes.") is answer
    assert shown.getvalue().startswith("Really? [y/N]: ")
    assert ("Type y or n." in shown.getvalue()) is typed.startswith("what")


def test_nobody_can_be_asked_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("piped\n"))
    terminal = Terminal(as_json=False)
    with pytest.raises(click.UsageError, match=r"Really\? Nobody can be asked here: give --yes\."):
        terminal.confirm("Really?", otherwise="give --yes.")
    assert terminal.ask("Code") == "piped"
    assert terminal.ask("Code") == ""


def test_a_line_is_asked_for_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = at_a_terminal(monkeypatch, "\n  \nK3F9\n")
    assert Terminal(as_json=False).ask("Code") == "K3F9"
    assert shown.getvalue() == "Code: Code: Code: "


def test_a_question_that_is_left_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    at_a_terminal(monkeypatch, "")
    with pytest.raises(click.Abort):
        Terminal(as_json=False).ask("Code")
    monkeypatch.setattr(sys.stdin, "readline", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(click.Abort):
        Terminal(as_json=False).ask("Code")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_line_that_comes_too_late_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(reader)
    monkeypatch.setattr(sys, "stdin", stream)

    async def leaves() -> None:
        reading = asyncio.create_task(_piped())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        os.write(writer, b"late\n")
        os.close(writer)
        await asyncio.sleep(0.2)

    asyncio.run(leaves())
    with stream:
        assert stream.readline() == ""


# Words


def test_permissions_time_and_strangers_are_put_into_words() -> None:
    assert spoken(DEFAULT) == "read /sensors/**, write /control/lamp"
    assert spoken(NARROW) == "read /sensors/a"
    assert spoken(NARROW.parse({"read": [], "write": []})) == "nothing"
    assert [countdown(seconds) for seconds in (299.9, 60, 0.5, -3)] == ["5:00", "1:00", "0:01", "0:00"]
    assert [countdown(seconds) for seconds in (30.0000003, 3600, 86400)] == ["0:30", "1:00:00", "24:00:00"]
    assert safe("Tele\x1b[2J\nphone\u202e") == "Tele[2J phone"


def test_markup_of_strangers_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(as_json=False)
    terminal.answer({}, "[bold]loud[/bold] :smile: " + "x" * 200)
    terminal.warn("[red]mind[/red]")
    assert tuple(capsys.readouterr()) == (
        f"[bold]loud[/bold] :smile: {'x' * 200}\n",
        "warning: [red]mind[/red]\n",
    )


# Ends


def test_an_error_is_a_line_a_code_and_json() -> None:
    busy = Busy(retry_after=7)
    assert "7 seconds" in outcomes.line(busy)
    assert outcomes.line(InvalidRequest()) == InvalidRequest.description
    assert outcomes.line(InvalidRequest(detail="no")) == f"{InvalidRequest.description} (detail: no)"
    assert outcomes.line(NotPaired("say so (replace=True, --replace)")) == "Say so (--replace)"
    assert outcomes.line(NotPaired("https://house.example is away")) == "https://house.example is away"
    assert outcomes.as_json(busy) == {"error": "busy", "error_description": Busy.description, "retry_after": 7}
    assert outcomes.as_json(NotPaired("no")) == {"error": "not_paired", "error_description": "no"}
    assert outcomes.exit_code(outcomes.NoSuch("two")) == NO_SUCH
    assert (outcomes.exit_code(OSError()), outcomes.exit_code(PairlockError())) == (FAILED, FAILED)


def test_sigterm_ends_a_command_of_this_process(home: Home, house: House, cli: Cli) -> None:
    def terminates() -> None:
        house.waits()
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with meanwhile(terminates):
        ended = cli("pair", house.url, "--wait")
    assert (ended.code, ended.err.splitlines()[-1]) == (INTERRUPTED, "Interrupted.")
    assert signal.getsignal(signal.SIGTERM) is before
    assert house.pending() == []


@pytest.fixture
def gone() -> Iterator[io.TextIOBase]:
    """A pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    stream, before = os.fdopen(writer, "w"), os.dup(1)
    yield stream
    os.dup2(before, 1)  # which was let go of
    os.close(before)
    with suppress(BrokenPipeError):
        stream.close()


def test_whoever_reads_no_further_is_no_error(home: Home, monkeypatch: pytest.MonkeyPatch, gone: io.TextIOBase) -> None:
    monkeypatch.setattr(sys, "stdout", gone)
    assert run(["list", "--json"]) == DONE


def test_it_can_be_run_as_a_module(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pairlock", "list", "--json"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pairlock.cli", run_name="__main__")
    assert (ended.value.code, capsys.readouterr().out) == (DONE, '{"credentials": []}\n')


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pairlock.cli.running")
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == "pairlock: the command needs click; install it with: pip install 'pairlock[cli]'"


def test_a_module_of_ours_that_is_missing_is_our_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pairlock.cli.running", None)
    with pytest.raises(ModuleNotFoundError, match=r"pairlock\.cli\.running"):
        main([])
