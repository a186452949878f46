"""`pairlock requests`: the devices that ask, and letting them in or not."""

import time
from pathlib import Path

import pytest
from msgspec import to_builtins

from pairlock import Pairlock
from pairlock._core.guesses import Guesses
from pairlock._core.records import Setting
from pairlock.cli.operator.requests import requests_group
from pairlock.cli.outcomes import FAILED, NO_SUCH, REFUSED, USAGE
from pairlock.errors import ConfirmationRequired
from pairlock.services.tokens import Redeemed
from tests.cli.parts import (
    TV,
    Cli,
    House,
    ask,
    ask_by_code,
    at_a_terminal,
    configure,
    end_of,
    examples_of,
    in_terminal,
    keep,
    make_house,
    run_example,
    run_process,
)
from tests.services.parts import the_pin

ALL = ["My Phone", "Kitchen Radio", "Stranger"]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path, requests=ALL)


def hold(folder: Path, *, wrong: int = 0) -> None:
    """Hold the PIN method, after so many wrong PINs of the last day."""
    now = time.time()
    guesses = Guesses(row=20, wrong=(now,) * wrong, held_at=now)
    keep(folder, Setting(id="pin_guesses", value=to_builtins(guesses)))


def state_of(house: House, name: str) -> str:
    """What has become of a request."""
    found = house.do(lambda pairlock: pairlock.deciding.show(house.requests[name].request.id))
    return found.state.value


def waiting(cli: Cli) -> list[str]:
    return [request["name"] for request in cli("requests", "list", "--json").json["requests"]]


# Listing


def test_devices_that_ask_are_listed_newest_first_with_their_pins(cli: Cli, house: House) -> None:
    async def pins(pairlock: Pairlock) -> list[str]:
        return [the_pin(pairlock, house.requests[name]) for name in reversed(ALL)]

    listed = cli("requests", "list")
    assert (listed.code, listed.err) == (0, "")
    assert [line.split()[1] for line in listed.out.splitlines() if line.startswith("PIN")] == house.do(pins)
    first = listed.out.split("\n\n")[0].splitlines()
    assert first[0] == 'Pairing request from "Stranger"'
    assert first[2].startswith("Expires in 4:5") or first[2].startswith("Expires in 5:00")
    assert first[2].endswith("5 attempts left")
    assert first[3:] == [
        "Would get: read /sensors/**, write /control/lamp",
        "From: 192.0.2.20 (curl/8.5.0)",
        f"Id: {house.requests['Stranger'].request.id}",
    ]


def test_json_says_what_http_says(cli: Cli, house: House) -> None:
    told = cli("requests", "list", "--json").json["requests"]
    assert [request["name"] for request in told] == ALL[::-1]
    assert told[0]["network"] == "unknown"
    assert len(told[0]["pin"]) == 6
    assert told[0]["permissions"] == {"read": ["/sensors/**"], "write": ["/control/lamp"]}


def test_what_a_request_would_get_is_not_made_up(cli: Cli, house: House) -> None:
    configure(house.folder)
    house.do(lambda pairlock: ask(pairlock, "Modest", {"read": ["/sensors/a"]}))
    modest, other, *_ = cli("requests", "list").out.split("\n\n")
    assert "Would get: read /sensors/a\n" in modest
    assert "Would get: the service's default_permissions, which are not known here" in other
    told = cli("requests", "list", "--json").json["requests"]
    assert told[0]["permissions"] == {"read": ["/sensors/a"], "write": []}
    assert "permissions" not in told[1]


def test_a_pin_whose_key_is_not_known_here_is_not_made_up(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", "another-key-of-these-tests-as-long")
    assert "PIN: not known here" in cli("requests", "list").out
    assert "pin" not in cli("requests", "list", "--json").json["requests"][0]


def test_a_request_from_nowhere_is_listed(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: pairlock.pairing.start("Inside"))
    assert "From: an unknown address\n" in cli("requests", "list").out


@pytest.mark.parametrize(
    ("settings", "command", "hint"),
    [
        ({}, None, " Nobody has opened or closed the pairing window yet: `pairlock window open` lets devices ask."),
        ({"window_open": True}, None, ""),
        ({"window_open": False}, None, " The pairing window is closed: `pairlock window open` lets devices ask."),
        ({}, "open", ""),
        ({}, "close", "@terminal: `pairlock window open` lets devices ask."),
    ],
)
def test_an_empty_list_says_whether_devices_can_ask(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, bool], command: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_house(tmp_path)
    configure(tmp_path, **settings)
    if command:
        cli("window", command)
    empty = cli("requests", "list")
    assert empty.out == ""
    assert empty.err.startswith("No device asks to be let in.")
    assert empty.err.endswith(f"{hint}\n")
    assert "open" in empty.err or not hint
    assert cli("requests", "list", "--json").json == {"requests": []}


# Approving


def test_a_request_named_by_its_id_is_approved_without_a_question(cli: Cli, house: House) -> None:
    phone = house.requests["My Phone"]
    approved = cli("requests", "approve", phone.request.id[:18].upper(), "--message", "Welcome")
    assert approved.out == (
        'Approved "My Phone" from 192.0.2.20 (curl/8.5.0): read /sensors/**, write /control/lamp.\n'
    )
    redeemed = house.do(lambda pairlock: pairlock.pairing.redeem(phone.request.id, phone.secret))
    assert redeemed.message == "Welcome"
    assert redeemed.device.approved_by.startswith("operator:")


def test_a_request_is_approved_with_less(cli: Cli, house: House) -> None:
    phone = house.requests["My Phone"].request.id
    approved = cli("requests", "approve", phone, "--read", "/sensors/a", "--write", "/control/lamp", "--json")
    assert approved.json["permissions"] == {"read": ["/sensors/a"], "write": ["/control/lamp"]}
    assert approved.json["state"] == "approved"


def test_more_than_was_asked_for_is_never_given(cli: Cli, house: House) -> None:
    modest = house.do(lambda pairlock: ask(pairlock, "Modest", {"read": ["/sensors/a"]}))
    refused = cli("requests", "approve", modest.request.id, "--read", "/sensors/**")
    assert refused.code == REFUSED
    assert "read:/sensors/**" in refused.err


def test_whoever_is_named_by_a_name_is_shown_before_it_is_let_in(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, "n\n")
        assert cli("requests", "approve", "my phone").code == FAILED
    assert '"My Phone" from 192.0.2.20 (curl/8.5.0) will get: read /sensors/**' in asked.getvalue()
    assert state_of(house, "My Phone") == "pending"
    with monkeypatch.context() as patched:
        at_a_terminal(patched, "y\n")
        assert cli("requests", "approve", "my phone").code == 0
    assert state_of(house, "My Phone") == "approved"


def test_where_nobody_can_be_asked_a_name_needs_yes(cli: Cli, house: House) -> None:
    refused = cli("requests", "approve", "My Phone")
    assert refused.code == USAGE
    assert "give --yes, or its id" in refused.err
    assert cli("requests", "approve", "My Phone", "--yes").code == 0


def test_what_is_approved_already_is_told_before_what_it_would_get(cli: Cli, house: House) -> None:
    configure(house.folder)
    phone = house.requests["My Phone"].request.id
    assert cli("requests", "approve", phone, "--read", "/sensors/a").code == 0
    late = cli("requests", "approve", phone)
    assert late.code == NO_SUCH
    assert "state: approved" in late.err


def test_a_request_that_would_get_nothing_is_not_approved(cli: Cli, house: House) -> None:
    configure(house.folder)
    phone = house.requests["My Phone"].request.id
    refused = cli("requests", "approve", phone)
    assert refused.code == USAGE
    assert "no default_permissions are set here: say what it may do, with --read and --write" in refused.err
    assert state_of(house, "My Phone") == "pending"
    assert cli("requests", "approve", phone, "--read", "/sensors/a").code == 0


def test_what_was_decided_is_not_decided_again(cli: Cli, house: House) -> None:
    phone = house.requests["My Phone"].request.id
    assert cli("requests", "deny", phone, "--reason", "No").out == 'Denied "My Phone".\n'
    late = cli("requests", "approve", phone)
    assert late.code == NO_SUCH
    assert "state: denied" in late.err
    assert cli("requests", "approve", "My Phone", "--yes").code == NO_SUCH
    assert waiting(cli) == ["Stranger", "Kitchen Radio"]


def test_a_device_that_was_denied_is_told_why(cli: Cli, house: House) -> None:
    denied = cli("requests", "deny", "stranger", "--reason", "Not \x1b[31mtoday", "--json").json
    assert denied["state"] == "denied"
    found = house.do(lambda pairlock: pairlock.deciding.show(denied["id"]))
    assert found.reason == "Not [31mtoday"


# Finding


def test_several_of_one_name_are_told_apart_by_where_they_come_from(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: ask(pairlock, "MY PHONE", address="203.0.113.9"))
    several = cli("requests", "approve", "My Phone", "--yes")
    assert several.code == NO_SUCH
    assert '"My Phone" may be any of these 2; give the id:' in several.err
    for said in ("from 192.0.2.20", "from 203.0.113.9", " left", '"MY PHONE"', house.requests["My Phone"].request.id):
        assert said in several.err
    assert len(waiting(cli)) == 4


def test_several_ids_that_begin_alike_are_told_apart(cli: Cli, house: House) -> None:
    several = cli("requests", "deny", house.requests["My Phone"].request.id[:6])
    assert several.code == NO_SUCH
    assert "may be any of these 3" in several.err


@pytest.mark.parametrize("which", ["Nobody", "", "7" * 26, "7" * 12, "AEIOU-AEI"])
def test_what_is_not_found_is_said_in_one_line(cli: Cli, house: House, which: str) -> None:
    missing = cli("requests", "deny", which)
    assert missing.code == NO_SUCH
    assert missing.err == (
        f'No pairing request has the id or name "{which}". `pairlock requests list` shows all that wait.\n'
    )


def test_a_code_that_was_handed_out_is_no_request(cli: Cli, house: House) -> None:
    minted = cli("code", "--no-wait", "--json").json
    assert cli("requests", "approve", minted["id"]).code == NO_SUCH


@pytest.mark.parametrize("form", ["{}", "{} ", " {}", "lower", "spaced", "joined"])
def test_a_device_that_shows_a_user_code_is_found_by_it_in_any_form(cli: Cli, house: House, form: str) -> None:
    shown = house.do(lambda pairlock: ask_by_code(pairlock, "TV"))
    code = f"{shown.user_code[:4]}-{shown.user_code[4:]}"
    typed = {"lower": code.lower(), "spaced": code.replace("-", " "), "joined": shown.user_code}.get(form)
    approved = cli("requests", "approve", typed or form.format(code), "--yes", "--json").json
    assert (approved["name"], approved["state"], approved["method"]) == ("TV", "approved", "device_code")
    assert "TV" not in waiting(cli)


def test_whoever_shows_a_user_code_is_shown_before_it_is_let_in(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = house.do(lambda pairlock: ask_by_code(pairlock, "TV", address="203.0.113.9"))
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, "\n")
        assert cli("requests", "approve", shown.user_code).code == FAILED
    assert '"TV" from 203.0.113.9' in asked.getvalue()


def test_a_name_that_looks_like_a_user_code_is_a_name(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: ask(pairlock, "WDJB-MJHT"))
    assert cli("requests", "deny", "wdjb-mjht", "--json").json["method"] == "pin"


def test_a_stranger_who_calls_himself_by_a_user_code_does_not_get_what_its_device_was_to(
    cli: Cli, house: House
) -> None:
    shown = house.do(lambda pairlock: ask_by_code(pairlock, "TV"))
    house.do(lambda pairlock: ask(pairlock, shown.user_code))
    assert cli("requests", "approve", shown.user_code, "--yes", "--json").json["name"] == "TV"


def test_without_keys_a_stranger_is_not_found_by_what_may_be_a_user_code(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: ask(pairlock, "WDJB-MJHT"))
    house.key_file.unlink()
    assert cli("requests", "approve", "WDJB-MJHT", "--yes").code == USAGE


def test_a_name_and_the_beginning_of_an_id_that_both_fit_are_told_apart(cli: Cli, house: House) -> None:
    prefix = house.requests["My Phone"].request.id[:24]
    house.do(lambda pairlock: ask(pairlock, prefix, address="203.0.113.9"))
    several = cli("requests", "approve", prefix, "--yes")
    assert several.code == NO_SUCH
    assert "may be any of these 2" in several.err


def test_a_name_that_has_the_form_of_an_id_is_no_name(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: ask(pairlock, "7" * 26))
    assert cli("requests", "approve", "7" * 26, "--yes").code == NO_SUCH


def test_a_name_cannot_end_the_quotes_it_stands_in(cli: Cli, house: House) -> None:
    house.do(lambda pairlock: ask(pairlock, 'TV" from 127.0.0.1 \\', address="203.0.113.9"))
    listed = cli("requests", "list").out
    assert 'Pairing request from "TV\\" from 127.0.0.1 \\\\"' in listed


def test_wrong_user_codes_are_limited_and_nothing_else_counts_as_one(cli: Cli, house: House) -> None:
    for _ in range(7):
        assert cli("requests", "deny", "Nobody").code == NO_SUCH
    for _ in range(5):
        wrong = cli("requests", "deny", "WDJB-MJHT")
        assert wrong.code == REFUSED
        assert wrong.err.startswith("This code does not count here")
    assert "That was too often" in cli("requests", "deny", "WDJB-MJHT").err


def test_a_user_code_needs_the_keys_of_the_service(cli: Cli, house: House) -> None:
    house.key_file.unlink()
    refused = cli("requests", "deny", "WDJB-MJHT")
    assert refused.code == USAGE
    assert "set PAIRLOCK_SECRET_KEYS" in refused.err
    assert cli("requests", "deny", "Stranger").code == 0
    assert not house.key_file.exists()


def test_where_an_approval_is_confirmed_the_pin_is_read_out(cli: Cli, house: House) -> None:
    configure(house.folder, default_permissions={"read": ["/sensors/**"]}, confirmation_pin=True)
    shown = house.do(lambda pairlock: ask_by_code(pairlock, "TV"))
    approved = cli("requests", "approve", shown.request.id)
    pin = approved.out.splitlines()[1].removeprefix("It is let in once this PIN is typed on it: ")

    async def redeem(pairlock: Pairlock) -> Redeemed:
        with pytest.raises(ConfirmationRequired):
            await pairlock.device_codes.redeem(shown.device_code, TV)
        return await pairlock.device_codes.redeem(shown.device_code, TV, confirmation_pin=pin)

    assert house.do(redeem, confirmation_pin=True).device.name == "TV"


# The hold


def test_a_held_pin_method_is_said_and_reopened(cli: Cli, house: House) -> None:
    hold(house.folder)
    assert "held after too many wrong PINs; `pairlock requests reopen`" in cli("requests", "list").err
    assert cli("requests", "reopen").out == "PINs can be tried.\n"
    assert cli("requests", "list").err == ""
    assert cli("requests", "reopen", "--json").json == {"held": False}


def test_a_day_of_wrong_pins_cannot_be_reopened(cli: Cli, house: House) -> None:
    hold(house.folder, wrong=50)
    refused = cli("requests", "reopen")
    assert refused.code == REFUSED
    assert refused.out.startswith("The wrong PINs of a day are used up: PINs wait until 2")
    again = cli("requests", "reopen", "--json")
    assert (again.code, again.json["error"]) == (REFUSED, "pin_held")


# In a terminal, and as the help says


def test_each_command_works_in_a_terminal(tmp_path: Path) -> None:
    house = make_house(tmp_path, requests=ALL)
    with in_terminal("requests", "list", cwd=tmp_path) as child:
        assert end_of(child).out.count("PIN: ") == 3
    with in_terminal("requests", "approve", "My Phone", cwd=tmp_path) as child:
        child.expect_exact("will get: read /sensors/**, write /control/lamp")
        child.expect_exact("Let it in?")
        child.sendline("y")
        ended = end_of(child)
    assert (ended.code, 'Approved "My Phone"' in ended.out) == (0, True)
    with in_terminal("requests", "approve", "Stranger", cwd=tmp_path) as child:
        child.expect_exact("Let it in?")
        child.send("\x03")
        assert end_of(child).code == 130
    assert state_of(house, "Stranger") == "pending"
    for arguments, said in [
        (("deny", "Stranger", "--reason", "No"), 'Denied "Stranger".'),
        (("reopen",), "PINs can be tried."),
    ]:
        with in_terminal("requests", *arguments, cwd=tmp_path) as child:
            ended = end_of(child)
        assert (ended.code, said in ended.out) == (0, True), ended


def test_each_command_speaks_json_in_a_process_of_its_own(tmp_path: Path) -> None:
    make_house(tmp_path, requests=ALL)
    for arguments in (("list",), ("approve", "My Phone", "--yes"), ("deny", "Stranger"), ("reopen",)):
        ended = run_process("requests", *arguments, "--json", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert isinstance(ended.json, dict)


@pytest.mark.parametrize("example", examples_of(requests_group))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    make_house(tmp_path, requests=ALL)
    ended = run_example(example, tmp_path)
    assert (ended.code, ended.err) == (0, ""), ended
