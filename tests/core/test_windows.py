"""The pairing window: open until its time is over, or it is closed."""

import pytest

from pairlock._core.windows import Window, is_open


@pytest.mark.parametrize("now", [-1e9, 0.0, 1e12])
def test_a_window_without_an_end_is_open_at_any_time(now: float) -> None:
    assert is_open(Window(open=True), now)
    assert is_open(Window(open=True, since=1000), now)


@pytest.mark.parametrize(
    ("now", "open"), [(1000, True), (1299.9, True), (1300, False), (1e9, False), (900, False), (0, False)]
)
def test_a_window_is_open_until_its_time_is_over_and_not_before_it_was_opened(now: float, open: bool) -> None:
    # A clock that is set back must not keep it open for longer than was said.
    assert is_open(Window(open=True, until=1300, since=1000, by="operator:ada"), now) is open


@pytest.mark.parametrize("until", [None, 1300.0])
def test_a_closed_window_is_closed(until: float | None) -> None:
    assert not is_open(Window(open=False, until=until, since=1000), 1100)
