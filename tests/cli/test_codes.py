"""`pairlock code` and `pairlock qr`: what is handed out, and who came in with it."""

import asyncio
import json
import re
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import png  # type: ignore[import-untyped]  # it has no types
import pytest
import zxingcpp
from msgspec import Struct

from pairlock import Operator, Pairlock
from pairlock._core.records import Origin, PairingRequest
from pairlock.cli.operator.codes import code, qr
from pairlock.cli.operator.operating import Operating
from pairlock.cli.operator.redeeming import wait_until_redeemed
from pairlock.cli.outcomes import DONE, EXPIRED, FAILED, INTERRUPTED, REFUSED, USAGE
from pairlock.cli.terminal import Terminal
from pairlock.configuration import Configuration
from pairlock.errors import InvalidCode
from pairlock.testing import FakeClock
from tests.cli.parts import (
    ADDRESS,
    AGENT,
    COMMAND,
    TIMEOUT,
    Cli,
    House,
    at_a_terminal,
    configure,
    end_of,
    environment,
    examples_of,
    in_terminal,
    make_house,
    run_example,
    run_process,
    service,
)
from tests.services.parts import KEY, SENSORS, FailingStore, away, until

SITE = "https://house.example/pair"
CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path)


async def redeem(pairlock: Pairlock, typed: str) -> str:
    """A phone comes in with this code; the id it has then."""
    redeemed = await pairlock.codes.redeem(typed, "My Phone", origin=Origin(ADDRESS, AGENT))
    return redeemed.device.id


# Handing out


def test_a_code_is_shown_with_what_to_type_on_the_device(cli: Cli, house: House) -> None:
    shown = cli("code", "--no-wait")
    typed = CODE.findall(shown.out)
    assert len(typed) == 2
    assert shown.out.splitlines()[3:] == [
        f"On the device: pairlock login https://ADDRESS-OF-THE-SERVICE/pair --code {typed[0]}",
        "It grants: read /sensors/**, write /control/lamp",
    ]
    assert (shown.code, shown.err) == (DONE, "")
    device_id = house.do(lambda pairlock: redeem(pairlock, typed[0]))
    assert cli("devices", "show", device_id, "--json").json["name"] == "My Phone"


@pytest.mark.parametrize(
    ("settings", "given", "address"),
    [
        ({"issuer": SITE}, (), SITE),
        ({"issuer": SITE}, ("--address", "http://127.0.0.1:8000/pair"), "http://127.0.0.1:8000/pair"),
        ({}, ("--address", "x; rm -rf /"), "'x; rm -rf /'"),
    ],
)
def test_the_line_to_type_names_the_service(
    cli: Cli, house: House, settings: dict[str, str], given: tuple[str, ...], address: str
) -> None:
    configure(house.folder, default_permissions=SENSORS, **settings)
    assert f"pairlock login {address} --code " in cli("code", "--no-wait", *given).out


def test_a_code_counts_for_as_long_as_is_said(cli: Cli, house: House) -> None:
    assert 58 <= cli("code", "--no-wait", "--json", "--expires-in", "1:00").json["expires_in"] <= 60


def test_a_picture_that_is_there_is_an_error_in_one_line(cli: Cli, house: House) -> None:
    (house.folder / "q.png").touch()
    refused = cli("qr", "--address", SITE, "--png", "q.png", "--no-wait")
    assert refused.code == USAGE
    assert len(refused.err.splitlines()) == 1
    assert "q.png is there already. Replace it? Nobody can be asked here: name another." in refused.err


def test_json_says_what_http_says(cli: Cli, house: House) -> None:
    given = ("--read", "/sensors/a", "--hint", "for Ann", "--expires-in", "60")
    told = cli("code", "--no-wait", "--json", *given).json
    assert CODE.fullmatch(told["code"])
    assert told["permissions"] == {"read": ["/sensors/a"], "write": []}
    assert (told["hint"], told["state"], told["method"]) == ("for Ann", "pending", "one_time_code")
    assert 0 < told["expires_in"] <= 60


@pytest.mark.parametrize("command", [("code",), ("qr", "--address", SITE)])
def test_what_it_grants_has_to_be_said(cli: Cli, house: House, command: tuple[str, ...]) -> None:
    configure(house.folder)
    refused = cli(*command, "--no-wait")
    assert refused.code == USAGE
    assert "no default_permissions are set here" in refused.err
    assert cli(*command, "--no-wait", "--write", "/control/lamp").code == DONE


@pytest.mark.parametrize("command", [("code",), ("qr", "--address", SITE)])
def test_a_code_that_no_server_could_know_is_not_handed_out(cli: Cli, house: House, command: tuple[str, ...]) -> None:
    house.key_file.unlink()
    refused = cli(*command, "--no-wait")
    assert refused.code == USAGE
    assert "secret keys are not known here" in refused.err
    assert not house.key_file.exists()


@pytest.mark.parametrize("given", [("--expires-in", "9"), ("--expires-in", "3601"), ("--read", "x"), ("--hint",)])
def test_what_cannot_be_is_refused(cli: Cli, house: House, given: tuple[str, ...]) -> None:
    assert cli("code", *given).code == USAGE


def test_where_pairing_is_disabled_there_are_no_codes(cli: Cli, house: House) -> None:
    configure(house.folder, default_permissions=SENSORS, enabled=False)
    assert cli("code", "--no-wait").code == REFUSED


# Waiting


class Scene(Struct):
    """A code that was handed out, and somebody who waits for what becomes of it."""

    operating: Operating
    pairlock: Pairlock
    clock: FakeClock
    request: PairingRequest
    code: str


async def scene(folder: Path) -> Scene:
    await asyncio.to_thread(make_house, folder)
    clock, ada = FakeClock(time.time()), Operator("ada")
    pairlock = service(folder, clock=clock)
    minted = await pairlock.codes.mint(pairlock.settings.default_permissions, by=ada)
    return Scene(Operating(Configuration({}), pairlock, ada, now=clock), pairlock, clock, minted.request, minted.code)


def wait(scene: Scene, *, as_json: bool = False) -> asyncio.Task[int]:
    return asyncio.create_task(wait_until_redeemed(Terminal(as_json=as_json), scene.operating, scene.request))


@pytest.mark.anyio
async def test_whoever_comes_in_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = await scene(tmp_path)
    waiting, server = wait(here), service(tmp_path, clock=here.clock)
    device_id = await redeem(server, here.code)
    assert await waiting == DONE
    said = capsys.readouterr()
    assert said.out == f'Redeemed by "My Phone" from {ADDRESS}: device {device_id}.\n'
    assert said.err == "Waiting for a device; Ctrl-C withdraws the code.\n"
    await server.aclose()
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_a_device_from_nowhere_is_named_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = await scene(tmp_path)
    await here.pairlock.codes.redeem(here.code, "Inside")
    assert await wait(here) == DONE
    assert 'Redeemed by "Inside" from an unknown address' in capsys.readouterr().out
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_a_code_that_nobody_used_expires(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = await scene(tmp_path)
    waiting = wait(here)
    await asyncio.sleep(0)
    here.clock.advance(600)
    assert await waiting == EXPIRED
    assert capsys.readouterr().out == "Nobody came in with it in time: it has expired.\n"
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_a_code_that_was_withdrawn_elsewhere_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = await scene(tmp_path)
    waiting = wait(here, as_json=True)
    await here.pairlock.codes.withdraw(here.request.id, by=Operator("ada"))
    assert await waiting == REFUSED
    assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_whoever_stops_waiting_withdraws_the_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = await scene(tmp_path)
    waiting = wait(here)
    await asyncio.sleep(0)
    waiting.cancel()
    assert await waiting == INTERRUPTED
    assert capsys.readouterr().out == "The code was withdrawn: nobody can come in with it.\n"
    with pytest.raises(InvalidCode):
        await redeem(here.pairlock, here.code)
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_whoever_came_in_while_it_was_stopped_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = await scene(tmp_path)
    waiting = wait(here)
    await asyncio.sleep(0)
    await redeem(here.pairlock, here.code)
    waiting.cancel()
    await waiting
    assert "Redeemed by" in capsys.readouterr().out
    await here.pairlock.aclose()


@pytest.mark.anyio
async def test_a_store_that_is_away_for_a_while_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    store, ada, clock = FailingStore(), Operator("ada"), FakeClock()
    pairlock = Pairlock(store=store, secret_keys=[KEY], default_permissions=SENSORS, clock=clock)
    minted = await pairlock.codes.mint(pairlock.settings.default_permissions, by=ada)
    here = Scene(Operating(Configuration({}), pairlock, ada, now=clock), pairlock, clock, minted.request, minted.code)
    store.errors["find PairingRequest"] = away()
    waiting = wait(here)
    await until(lambda: store.calls["find PairingRequest"] > 0, seconds=30)
    store.errors.clear()
    await redeem(pairlock, here.code)
    assert await waiting == DONE
    await pairlock.aclose()


@pytest.mark.anyio
async def test_a_terminal_shows_the_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    here = await scene(tmp_path)
    with monkeypatch.context() as patched:
        shown = at_a_terminal(patched, "")
        waiting = wait(here)
        await asyncio.sleep(0.5)
        await redeem(here.pairlock, here.code)
        assert await waiting == DONE
    assert re.search(r"(10:00|9:59) left\. Waiting for a device; Ctrl-C withdraws", shown.getvalue())
    await here.pairlock.aclose()


# QR codes


def read_png(content: bytes) -> str:
    """What a phone reads from a PNG file."""
    width, height, rows, _ = png.Reader(bytes=content).read_flat()
    pixels = memoryview(bytes(255 * value for value in rows)).cast("B", (height, width))
    [found] = zxingcpp.read_barcodes(pixels)
    return str(found.text)


def test_a_qr_code_is_drawn_in_the_terminal_with_its_address(cli: Cli, house: House) -> None:
    shown = cli("qr", "--address", SITE, "--no-wait")
    assert shown.out.startswith("\x1b[38;5;16;48;5;231m")
    *picture, address, grants = shown.out.splitlines()
    assert all("\x1b" in line for line in picture)
    assert grants == "It grants: read /sensors/**, write /control/lamp"
    uri = address.removeprefix("Address: ")
    assert uri.startswith(f"{SITE}/qr#")
    house.do(lambda pairlock: redeem(pairlock, uri))
    assert cli("devices", "show", "My Phone", "--json").json["method"] == "qr"


def test_pictures_are_written_for_their_owner_only(cli: Cli, house: House) -> None:
    configure(house.folder, default_permissions=SENSORS, issuer=SITE)
    told = cli("qr", "--png", "code.png", "--svg", "code.svg", "--no-wait", "--json")
    for name in ("code.png", "code.svg"):
        assert stat.S_IMODE((house.folder / name).stat().st_mode) == 0o600
    assert read_png((house.folder / "code.png").read_bytes()) == told.json["uri"]
    assert (house.folder / "code.svg").read_text().startswith("<svg ")
    again = cli("qr", "--png", "other.png", "--no-wait")
    assert again.out.splitlines()[0] == "Wrote other.png"
    assert "\x1b" not in again.out


@pytest.mark.parametrize("typed", ["y\n", "n\n", None])
def test_a_file_that_is_there_is_replaced_only_when_that_is_said(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, typed: str | None
) -> None:
    file = house.folder / "code.png"
    file.write_text("a letter")
    with monkeypatch.context() as patched:
        if typed:
            at_a_terminal(patched, typed)
        ended = cli("qr", "--address", SITE, "--png", "code.png", "--no-wait")
    assert ended.code == {"y\n": DONE, "n\n": FAILED, None: USAGE}[typed]
    assert (file.read_bytes() == b"a letter") is (typed != "y\n")
    minted = cli("audit", "--type", "minted", "--json").json["events"]
    assert len(minted) == (typed == "y\n")


@pytest.mark.parametrize("file", ["nowhere/code.png", "/dev/null/code.png"])
def test_a_code_whose_picture_cannot_be_written_is_withdrawn(cli: Cli, house: House, file: str) -> None:
    failed = cli("qr", "--address", SITE, "--png", file, "--no-wait")
    assert failed.code == FAILED
    assert file in failed.err
    assert cli("audit", "--limit", "1", "--json").json["events"][0]["type"] == "cancelled"


def test_a_qr_code_without_an_address_is_refused(cli: Cli, house: House) -> None:
    refused = cli("qr", "--no-wait")
    assert refused.code == USAGE
    assert "--address, or issuer in the settings" in refused.err


@pytest.mark.parametrize("address", ["house.example", f"{SITE}/", "https://house.example/?x"])
def test_an_address_that_leads_nowhere_is_refused(cli: Cli, house: House, address: str) -> None:
    refused = cli("qr", "--address", address, "--no-wait")
    assert refused.code == USAGE
    assert refused.err.startswith("--address: ")


def test_a_terminal_that_is_too_narrow_is_told_so(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    shown = cli("qr", "--address", SITE, "--no-wait")
    assert "the QR code needs 41 columns" in shown.err
    assert "▀" not in shown.out
    assert "Address: " in shown.out


# In a terminal, and as the help says


@pytest.mark.parametrize("arguments", [("code",), ("qr", "--address", SITE)])
def test_whoever_comes_in_is_named_in_the_terminal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    house = make_house(tmp_path)
    with in_terminal(*arguments, cwd=tmp_path) as child:
        child.expect(rf"{CODE.pattern}|qr#[0-9A-F]{{32}}")
        typed = child.after
        child.expect_exact("It grants: read /sensors/**, write /control/lamp")
        child.expect(r"\d+:\d\d left\. Waiting for a device; Ctrl-C withdraws the code\.")
        device_id = house.do(lambda pairlock: redeem(pairlock, typed))
        ended = end_of(child)
    assert ended.code == DONE
    assert f'Redeemed by "My Phone" from {ADDRESS}: device {device_id}.' in ended.out


@pytest.mark.parametrize("arguments", [("code",), ("qr", "--address", SITE)])
def test_ctrl_c_withdraws_the_code(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    house = make_house(tmp_path)
    with in_terminal(*arguments, cwd=tmp_path) as child:
        child.expect(rf"{CODE.pattern}|qr#[0-9A-F]{{32}}")
        typed = child.after
        child.expect_exact("Ctrl-C withdraws")
        child.send("\x03")
        ended = end_of(child)
    assert ended.code == INTERRUPTED
    assert "The code was withdrawn: nobody can come in with it." in ended.out
    with pytest.raises(InvalidCode):
        house.do(lambda pairlock: redeem(pairlock, typed))


def test_a_program_reads_the_code_and_then_how_it_ended(tmp_path: Path) -> None:
    house = make_house(tmp_path)
    arguments = [*COMMAND, "code", "--json"]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        minted: dict[str, Any] = json.loads(process.stdout.readline())
        device_id = house.do(lambda pairlock: redeem(pairlock, minted["code"]))
        rest, _ = process.communicate(timeout=TIMEOUT)
    ended = json.loads(rest)
    assert process.returncode == DONE
    assert (ended["id"], ended["state"], ended["redeemed"]["device_id"]) == (minted["id"], "redeemed", device_id)
    assert "code" not in ended


def test_a_code_that_nobody_uses_in_time_has_an_exit_code(tmp_path: Path) -> None:
    make_house(tmp_path)
    ended = run_process("code", "--expires-in", "10", "--json", cwd=tmp_path)
    assert ended.code == EXPIRED
    assert [json.loads(line)["state"] for line in ended.out.splitlines()] == ["pending", "expired"]


@pytest.mark.parametrize("example", examples_of(code, qr))
def test_the_examples_in_the_help_work(tmp_path: Path, example: str) -> None:
    make_house(tmp_path)
    ended = run_example(f"timeout -s INT 3 {example}" if "--no-wait" not in example else example, tmp_path)
    assert ended.code == (DONE if "--no-wait" in example else 124), ended
    assert CODE.search(ended.out) or f"{SITE}/qr#" in ended.out
    assert "Error" not in ended.err
