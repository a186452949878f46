"""What cannot work is said when the object is made, with the argument and what to write."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import fields

from pairlock import Client, ConfigurationError, Limits, Operator, Pairlock, Permissions, operator_token
from tests.services.parts import KEY, SENSORS


def make(**settings: Any) -> Pairlock:
    return Pairlock(**{"store": "memory://", "secret_keys": [KEY], "default_permissions": SENSORS, **settings})


@pytest.mark.parametrize("length", [3, 13, 0, -6, 6.0, "6", None, True])
def test_a_pin_length_outside_4_to_12_is_refused(length: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^pin_length: .* from 4 to 12; 6 is a good choice"):
        make(pin_length=length)


DURATIONS = [
    "pin_timeout",
    "device_code_timeout",
    "refresh_idle",
    "max_staleness",
    "window_timeout",
    "decide_timeout",
    "token_life",
]


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "300", True, [300]])
def test_a_duration_that_is_no_positive_number_is_refused(name: str, seconds: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: .* is not a positive number of seconds"):
        make(**{name: seconds})


@pytest.mark.parametrize("name", [name for name in DURATIONS if name != "token_life"])
def test_a_duration_may_not_be_left_out_by_none(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: None is not a positive number of seconds"):
        make(**{name: None})


@pytest.mark.parametrize("life", [0.5, {"pin": 0.5}])
def test_a_token_life_under_a_second_is_refused(life: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^token_life: 0\.5 is under the second in which tokens count"):
        make(token_life=life)


@pytest.mark.parametrize("given", [{"passcode": 60}, {"": 60}, {7: 60}])
def test_a_token_life_of_no_method_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^token_life: .* is not a method; there are pin, device_code, one_"):
        make(token_life=given)


@pytest.mark.parametrize("given", ["pin", ["passcode"], [7], [["pin"]], None, 7])
def test_long_lived_that_is_no_list_of_methods_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^long_lived: "):
        make(long_lived=given)


def test_tokens_live_an_hour_and_long_lived_ones_90_days_unless_it_is_said() -> None:
    settings = make(long_lived=["qr", "one_time_code"], token_life={"pin": 60, "one_time_code": 600}).settings
    lives = {method: settings.life_of(method) for method in ("pin", "device_code", "one_time_code", "qr")}
    assert lives == {"pin": 60, "device_code": 3600, "one_time_code": 600, "qr": 90 * 86400}
    assert {make(token_life=60).settings.life_of(method) for method in lives} == {60}
    assert {make(token_life=None).settings.life_of(method) for method in lives} == {3600}


def test_requests_live_as_long_as_is_said_of_their_method() -> None:
    settings = make(pin_timeout=60, device_code_timeout=120).settings
    assert (settings.timeout_of("pin"), settings.timeout_of("device_code")) == (60, 120)
    assert (make().settings.timeout_of("pin"), make().settings.timeout_of("device_code")) == (300, 600)


def test_the_numbers_are_those_of_the_design() -> None:
    settings = make().settings
    assert (settings.pin_length, settings.enabled, settings.window_open, settings.window_timeout) == (
        6,
        True,
        True,
        300,
    )
    assert (settings.refresh_idle, settings.max_staleness) == (90 * 86400, 10)
    assert (settings.confirmation_pin, settings.same_network) == (False, False)
    assert settings.limits == Limits()
    limits = settings.limits
    assert (limits.starts, limits.pending_per_source, limits.pending) == ("3/minute; 5/10 minutes; 10/hour", 3, 20)
    assert limits.wrong_pins.startswith("10/15 minutes")
    assert (limits.wrong_pins_in_a_row, limits.wrong_pins_a_day) == (20, 50)
    assert limits.wrong_codes.startswith("10/minute")
    assert (limits.wrong_codes_in_all, limits.wrong_user_codes) == ("100/hour", "5/15 minutes")


@pytest.mark.parametrize("name", [7, None, b"House", ["House"]])
def test_a_server_name_is_text(name: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^server_name: "):
        make(server_name=name)


@pytest.mark.parametrize("name", ["enabled", "window_open", "confirmation_pin", "same_network"])
@pytest.mark.parametrize("given", ["false", "no", 0, 1, None])
def test_what_is_yes_or_no_is_nothing_else(name: str, given: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: "):
        make(**{name: given})


# Limits

RATES = [field.name for field in fields(Limits) if isinstance(field.default, str)]
COUNTS = [field.name for field in fields(Limits) if isinstance(field.default, int)]


def test_every_limit_is_a_rate_or_a_count() -> None:
    assert len(RATES) + len(COUNTS) == len(fields(Limits))


def limits(**given: Any) -> Limits:
    return Limits(**given)


@pytest.mark.parametrize("name", RATES)
def test_a_limit_that_is_no_rate_is_refused_by_its_name(name: str) -> None:
    for rate in ("", "often", "3", "3/", "/minute", "0/minute", "-3/minute", "3/fortnight", "1/2 years"):
        with pytest.raises(ConfigurationError, match=rf"^limits: {name}: .*3/minute; 10/hour"):
            limits(**{name: rate})


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("rate", [3, None, True])
def test_a_rate_is_written_as_text(name: str, rate: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^limits: {name}: "):
        limits(**{name: rate})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("count", [0, -1, float("nan"), float("inf"), 2.5, None, True, "3", "3/minute", [3]])
def test_a_count_that_is_no_number_from_1_up_is_refused_by_its_name(name: str, count: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^limits: {name}: "):
        limits(**{name: count})


@pytest.mark.parametrize("rate", ["1/second", "3/minute;10/hour", "3 per minute, 10 per hour", "5/10 minutes"])
def test_a_rate_may_be_written_in_several_ways(rate: str) -> None:
    given = limits(**dict.fromkeys(RATES, rate))
    assert make(limits=given).settings.limits == given


@pytest.mark.parametrize("count", [1, 100_000])
def test_a_count_may_be_any_number_from_1_up(count: int) -> None:
    given = limits(**dict.fromkeys(COUNTS, count))
    assert make(limits=given).settings.limits == given


@pytest.mark.parametrize("given", [{"pending": 3}, "3/minute", 3, False])
def test_limits_are_given_as_limits(given: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^limits: "):
        make(limits=given)


# Who may call


@pytest.mark.parametrize(
    "address",
    [
        "",
        "house.example",
        "house.example/pair",
        "ftp://house.example/pair",
        "https://",
        "https://house.example/pair/",
        "https://house.example/pair?x=1",
        "https://house.example/pair#x",
        "https://user@house.example/pair",
        "https://house.example/pa ir",
        "https://house.example/pair\n",
        "https://[::1/pair",
        "http://[house.example]/pair",
        7,
        b"https://house.example/pair",
    ],
)
def test_an_issuer_or_verification_uri_that_is_no_address_is_refused(address: object) -> None:
    for name in ("issuer", "verification_uri"):
        with pytest.raises(ConfigurationError, match=rf"^{name}: .*such as https://house.example/pair"):
            make(**{name: address})


@pytest.mark.parametrize(
    "address",
    [
        None,
        "https://house.example",
        "https://house.example/pair",
        "http://[::1]:8000/pair",
        "http://127.0.0.1",
        "http://localhost:80",
    ],
)
def test_an_issuer_is_the_address_of_the_sub_app(address: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert make(issuer=address).settings.issuer == address
    assert caplog.text == ""


@pytest.mark.parametrize("address", ["http://house.example/pair", "http://192.0.2.7", "http://localhost.example"])
@pytest.mark.parametrize("name", ["issuer", "verification_uri"])
def test_an_address_that_is_not_encrypted_is_warned_of(
    name: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    make(**{name: address})
    assert caplog.messages == [
        f"{name}: {address} is not encrypted: whoever is on the way can read tokens; serve https"
    ]


@pytest.mark.parametrize("proxies", ["10.0.0.0/8", ["proxy"], ["10.0.0.1/8"], [""], ["10.0.0.0/33"], None, [None]])
def test_trusted_proxies_that_are_no_networks_are_refused(proxies: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^trusted_proxies: "):
        make(trusted_proxies=proxies)


def test_trusted_proxies_are_networks_or_addresses() -> None:
    proxies = make(trusted_proxies=["10.0.0.0/8", "::1", "127.0.0.1"]).settings.trusted_proxies
    assert [str(each) for each in proxies] == ["10.0.0.0/8", "::1/128", "127.0.0.1/32"]


@pytest.mark.parametrize(
    "clients", [["tv"], "tv", [None], [Client(id="tv"), Client(id="tv", name="Other")], 7, Client(id="tv")]
)
def test_clients_that_are_no_list_of_different_clients_are_refused(clients: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^clients: "):
        make(clients=clients)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"id": ""}, "an id is 1 to 200 visible ASCII characters, not ''"),
        ({"id": "t v"}, "an id is"),
        ({"id": "x" * 201}, "an id is"),
        ({"id": 7}, "an id is"),
        ({"id": "tv", "secret": "short"}, "tv: a secret is at least 16 visible ASCII characters"),
        ({"id": "tv", "secret": ""}, "tv: a secret is"),
        ({"id": "tv", "secret": "sixteen letters!\n"}, "tv: a secret is"),
        ({"id": "tv", "secret": 7}, "tv: a secret is"),
    ],
)
def test_a_client_that_could_not_prove_itself_is_refused_when_it_is_made(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^clients: ") as refused:
        Client(**given)
    assert says in str(refused.value)
    assert "sixteen letters" not in str(refused.value)


@pytest.mark.parametrize(
    "servers",
    [
        {"": "x" * 16},
        {"house": "short"},
        {"house": ""},
        {"house": None},
        {"ho use": "x" * 16},
        {7: "x" * 16},
        ["house"],
    ],
)
def test_resource_servers_without_a_proper_id_and_secret_are_refused(servers: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^resource_servers: "):
        make(resource_servers=servers)


@pytest.mark.parametrize("decide", ["approve", True, {"approve": True}])
def test_a_decision_handler_that_cannot_be_called_is_refused(decide: object) -> None:
    with pytest.raises(ConfigurationError, match=r"^decide: give an async function"):
        make(decide=decide)


@pytest.mark.parametrize(
    ("permissions", "says"),
    [
        ({"read": ["sensors"]}, "sensors"),
        ({"read": "/sensors/**"}, "must be a list"),
        ({"reed": ["/sensors/**"]}, "reed"),
        ({"read": [7]}, "string"),
        ("/sensors/**", "read"),
        (None, "read"),
        ([1, 2], "read"),
    ],
)
def test_default_permissions_that_are_malformed_are_refused(permissions: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^default_permissions: ") as refused:
        make(default_permissions=permissions)
    assert says in str(refused.value)


@pytest.mark.parametrize("permissions", [SENSORS, Permissions(read=("/sensors/**",), write=("/control/lamp",)), {}])
def test_default_permissions_may_be_a_mapping_or_permissions(permissions: Permissions | Mapping[str, Any]) -> None:
    assert make(default_permissions=permissions).settings.default_permissions == Permissions.parse(permissions)


@pytest.mark.parametrize("store", ["sqlite:/x.db", "mysql://x", "postgresql", "sqlite://x.db", "memory://x"])
def test_a_store_that_is_not_known_is_refused_by_the_argument_s_name(store: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^store: "):
        make(store=store)


@pytest.mark.parametrize("at", ["", "/", "pair", "/pair/", "/pair/*", "/pair/**", "/a//b", "/../pair", "/pa?r"])
def test_a_mount_point_that_is_no_path_is_refused(at: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^at: "):
        make().protect(nothing, at=at)


def test_a_public_pattern_that_is_malformed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^public: "):
        make().protect(nothing, public=["assets"])


@pytest.mark.parametrize("token", ["", "fifteen letters", "x" * 15, "correct horse battery", "one,two,three,four"])
def test_an_operator_token_that_is_short_or_could_not_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match="operator_token: give a random secret of at least 16 characters"):
        operator_token(token)


async def nothing(scope: object, receive: object, send: object) -> None:
    """An app that does nothing."""


@pytest.mark.parametrize(
    ("argument", "given", "says"),
    [
        ("store", None, "store: give a URL such as sqlite:///pairlock.db, or a Store, not None"),
        ("operator", "secret", "operator: give a function of the connection, such as operator_token"),
    ],
)
def test_what_is_no_store_or_no_hook_is_refused_when_it_is_given(argument: str, given: object, says: str) -> None:
    settings: dict[str, Any] = {"store": "memory://", "secret_keys": [KEY], "default_permissions": {}, argument: given}
    with pytest.raises(ConfigurationError, match=says):
        Pairlock(**settings)


def test_an_operators_permissions_are_checked_when_they_are_given() -> None:
    unchecked: Any = {"read": ["/a"]}
    with pytest.raises(ConfigurationError, match=r"Operator: give its permissions as Permissions\.parse"):
        Operator("ann", unchecked)


@pytest.mark.parametrize(
    ("argument", "given", "says"),
    [
        ("public", "/x", r"public: give a list, such as \['/x'\]"),
        ("public", ["x"], "public: 'x': must start with /"),
        ("origins", "https://a.example", r"origins: give a list, such as \['https://a.example'\]"),
        *(
            ("origins", [wrong], "origins: .* must read like https://app.example")
            for wrong in ("a.example", "https://a.example/", "*", "https://*", "null")
        ),
    ],
)
def test_a_guard_refuses_what_cannot_work_when_it_is_made(argument: str, given: object, says: str) -> None:
    pairlock = Pairlock(store="memory://", secret_keys=[KEY], default_permissions={})
    arguments: dict[str, Any] = {argument: given}
    with pytest.raises(ConfigurationError, match=says):
        pairlock.guard(pairlock.app, **arguments)
