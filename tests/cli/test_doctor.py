"""`pairlock doctor`: what it says of a house that is well, and of each thing that is not."""

import asyncio
import datetime as dt
import json
import socket
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.x509.oid import NameOID

from pairlock import Pairlock
from pairlock._core.events import service_event
from pairlock._core.records import EventType
from pairlock.cli.examination.checks import Finding
from pairlock.cli.examination.doctor import doctor, examine
from pairlock.cli.examination.store_checks import check_health
from pairlock.stores.contract import Log
from tests.cli.parts import TIMEOUT, House, call, end_of, in_terminal, make_house, run_example, run_process, service
from tests.services.parts import KEY, OTHER_KEY

NOW = time.time()
DAY = dt.timedelta(days=1)
TODAY = dt.datetime.fromtimestamp(NOW, dt.UTC)
SECRET = "a-secret-of-more-than-sixteen"
CONFIGURATION = """\
server:
  security:
    pairing:
      default_permissions:
        read: [/sensors/**]
        write: [/control/lamp]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own, without credentials."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house in which all is well, and where the tests are."""
    made = make_house(tmp_path / "house", devices=["Phone", "Lamp"], requests=["Tablet"])
    monkeypatch.chdir(made.folder)
    write(CONFIGURATION)
    return made


def found(
    config: Path | None = None,
    store: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    now: float | None = None,
) -> list[Finding]:
    def clock() -> float:
        return time.time() if now is None else now

    return asyncio.run(examine(config, store, environ=environ or {}, now=clock))


def of(name: str, findings: list[Finding]) -> tuple[str, str]:
    """Status and detail of the one finding of this name."""
    (one,) = [finding for finding in findings if finding.name == name]
    return one.status, one.detail


def write(text: str, name: str = "pairlock.yaml") -> None:
    Path(name).write_text(text)


def pairing(*lines: str) -> str:
    return CONFIGURATION + "".join(f"      {line}\n" for line in lines)


def serving(*lines: str) -> str:
    return CONFIGURATION.replace("server:\n", "server:\n" + "".join(f"  {line}\n" for line in lines))


# The app


@pytest.mark.parametrize(
    ("app", "says"),
    [
        ("home.app", "write MODULE:APP"),
        ("nomod:app", "there is no module nomod in "),
        ("home.rooms:app", "there is no module home.rooms in "),
        ("rooms.kitchen:app", "there is no module rooms.kitchen in "),
    ],
)
def test_an_app_that_serve_would_not_find_is_a_problem(house: House, app: str, says: str) -> None:
    Path("home.py").write_text("raise SystemExit('it was run')")
    Path("rooms").mkdir()
    Path("rooms/__init__.py").write_text("raise SystemExit('it was run')")
    write(serving(f"app: {app}"))
    status, detail = of("app", found())
    assert status == "problem"
    assert detail.startswith(f"{app}: {says}")


@pytest.mark.parametrize("app", ["home:nope", "rooms.kitchen:app"])
def test_an_app_is_looked_for_and_not_run(house: House, app: str) -> None:
    Path("rooms").mkdir()
    for file in ("home.py", "rooms/__init__.py", "rooms/kitchen.py"):
        Path(file).write_text("raise SystemExit('it was run')")
    write(serving(f"app: {app}"))
    module, _, attribute = app.partition(":")
    says = f"the module {module} is there; `pairlock serve` runs it, and looks for {attribute} in it"
    assert of("app", found()) == ("ok", says)


# The command


def test_all_is_well_in_a_house_that_is_well(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "doctor")
    assert (outcome.code, outcome.err) == (0, "")
    *lines, last = outcome.out.splitlines()
    assert last == "All is well."
    assert [line.split("  ")[0].strip() for line in lines] == ["ok"] * 10
    assert "read from pairlock.yaml" in lines[0]
    assert lines[1].endswith("read /sensors/**, write /control/lamp")
    assert lines[2].endswith("it answers, and has the schema of this version; 2 paired devices")
    assert lines[-3].endswith("1 key in pairlock.db.keys")


def test_as_json_each_check_has_name_status_and_detail(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = call(capsys, "doctor", "--json")
    assert outcome.code == 0
    assert outcome.json["ok"] is True
    assert [check["name"] for check in outcome.json["checks"]] == [
        *("configuration", "default permissions", "store", "clock", "PIN method", "window", "requests"),
        *("keys", "TLS", "files"),
    ]
    assert {check["status"] for check in outcome.json["checks"]} == {"ok"}
    assert all(set(check) == {"name", "status", "detail"} for check in outcome.json["checks"])


def test_a_problem_makes_an_exit_code_and_a_warning_does_not(
    house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRLOCK_PIN_LENGHT", "8")
    warned = call(capsys, "doctor")
    assert (warned.code, warned.out.splitlines()[-1]) == (0, "1 warning.")
    Path("pairlock.db").chmod(0o644)
    Path("pairlock.db.keys").chmod(0o644)
    ill = call(capsys, "doctor")
    assert (ill.code, ill.out.splitlines()[-1]) == (1, "2 problems and 1 warning.")
    assert call(capsys, "doctor", "--json").json["ok"] is False


def test_it_says_the_same_in_a_terminal(house: House) -> None:
    with in_terminal("doctor", cwd=house.folder, environ={"XDG_CONFIG_HOME": str(house.folder)}) as child:
        outcome = end_of(child)
    assert outcome.code == 0
    assert "ok       store                it answers" in outcome.out
    assert outcome.out.rstrip().endswith("All is well.")


def test_it_says_the_same_to_a_script(house: House) -> None:
    Path("pairlock.yaml").unlink()
    outcome = run_process("doctor", "--json", "--store", "sqlite:///gone.db", cwd=house.folder)
    told = json.loads(outcome.out)
    assert (outcome.code, outcome.err, told["ok"]) == (1, "", False)
    assert not Path("gone.db").exists()


@pytest.mark.parametrize("example", doctor.examples)
def test_the_examples_of_its_help_work(example: str, house: House) -> None:
    assert run_example(example, house.folder).code == 0


def test_ctrl_c_ends_it_in_one_line(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/house?timeout=5"
        environ = {"PAIRLOCK_SECRET_KEYS": KEY}
        with in_terminal("doctor", "--store", url, cwd=house.folder, environ=environ) as child:
            silent.settimeout(TIMEOUT)
            with silent.accept()[0]:  # it asks, and waits for an answer
                child.sendintr()
                outcome = end_of(child)
    assert (outcome.code, outcome.out.replace("^C", "").strip()) == (130, "Interrupted.")


def test_a_file_that_is_named_and_missing_is_all_there_is_to_say(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "doctor", "--config", "missing.yaml").out.splitlines() == [
        "problem  configuration  missing.yaml: there is no such file",
        "1 problem.",
    ]


# Configuration


def test_each_error_of_a_file_is_a_problem_of_its_own(house: House) -> None:
    write(pairing("pin_length: six", "colour: red"))
    assert [(finding.name, finding.status, finding.detail.split(": ")[0]) for finding in found()] == [
        ("configuration", "problem", "pairlock.yaml:7"),
        ("configuration", "problem", "pairlock.yaml:8"),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pairing("pin_length: 3"), "pairlock.yaml:7: server.security.pairing.pin_length: 3 is no whole number from 4"),
        (serving("at: pair"), "pairlock.yaml:2: server.at: 'pair': must start with /"),
        (serving("origins: [x]"), "pairlock.yaml:2: server.origins: "),
    ],
)
def test_what_would_keep_a_service_from_starting_is_a_problem(house: House, text: str, says: str) -> None:
    write(text)
    status, detail = of("configuration", found())
    assert status == "problem"
    assert detail.startswith(says)


def test_a_misspelt_variable_is_warned_of_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    says = "PAIRLOCK_PIN_LENGHT: there is no such setting; did you mean PAIRLOCK_PIN_LENGTH?"
    assert of("environment", found(environ={"PAIRLOCK_PIN_LENGHT": "8"})) == ("warning", says)
    assert caplog.records == []


def test_without_a_file_it_says_so(house: House) -> None:
    Path("pairlock.yaml").unlink()
    assert of("configuration", found()) == ("ok", "no file: environment and defaults only")
    assert of("default permissions", found())[0] == "warning"


def test_writing_everything_by_default_is_warned_of(house: House) -> None:
    write(CONFIGURATION.replace("/control/lamp", "/**"))
    status, detail = of("default permissions", found())
    assert status == "warning"
    assert detail.startswith("read /sensors/**, write /**: who pairs by PIN may write everything")


def test_a_house_can_be_looked_at_from_elsewhere(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    write(pairing("store: sqlite:///pairlock.db"))
    monkeypatch.chdir("/")
    assert {finding.status for finding in found(house.folder / "pairlock.yaml")} == {"ok"}


def test_what_is_logged_of_settings_is_logged_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    write(pairing("issuer: http://house.example/pair"))
    caplog.clear()
    found()
    assert ["is not encrypted" in record.getMessage() for record in caplog.records] == [True]


# Store


def test_a_store_that_is_missing_is_a_problem_and_is_not_made(house: House) -> None:
    findings = found(store="sqlite:///gone.db")
    status, detail = of("store", findings)
    assert (status, detail.split(";")[0]) == ("problem", "there is no gone.db")
    assert of("keys", findings)[0] == "warning"
    assert of("clock", findings)[0] == "ok"
    assert of("files", findings)[0] == "ok"
    assert not list(house.folder.glob("gone*"))


def test_an_empty_file_is_not_made_a_store(house: House) -> None:
    Path("empty.db").touch(mode=0o600)
    assert of("store", found(store="sqlite:///empty.db"))[0] == "problem"
    assert Path("empty.db").stat().st_size == 0


def test_a_file_that_is_no_store_is_a_problem(house: House) -> None:
    Path("text.db").write_text("no database" * 100)
    assert of("store", found(store="sqlite:///text.db"))[0] == "problem"


def test_what_cannot_be_looked_at_is_a_problem(house: House) -> None:
    findings = found(store=f"sqlite:///{'x' * 300}.db")
    assert of("store", findings)[1].endswith("(File name too long); run this as the user of the service")
    assert of("keys", findings) == (
        "problem",
        "they cannot be looked at (File name too long); run this as the user of the service",
    )


def test_a_store_in_memory_is_warned_of(house: House) -> None:
    findings = found(store="memory://")
    assert of("store", findings) == ("warning", "memory:// forgets all devices with its process")
    assert of("keys", findings) == ("ok", "made anew at each start, as memory:// does")


def test_a_server_that_does_not_answer_is_a_problem(house: House) -> None:
    findings = found(store="postgresql://127.0.0.1:1/house?timeout=2")
    assert of("store", findings)[0] == "problem"
    assert of("keys", findings) == (
        "problem",
        "PAIRLOCK_SECRET_KEYS is not set here, and this store keeps no key file: set it for the service",
    )


def test_a_store_of_another_version_is_a_problem(house: House) -> None:
    async def look(pairlock: Pairlock) -> Finding:
        with sqlite3.connect("pairlock.db") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        return await check_health(pairlock)

    assert house.do(look).status == "problem"
    assert of("store", found())[1].startswith("pairlock.db has schema version 99, this pairlock knows")


def test_what_waits_and_who_is_paired_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_house(tmp_path / "one", devices=["Phone"])
    monkeypatch.chdir(tmp_path / "one")
    assert of("store", found())[1].endswith("; 1 paired device")
    assert of("requests", found()) == ("ok", "no devices waiting for a decision")
    make_house(tmp_path / "many", requests=[f"Phone {n}" for n in range(100)])
    monkeypatch.chdir(tmp_path / "many")
    assert of("store", found())[1].endswith("; no paired devices")
    assert of("requests", found()) == ("ok", "100 or more devices waiting for a decision")


def test_nothing_is_changed_by_looking(house: House) -> None:
    async def last(pairlock: Pairlock) -> Any:
        return await pairlock.audit.list(limit=1)

    before = house.do(last), house.key_file.read_bytes(), sorted(Path().iterdir())
    found()
    assert (house.do(last), house.key_file.read_bytes(), sorted(Path().iterdir())) == before


# PIN method and window


def test_a_held_pin_method_is_warned_of(house: House) -> None:
    assert of("PIN method", found()) == ("ok", "PINs may be tried")
    write(pairing("limits: {wrong_pins_in_a_row: 1, wrong_pins_a_day: 1}"))

    async def guess(pairlock: Pairlock) -> None:
        started = await pairlock.pairing.start("Guesser")
        pin = pairlock.deciding.pin(started.request)
        wrong = "000000" if pin != "000000" else "111111"
        with pytest.raises(Exception, match="PIN"):
            await pairlock.pairing.submit_pin(started.request.id, started.secret, wrong)

    house.do(guess)
    status, detail = of("PIN method", found())
    assert (status, detail.split(";")[0]) == ("warning", "held after too many wrong PINs")


def test_the_window_is_told_as_it_is(house: House) -> None:
    assert of("window", found()) == ("ok", "nobody has opened or closed it; `pairlock serve` begins with it closed")
    write(pairing("window_open: true"))
    assert of("window", found()) == ("ok", "open until it is closed")
    house.do(lambda pairlock: pairlock.window.open(300))
    status, detail = of("window", found())
    assert (status, detail) == ("ok", "open for 5:00")
    house.do(lambda pairlock: pairlock.window.close())
    assert of("window", found()) == ("ok", "closed")
    write(pairing("enabled: false"))
    assert of("window", found()) == ("warning", "the settings say enabled: false, so nobody can pair")


# Clock


def test_a_clock_behind_the_newest_event_is_a_problem(house: House) -> None:
    async def happen(pairlock: Pairlock) -> None:
        event = service_event(EventType.WINDOW_OPENED, time.time() + 600, "test")
        await (await pairlock._runtime.ready()).commit(Log(event))

    house.do(happen)
    status, detail = of("clock", found())
    assert status == "problem"
    assert detail.startswith(("the newest event in the store is 10:00 ahead", "the newest event in the store is 9:5"))


@pytest.mark.parametrize("now", [0.0, 5_000_000_000.0])
def test_a_clock_of_another_time_is_a_problem(house: House, now: float) -> None:
    status, detail = of("clock", found(store="memory://", now=now))
    assert (status, detail[:11]) == ("problem", "it says 197" if now == 0 else "it says 212")


# Keys


def test_keys_of_the_environment_are_counted_and_not_shown(house: House) -> None:
    status, detail = of("keys", found(environ={"PAIRLOCK_SECRET_KEYS": f"{KEY},{OTHER_KEY}"}))
    assert (status, detail) == ("ok", "2 keys, of which the newest signs, from PAIRLOCK_SECRET_KEYS")


def test_a_key_file_that_others_may_read_is_a_problem(house: House) -> None:
    house.key_file.chmod(0o640)
    findings = found()
    assert of("keys", findings) == (
        "problem",
        "pairlock.db.keys: others may read these secret keys; run: chmod 600 pairlock.db.keys",
    )
    assert of("store", findings)[0] == "ok"


def test_a_missing_key_file_is_not_made(house: House) -> None:
    house.key_file.unlink()
    status, detail = of("keys", found())
    assert (status, detail.split(";")[0]) == ("warning", "there is no pairlock.db.keys")
    assert not house.key_file.exists()


# Files


@pytest.mark.parametrize("name", ["pairlock.db", "pairlock.db-wal", "pairlock.db-shm"])
def test_a_database_that_others_may_read_is_a_problem(house: House, name: str) -> None:
    async def look(_: Pairlock) -> tuple[str, str]:  # while a service runs: then these files are there
        def look_too() -> tuple[str, str]:
            Path(name).chmod(0o604)
            return of("files", found())

        return await asyncio.to_thread(look_too)

    assert house.do(look) == ("problem", f"others may read {name}; run: chmod 600 {name}")


@pytest.mark.parametrize(
    "lines",
    [
        [f"resource_servers: {{grafana: {SECRET}}}"],
        [f"clients: [{{id: tv, secret: {SECRET}}}]"],
        ["store: postgresql://ann:word@127.0.0.1:1/house?timeout=1"],
    ],
)
def test_a_configuration_with_secrets_that_others_may_read_is_a_problem(house: House, lines: list[str]) -> None:
    write(pairing(*lines))
    Path("pairlock.yaml").chmod(0o644)
    assert of("files", found()) == ("problem", "others may read pairlock.yaml; run: chmod 600 pairlock.yaml")


def test_a_configuration_without_secrets_may_be_read(house: House) -> None:
    write(pairing("clients: [id: tv]", "store: sqlite:///pairlock.db"))
    Path("pairlock.yaml").chmod(0o644)
    assert of("files", found(environ={"PAIRLOCK_RESOURCE_SERVERS": f'{{"a": "{SECRET}"}}'}))[0] == "ok"


def test_credentials_that_others_may_read_or_replace_are_problems(house: House, home: Path) -> None:
    folder = home / "pairlock"
    folder.mkdir(parents=True)
    (folder / "tokens.json").write_text("{}")
    (folder / "tokens.json").chmod(0o644)
    folder.chmod(0o777)
    assert [finding.detail for finding in found() if finding.name == "files"] == [
        f"others may read {folder}/tokens.json; run: chmod 600 {folder}/tokens.json",
        f"others may put files into {folder}; run: chmod o-w {folder}",
    ]
    folder.chmod(0o1777)  # as /tmp
    (folder / "tokens.json").chmod(0o600)
    assert of("files", found())[0] == "ok"


def test_without_a_home_there_are_no_credentials(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert of("files", found())[0] == "ok"


def test_what_is_to_be_typed_is_quoted(house: House, home: Path) -> None:
    Path("my house.db").write_bytes(Path("pairlock.db").read_bytes())
    Path("my house.db").chmod(0o666)
    assert of("files", found(store="sqlite:///my house.db"))[1].endswith("; run: chmod 600 'my house.db'")


# TLS

PrivateKey = ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey


def certify(
    name: str = "house",
    *,
    key: PrivateKey | None = None,
    hosts: tuple[str, ...] = ("house.example", "*.house.example"),
    days: float = 90,
) -> None:
    """Make `name`.pem and `name`.key: a certificate that signs itself, for so many days."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "house")])
    end = TODAY + days * DAY
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(min(TODAY, end) - DAY).not_valid_after(end)
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    Path(f"{name}.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    Path(f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    Path(f"{name}.key").chmod(0o600)


TLS = "tls: {certificate: house.pem, key: house.key}"


def test_a_certificate_is_told_with_its_hosts_and_its_end(house: House) -> None:
    certify()
    write(serving(TLS))
    status, detail = of("TLS", found())
    assert status == "ok"
    assert detail.startswith("house.pem is for house.example, *.house.example until 20")


def test_a_certificate_may_hold_its_key(house: House) -> None:
    certify(hosts=())
    Path("both.pem").write_bytes(Path("house.pem").read_bytes() + Path("house.key").read_bytes())
    Path("both.pem").chmod(0o644)
    write(serving("tls: {certificate: both.pem}"))
    assert of("TLS", found())[1].startswith("both.pem is for no host until ")
    assert of("files", found()) == ("problem", "others may read both.pem; run: chmod 600 both.pem")


def test_a_certificate_that_ends_within_three_weeks_is_warned_of(house: House) -> None:
    certify(days=20.9)
    write(serving(TLS))
    status, detail = of("TLS", found())
    assert (status, detail[-10:]) == ("warning", "; renew it")
    certify(days=21.1)
    assert of("TLS", found())[0] == "ok"


def test_a_certificate_that_has_ended_is_a_problem(house: House) -> None:
    certify(days=-1)
    write(serving(TLS))
    assert of("TLS", found()) == ("problem", "house.pem: certificate has expired; get a new certificate")


@pytest.mark.parametrize(
    ("issuer", "status"),
    [
        ("https://house.example/pair", "ok"),
        ("https://a.house.example:8443/pair", "ok"),
        ("https://other.example/pair", "problem"),
        ("https://192.0.2.7/pair", "problem"),
    ],
)
def test_a_certificate_has_to_be_for_the_host_of_the_issuer(house: House, issuer: str, status: str) -> None:
    certify()
    write(serving(TLS) + f"      issuer: {issuer}\n")
    told, detail = of("TLS", found())
    assert told == status
    assert ("certificate is not valid for" in detail) == (status == "problem")


def test_a_key_of_another_certificate_is_a_problem(house: House) -> None:
    certify("other")
    certify()
    write(serving("tls: {certificate: house.pem, key: other.key}"))
    status, detail = of("TLS", found())
    assert (status, "other.key" in detail) == ("problem", True)


def test_a_certificate_that_is_missing_is_a_problem(house: House) -> None:
    write(serving(TLS))
    status, detail = of("TLS", found())
    assert (status, detail) == ("problem", "house.pem: it cannot be read: No such file or directory")


def test_a_certificate_that_nobody_can_use_is_a_problem(house: House) -> None:
    certify(key=dsa.generate_private_key(2048))
    write(serving(TLS))
    status, detail = of("TLS", found())
    assert status == "problem"
    assert detail.startswith("house.pem")


def test_a_key_that_others_may_read_is_a_problem(house: House) -> None:
    certify()
    write(serving(TLS))
    Path("house.key").chmod(0o644)
    assert of("files", found()) == ("problem", "others may read house.key; run: chmod 600 house.key")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_certificate(house: House, host: str) -> None:
    write(serving(f"host: '{host}'"))
    assert of("TLS", found()) == ("ok", f"none; {host} is reached from this machine only")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "house.example"])
def test_other_addresses_without_a_certificate_are_a_problem_unless_a_proxy_encrypts(house: House, host: str) -> None:
    write(serving(f"host: '{host}'"))
    status, detail = of("TLS", found())
    assert (status, detail.split(" may ")[0]) == ("problem", f"none, and {host}")
    write(serving(f"host: '{host}'") + "      trusted_proxies: [10.0.0.0/8]\n")
    assert of("TLS", found()) == ("ok", "none here; the trusted proxies are to encrypt")


# Other stores


def test_a_house_on_postgresql_is_looked_at_too(house: House, postgres: Any) -> None:
    url = postgres.url()

    async def start() -> None:
        pairlock = service(house.folder, store=url, secret_keys=[KEY])
        await pairlock.start()
        await pairlock.aclose()

    asyncio.run(start())
    findings = found(store=url, environ={"PAIRLOCK_SECRET_KEYS": KEY})
    assert {finding.status for finding in findings} == {"ok"}
    assert of("keys", findings) == ("ok", "1 key from PAIRLOCK_SECRET_KEYS")
