"""`pairlock whoami`, `token`, `logout` and `list`: what this device was handed."""

from pathlib import Path

import httpx
import pytest

from pairlock.cli.device.credential import COLUMNS
from pairlock.cli.outcomes import DONE, NO_SUCH, NOT_PAIRED, UNREACHABLE, USAGE
from tests.cli.device.parts import GRANTED, Home, House, at_terminal, in_shell, paired, until
from tests.cli.parts import Cli, Outcome, end_of

NOTHING = "This device is paired with nothing. Pair it with: pairlock pair https://house.example\n"
UNPAIRED = "This device is paired with nothing; pair it with: pairlock pair https://house.example\n"


def in_terminal(home: Home, *arguments: str, columns: int = 120) -> Outcome:
    """What one command says in a terminal."""
    with at_terminal(home, *arguments, dimensions=(40, columns)) as child:
        return end_of(child)


def read_sensor(house: House, token: str) -> int:
    """The status of a request with this token."""
    return httpx.get(f"{house.url}/sensors/a", headers={"Authorization": f"Bearer {token}"}).status_code


# whoami


def test_it_says_who_it_is_and_what_it_may_do(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    said = f'"My Phone" at Studio ({house.url}/pair): {GRANTED}\n'
    assert in_terminal(home, "whoami") == (DONE, said, "")
    assert cli("whoami") == cli("whoami", house.url) == cli("whoami", f"{house.url}/pair") == (DONE, said, "")


def test_it_says_so_in_json(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    (kept,) = home.kept()
    told = cli("whoami", "--json").json
    assert told == {
        "server": {"id": kept.server.id, "name": "Studio"},
        "url": f"{house.url}/pair",
        "base_url": house.url,
        "device_id": kept.device_id,
        "device_name": "My Phone",
        "permissions": {"read": ["/sensors/**"], "write": ["/control/lamp"]},
        "paired_at": kept.paired_at,
    }


def test_it_says_the_name_and_permissions_of_today(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    device = home.kept()[0].device_id
    house.do(house.pairlock.devices.rename(device, "Telly"))
    house.narrow(device, {"read": ["/sensors/a"]})
    assert cli("whoami").out == f'"Telly" at Studio ({house.url}/pair): read /sensors/a\n'
    assert cli("whoami", "--json").json["permissions"] == {"read": ["/sensors/a"], "write": []}


@pytest.mark.parametrize("command", ["whoami", "token", "logout"])
def test_without_a_credential_it_tells_how_to_pair(home: Home, cli: Cli, command: str) -> None:
    assert cli(command) == (NOT_PAIRED, "", UNPAIRED)
    elsewhere = cli(command, "house.example")
    assert elsewhere.code == NOT_PAIRED
    assert "pairlock pair https://house.example" in elsewhere.err
    assert cli(command, "--json").json["error"] == "not_paired"


@pytest.mark.parametrize("command", ["whoami", "token", "logout"])
def test_with_several_it_wants_to_be_told_which(
    tmp_path: Path, home: Home, house: House, cli: Cli, command: str
) -> None:
    with House(tmp_path / "other", server_name="Attic") as other:
        paired(home, house, cli)
        paired(home, other, cli)
        asked = cli(command)
        assert (asked.code, asked.out) == (NO_SUCH, "")
        assert asked.err.splitlines()[1:] == [f"  {house.url}  Studio", f"  {other.url}  Attic"]
        assert cli(command, other.url).code == DONE


# token


def test_a_token_is_let_in(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    printed = in_shell(home, f'curl -sf -H "Authorization: Bearer $(pairlock token)" {house.url}/sensors/a')
    assert (printed.code, printed.out) == (DONE, '{"sensor":"a"}')
    assert read_sensor(house, cli("token", house.url).out.strip()) == 200
    told = cli("token", "--json").json
    assert set(told) == {"access_token", "expires_at", "url"}
    assert (told["url"], read_sensor(house, told["access_token"])) == (house.url, 200)
    assert in_terminal(home, "token").out.strip() == told["access_token"]


def test_a_long_token_is_printed_on_one_line_in_a_narrow_terminal(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    assert in_terminal(home, "token", columns=20).out == cli("token").out


def test_a_token_that_has_ended_is_refreshed(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "brief", token_life=2) as house:
        paired(home, house, cli)
        first = cli("token").out
        until(lambda: read_sensor(house, first.strip()) == 401)
        second = cli("token").out
        assert second != first
        assert read_sensor(house, second.strip()) == 200
        assert home.kept()[0].token == second.strip()


def test_a_revoked_device_is_told_to_pair_again(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)
    house.revoke_all()
    for command in ("whoami", "token"):
        refused = cli(command)
        assert (refused.code, refused.out) == (NOT_PAIRED, "")
        assert refused.err.endswith("it was revoked, or lay unused too long. Pair again.\n")
    assert home.bytes() == before


# logout


def test_it_revokes_and_forgets(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    token = home.kept()[0].token
    said = f"Logged out of Studio at {house.url}/pair: this device was revoked there.\n"
    assert in_terminal(home, "logout") == (DONE, said, "")
    assert (home.kept(), house.devices(), read_sensor(house, token)) == ([], [], 401)


def test_it_says_whether_it_was_revoked_in_json(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    assert cli("logout", house.url, "--json").json == {"revoked": True}
    paired(home, house, cli)
    house.revoke_all()
    assert cli("logout", "--json").json == {"revoked": False}
    paired(home, house, cli)
    assert cli("logout", "--json", "--forget").json == {"revoked": False}
    assert home.kept() == []


def test_what_was_revoked_already_is_forgotten(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    house.revoke_all()
    done = cli("logout")
    assert (done.code, done.err) == (DONE, "")
    assert done.out == f"Studio at {house.url}/pair had revoked this device already; its token is gone now.\n"
    assert home.kept() == []


def test_it_can_be_forgotten_where_the_service_is_gone(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "gone") as house:
        before = paired(home, house, cli)
    refused = cli("logout")
    assert (refused.code, home.bytes()) == (UNREACHABLE, before)
    done = in_terminal(home, "logout", "--forget")
    assert done == (DONE, f"Forgot what was kept for Studio at {house.url}/pair. It was not revoked there.\n", "")
    assert home.kept() == []


# list


def test_an_empty_list_tells_how_to_pair(home: Home, cli: Cli) -> None:
    assert in_terminal(home, "list") == cli("list") == (DONE, NOTHING, "")
    assert cli("list", "--json").json == {"credentials": []}


def test_every_service_is_a_line(tmp_path: Path, home: Home, house: House, cli: Cli) -> None:
    with House(tmp_path / "other", server_name="平板电脑 [bold]Attic[/]") as other:
        paired(home, house, cli)
        paired(home, other, cli, "Other Phone")
    listed = cli("list")
    heading, *rows = listed.out.splitlines()
    assert (listed.code, heading.split("  ")[0]) == (DONE, COLUMNS[0])
    assert [row.split()[0] for row in rows] == ["Studio", "平板电脑"]
    for row, where, name in zip(rows, (house, other), ("My Phone", "Other Phone"), strict=True):
        assert f"  127.0.0.1:{where.port}  " in row
        assert f"  {name}  " in row
        assert f"  {GRANTED}  20" in row
    assert "[bold]Attic[/]" in rows[1]
    assert in_terminal(home, "list").out == listed.out


def test_nothing_is_lost_in_a_narrow_terminal(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    assert in_terminal(home, "list", columns=30) == cli("list")


def test_a_list_in_json_says_no_secrets(home: Home, house: House, cli: Cli) -> None:
    paired(home, house, cli)
    (told,) = cli("list", "--json").json["credentials"]
    assert (told["server"]["name"], told["base_url"]) == ("Studio", house.url)
    assert not {"token", "refresh_token"} & set(told)


# Where credentials are kept


def test_the_file_is_told_by_an_option_or_the_environment(home: Home, house: House, cli: Cli) -> None:
    cli("login", house.url, "--code", house.code(), "--credentials", "here.json")
    assert (home.folder / "here.json").stat().st_mode & 0o777 == 0o600
    assert cli("whoami").code == NOT_PAIRED
    assert cli("whoami", "--credentials", "here.json").code == DONE
    assert in_shell(home, "pairlock whoami", PAIRLOCK_CREDENTIALS="here.json").code == DONE
    assert home.bytes() is None


def test_a_folder_is_no_file(home: Home, cli: Cli) -> None:
    assert cli("list", "--credentials", ".").code == USAGE
