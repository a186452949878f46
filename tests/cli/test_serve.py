"""`pairlock serve`: what it guards, where it listens, what it says, and how it ends."""

import asyncio
import json
import logging
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # stubs are another package
import pytest
import websockets
from msgspec.structs import replace
from rich.console import Console

from pairlock import Pairlock
from pairlock._core.permissions import Permissions
from pairlock._core.windows import Window
from pairlock.cli.outcomes import DONE, FAILED, USAGE
from pairlock.cli.service.app_loading import load_app, nothing
from pairlock.cli.service.banner import Banner, described_store, warning
from pairlock.cli.service.listening import CannotListen, Place, check_certificate, listen, own_address, place_of
from pairlock.cli.service.logs import logging_to
from pairlock.cli.service.serve import serve as command
from pairlock.cli.service.server import Service, serve
from pairlock.configuration import Serving
from pairlock.errors import ConfigurationError
from tests.cli.parts import COMMAND, CONFIGURATION, TIMEOUT, call, end_of, in_terminal, run_process
from tests.cli.serving_parts import (
    HOUSE,
    READ,
    asking,
    at_a_pty,
    eventually,
    make_certificate,
    reads,
    serve_here,
    served,
)

NOW = 1_700_000_000.0
GRANTED = Permissions.parse({"read": ["/sensors/**"]})
MODULES = ("house", "given", "broken")
SLOW = """\
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(60)
"""
OPERATOR_TOKEN = "the-operator-token-of-these-tests"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an app to guard, where commands run; its modules are forgotten in the end."""
    (tmp_path / "house.py").write_text(HOUSE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in MODULES:
        sys.modules.pop(name, None)


# In this process


def test_a_device_pairs_by_the_pin_on_the_output_and_reaches_the_app(house: Path, capsys: Capture) -> None:
    def use(base: str) -> None:
        assert reads(base, None).status_code == 401
        device = asking(base)
        pin = eventually(lambda: printed_pin(capsys))
        token = device.type_pin(pin).json()["access_token"]
        assert reads(base, token).json() == {"sensor": "temperature", "read_by": "My Phone"}
        assert httpx.put(f"{base}/sensors/x", headers={"Authorization": f"Bearer {token}"}).status_code == 403
        assert httpx.get(f"{base}/elsewhere", headers={"Authorization": f"Bearer {token}"}).status_code == 403

    assert serve_here(use, "house:app", *READ, "--pairing") == DONE


def printed_pin(capsys: Capture) -> str:
    out = capsys.readouterr().out
    return out.partition("PIN: ")[2][:6]


def test_the_window_is_closed_unless_it_is_opened(house: Path, capsys: Capture) -> None:
    def use(base: str) -> None:
        answer = httpx.post(f"{base}/pair/requests", json={"name": "Phone"})
        assert answer.json()["error"] == "window_closed"

    assert serve_here(use, "house:app", *READ) == DONE
    assert "Window        closed; it opens with --pairing, or: pairlock window open\n" in capsys.readouterr().out


def test_the_window_is_open_where_the_settings_say_so(house: Path) -> None:
    (house / "pairlock.yaml").write_text(CONFIGURATION + "      window_open: true\n")
    assert serve_here(asking, "house:app") == DONE


def test_pairing_opens_the_window_for_as_long_as_is_said(house: Path, capsys: Capture) -> None:
    assert serve_here(lambda base: None, *READ, "--pairing", "--pairing-timeout", "90") == DONE
    assert "Window        open for 1:30\n" in capsys.readouterr().out


def test_without_an_app_devices_only_pair(house: Path, capsys: Capture) -> None:
    def use(base: str) -> None:
        assert reads(base, None).status_code == 401
        token = asking(base).type_pin(eventually(lambda: printed_pin(capsys))).json()["access_token"]
        assert reads(base, token).json()["error"] == "not_found"

    assert serve_here(use, *READ, "--pairing") == DONE


def test_arguments_reach_the_service(house: Path, capsys: Capture) -> None:
    arguments = ["house:make", "--factory", *READ, "--public", "/sensors/*", "--at", "/in/here", "--name", "The house"]
    arguments += [
        "--trusted-proxy",
        "10.0.0.0/8",
        "--store",
        "sqlite:///other.db",
        "--issuer",
        "http://127.0.0.1/in/here",
    ]

    def use(base: str) -> None:
        assert reads(base, None).json() == {"sensor": "temperature", "read_by": ""}
        assert httpx.get(f"{base}/in/here/identity").json()["server"]["name"] == "The house"

    assert serve_here(use, *arguments, at="/in/here") == DONE
    assert (house / "other.db").exists()
    assert "On a device   pairlock pair http://127.0.0.1/in/here\n" in capsys.readouterr().out


def test_operators_call_with_the_secret_of_the_environment(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAIRLOCK_OPERATOR_TOKEN", OPERATOR_TOKEN)

    def use(base: str) -> None:
        answer = httpx.get(f"{base}/pair/devices", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"})
        assert answer.json()["devices"] == []

    assert serve_here(use, *READ) == DONE


def test_without_a_display_no_pin_is_printed(house: Path, capsys: Capture) -> None:
    def use(base: str) -> None:
        asking(base)
        time.sleep(0.5)

    assert serve_here(use, *READ, "--pairing", "--no-display") == DONE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Listening on http://127.0.0.1:")
    assert "PIN" not in err


def test_for_programs_everything_is_json(house: Path, capsys: Capture) -> None:
    found: list[dict[str, Any]] = []

    def find(type: str) -> Any:
        found.extend(json.loads(line) for line in capsys.readouterr().out.splitlines())
        return next((each for each in found if each["type"] == type), None)

    def use(base: str) -> None:
        device = asking(base)
        assert device.type_pin(eventually(lambda: find("prompt"))["pin"]).status_code == 200
        assert eventually(lambda: find("redeemed"))["name"] == "My Phone"

    assert serve_here(use, *READ, "--pairing", "--json") == DONE
    assert found[0]["type"] == "listening"
    assert find("requested")


def test_at_a_terminal_there_is_a_live_display(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_a_pty(monkeypatch) as (shown, type_keys):

        def use(base: str) -> None:
            asking(base)
            shown.find(r'Pairing request from "My Phone"\r?\n +PIN: \d{6}')
            type_keys("q")

        assert serve_here(use, *READ, "--pairing", how=None) == DONE


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("TERM", "unknown")])
def test_a_terminal_that_can_do_nothing_gets_lines(
    house: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    with at_a_pty(monkeypatch) as (shown, _):
        monkeypatch.setenv(name, value)
        assert serve_here(lambda base: shown.find("Window        closed"), *READ) == DONE


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_well(house: Path, capsys: Capture, how: signal.Signals) -> None:
    assert serve_here(lambda base: None, *READ, how=how) == DONE
    assert capsys.readouterr().err == "Stopped.\n"


@pytest.mark.anyio
async def test_a_display_that_cannot_go_on_ends_the_server(tmp_path: Path) -> None:
    class Breaking:
        async def follow(self, pairlock: Pairlock, banner: Banner) -> None:
            raise BrokenPipeError

    pairlock = Pairlock(store="memory://", default_permissions=GRANTED)
    with closing(listen("127.0.0.1", 0)) as listener:
        service = Service(pairlock.protect(nothing), pairlock, listener, Serving(), a_banner())
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(serve(service, Breaking(), print), TIMEOUT)


def test_with_a_certificate_everything_is_encrypted(house: Path, capsys: Capture) -> None:
    certificate, key = make_certificate(house)
    trusting = ssl.create_default_context(cafile=certificate)

    def use(base: str) -> None:
        token = asking(base, verify=trusting).type_pin(eventually(lambda: printed_pin(capsys))).json()["access_token"]
        assert reads(base, token, verify=trusting).status_code == 200

    arguments = ["house:app", *READ, "--pairing", "--tls-certificate", str(certificate), "--tls-key", str(key)]
    assert serve_here(use, *arguments, verify=trusting) == DONE


def test_what_is_logged_is_said_by_its_level(house: Path, capsys: Capture) -> None:
    assert serve_here(lambda base: None, *READ, "--pairing", "--log-level", "info") == DONE
    assert "INFO pairlock.audit: window_opened by operator:" in capsys.readouterr().err


def test_an_app_that_does_not_start_is_told_with_what_it_said(house: Path, capsys: Capture) -> None:
    (house / "broken.py").write_text(
        "async def app(scope, receive, send):\n    await receive()\n    raise ZeroDivisionError('no power')\n"
    )
    outcome = call(capsys, "serve", "broken:app", *READ, "--port", "0")
    assert outcome.code == FAILED
    assert "ZeroDivisionError: no power" in outcome.err
    assert outcome.err.endswith("The app did not start; what it said stands above\n")


def test_a_port_that_is_taken_is_told_before_anything_is_made(house: Path, capsys: Capture) -> None:
    with closing(listen("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = call(capsys, "serve", *READ, "--port", port)
    assert outcome.code == FAILED
    assert outcome.err == (
        f"Cannot listen on 127.0.0.1, port {port}: somebody listens there already;"
        " give another --port, or 0 for any that is free\n"
    )
    assert not (house / "pairlock.db").exists()


def test_on_an_address_of_the_network_it_warns_of_who_listens_in(house: Path, capsys: Capture) -> None:
    assert serve_here(lambda base: None, *READ, "--host", "0.0.0.0") == DONE
    assert "WARNING: this service is not encrypted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Say what pairing by PIN grants: give --read and --write"),
        ([*READ, "--factory"], "--factory needs the MODULE:APP"),
        (["--read", "sensors"], "must start with /"),
        ([*READ, "--at", "/*"], "at: '/*' must be a path such as /pair"),
        ([*READ, "--public", "x"], "public: 'x': must start with /"),
        ([*READ, "--host", "no such host"], "host: 'no such host' is no address that is known here"),
        ([*READ, "--port", "70000"], "not in the range"),
        ([*READ, "--pairing-timeout", "0"], "0 is not from 0:01 to 24:00:00."),
        ([*READ, "--trusted-proxy", "x"], "trusted_proxies: "),
        ([*READ, "--issuer", "x"], "issuer: "),
        ([*READ, "--store", "x"], "store: this is not the URL of a store"),
        ([*READ, "--config", "none.yaml"], "none.yaml: there is no such file"),
        ([*READ, "--tls-key", "x"], "tls_key: a key without a certificate"),
        ([*READ, "--tls-certificate", "none.pem"], "none.pem: it cannot be read: No such file or directory"),
        (["nowhere:app", *READ], "nowhere:app: there is no module nowhere in "),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_line(house: Path, capsys: Capture, arguments: list[str], says: str) -> None:
    outcome = call(capsys, "serve", *arguments)
    assert (outcome.code, outcome.out) == (USAGE, "")
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert not (house / "pairlock.db").exists()


def test_what_cannot_be_meant_is_json_for_programs(house: Path, capsys: Capture) -> None:
    outcome = call(capsys, "serve", "--json", *READ, "--at", "/*")
    assert outcome.json["error"] == "configuration_error"
    assert outcome.err == ""


def test_pairing_that_is_switched_off_is_not_opened(house: Path, capsys: Capture) -> None:
    (house / "pairlock.yaml").write_text(CONFIGURATION + "      enabled: false\n")
    outcome = call(capsys, "serve", "--pairing")
    assert (outcome.code, "--pairing opens nothing" in outcome.err) == (USAGE, True)


def test_a_short_operator_token_is_refused_by_the_name_of_its_variable(
    house: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRLOCK_OPERATOR_TOKEN", "short")
    outcome = call(capsys, "serve", *READ)
    assert outcome.code == USAGE
    assert outcome.err.startswith("PAIRLOCK_OPERATOR_TOKEN: give a random secret")


# The app


APPS = {
    "not_callable = 5": ("not_callable", [], "it is no ASGI app but an int"),
    "text = 'x'": ("text", [], "it is no ASGI app but a str"),
    "class App: ...": ("App", [], "it is no ASGI app: those are called with scope, receive and send"),
    "def wsgi(environ, start): ...": ("wsgi", [], "it is no ASGI app: those are called with scope"),
    "def make(): ...": ("make", [], "it takes no arguments; if it makes the app, give --factory"),
    "def fails(): return 1 / 0": ("fails", ["--factory"], "making the app failed: ZeroDivisionError: division by zero"),
    "def none(): ...": ("none", ["--factory"], "it is no ASGI app but a NoneType"),
    "five = 5": ("five", ["--factory"], "it cannot be called; leave out --factory"),
    "application = 5": ("aplication", [], "there is no aplication in it; did you mean application?"),
    "house = 5": ("x.y", [], "there is no x in it"),
    "1 / 0": ("app", [], "importing it failed: ZeroDivisionError: division by zero (given.py, line 1: 1 / 0)"),
    "raise SystemExit": ("app", [], "importing it failed: SystemExit (given.py, line 1: raise SystemExit)"),
    "def (": ("app", [], "importing it failed: SyntaxError: invalid syntax (given.py, line 1)"),
    "import nothing_such": ("app", [], "importing it failed: ModuleNotFoundError: No module named 'nothing_such'"),
    "import json\njson.loads('x')": ("app", [], "importing it failed: JSONDecodeError: Expecting value"),
    "from pairlock import Pairlock\npairlock = Pairlock(store='memory://', default_permissions={})\n"
    "app = pairlock.protect(print)": ("app", [], "it is protected by a Pairlock of its own; serve it with uvicorn"),
}


@pytest.mark.parametrize("source", APPS)
def test_what_is_no_app_is_told_in_a_line(house: Path, capsys: Capture, source: str) -> None:
    name, more, says = APPS[source]
    (house / "given.py").write_text(source + "\n")
    outcome = call(capsys, "serve", f"given:{name}", *more, *READ)
    assert outcome.code == USAGE
    assert outcome.err.startswith(f"given:{name}: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("named", ["house", "house:", ":app", "house.py", "./house.py:app", "house.py:app"])
def test_an_app_is_named_by_its_module(house: Path, capsys: Capture, named: str) -> None:
    outcome = call(capsys, "serve", named, *READ)
    assert (outcome.code, outcome.err) == (
        USAGE,
        f"{named}: write MODULE:APP, such as house:app for the `app` of house.py\n",
    )


def test_an_error_in_a_library_names_its_whole_path(house: Path, capsys: Capture) -> None:
    (house / "given.py").write_text("import json\njson.loads('x')\n")
    assert f"({Path(json.__file__).parent}/decoder.py, line " in call(capsys, "serve", "given:app", *READ).err


def test_an_app_that_does_not_tell_what_it_takes_is_believed(house: Path) -> None:
    (house / "given.py").write_text("app = getattr\n")
    assert load_app("given:app", factory=False) is getattr
    assert load_app("given:app", factory=False) is getattr  # the folder is known already


def test_the_settings_in_the_page_about_serving_work(house: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/serve.md").read_text()
    (house / "pairlock.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    make_certificate(house)
    trusting = ssl.create_default_context(cafile=house / "house.pem")
    assert serve_here(lambda base: None, "--host", "127.0.0.1", verify=trusting) == DONE


# Where it listens


def test_a_port_of_nought_is_any_that_is_free() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        place = place_of(listener, "127.0.0.1", encrypted=False)
        assert place.urls() == [f"http://127.0.0.1:{listener.getsockname()[1]}"]


def test_answers_are_sent_without_delay() -> None:
    with closing(listen("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_name_of_several_addresses_is_that_of_ipv4() -> None:
    with closing(listen("localhost", 0)) as listener:
        place = place_of(listener, "localhost", encrypted=False)
        assert (place.address, place.urls()) == ("127.0.0.1", [f"http://localhost:{place.port}"])


@pytest.mark.parametrize("host", ["::1", "::"])
def test_addresses_of_ipv6_stand_in_brackets(host: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with closing(listen(host, 0)) as listener:
        place = place_of(listener, host, encrypted=True)
        assert place.urls()[-1] == f"https://[::1]:{place.port}"


def test_on_all_addresses_the_one_in_the_network_comes_first() -> None:
    place = Place("http", "0.0.0.0", "0.0.0.0", 8000)
    assert place.urls(towards="127.0.0.1") == ["http://127.0.0.1:8000", "http://127.0.0.1:8000"]
    assert place.urls(towards="no address") == ["http://127.0.0.1:8000"]
    assert own_address("no address") is None


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("192.0.2.1", "this machine has no such address; 127.0.0.1 is for itself"),
        ("127.0.0.1", "somebody listens there already"),
    ],
)
def test_what_keeps_from_listening_is_told_with_what_to_do(host: str, says: str) -> None:
    with closing(listen("127.0.0.1", 0)) as taken, pytest.raises(CannotListen, match=says):
        listen(host, taken.getsockname()[1])


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 300, "a..b"])
def test_what_is_no_address_is_told(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address that is known here"):
        listen(host, 0)


def test_certificates_that_cannot_be_used_are_told_before_anything_listens(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    _, other = make_certificate(tmp_path, name="other")
    _, locked = make_certificate(tmp_path, name="locked", password=b"secret")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "both").write_bytes(certificate.read_bytes() + key.read_bytes())
    check_certificate(certificate, key)
    check_certificate(tmp_path / "both", None)
    for given, said in [
        ((certificate, other), "other.key: it is not the key of "),
        ((certificate, None), "house.pem: it does not hold a certificate and its key, both in PEM; give --tls-key too"),
        ((certificate, tmp_path / "empty"), "they do not hold a certificate and its key in PEM"),
        ((certificate, tmp_path / "none"), "none: it cannot be read: No such file or directory"),
        ((tmp_path / "folder", key), "folder: it cannot be read: Is a directory"),
        ((certificate, locked), "locked.key: the key is encrypted, and nobody could type its password"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            check_certificate(*given)


# What it says


def a_banner(**changes: Any) -> Banner:
    given = Banner(
        place=Place("http", "0.0.0.0", "0.0.0.0", 8000),
        app="house:app",
        public=(),
        grants=GRANTED,
        enabled=True,
        window=Window(False),
        store="/srv/pairlock.db",
    )
    return replace(given, **changes)


def test_a_device_is_told_how_to_pair_over_a_network_without_encryption() -> None:
    urls = a_banner().urls
    assert a_banner().device_url == f"{urls[0]} --insecure"
    assert a_banner(place=Place("https", "0.0.0.0", "0.0.0.0", 8000)).device_url == urls[0].replace("http:", "https:")
    assert a_banner(issuer="https://house.example/pair").device_url == "https://house.example/pair"


def test_the_banner_says_what_anybody_may_reach() -> None:
    assert ("Guards", "house:app, all but /a /b/**") in a_banner(public=("/a", "/b/**")).rows()


def test_the_banner_says_how_the_window_is() -> None:
    assert a_banner(window=Window(True, None)).spoken_window(NOW) == "open until it is closed"
    assert a_banner(window=Window(True, NOW + 90)).spoken_window(NOW) == "open for 1:30"
    assert a_banner(enabled=False).spoken_window(NOW).startswith("pairing is switched off in the settings")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:////srv/pairlock.db", "/srv/pairlock.db"),
        ("memory://", "memory: all of them are gone when it ends"),
        ("postgresql://ann:secret@db.example:5432/house?sslmode=require", "postgresql://db.example:5432/house"),
        ("valkey://:secret@cache.example/1?prefix=house", "valkey://cache.example/1"),
    ],
)
def test_where_records_are_kept_is_told_without_the_password(url: str, told: str) -> None:
    assert described_store(url) == told


@pytest.mark.parametrize(
    ("place", "has_proxies", "warns"),
    [
        (Place("http", "0.0.0.0", "0.0.0.0", 80), False, True),
        (Place("http", "house", "192.168.1.5", 80), False, True),
        (Place("http", "::", "::", 80), False, True),
        (Place("http", "0.0.0.0", "0.0.0.0", 80), True, False),
        (Place("https", "0.0.0.0", "0.0.0.0", 80), False, False),
        (Place("http", "localhost", "127.0.0.1", 80), False, False),
        (Place("http", "::1", "::1", 80), False, False),
    ],
)
def test_whoever_others_can_listen_in_on_is_warned(place: Place, has_proxies: bool, warns: bool) -> None:
    assert (warning(place, has_proxies=has_proxies) is not None) is warns


def test_logs_cannot_move_the_cursor_and_are_as_before_afterwards(capsys: Capture) -> None:
    logger = logging.getLogger("pairlock")
    before = (list(logger.handlers), logger.level, logger.propagate)
    with logging_to(Console(file=sys.stdout, force_terminal=False), "warning"):
        logger.warning("a device called %s\nsecond line", "\x1b[2Jx\r")
    assert capsys.readouterr().out == "WARNING pairlock: a device called \\x1b[2Jx\\x0d\nsecond line\n"
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_logs_write_out_what_moves_the_cursor_or_turns_a_line(capsys: Capture) -> None:
    with logging_to(Console(file=sys.stdout, force_terminal=False), "info"):
        logging.getLogger("uvicorn").info("a %s b", "\x9b2J\x85\u202e\u2066\u200f\u061c\u2028")
    assert capsys.readouterr().out == "INFO uvicorn: a \\x9b2J\\x85\\u202e\\u2066\\u200f\\u061c\\u2028 b\n"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("< Authorization: Bearer plk_abc.DEF-9_x==", "< Authorization: Bearer …"),
        ("< authorization: bearer of.another/kind+1", "< authorization: bearer …"),
        ("< Sec-WebSocket-Protocol: bearer, plk_abc", "< Sec-WebSocket-Protocol: bearer, …"),
        ("{'refresh_token': 'plr_abc', 'token': 'plk_def'}", "{'refresh_token': 'plr_…', 'token': 'plk_…'}"),
    ],
)
def test_no_log_repeats_a_token(capsys: Capture, level: str, said: str, kept: str) -> None:
    with logging_to(Console(file=sys.stdout, force_terminal=False, width=200), level):
        logging.getLogger("uvicorn.error").log(getattr(logging, level.upper()), said)
    assert capsys.readouterr().out == f"{level.upper()} uvicorn.error: {kept}\n"


# In a process of its own


def test_in_a_pipe_lines_say_who_asks_and_what_became_of_it(house: Path) -> None:
    with served("house:app", *READ, "--pairing", cwd=house) as server:
        base = server.base
        server.out.find(r"^Guards        house:app$")
        server.out.find(r"^A PIN grants  read /sensors/\*\*$")
        server.out.find(rf"^Records in    {house}/pairlock\.db$")
        device = asking(base)
        pin = server.out.find(r'^Pairing request from "My Phone"\nPIN: (\d{6})\nExpires in [45]:\d\d$')[1]
        assert device.type_pin(pin).status_code == 200
        server.out.find(r"^Paired: My Phone \(PIN\)$")
        assert server.end(signal.SIGTERM) == DONE
        server.err.find(r"^Stopped\.$")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_though_devices_are_connected_and_wait(house: Path, how: signal.Signals) -> None:
    with served("house:app", *READ, "--pairing", cwd=house) as server:
        base = server.base
        device = asking(base)
        token = device.type_pin(server.out.find(r"PIN: (\d{6})")[1]).json()["access_token"]
        waiting = asking(base, "Another")

        async def use() -> tuple[int, int, float]:
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{base.replace('http', 'ws')}/sensors/x/live"
            async with websockets.connect(url, additional_headers=headers) as websocket, httpx.AsyncClient() as client:
                await websocket.send("hello")
                assert await websocket.recv() == "hello"
                poll = asyncio.create_task(
                    client.get(
                        f"{base}/pair/requests/{waiting.started['id']}",
                        headers={"Authorization": f"Bearer {waiting.started['secret']}", "Prefer": "wait=25"},
                        timeout=TIMEOUT,
                    )
                )
                await asyncio.sleep(0.5)
                since = time.monotonic()
                server.process.send_signal(how)
                await websocket.wait_closed()
                code = await asyncio.to_thread(server.process.wait, TIMEOUT)
                assert (await poll).status_code == 200
                return code, websocket.close_code or 0, time.monotonic() - since

        code, closed, took = asyncio.run(use())
        assert (code, closed) == (DONE, 1012)
        assert took < TIMEOUT / 2


def test_killed_and_started_again_devices_are_paired_and_the_window_is_as_it_was(house: Path) -> None:
    with served("house:app", *READ, "--pairing", cwd=house) as server:
        device = asking(server.base)
        token = device.type_pin(server.out.find(r"PIN: (\d{6})")[1]).json()["access_token"]
        server.end(signal.SIGKILL)
    with served("house:app", *READ, cwd=house) as server:
        assert reads(server.base, token).status_code == 200
        server.out.find(r"^Window        open for [45]:\d\d$")


def test_a_pipe_that_is_closed_ends_it_without_a_traceback(house: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *READ],
        cwd=house,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writing)
        _, err = process.communicate(timeout=TIMEOUT)
    assert b"Traceback" not in err


def test_what_is_being_answered_is_waited_for_until_it_is_signalled_again(house: Path) -> None:
    (house / "slow.py").write_text(SLOW)
    with served("slow:app", *READ, "--public", "/**", cwd=house) as server, connected(server.base) as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(1)
        assert server.end(signal.SIGINT) == DONE
        server.err.find(r"^Stopped\.$")
    assert "Traceback" not in server.err.text


def connected(base: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])))


def test_in_this_process_too_a_second_signal_ends_it_at_once(house: Path) -> None:
    (house / "given.py").write_text(SLOW)
    held: list[socket.socket] = []

    def use(base: str) -> None:
        held.append(connected(base))
        held[0].sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)

    assert serve_here(use, "given:app", *READ, "--public", "/**") == DONE
    held[0].close()


# In a terminal


def test_in_a_terminal_the_pin_is_on_the_screen_and_keys_decide(house: Path) -> None:
    with in_terminal("serve", "house:app", *READ, "--pairing", "--port", "0", cwd=house) as child:
        child.expect(r"Listening on +(http://127\.0\.0\.1:\d+)")
        base = child.match[1]
        child.expect("No device asks to pair")
        first = asking(base)
        child.expect('Pairing request from "My Phone"')
        child.expect(r"PIN: (\d{6})")
        pin = child.match[1]
        child.expect(r"Expires in [45]:\d\d")
        assert first.type_pin(pin).status_code == 200
        child.expect(r"Paired: My Phone \(PIN\)")
        second = asking(base, "TV")
        child.expect('approve "TV"')
        time.sleep(1)
        child.send("a")
        child.expect("Approved: TV")
        assert second.redeem().status_code == 200
        child.expect(r"Paired: TV \(approved by ")
        third = asking(base, "Stranger")
        child.expect('approve "Stranger"')
        time.sleep(1)
        child.send("d")
        child.expect("Denied: Stranger")
        assert third.redeem().json()["error"] == "access_denied"
        child.send("w")
        child.expect("Window closed by")
        assert httpx.post(f"{base}/pair/requests", json={"name": "Late"}).json()["error"] == "window_closed"
        child.send("w")
        child.expect("Window opened by")
        child.send("q")
        assert end_of(child).code == DONE


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM, signal.SIGINT])
def test_the_terminal_is_afterwards_as_it_was(house: Path, end: Any) -> None:
    script = house / "script"
    words = shlex.join([sys.executable, "-m", "pairlock.cli", "serve", *READ, "--port", "0"])
    script.write_text(f"stty -a > before\n{words}\necho ended $?\nstty -a > after\n")
    with in_terminal(str(script), cwd=house, command=["bash"]) as child:
        child.expect("quit")
        if isinstance(end, str):
            child.send(end)
        else:
            [server] = psutil.Process(child.pid).children()
            server.send_signal(end)
        child.expect("ended 0")
        end_of(child)
    assert (house / "after").read_text() == (house / "before").read_text()


def test_in_the_background_it_prints_lines_and_leaves_the_terminal_alone(house: Path) -> None:
    with in_terminal("--norc", "-i", cwd=house, command=["bash"]) as child:
        child.sendline(shlex.join([sys.executable, "-m", "pairlock.cli", "serve", *READ, "--port", "0"]) + " &")
        child.expect("Window +closed; it opens with --pairing")
        child.sendline("kill %1; wait %1; echo ended $?")
        child.expect("ended 0")


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(house: Path) -> None:
    with in_terminal("serve", *READ, "--port", "0", cwd=house, environ={"TERM": "dumb"}) as child:
        child.expect("Window +closed; it opens with --pairing")
        child.kill(signal.SIGTERM)
        assert end_of(child).code == DONE


def test_json_is_json_in_a_terminal_too(house: Path) -> None:
    with in_terminal("serve", *READ, "--port", "0", "--json", cwd=house) as child:
        child.expect(r'\{"type": "listening", .*\}\r\n')
        assert json.loads(child.match[0])["app"] is None
        child.kill(signal.SIGINT)
        assert end_of(child).code == DONE


def test_logs_stand_above_the_display(house: Path) -> None:
    (house / "loud.py").write_text(
        "import logging, sys\nasync def app(scope, receive, send):\n    if scope['type'] == 'http':\n"
        "        print('printed by the app')\n        logging.getLogger('pairlock.house').warning('logged')\n"
        "        raise ValueError('from the app')\n"
    )
    arguments = ["loud:app", *READ, "--public", "/**", "--port", "0"]
    with in_terminal("serve", *arguments, cwd=house) as child:
        child.expect(r"Listening on +(http://127\.0\.0\.1:\d+)")
        base = child.match[1]
        child.expect("quit")
        assert httpx.get(f"{base}/x").status_code == 500
        child.expect("printed by the app")
        child.expect("WARNING pairlock.house: logged")
        child.expect("ValueError: from the app")
        child.expect("quit")
        child.send("q")
        assert end_of(child).code == DONE


@pytest.mark.parametrize("example", command.examples)
def test_examples_of_the_help_work(house: Path, example: str) -> None:
    (house / "pairlock.yaml").write_text(CONFIGURATION)
    make_certificate(house)
    words = shlex.split(example)
    with in_terminal(*words[1:], "--port", "0", cwd=house) as child:
        child.expect(r"Listening on +https?://")
        child.expect("quit")
        child.send("q")
        assert end_of(child).code == DONE


def test_help_says_what_it_is_for(house: Path) -> None:
    outcome = run_process("serve", "--help", cwd=house)
    assert outcome.code == DONE
    assert all(example in outcome.out for example in command.examples)
