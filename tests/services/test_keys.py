"""Where keys come from, and what happens to tokens when they change."""

import asyncio
import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import pytest

from pairlock import ConfigurationError, Pairlock, StoreError
from pairlock._core.events import service_event
from pairlock._core.keys import Keys
from pairlock._core.records import Device, EventType
from pairlock._core.standings import STALE
from pairlock.errors import InvalidPin, InvalidToken
from pairlock.keyfile import _check_owner, new_key, rewrite_keys
from pairlock.stores.contract import Log, R
from pairlock.stores.sqlite import SQLiteStore
from tests.services.parts import KEY, OTHER_KEY, SENSORS, FailingStore, Make, paired_token, until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PROCESSES = 6


@pytest.fixture
def key_file(path: Path) -> Path:
    return path.with_name("pairlock.db.keys")


def write(file: Path, content: bytes, mode: int = 0o600) -> None:
    file.write_bytes(content)
    file.chmod(mode)


def read(file: Path) -> str:
    return file.read_text()


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def is_there(file: Path) -> bool:
    return file.exists()


def names_beside(file: Path) -> set[str]:
    return {each.name for each in file.parent.iterdir()}


async def test_the_argument_comes_before_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await paired_token(make())
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", OTHER_KEY)
    assert (await make().verify(token)).device_name == "Phone"


async def test_the_environment_comes_before_the_file(
    make: Make, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", f" {OTHER_KEY} , {KEY} ,")
    token = await paired_token(make(secret_keys=None))
    assert not is_there(key_file)
    assert (await make(secret_keys=[KEY]).verify(token)).device_name == "Phone"  # the last one signs


async def test_a_key_file_is_made_beside_the_database_for_its_owner_only(make: Make, key_file: Path) -> None:
    token = await paired_token(make(secret_keys=None))
    assert mode_of(key_file) == 0o600
    assert len(read(key_file).strip()) >= 43  # 256 bits
    assert (await make(secret_keys=None).verify(token)).device_name == "Phone"
    assert names_beside(key_file) <= {"pairlock.db", "pairlock.db-wal", "pairlock.db-shm", "pairlock.db.keys"}


def test_nothing_is_made_on_disk_before_the_start(tmp_path: Path) -> None:
    Pairlock(store=f"sqlite:///{tmp_path}/pairlock.db", default_permissions=SENSORS)
    assert list(tmp_path.iterdir()) == []


async def test_no_key_file_is_made_beside_a_database_that_is_not_ours(make: Make, path: Path, key_file: Path) -> None:
    write(path, b"a letter to the editor, long enough to be no empty file" * 20)
    with pytest.raises(StoreError):
        await make(secret_keys=None).start()
    assert not is_there(key_file)


def test_processes_that_start_at_once_get_the_same_key(key_file: Path) -> None:
    program = "\n".join(
        [
            "import sys, asyncio, json, pairlock.keyfile",
            "from pathlib import Path",
            "print('ready', flush=True); sys.stdin.readline()",
            "keys = pairlock.keyfile.file_keys(Path(sys.argv[1]))",
            "print(json.dumps([key.decode() for key in keys.secrets]))",
        ]
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(key_file)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = [json.loads(process.communicate(timeout=30)[0]) for process in processes]
    assert keys == [[key_file.read_text().strip()]] * PROCESSES
    assert names_beside(key_file) == {key_file.name}  # no drafts are left


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
async def test_a_key_file_that_others_may_use_is_refused(make: Make, key_file: Path, mode: int) -> None:
    write(key_file, KEY.encode(), mode)
    with pytest.raises(
        ConfigurationError, match=r"others may read these secret keys; run: chmod 600 .*pairlock\.db\.keys"
    ):
        await make(secret_keys=None).start()


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"long-enough-to-be-a-key\nshort\n"])
async def test_a_key_file_without_good_keys_is_refused_by_its_name(make: Make, key_file: Path, content: bytes) -> None:
    write(key_file, content)
    with pytest.raises(
        ConfigurationError, match=r"pairlock\.db\.keys: .*at least one key of at least 16 bytes"
    ) as said:
        await make(secret_keys=None).start()
    assert "long-enough" not in str(said.value)


async def test_a_garbled_key_file_is_refused_by_its_name(make: Make, key_file: Path) -> None:
    write(key_file, b"\xff\xfe\x00 garbled garbled garbled")
    with pytest.raises(ConfigurationError, match=r"pairlock\.db\.keys: .*set secret_keys or PAIRLOCK_SECRET_KEYS"):
        await make(secret_keys=None).start()


@pytest.mark.parametrize("made", ["a folder", "a link to nowhere"])  # root reads everything else
def test_a_key_file_that_cannot_be_read_is_refused_by_its_name(path: Path, key_file: Path, made: str) -> None:
    if made == "a folder":
        key_file.mkdir(0o700)
    else:
        key_file.symlink_to(path.with_name("nowhere"))
    pairlock = Pairlock(store=f"sqlite:///{path}", default_permissions=SENSORS)
    with pytest.raises(ConfigurationError, match=r"pairlock\.db\.keys: .*set secret_keys or PAIRLOCK_SECRET_KEYS"):
        asyncio.run(pairlock.start())
    assert {"pairlock.db", "pairlock.db.keys"} == names_beside(key_file)  # no draft is left


async def test_a_key_file_may_hold_several_keys_of_which_the_last_signs(make: Make, key_file: Path) -> None:
    old, new = "an-old-key-of-these-tests", "a-new-key-of-these-tests"
    write(key_file, f"{old}\n{new}\n".encode())
    token = await paired_token(make(secret_keys=None))
    assert (await make(secret_keys=[new]).verify(token)).device_name == "Phone"
    with pytest.raises(InvalidToken):
        await make(secret_keys=[old]).verify(token)


async def test_a_store_in_memory_makes_do_with_keys_that_end_with_it() -> None:
    first, second = (Pairlock(store="memory://", default_permissions=SENSORS) for _ in range(2))
    token = await paired_token(first)
    assert (await first.verify(token)).device_name == "Phone"
    with pytest.raises(InvalidToken):
        await second.verify(token)
    await first.aclose()
    await second.aclose()


def test_a_store_of_ones_own_needs_keys_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r"secret_keys: .* give secret_keys, or set PAIRLOCK_SECRET_KEYS"):
        Pairlock(store=FailingStore(), default_permissions=SENSORS)


@pytest.mark.parametrize("keys", [[], ["short"], [KEY, "short"], [b"15 bytes of key"]])
async def test_keys_that_are_missing_or_short_are_refused(make: Make, keys: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="secret_keys: give at least one key of at least 16 bytes"):
        make(secret_keys=keys)


@pytest.mark.parametrize("keys", [KEY, KEY.encode()])
async def test_one_key_that_is_not_in_a_list_is_refused(make: Make, keys: str) -> None:
    with pytest.raises(ConfigurationError, match=r"secret_keys: give a list of keys, oldest first, such as \[key\]"):
        make(secret_keys=keys)


@pytest.mark.parametrize("value", ["", " , ", "short"])
async def test_an_environment_without_good_keys_is_refused_by_the_variable_s_name(
    make: Make, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PAIRLOCK_SECRET_KEYS", value)
    with pytest.raises(ConfigurationError, match=r"^PAIRLOCK_SECRET_KEYS: "):
        make(secret_keys=None)


async def test_old_keys_verify_and_the_newest_signs_across_restarts(make: Make) -> None:
    first = make(secret_keys=[KEY])
    of_the_old = await paired_token(first)
    await first.aclose()

    rotated = make(secret_keys=[KEY, OTHER_KEY])
    of_the_new = await paired_token(rotated)
    assert (await rotated.verify(of_the_old)).device_name == "Phone"
    await rotated.aclose()

    after = make(secret_keys=[OTHER_KEY])
    assert (await after.verify(of_the_new)).device_name == "Phone"
    with pytest.raises(InvalidToken):
        await after.verify(of_the_old)


async def test_a_pin_whose_key_was_removed_is_right_no_more_and_is_not_shown(make: Make) -> None:
    first = make(secret_keys=[KEY])
    started = await first.pairing.start("Phone")
    pin = first.deciding.pin(started.request)
    assert pin is not None

    still = make(secret_keys=[KEY, OTHER_KEY])
    await still.start()
    assert still.deciding.pin(started.request) == pin

    after = make(secret_keys=[OTHER_KEY])
    await after.start()
    assert after.deciding.pin(started.request) is None
    with pytest.raises(InvalidPin):
        await after.pairing.submit_pin(started.request.id, started.secret, pin)
    assert (await still.pairing.submit_pin(started.request.id, started.secret, pin)).device.name == "Phone"


def test_keys_that_are_no_text_are_refused() -> None:
    numbers: list[Any] = [123]
    with pytest.raises(ConfigurationError, match="secret_keys: give a list of keys"):
        Pairlock(store="memory://", secret_keys=numbers, default_permissions={})


def test_a_key_file_of_another_user_is_refused(key_file: Path) -> None:
    of_another = os.stat_result((0o100600, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0))
    with pytest.raises(ConfigurationError, match="belong to another user"):
        _check_owner(key_file, of_another)


# Rotating


def add(keys: Sequence[str]) -> list[str]:
    return [*keys, OTHER_KEY]


async def tell(pairlock: Pairlock) -> None:
    """Let all processes hear that the keys were rotated."""
    await pairlock.start()
    await pairlock._runtime.commit(Log(service_event(EventType.KEYS_ROTATED, 0.0, "operator:ada")))


def has_keys(pairlock: Pairlock, count: int) -> bool:
    return pairlock._runtime.keys.newest == Keys([OTHER_KEY]).newest and len(pairlock._runtime.keys.secrets) == count


def test_rewritten_keys_take_the_place_of_those_before_in_one_step(key_file: Path) -> None:
    write(key_file, f"{KEY},".encode(), 0o400)
    before = key_file.open()
    assert rewrite_keys(key_file, add).secrets == (KEY.encode(), OTHER_KEY.encode())
    assert (read(key_file), mode_of(key_file)) == (f"{KEY}\n{OTHER_KEY}\n", 0o400)
    assert before.read() == f"{KEY},"  # whoever has begun to read goes on with what there was
    before.close()
    assert names_beside(key_file) == {key_file.name}


def test_a_link_to_a_key_file_stays_one(key_file: Path, tmp_path: Path) -> None:
    write(kept := tmp_path / "kept", KEY.encode())
    key_file.symlink_to(kept)
    rewrite_keys(key_file, add)
    assert key_file.is_symlink()
    assert read(kept) == f"{KEY}\n{OTHER_KEY}\n"


def test_what_a_process_left_behind_that_was_killed_goes(key_file: Path) -> None:
    write(key_file, KEY.encode())
    write(key_file.with_name(f".{key_file.name}.new"), b"half of a k")
    rewrite_keys(key_file, add)
    assert names_beside(key_file) == {key_file.name}


@pytest.mark.parametrize("after", [[], ["short"]])
def test_keys_are_not_rewritten_to_none_or_short_ones(key_file: Path, after: list[str]) -> None:
    write(key_file, KEY.encode())
    with pytest.raises(ConfigurationError, match="at least one key of at least 16 bytes"):
        rewrite_keys(key_file, lambda keys: after)
    assert read(key_file) == KEY


def test_a_key_file_that_is_not_there_is_not_made_by_rewriting(key_file: Path) -> None:
    with pytest.raises(StoreError, match="could not be rotated, and are as they were"):
        rewrite_keys(key_file, add)
    assert not key_file.exists()


def test_where_files_cannot_be_locked_it_is_said_what_to_do_by_hand(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(key_file, KEY.encode())
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(ConfigurationError, match="add a line with a new key at its end, and restart"):
        rewrite_keys(key_file, add)
    assert read(key_file) == KEY


def test_whoever_rewrites_keys_waits_for_another_only_so_long(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(key_file, KEY.encode())
    monkeypatch.setattr("pairlock.keyfile.PATIENCE", 0.1)
    with key_file.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="somebody else is rotating these secret keys; try again"):
            rewrite_keys(key_file, add)
    assert read(key_file) == KEY


def test_keys_that_another_rewrote_meanwhile_are_read_anew(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(key_file, KEY.encode())
    key, lock = new_key(), fcntl.flock

    def rewritten_just_before(file: TextIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        rewrite_keys(key_file, lambda keys: [*keys, key])
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", rewritten_just_before)
    assert rewrite_keys(key_file, add).secrets == (KEY.encode(), key.encode(), OTHER_KEY.encode())


async def test_every_process_takes_up_rotated_keys_at_once(make: Make, key_file: Path) -> None:
    one, other = make(secret_keys=None), make(secret_keys=None)
    of_the_old = await paired_token(one)
    await other.start()
    new = rewrite_keys(key_file, add).newest
    await tell(one)
    assert one._runtime.keys.newest == new
    await until(lambda: other._runtime.keys.newest == new)
    of_the_new = await paired_token(one)
    for token in (of_the_old, of_the_new):
        assert (await other.verify(token)).device_name == "Phone"


async def test_what_was_let_in_with_a_key_that_was_dropped_is_looked_at_anew(make: Make, key_file: Path) -> None:
    one, other = make(secret_keys=None), make(secret_keys=None)
    token = await paired_token(one)
    grant = await other.verify(token)
    cut: list[str] = []
    grant.standing.served[Stream(cut)] = Admitted()
    rewrite_keys(key_file, lambda keys: [OTHER_KEY])
    await tell(one)
    for pairlock in (one, other):
        await until(partial(has_keys, pairlock, 1))
        with pytest.raises(InvalidToken):
            await pairlock.verify(token)
    await until(lambda: cut == [STALE])


async def test_a_token_whose_key_is_dropped_while_its_device_is_looked_up_does_not_count(
    make: Make, key_file: Path
) -> None:
    store = HeldUpStore(key_file.with_suffix(""))
    one, other = make(secret_keys=None), make(secret_keys=None, store=store)
    token = await paired_token(one)
    await other.start()
    store.goes_on.clear()
    verifying = asyncio.create_task(other.verify(token))
    await asyncio.sleep(0)
    rewrite_keys(key_file, lambda keys: [OTHER_KEY])
    await tell(one)
    await until(partial(has_keys, other, 1))
    store.goes_on.set()
    with pytest.raises(InvalidToken):
        await verifying


class HeldUpStore(SQLiteStore):
    """Looks devices up as soon as it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def find(self, kind: type[R], id: str) -> R | None:
        found = await super().find(kind, id)
        if kind is Device:
            await self.goes_on.wait()
        return found


class Admitted:
    """What would be let in now."""

    counts = True


class Stream:
    """Something that is served, until it is cancelled."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def cancel(self, msg: str) -> None:
        self._said.append(msg)


async def test_keys_that_cannot_be_read_after_a_rotation_leave_those_before(
    make: Make, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock = make(secret_keys=None)
    token = await paired_token(pairlock)
    write(key_file, KEY.encode(), 0o644)
    await tell(pairlock)
    assert (await pairlock.verify(token)).device_name == "Phone"
    assert "cannot be read: those from before go on counting" in caplog.text


async def test_keys_that_are_rotated_while_a_process_starts_are_not_missed(make: Make, key_file: Path) -> None:
    write(key_file, KEY.encode())
    pairlock = make(secret_keys=None)
    load, loads = pairlock._runtime._load_keys, 0

    def rotated_after_the_first() -> Keys:
        nonlocal loads
        loads += 1
        keys = load()
        if loads == 1:  # and told of before this process listens
            rewrite_keys(key_file, add)
        return keys

    pairlock._runtime._load_keys = rotated_after_the_first
    await pairlock.start()
    assert len(pairlock._runtime.keys.secrets) == 2
