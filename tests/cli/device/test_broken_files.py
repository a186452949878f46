"""Credentials that cannot be read or kept: one clear line, an exit code, and nothing lost."""

import os
import subprocess
from pathlib import Path

import pytest

from pairlock.cli.outcomes import DONE, FAILED, NOT_PAIRED
from tests.cli.device.parts import Home, House, in_shell, meanwhile, paired, until
from tests.cli.parts import Cli, Outcome

LEFT = "It is left as it is: mend it, or move it away and pair again."
KEPT_NOT = "Nothing was changed; make room or mend its permissions, or name another file"


def may_mount() -> bool:
    """Whether we may have mounts of our own here."""
    done = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False)
    return done.returncode == 0


mounting = pytest.mark.skipif(not may_mount(), reason="mounts are not allowed here")


def refused(outcome: Outcome, said: str) -> None:
    """It failed with one line that says this."""
    assert (outcome.code, outcome.out) == (FAILED, "")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert said in outcome.err


def nothing_happened(home: Home, house: House) -> None:
    """Nobody was asked for anything, and nothing was begun."""
    assert (house.pending(), house.devices(), home.drafts()) == ([], [], [])


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe\x00",
        b'{"routers": []}',
        b'{"routers": {"127.0.0.1:8000": 1}}',
        b'{"routers": {}} and more',
        b'{"routers": {"127.0.0.1:8000": {"token": "plk_',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_reported_and_left_alone(home: Home, house: House, cli: Cli, damage: bytes) -> None:
    home.file.parent.mkdir(parents=True)
    home.file.write_bytes(damage)
    code = house.code()
    for command in (
        ("pair", house.url),
        ("login", house.url),
        ("login", house.url, "--code", "-"),
        ("whoami",),
        ("token", house.url),
        ("logout", house.url),
        ("logout", house.url, "--forget"),
        ("list",),
    ):
        refused(cli(*command) if "-" not in command else with_code(home, house, code), f"{home.file} is damaged (")
        assert home.bytes() == damage
    told = cli("list", "--json")
    assert (told.code, told.json["error"]) == (FAILED, "credentials_error")
    assert LEFT in told.json["error_description"]
    nothing_happened(home, house)


def with_code(home: Home, house: House, code: str) -> Outcome:
    """`pairlock login` with a code from a pipe."""
    return in_shell(home, f"echo {code} | pairlock login {house.url} --code -")


def test_what_others_keep_in_the_file_stays(home: Home, house: House, cli: Cli) -> None:
    home.file.parent.mkdir(parents=True)
    home.file.write_text('{"theme": "dark", "routers": {"192.168.1.100:7330": {"token": "abc", "color": 7}}}')
    paired(home, house, cli)
    assert cli("list").out.count("\n") == 2
    assert cli("logout").code == DONE
    text = home.file.read_text()
    assert '"theme": "dark"' in text
    assert '"color": 7' in text


@pytest.mark.parametrize("command", ["pair", "login"])
def test_a_home_that_is_no_folder(home: Home, house: House, cli: Cli, command: str) -> None:
    (home.folder / ".config").write_text("something else")
    refused(cli(command, house.url), KEPT_NOT)
    nothing_happened(home, house)


def test_a_file_that_is_a_folder(home: Home, house: House, cli: Cli) -> None:
    home.file.mkdir(parents=True)
    refused(cli("pair", house.url), f"{home.file} cannot be read (Is a directory)")
    refused(cli("list"), f"{home.file} cannot be read (Is a directory)")
    nothing_happened(home, house)


@mounting
def test_a_read_only_home(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)
    read_only = f"unshare -m sh -c 'mount --bind {home.folder} {home.folder}; mount -o remount,ro,bind {home.folder}; "
    refused(in_shell(home, f"{read_only} pairlock pair {house.url} --replace'"), "(Read-only file system)")
    assert in_shell(home, f"{read_only} pairlock whoami'").code == DONE
    refused(in_shell(home, f"{read_only} pairlock logout --forget'"), "(Read-only file system)")
    assert (home.bytes(), house.devices(), house.pending(), home.drafts()) == (before, ["My Phone"], [], [])


def test_files_that_may_not_grow(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)
    refused(in_shell(home, f"ulimit -f 4; pairlock pair {house.url} --replace"), "(File too large)")
    assert (home.bytes(), house.devices(), house.pending(), home.drafts()) == (before, ["My Phone"], [], [])


@mounting
def test_a_full_disk_is_found_before_anybody_is_asked(home: Home, house: House) -> None:
    tiny = f"unshare -m sh -c 'mount -t tmpfs -o size=8k tiny {home.folder}; pairlock pair {house.url}'"
    refused(in_shell(home, tiny), "(No space left on device)")
    nothing_happened(home, house)


@mounting
def test_a_disk_that_fills_up_meanwhile_leaves_no_device(home: Home, house: House, tmp_path: Path) -> None:
    script = tmp_path / "filling"
    script.write_text(
        f"mount -t tmpfs -o size=64k tiny {home.folder}; export HOME={home.folder}\n"
        f"pairlock pair {house.url} --wait --json & while ! test -e {tmp_path}/go; do sleep 0.05; done\n"
        f"cat /dev/zero > {home.folder}/filler 2>/dev/null; touch {tmp_path}/full\n"
        f"wait $!; code=$?; find {home.folder} -type f > {tmp_path}/left; exit $code\n"
    )

    def fills() -> None:
        asked = house.asked()
        (tmp_path / "go").touch()
        until((tmp_path / "full").exists)
        house.approve(asked)

    with meanwhile(fills):
        done = in_shell(home, f"unshare -m sh {script}")
    assert (done.code, done.err.splitlines()[-1]) == (FAILED, "Waiting for its operator to approve.")
    assert '"error": "credentials_error"' in done.out
    assert "No space left on device" in done.out
    assert house.devices() == []
    assert sorted(Path(path).name for path in (tmp_path / "left").read_text().split()) == [
        "filler",
        "tokens.json.lock",
    ]


def test_what_cannot_be_kept_in_the_end_is_taken_back(home: Home, house: House, cli: Cli) -> None:
    before = paired(home, house, cli)

    def breaks() -> None:
        asked = house.asked()
        home.file.write_bytes(b"damaged meanwhile")
        house.approve(asked)

    with meanwhile(breaks):
        done = cli("pair", house.url, "--wait", "--replace", "--name", "Second")
    assert (done.code, done.out) == (FAILED, "")
    assert "is damaged" in done.err.splitlines()[-1]
    assert house.devices() == ["My Phone"]
    home.file.write_bytes(before)
    assert cli("whoami").code == DONE


def test_a_link_stays_a_link_and_a_broken_one_is_no_credential(home: Home, house: House, cli: Cli) -> None:
    home.file.parent.mkdir(parents=True)
    home.file.symlink_to(home.folder / "elsewhere.json")
    assert cli("whoami").code == NOT_PAIRED
    paired(home, house, cli)
    assert home.file.is_symlink()
    assert (home.folder / "elsewhere.json").stat().st_mode & 0o777 == 0o600


def test_a_draft_of_somebody_who_was_killed_is_no_trouble(home: Home, house: House, cli: Cli) -> None:
    home.file.parent.mkdir(parents=True)
    left = home.file.parent / ".tokens.json.0123456789abcdef.draft"
    left.write_text("half a")
    os.utime(left, (0, 0))
    paired(home, house, cli)
    assert (home.drafts(), cli("whoami").code) == ([], DONE)


def test_nobody_else_can_read_what_is_kept(home: Home, house: House, cli: Cli) -> None:
    before = os.umask(0)
    try:
        paired(home, house, cli)
    finally:
        os.umask(before)
    assert home.file.stat().st_mode & 0o777 == 0o600
    assert home.file.parent.stat().st_mode & 0o777 == 0o700
