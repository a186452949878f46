"""The configuration: where each setting may be said, what counts, and what is told of what cannot be understood."""

import inspect
import logging
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pairlock import Client, ConfigurationError, Limits, Pairlock, Permissions
from pairlock._core.permissions import NOTHING
from pairlock.configuration import PAIRING, SETTINGS, Configuration, Serving, read_configuration
from pairlock.errors import StoreError
from tests.services.parts import KEY

SECRET = "a-secret-of-more-than-sixteen"
DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(
    text: str | bytes = "", *, name: str = "pairlock.yaml", environ: Mapping[str, str] | None = None, **given: Any
) -> Configuration:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return read_configuration(Path(name), given=given, environ=environ or {})


def in_environment(**variables: str) -> Configuration:
    return read_configuration(environ={f"PAIRLOCK_{name.upper()}": value for name, value in variables.items()})


def pairing(*lines: str) -> str:
    """A file in YAML with these lines as the settings of pairing, from line 4 on."""
    return "\n".join(["server:", "  security:", "    pairing:", *(f"      {line}" for line in lines)])


def refusal(text: str | bytes, name: str = "pairlock.yaml") -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(text, name=name).pairlock(secret_keys=[KEY])
    return str(refused.value)


# Which file, and what counts


def test_without_a_file_nothing_is_said_and_pairlock_serves_on_this_machine() -> None:
    configuration = read_configuration(environ={})
    assert configuration.pairing == {}
    assert configuration.serving == Serving() == Serving(host="127.0.0.1", port=8000, at="/pair")
    assert configuration.path is None


def test_pairing_by_pin_grants_nothing_where_nobody_said_what() -> None:
    assert read_configuration(environ={}).pairlock().settings.default_permissions == NOTHING


@pytest.mark.parametrize("name", ["pairlock.yaml", "pairlock.yml"])
def test_the_file_in_this_folder_is_read(name: str) -> None:
    Path(name).write_text(pairing("pin_length: 8"))
    configuration = read_configuration(environ={})
    assert (configuration.path, configuration.pairing) == (Path(name), {"pin_length": 8})
    assert configuration.in_file == {"pin_length"}


def test_the_file_in_this_folder_may_be_toml() -> None:
    Path("pairlock.toml").write_text("[server.security.pairing]\npin_length = 8\n")
    assert read_configuration(environ={}).pairing == {"pin_length": 8}


def test_the_environment_names_a_file_and_an_argument_another() -> None:
    for name, length in (("pairlock.yaml", 6), ("named.yaml", 7), ("given.yaml", 8)):
        Path(name).write_text(pairing(f"pin_length: {length}"))
    environ = {"PAIRLOCK_CONFIG": "named.yaml"}
    assert read_configuration(environ=environ).pairing == {"pin_length": 7}
    assert read_configuration(Path("given.yaml"), environ=environ).pairing == {"pin_length": 8}
    assert read_configuration(environ={"PAIRLOCK_CONFIG": ""}).pairing == {"pin_length": 6}


def test_two_files_in_this_folder_are_one_too_many() -> None:
    Path("pairlock.yaml").touch()
    Path("pairlock.toml").touch()
    says = re.escape("pairlock.yaml and pairlock.toml: which of them counts? Keep one, or name one with --config")
    with pytest.raises(ConfigurationError, match=f"^{says}$"):
        read_configuration(environ={})


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "---\n", "server:\n", pairing("#pin_length: 6"), "\ufeff"])
def test_a_file_without_settings_says_nothing(text: str) -> None:
    assert read(text).pairing == {}


def test_arguments_count_before_the_environment_and_that_before_the_file() -> None:
    text = pairing("pin_length: 5", "server_name: File", "window_timeout: 5")
    environ = {"PAIRLOCK_SERVER_NAME": "Environment", "PAIRLOCK_WINDOW_TIMEOUT": "6"}
    configuration = read(text, environ=environ, window_timeout=7, issuer=None, host="::1", public=["/a"])
    assert configuration.pairing == {"pin_length": 5, "server_name": "Environment", "window_timeout": 7}
    assert (configuration.serving.host, configuration.serving.public) == ("::1", ("/a",))
    assert configuration.in_file == {"pin_length"}


def test_an_argument_that_is_no_setting_is_a_mistake_of_the_command() -> None:
    with pytest.raises(TypeError, match=r"^there are no settings \['colour'\]$"):
        read_configuration(given={"colour": "red"}, environ={})


def test_what_a_caller_adds_counts_before_all() -> None:
    assert read(pairing("pin_length: 5")).pairlock(pin_length=9).settings.pin_length == 9


# What can be said

YAML = f"""
server:
  host: 0.0.0.0
  port: 443
  app: house:app
  at: /join
  public: [/, /static/**]
  origins: [https://app.example]
  tls: {{certificate: tls/house.pem, key: /etc/house.key}}
  security:
    pairing:
      store: memory://
      server_name: 12:30
      enabled: no
      default_permissions: {{read: [/sensors/**], write: []}}
      window_open: off
      window_timeout: 60
      pin_length: 8
      timeout: 5:00
      device_code_timeout: 1:30:00
      confirmation_pin: true
      same_network: yes
      decide_timeout: 2.5
      token_life: {{qr: 600, pin: "10:00"}}
      long_lived: [qr]
      refresh_idle: 86400
      clients:
        - id: tv
        - {{id: app, secret: {SECRET}, name: App, permissions: {{read: [/sensors/*]}}}}
      resource_servers: {{grafana: {SECRET}, 7: {SECRET}}}
      limits: {{starts: 1/minute, codes: 5}}
      trusted_proxies: [10.0.0.0/8]
      issuer: https://house.example/join
      verification_uri: https://house.example/device
      max_staleness: 5
"""
SAID = {
    "store": "memory://",
    "server_name": "12:30",
    "enabled": False,
    "default_permissions": {"read": ["/sensors/**"], "write": []},
    "window_open": False,
    "window_timeout": 60,
    "pin_length": 8,
    "pin_timeout": 300,
    "device_code_timeout": 5400,
    "confirmation_pin": True,
    "same_network": True,
    "decide_timeout": 2.5,
    "token_life": {"qr": 600, "pin": 600},
    "long_lived": ("qr",),
    "refresh_idle": 86400,
    "clients": (
        Client(id="tv"),
        Client(id="app", secret=SECRET, name="App", permissions=Permissions(("/sensors/*",))),
    ),
    "resource_servers": {"grafana": SECRET, "7": SECRET},
    "limits": Limits(starts="1/minute", codes=5),
    "trusted_proxies": ("10.0.0.0/8",),
    "issuer": "https://house.example/join",
    "verification_uri": "https://house.example/device",
    "max_staleness": 5,
}
SERVED = Serving(
    host="0.0.0.0",
    port=443,
    app="house:app",
    at="/join",
    public=("/", "/static/**"),
    origins=("https://app.example",),
    tls_certificate=Path("tls/house.pem"),
    tls_key=Path("/etc/house.key"),
)


def test_every_setting_can_stand_in_a_file() -> None:
    configuration = read(YAML)
    assert configuration.pairing == SAID
    assert configuration.serving == SERVED
    assert configuration.pairing.keys() == PAIRING.keys()
    assert configuration.in_file == SETTINGS.keys()
    assert configuration.pairlock().settings.pin_length == 8


def test_every_setting_can_stand_in_the_environment() -> None:
    configuration = in_environment(
        store="memory://",
        server_name="12:30",
        enabled="No",
        default_permissions='{"read": ["/sensors/**"], "write": []}',
        window_open="0",
        window_timeout="60",
        pin_length="8",
        pin_timeout="5:00",
        device_code_timeout="1:30:00",
        confirmation_pin="TRUE",
        same_network="1",
        decide_timeout="2.5",
        token_life='{"qr": 600, "pin": "10:00"}',
        long_lived='["qr"]',
        refresh_idle=" 86400 ",
        clients=f'[{{"id": "tv"}}, {{"id": "app", "secret": "{SECRET}", "name": "App", "permissions":'
        '{"read": ["/sensors/*"]}}]',
        resource_servers=f'{{"grafana": "{SECRET}", "7": "{SECRET}"}}',
        limits='{"starts": "1/minute", "codes": 5}',
        trusted_proxies='["10.0.0.0/8"]',
        issuer="https://house.example/join",
        verification_uri="https://house.example/device",
        max_staleness="5",
        host="0.0.0.0",
        port="443",
        app="house:app",
        at="/join",
        public='["/", "/static/**"]',
        origins='["https://app.example"]',
        tls_certificate="tls/house.pem",
        tls_key="/etc/house.key",
    )
    assert configuration.pairing == SAID
    assert configuration.serving == SERVED
    assert configuration.in_file == frozenset()


def test_every_keyword_of_pairlock_can_be_said_or_is_given_in_code() -> None:
    in_code = {"secret_keys", "operator", "decide", "clock"}
    keywords = inspect.signature(Pairlock).parameters.keys()
    assert PAIRING.keys() == keywords - in_code
    for name in in_code:
        assert f".{name}: " in refusal(pairing(f"{name}: x"))
        assert "did you mean" not in refusal(pairing(f"{name}: x"))


def test_a_life_of_tokens_may_be_one_number() -> None:
    assert read(pairing("token_life: 600")).pairing == {"token_life": 600}
    assert in_environment(token_life="10:00").pairing == {"token_life": 600}


def test_anchors_stand_for_what_they_name() -> None:
    text = pairing("limits: {starts: &rate 3/minute, denials: *rate}")
    assert read(text).pairing["limits"] == Limits(starts="3/minute", denials="3/minute")


def test_a_value_that_is_empty_in_the_environment_is_not_said() -> None:
    assert in_environment(store="", pin_length="").pairing == {}


# Paths


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("sqlite:///pairlock.db", "sqlite:///conf/pairlock.db"),
        ("sqlite:///data/my%20house.db", "sqlite:///conf/data/my%20house.db"),
        ("sqlite:////var/lib/pairlock.db", "sqlite:////var/lib/pairlock.db"),
        ("sqlite:///%2Fvar/pairlock.db", "sqlite:///%2Fvar/pairlock.db"),
        ("postgresql://db/house", "postgresql://db/house"),
        ("memory://", "memory://"),
        ("sqlite:///", "sqlite:///"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_a_database_in_a_file_lies_where_the_file_lies(written: str, means: str) -> None:
    Path("conf").mkdir()
    text = pairing(f"store: '{written}'")
    assert read(text, name="conf/pairlock.yaml").pairing["store"] == means
    assert read(text).pairing["store"] == written


def test_a_folder_may_have_any_name(folder: Path) -> None:
    odd = folder / "50% off? #1"
    odd.mkdir()
    pairlock = read(pairing("store: sqlite:///p.db"), name=str(odd / "a.yaml")).pairlock()
    assert repr(pairlock._runtime._store) == f"SQLiteStore({str(odd / 'p.db')!r})"


def test_a_certificate_in_a_file_lies_where_the_file_lies() -> None:
    Path("conf").mkdir()
    serving = read("server: {tls: {certificate: a.pem, key: /etc/b}}", name="conf/a.yaml").serving
    assert (serving.tls_certificate, serving.tls_key) == (Path("conf/a.pem"), Path("/etc/b"))


def test_paths_of_the_environment_and_of_arguments_start_from_the_working_directory() -> None:
    Path("conf").mkdir()
    environ = {"PAIRLOCK_STORE": "sqlite:///a.db", "PAIRLOCK_TLS_CERTIFICATE": "a.pem"}
    configuration = read("", name="conf/a.yaml", environ=environ, tls_key=Path("b.pem"))
    assert configuration.pairing["store"] == "sqlite:///a.db"
    assert (configuration.serving.tls_certificate, configuration.serving.tls_key) == (Path("a.pem"), Path("b.pem"))


# Files that are broken

PLACE = "server.security.pairing"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("server: [", "1: this is no YAML: expected the node content, but found '<stream end>'"),
        ("a: *b", "1: this is no YAML: found undefined alias; put it in quotes if it is text"),
        ("a: !b!c x", "1: this is no YAML: found undefined tag handle; put it in quotes if it is text"),
        ("a: 1\n---\nb: 1", "2: this is no YAML: but found another document"),
        ("a: 1\nb: \0", "2: this is no YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', "1: this is no YAML: it cannot be understood"),
        (b"a: 1\nb: \xff", "2: this is not UTF-8; save the file as UTF-8"),
        ("server: 7", "1: server: expected a table, not a number (7)"),
        ("server:\n  port: 1\n  port: 2", "3: server.port: it is there twice, first in line 2"),
        ("? [a, b]\n: 1", "1: ?: only words stand before a colon; write out what is meant"),
        ("a: &a {}\nb:\n  <<: *a", "3: b.<<: only words stand before a colon; write out what is meant"),
        ("a: !mine {}", "1: a: there is no such setting"),
        ("a: !mine x", "1: a: there are no values of a kind of their own (!…) here; put it in quotes if it is text"),
        ("servers: {}", "1: servers: there is no such setting; did you mean server?"),
        ("\nfrobnicate: 1", "2: frobnicate: there is no such setting"),
        ("pin_length: 4", f"1: pin_length: it belongs under {PLACE}"),
        ("server:\n  pairing: {}", "2: server.pairing: it belongs under server.security"),
        ("server:\n  certificate: x", "2: server.certificate: it belongs under server.tls"),
        ("server: {port: 08000}", '1: server.port: expected a whole number, not text ("08000")'),
        ("server: {port: -1}", "1: server.port: -1 is no port; they go from 1 to 65535, and 0 is any free one"),
        ("server:\n  tls:\n    key: x", "3: server.tls.key: a key without a certificate; set the certificate too"),
        ("server: {public: [static]}", "1: server.public[0]: 'static': must start with /"),
    ],
)
def test_of_a_broken_file_the_line_is_told(text: str | bytes, says: str) -> None:
    assert refusal(text) == f"pairlock.yaml:{says}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 5000, "it is nested too deeply"),
        ("a: " + "x" * 300_000, "it is over 256 KiB; is it the right file?"),
        ("- a", "expected a table, not a list"),
        ("just words", 'expected a table, not text ("just words")'),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_told_of(text: str, says: str) -> None:
    assert refusal(text) == f"pairlock.yaml: {says}"


def test_tabs_are_told_of() -> None:
    says = "this is no YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs"
    assert refusal("server:\n\tport: 1") == f"pairlock.yaml:2: {says}"


def test_an_empty_host_would_be_every_address() -> None:
    says = "it is empty; write 127.0.0.1, or 0.0.0.0 for all addresses of this machine"
    assert refusal("server: {host: ''}") == f"pairlock.yaml:1: server.host: {says}"


@pytest.mark.parametrize(
    ("line", "at", "says"),
    [
        # settings that there are not
        ("pin_lenght: 4", ".pin_lenght", "there is no such setting; did you mean pin_length?"),
        ("PIN_Length: 4", ".PIN_Length", "there is no such setting; did you mean pin_length?"),
        ("limits: {start: 4}", ".limits.start", "there is no such setting; did you mean starts?"),
        ("yes: 4", ".yes", "there is no such setting"),
        ("starts: 1/minute", ".starts", f"it belongs under {PLACE}.limits"),
        ("read: [/x]", ".read", f"it belongs under {PLACE}.default_permissions"),
        ("port: 1", ".port", "it belongs under server"),
        ("decide: f", ".decide", "it is given in code: Pairlock(decide=...)"),
        # values of another kind
        ("pin_length: six", ".pin_length", 'expected a whole number, not text ("six")'),
        ("pin_length: 6.0", ".pin_length", "expected a whole number, not a number (6.0)"),
        ("pin_length: 010", ".pin_length", 'expected a whole number, not text ("010")'),
        ("pin_length: yes", ".pin_length", "expected a whole number, not true"),
        ("pin_length:", ".pin_length", "expected a whole number, not nothing"),
        ("pin_length: [6]", ".pin_length", "expected a whole number, not a list"),
        ("enabled: 'no'", ".enabled", 'expected true or false, not text ("no")'),
        ("enabled: 0", ".enabled", "expected true or false, not a number (0)"),
        ("timeout: 5m", ".timeout", 'expected a number of seconds, not text ("5m")'),
        ("timeout: 5:60", ".timeout", 'expected a number of seconds, not text ("5:60")'),
        ("timeout: .inf", ".timeout", 'expected a number of seconds, not text (".inf")'),
        ("token_life: [60]", ".token_life", "expected a number of seconds or a table, not a list"),
        ("token_life: {qr: soon}", ".token_life.qr", 'expected a number of seconds, not text ("soon")'),
        ("server_name: 7", ".server_name", "expected text, not a number (7); put it in quotes"),
        ("server_name: off", ".server_name", "expected text, not false; put it in quotes"),
        ("long_lived: qr", ".long_lived", 'expected a list, not text ("qr")'),
        ("trusted_proxies: [a, 1]", ".trusted_proxies[1]", "expected text, not a number (1); put it in quotes"),
        ("default_permissions: [/x]", ".default_permissions", "expected a table, not a list"),
        ("default_permissions: {read: }", ".default_permissions.read", "expected a list, not nothing"),
        ("default_permissions: {read: [{}]}", ".default_permissions.read[0]", "expected a pattern, not a table"),
        # values that cannot work
        ("pin_length: 3", ".pin_length", "3 is no whole number from 4 to 12; 6 is a good choice"),
        ("max_staleness: 0", ".max_staleness", "0 is not a positive number of seconds"),
        ("timeout: 0", ".timeout", "0 is not a positive number of seconds"),
        ("long_lived: [fax]", ".long_lived", "'fax' is not a method; there are pin, device_code, one_time_code, qr"),
        ("default_permissions: {read: [/b/]}", ".default_permissions.read[0]",
         "'/b/': has an empty or dot segment (write /x, not /x/)"),
        ("limits: {starts: often}", ".limits.starts", "'often' is no limit; write one such as \"3/minute; 10/hour\""),
        ("limits: {codes: 0}", ".limits.codes", "0 is no whole number from 1 up"),
        ("clients: [id: tv, name: x]", ".clients[1]", "id is missing"),
        ("clients: [{id: tv, secret: short}]", ".clients[0]", "tv: a secret is at least 16 visible ASCII characters"),
        ("clients: [{id: tv, permissions: {read: [x]}}]", ".clients[0].permissions.read[0]", "'x': must start with /"),
        ("clients: [id: tv, id: tv]", ".clients", "tv is there twice"),
        ("resource_servers: {a: short}", ".resource_servers.a", "a secret is at least 16 visible ASCII characters"),
    ],
)  # fmt: skip
def test_of_a_wrong_setting_line_and_key_are_told(line: str, at: str, says: str) -> None:
    assert refusal(pairing("# as ever", line)) == f"pairlock.yaml:5: {PLACE}{at}: {says}"


def test_a_line_is_that_of_the_part_that_is_wrong() -> None:
    told = refusal(
        pairing("default_permissions:", "  read:", "  - /a", "  - b", "limits:", "  codes: 5", "  starts: x")
    )
    assert [line.split(": ")[:2] for line in told.splitlines()] == [
        ["pairlock.yaml:7", f"{PLACE}.default_permissions.read[1]"],
        ["pairlock.yaml:10", f"{PLACE}.limits.starts"],
    ]


def test_the_timeout_has_two_names_of_which_one_is_enough() -> None:
    says = "it is another name of pin_timeout, which is there too; remove one of them"
    assert refusal(pairing("timeout: 60", "pin_timeout: 60")) == f"pairlock.yaml:4: {PLACE}.timeout: {says}"


def test_of_keys_in_a_file_it_is_told_where_they_belong() -> None:
    says = "keys do not belong in a file like this; set PAIRLOCK_SECRET_KEYS, or leave them to the key file"
    assert refusal(pairing(f"secret_keys: [{SECRET}]")) == f"pairlock.yaml:4: {PLACE}.secret_keys: {says}"


def test_a_wrong_store_is_told_of_without_its_url() -> None:
    told = refusal(pairing("store: mysql://ann:password@db"))
    assert told.startswith(f"pairlock.yaml:4: {PLACE}.store: this is not the URL of a store; known are sqlite:///")
    assert "password" not in told


def test_an_alias_that_leads_back_is_refused() -> None:
    says = "this leads too far; does an alias repeat what it stands in?"
    assert refusal("a: &a\n  b: *a") == f"pairlock.yaml:2: a{'.b' * 16}: {says}"


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    told = refusal(
        pairing("pin_length: six", "colour: red", "server_name: 7", "limits:", "  starts: often", "enabled: 2")
    )
    assert [line.partition(": ")[0] for line in told.splitlines()] == [f"pairlock.yaml:{n}" for n in (4, 5, 6, 8, 9)]


TOML = f"""\
title = ''' # server =
[[server.security.pairing.clients]]
'''
[server]
tls = {{ certificate = "a.pem" }}
"port" = 8000
security.pairing.pin_length = 3
security.pairing.default_permissions.read = [
  "/a",
  "b",
]

[server.security.pairing.limits]
starts = "often"

  [[server.security.pairing.clients]] # the first
  id = "tv"

[server.security.pairing.clients.permissions]
read = ["/x"]

[[server.security.pairing.clients]]
id = 7

[server.security.pairing.clients.permissions]
read = 7
[server.security.pairing.token_life]
at = 2026-01-01
secret = "{SECRET}"
"""


def test_of_broken_toml_line_and_key_are_told() -> None:
    assert refusal(TOML, "pairlock.toml").splitlines() == [
        "pairlock.toml:1: title: there is no such setting",
        f"pairlock.toml:8: {PLACE}.default_permissions.read[1]: 'b': must start with /",
        f"pairlock.toml:14: {PLACE}.limits.starts: 'often' is no limit; write one such as \"3/minute; 10/hour\"",
        f"pairlock.toml:23: {PLACE}.clients[1].id: expected text, not a number; put it in quotes",
        f"pairlock.toml:26: {PLACE}.clients[1].permissions.read: expected a list, not a number",
        f"pairlock.toml:28: {PLACE}.token_life.at: expected a number of seconds, not a date (2026-01-01)",
        f'pairlock.toml:29: {PLACE}.token_life.secret: expected a number of seconds, not text ("{SECRET}")',
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 1\nb", "2: this is no TOML: Expected '=' after a key in a key/value pair"),
        ("a = 1\na = 2", "2: this is no TOML: Cannot overwrite a value"),
        ("a = [\n", "2: this is no TOML: Invalid value"),
        (f"a = {'1' * 5000}", "1: this is no TOML: a number is too long"),
        ("server = 7", "1: server: expected a table, not a number (7)"),
        (
            "[server]\n[server.security]\n[server.security.pairing]\n[server.security.pairing.window]",
            f"4: {PLACE}.window: there is no such setting; did you mean window_open?",
        ),
        (f"{PLACE}.clients = [\n{{id = 'a'}}, {{id = 'a'}}]", f"1: {PLACE}.clients: a is there twice"),
    ],
)
def test_of_what_is_no_toml_the_line_is_told(text: str, says: str) -> None:
    assert refusal(text, "pairlock.toml") == f"pairlock.toml:{says}"


@pytest.mark.parametrize("text", [f"a = {'[' * 5000}", f"a = {'[' * 20}{']' * 20}"])
def test_toml_is_nested_no_deeper_than_a_configuration(text: str) -> None:
    assert refusal(text, "pairlock.toml") == "pairlock.toml: it is nested too deeply"


def test_what_may_be_a_secret_is_not_repeated() -> None:
    text = pairing(f"resource_servers: {SECRET}", "clients:", f"- {SECRET}", "- id: tv", "  secret: 12345678901234567")
    told = refusal(text + "\n      store: 4711")
    assert told.splitlines() == [
        f"pairlock.yaml:4: {PLACE}.resource_servers: expected a table, not text",
        f"pairlock.yaml:6: {PLACE}.clients[0]: expected a table, not text",
        f"pairlock.yaml:8: {PLACE}.clients[1].secret: expected text, not a number; put it in quotes",
        f"pairlock.yaml:9: {PLACE}.store: expected text, not a number; put it in quotes",
    ]


@pytest.mark.parametrize("mark", ["*", "!", "!x!", "&x *"])
def test_a_secret_that_yaml_takes_for_something_else_is_not_repeated(mark: str) -> None:
    told = refusal(pairing(f"store: {mark}hunter2hunter2"))
    assert "hunter2" not in told


def test_a_table_that_repeats_itself_without_end_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "does an alias repeat what it stands in?" in refusal("\n".join(lines))


def test_text_of_a_file_is_shown_short_and_on_one_line() -> None:
    told = refusal(pairing('pin_length: "6\\n\\e[31m' + "x" * 100 + '"'))
    assert told == f'pairlock.yaml:4: {PLACE}.pin_length: expected a whole number, not text ("6 [31m{"x" * 34}")'


@pytest.mark.parametrize("name", ["pairlock", "pairlock.json", "pairlock.yaml.bak"])
def test_a_file_has_to_say_by_its_ending_what_it_is(name: str) -> None:
    assert refusal("", name) == f"{name}: name it so that it ends in .yaml, .yml or .toml"


def test_a_file_that_is_missing_or_none_is_told_of(folder: Path) -> None:
    (folder / "folder.yaml").mkdir()
    for name, says in (
        ("missing.yaml", "there is no such file"),
        ("folder.yaml", "this is no file; name the file itself"),
    ):
        with pytest.raises(ConfigurationError, match=f"^{name}: {says}$"):
            read_configuration(Path(name), environ={})


def test_a_link_into_nothing_is_told_of() -> None:
    Path("pairlock.yaml").symlink_to("gone.yaml")
    with pytest.raises(ConfigurationError, match=r"^pairlock\.yaml: there is no such file$"):
        read_configuration(environ={})


def test_a_file_that_cannot_be_read_is_told_of() -> None:
    Path("a.yaml").symlink_to("a.yaml")
    with pytest.raises(ConfigurationError, match=r"^a\.yaml: it cannot be read: Too many levels of symbolic links$"):
        read_configuration(Path("a.yaml"), environ={})


def test_without_the_library_for_yaml_there_is_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    says = "pairlock.yaml: YAML needs PyYAML; install it with: pip install 'pairlock[cli]', or write TOML"
    assert refusal("") == says
    assert read("", name="pairlock.toml").pairing == {}


# The environment


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("pin_length", "six", ': expected a whole number, not text ("six")'),
        ("pin_length", "3", ": 3 is no whole number from 4 to 12; 6 is a good choice"),
        ("enabled", "maybe", ': expected true or false, not text ("maybe")'),
        ("token_life", "soon", ': expected a number of seconds, not text ("soon")'),
        ("public", "/", ': expected a list in JSON, not text ("/")'),
        ("public", '["x"]', ": [0]: 'x': must start with /"),
        ("limits", "tight", ': expected a table in JSON, not text ("tight")'),
        ("limits", '{"starts": 5}', ": starts: expected text, not a number (5); put it in quotes"),
        ("limits", '{"starts": ""}', ": starts: '' is no limit; write one such as \"3/minute; 10/hour\""),
        ("clients", '[{"id": "tv", "secret": 7}]', ": [0].secret: expected text, not a number; put it in quotes"),
        ("clients", "[" * 5000, ": expected a list in JSON, not text"),
        ("resource_servers", SECRET, ": expected a table in JSON, not text"),
        ("port", "70000", ": 70000 is no port; they go from 1 to 65535, and 0 is any free one"),
    ],
)
def test_of_a_wrong_variable_its_name_is_told(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        in_environment(**{name: value}).pairlock(secret_keys=[KEY])
    assert str(refused.value) == f"PAIRLOCK_{name.upper()}{says}"


def test_an_argument_that_cannot_work_is_told_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^pin_length: 3 is no whole number from 4 to 12"):
        read_configuration(given={"pin_length": 3}, environ={}).pairlock()


def test_a_variable_that_is_no_setting_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    configuration = in_environment(pin_lenght="8", colour="red", timeout="300")
    assert read_configuration(environ={"PAIRLOCK_port": "1"}).serving.port == 8000
    assert configuration.pairing == {}
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "PAIRLOCK_COLOUR: there is no such setting"),
        (logging.WARNING, "PAIRLOCK_PIN_LENGHT: there is no such setting; did you mean PAIRLOCK_PIN_LENGTH?"),
        (logging.WARNING, "PAIRLOCK_TIMEOUT: there is no such setting; did you mean PAIRLOCK_PIN_TIMEOUT?"),
        (logging.WARNING, "PAIRLOCK_port: there is no such setting; did you mean PAIRLOCK_PORT?"),
    ]


def test_variables_of_others_are_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    configuration = in_environment(
        secret_keys=KEY,
        operator_token="x",
        credentials="x",
        service_host="10.0.0.1",
        port="tcp://10.0.0.1:80",
        port_80_tcp="tcp://10.0.0.1:80",
        chaos_seconds="5",
    )
    assert configuration.serving.port == 8000
    assert caplog.records == []


# Errors of what is made with the settings


def test_what_is_told_of_a_setting_later_gets_its_place_too() -> None:
    configuration = read("server:\n  at: pair")
    with pytest.raises(ConfigurationError, match=r"^pairlock\.yaml:2: server\.at: "), configuration.placing():
        configuration.pairlock().protect(lambda *_: None, at=configuration.serving.at)  # type: ignore[arg-type]  # never called
    with pytest.raises(StoreError, match=r"^pairlock\.yaml:2: server\.at: no$"), configuration.placing():
        raise StoreError("at: no")


def test_what_is_told_of_no_setting_stays_as_it_is() -> None:
    with pytest.raises(ConfigurationError, match=r"^secret_keys: this store keeps no key file"):
        read(pairing("store: postgresql://db/house")).pairlock()


def test_secrets_are_not_in_what_a_configuration_looks_like() -> None:
    assert SECRET not in repr(read(YAML)) + repr(read(YAML).serving)


# No file does harm

KEYS = [
    "server",
    "security",
    "pairing",
    "tls",
    "timeout",
    "read",
    "id",
    "secret_keys",
    *SETTINGS,
    *Limits.__struct_fields__,
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
    max_leaves=12,
)
TREES = st.fixed_dictionaries({"server": st.fixed_dictionaries({
    "security": st.fixed_dictionaries({"pairing": st.dictionaries(st.sampled_from([*PAIRING, "timeout"]), VALUES)}),
})}) | st.dictionaries(st.sampled_from(KEYS), VALUES)  # fmt: skip
SIGNS = st.text(st.sampled_from("ab:- \n\t#&*!|>'\"%@`{}[],?<=~0159._\\xUu+é\0\u2028\x85"), max_size=60)
FUZZ = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]")


def survives(content: bytes, name: str) -> None:
    try:
        read(content, name=name).pairlock(secret_keys=[KEY])
    except (ConfigurationError, StoreError) as error:
        for line in str(error).split("\n"):
            assert re.match(rf"{name}(:\d+)?: ", line)
            assert not CONTROLS.search(line)


@FUZZ
@given(TREES)
def test_no_tree_of_values_raises_anything_else(tree: dict[str, Any]) -> None:
    survives(yaml.safe_dump(tree).encode(), "pairlock.yaml")


@FUZZ
@given(SIGNS | SIGNS.map("server:\n  security:\n    pairing: ".__add__))
@example("%YAML 1" + "1" * 5000 + ".0\n---\n")
@example('"\\U00110000"')
@example('"\\uD800"')
@example("a: !!int x\nb: !!bool maybe\nc: !!float .\nd: !!null x")
@example("= : =")
def test_no_text_raises_anything_else_as_yaml(text: str) -> None:
    survives(text.encode(), "pairlock.yaml")


@FUZZ
@given(SIGNS | SIGNS.map("[server.security.pairing]\n".__add__) | SIGNS.map("server = ".__add__))
def test_no_text_raises_anything_else_as_toml(text: str) -> None:
    survives(text.encode(), "pairlock.toml")


@FUZZ
@given(st.binary(max_size=60), st.sampled_from(["pairlock.yaml", "pairlock.toml"]))
def test_no_bytes_raise_anything_else(content: bytes, name: str) -> None:
    survives(content, name)


@FUZZ
@given(st.sampled_from(sorted(SETTINGS)), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_no_variable_raises_anything_else(name: str, value: str) -> None:
    try:
        in_environment(**{name: value}).pairlock(secret_keys=[KEY])
    except (ConfigurationError, StoreError) as error:
        told = str(error)
    else:
        told = ""
    assert not told or told.startswith(f"PAIRLOCK_{name.upper()}: ")


# The page


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_the_examples_of_the_page_say_the_same() -> None:
    (in_yaml,), (in_toml,) = blocks("yaml"), blocks("toml")
    one, other = read(in_yaml), read(in_toml, name="pairlock.toml")
    assert tomllib.loads(in_toml) == yaml.safe_load(in_yaml)
    assert (one.pairing, one.serving) == (other.pairing, other.serving)
    assert one.pairlock().settings.default_permissions == Permissions(("/sensors/**",), ("/control/lamp",))


def test_the_page_lists_every_setting() -> None:
    listed = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+)", DOCUMENT.read_text(), re.MULTILINE)
    names = {name.replace(".", "_") for row in listed for name in re.findall(r"`([a-z_.]+)`", row)}
    assert names == SETTINGS.keys() | {"timeout"}
