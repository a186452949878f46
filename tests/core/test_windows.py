"""The pairing window: open until its time is over, or it is closed."""

import pytest

from pairlock._core.windows import Window, has_ended, is_open


@pytest.mark.parametrize("now", [-1e9, 0.0, 1e12])
def test_a_window_without_an_end_is_open_at_any_time(now: float) -> None:
    assert is_open(Window(open=True), now)
    assert is_open(Window(open=True, since=1000), now)


@pytest.mark.parametrize(
    ("now", "open"),
    [(1000, True), (1299.9, True), (1300, False), (1e9, False), (940, True), (939.9, False), (0, False)],
)
def test_a_window_is_open_until_its_time_is_over_and_not_before_it_was_opened(now: float, open: bool) -> None:
    # Clocks differ by up to a minute; one that is set back further must not keep it open for longer than was said.
    assert is_open(Window(open=True, until=1300, since=1000, by="operator:ada"), now) is open


@pytest.mark.parametrize("until", [None, 1300.0])
def test_a_closed_window_is_closed(until: float | None) -> None:
    assert not is_open(Window(open=False, until=until, since=1000), 1100)


@pytest.mark.parametrize(
    ("window", "ended"),
    [
        (Window(open=True, until=1300, since=1000), True),
        (Window(open=True, until=1300.1, since=1000), False),
        (Window(open=True), False),
        (Window(open=False), False),
        (Window(open=False, until=1000), False),  # somebody closed it before
    ],
)
def test_time_closes_only_what_is_open_until_then(window: Window, ended: bool) -> None:
    assert has_ended(window, 1300) is ended


@pytest.mark.parametrize("now", [0.0, 939.0, 1100.0, 1300.0, 1e9])
def test_what_time_has_closed_is_not_open(now: float) -> None:
    window = Window(open=True, until=1300, since=1000)
    assert not (has_ended(window, now) and is_open(window, now))
