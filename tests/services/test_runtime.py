"""What runs beside the calls: the change feed, what follows it, and the purge."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, closing
from functools import partial
from pathlib import Path

import pytest

from pairlock import Pairlock, Permissions, Prompt
from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.errors import InvalidToken, NotFound, TemporarilyUnavailable
from pairlock.services.runtime import ACTED_UPON_AT_ONCE, HEARTBEAT
from pairlock.stores.contract import MAX_BATCH, Batch, Log
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.testing import FakeClock, a_device, an_event
from tests.services.parts import (
    FailingStore,
    Make,
    away,
    kept,
    kept_events,
    pair,
    paired_token,
    permitted,
    reading,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


def reached(seen: list[str], count: int) -> bool:
    return len(seen) >= count


async def next_of(prompts: AsyncIterator[Prompt]) -> Prompt:
    return await asyncio.wait_for(anext(prompts), 2)


# Other processes


async def test_another_process_hears_of_a_revocation_within_a_second(pairlock: Pairlock, other: Pairlock) -> None:
    device = (await pair(pairlock)).device
    token, _ = pairlock.tokens.access(device)
    grant = await other.verify(token)
    await pairlock.devices.revoke(device.id)
    await until(lambda: permitted(grant) == (False, False), seconds=1)
    with pytest.raises(InvalidToken):
        await other.verify(token)


async def test_another_process_hears_of_a_narrowing_within_a_second(pairlock: Pairlock, other: Pairlock) -> None:
    device = (await pair(pairlock)).device
    grant = await other.verify(pairlock.tokens.access(device)[0])
    narrowed = await pairlock.devices.narrow(device.id, Permissions(read=("/sensors/a",)))
    await until(lambda: permitted(grant) == (True, False), seconds=1)
    renewed = await other.verify(other.tokens.access(narrowed)[0])  # of the new epoch: by its own claims
    assert permitted(renewed) == (True, False)


async def test_a_device_is_looked_up_before_its_first_token_is_believed(make: Make) -> None:
    pairlock = make(store="memory://")
    unknown = pairlock.tokens.access
    await pairlock.start()
    with pytest.raises(InvalidToken):
        await pairlock.verify(unknown(a_device())[0])


async def test_a_revoked_device_stays_out_however_long_tokens_live_now(make: Make, clock: FakeClock) -> None:
    first = make(token_life=3600)
    device, token = (await pair(first)).device, await paired_token(first)
    revoked = first.tokens.access(device)[0]
    await first.devices.revoke(device.id)
    await first.aclose()
    clock.advance(30)
    for life in (2, 3600):
        later = make(token_life=life)
        with pytest.raises(InvalidToken):
            await later.verify(revoked)
        assert (await later.verify(token)).device_name == "Phone"
        await later.aclose()


async def test_a_clock_that_was_wrong_for_a_while_lets_nobody_in_again(make: Make, clock: FakeClock) -> None:
    pairlock = make()
    device = (await pair(pairlock)).device
    token = pairlock.tokens.access(device)[0]
    await pairlock.devices.revoke(device.id)
    clock.advance(400 * 86400)
    assert await (await pairlock._runtime.ready()).purge(clock.now)
    clock.advance(-400 * 86400)
    await pairlock.aclose()
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


async def test_a_token_is_looked_up_anew_after_a_restart(pairlock: Pairlock, other: Pairlock) -> None:
    device = (await pair(pairlock)).device
    token = pairlock.tokens.access(device)[0]
    grant = await pairlock.verify(token)
    await pairlock.aclose()
    await other.devices.revoke(device.id)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)
    assert not grant.allows("read", "/sensors/a")


async def test_a_database_put_back_to_an_older_state_is_noticed(
    pairlock: Pairlock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path.with_name("older.db"))) as older:
        await paired_token(pairlock, "Before")
        with closing(sqlite3.connect(path)) as live:
            live.backup(older)
        token = await paired_token(pairlock, "After")
        await pairlock.verify(token)
        with closing(sqlite3.connect(path)) as live:
            older.backup(live)
    await until(lambda: not pairlock._runtime.fresh)
    assert "put back to an older state" in caplog.text
    following = pairlock._runtime._task
    assert following is not None
    await asyncio.wait([following])
    with pytest.raises(InvalidToken):  # its device is not in there
        await pairlock.verify(token)


async def test_events_whose_numbers_were_given_anew_are_noticed_when_the_feed_is_back(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    data = MemoryData()
    pairlock, operator = make(store=(store := FailingStore(MemoryStore(data)))), make(store=MemoryStore(data))
    device = (await pair(operator)).device
    grant = await pairlock.verify(operator.tokens.access(device)[0])
    store.ends = True
    store.errors = {"watch": away()}  # and meanwhile another server takes over, which lacks the last event
    await until(lambda: not store.ends and store.calls["watch"] > 1)
    lost = data.events.pop()
    data.last_seq -= 1
    await operator.devices.revoke(device.id)
    await operator.pairing.start("Phone")
    assert data.events[-1].seq > lost.seq
    following = pairlock._runtime._task
    assert following is not None
    store.errors = {}
    await until(lambda: "put back to an older state" in caplog.text)
    await asyncio.wait([following])
    await until(lambda: permitted(grant) == (False, False), seconds=1)
    with pytest.raises(InvalidToken):
        await pairlock.verify(operator.tokens.access(device)[0])


async def test_a_feed_that_is_taken_up_again_ends_nothing(make: Make) -> None:
    data = MemoryData()
    pairlock, operator = make(store=(store := FailingStore(MemoryStore(data)))), make(store=MemoryStore(data))
    grant = await pairlock.verify(await paired_token(operator))
    for _ in range(3):
        store.ends = True
        await operator.pairing.start("Phone")
        await until(lambda: not store.ends)
    watched = store.calls["watch"]
    await until(lambda: store.calls["watch"] > watched or store.calls["batch"] > 8)
    assert permitted(grant) == (True, True)


# The feed is lost


async def test_without_a_feed_nothing_is_verified_until_it_is_back(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock = make(store=store, max_staleness=0.6)
    token = await paired_token(pairlock)
    store.silent = True
    assert (await pairlock.verify(token)).device_name == "Phone"  # not at once: a heartbeat may be late
    with caplog.at_level(logging.ERROR, "pairlock"):
        await until(lambda: not pairlock._runtime.fresh)
    assert "guarded paths answer 503 until it is back" in caplog.text
    with pytest.raises(TemporarilyUnavailable) as refused:
        await pairlock.verify(token)
    assert refused.value.retry_after == 1

    store.silent = False
    await until(lambda: pairlock._runtime.fresh)
    assert (await pairlock.verify(token)).device_name == "Phone"


async def test_a_feed_that_breaks_is_taken_up_again_where_it_broke(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock, operator = make(store=store), make(store=store.store)
    device = (await pair(pairlock)).device
    grant = await pairlock.verify(pairlock.tokens.access(device)[0])
    await operator.start()
    with caplog.at_level(logging.WARNING, "pairlock"):
        store.errors = {"batch": away(), "watch": away()}
        await until(lambda: "the change feed was interrupted" in caplog.text)
        await operator.devices.revoke(device.id)
        await until(lambda: store.calls["watch"] >= 3)
    assert caplog.text.count("the change feed was interrupted") == 1  # said once, not at each attempt
    assert permitted(grant) == (True, True)
    store.errors = {}
    await until(lambda: permitted(grant) == (False, False))


async def test_a_feed_that_ends_is_taken_up_again(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    token = await paired_token(pairlock)
    store.ends = True
    await until(lambda: store.calls["watch"] == 2)
    assert (await pairlock.verify(token)).device_name == "Phone"


async def test_a_purge_that_fails_loses_no_event_and_tells_none_twice(
    make: Make, store: FailingStore, clock: FakeClock
) -> None:
    pairlock = make(store=store)
    store.errors = {"purge": away()}
    device = (await pair(pairlock)).device
    await until(lambda: store.calls["purge"] == 1)
    await (operator := make(store=store.store)).start()
    grant = await pairlock.verify(operator.tokens.access(device)[0])
    with pairlock._runtime.listening() as heard:
        await operator.devices.revoke(device.id)
        await until(lambda: permitted(grant) == (False, False))
        clock.advance(61)
        await operator.pairing.start("Phone")
        await until(lambda: heard.qsize() >= 2)
        await asyncio.sleep(0.05)
    events = [heard.get_nowait() for _ in range(heard.qsize())]
    assert [event and event.type.value for event in events] == ["revoked", "requested"]


class LateStore(FailingStore):
    """A store whose batches arrive late."""

    late = 0.0

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async with aclosing(super().watch(since)) as batches:
            async for batch in batches:
                await asyncio.sleep(self.late)
                yield batch


async def test_a_batch_that_was_held_up_says_nothing_of_the_present(make: Make) -> None:
    store = LateStore()
    pairlock, operator = make(store=store, max_staleness=0.6), make(store=store.store)
    device = (await pair(operator)).device
    grant = await pairlock.verify(operator.tokens.access(device)[0])
    store.late = HEARTBEAT + 0.7
    await until(lambda: not pairlock._runtime.fresh)
    await operator.devices.revoke(device.id)
    while permitted(grant) == (True, True):
        assert not pairlock._runtime.fresh
        await asyncio.sleep(0.01)


async def test_a_batch_that_may_not_be_the_last_of_what_was_missed_makes_nothing_fresh(make: Make) -> None:
    data = MemoryData()
    pairlock, operator = (
        make(store=(store := FailingStore(MemoryStore(data))), max_staleness=0.3),
        make(store=MemoryStore(data)),
    )
    await pairlock.start()
    await operator.start()
    store.silent = True
    await until(lambda: not pairlock._runtime.fresh)
    await operator._runtime.commit(*(Log(an_event(name=str(number))) for number in range(MAX_BATCH)))
    with pairlock._runtime.listening() as heard:
        store.silent = False
        await until(lambda: heard.qsize() >= MAX_BATCH)
        assert not pairlock._runtime.fresh
    await until(lambda: pairlock._runtime.fresh)


async def test_a_turn_that_does_not_come_is_not_waited_for(
    make: Make, store: FailingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairlock.services.runtime.LONGEST_TURN", 0.05)
    pairlock = make(store=store)
    await pairlock.start()
    async with pairlock._runtime.in_turn():
        with pytest.raises(TemporarilyUnavailable):
            await pairlock.codes.mint(Permissions(read=("/x",)))
    assert (await pairlock.codes.mint(Permissions(read=("/sensors/a",)))).code


# Who follows


async def test_requests_yields_those_that_wait_first_and_each_once(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    waiting = []
    for turn in range(3):
        clock.advance(1)
        waiting.append((await pairlock.pairing.start(f"Waiting {turn}")).request.id)
    prompts = pairlock.requests()
    assert [(await next_of(prompts)).id for _ in range(3)] == waiting
    later = []
    for process in (pairlock, other):
        clock.advance(1)
        later.append((await process.pairing.start("Later")).request.id)
    assert [(await next_of(prompts)).id for _ in range(2)] == later
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(prompts), 0.2)
    assert not pairlock._runtime._listeners


async def test_a_request_made_while_the_waiting_are_listed_is_told_once(pairlock: Pairlock) -> None:
    await pairlock.start()
    prompts = pairlock.requests()
    first = asyncio.create_task(next_of(prompts))
    await asyncio.sleep(0)
    await asyncio.gather(*(pairlock.pairing.start(f"Phone {turn}") for turn in range(20)))
    names = [(await first).name] + [(await next_of(prompts)).name for _ in range(19)]
    assert sorted(names) == sorted(f"Phone {turn}" for turn in range(20))


async def test_a_request_that_is_gone_when_it_is_its_turn_is_left_out(
    pairlock: Pairlock, clock: FakeClock, path: Path
) -> None:
    prompts = pairlock.requests()
    await pairlock.pairing.start("First")
    assert (await next_of(prompts)).name == "First"
    await pairlock.pairing.start("Gone")
    clock.advance(1000)
    await reading(path, lambda store: store.purge(clock.now))
    await pairlock.pairing.start("Last")
    assert (await next_of(prompts)).name == "Last"


async def test_a_prompt_shows_what_a_display_needs_and_decides(pairlock: Pairlock, clock: FakeClock) -> None:
    prompts = pairlock.requests()
    started = await pairlock.pairing.start("Phone")
    clock.advance(10)
    prompt = await next_of(prompts)
    assert (prompt.name, prompt.expires_in) == ("Phone", 290)
    assert prompt.pin == pairlock.deciding.pin(started.request)
    assert prompt.permissions == pairlock.settings.default_permissions
    assert prompt.pin is not None
    assert prompt.pin not in repr(prompt).replace(prompt.id, "")
    await prompt.approve({"read": ["/sensors/a"]}, message="Hello")
    redeemed = await pairlock.pairing.redeem(started.request.id, started.secret)
    assert redeemed.message == "Hello"
    assert redeemed.device.permissions == Permissions(read=("/sensors/a",))

    await pairlock.pairing.start("Tablet")
    tablet = await next_of(prompts)
    await tablet.deny("not yours")
    assert (await pairlock.deciding.show(tablet.id)).reason == "not yours"

    started = await pairlock.pairing.start("Watch")
    await (await next_of(prompts)).approve()
    assert (await pairlock.deciding.show(started.request.id)).granted == pairlock.settings.default_permissions


async def test_on_request_is_called_for_the_requests_of_each_process(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    seen: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        seen.append(prompt.name)

    await other.pairing.start("Before")
    await pairlock.start()
    await until(lambda: seen == ["Before"])
    await other.pairing.start("There")
    clock.advance(1)
    await pairlock.pairing.start("Here")
    await until(lambda: seen == ["Before", "There", "Here"])


async def test_on_request_may_be_given_while_it_runs(pairlock: Pairlock) -> None:
    seen: list[str] = []
    await pairlock.start()

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        seen.append(prompt.name)

    await pairlock.pairing.start("Phone")
    await until(lambda: seen == ["Phone"])


async def test_on_request_is_called_again_after_a_restart(pairlock: Pairlock) -> None:
    seen: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        seen.append(prompt.name)

    for turn, name in enumerate(("first", "second"), 1):
        started = await pairlock.pairing.start(name)
        await until(partial(reached, seen, turn))
        await pairlock.pairing.cancel(started.request.id, started.secret)
        await pairlock.aclose()
    assert seen == ["first", "second"]


async def test_a_callback_that_fails_is_logged_and_called_for_the_next(
    pairlock: Pairlock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        seen.append(prompt.name)
        raise RuntimeError("the display is off")

    with caplog.at_level(logging.ERROR, "pairlock"):
        await pairlock.pairing.start("first")
        clock.advance(1)
        await pairlock.pairing.start("second")
        await until(lambda: len(caplog.records) == 2)
    assert seen == ["first", "second"]


async def test_a_store_that_does_not_answer_for_a_while_costs_no_call(make: Make, store: FailingStore) -> None:
    pairlock, other = make(store=store), make(store=store.store)
    seen: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        seen.append(prompt.name)

    store.once = {"list_requests": [away()]}
    await other.pairing.start("first")
    await pairlock.start()
    await until(lambda: seen == ["first"])
    store.once = {"list_requests": [away()]}
    await other.pairing.start("second")
    await until(lambda: seen == ["first", "second"])
    assert store.once == {"list_requests": []}


# The purge


async def test_what_nobody_needs_any_more_is_dropped(
    pairlock: Pairlock, other: Pairlock, path: Path, clock: FakeClock
) -> None:
    request = (await pairlock.pairing.start("Phone")).request
    device = (await pair(pairlock)).device
    revoked = (await pair(pairlock)).device
    await pairlock.devices.revoke(revoked.id)
    clock.advance(314)
    await other.start()
    await asyncio.sleep(0.1)
    late = await kept(path, request.id)  # a late poll is told that it expired
    assert late is not None
    assert late.state is State.EXPIRED
    clock.advance(61)

    async def dropped(kind: type[Device | PairingRequest], id: str) -> None:
        for _ in range(100):
            if await reading(path, lambda store: store.find(kind, id)) is None:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(id)

    await dropped(PairingRequest, request.id)
    assert await reading(path, lambda store: store.find(Device, revoked.id)) is not None
    clock.advance(90 * 86400)
    await dropped(Device, revoked.id)
    await dropped(Device, device.id)  # its refresh token was not used for as long
    assert await kept_events(path) == []
    with pytest.raises(NotFound):
        await pairlock.deciding.show(request.id)


async def test_a_purge_is_made_once_a_minute(make: Make, store: FailingStore, clock: FakeClock) -> None:
    pairlock = make(store=store)
    await pairlock.start()
    for _ in range(3):
        await pairlock.pairing.start("Phone")
        await asyncio.sleep(0.01)
    assert store.calls["purge"] == 1
    clock.advance(60)
    await pairlock.pairing.start("Phone")
    await until(lambda: store.calls["purge"] == 2)


# All of it is one server


async def test_all_processes_are_one_server_with_a_lasting_id(make: Make) -> None:
    first, second = make(server_name="Home"), make(server_name="Home")
    await asyncio.gather(first.start(), second.start())
    assert first._runtime.server == second._runtime.server
    assert first._runtime.server["name"] == "Home"
    await first.aclose()
    third = make()
    await third.start()
    assert third._runtime.server["id"] == second._runtime.server["id"]


async def test_on_request_does_not_wait_for_a_decision_that_takes_its_time(
    pairlock: Pairlock, clock: FakeClock
) -> None:
    shown: list[str] = []

    @pairlock.on_request
    async def show(prompt: Prompt) -> None:
        shown.append(prompt.name)
        await asyncio.Event().wait()

    await pairlock.pairing.start("First")
    clock.advance(1)
    await pairlock.pairing.start("Second")
    await until(lambda: shown == ["First", "Second"])


async def test_on_request_takes_a_plain_function_too(pairlock: Pairlock) -> None:
    shown: list[str] = []
    pairlock.on_request(lambda prompt: shown.append(prompt.name))
    await pairlock.pairing.start("Phone")
    await until(lambda: shown == ["Phone"])


async def test_of_two_processes_that_decide_in_on_request_the_slower_says_nothing(
    pairlock: Pairlock, other: Pairlock, caplog: pytest.LogCaptureFixture
) -> None:
    called: list[str] = []

    async def approve(prompt: Prompt) -> None:
        called.append(prompt.id)
        await until(lambda: len(called) == 2)
        await prompt.approve()

    pairlock.on_request(approve)
    other.on_request(approve)
    await other.start()
    await pairlock.pairing.start("Phone")
    await until(lambda: len(called) == 2)
    await asyncio.sleep(0.1)
    assert not caplog.records


async def test_a_chore_that_fails_is_logged_and_stops_nothing(
    pairlock: Pairlock, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[float] = []

    async def fail(now: float) -> None:
        raise RuntimeError("the chore cannot be done")

    async def do(now: float) -> None:
        done.append(now)

    pairlock._runtime.upkeep.each_minute(fail)
    pairlock._runtime.upkeep.each_minute(do)
    await pairlock.start()
    await until(lambda: done == [clock.now])
    clock.advance(60)
    await until(lambda: done == [clock.now - 60, clock.now])
    assert [record.getMessage() for record in caplog.records] == ["a chore failed"] * 2
    assert (await pair(pairlock)).device.name == "Phone"


async def test_chores_are_done_after_the_clock_was_set_back(pairlock: Pairlock, clock: FakeClock) -> None:
    done: list[float] = []

    async def do(now: float) -> None:
        done.append(now)

    pairlock._runtime.upkeep.each_minute(do)
    clock.advance(30 * 86400)
    await pairlock.start()
    await until(lambda: len(done) == 1)
    clock.advance(-30 * 86400)
    await until(lambda: len(done) == 2)


@pytest.mark.parametrize("stream", ["requests", "events"])
async def test_who_watches_is_told_that_it_was_closed_and_does_not_start_it_again(
    store: FailingStore, make: Make, stream: str
) -> None:
    pairlock = make(store=store)

    async def watch() -> int:
        return len([each async for each in getattr(pairlock, stream)()])

    watching = asyncio.create_task(watch())
    await until(lambda: bool(pairlock._runtime._listeners))
    await pairlock.pairing.start("Phone")
    await asyncio.sleep(0.05)
    opened = store.calls["open"]
    await pairlock.aclose()
    assert await asyncio.wait_for(watching, 1) == 1
    assert store.calls["open"] == opened
    assert not pairlock._runtime._listeners


async def test_whoever_waits_is_answered_when_the_service_is_closed(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    started = await pairlock.pairing.start("Phone")
    waiting = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, 25))
    await until(lambda: bool(pairlock._runtime._waiters))
    await asyncio.sleep(0.05)
    await pairlock.aclose()
    assert (await asyncio.wait_for(waiting, 1)).state is State.PENDING
    assert store.calls["open"] == 1


async def test_closing_does_not_wait_for_a_store_that_is_away(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    await pairlock.verify(await paired_token(pairlock))
    store.errors = {"touch": away()}
    await asyncio.wait_for(pairlock.aclose(), 1)


async def test_a_batch_of_many_events_lets_others_run(make: Make) -> None:
    data = MemoryData()
    pairlock, operator = make(store=MemoryStore(data)), make(store=MemoryStore(data))
    for each in (pairlock, operator):
        await each.start()
    turns, ended = 0, asyncio.Event()

    async def count() -> None:
        nonlocal turns
        while not ended.is_set():
            turns += 1
            await asyncio.sleep(0)

    with pairlock._runtime.listening() as heard:
        counting = asyncio.create_task(count())
        await operator._runtime.commit(*(Log(an_event()) for _ in range(500)))
        before = turns
        await until(lambda: heard.qsize() == 500)
        ended.set()
        await counting
    assert turns - before >= 500 // ACTED_UPON_AT_ONCE


async def test_whoever_comes_again_after_the_signal_to_end_is_not_kept_waiting(
    pairlock: Pairlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairlock.services.runtime.TO_END", 0.3)
    started = await pairlock.pairing.start("Phone")
    pairlock._runtime.part()
    async with asyncio.timeout(0.2):
        await pairlock.pairing.wait(started.request.id, started.secret, 25)
        assert [each async for each in pairlock.events()] == []
    await asyncio.sleep(0.3)  # and it lives on after all
    waiting = asyncio.create_task(pairlock.pairing.wait(started.request.id, started.secret, 25))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await pairlock.deciding.deny(started.request.id)
    assert (await waiting).state is State.DENIED


async def test_a_display_goes_on_after_a_signal_that_was_not_the_end(
    pairlock: Pairlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairlock.services.runtime.TO_END", 0.05)
    seen: list[str] = []
    pairlock.on_request(lambda prompt: seen.append(prompt.name))
    await pairlock.start()
    await asyncio.sleep(0.05)
    pairlock._runtime.part()
    await asyncio.sleep(0.15)
    await pairlock.pairing.start("Phone")
    await until(lambda: reached(seen, 1))
