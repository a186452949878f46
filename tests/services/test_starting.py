"""Starting: with the first call, once, and again whenever that is needed."""

import asyncio
import gc
import logging
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pairlock import ConfigurationError, Pairlock, StoreError
from pairlock.errors import TemporarilyUnavailable
from tests.services.parts import KEY, SENSORS, FailingStore, Make, away, pair, paired_token, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


async def test_50_first_calls_at_once_start_it_once(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    lists = await asyncio.gather(*(pairlock.devices.list() for _ in range(50)))
    assert lists == [[]] * 50
    assert store.calls["open"] == store.calls["watch"] == 1


@pytest.mark.parametrize("call", ["open", "find Setting", "commit", "list_devices", "watch"])
@pytest.mark.parametrize("error", [StoreError("no such folder"), away()])
async def test_a_start_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next_call(
    make: Make, store: FailingStore, call: str, error: Exception
) -> None:
    pairlock = make(store=store)
    store.errors = {call: error}
    told = await asyncio.gather(*(pairlock.devices.list() for _ in range(50)), return_exceptions=True)
    assert told == [error] * 50
    assert store.calls["open"] == 1

    store.errors = {}
    await asyncio.sleep(0)
    assert await pairlock.devices.list() == []


async def test_a_start_that_its_only_caller_gave_up_is_finished_by_the_next(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    caller = asyncio.create_task(pairlock.start())
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await pairlock.start()
    assert store.calls["open"] == 1


async def test_a_failure_nobody_waits_for_any_more_is_no_warning(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    store.errors = {"open": away()}
    caller = asyncio.create_task(pairlock.start())
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await pairlock.aclose()
    gc.collect()  # would say "exception was never retrieved", an error here


@pytest.mark.parametrize("where", ["/no/such/folder/pairlock.db", "."])
async def test_a_store_that_cannot_be_opened_says_which_and_why(make: Make, tmp_path: Path, where: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        await make(store=f"sqlite:///{tmp_path / where}").start()


async def test_closing_twice_and_closing_what_never_started_do_nothing(make: Make) -> None:
    pairlock = make()
    await pairlock.aclose()
    await pairlock.start()
    await pairlock.aclose()
    await pairlock.aclose()


async def test_a_call_after_closing_starts_it_again(make: Make) -> None:
    pairlock = make()
    token = await paired_token(pairlock)
    await pairlock.aclose()
    assert (await pairlock.verify(token)).device_name == "Phone"


async def test_a_call_while_it_closes_starts_it_again_and_for_good(make: Make) -> None:
    pairlock = make()
    await pairlock.start()
    closing = asyncio.create_task(pairlock.aclose())
    await asyncio.sleep(0)
    token = await paired_token(pairlock)
    await closing
    assert (await pairlock.verify(token)).device_name == "Phone"
    await asyncio.sleep(0.2)  # longer than a poll of the feed
    assert len(await pairlock.devices.list()) == 1


async def test_what_closes_slowly_is_opened_again_only_after_it_has_closed(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    await pairlock.start()
    store.closes_after = 0.1
    closing = asyncio.create_task(pairlock.aclose())
    await until(lambda: pairlock._runtime._closing is not None)
    assert await pairlock.devices.list() == []
    assert closing.done()
    await asyncio.sleep(0.15)
    assert await pairlock.devices.list() == []
    store.closes_after = 0.0


async def test_closing_while_it_starts_tells_the_waiting_to_retry(make: Make) -> None:
    pairlock = make()
    waiting = asyncio.create_task(pairlock.devices.list())
    await asyncio.sleep(0)
    await pairlock.aclose()
    with pytest.raises(TemporarilyUnavailable):
        await asyncio.wait_for(waiting, 5)
    assert await pairlock.devices.list() == []


async def test_a_lifespan_starts_before_and_closes_after(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store)
    async with pairlock.lifespan():
        assert store.calls["open"] == 1
        await store.store.list_devices()
    with pytest.raises(TemporarilyUnavailable):
        await store.store.list_devices()


async def test_a_lifespan_closes_also_when_its_host_fails(make: Make, store: FailingStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with make(store=store).lifespan():
            raise ZeroDivisionError
    with pytest.raises(TemporarilyUnavailable):
        await store.store.list_devices()


async def test_it_starts_again_once_it_has_stopped_by_an_error_that_nobody_expected(
    make: Make, store: FailingStore, caplog: pytest.LogCaptureFixture
) -> None:
    pairlock = make(store=store)
    await pairlock.start()
    store.once = {"batch": [ValueError("a bug in a store")]}
    with caplog.at_level(logging.ERROR, "pairlock"):
        await until(lambda: "the next call starts it again" in caplog.text)
    await asyncio.sleep(0.01)
    assert await pairlock.devices.list() == []
    assert store.calls["open"] == 2


def test_each_event_loop_in_turn_starts_it_anew(path: Path) -> None:
    pairlock = Pairlock(store=f"sqlite:///{path}", secret_keys=[KEY], default_permissions=SENSORS)
    names: list[str] = []

    async def one_life(name: str) -> None:
        await pair(pairlock, name)
        names.extend(device.name for device in await pairlock.devices.list())

    for name in ("first", "second", "third"):
        asyncio.run(one_life(name))
    asyncio.run(pairlock.aclose())
    assert names == ["first", "second", "first", "third", "second", "first"]


def test_starlette_s_test_client_needs_no_with(path: Path) -> None:
    pairlock = Pairlock(store=f"sqlite:///{path}", secret_keys=[KEY], default_permissions=SENSORS)
    client = TestClient(pairlock.app)
    started = client.post("/requests", json={"name": "Phone"}).json()  # each request has a loop of its own
    holder = {"Authorization": f"Bearer {started['secret']}"}
    assert client.get(f"/requests/{started['id']}", headers=holder).json()["state"] == "pending"
    assert client.delete(f"/requests/{started['id']}", headers=holder).status_code == 204
    assert client.get(f"/requests/{started['id']}", headers=holder).json()["state"] == "cancelled"


def test_starlette_s_test_client_runs_its_lifespan(path: Path) -> None:
    pairlock = Pairlock(store=f"sqlite:///{path}", secret_keys=[KEY], default_permissions=SENSORS)
    for _ in range(2):
        with TestClient(pairlock.app) as client:
            assert client.post("/requests", json={"name": "Phone"}).status_code == 201


async def test_a_second_loop_at_the_same_time_is_refused(make: Make) -> None:
    pairlock = make()
    await pairlock.start()

    def in_another_loop() -> None:
        asyncio.run(pairlock.start())

    with pytest.raises(ConfigurationError, match="one Pairlock serves one event loop"):
        await asyncio.to_thread(in_another_loop)
    assert await pairlock.devices.list() == []


async def test_what_is_no_app_is_not_guarded(pairlock: Pairlock) -> None:
    for app in (None, "house:app"):
        with pytest.raises(ConfigurationError, match="guard: give an ASGI app"):
            pairlock.protect(app)  # type: ignore[arg-type]


async def test_what_takes_no_prompt_is_not_called_with_one(pairlock: Pairlock) -> None:
    for callback in (lambda: None, lambda one, two: None, "show"):
        with pytest.raises(ConfigurationError, match="on_request: give a function of one Prompt"):
            pairlock.on_request(callback)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["operator", "decide"])
async def test_a_hook_that_takes_no_argument_is_refused_at_once(make: Make, setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{setting}: "):
        make(**{setting: lambda: None})
    make(**{setting: type})  # a built-in one that does not tell what it takes


async def test_nobody_is_told_once_that_nobody_can_see_who_asks(
    pairlock: Pairlock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await pairlock.pairing.start("Phone")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "a device asks to pair, and nobody can see it: give on_request, operator= or decide="
    ]
