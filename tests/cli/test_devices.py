"""`pairlock devices`: listing, finding by id or name, renaming, narrowing and revoking."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from pairlock import Operator, Pairlock
from pairlock._core.permissions import Permissions
from pairlock._core.records import Device
from pairlock.cli.operator.devices import _revoke_all, _tell, devices_group
from pairlock.cli.operator.operating import Operating
from pairlock.cli.outcomes import FAILED, INTERRUPTED, NO_SUCH, REFUSED, USAGE
from pairlock.cli.terminal import Terminal
from pairlock.configuration import Configuration
from pairlock.errors import InvalidToken
from pairlock.testing import a_device
from tests.cli.parts import (
    Cli,
    House,
    at_a_terminal,
    end_of,
    examples_of,
    in_terminal,
    keep,
    make_house,
    pair,
    run_example,
    run_process,
    service,
)
from tests.services.parts import until

LIFE = 90 * 86400.0


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return make_house(tmp_path, devices=["My Phone", "Lamp"])


def fill(house: House, count: int) -> list[Device]:
    """So many devices more, and how they are listed."""
    now = time.time()
    made = [a_device(name=f"Sensor {at}", created_at=now, expires_at=now + LIFE) for at in range(count)]
    keep(house.folder, *made)
    return made[::-1]


def names(cli: Cli) -> list[str]:
    return [device["name"] for device in cli("devices", "list", "--json").json["devices"]]


# Listing


def test_devices_are_listed_newest_first_with_what_they_may_do(cli: Cli, house: House) -> None:
    listed = cli("devices", "list")
    heading, lamp, phone = listed.out.splitlines()
    assert heading.split() == ["ID", "NAME", "BY", "PAIRED", "SEEN", "ADDRESS", "MAY"]
    assert lamp.startswith(house.devices["Lamp"].id)
    assert phone.startswith(house.devices["My Phone"].id)
    for said in ("My Phone", "pin", time.strftime("%Y-"), "never", "192.0.2.20"):
        assert said in phone
    assert phone.endswith("read /sensors/**, write /control/lamp")
    assert (listed.code, listed.err) == (0, "")


def test_columns_are_aligned_whatever_the_width_of_the_letters(cli: Cli, house: House) -> None:
    keep(house.folder, a_device(name="平板电脑", expires_at=time.time() + LIFE))
    columns = [line.index("pin ") - line.count("平板电脑") * -4 for line in cli("devices", "list").out.splitlines()[1:]]
    assert len(set(columns)) == 1


def test_json_is_one_object_with_what_http_says_of_devices(cli: Cli, house: House) -> None:
    listed = cli("devices", "list", "--json")
    assert listed.out.count("\n") == 1
    assert [device["id"] for device in listed.json["devices"]] == [house.devices[n].id for n in ("Lamp", "My Phone")]
    assert listed.json["devices"][0]["permissions"] == {"read": ["/sensors/**"], "write": ["/control/lamp"]}


@pytest.mark.parametrize("format", [(), ("--json",)])
@pytest.mark.parametrize(("limit", "expected"), [((), 252), (("--limit", "150"), 150), (("--limit", "100"), 100)])
def test_more_devices_than_a_page_are_all_listed(
    cli: Cli, house: House, format: tuple[str, ...], limit: tuple[str, ...], expected: int
) -> None:
    ids = [device.id for device in (house.devices["Lamp"], house.devices["My Phone"])]
    fill(house, 250)
    listed = cli("devices", "list", *limit, *format)
    if format:
        found = [device["id"] for device in listed.json["devices"]]
    else:
        found = [line.split()[0] for line in listed.out.splitlines()[1:]]
    assert len(found) == len(set(found)) == expected
    assert found[:2] == ids  # those of the builders are older


def test_a_search_lists_those_whose_name_begins_so_by_name(cli: Cli, house: House) -> None:
    fill(house, 150)
    found = cli("devices", "list", "--name", "SENSOR", "--json").json["devices"]
    assert [device["name"] for device in found] == sorted(f"Sensor {at}" for at in range(150))


def test_an_empty_list_says_how_to_let_a_device_in(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_house(tmp_path)
    empty = cli("devices", "list")
    assert (empty.code, empty.out) == (0, "")
    assert empty.err.startswith("No devices are paired. `pairlock window open`")
    assert cli("devices", "list", "--json").json == {"devices": []}
    assert cli("devices", "list", "--name", "x").err == 'No device has a name that begins with "x".\n'


# Finding


@pytest.mark.parametrize("form", ["id", "ID", "prefix", "PREFIX", "name", "folded"])
def test_a_device_is_found_by_its_id_the_beginning_of_it_or_its_name(cli: Cli, house: House, form: str) -> None:
    keep(house.folder, device := a_device(name="Zoë's Phone", expires_at=time.time() + LIFE))
    which = {"id": device.id, "prefix": device.id[:12], "name": device.name, "folded": "ZOË's  phone"}
    found = cli("devices", "show", "--json", which.get(form) or which[form.lower()].upper())
    assert found.json["id"] == device.id


def test_an_id_comes_before_a_name_and_its_beginning_does_not(cli: Cli, house: House) -> None:
    phone, prefix = house.devices["My Phone"].id, house.devices["My Phone"].id[:16]
    now = time.time()
    like_prefix, like_id = (a_device(name=name, expires_at=now + LIFE) for name in (prefix, phone))
    keep(house.folder, like_prefix, like_id)
    several = cli("devices", "show", prefix)
    assert several.code == NO_SUCH
    assert like_prefix.id in several.err
    assert phone in several.err
    assert cli("devices", "show", "--json", phone).json["id"] == phone


def test_a_name_that_has_the_form_of_an_id_is_no_name(cli: Cli, house: House) -> None:
    keep(house.folder, a_device(name="7" * 26, expires_at=time.time() + LIFE))
    assert cli("devices", "show", "7" * 26).code == NO_SUCH


def test_names_that_look_the_same_are_told_apart(cli: Cli, house: House) -> None:
    keep(house.folder, a_device(name="Lamp\ufe0f", expires_at=time.time() + LIFE))
    assert "may be any of these 2" in cli("devices", "revoke", "Lamp").err


def test_a_name_may_begin_with_a_dash(cli: Cli, house: House) -> None:
    keep(house.folder, device := a_device(name="--json", expires_at=time.time() + LIFE))
    assert device.id in cli("devices", "show", "--", "--json").out


@pytest.mark.parametrize("which", ["Nobody", "", "01m", "7" * 26, "7" * 10, "'; DROP TABLE", "\x1b[31mred"])
def test_what_is_not_found_is_said_in_one_line(cli: Cli, house: House, which: str) -> None:
    missing = cli("devices", "show", which)
    assert (missing.code, missing.out) == (NO_SUCH, "")
    assert missing.err.startswith('No device has the id or name "')
    assert missing.err.endswith("`pairlock devices list` shows all that are paired.\n")
    assert "\x1b" not in missing.err


def test_several_of_one_name_are_told_apart_by_id_and_time(cli: Cli, house: House) -> None:
    now = time.time()
    twins = [a_device(name="twin", created_at=now, expires_at=now + LIFE, seen_at=None) for _ in range(2)]
    keep(house.folder, *twins)
    several = cli("devices", "revoke", "Twin")
    assert several.code == NO_SUCH
    assert '"Twin" may be any of these 2; give the id:' in several.err
    for twin in twins:
        assert twin.id in several.err
    assert several.err.count("paired ") == several.err.count("seen never") == 2
    assert "no_such" in cli("devices", "revoke", "Twin", "--json").json["error"]
    assert names(cli).count("twin") == 2


def test_of_many_of_one_name_some_are_shown(cli: Cli, house: House) -> None:
    now = time.time()
    keep(house.folder, *[a_device(name="twin", created_at=now, expires_at=now + LIFE) for _ in range(12)])
    several = cli("devices", "show", "twin")
    assert several.err.count("seen never") == 10
    assert several.err.endswith("  and 2 more\n")


def test_several_ids_that_begin_alike_are_told_apart(cli: Cli, house: House) -> None:
    now = time.time()
    alike = [replace(a_device(expires_at=now + LIFE), id=f"77777777777{at}".ljust(26, "0")) for at in range(2)]
    keep(house.folder, *alike)
    assert cli("devices", "show", "777777").code == NO_SUCH
    assert cli("devices", "show", "777777777771", "--json").json["id"] == alike[1].id


def test_a_device_that_was_revoked_is_found_no_more(cli: Cli, house: House) -> None:
    assert cli("devices", "revoke", "Lamp").code == 0
    for which in ("Lamp", house.devices["Lamp"].id, house.devices["Lamp"].id[:15]):
        assert cli("devices", "show", which).code == NO_SUCH


# Changing


def test_a_device_is_shown_with_all_that_is_known(cli: Cli, house: House) -> None:
    shown = dict(line.split(maxsplit=1) for line in cli("devices", "show", "Lamp").out.splitlines())
    assert shown["name"] == "Lamp"
    assert shown["id"] == house.devices["Lamp"].id
    assert shown["may"] == "read /sensors/**, write /control/lamp"
    assert shown["from"] == "192.0.2.20 curl/8.5.0"
    assert "by pin, let in by pin" in shown["paired"]
    assert shown["ends"].endswith("unless it refreshes before")


def test_what_cannot_be_seen_in_a_pattern_is_written_out(cli: Cli, house: House) -> None:
    permissions = Permissions.parse({"read": ["/a\u202eb", "/c\ufe0f"]})
    keep(house.folder, device := a_device(permissions=permissions, expires_at=time.time() + LIFE))
    assert "read /a\\u202eb /c\\ufe0f" in cli("devices", "show", device.id).out


def test_a_device_of_an_oauth_client_is_shown_with_it(cli: Cli, house: House) -> None:
    now = time.time()
    device = a_device(name="TV", client_id="tv-app", seen_at=now, created_at=now)
    keep(house.folder, device)
    house.do(lambda pairlock: touch(pairlock, device.id, now - 7200))
    shown = dict(line.split(maxsplit=1) for line in cli("devices", "show", "TV").out.splitlines())
    assert (shown["client"], shown["seen"]) == ("tv-app", "2 h ago")
    assert "ends" not in shown


async def touch(pairlock: Pairlock, device_id: str, at: float) -> None:
    await (await pairlock._runtime.ready()).touch({device_id: at})


def test_a_device_gets_another_name(cli: Cli, house: House) -> None:
    assert cli("devices", "rename", "Lamp", "Light").out == '"Lamp" is now "Light".\n'
    assert cli("devices", "rename", "Light", "Sun", "--json").json["name"] == "Sun"
    assert names(cli) == ["Sun", "My Phone"]


@pytest.mark.parametrize("name", ["", "  ", "\u202e", "x" * 65])
def test_a_name_that_cannot_be_seen_or_is_too_long_is_refused(cli: Cli, house: House, name: str) -> None:
    refused = cli("devices", "rename", "Lamp", name)
    assert refused.code == FAILED
    assert "name" in refused.err
    assert names(cli) == ["Lamp", "My Phone"]


def test_a_device_is_narrowed_and_what_it_had_is_said(cli: Cli, house: House) -> None:
    narrowed = cli("devices", "narrow", "Lamp", "--read", "/sensors/a", "--read", "/sensors/b")
    assert narrowed.out == (
        '"Lamp" may do less now: read /sensors/**, write /control/lamp → read /sensors/a /sensors/b\n'
    )
    narrower = cli("devices", "narrow", "Lamp", "--nothing", "--json")
    assert narrower.json["permissions"] == {"read": [], "write": []}


def test_a_device_is_never_widened(cli: Cli, house: House) -> None:
    wider = cli("devices", "narrow", "Lamp", "--write", "/**")
    assert wider.code == REFUSED
    assert "write:/**" in wider.err
    assert cli("devices", "narrow", "Lamp", "--write", "/**", "--json").json["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "--nothing"),
        (("--nothing", "--read", "/a"), "--nothing"),
        (("--read", "sensors"), "must start with /"),
        (("--write", "/x/room*"), "write * for any one segment"),
        ([f"--read=/{at}" for at in range(65)], "at most 64 patterns"),
    ],
)
def test_what_is_left_must_be_said_in_patterns(cli: Cli, house: House, given: tuple[str, ...], said: str) -> None:
    refused = cli("devices", "narrow", "Lamp", *given)
    assert refused.code == USAGE
    assert said in refused.err


def test_a_revoked_device_is_gone(cli: Cli, house: House) -> None:
    revoked = cli("devices", "revoke", "My Phone")
    assert revoked.out == f'Revoked "My Phone" ({house.devices["My Phone"].id}): it is shut out.\n'
    assert names(cli) == ["Lamp"]
    assert cli("devices", "revoke", "Lamp", "--json").json["name"] == "Lamp"


@pytest.mark.anyio
async def test_running_servers_hear_of_it(tmp_path: Path) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    server = service(tmp_path)
    device = await pair(server, "Phone")
    token, _ = server.tokens.access(device)
    grant = await server.verify(token)
    narrow = await asyncio.to_thread(
        run_process, "devices", "narrow", "Phone", "--read", "/sensors/a", "--json", cwd=tmp_path
    )
    assert narrow.json["permissions"]["write"] == []
    await until(lambda: not grant.allows("write", "/control/lamp"), seconds=30)
    revoke = await asyncio.to_thread(run_process, "devices", "revoke", "Phone", cwd=tmp_path)
    assert (revoke.code, revoke.err) == (0, "")
    await until(lambda: grant.revoked, seconds=30)
    with pytest.raises(InvalidToken):
        await server.verify(token)
    told = [(event.type.value, event.by) for event in await server.audit.list(limit=2)]
    assert [what for what, _ in told] == ["revoked", "narrowed"]
    assert all(by.startswith("operator:") and by.endswith("terminal") for _, by in told)
    await server.aclose()


# Revoking all


@pytest.mark.parametrize("typed", ["y\n2\n", "y\nREVOKE\n"])
def test_all_are_revoked_once_both_questions_say_so(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, typed)
        assert cli("devices", "revoke-all").out == "Revoked 2 devices.\n"
    assert "2 devices will be shut out" in asked.getvalue()
    assert "Type 2 or the word revoke" in asked.getvalue()
    assert names(cli) == []


@pytest.mark.parametrize("typed", ["n\n", "y\n3\n", "y\nyes\n"])
def test_none_is_revoked_unless_both_say_so(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, typed)
        assert cli("devices", "revoke-all").code == FAILED
    assert asked.getvalue().endswith("Nothing has changed.\n")
    assert len(names(cli)) == 2


@pytest.mark.parametrize("typed", ["", "y\n"])
def test_whoever_goes_away_instead_of_answering_changes_nothing(
    cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    with monkeypatch.context() as patched:
        asked = at_a_terminal(patched, typed)
        assert cli("devices", "revoke-all").code == INTERRUPTED
    assert asked.getvalue().endswith("Interrupted.\n")
    assert len(names(cli)) == 2


def test_where_nobody_can_be_asked_all_are_revoked_only_with_yes(cli: Cli, house: House) -> None:
    refused = cli("devices", "revoke-all")
    assert refused.code == USAGE
    assert "give --yes" in refused.err
    assert len(names(cli)) == 2
    assert cli("devices", "revoke-all", "--yes", "--json").json == {"revoked": 2}
    assert cli("devices", "revoke-all").out == "No devices are paired.\n"


def test_one_device_is_no_devices(cli: Cli, house: House) -> None:
    cli("devices", "revoke", "Lamp")
    assert cli("devices", "revoke-all", "--yes").out == "Revoked 1 device.\n"


def test_revoking_many_shows_how_far_it_is(cli: Cli, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(house, 450)
    monkeypatch.setenv("TERM", "xterm-256color")
    with monkeypatch.context() as patched:
        shown = at_a_terminal(patched, "")
        assert cli("devices", "revoke-all", "--yes").out == "Revoked 452 devices.\n"
    assert "Revoking" in shown.getvalue()
    assert "/452" in shown.getvalue()


@pytest.mark.anyio
async def test_whoever_stops_it_is_told_how_many_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house = await asyncio.to_thread(make_house, tmp_path)
    await asyncio.to_thread(fill, house, 3)
    pairlock = service(tmp_path)
    await pairlock.start()
    operating = Operating(Configuration({}), pairlock, Operator("ada"))
    revoking = asyncio.create_task(_revoke_all(Terminal(as_json=False), operating, 3))
    await asyncio.sleep(0)
    revoking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await revoking
    assert capsys.readouterr().err == "3 devices left paired. Run it again to revoke them too.\n"
    await pairlock.aclose()


@pytest.mark.anyio
async def test_what_else_happens_meanwhile_is_not_counted(tmp_path: Path) -> None:
    await asyncio.to_thread(make_house, tmp_path)
    pairlock = service(tmp_path)
    device = await pair(pairlock, "Phone")
    counted: list[str | None] = []
    telling = asyncio.create_task(_tell(Operating(Configuration({}), pairlock, Operator("ada")), counted.append))
    await asyncio.sleep(0)
    await pairlock.devices.rename(device.id, "Old Phone")
    await pairlock.devices.revoke(device.id)
    await until(lambda: bool(counted), seconds=30)
    telling.cancel()
    assert counted == [device.id]
    await pairlock.aclose()


# In a terminal, and as the help says


@pytest.fixture
def started(tmp_path: Path) -> House:
    return make_house(tmp_path, devices=["My Phone", "Lamp", "Radio"])


def test_each_command_works_in_a_terminal(started: House) -> None:
    folder = started.folder
    for arguments, said in [
        (("list",), "read /sensors/**, write /control/lamp"),
        (("show", "Lamp"), "let in by pin"),
        (("rename", "Lamp", "Light"), '"Lamp" is now "Light".'),
        (("narrow", "Light", "--nothing"), "→ nothing"),
        (("revoke", "Light"), 'Revoked "Light"'),
    ]:
        with in_terminal("devices", *arguments, cwd=folder) as child:
            ended = end_of(child)
        assert said in ended.out, ended.out
        assert ended.code == 0
    with in_terminal("devices", "revoke-all", cwd=folder) as child:
        child.expect_exact("2 devices will be shut out")
        child.sendline("y")
        child.expect_exact("Type 2 or the word revoke")
        child.sendline("2")
        ended = end_of(child)
    assert ended.code == 0
    assert "Revoked 2 devices." in ended.out


@pytest.mark.parametrize("keys", ["\x03", "y\r\x03"])
def test_ctrl_c_at_a_question_changes_nothing(started: House, keys: str) -> None:
    with in_terminal("devices", "revoke-all", cwd=started.folder) as child:
        for question, key in zip(("Go on?", "Type 3"), keys.split("\r"), strict=False):
            child.expect_exact(question)
            child.send(key if key == "\x03" else f"{key}\r")
        ended = end_of(child)
    assert ended.code == 130
    assert ended.out.endswith("Interrupted.\n")
    assert len(json.loads(run_process("devices", "list", "--json", cwd=started.folder).out)["devices"]) == 3


@pytest.mark.parametrize("arguments", [("list",), ("show", "Lamp"), ("rename", "Lamp", "x"), ("revoke-all", "--yes")])
def test_each_command_speaks_json_in_a_process_of_its_own(started: House, arguments: tuple[str, ...]) -> None:
    ended = run_process("devices", *arguments, "--json", cwd=started.folder)
    assert (ended.code, ended.err) == (0, "")
    assert isinstance(ended.json, dict)


@pytest.mark.parametrize("example", examples_of(devices_group))
def test_the_examples_in_the_help_work(started: House, example: str) -> None:
    ended = run_example(example, started.folder)
    assert (ended.code, ended.err) == (0, ""), ended
