"""`pairlock login`: by a code that this device was given, or by one that it shows."""

import asyncio
import os
import re
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pairlock.cli.device import browsing
from pairlock.cli.device.browsing import can_browse, opened, take
from pairlock.cli.outcomes import DONE, EXPIRED, INTERRUPTED, REFUSED, USAGE
from tests.cli.device.parts import GRANTED, Home, House, Typist, at_terminal, meanwhile, typing, until
from tests.cli.parts import COMMAND, Cli, at_a_terminal, end_of, run_process
from tests.services.parts import wrong

PAIRED = f'Paired with Studio as "TV": {GRANTED}\n'
WARNING = "warning: the code is a secret, and here it can be read in the list of processes and in the shell's history"
BROWSER = """\
#!/bin/sh
echo loud
echo loud >&2
echo $$ > {folder}/process
echo "$1" > {folder}/page
exec sleep 120
"""
PAGE = "https://house.example/device"
USER_CODE = re.compile(r"[B-Z]{4}-[B-Z]{4}")


def shown_code(child: Any) -> str:
    """The user code that a command in a terminal shows."""
    child.expect(r"The code of this device: ([B-Z]{4}-[B-Z]{4})")
    return str(child.match[1])


@pytest.fixture
def confirming(tmp_path: Path) -> Iterator[House]:
    """A service that wants an approval confirmed."""
    with House(tmp_path / "confirming", confirmation_pin=True) as house:
        yield house


@pytest.fixture
def paged(tmp_path: Path) -> Iterator[House]:
    """A service with a page where codes are typed."""
    with House(tmp_path / "paged", verification_uri=PAGE) as house:
        yield house


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Path]:
    """A browser that says a lot, notes which page it was given, and stays open; beside it what it notes."""
    program, process = tmp_path / "browser", tmp_path / "process"
    program.write_text(BROWSER.format(folder=tmp_path))
    program.chmod(0o755)
    yield program
    if process.exists():
        os.kill(int(process.read_text()), signal.SIGKILL)


# A code that was handed out


def test_a_code_among_the_arguments_is_warned_about(home: Home, house: House, cli: Cli) -> None:
    done = cli("login", house.url, "--code", house.code(), "--name", "TV")
    assert (done.code, done.out) == (DONE, PAIRED)
    assert done.err == f"{WARNING}; --code - asks for it, or reads it from a pipe.\n"
    assert house.devices() == ["TV"]


def test_a_code_is_read_from_a_pipe(home: Home, house: House) -> None:
    done = run_process("login", house.url, "--code", "-", "--json", cwd=home.folder, typed=f"{house.code()}\n")
    assert (done.code, done.err) == (DONE, "")
    assert done.json["server"]["name"] == "Studio"
    assert len(house.devices()) == 1


def test_a_code_is_asked_for_at_a_terminal(home: Home, house: House) -> None:
    with at_terminal(home, "login", house.url, "--code", "-", "--name", "TV") as child:
        child.expect_exact("Code:")
        child.send(f"{house.code().lower().replace('-', ' ')}\r")
        ended = end_of(child)
    assert (ended.code, ended.out.endswith(PAIRED)) == (DONE, True)


def test_a_question_never_reaches_standard_output(home: Home, house: House) -> None:
    pairlock = shlex.join([*COMMAND, "login", house.url, "--code", "-"])
    script = f"{pairlock} --json > answer; {pairlock} > no"
    with at_terminal(home, command=["bash", "-c", script, "bash"]) as child:
        child.expect_exact("Code:")
        child.send(f"{house.code()}\r")
        child.expect_exact("Code:")
        child.send(f"{house.code()}\r")
        child.expect_exact("[y/N]")
        child.send("n\r")
        assert end_of(child).code == REFUSED
    assert (home.folder / "answer").read_text().startswith("{")
    assert (home.folder / "no").read_text() == ""


def test_a_code_is_asked_for_in_this_process(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, f"{house.code()}\n")
    done = cli("login", house.url, "--code", "-", "--name", "TV")
    assert (done.code, done.out) == (DONE, PAIRED)


@pytest.mark.parametrize("given", [("--code", "-"), ("--code", ""), ("--code", "---")])
def test_no_code_is_a_wrong_argument(home: Home, house: House, cli: Cli, given: tuple[str, str]) -> None:
    refused = cli("login", house.url, *given)
    assert (refused.code, refused.err.splitlines()[-1]) == (USAGE, "Error: No code was given; one reads K3F9-X2NM.")


def test_a_wrong_code_is_refused(home: Home, house: House, cli: Cli) -> None:
    refused = cli("login", house.url, "--code", "AAAA-BBBB")
    assert refused.code == REFUSED
    assert refused.err.splitlines()[-1].startswith("This code does not count here")
    assert (house.devices(), home.bytes()) == ([], None)


def test_what_a_qr_code_says_will_do(home: Home, house: House, cli: Cli) -> None:
    done = cli("login", house.qr(), "--name", "TV")
    assert (done.code, done.out, done.err) == (DONE, PAIRED, f"{WARNING}.\n")
    again = cli("login", house.qr(), "--json", "--replace")
    assert (again.code, again.json["url"]) == (DONE, f"{house.url}/pair")
    assert len(house.devices()) == 1


def test_a_fragment_that_is_no_qr_code_is_a_wrong_argument(home: Home, house: House, cli: Cli) -> None:
    refused = cli("login", f"{house.url}#K3F9-X2NM")
    assert (refused.code, "his is no pairing code" in refused.err) == (USAGE, True)


# A code that it shows


def test_an_operator_types_the_code(home: Home, house: House) -> None:
    with at_terminal(home, "login", house.url, "--name", "TV") as child:
        code = shown_code(child)
        asked = house.look_up(code)
        child.expect_exact(f"pairlock requests approve {code}")
        child.expect(r"Waiting for its approval \(9:5\d left\); Ctrl-C to give up\.")
        assert asked.name == "TV"
        house.approve(asked)
        ended = end_of(child)
    assert (ended.code, ended.out.endswith(PAIRED)) == (DONE, True)
    assert house.devices() == [home.kept()[0].name] == ["TV"]


def test_json_is_all_that_stdout_says_while_a_browser_is_open(home: Home, paged: House, browser: Path) -> None:
    house, page = paged, browser.with_name("page")

    def approves() -> None:
        until(page.exists)
        until(lambda: bool(USER_CODE.search(page.read_text())))
        house.approve(house.look_up(USER_CODE.search(page.read_text())[0]))  # type: ignore[index]  # as waited for

    with meanwhile(approves):
        done = run_process(
            "login", house.url, "--json", cwd=home.folder, environ={"BROWSER": f"{browser} %s", "DISPLAY": ":9"}
        )
    assert done.code == DONE
    assert done.json["base_url"] == house.url
    told = done.err.splitlines()
    assert USER_CODE.search(told[0])
    assert told[1:3] == [f"Type it at {PAGE}", "It was opened in your browser."]
    assert "pairlock requests approve" in told[3]


@pytest.mark.parametrize(
    "away", [{"SSH_CONNECTION": "1 2 3 4"}, {"SSH_TTY": "/dev/pts/1"}, {"DISPLAY": ""}], ids=["ssh", "tty", "headless"]
)
def test_no_browser_is_opened_where_nobody_would_see_it(
    home: Home, paged: House, browser: Path, away: dict[str, str]
) -> None:
    environ = {"BROWSER": f"{browser} %s", "DISPLAY": ":9", "WAYLAND_DISPLAY": "", **away}
    with at_terminal(home, "login", paged.url, environ=environ) as child:
        shown_code(child)
        child.expect_exact("Waiting for its approval")
        child.sendcontrol("c")
        assert end_of(child).code == INTERRUPTED
    assert not browser.with_name("page").exists()
    assert home.bytes() is None


def test_an_operator_who_refuses_is_heard(home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(typist: Typist) -> None:
        typist.sees("Waiting for its approval")
        code = USER_CODE.search(typist.shown.getvalue())
        assert code is not None
        house.do(house.pairlock.deciding.deny(house.look_up(code[0]).id, reason="Not in my house"))

    with typing(monkeypatch, refuses) as shown:
        refused = cli("login", house.url, "--no-browser")
    assert (refused.code, refused.out) == (REFUSED, "")
    assert "The operator denied this pairing request. (reason: Not in my house)" in shown.getvalue()


def test_a_code_that_nobody_types_expires(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "hasty", device_code_timeout=2) as house:
        expired = cli("login", house.url, "--json")
    assert (expired.code, expired.json["error"]) == (EXPIRED, "expired_token")


def test_the_operator_reads_out_a_pin_that_confirms(home: Home, confirming: House) -> None:
    with at_terminal(home, "login", confirming.url, "--name", "TV") as child:
        asked = confirming.look_up(shown_code(child))
        confirming.approve(asked)
        child.expect_exact("Approved. The operator sees a PIN now.")
        child.expect_exact("PIN (")
        pin = confirming.confirmation_pin(asked)
        child.send("1\r")
        child.expect_exact("The PIN has 6 digits.")
        child.send(f"{wrong(pin)}\r")
        child.expect_exact("That is not the PIN; it stays the same. Attempts left: 4.")
        child.expect_exact("left):")
        child.send(f"{pin}\r")
        ended = end_of(child)
    assert (ended.code, ended.out.endswith(PAIRED)) == (DONE, True)


def test_five_wrong_pins_lock_a_confirmation(
    home: Home, confirming: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def types(typist: Typist) -> None:
        pin = wrong(confirming.confirmation_pin(approved(typist, confirming)))
        typist.sees("left)")
        for left in (4, 3, 2, 1):
            typist.types(f"{pin}\r")
            typist.sees(f"Attempts left: {left}.")
        typist.types(f"{pin}\r")

    with typing(monkeypatch, types) as shown:
        assert cli("login", confirming.url, "--no-browser").code == REFUSED
    assert "Too many wrong PINs" in shown.getvalue().splitlines()[-1]
    assert (confirming.devices(), home.bytes()) == ([], None)


def test_a_pin_that_nobody_types_is_missed(
    home: Home, confirming: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def types(typist: Typist) -> None:
        approved(typist, confirming)
        typist.sees("left)")
        typist.types("\x04")

    with typing(monkeypatch, types) as shown:
        assert cli("login", confirming.url, "--no-browser").code == USAGE
    assert "Error: The operator sees a PIN that has to be typed here, and none was.\n" in shown.getvalue()


def test_a_pin_that_is_typed_too_late_counts_no_more(
    tmp_path: Path, home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with House(tmp_path / "hasty", confirmation_pin=True, device_code_timeout=8) as house:
        with typing(monkeypatch, lambda typist: approved(typist, house)) as shown:
            assert cli("login", house.url, "--no-browser").code == EXPIRED
        assert "This pairing request has expired." in shown.getvalue()
        assert house.devices() == []


def approved(typist: Typist, house: House) -> Any:
    """The request whose code is shown, once an operator has approved it and the device has heard of that."""
    typist.sees("Waiting for its approval")
    code = USER_CODE.search(typist.shown.getvalue())
    assert code is not None
    asked = house.look_up(code[0])
    house.approve(asked)
    typist.sees("The operator sees a PIN now.")
    return asked


# Browsers


@pytest.mark.parametrize(
    ("environ", "platform", "may"),
    [
        ({}, "darwin", True),
        ({}, "win32", True),
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
    ],
)
def test_a_page_is_opened_where_it_would_be_seen(environ: dict[str, str], platform: str, may: bool) -> None:
    assert can_browse(environ, platform) is may


def test_one_that_fails_has_not_taken_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER", "false %s")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert asyncio.run(opened("http://127.0.0.1/")) is False


def test_one_that_succeeds_or_stays_open_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda page: True)
    assert take("http://127.0.0.1/") is True
    monkeypatch.setattr(sys, "argv", ["browsing", "http://127.0.0.1/"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(browsing.__file__, run_name="__main__")
    assert ended.value.code is False


def test_nothing_is_said_of_a_browser_that_fails(
    home: Home, paged: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "false %s")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("DISPLAY", raising=False)
    with meanwhile(lambda: paged.do(paged.pairlock.deciding.deny(paged.shown_by_device().id))):
        refused = cli("login", paged.url, "--browser")
    assert (refused.code, f"Type it at {PAGE}" in refused.err) == (REFUSED, True)
    assert "browser" not in refused.err


def test_a_page_that_nobody_serves_is_neither_named_nor_opened(
    home: Home, house: House, cli: Cli, browser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with meanwhile(lambda: house.do(house.pairlock.deciding.deny(house.shown_by_device().id))):
        refused = cli("login", house.url, "--browser")
    assert refused.code == REFUSED
    assert "Type it at" not in refused.err
    assert not browser.with_name("page").exists()


def test_a_code_is_shown_before_a_browser_is_tried(
    home: Home, paged: House, cli: Cli, browser: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", f"{browser} %s")

    def denies(typist: Typist) -> None:
        typist.sees("It was opened in your browser.")
        code = USER_CODE.search(browser.with_name("page").read_text())
        assert code is not None
        paged.do(paged.pairlock.deciding.deny(paged.look_up(code[0]).id))

    with typing(monkeypatch, denies):
        assert cli("login", paged.url, "--browser").code == REFUSED
