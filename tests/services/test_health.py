"""Whether a process can do its work, as it says itself."""

import asyncio

import pytest

from pairlock import Health
from pairlock.errors import StoreError
from pairlock.services.health import KNOWN_FOR, PATIENCE, Checking
from tests.services.parts import FailingStore, Make, away, until

pytestmark = pytest.mark.anyio

WELL = Health(store=True, schema=True, feed=True)


@pytest.fixture
def store() -> FailingStore:
    return FailingStore()


def checking(make: Make, store: FailingStore, **settings: object) -> tuple[Checking, list[float]]:
    now = [0.0]
    return Checking(make(store=store, **settings)._runtime, lambda: now[0]), now


async def test_it_is_well_once_it_runs(make: Make) -> None:
    health = await make(store="memory://").health()
    assert health == WELL
    assert health.ok


@pytest.mark.parametrize("missing", ["store", "schema", "feed"])
def test_it_is_not_well_when_anything_is_missing(missing: str) -> None:
    assert not Health(**{"store": True, "schema": True, "feed": True, missing: False}).ok


async def test_a_store_that_is_away_says_nothing_of_its_schema(make: Make, store: FailingStore) -> None:
    health, now = checking(make, store)
    assert await health.check() == WELL
    store.errors = {"check": away()}
    now[0] += KNOWN_FOR
    assert await health.check() == Health(store=False, schema=None, feed=True)
    store.errors = {}
    now[0] += KNOWN_FOR
    assert await health.check() == WELL


async def test_a_store_that_another_version_has_migrated_is_not_current(make: Make, store: FailingStore) -> None:
    store.errors = {"check": StoreError("it is of another version")}
    health, _ = checking(make, store)
    assert await health.check() == Health(store=True, schema=False, feed=True)


async def test_a_store_that_cannot_be_opened_is_away(make: Make, store: FailingStore) -> None:
    store.errors = {"open": StoreError("nobody listens there")}
    health, _ = checking(make, store)
    assert await health.check() == Health(store=False, schema=None, feed=False)


async def test_without_a_feed_it_is_not_well(make: Make, store: FailingStore) -> None:
    pairlock = make(store=store, max_staleness=0.1)
    await pairlock.start()
    store.silent = True
    await until(lambda: not pairlock._runtime.fresh)
    assert await pairlock.health() == Health(store=True, schema=True, feed=False)


async def test_a_store_that_hangs_is_away(make: Make, store: FailingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairlock.services.health.PATIENCE", 0.05)
    assert PATIENCE > 0.05
    health, _ = checking(make, store)

    async def hang() -> None:
        await asyncio.sleep(60)

    store.check = hang  # type: ignore[method-assign]  # a store that hangs
    assert await health.check() == Health(store=False, schema=None, feed=True)


async def test_however_many_ask_the_store_is_asked_once_a_second(make: Make, store: FailingStore) -> None:
    health, now = checking(make, store)
    for asked in (1, 2):
        assert await asyncio.gather(*(health.check() for _ in range(50))) == [WELL] * 50
        now[0] += KNOWN_FOR - 0.001
        await health.check()
        assert store.calls["check"] == asked
        now[0] += 0.001


async def test_who_gives_up_asking_takes_the_answer_from_nobody(make: Make, store: FailingStore) -> None:
    health, _ = checking(make, store)
    first, second = asyncio.create_task(health.check()), asyncio.create_task(health.check())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == WELL
