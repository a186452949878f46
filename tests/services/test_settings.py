"""What cannot work is said when the object is made, with the argument and what to write."""

from collections.abc import Mapping
from typing import Any

import pytest

from pairlock import ConfigurationError, Operator, Pairlock, Permissions, operator_token
from tests.services.parts import KEY, SENSORS


def make(**settings: Any) -> Pairlock:
    return Pairlock(**{"store": "memory://", "secret_keys": [KEY], "default_permissions": SENSORS, **settings})


@pytest.mark.parametrize("length", [3, 13, 0, -6, 6.0, "6", None, True])
def test_a_pin_length_outside_4_to_12_is_refused(length: object) -> None:
    with pytest.raises(ConfigurationError, match=r"pin_length: .* is not from 4 to 12; 6 is a good choice"):
        make(pin_length=length)


@pytest.mark.parametrize("name", ["pin_timeout", "token_life", "max_staleness"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "300", None])
def test_a_duration_that_is_no_positive_number_is_refused(name: str, seconds: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}: .* is not a positive number of seconds, such as 300"):
        make(**{name: seconds})


def test_a_token_life_under_a_second_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"token_life: 0\.5 "):
        make(token_life=0.5)


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


@pytest.mark.parametrize("store", ["sqlite:/x.db", "mysql://x", "postgresql://x", "sqlite://x.db", "memory://x"])
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
