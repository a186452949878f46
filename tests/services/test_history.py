"""Whether history is still the one that was known: a feed that is taken up again begins with the last event heard."""

import pytest
from msgspec.structs import replace

from pairlock._core.records import AuditEvent
from pairlock.errors import StoreError
from pairlock.services.history import SKEW, History
from pairlock.stores.contract import Batch
from pairlock.testing import FakeClock, an_event

FIRST, SECOND, THIRD = (an_event(name=str(seq), seq=seq) for seq in (1, 2, 3))


def batch(*events: AuditEvent, cursor: int | None = None) -> Batch:
    return Batch(events[-1].seq if cursor is None else cursor, events)


@pytest.fixture
def history() -> History:
    """One that has heard two events."""
    history = History(None, FakeClock())
    assert history.resume() is None
    assert history.go_on(batch(cursor=0)) == ()
    assert history.go_on(batch(FIRST, SECOND)) == (FIRST, SECOND)
    return history


def test_it_goes_on_where_it_was(history: History) -> None:
    assert history.go_on(batch(cursor=2)) == ()
    assert history.go_on(batch(THIRD)) == (THIRD,)


def test_what_was_heard_is_told_again_and_not_heard_twice(history: History) -> None:
    assert history.resume() == 1
    assert history.go_on(batch(SECOND, THIRD)) == (THIRD,)
    assert history.resume() == 2
    assert history.go_on(batch(THIRD)) == ()


@pytest.mark.parametrize("told", [(), (THIRD,), (replace(SECOND, name="another"), THIRD)])
def test_another_event_in_its_place_is_another_history(history: History, told: tuple[AuditEvent, ...]) -> None:
    history.resume()
    with pytest.raises(StoreError, match="put back to an older state"):
        history.go_on(batch(*told, cursor=3))


def test_a_cursor_that_falls_is_another_history(history: History) -> None:
    with pytest.raises(StoreError):
        history.go_on(batch(cursor=1))


def test_what_may_have_been_purged_is_not_asked_for() -> None:
    clock = FakeClock()
    history = History(None, clock)
    history.resume()
    history.go_on(batch(replace(FIRST, purge_at=clock.now + SKEW + 10)))
    assert history.resume() == 0
    clock.advance(11)
    assert history.resume() == 1
    assert history.go_on(batch(cursor=1)) == ()


def test_the_last_event_before_the_start_is_known_too() -> None:
    history = History(SECOND, FakeClock())
    assert history.resume() is None
    assert history.go_on(batch(cursor=7)) == ()  # what came in between is of the past
    assert history.resume() == 1
    assert history.go_on(batch(SECOND, THIRD, replace(THIRD, seq=9))) == (replace(THIRD, seq=9),)
