"""What the help of a device's commands says, and that its examples work."""

import re
from urllib.parse import urlsplit

import click
import pytest

from pairlock.cli import device, main, running
from pairlock.cli.device import credential, login, pair
from pairlock.cli.outcomes import DONE, USAGE
from tests.cli.device.parts import Home, House, at_terminal, in_shell, meanwhile, paired
from tests.cli.parts import Cli, Outcome, end_of, examples_of

COMMANDS: dict[str, click.Command] = {**pair.COMMANDS, **login.COMMANDS, **credential.COMMANDS}
NEEDS_ONE = ("whoami", "token", "logout", "list", "curl")


def test_these_are_the_commands_of_a_device() -> None:
    assert tuple(COMMANDS) == running.DEVICE_SIDE
    assert device.__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_into_eighty_columns(home: Home, command: str) -> None:
    with at_terminal(home, command, "--help", dimensions=(60, 80)) as child:
        shown = end_of(child)
    assert shown.code == DONE
    assert shown.out.startswith(f"Usage: pairlock {command} [OPTIONS]")
    assert "\nExamples:\n  " in shown.out
    assert all(len(line) <= 80 for line in shown.out.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is_for(command: str) -> None:
    options = [each for each in COMMANDS[command].params if isinstance(each, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_overview_tells_the_sides_apart(cli: Cli) -> None:
    shown = cli("--help")
    ours, theirs = shown.out.split("For operators, beside the service:")
    assert (shown.code, "On a device:" in ours) == (DONE, True)
    assert all(f"\n  {command} " in ours for command in COMMANDS)
    assert not any(f"\n  {command} " in theirs for command in COMMANDS)
    assert cli("-h") == shown


def test_the_version_is_told(cli: Cli) -> None:
    assert re.fullmatch(r"pairlock, version \d.*\n", cli("--version").out)


@pytest.mark.parametrize("arguments", [("nothing",), ("pair",), ("pair", "a", "b"), ("list", "--nothing")])
def test_a_wrong_call_is_told_how_to_find_help(cli: Cli, arguments: tuple[str, ...]) -> None:
    refused = cli(*arguments)
    assert (refused.code, refused.out) == (USAGE, "")
    assert "--help" in refused.err
    told = cli(*arguments, "--json")
    assert (told.code, told.err, told.json["error"]) == (USAGE, "", "usage")


def test_the_command_exits_with_its_code(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for ended, arguments in ((DONE, ["list"]), (USAGE, ["nothing"])):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == ended
    monkeypatch.setattr("sys.argv", ["pairlock", "list", "--json"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.endswith('{"credentials": []}\n')


# Examples


def run(example: str, home: Home, house: House, code: str) -> Outcome:
    """Run an example in a shell, against this service rather than those of the example; a code is piped in."""
    here = example.replace("https://house.example", house.url).replace("127.0.0.1:8000", f"127.0.0.1:{house.port}")
    here = re.sub(r"(?<=qr#)[^']+", lambda _: urlsplit(house.qr()).fragment, here)
    curl = 'curl() { command curl -sf "$@"; }; '
    return in_shell(home, f"printf '{code}' | {{ {curl}{here}; }}", URL=f"{house.url}/sensors/a")


@pytest.mark.parametrize("example", examples_of(*COMMANDS.values()))
def test_every_example_works(home: Home, house: House, cli: Cli, example: str) -> None:
    needs_one = any(word in example.split()[:2] for word in NEEDS_ONE)
    if needs_one:
        paired(home, house, cli)

    def decides() -> None:
        if needs_one or "--code" in example or "#" in example:
            return
        house.approve(house.shown_by_device() if "login" in example else house.asked())

    with meanwhile(decides):
        done = run(example, home, house, house.code() if "--code" in example else "")
    assert done.code == DONE, done
    assert done.out
    assert len(house.devices()) == len(home.kept()) or "--forget" in example
