"""`pairlock pair`: by the PIN that the service shows, or by its operator's approval."""

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pairlock._core.permissions import Permissions
from pairlock.cli.outcomes import DONE, EXPIRED, INTERRUPTED, REFUSED, USAGE
from tests.cli.device.parts import GRANTED, Home, House, Typist, at_terminal, in_shell, meanwhile, paired, typing, until
from tests.cli.parts import Cli, at_a_terminal, end_of, run_process
from tests.services.parts import wrong

PAIRED = f'Paired with Studio as "My Phone": {GRANTED}\n'
ASKED = 'Asked Studio to let "My Phone" in.'
TYPE_IT = "Type the PIN that it shows, or wait for its operator to approve."


def asking(home: Home, house: House, *more: str) -> Any:
    """`pairlock pair` in a terminal."""
    return at_terminal(home, "pair", house.url, "--name", "My Phone", *more)


# In a pseudo-terminal


def test_a_pin_may_be_mistyped_once_and_stays_the_same(home: Home, house: House) -> None:
    with asking(home, house) as child:
        child.expect_exact(ASKED)
        child.expect_exact("PIN (")
        child.send(f"{house.wrong_pin()}\r")
        child.expect_exact("That is not the PIN; it stays the same. Attempts left: 4.")
        child.expect_exact("PIN (")
        child.send(f"{house.pin()}\r")
        ended = end_of(child)
    assert (ended.code, ended.out.endswith(PAIRED)) == (DONE, True)
    assert house.devices() == [home.kept()[0].name] == ["My Phone"]


def test_the_prompt_counts_the_time_down(home: Home, house: House) -> None:
    with asking(home, house) as child:
        child.expect(r"PIN \(4:5\d left\):")
        child.sendcontrol("c")
        assert end_of(child).code == INTERRUPTED


def test_the_prompt_vanishes_when_an_operator_approves(home: Home, house: House) -> None:
    with asking(home, house) as child:
        child.expect_exact("left):")
        house.approve()
        ended = end_of(child)
    assert ended == (DONE, PAIRED, "")
    assert house.devices() == ["My Phone"]


def test_after_ctrl_d_it_waits_for_the_operator(home: Home, house: House) -> None:
    with asking(home, house) as child:
        child.expect_exact("left):")
        child.sendcontrol("d")
        child.expect_exact("Waiting for its operator to approve; Ctrl-C to give up.")
        house.approve()
        ended = end_of(child)
    assert (ended.code, ended.out.endswith(PAIRED)) == (DONE, True)


def test_with_wait_nobody_is_asked_for_a_pin(home: Home, house: House) -> None:
    with asking(home, house, "--wait") as child:
        child.expect_exact("Waiting for its operator to approve.")
        house.approve()
        ended = end_of(child)
    assert ended.code == DONE
    assert "PIN" not in ended.out
    assert ended.out.endswith(PAIRED)


def test_a_denial_tells_its_reason(home: Home, house: House) -> None:
    with asking(home, house) as child:
        child.expect_exact("left):")
        house.deny("No robots")
        ended = end_of(child)
    assert ended == (REFUSED, "The operator denied this pairing request. (reason: No robots)\n", "")
    assert (home.bytes(), house.devices()) == (None, [])


def test_who_says_no_keeps_what_was_paired(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)
    with asking(home, house) as child:
        child.expect(f"his device is paired with Studio at 127.0.0.1:{house.port} already")
        child.expect_exact("Pair again, and revoke what it has now? [y/N]")
        child.send("n\r")
        ended = end_of(child)
    assert (ended.code, ended.out.splitlines()[-1]) == (REFUSED, "Nothing was changed.")
    assert (home.bytes(), house.devices()) == (before, ["My Phone"])
    assert cli("whoami").code == DONE


def test_who_says_yes_has_the_old_one_revoked(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    old = home.kept()[0]
    with asking(home, house) as child:
        child.expect_exact("[y/N]")
        child.send("y\r")
        child.expect_exact("left):")
        child.send(f"{house.pin()}\r")
        assert end_of(child).code == DONE
    (new,) = home.kept()
    assert new.device_id != old.device_id
    assert house.devices() == ["My Phone"]
    assert cli("whoami").code == DONE


def test_with_json_stdout_is_json_and_nothing_else(home: Home, house: House) -> None:
    with asking(home, house, "--json") as child:
        child.expect_exact("left):")
        child.send(f"{house.pin()}\r")
        told = json.loads(end_of(child).out.splitlines()[-1])
    assert told["server"]["name"] == "Studio"
    assert told["device_name"] == "My Phone"
    assert told["permissions"] == {"read": ["/sensors/**"], "write": ["/control/lamp"]}
    assert told["device_id"] == home.kept()[0].device_id
    assert "token" not in json.dumps(told)


# Without a terminal


def test_a_pin_that_is_piped_in_counts_as_typed(home: Home, house: House) -> None:
    os.mkfifo(home.folder / "pins")
    with meanwhile(lambda: (home.folder / "pins").write_text(f"{house.pin()}\n")):
        done = in_shell(home, f"cat pins | pairlock pair {house.url} --json")
    assert done.code == DONE
    assert json.loads(done.out)["url"] == f"{house.url}/pair"
    assert house.devices() == [home.kept()[0].name]


@pytest.mark.parametrize("typed", ["", "\n", "abcdef\n", "12345\n1234567\n"])
def test_what_cannot_be_a_pin_costs_no_attempt(home: Home, house: House, typed: str) -> None:
    with meanwhile(house.approve if not typed else lambda: None):
        done = run_process("pair", house.url, cwd=home.folder, typed=typed)
    if typed:
        assert done.code == REFUSED
        assert done.err.splitlines()[2] == "The PIN has 6 digits."
        assert done.err.splitlines()[-1].startswith("That is not the PIN.")
        assert house.devices() == []
    else:
        assert (done.code, len(house.devices())) == (DONE, 1)


def test_wrong_pins_that_are_piped_in_end_it(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("12345\nabc\n"))
    refused = cli("pair", house.url, "--json")
    assert (refused.code, refused.json["error"]) == (REFUSED, "invalid_pin")
    assert (house.pending(), house.devices()) == ([], [])


def test_who_has_nothing_to_type_waits_for_the_operator(home: Home, house: House, cli: Cli) -> None:
    with meanwhile(house.approve):
        done = cli("pair", house.url, "--name", "My Phone")
    assert (done.code, done.out) == (DONE, PAIRED)
    assert done.err.splitlines() == [ASKED, TYPE_IT, "Waiting for its operator to approve; Ctrl-C to give up."]


def test_with_wait_standard_input_is_left_alone(home: Home, house: House, cli: Cli) -> None:
    with meanwhile(house.approve):
        done = cli("pair", house.url, "--wait", "--json")
    assert done.code == DONE
    assert done.json["base_url"] == house.url
    assert done.err.splitlines()[-1] == "Waiting for its operator to approve."


def test_a_second_pairing_needs_to_be_told_to_replace(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)
    refused = cli("pair", house.url)
    assert (refused.code, refused.out) == (REFUSED, "")
    assert "--replace" in refused.err
    assert home.bytes() == before
    with meanwhile(house.approve):
        assert cli("pair", house.url, "--wait", "--replace", "--name", "Other").code == DONE
    assert house.devices() == ["Other"]


def test_less_can_be_asked_for(home: Home, house: House, cli: Cli) -> None:
    with meanwhile(house.approve):
        done = cli("pair", house.url, "--wait", "--read", "/sensors/a", "--name", "My Phone")
    assert done.out == 'Paired with Studio as "My Phone": read /sensors/a\n'
    assert home.kept()[0].granted == Permissions(read=("/sensors/a",))


def test_the_name_is_that_of_the_machine_unless_it_is_given(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.node", lambda: "kitchen")
    with meanwhile(house.approve):
        cli("pair", house.url, "--wait")
    assert house.devices() == ["kitchen"]


@pytest.mark.parametrize(
    ("name", "told"), [("x" * 65, "the name is over 64 characters"), ("\u200b", "at least one visible character")]
)
def test_a_name_that_cannot_be_is_a_wrong_argument(home: Home, house: House, cli: Cli, name: str, told: str) -> None:
    refused = cli("pair", house.url, "--name", name)
    assert (refused.code, refused.out) == (USAGE, "")
    assert re.search(f"--name: .*{told}", refused.err)


def test_a_name_is_shown_as_it_will_be_kept(home: Home, house: House, cli: Cli) -> None:
    with meanwhile(house.approve):
        done = cli("pair", house.url, "--wait", "--name", "My\x1b[31m\n Phone\u202e")
    assert done.err.startswith('Asked Studio to let "My[31m Phone" in.\n')
    assert house.devices() == ["My[31m Phone"]


def test_who_is_second_in_the_queue_is_told_so(home: Home, house: House, cli: Cli) -> None:
    first = house.ask("First")

    def approves() -> None:
        until(lambda: len(house.pending()) == 2)
        house.approve()

    with meanwhile(approves):
        done = cli("pair", house.url, "--name", "Second")
    assert done.code == DONE
    assert "It shows another device's PIN first; this one's follows." in done.err
    assert [request.id for request in house.pending()] == [first.id]


def test_what_expires_meanwhile_ends(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "hasty", pin_timeout=1.5) as house:
        done = cli("pair", house.url)
        assert (done.code, done.err.splitlines()[-1]) == (
            EXPIRED,
            "This pairing request has expired. Start a new one.",
        )
        assert house.devices() == []


# At a terminal of this process


def test_a_typed_pin_counts(home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def types(typist: Typist) -> None:
        typist.sees("left)")
        typist.types("12345\r")
        typist.sees("The PIN has 6 digits.")
        pin = house.pin()
        typist.types(f"{wrong(pin)}\r")
        typist.sees("Attempts left: 4.")
        typist.types(f"{pin[:3]} {pin[3:]}\r")

    with typing(monkeypatch, types):
        done = cli("pair", house.url, "--name", "My Phone")
    assert (done.code, done.out) == (DONE, PAIRED)


def test_five_wrong_pins_lock_the_request(home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def types(typist: Typist) -> None:
        typist.sees("left)")
        pin = house.wrong_pin()
        for left in (4, 3, 2, 1):
            typist.types(f"{pin}\r")
            typist.sees(f"Attempts left: {left}.")
        typist.types(f"{pin}\r")

    with typing(monkeypatch, types) as shown:
        assert cli("pair", house.url).code == REFUSED
    assert "Too many wrong PINs" in shown.getvalue().splitlines()[-1]
    assert (house.pending(), house.devices(), home.bytes()) == ([], [], None)


def test_who_leaves_the_prompt_still_hears_of_the_decision(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def types(typist: Typist) -> None:
        typist.sees("left)")
        typist.types("\x04")
        typist.sees("Waiting for its operator")
        house.deny()

    with typing(monkeypatch, types):
        assert cli("pair", house.url).code == REFUSED


def test_a_question_is_answered_in_this_process(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = paired(home, house, cli)
    for answer in ("n\n", "", "\n"):
        shown = at_a_terminal(monkeypatch, answer)
        done = cli("pair", house.url)
        assert (done.code, done.out) == (REFUSED if answer else INTERRUPTED, "")
        assert "[y/N]" in shown.getvalue()
    at_a_terminal(monkeypatch, "y\n")
    with meanwhile(house.approve):
        assert cli("pair", house.url, "--wait").code == DONE
    assert home.bytes() != before
