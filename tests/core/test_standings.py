"""How devices stand in this process."""

import gc
from typing import Any
from weakref import ref

import pytest

from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import AuditEvent, Device, EventType
from pairlock._core.standings import Standing, Standings

LESS = Permissions(read=("/a",))


class Serving:
    """Something open that a device is served by."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def cancel(self, msg: str) -> None:
        self.stopped.append(msg)


def an_event(type: EventType, **fields: Any) -> AuditEvent:
    return AuditEvent(type=type, at=1000, by="operator:ada", **({"device_id": "1"} | fields))


def cut(standing: Standing) -> None:
    """Take all steps at once."""
    for _ in standing.cut():
        pass


def some_standings() -> Standings:
    return Standings(on_less=cut)


def a_device(**fields: Any) -> Device:
    given: dict[str, Any] = {"name": "Phone", "method": "pin", "permissions": LESS, "created_at": 1} | fields
    return Device(id="1", request_id="2", approved_by="operator:ada", **given)


def test_a_device_has_one_standing() -> None:
    standings = some_standings()
    standing = standings.of("1")
    assert standings.of("1") is standing
    assert standings.of("2") is not standing
    assert (standing.revoked, standing.permissions, standing.least_epoch) == (False, None, 0)


class Allowed:
    """Something that is let in as long as this is True."""

    def __init__(self, counts: bool = False) -> None:
        self.counts = counts


def test_cutting_stops_all_that_is_open_and_says_why() -> None:
    standing, open_ones = Standing(), [Serving(), Serving()]
    standing.served |= dict.fromkeys((*open_ones, None), Allowed())  # one of them cannot be stopped
    standing.revoke()
    cut(standing)
    assert [serving.stopped for serving in open_ones] == 2 * [["pairlock: the device was revoked"]]


def test_what_is_open_may_leave_while_it_is_cut() -> None:
    standing = Standing()

    class Leaving(Serving):
        def cancel(self, msg: str) -> None:
            super().cancel(msg)
            del standing.served[self]

    open_ones = [Leaving(), Leaving()]
    standing.served |= dict.fromkeys(open_ones, Allowed())
    cut(standing)
    assert [len(serving.stopped) for serving in open_ones] == [1, 1]
    assert not standing.served


def test_suspending_stops_all_that_is_open_whatever_it_may_do() -> None:
    standing, open_ones = Standing(), [Serving(), Serving()]
    standing.served |= dict.fromkeys((*open_ones, None), Allowed(True))
    for _ in standing.suspend():
        pass
    assert [serving.stopped for serving in open_ones] == 2 * [["pairlock: revocations cannot be heard"]]


def test_what_has_left_between_two_steps_is_not_stopped() -> None:
    standing, (first, second) = Standing(), (Serving(), Serving())
    standing.served |= {first: Allowed(), second: Allowed()}
    steps = standing.cut()
    next(steps)
    del standing.served[second]
    assert list(steps) == [None]
    assert (len(first.stopped), second.stopped) == (1, [])


def test_those_are_told_of_for_whom_something_is_open() -> None:
    standings = some_standings()
    held = [standings.of(name) for name in "ab"]
    held[1].served[Serving()] = Allowed(True)
    assert standings.being_served() == [held[1]]


def test_a_narrowing_stops_what_would_not_be_let_in_now_and_nothing_else() -> None:
    standings, kept, ended = some_standings(), Serving(), Serving()
    standing = standings.of("1")
    standing.served |= {kept: Allowed(True), ended: Allowed(False)}
    standings.apply(an_event(EventType.NARROWED, epoch=1, permissions=LESS))
    assert (kept.stopped, ended.stopped) == ([], ["pairlock: the device was narrowed"])


def test_whoever_was_seen_or_is_served_is_told_of_once() -> None:
    standings = some_standings()
    held = [standings.of(name) for name in "abc"]
    held[0].seen = True
    held[1].served[Serving()] = Allowed(True)
    assert sorted(standings.take_seen()) == ["a", "b"]
    held[2].seen = True
    assert sorted(standings.take_seen()) == ["b", "c"]


def test_every_change_voids_what_was_decided_before() -> None:
    standing = Standing()
    marks = [standing.mark]
    standing.narrow(1, LESS)
    marks.append(standing.mark)
    standing.revoke()
    marks.append(standing.mark)
    assert len(set(map(id, marks))) == 3


def test_what_changes_nothing_voids_nothing() -> None:
    standing = Standing()
    standing.narrow(2, LESS)
    mark = standing.mark
    standing.narrow(2, NOTHING)
    standing.narrow(1, NOTHING)
    assert standing.mark is mark
    assert standing.permissions == LESS


def test_a_revocation_is_taken_up_once_and_told_once() -> None:
    told: list[tuple[Standing, bool]] = []
    standings = Standings(lambda standing: told.append((standing, standing.revoked)))
    standing = standings.of("1")
    standings.apply(an_event(EventType.REVOKED))
    mark = standing.mark
    standings.apply(an_event(EventType.REVOKED))
    assert standing.mark is mark
    standings.load(a_device(epoch=1, revoked_at=1000.0))
    assert told == [(standing, True)]
    assert not standings.of("2").revoked


def test_a_device_that_is_loaded_as_revoked_is_told_too() -> None:
    told: list[Standing] = []
    standings = Standings(told.append)
    standings.load(a_device(epoch=1, revoked_at=1000.0))
    assert told == [standings.of("1")]


def test_a_narrowing_is_taken_up_and_does_not_revoke() -> None:
    standings = some_standings()
    standing = standings.of("1")
    standings.apply(an_event(EventType.NARROWED, epoch=1, permissions=LESS))
    assert (standing.revoked, standing.permissions, standing.least_epoch) == (False, LESS, 1)


def test_a_narrowing_that_does_not_say_to_what_changes_nothing() -> None:
    standings = some_standings()
    standing = standings.of("1")
    standings.apply(an_event(EventType.NARROWED, epoch=1))
    assert standing.least_epoch == 0


@pytest.mark.parametrize("type", sorted(set(EventType) - {EventType.REVOKED, EventType.NARROWED}))
def test_any_other_event_leaves_devices_as_they_are(type: EventType) -> None:
    standings = some_standings()
    standing = standings.of("1")
    standings.apply(an_event(type, epoch=1, permissions=LESS))
    standings.apply(an_event(EventType.REVOKED, device_id=None))
    assert (standing.revoked, standing.permissions) == (False, None)


@pytest.mark.parametrize(("revoked_at", "revoked"), [(None, False), (900.0, True)])
def test_a_device_stands_as_the_store_says(revoked_at: float | None, revoked: bool) -> None:
    standings = some_standings()
    standing = standings.of("1")
    standings.load(a_device(epoch=2, revoked_at=revoked_at))
    assert (standing.revoked, standing.permissions, standing.least_epoch) == (revoked, LESS, 2)


def test_a_device_that_never_changed_keeps_what_its_tokens_say() -> None:
    standings = some_standings()
    standing = standings.of("1")
    standings.load(a_device())
    assert standing.permissions is None


def test_a_reset_trusts_nothing_that_was_known_and_looks_up_anew() -> None:
    told: list[Standing] = []
    standings = Standings(told.append)
    known = standings.of("1")
    standings.reset()
    assert known.revoked
    assert told == [known]
    assert standings.of("1") is not known
    assert not standings.of("1").revoked


def test_a_standing_nobody_holds_takes_no_memory() -> None:
    standings = some_standings()
    standing = ref(standings.of("1"))
    gc.collect()
    assert standing() is None
