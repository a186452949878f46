"""Commands that are cut short: nothing is left behind, at the service or in the terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # stubs are another package
import pytest

from pairlock.cli.outcomes import DONE, FAILED, INTERRUPTED, REFUSED
from tests.cli.device.parts import PATIENCE, Home, House, at_terminal, in_shell, meanwhile, paired
from tests.cli.parts import COMMAND, Cli, end_of, environment

WAITING = "Waiting for its operator to approve"


def interrupted(child: Any, home: Home, house: House, before: bytes | None) -> None:
    """It ended as Ctrl-C ends a command, and left nothing."""
    ended = end_of(child)
    assert ended.code == INTERRUPTED
    assert ended.out.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in ended.out
    left(home, house, before)


def left(home: Home, house: House, before: bytes | None) -> None:
    """What is kept is as before, and so are the devices; nobody waits any more."""
    assert (home.bytes(), home.drafts(), house.pending()) == (before, [], [])
    assert house.devices() == [kept.name for kept in home.kept()]


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        (("pair",), "left):"),
        (("pair", "--wait"), WAITING),
        (("login", "--code", "-"), "Code:"),
        (("login",), "Waiting for its approval"),
    ],
)
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_at_every_prompt(home: Home, house: House, arguments: tuple[str, ...], prompt: str, how: str) -> None:
    command, *more = arguments
    with at_terminal(home, command, house.url, *more) as child:
        child.expect_exact(prompt)
        if how == "Ctrl-C":
            child.sendcontrol("c")
        else:
            (process,) = psutil.Process(child.pid).children()
            process.terminate()
        interrupted(child, home, house, None)


@pytest.mark.parametrize("key", ["c", "d"])
def test_at_the_question_whether_to_replace(home: Home, house: House, cli: Cli, key: str) -> None:
    before = paired(home, house, cli)
    with at_terminal(home, "pair", house.url) as child:
        child.expect_exact("[y/N]:")
        child.sendcontrol(key)
        interrupted(child, home, house, before)


def test_after_ctrl_d(home: Home, house: House) -> None:
    with at_terminal(home, "pair", house.url) as child:
        child.expect_exact("left):")
        child.sendcontrol("d")
        child.expect_exact(WAITING)
        child.sendcontrol("c")
        interrupted(child, home, house, None)


def test_at_the_pin_that_confirms(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("house")
    with House(folder, confirmation_pin=True) as house, at_terminal(home, "login", house.url) as child:
        child.expect(r"The code of this device: ([B-Z-]{9})")
        house.approve(house.look_up(str(child.match[1])))
        child.expect_exact("left):")
        child.sendcontrol("c")
        interrupted(child, home, house, None)


# Without a terminal


@pytest.fixture
def waiting(home: Home, house: House) -> Iterator[subprocess.Popen[str]]:
    """A command that waits until an operator has approved."""
    process = subprocess.Popen(
        [*COMMAND, "pair", house.url, "--wait"],
        cwd=home.folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    house.waits()
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_withdraws_the_request(
    home: Home, house: House, waiting: subprocess.Popen[str], number: signal.Signals
) -> None:
    waiting.send_signal(number)
    out, err = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, out) == (INTERRUPTED, "")
    assert err.splitlines()[-1] == "Interrupted."
    left(home, house, None)


def test_to_be_asked_twice_to_end_is_to_be_asked_once(home: Home, house: House, waiting: subprocess.Popen[str]) -> None:
    for _ in range(2):  # as `timeout` does
        waiting.terminate()
    assert waiting.communicate(timeout=PATIENCE)[1].splitlines()[-1] == "Interrupted."
    left(home, house, None)


def test_who_is_killed_leaves_no_device_though_it_is_approved(
    home: Home, house: House, cli: Cli, waiting: subprocess.Popen[str]
) -> None:
    asked = house.asked()
    waiting.kill()
    waiting.wait(PATIENCE)
    house.approve(asked)
    assert (house.devices(), home.bytes()) == ([], None)
    with meanwhile(house.approve):
        assert cli("pair", house.url, "--wait").code == DONE


# Streams


@pytest.mark.parametrize("command", ["token", "whoami --json", "list", "list --json", "--help"])
def test_a_reader_that_has_enough_is_no_error(home: Home, house: House, cli: Cli, command: str) -> None:
    paired(home, house, cli)
    done = in_shell(home, f"pairlock {command} | true; exit ${{PIPESTATUS[0]}}")
    assert done == (DONE, "", "")


@pytest.mark.parametrize("command", ["token", "whoami --json", "list"])
def test_an_answer_that_nobody_wants(home: Home, house: House, cli: Cli, command: str) -> None:
    paired(home, house, cli)
    assert in_shell(home, f"pairlock {command} >&-") == (DONE, "", "")
    assert in_shell(home, f"pairlock {command} 2>&-") == (DONE, cli(*command.split()).out, "")


def test_an_answer_that_cannot_be_written(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    failed = in_shell(home, "pairlock token > /dev/full")
    assert (failed.code, len(failed.err.strip().splitlines())) == (FAILED, 1)
    assert "No space left on device" in failed.err


def test_without_standard_input_it_waits_for_the_operator(home: Home, house: House) -> None:
    with meanwhile(house.approve):
        done = in_shell(home, f"pairlock pair {house.url} <&-")
    assert (done.code, len(house.devices())) == (DONE, 1)
    assert "No code was given" in in_shell(home, f"pairlock login {house.url} --code - <&-").err


def test_letters_that_a_terminal_lacks_are_no_error(home: Home, tmp_path: Path, cli: Cli) -> None:
    with House(tmp_path / "tablet", server_name="平板电脑") as house:
        paired(home, house, cli)
        for command in ("whoami", "list --json"):
            shown = in_shell(home, f"pairlock {command}", PYTHONIOENCODING="latin-1:strict")
            assert (shown.code, shown.err) == (DONE, "")
            assert r"\u5e73\u677f\u7535\u8111" in shown.out
        typed = in_shell(
            home, rf"printf '\377\n' | pairlock pair {house.url} --replace", PYTHONIOENCODING="utf-8:strict"
        )
    assert (typed.code, typed.err.splitlines()[2]) == (REFUSED, "The PIN has 6 digits.")


def test_streams_that_are_closed_are_opened(home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    try:
        assert cli("list").code == DONE
        assert sys.stdin.name == os.devnull
    finally:
        sys.stdin.close()
