"""Every error: its place on the wire, there and back."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock import errors
from pairlock.asgi.answers import refusal, wire_error
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    ClientError,
    ConfigurationError,
    InvalidClient,
    InvalidPin,
    InvalidRequest,
    InvalidToken,
    MissingToken,
    NotFound,
    NotPermitted,
    PairlockError,
    ServerError,
    StoreError,
    TemporarilyUnavailable,
    WireError,
    error_from,
    wire_errors,
)


def below(error: type[WireError]) -> Iterator[type[WireError]]:
    for child in error.__subclasses__():
        yield child
        yield from below(child)


ERRORS = [error for error in below(WireError) if error.__module__ == "pairlock.errors"]
OF_DEVICES = ClientError.__subclasses__()
MARK = "INPUT-7f3a"  # what a stranger sent


def test_every_error_of_the_module_has_a_place_on_the_wire_or_is_for_the_operator_or_the_device() -> None:
    defined = {thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert defined == {PairlockError, ConfigurationError, StoreError, WireError, *ERRORS, ClientError, *OF_DEVICES}
    assert all(issubclass(error, PairlockError) for error in defined)


def test_no_two_errors_share_a_wire_code() -> None:
    assert {error: error.code for error in ERRORS} == {error: code for code, error in wire_errors().items()}
    assert len({error.code for error in ERRORS}) == len(ERRORS) > 20


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_says_its_own_code_status_and_description(error: type[WireError]) -> None:
    assert {"code", "status", "description"} <= vars(error).keys()
    assert HTTPStatus(error.status).value == error.status >= 400
    assert error.code == error.code.lower()
    assert error.code.replace("_", "").isalpha()


@pytest.mark.parametrize("error", ERRORS)
def test_a_description_is_whole_sentences_that_fit_a_header(error: type[WireError]) -> None:
    assert error.description[0].isupper()
    assert error.description.endswith(".")
    # RFC 6749 §5.2, RFC 6750 §3: %x20-21 / %x23-5B / %x5D-7E
    assert all(" " <= symbol <= "~" and symbol not in '"\\' for symbol in error.description)
    assert not set("{}%<>") & set(error.description)


@pytest.mark.parametrize("error", ERRORS)
def test_a_description_is_fixed_whatever_the_extras_say(error: type[WireError]) -> None:
    body = error(**dict.fromkeys(error.extras, MARK)).body()
    assert body.pop("error") == error.code
    assert body.pop("error_description") == error.description
    assert body == dict.fromkeys(error.extras, MARK)
    assert MARK not in error.description


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_survives_the_wire(error: type[WireError]) -> None:
    for extras in ({}, {name: number for number, name in enumerate(error.extras)}):
        sent = error(**extras)
        received = error_from(json.loads(json.dumps(sent.body())))
        assert type(received) is error
        assert received.body() == sent.body()
        assert received.details == extras
        assert [getattr(received, name) for name in error.extras] == [extras.get(name) for name in error.extras]


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_survives_being_rendered_by_the_server(error: type[WireError]) -> None:
    sent = error(**{name: number for number, name in enumerate(error.extras, start=1)})
    answer = refusal(wire_error(sent))
    received = error_from(json.loads(bytes(answer.body)))
    assert type(received) is error
    assert received.details == sent.details
    assert (answer.status_code, answer.media_type) == (error.status, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.get("retry-after") == (str(sent.retry_after) if "retry_after" in error.extras else None)


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_challenges_only_where_credentials_are_the_matter(error: type[WireError]) -> None:
    challenged = refusal(error()).headers.get("www-authenticate")
    without_bearer = refusal(error(), bearer=False).headers.get("www-authenticate")
    assert (challenged or "").partition(" ")[0] == {
        MissingToken: "Bearer",
        InvalidToken: "Bearer",
        NotPermitted: "Bearer",
        InvalidRequest: "Bearer",
        InvalidClient: "Basic",
    }.get(error, "")
    assert without_bearer == (challenged if error is InvalidClient else None)
    if error.status == 401:
        assert challenged  # RFC 9110 §15.5.2


def test_what_is_unavailable_is_always_told_when_to_come_back() -> None:
    assert refusal(TemporarilyUnavailable()).headers["retry-after"] == "1"
    assert refusal(wire_error(StoreError("x"))).headers["retry-after"] == "5"


@pytest.mark.parametrize("error", [ConfigurationError("/etc/x"), StoreError("/var/x")])
def test_what_is_for_the_operator_is_logged_and_not_told(
    error: PairlockError, caplog: pytest.LogCaptureFixture
) -> None:
    told = refusal(wire_error(error))
    assert str(error) in caplog.text
    assert str(error).encode() not in bytes(told.body)
    assert told.status_code >= 500


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"error": "unheard_of", "error_description": "x"},
        {"error": None},
        {"error": 7},
        {"error": ["invalid_pin"]},
        {"error": {"code": "invalid_pin"}},
        {"error": ""},
        {"error": "INVALID_PIN"},
        {"error": "__class__"},
        {"detail": "x"},
    ],
)
def test_an_answer_that_names_no_known_error_is_a_server_error(body: dict[str, Any]) -> None:
    assert type(error_from(body)) is ServerError


@given(
    code=st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)
def test_no_answer_makes_reading_it_fail(code: object) -> None:
    assert isinstance(error_from({"error": code, "reason": code, "attempts_left": code}), WireError)


def test_what_an_answer_says_beyond_the_documented_extras_is_left_out() -> None:
    received = error_from({"error": "invalid_pin", "attempts_left": 2, "reason": "x", "code": "y"})
    assert type(received) is InvalidPin
    assert received.details == {"attempts_left": 2}


def test_an_extra_that_is_not_documented_is_a_mistake() -> None:
    with pytest.raises(TypeError, match=r"NotFound has no extra \['detail'\]"):
        NotFound(detail="x")


def test_an_extra_is_an_attribute_and_nothing_else_is() -> None:
    assert AlreadyDecided(state="denied").state == "denied"
    assert AlreadyDecided().state is None
    with pytest.raises(AttributeError):
        _ = AlreadyDecided().reason
    assert not hasattr(NotFound(), "state")


def test_an_extra_without_a_value_stays_off_the_wire_but_nought_does_not() -> None:
    assert AccessDenied(reason=None).body() == {"error": "access_denied", "error_description": AccessDenied.description}
    assert InvalidPin(attempts_left=0).body()["attempts_left"] == 0


def test_an_error_prints_with_its_code_and_extras() -> None:
    assert str(NotFound()) == "not_found: There is nothing with this address or id."
    assert str(TemporarilyUnavailable(retry_after=3)).endswith(" Retry shortly. (retry_after: 3)")


STRIPPED = """
import json
from pairlock.errors import error_from, wire_errors
assert False, "assertions are off, as they should be"
for error in wire_errors().values():
    sent = error(**{name: 1 for name in error.extras})
    received = error_from(json.loads(json.dumps(sent.body())))
    if type(received) is not error or received.body() != sent.body() or not received.description:
        raise SystemExit(error.code)
print(len(wire_errors()), error.__doc__)
"""


def test_errors_are_the_same_when_python_drops_docstrings() -> None:
    run = subprocess.run([sys.executable, "-OO", "-c", STRIPPED], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == (f"{len(ERRORS)} None\n", "", 0)
