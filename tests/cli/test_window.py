"""`pairlock window`: opening and closing it beside running servers."""

import asyncio
from pathlib import Path

import pytest

from pairlock.cli.operator.window import window_group
from pairlock.cli.outcomes import USAGE
from pairlock.errors import WindowClosed
from tests.cli.parts import (
    Cli,
    House,
    ask,
    configure,
    end_of,
    examples_of,
    in_terminal,
    make_house,
    run_example,
    run_process,
    service,
)
from tests.cli.test_requests import hold


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path)


def test_what_nobody_has_said_is_not_made_up(cli: Cli, house: House) -> None:
    assert cli("window", "status").out.startswith("Nobody has opened or closed the pairing window yet")
    assert cli("window", "status", "--json").json == {"open": None, "held": False}


@pytest.mark.parametrize(("setting", "said"), [(True, "is open until it is closed."), (False, "is closed.")])
def test_the_settings_count_until_somebody_opens_or_closes_it(cli: Cli, house: House, setting: bool, said: str) -> None:
    configure(house.folder, window_open=setting)
    assert cli("window", "status").out == f"The pairing window {said}\n"
    assert cli("window", "status", "--json").json == {"open": setting, "held": False}


def test_the_window_opens_for_a_while(cli: Cli, house: House) -> None:
    opened = cli("window", "open", "--timeout", "60")
    assert opened.out.startswith("The pairing window is open for 1:00, until ")
    assert "by operator:" in opened.out
    told = cli("window", "status", "--json").json
    assert (told["open"], told["by"].endswith("@terminal")) == (True, True)
    assert 0 < told["expires_in"] <= 60


@pytest.mark.parametrize(("given", "seconds"), [("90", 90), ("1.5", 1.5), ("5:00", 300), ("1:30:00", 5400)])
def test_a_time_is_written_as_in_the_settings(cli: Cli, house: House, given: str, seconds: float) -> None:
    assert seconds - 1 <= cli("window", "open", "--timeout", given, "--json").json["expires_in"] <= seconds + 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("soon", "'soon' is no time: give seconds, or 5:00, or 1:30:00."),
        ("inf", "'inf' is no time"),
        ("24:00:01", "24:00:01 is not from 0:01 to 24:00:00."),
    ],
)
def test_what_is_no_time_is_told_with_what_is(cli: Cli, house: House, given: str, says: str) -> None:
    assert says in cli("window", "open", "--timeout", given).err


def test_help_says_times_in_words(cli: Cli) -> None:
    for command in (("window", "open"), ("code",), ("qr",), ("serve",)):
        told = cli(*command, "--help").out
        assert "in seconds or as 5:00" in " ".join(told.split())
        assert "<=x<=8" not in told
        assert "<=x<=3" not in told


def test_without_a_time_the_window_opens_for_that_of_the_settings(cli: Cli, house: House) -> None:
    assert cli("window", "open", "--json").json["expires_in"] == 300
    configure(house.folder, window_timeout=30)
    assert cli("window", "open", "--json").json["expires_in"] == 30


def test_the_window_opens_until_it_is_closed(cli: Cli, house: House) -> None:
    assert "is open until it is closed, by operator:" in cli("window", "open", "--until-closed").out
    assert "The pairing window is closed, by operator:" in cli("window", "close").out
    assert cli("window", "close", "--json").json["open"] is False


@pytest.mark.parametrize(
    "given", [("--timeout", "0"), ("--timeout", "86401"), ("--timeout", "soon"), ("--timeout", "5", "--until-closed")]
)
def test_a_time_that_cannot_be_is_refused(cli: Cli, house: House, given: tuple[str, ...]) -> None:
    assert cli("window", "open", *given).code == USAGE


def test_what_else_keeps_devices_out_is_said(cli: Cli, house: House) -> None:
    hold(house.folder)
    configure(house.folder, enabled=False)
    said = cli("window", "status")
    assert "held after too many wrong PINs" in said.err
    assert "enabled: false" in said.err
    assert cli("window", "status", "--json").json["held"] is True


@pytest.mark.anyio
async def test_running_servers_hear_of_it(tmp_path: Path) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    server = service(tmp_path, window_open=False)
    with pytest.raises(WindowClosed):
        await ask(server, "Phone")
    assert (await asyncio.to_thread(run_process, "window", "open", cwd=tmp_path)).code == 0
    assert (await ask(server, "Phone")).request.name == "Phone"
    assert (await asyncio.to_thread(run_process, "window", "close", cwd=tmp_path)).code == 0
    with pytest.raises(WindowClosed):
        await ask(server, "Phone")
    await server.aclose()


@pytest.mark.parametrize(("arguments", "said"), [(("open",), "open for"), (("close",), "closed"), (("status",), "yet")])
def test_each_command_works_in_a_terminal_and_speaks_json(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    make_house(tmp_path)
    with in_terminal("window", *arguments, cwd=tmp_path) as child:
        ended = end_of(child)
    assert (ended.code, said in ended.out) == (0, True), ended
    spoken = run_process("window", *arguments, "--json", cwd=tmp_path)
    assert (spoken.code, spoken.err, spoken.json["held"]) == (0, "", False)


@pytest.mark.parametrize("example", examples_of(window_group))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    make_house(tmp_path)
    ended = run_example(example, tmp_path)
    assert (ended.code, ended.err) == (0, ""), ended
