"""The file of credentials: whole or not at all, for its user alone, and never written over when it is damaged."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from pairlock.client import CredentialFile, MemoryCredentials, default_path
from pairlock.client.drivers import run
from pairlock.client.keeping import in_turn
from pairlock.client.storage import LEFT_BEHIND, _settings_folder, _sync_folder
from pairlock.errors import CredentialsError
from tests.client_side.house import DEADLINE
from tests.client_side.parts import credential
from tests.client_side.writers import ROUNDS, put

ROOT = Path(__file__).parents[2]
KEY = "host:1"
MOUNTED = ("unshare", "--mount", "sh", "-ec")
TINY = 'mount -t tmpfs -o size=16k tmpfs "$1"; cp "$2" "$1/tokens.json"; '
READ_ONLY = 'mount -t tmpfs tmpfs "$1"; cp "$2" "$1/tokens.json"; mount -o remount,ro "$1"; '
THEN_COMPARE = (
    'place=$1; before=$2; shift 2; "$@"; cmp "$before" "$place/tokens.json"; test ! -e "$place/.tokens.json.draft"'
)


def writer(*arguments: object, wrapped: tuple[str, ...] = ()) -> list[str]:
    return [*wrapped, sys.executable, "-m", "tests.client_side.writers", *map(str, arguments)]


def said(*arguments: object, wrapped: tuple[str, ...] = ()) -> str:
    """What another process said."""
    command = writer(*arguments, wrapped=wrapped)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process that is ready, killed in the end."""
    with subprocess.Popen(writer(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def tokens(file: CredentialFile) -> dict[str, str]:
    return {key: found.token for key, found in file.read().credentials().items()}


# Where it is


HOME = Path("/home/ann")


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, "/home/ann/.config"),
        ("linux", {"XDG_CONFIG_HOME": "/elsewhere"}, "/elsewhere"),
        ("linux", {"XDG_CONFIG_HOME": "relative"}, "/home/ann/.config"),  # the specification: ignore it
        ("linux", {"XDG_CONFIG_HOME": ""}, "/home/ann/.config"),
        ("freebsd14", {}, "/home/ann/.config"),
        ("darwin", {"XDG_CONFIG_HOME": "/elsewhere"}, "/home/ann/Library/Application Support"),
        ("win32", {"APPDATA": "/users/ann/roaming"}, "/users/ann/roaming"),
        ("win32", {}, "/home/ann/AppData/Roaming"),
        ("win32", {"APPDATA": ""}, "/home/ann/AppData/Roaming"),
    ],
)
def test_it_is_where_the_operating_system_keeps_settings(platform: str, environ: dict[str, str], folder: str) -> None:
    assert _settings_folder(platform, environ, lambda: HOME) == Path(folder)


def test_the_default_is_a_file_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert CredentialFile().path == default_path() == tmp_path / "home/.config/pairlock/tokens.json"
    assert default_path("house") == tmp_path / "home/.config/house/tokens.json"


def test_the_environment_may_name_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAIRLOCK_CREDENTIALS", "~/mine.json")
    assert CredentialFile().path == tmp_path / "home/mine.json"
    assert CredentialFile(tmp_path / "this.json").path == tmp_path / "this.json"
    monkeypatch.setenv("PAIRLOCK_CREDENTIALS", "")
    assert CredentialFile().path == default_path()


def test_it_says_where_it_is_and_nothing_more(file: CredentialFile) -> None:
    put(file, KEY, "plk_secret")
    assert repr(file) == f"<CredentialFile {file.path}>"


def test_a_home_that_nobody_knows_is_told() -> None:
    with pytest.raises(CredentialsError, match="PAIRLOCK_CREDENTIALS"):
        CredentialFile("~nobody-of-this-name/tokens.json")


def test_where_folders_cannot_be_opened_a_rename_has_to_last_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "name", "nt")
    _sync_folder(tmp_path / "none")


def test_a_user_without_a_home_is_told_what_to_set() -> None:
    assert said("homeless").startswith("refused: where is the home folder? (")
    assert "PAIRLOCK_CREDENTIALS" in said("homeless")


# Who may read it


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077, 0o177])
def test_only_its_user_may_read_it_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        file = CredentialFile(tmp_path / "config" / "pairlock" / "tokens.json")
        put(file, KEY, "plk_1")
    finally:
        os.umask(before)
    assert mode(file.path) == 0o600
    assert mode(file.path.with_name("tokens.json.lock")) == 0o600
    assert {mode(folder) & 0o077 for folder in (file.path.parent, file.path.parent.parent)} == {0}
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["tokens.json", "tokens.json.lock"]


def test_one_that_others_could_read_is_closed_to_them_when_it_is_next_written(file: CredentialFile) -> None:
    put(file, KEY, "plk_1")
    file.path.chmod(0o644)
    put(file, KEY, "plk_2")
    assert mode(file.path) == 0o600


def test_a_draft_is_never_written_through_a_link_that_somebody_left_there(file: CredentialFile, tmp_path: Path) -> None:
    file.path.parent.mkdir()
    (tmp_path / "victim").write_text("untouched")
    (file.path.parent / ".tokens.json.draft").symlink_to(tmp_path / "victim")
    put(file, KEY, "plk_1")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert tokens(file) == {KEY: "plk_1"}


# Damaged


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"routers": {"host:1": {"token": "plk_1"',
        b"not JSON",
        b"\x00\xff\xfe" * 100,
        b"[]",
        b'{"routers": 5}',
        b'{"routers": {"host:1": []}}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_damaged_file_is_told_and_stays_as_it_is(file: CredentialFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    for work in (file.read, lambda: file.load(KEY), lambda: put(file, KEY, "plk_2")):
        with pytest.raises(CredentialsError, match=r"tokens\.json is damaged \(.*left as it is") as told:
            work()
        assert "\n" not in str(told.value)
    assert file.path.read_bytes() == content
    assert not list(file.path.parent.glob(".*"))


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.name)], ids=["folder", "circle"])
def test_what_is_no_file_is_told(file: CredentialFile, make: Callable[[Path], None]) -> None:
    file.path.parent.mkdir()
    make(file.path)
    for work in (file.read, lambda: put(file, KEY, "plk_2")):
        with pytest.raises(CredentialsError, match=r"cannot be (read|written)"):
            work()


def test_links_that_lead_in_a_circle_are_told(file: CredentialFile) -> None:
    file.path.parent.mkdir()
    file.path.symlink_to(file.path.name)
    with pytest.raises(CredentialsError, match="Nothing was changed"):
        file.try_lock()


# Links


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = CredentialFile(tmp_path / "link.json")
    link.path.symlink_to(tmp_path / "real" / "tokens.json")
    put(link, KEY, "plk_1")  # to a file that is not there yet
    put(link, KEY, "plk_2")
    assert link.path.is_symlink()
    assert tokens(CredentialFile(tmp_path / "real" / "tokens.json")) == tokens(link) == {KEY: "plk_2"}
    assert mode(tmp_path / "real" / "tokens.json") == 0o600


def test_whoever_comes_by_a_link_meets_the_same_lock(file: CredentialFile, tmp_path: Path) -> None:
    put(file, KEY, "plk_1")
    link = CredentialFile(tmp_path / "link.json")
    link.path.symlink_to(file.path)
    release = file.try_lock()
    assert release is not None
    assert link.try_lock() is None
    release()
    again = link.try_lock()
    assert again is not None
    again()


# No room, no right


@pytest.fixture
def written(file: CredentialFile) -> bytes:
    put(file, KEY, "plk_old")
    return file.path.read_bytes()


def test_below_a_path_that_is_a_file_nothing_can_be_kept(file: CredentialFile, written: bytes) -> None:
    below = CredentialFile(file.path / "deeper" / "tokens.json")
    with pytest.raises(CredentialsError, match=r"cannot be (read|written) \(Not a directory\).*--credentials"):
        put(below, KEY, "plk_1")
    assert file.path.read_bytes() == written


@pytest.mark.parametrize("room", [0, 100, 4096, 16384])
def test_a_disk_that_is_full_is_told_and_costs_nothing(file: CredentialFile, written: bytes, room: int) -> None:
    answer = said("without_room", file.path, room)
    assert answer.startswith(f"refused: {file.path} cannot be written (File too large). Nothing was changed")
    assert file.path.read_bytes() == written
    assert not list(file.path.parent.glob(".*"))


@pytest.mark.parametrize(
    ("mounting", "why"),
    [(READ_ONLY, "Read-only file system"), (TINY, "No space left on device")],
    ids=["read-only", "full"],
)
def test_a_folder_that_cannot_be_written_is_told(
    file: CredentialFile, written: bytes, tmp_path: Path, mounting: str, why: str
) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    if subprocess.run([*MOUNTED, 'mount -t tmpfs x "$0"', place], check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    wrapped = (*MOUNTED, mounting + THEN_COMPARE, "sh", str(place), str(file.path))
    answer = said("told", place / "tokens.json", wrapped=wrapped)
    assert answer.startswith(f"refused: {place}/tokens.json cannot be written ({why}). Nothing was changed")


# Killed


def test_whoever_is_killed_while_writing_leaves_the_old_or_the_new_one(file: CredentialFile) -> None:
    for number in range(12):
        with running("write_forever", file.path):
            time.sleep(0.005 * number)
        if file.path.exists():
            found = json.loads(file.path.read_bytes())["routers"]["host:1"]["token"]
            assert found.startswith("plk_")
    let_pass(file, LEFT_BEHIND)
    put(file, "other:1", "plk_after")
    assert "other:1" in tokens(file)
    assert not list(file.path.parent.glob(".*"))


def let_pass(file: CredentialFile, seconds: float) -> None:
    """As if that much time were over since whatever lies about there was made."""
    for left in file.path.parent.glob(".*"):
        os.utime(left, (time.time() - seconds - 1,) * 2)


def test_what_somebody_works_on_is_left_alone(file: CredentialFile) -> None:
    put(file, KEY, "plk_0")
    with file.drafting():
        put(file, KEY, "plk_1")  # where the lock is none, as on some network drives
        (draft,) = file.path.parent.glob(".*.draft")
        draft.unlink()
    assert tokens(file) == {KEY: "plk_1"}


def test_two_whom_the_lock_does_not_part_both_keep_what_they_have(file: CredentialFile) -> None:
    put(file, "host:1", "plk_0")
    with file.drafting() as one, file.drafting() as other:
        one.put("host:1", replace(credential(), token="plk_1"))
        other.put("host:2", replace(credential(), token="plk_2"))
    assert tokens(file) == {"host:1": "plk_1", "host:2": "plk_2"}


def test_what_root_makes_for_a_user_is_that_users(file: CredentialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    put(file, KEY, "plk_1")
    os.chown(file.path, 12345, 12345)
    put(file, KEY, "plk_2")
    assert {each.stat().st_uid for each in (file.path, Path(f"{file.path}.lock"))} == {12345}
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    put(file, KEY, "plk_3")
    assert tokens(file) == {KEY: "plk_3"}


def test_a_lock_held_and_a_draft_left_by_whoever_is_killed_are_in_nobodys_way(file: CredentialFile) -> None:
    with running("hold", file.path):
        assert file.try_lock() is None
        assert file.read().credentials() == {}
    assert list(file.path.parent.glob(".*.draft"))
    let_pass(file, LEFT_BEHIND)
    put(file, KEY, "plk_1")
    assert tokens(file) == {KEY: "plk_1"}
    assert not list(file.path.parent.glob(".*"))


# Several at once


def test_two_processes_that_write_at_once_lose_nothing(file: CredentialFile) -> None:
    processes = [subprocess.Popen(writer("write", file.path, name), cwd=ROOT) for name in ("ann", "bob")]
    while any(process.poll() is None for process in processes):
        file.read()  # it can be read at any time
    assert [process.returncode for process in processes] == [0, 0]
    assert len(tokens(file)) == 2 * ROUNDS


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_threads_that_write_at_once_lose_nothing(file: CredentialFile, kind: str) -> None:
    place = file if kind == "file" else MemoryCredentials()

    def write(name: str) -> None:
        for number in range(10):

            def putting(key: str = f"{name}:{number}") -> None:
                with place.drafting() as draft:
                    draft.put(key, credential())

            run(in_turn(place, putting), None)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("ann", "bob", "eve")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.read().credentials()) == 30


def test_a_lock_is_released_when_the_work_fails(file: CredentialFile) -> None:
    def failing() -> None:
        raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            run(in_turn(file, failing), None)


def test_an_entry_can_be_removed_and_one_that_is_gone_too(file: CredentialFile) -> None:
    put(file, KEY, "plk_1")
    for _ in range(2):
        with file.drafting() as draft:
            draft.remove(KEY)
        assert tokens(file) == {}
    assert file.load(KEY) is None


def test_a_program_that_fails_in_the_middle_leaves_everything_as_it_was(file: CredentialFile, written: bytes) -> None:
    with pytest.raises(KeyError), file.drafting():
        raise KeyError
    assert file.path.read_bytes() == written
    assert not list(file.path.parent.glob(".*"))
