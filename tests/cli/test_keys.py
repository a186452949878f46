"""`pairlock keys`: rotating the secret keys of a service that runs."""

import asyncio
import inspect
import re
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pairlock import Pairlock
from pairlock._core.keys import Keys
from pairlock.cli.operator.keys import keys_group
from pairlock.cli.outcomes import DONE, FAILED, INTERRUPTED, USAGE
from pairlock.cli.terminal import Terminal
from pairlock.errors import InvalidToken
from tests.cli.parts import (
    COMMAND,
    TIMEOUT,
    Cli,
    House,
    at_a_terminal,
    end_of,
    environment,
    examples_of,
    in_terminal,
    make_house,
    pair,
    run_example,
    run_process,
    service,
)
from tests.services.parts import KEY, OTHER_KEY, until

FINGERPRINT = re.compile(r"[0-9a-f]{12}")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path)


def keys_in(house: House) -> list[str]:
    return house.key_file.read_text().split()


# Listing


def test_keys_are_listed_by_their_fingerprints_oldest_first(cli: Cli, house: House) -> None:
    house.key_file.write_text(f"{KEY}\n{OTHER_KEY}\n")
    listed = cli("keys", "list")
    old, new = (Keys([key]).newest for key in (KEY, OTHER_KEY))
    assert listed.out == f"Keys in pairlock.db.keys, oldest first:\n{old}  counts\n{new}  signs\n"
    assert cli("keys", "list", "--json").json == {
        "source": "pairlock.db.keys",
        "keys": [{"fingerprint": old, "signs": False}, {"fingerprint": new, "signs": True}],
    }
    assert KEY not in listed.out


def test_keys_of_the_environment_are_listed(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", f"{KEY}, {OTHER_KEY}")
    listed = cli("keys", "list").out
    assert listed.startswith("Keys in PAIRLOCK_SECRET_KEYS, oldest first:")
    assert len(FINGERPRINT.findall(listed)) == 2


@pytest.mark.parametrize("store", [(), ("--store", "postgresql://nobody@127.0.0.1:9/none")])
def test_keys_that_are_elsewhere_are_not_made_up(cli: Cli, house: House, store: tuple[str, ...]) -> None:
    house.key_file.unlink()
    unknown = cli("keys", "list", *store)
    assert unknown.code == USAGE
    assert "set PAIRLOCK_SECRET_KEYS" in unknown.err
    assert not house.key_file.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--store", "memory://"), "inside the server"), (("--store", "sqlite:///none.db"), "there is no none.db")],
)
def test_keys_are_those_of_a_service_that_is_there(cli: Cli, house: House, given: tuple[str, ...], said: str) -> None:
    for command in ("list", "rotate"):
        refused = cli("keys", command, *given)
        assert (refused.code, said in refused.err) == (USAGE, True)


# Rotating


def test_a_new_key_signs_and_the_old_ones_go_on_counting(cli: Cli, house: House) -> None:
    [first] = keys_in(house)
    rotated = cli("keys", "rotate")
    assert rotated.code == DONE
    assert rotated.err == "All servers take up the new key …\n"
    [old, second] = keys_in(house)
    assert (old, len(second)) == (first, 43)
    assert rotated.out.splitlines()[2] == f"{Keys([second]).newest}  signs"
    assert second not in rotated.out
    told = cli("keys", "rotate", "--json").json
    assert [key["signs"] for key in told["keys"]] == [False, False, True]
    reasons = [event["reason"] for event in cli("audit", "--type", "keys_rotated", "--json").json["events"]]
    assert reasons[:2] == [f"the key {Keys([second]).newest} {does}" for does in ("counts", "signs, 2 count")]


def test_the_file_keeps_its_mode(cli: Cli, house: House) -> None:
    house.key_file.chmod(0o400)
    assert cli("keys", "rotate").code == DONE
    assert stat.S_IMODE(house.key_file.stat().st_mode) == 0o400
    assert sorted(path.name for path in house.folder.glob("*keys*")) == ["pairlock.db.keys"]
    assert not list(house.folder.glob(".*"))


@pytest.mark.parametrize(("typed", "code"), [("y\n", DONE), ("n\n", FAILED), (None, USAGE)])
def test_keys_are_dropped_only_when_that_is_said(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, typed: str | None, code: int
) -> None:
    house.key_file.write_text(f"{KEY}\n{OTHER_KEY}\n")
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, typed) if typed else None
        assert cli("keys", "rotate", "--keep", "2").code == code
    assert asked is None or "Of the oldest keys, 1 will be dropped: tokens signed with such a key" in asked.getvalue()
    assert keys_in(house)[0] == (OTHER_KEY if code == DONE else KEY)
    assert len(keys_in(house)) == 2


def test_scripts_say_yes(cli: Cli, house: House) -> None:
    [first] = keys_in(house)
    assert cli("keys", "rotate", "--keep", "5").code == DONE  # there is nothing to drop
    assert cli("keys", "rotate", "--keep", "1", "--yes").code == DONE
    assert first not in keys_in(house)
    assert len(keys_in(house)) == 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_where_keys_are_kept_elsewhere_a_new_one_is_printed(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    if elsewhere:
        monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", KEY)
    else:
        house.key_file.unlink()
    printed = cli("keys", "rotate")
    assert (printed.code, len(printed.out.strip())) == (DONE, 43)
    assert printed.err.startswith("Nothing has changed. Add this key at the end of PAIRLOCK_SECRET_KEYS")
    assert len(cli("keys", "rotate", "--json").json["new_key"]) == 43
    refused = cli("keys", "rotate", "--keep", "1")
    assert (refused.code, "remove the oldest keys from PAIRLOCK_SECRET_KEYS" in refused.err) == (USAGE, True)


def test_a_damaged_key_file_is_not_touched(cli: Cli, house: House) -> None:
    house.key_file.write_text("short\n")
    refused = cli("keys", "rotate")
    assert refused.code == USAGE
    assert "pairlock.db.keys: give at least one key" in refused.err
    assert house.key_file.read_text() == "short\n"


def test_what_cannot_be_written_leaves_the_keys_as_they_are(cli: Cli, house: House) -> None:
    before = house.key_file.read_bytes()
    (house.folder / ".pairlock.db.keys.new").mkdir()
    failed = cli("keys", "rotate")
    assert failed.code == FAILED
    assert "the secret keys could not be rotated, and are as they were" in failed.err
    assert house.key_file.read_bytes() == before


# Beside running servers


@pytest.mark.anyio
async def test_nobody_is_refused_while_keys_are_rotated(tmp_path: Path) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    servers = [service(tmp_path) for _ in range(3)]
    device = await pair(servers[0], "Phone")
    rotating = asyncio.create_task(asyncio.to_thread(run_process, "keys", "rotate", "--json", cwd=tmp_path))
    checked = 0
    while not rotating.done():
        for signing in servers:
            token, _ = signing.tokens.access(device)
            for server in servers:
                assert (await server.verify(token)).device_id == device.id
                checked += 1
        await asyncio.sleep(0)
    newest = (await rotating).json["keys"][-1]["fingerprint"]
    await until(lambda: all(server._runtime.keys.newest == newest for server in servers), seconds=30)
    assert checked > 9
    for server in servers:
        await server.aclose()


@pytest.mark.anyio
async def test_servers_refuse_what_was_signed_with_a_key_that_was_dropped(tmp_path: Path) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    server = service(tmp_path)
    device = await pair(server, "Phone")
    token, _ = server.tokens.access(device)
    await server.verify(token)
    rotated = await asyncio.to_thread(run_process, "keys", "rotate", "--keep", "1", "--yes", cwd=tmp_path)
    assert rotated.code == DONE
    await until(lambda: len(server._runtime.keys.secrets) == 1, seconds=30)
    with pytest.raises(InvalidToken):
        await server.verify(token)
    assert (await server.verify(server.tokens.access(device)[0])).device_id == device.id
    await server.aclose()


def test_a_code_that_waits_goes_on_after_a_rotation(cli: Cli, house: House) -> None:
    code = cli("code", "--no-wait", "--json").json["code"]
    assert cli("keys", "rotate").code == DONE

    async def redeem(pairlock: Pairlock) -> str:
        return (await pairlock.codes.redeem(code, "Phone")).device.name

    assert house.do(redeem) == "Phone"


# Whatever goes wrong


def test_two_at_once_both_add_their_key(tmp_path: Path) -> None:
    house = make_house(tmp_path)
    [first] = keys_in(house)
    processes = [
        subprocess.Popen([*COMMAND, "keys", "rotate"], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [process.wait(2 * TIMEOUT) for process in processes] == [DONE] * 4
    assert keys_in(house)[0] == first
    assert len(set(keys_in(house))) == 5


REWRITING = """
import sys
from pathlib import Path
from pairlock.keyfile import new_key, rewrite_keys
print("ready", flush=True)
while True:
    key = new_key()
    rewrite_keys(Path(sys.argv[1]), lambda keys: [*keys, key])
    print(key, flush=True)
"""


def test_no_key_is_lost_to_a_process_that_is_killed(house: House) -> None:
    added = keys_in(house)
    for turn in range(8):
        process = subprocess.Popen([sys.executable, "-c", REWRITING, str(house.key_file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.01 * turn)
        process.kill()
        added += process.communicate()[0].decode().split()
        kept = keys_in(house)
        assert set(added) <= set(kept)
        assert all(len(key) == 43 for key in kept)
        added = kept
    assert stat.S_IMODE(house.key_file.stat().st_mode) == 0o600


def test_no_key_is_lost_to_a_full_disk(house: House) -> None:
    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))  # what is written beyond fails

    before = house.key_file.read_bytes()
    arguments = [sys.executable, "-c", REWRITING, str(house.key_file)]
    failed = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT, preexec_fn=fill_disk)
    assert "are as they were" in failed.stderr
    assert house.key_file.read_bytes() == before
    assert not list(house.folder.glob(".*"))


def test_ctrl_c_leaves_keys_with_which_all_goes_on(tmp_path: Path) -> None:
    house = make_house(tmp_path)
    [first] = keys_in(house)
    with in_terminal("keys", "rotate", cwd=tmp_path) as child:
        child.expect_exact("All servers take up the new key")
        child.send("\x03")
        ended = end_of(child)
    assert ended.code == INTERRUPTED
    assert "Interrupted: the new key counts, and may not sign yet. Rotate again to be sure." in ended.out
    assert keys_in(house)[-1] == first
    assert len(keys_in(house)) == 2


@pytest.mark.anyio
async def test_a_rotation_that_is_cut_short_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    monkeypatch.chdir(tmp_path)
    rotate = inspect.unwrap(keys_group.commands["rotate"].callback or print)
    given = {"config": None, "store": None, "keep": None, "yes": False}
    rotating = asyncio.create_task(rotate(terminal=Terminal(as_json=False), **given))
    said = ""

    def has_begun() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "take up" in said

    await until(has_begun, seconds=30)
    rotating.cancel()
    assert await rotating == INTERRUPTED


# In a terminal, and as the help says


def test_each_command_works_in_a_terminal(tmp_path: Path) -> None:
    make_house(tmp_path)
    with in_terminal("keys", "rotate", "--keep", "1", cwd=tmp_path) as child:
        child.expect_exact("Drop?")
        child.sendline("y")
        ended = end_of(child)
    assert (ended.code, ended.out.count("signs")) == (DONE, 1)
    with in_terminal("keys", "list", cwd=tmp_path) as child:
        ended = end_of(child)
    assert (ended.code, ended.out.count("signs")) == (DONE, 1)


@pytest.mark.parametrize("command", ["list", "rotate"])
def test_each_command_speaks_json_in_a_process_of_its_own(tmp_path: Path, command: str) -> None:
    make_house(tmp_path)
    ended = run_process("keys", command, "--json", cwd=tmp_path)
    assert (ended.code, list(ended.json)) == (DONE, ["source", "keys"])


@pytest.mark.parametrize("example", examples_of(keys_group))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    make_house(tmp_path)
    ended = run_example(example, tmp_path)
    assert ended.code == DONE, ended
