"""What operator commands share: finding the service's store, its settings and its keys, and who the operator is."""

import getpass
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pairlock.cli.operator.operating import this_operator
from pairlock.cli.outcomes import FAILED, UNREACHABLE, USAGE
from tests.cli.parts import STORE, Cli, House, configure, make_house, run_example, run_process, store_url
from tests.servers import Valkey
from tests.services.parts import KEY


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Somewhere else than where commands run."""
    return make_house(tmp_path / "house", devices=["My Phone"], requests=["Lamp"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_store_is_found_by_an_option(cli: Cli, house: House) -> None:
    assert "My Phone" in cli("devices", "list", "--store", house.store).out


def test_the_store_is_found_by_the_environment(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRLOCK_STORE", house.store)
    assert "My Phone" in cli("devices", "list").out


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_store_is_found_by_the_settings(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    configure(house.folder, store=f"sqlite:///{STORE}", default_permissions={"read": ["/x"]})
    file = str(house.folder / "pairlock.yaml")
    if by == "environment":
        monkeypatch.setenv("PAIRLOCK_CONFIG", file)
    given = ["--config", file] if by == "option" else []
    assert "My Phone" in cli("devices", "list", *given).out
    assert "Would get: read /x\n" in cli("requests", "list", *given).out


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (f"sqlite:///{STORE}", "there is no pairlock.db; run this where the service keeps it, or give --store"),
        ("memory://", "lives inside the server"),
        ("mysql://x", "this is not the URL of a store"),
    ],
)
def test_a_store_that_is_not_there_is_not_made(cli: Cli, elsewhere: Path, store: str, said: str) -> None:
    refused = cli("devices", "list", "--store", store)
    assert (refused.code, said in refused.err) == (USAGE, True)
    assert refused.err.count("\n") == 1
    assert not list(elsewhere.iterdir())
    assert said in cli("devices", "list", "--store", store, "--json").json["error_description"]


def test_a_store_that_is_none_of_ours_is_left_alone(cli: Cli, elsewhere: Path) -> None:
    (elsewhere / STORE).write_bytes(b"a letter to the editor, long enough to be no empty file" * 20)
    refused = cli("devices", "list")
    assert (refused.code, refused.err.count("\n")) == (FAILED, 1)
    assert [path.name for path in elsewhere.iterdir()] == [STORE]


def test_a_store_that_does_not_answer_is_told_with_its_reason(cli: Cli, house: House) -> None:
    with closing(sqlite3.connect(house.folder / STORE)) as damaged:
        damaged.execute("DROP TABLE devices")
    away = cli("devices", "list", "--store", house.store)
    assert (away.code, away.err) == (UNREACHABLE, "The store does not answer: no such table: devices\n")
    told = cli("devices", "list", "--store", house.store, "--json")
    assert (told.code, "temporarily_unavailable" in told.out) == (UNREACHABLE, True)


def test_settings_that_cannot_work_are_told_with_their_place(cli: Cli, house: House) -> None:
    configure(house.folder, store="sqlite:///none.db")
    refused = cli("devices", "list", "--config", str(house.folder / "pairlock.yaml"))
    assert refused.code == USAGE
    assert "pairlock.yaml:1: server.security.pairing.store: there is no" in refused.err


def test_commands_that_need_no_keys_do_without_and_make_none(cli: Cli, house: House) -> None:
    house.key_file.unlink()
    for arguments in (("devices", "list"), ("requests", "list"), ("audit",), ("window", "open")):
        assert cli(*arguments, "--store", house.store).code == 0
    assert not house.key_file.exists()


def test_keys_of_the_environment_are_taken(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.key_file.unlink()
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", KEY)
    minted = cli("code", "--read", "/sensors/a", "--no-wait", "--json", "--store", house.store)
    assert minted.json["permissions"]["read"] == ["/sensors/a"]
    assert not house.key_file.exists()


def test_stores_for_several_hosts_need_the_keys_of_the_service(
    cli: Cli, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = valkey.url()
    assert cli("devices", "list", "--store", store).code == 0
    refused = cli("code", "--read", "/a", "--no-wait", "--store", store)
    assert (refused.code, "set PAIRLOCK_SECRET_KEYS" in refused.err) == (USAGE, True)
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", KEY)
    assert cli("code", "--read", "/a", "--no-wait", "--store", store).code == 0
    assert len(cli("audit", "--store", store, "--json").json["events"]) == 1
    assert len(cli("keys", "rotate", "--store", store).out.strip()) == 43


def test_the_operator_is_who_sits_at_the_terminal(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert this_operator().id == "ada@terminal"
    assert cli("window", "open", "--store", house.store, "--json").json["by"] == "operator:ada@terminal"


def test_somebody_without_a_name_is_an_operator_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:  # as where the user id is none of this system's
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert this_operator().id == "terminal"


def test_each_command_names_the_options_of_the_store(tmp_path: Path) -> None:
    for command in ("code", "qr", "audit"):
        told = run_process(command, "--help", cwd=tmp_path).out
        for said in ("--store", "--config", "--json", "Examples:", f"  pairlock {command} "):
            assert said in told


def test_the_commands_of_the_page_work_one_after_another(tmp_path: Path) -> None:
    house = make_house(tmp_path / "page", devices=["Lamp"], requests=["My Phone", "Stranger"])
    page = (Path(__file__).parents[2] / "docs/operating.md").read_text()
    commands = page.split("```sh\n")[1].split("```")[0].splitlines()
    assert len(commands) == 12
    for command in commands:
        ended = run_example(command, house.folder)
        assert ended.code == 0, (command, ended)


def test_the_store_may_have_a_space_in_its_name(cli: Cli, tmp_path: Path) -> None:
    house = make_house(tmp_path / "my house", devices=["My Phone"])
    assert "My Phone" in cli("devices", "list", "--store", store_url(house.folder)).out


def test_what_a_service_has_written_of_itself_counts_before_the_settings(
    cli: Cli, house: House, elsewhere: Path
) -> None:
    """As beside `pairlock serve --read ...`, or an app that has its settings in code."""
    lamp = {"read": [], "write": ["/control/lamp"]}
    house.do(
        lambda pairlock: pairlock.introduce("http://192.168.1.7:8000/pair"), default_permissions=lamp, pin_length=9
    )
    (asked,) = cli("requests", "list", "--store", house.store, "--json").json["requests"]
    assert (len(asked["pin"]), asked["permissions"]) == (9, lamp)
    (elsewhere / "pairlock.yaml").write_text("server: {security: {pairing: {default_permissions: {read: [/**]}}}}")
    minted = cli("code", "--no-wait", "--store", house.store)
    assert "pairlock login http://192.168.1.7:8000/pair --code" in minted.out
    assert "write /control/lamp" in minted.out
    assert "read" not in minted.out
    assert "http://192.168.1.7:8000/pair/qr#" in cli("qr", "--no-wait", "--store", house.store).out
