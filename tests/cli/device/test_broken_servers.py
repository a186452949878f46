"""What is not as it should be on the way to a service, and at it: one clear line, an exit code, nothing lost."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from starlette.responses import Response

from pairlock import Limits
from pairlock.cli.outcomes import DONE, EXPIRED, NOT_PAIRED, REFUSED, UNREACHABLE, USAGE
from tests.cli.device.certificates import certified
from tests.cli.device.parts import PATIENCE, Home, House, Service, Typist, meanwhile, paired, typing, until
from tests.cli.parts import Cli, Outcome, at_a_terminal, run_process
from tests.servers import free_port
from tests.services.parts import KEY, FailingStore, away

ELSEWHERE = "https://elsewhere.example/"
FEW = Limits(wrong_pins_in_a_row=1)
EVIL = '{"server": {"id": "x", "name": "\\u001b[2J\\u202eevil"}}'


def one_line(outcome: Outcome, code: int, said: str) -> None:
    """A command ended with this code, and one line on stderr that says this."""
    assert (outcome.code, outcome.out) == (code, "")
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert said in outcome.err
    assert outcome.err.rstrip("\n").isprintable()


def last_line(outcome: Outcome, code: int, said: str) -> None:
    """The same, of one that had asked the service before."""
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err


def answering(status: int, body: str = "", **headers: str) -> Service:
    """A web server that says the same to everybody."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(body, status, {name.replace("_", "-"): value for name, value in headers.items()})(
            scope, receive, send
        )

    return Service(app)


# Addresses


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("127.0.0.1:1", UNREACHABLE, "http://127.0.0.1:1 cannot be reached (connection refused)"),
        ("no-such-host.invalid", UNREACHABLE, "https://no-such-host.invalid: there is no host of this name"),
        ("http://house.example", REFUSED, "http://house.example is not encrypted"),
        ("http://192.0.2.1:8000/pair", REFUSED, "http://192.0.2.1:8000 is not encrypted"),
        ("ftp://house.example", USAGE, "it is neither http nor https"),
        ("", USAGE, "is no address of a service"),
        ("my house", USAGE, "is no address of a service"),
        ("http://127.0.0.1:99999", USAGE, "is no address of a service"),
        ("http://127.0.0.1/?pin=1", USAGE, "leave out user name, query and fragment"),
        ("http://ann:secret@127.0.0.1", USAGE, "leave out user name, query and fragment"),
        ("http://[::1", USAGE, "is no address of a service"),
        ("http://127.0.0.1/\x1b[31m", USAGE, "is no address of a service"),
    ],
)
@pytest.mark.parametrize("command", ["pair", "login"])
def test_an_address_where_no_service_can_be(home: Home, cli: Cli, command: str, url: str, code: int, said: str) -> None:
    one_line(cli(command, url), code, said)
    refused = cli(command, url, "--json")
    assert (refused.code, refused.err, set(refused.json)) == (code, "", {"error", "error_description"})
    assert home.bytes() is None


# Other servers


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (partial(answering, 404, "Not here"), UNREACHABLE, "answers, but there is no pairlock"),
        (partial(answering, 500, "Oh no"), UNREACHABLE, "answers, but there is no pairlock"),
        (partial(answering, 200, "<html>Hello</html>"), UNREACHABLE, "answers, but there is no pairlock"),
        (partial(answering, 200, '{"hello": "world"}'), UNREACHABLE, "answers, but there is no pairlock"),
        (partial(answering, 302, location=ELSEWHERE), UNREACHABLE, f"leads on to {ELSEWHERE}"),
        (partial(answering, 401, "Who?"), UNREACHABLE, "answers, but there is no pairlock"),
        (partial(answering, 502, "Bad gateway"), UNREACHABLE, "The service cannot answer safely just now."),
        (partial(answering, 503, retry_after="7"), UNREACHABLE, "7 seconds"),
        (partial(answering, 429, retry_after="7"), REFUSED, "7 seconds"),
        (partial(answering, 200, EVIL), UNREACHABLE, "answers, but not as pairlock does"),
        (partial(answering, 200, "x" * (2 << 20)), UNREACHABLE, "answers far too much"),
        (partial(answering, 404, '{"error": "\\u001b[2J"}'), UNREACHABLE, "answers, but there is no pairlock"),
    ],
)
def test_a_server_that_is_no_pairlock(
    home: Home, cli: Cli, answer: Callable[[], Service], code: int, said: str
) -> None:
    with answer() as other:
        for url in (other.url, f"{other.url}/pair", f"{other.url}/a/b/"):
            one_line(cli("pair", url), code, said)
        assert cli("login", other.url, "--json").code == code
    assert home.bytes() is None


# Encryption


def test_a_certificate_of_ones_own_authority(tmp_path: Path, home: Home, cli: Cli) -> None:
    certificate, key, authority = certified(tmp_path)
    with House(tmp_path / "house", tls=(certificate, key)) as house:
        unknown = cli("login", house.url, "--code", house.code())
        last_line(unknown, UNREACHABLE, "the certificate of this server is not to be trusted")
        assert "--ca FILE" in unknown.err
        assert cli("login", house.url, "--code", house.code(), "--ca", str(authority)).code == DONE
        assert (cli("whoami").code, cli("logout").code, house.devices()) == (DONE, DONE, [])


def test_an_authority_that_is_none(tmp_path: Path, home: Home, house: House, cli: Cli) -> None:
    (tmp_path / "empty.pem").write_text("")
    for ca in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        refused = cli("pair", house.url, "--ca", str(ca))
        assert (refused.code, refused.out) == (USAGE, "")
        assert str(ca) in refused.err.splitlines()[-1]
    assert house.pending() == []


def test_https_where_plain_http_is_spoken_and_the_other_way_round(tmp_path: Path, home: Home, cli: Cli) -> None:
    certificate, key, _ = certified(tmp_path)
    with House(tmp_path / "plain") as plain:
        one_line(cli("pair", f"https://127.0.0.1:{plain.port}"), UNREACHABLE, "does it speak plain http://?")
    with House(tmp_path / "encrypted", tls=(certificate, key)) as encrypted:
        one_line(cli("pair", f"http://127.0.0.1:{encrypted.port}"), UNREACHABLE, "cannot be reached")


# Refusals of the service


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"enabled": False}, REFUSED, "Pairing is switched off on this service."),
        ({"window_open": False}, REFUSED, "The pairing window is closed."),
        ({"pin_timeout": 1.5}, EXPIRED, "This pairing request has expired."),
    ],
)
def test_a_service_that_lets_nobody_in(
    tmp_path: Path, home: Home, cli: Cli, settings: dict[str, Any], code: int, said: str
) -> None:
    with House(tmp_path / "house", **settings) as house:
        last_line(cli("pair", house.url), code, said)
        assert (house.devices(), house.pending(), home.bytes()) == ([], [], None)


def test_more_than_may_be_asked_for(home: Home, house: House, cli: Cli) -> None:
    one_line(cli("pair", house.url, "--write", "/door"), REFUSED, "wider than what may be granted here")
    refused = cli("pair", house.url, "--write", "no pattern")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        USAGE,
        "Error: --read, --write: 'no pattern': must start with /",
    )


def test_too_many_starts(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "house", limits=Limits(starts="1/hour")) as house:
        with meanwhile(partial(house.deny, "No")):
            last_line(cli("pair", house.url), REFUSED, "(reason: No)")
        one_line(cli("pair", house.url), REFUSED, "That was too often. Wait, then try again")


def test_pins_that_are_held(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "house", limits=FEW) as house:
        last_line(run_pair(home, house, "000000\n000001\n"), REFUSED, "Pairing by PIN is held")
        one_line(cli("pair", house.url), REFUSED, "Pairing by PIN is held after too many wrong PINs.")
        assert cli("login", house.url, "--code", house.code()).code == DONE


def test_pins_that_are_held_meanwhile_leave_the_operator(
    tmp_path: Path, home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def types(typist: Typist) -> None:
        typist.sees("left)")
        pin = house.wrong_pin()
        typist.types(f"{pin}\r")
        typist.sees("Attempts left: 4.")
        typist.types(f"{pin}\r")
        typist.sees("Pairing by PIN is held")
        house.approve()

    with House(tmp_path / "house", limits=FEW) as house, typing(monkeypatch, types):
        assert cli("pair", house.url).code == DONE


def test_a_store_that_is_away(tmp_path: Path, home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FailingStore()

    def types(typist: Typist) -> None:
        typist.sees("left)")
        pin = house.pin()
        store.errors["commit"] = away()
        typist.types(f"{pin}\r")
        typist.sees("The service cannot answer safely just now.")
        store.errors.clear()
        typist.types(f"{pin}\r")

    with House(tmp_path / "house", store=store, secret_keys=[KEY]) as house:
        store.errors["commit"] = away()
        one_line(cli("pair", house.url), UNREACHABLE, "The service cannot answer safely just now. Retry shortly")
        store.errors.clear()
        with typing(monkeypatch, types):
            assert cli("pair", house.url).code == DONE
        assert len(house.devices()) == 1


def run_pair(home: Home, house: House, typed: str) -> Outcome:
    """`pairlock pair` with these PINs piped in."""
    return run_process("pair", house.url, cwd=home.folder, typed=typed)


# Servers that go, and others that come


def test_a_service_that_is_gone(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "gone") as house:
        before = paired(home, house, cli)
    for command in ("whoami", "token", "logout"):
        one_line(cli(command), UNREACHABLE, f"{house.url} cannot be reached (connection refused)")
    assert home.bytes() == before


def test_a_service_that_goes_while_its_pin_is_asked_for(
    tmp_path: Path, home: Home, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, port = tmp_path / "restarted", free_port()

    def types(typist: Typist) -> None:
        with House(folder, port=port) as first:
            started.set()
            typist.sees("left)")
            pin = first.pin()
        typist.types(f"{pin}\r")
        typist.sees("cannot be reached")
        with House(folder, port=port) as second:
            typist.types(f"{pin}\r")
            until(lambda: bool(home.bytes()))
            assert second.devices() == [home.kept()[0].name]

    started = Event()
    with typing(monkeypatch, types):
        assert started.wait(PATIENCE)
        assert cli("pair", f"127.0.0.1:{port}").code == DONE


def test_another_server_at_the_same_address_gets_no_token(tmp_path: Path, home: Home, cli: Cli) -> None:
    with House(tmp_path / "first") as first:
        before = paired(home, first, cli)
    with House(tmp_path / "second", port=first.port, server_name="Attic") as second:
        for command in ("whoami", "token", "logout"):
            one_line(cli(command), NOT_PAIRED, "belongs to another server now, or it has forgotten this device")
        assert home.bytes() == before
        assert cli("login", second.url, "--code", second.code()).code == DONE
        assert {kept.server.name for kept in home.kept()} == {"Studio", "Attic"}
        assert " at Attic " in cli("whoami", second.url).out
    with House(tmp_path / "first", port=first.port) as again:
        assert " at Studio " in cli("whoami", again.url).out


def test_a_revoked_device_says_so_and_may_pair_again(
    home: Home, house: House, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = paired(home, house, cli)
    house.revoke_all()
    for command in ("whoami", "token"):
        one_line(cli(command), NOT_PAIRED, "it was revoked, or lay unused too long. Pair again.")
    assert home.bytes() == before
    at_a_terminal(monkeypatch, "y\n")
    with meanwhile(house.approve):
        assert cli("pair", house.url, "--wait").code == DONE
    assert cli("whoami").code == DONE
