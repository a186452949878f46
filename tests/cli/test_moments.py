"""Points in time, as people read them."""

import pytest

from pairlock.cli.moments import ago

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (-5, "just now"),
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (86400 * 90, "90 d ago"),
    ],
)
def test_how_long_ago_something_was_is_told_in_one_unit(passed: float, said: str) -> None:
    assert ago(NOW - passed, NOW) == said


def test_what_never_was_is_said_to_be_never() -> None:
    assert ago(None, NOW) == "never"
