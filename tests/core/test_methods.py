"""Methods as data: what each row says holds together."""

import pytest

from pairlock._core.methods import METHODS, Method, grouped
from pairlock._core.states import State

ROWS = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.mark.parametrize(("code", "shown"), [("K3F9X2NM", "K3F9-X2NM"), ("WDJBMJHT", "WDJB-MJHT")])
def test_a_code_of_eight_is_read_in_two_halves(code: str, shown: str) -> None:
    assert grouped(code) == shown


@ROWS
def test_a_method_stands_under_its_name(method: Method) -> None:
    assert METHODS[method.name] is method


@ROWS
def test_what_people_type_reads_as_what_was_shown(method: Method) -> None:
    code = (method.alphabet.symbols * 32)[: method.length]
    assert method.alphabet.normalise(grouped(code)) == code


@ROWS
def test_who_waits_for_an_operator_may_have_a_pin_to_type(method: Method) -> None:
    assert (method.attempts is not None) is (method.initial is State.PENDING)


@ROWS
def test_a_code_lives_for_minutes_and_is_hard_to_guess_in_them(method: Method) -> None:
    assert 120 <= method.lifetime <= 600
    codes = len(method.alphabet.symbols) ** method.length
    tries = method.attempts or 10 * method.lifetime / 60  # from one source, as the limits have it
    assert tries / codes <= 5e-6


def test_no_two_methods_derive_their_codes_for_one_purpose() -> None:
    assert len(METHODS) == len(set(METHODS)) == 4
    assert not set(METHODS) & {"confirmation", "refresh", "refresh family"}
