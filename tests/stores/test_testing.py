"""The clock and the builders that tests are given."""

from collections.abc import Callable

import msgspec
import pytest

import pairlock.testing
from pairlock._core.records import Record
from pairlock.testing import FakeClock, StoreContract, a_device, a_request, a_setting, an_event


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    assert clock() == clock() == 1_700_000_000.0
    clock.advance(4.9)
    assert clock() == 1_700_000_004.9
    clock.set(5)
    assert clock() == 5
    assert repr(clock) == "FakeClock(5)"


@pytest.mark.parametrize("build", [a_request, a_device, a_setting])
def test_what_is_built_is_valid_and_later_ones_are_newer(build: Callable[..., Record]) -> None:
    first, second = build(id="first"), build()
    assert first.id == "first"
    assert build().id > second.id
    assert len(second.id) == 26
    assert msgspec.convert(msgspec.to_builtins(second), type(second)) == second


def test_a_built_event_is_valid() -> None:
    event = an_event(name="phone")
    assert event.name == "phone"
    assert msgspec.convert(msgspec.to_builtins(event), type(event)) == event


def test_all_public_names_are_there() -> None:
    assert {name: getattr(pairlock.testing, name) for name in pairlock.testing.__all__}[
        "StoreContract"
    ] is StoreContract
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        pairlock.testing.Nothing  # noqa: B018
