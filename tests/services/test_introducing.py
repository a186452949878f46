"""What a service writes down of itself, for the commands of operators that run beside it."""

import pytest
from starlette.applications import Starlette

from pairlock import Pairlock
from pairlock._core.records import Setting
from pairlock.errors import TemporarilyUnavailable
from pairlock.services.introducing import KEY, Introduction, introduced
from pairlock.stores.contract import Swap
from tests.services.parts import SENSORS, FailingStore, Make

pytestmark = pytest.mark.anyio


async def said(pairlock: Pairlock) -> Introduction | None:
    return await introduced(await pairlock._runtime.ready())


async def test_a_service_that_lives_says_how_it_pairs(make: Make) -> None:
    pairlock = make(pin_length=8, confirmation_pin=True, window_open=False, issuer="https://house.example/pair")
    async with pairlock.lifespan():
        assert await said(pairlock) == Introduction(
            default_permissions=SENSORS,
            pin_length=8,
            confirmation_pin=True,
            window_open=False,
            window_timeout=300,
            issuer="https://house.example/pair",
        )


async def test_what_protects_an_app_says_so_too(make: Make) -> None:
    pairlock = make(pin_length=9)
    app = pairlock.protect(Starlette())
    told: list[str] = []

    async def receive() -> dict[str, str]:
        kept = await said(pairlock) if told else None
        assert not told or (kept is not None and kept.pin_length == 9)
        return {"type": "lifespan.shutdown" if told else "lifespan.startup"}

    async def send(message: dict[str, str]) -> None:
        told.append(message["type"])

    await app({"type": "lifespan", "state": {}}, receive, send)  # type: ignore[arg-type]
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_the_one_that_started_last_counts(make: Make) -> None:
    one, other = make(pin_length=6), make(pin_length=7)
    for pairlock in (one, other):
        await pairlock.introduce()
    kept = await said(one)
    assert kept is not None
    assert kept.settings()["pin_length"] == 7


async def test_where_it_is_served_is_kept_while_it_runs(make: Make) -> None:
    pairlock = make()
    await pairlock.introduce("http://192.168.1.7:8000/pair")
    await pairlock.introduce()
    kept = await said(pairlock)
    assert kept is not None
    assert kept.address == "http://192.168.1.7:8000/pair"
    assert "address" not in kept.settings()


async def test_what_has_not_changed_is_not_written_again(make: Make) -> None:
    pairlock = make()
    for _ in range(2):
        await pairlock.introduce()
    kept = await (await pairlock._runtime.ready()).find(Setting, KEY)
    assert kept is not None
    assert kept.version == 1


async def test_a_pairlock_that_only_works_on_the_store_says_nothing(make: Make) -> None:
    pairlock = make()
    await pairlock.start()
    assert await said(pairlock) is None


async def test_what_another_version_has_written_is_not_known(make: Make) -> None:
    pairlock = make()
    await pairlock.introduce()
    store = await pairlock._runtime.ready()
    kept = await store.find(Setting, KEY)
    assert kept is not None
    await store.commit(Swap(kept.evolve(value={"pin_length": "six"})))
    assert await said(pairlock) is None


async def test_a_store_that_is_away_keeps_nobody_from_starting(make: Make) -> None:
    store = FailingStore()
    pairlock = make(store=store)
    await pairlock.start()
    store.errors["commit"] = TemporarilyUnavailable()
    await pairlock.introduce()
    del store.errors["commit"]
    assert await said(pairlock) is None
    await pairlock.introduce()
    assert await said(pairlock) is not None
