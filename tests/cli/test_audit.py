"""`pairlock audit`: what happened, newest last, and what happens from now on."""

import asyncio
import inspect
import json
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from pairlock import Operator, Pairlock
from pairlock._core.permissions import NOTHING
from pairlock._core.records import AuditEvent, EventType, Origin
from pairlock.cli.operator.audit import PAGE, _follow, audit
from pairlock.cli.operator.operating import Operating
from pairlock.cli.outcomes import INTERRUPTED, NO_SUCH, USAGE
from pairlock.cli.terminal import Terminal
from pairlock.configuration import Configuration
from pairlock.stores.contract import Log
from pairlock.testing import an_event
from tests.cli.parts import (
    COMMAND,
    TIMEOUT,
    Cli,
    House,
    ask,
    end_of,
    environment,
    examples_of,
    in_terminal,
    make_house,
    run_example,
    run_process,
    service,
)
from tests.services.parts import KEY, SENSORS, FailingStore, until


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path, devices=["My Phone"], requests=["Lamp"])


def log(house: House, *events: AuditEvent) -> None:
    """Let these have happened."""

    async def write(pairlock: Pairlock) -> None:
        await pairlock._runtime.commit(*map(Log, events))

    house.do(write)


def test_what_happened_is_told_newest_last_in_the_time_of_this_place(cli: Cli, house: House) -> None:
    told = cli("audit")
    assert (told.code, told.err) == (0, "")
    phone = house.devices["My Phone"].id
    lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in told.out.splitlines()]
    assert lines == [
        'requested       "My Phone" by device (pin) from 192.0.2.20',
        f'redeemed        "My Phone" by device:{phone} (pin) from 192.0.2.20 may read /sensors/**, write /control/lamp',
        'requested       "Lamp" by device (pin) from 192.0.2.20',
    ]
    assert told.out.startswith(time.strftime("%Y-%m-%d "))


def test_json_is_one_object_with_what_http_says(cli: Cli, house: House) -> None:
    events = cli("audit", "--json").json["events"]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert [event["type"] for event in events] == ["requested", "redeemed", "requested"]
    assert isinstance(events[0]["at"], float)


def test_all_that_is_known_of_an_event_is_said(cli: Cli, house: House) -> None:
    cli("window", "open", "--timeout", "60")
    log(
        house,
        an_event(type=EventType.DENIED, by="operator:ada", name="Bot", reason="No \x1b[31mrobots"),
        an_event(type=EventType.NARROWED, by="operator:ada", device_id="7" * 26, permissions=NOTHING, origin=Origin()),
    )
    opened, denied, narrowed = cli("audit", "--limit", "3").out.splitlines()
    assert re.search(r"window_opened +by operator:\w+@terminal until \d{4}-", opened)
    assert denied.endswith('denied          "Bot" by operator:ada reason: No [31mrobots')
    assert narrowed.endswith(f"narrowed        by operator:ada may nothing device {'7' * 26}")


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("2", 2), ("0", 0), ("100", 3)])
def test_the_last_so_many_are_told(cli: Cli, house: House, limit: str, expected: int) -> None:
    events = cli("audit", "--limit", limit, "--json").json["events"]
    assert len(events) == expected
    assert not events or events[-1]["name"] == "Lamp"


def test_what_is_rare_is_found_however_long_ago_it_was(cli: Cli, house: House) -> None:
    log(house, *[an_event(type=EventType.REFRESHED, by="device") for _ in range(PAGE + 20)])
    assert len(cli("audit", "--limit", "600", "--json").json["events"]) == PAGE + 23
    found = cli("audit", "--type", "redeemed", "--type", "HELD", "--json").json["events"]
    assert [event["name"] for event in found] == ["My Phone"]


def test_what_happened_to_one_device_is_found_even_after_it_was_revoked(cli: Cli, house: House) -> None:
    assert cli("devices", "rename", "My Phone", "Phone").code == 0
    assert len(cli("audit", "--device", "phone", "--json").json["events"]) == 2
    assert cli("devices", "revoke", "Phone").code == 0
    found = cli("audit", "--device", house.devices["My Phone"].id.upper(), "--json").json["events"]
    assert [event["type"] for event in found] == ["redeemed", "renamed", "revoked"]
    assert cli("audit", "--device", "Phone").code == NO_SUCH


def test_nothing_is_said_to_be_nothing(cli: Cli, house: House) -> None:
    empty = cli("audit", "--type", "held")
    assert (empty.code, empty.out, empty.err) == (0, "", "Nothing of that kind has happened.\n")
    assert cli("audit", "--type", "held", "--json").json == {"events": []}


@pytest.mark.parametrize("given", [("--type", "party"), ("--limit", "-1"), ("--limit", "many")])
def test_what_cannot_be_is_refused(cli: Cli, house: House, given: tuple[str, ...]) -> None:
    assert cli("audit", *given).code == USAGE


# Following


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [0, 1, 50])
async def test_what_happens_is_told_once_and_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    await asyncio.to_thread(make_house, tmp_path, devices=["My Phone"])
    pairlock, other = service(tmp_path), service(tmp_path)
    await pairlock.start()
    operating, told = Operating(Configuration({}), pairlock, Operator("ada")), ""
    following = asyncio.create_task(_follow(Terminal(as_json=True), operating, limit, _is_not_refreshed))

    def has_told(count: int) -> bool:
        nonlocal told
        told += capsys.readouterr().out
        return told.count("\n") >= count

    listed = min(limit, 2)
    await until(lambda: has_told(listed), seconds=30)
    for name in ("a", "b", "c"):
        await ask(other, name)
        await other._runtime.commit(Log(an_event(type=EventType.REFRESHED)))
    await until(lambda: has_told(listed + 3), seconds=30)
    following.cancel()
    events = [json.loads(line) for line in told.splitlines()]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert [event["name"] for event in events[listed:]] == ["a", "b", "c"]
    await pairlock.aclose()
    await other.aclose()


def _is_not_refreshed(event: AuditEvent) -> bool:
    return event.type is not EventType.REFRESHED


class Slow(FailingStore):
    """A store in which something happens while the past is read."""

    happens: Callable[[], Awaitable[object]] | None = None

    async def list_events(self, *, before: int | None = None, limit: int = 100) -> list[AuditEvent]:
        happens, self.happens = self.happens, None
        if happens is not None:
            await happens()
        return await super().list_events(before=before, limit=limit)


@pytest.mark.anyio
async def test_what_happens_while_the_past_is_read_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    store, told = Slow(), ""
    pairlock = Pairlock(store=store, secret_keys=[KEY], default_permissions=SENSORS)
    await pairlock.start()
    store.happens = partial(ask, pairlock, "meanwhile")
    operating, terminal = Operating(Configuration({}), pairlock, Operator("ada")), Terminal(as_json=True)
    body = inspect.unwrap(audit.callback or print)
    following = asyncio.create_task(
        body(terminal=terminal, operating=operating, limit=50, follow=True, types=(), device=None)
    )

    def has_told(name: str) -> bool:
        nonlocal told
        told += capsys.readouterr().out
        return name in told

    await until(lambda: has_told("meanwhile"), seconds=30)
    await ask(pairlock, "later")
    await until(lambda: has_told("later"), seconds=30)
    following.cancel()
    assert [json.loads(line)["name"] for line in told.splitlines()] == ["meanwhile", "later"]
    await pairlock.aclose()


def test_following_goes_on_in_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    house = make_house(tmp_path, devices=["My Phone"])
    with in_terminal("audit", "--follow", "--limit", "1", cwd=tmp_path) as child:
        child.expect_exact("redeemed")
        assert run_process("devices", "rename", "My Phone", "Phone", cwd=tmp_path).code == 0
        child.expect_exact('renamed         "Phone" by operator:')
        house.do(lambda pairlock: ask(pairlock, "TV"))
        child.expect_exact('"TV" by device (pin) from 192.0.2.20')
        child.send("\x03")
        ended = end_of(child)
    assert ended.code == INTERRUPTED
    assert ended.out.endswith("Interrupted.\n")


def test_a_program_reads_one_object_a_line(tmp_path: Path) -> None:
    make_house(tmp_path, devices=["My Phone"])
    arguments = [*COMMAND, "audit", "--follow", "--json"]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["type"] for _ in range(2)] == ["requested", "redeemed"]
        assert run_process("devices", "revoke", "My Phone", cwd=tmp_path).code == 0
        assert json.loads(process.stdout.readline())["type"] == "revoked"
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == INTERRUPTED


def test_it_works_in_a_terminal(tmp_path: Path) -> None:
    make_house(tmp_path, devices=["My Phone"])
    with in_terminal("audit", cwd=tmp_path) as child:
        ended = end_of(child)
    assert (ended.code, "redeemed" in ended.out) == (0, True)


@pytest.mark.parametrize("example", examples_of(audit))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    make_house(tmp_path, devices=["My Phone"])
    is_endless = "--follow" in example
    ended = run_example(f"timeout -s INT 3 {example}" if is_endless else example, tmp_path)
    assert ended.code == (124 if is_endless else 0), ended
    assert ended.err.strip() in ("", "Interrupted.")
