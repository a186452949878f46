"""The store in Valkey keeps every promise, and what is true of its keys alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing

import pytest
from hypothesis import settings
from msgspec.structs import replace

from pairlock import Limits, Pairlock, Permissions
from pairlock._core.records import Device, PairingRequest
from pairlock._core.states import State
from pairlock.errors import InvalidGrant, InvalidPin
from pairlock.stores.contract import Add, Conflict, Hits, Log, Store, Swap
from pairlock.stores.valkey import STEP, ValkeyStore
from pairlock.testing import FakeClock, StoreContract, a_device, a_request, a_setting, an_event
from pairlock.testing.contract.commits import Commits
from pairlock.testing.contract.feed import Feed
from pairlock.testing.contract.lists import Lists
from pairlock.testing.contract.races import Races
from pairlock.testing.contract.upkeep import Upkeep
from tests.servers import Valkey
from tests.services.parts import KEY, SENSORS, pair, the_pin, wrong
from tests.stores.valkey_servers import Node, ask, cluster_of_one

NOW = 1000.0
DAY = 86_400
FOREVER = 1e15
WITHOUT_END = {"schema", "place", "seq", "events", "due", "live", "paired", "names"}
WITHOUT_EXPIRY = -1  # what TTL says


class TestValkeyStore(StoreContract):
    model_settings = settings(StoreContract.model_settings, max_examples=12)

    @pytest.fixture
    def new_store(self, valkey: Valkey) -> Callable[[], Store]:
        url = valkey.url()
        return lambda: ValkeyStore(url)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Node]:
    with cluster_of_one() as node:
        yield node


@pytest.mark.no_cover
class TestValkeyStoreInACluster(Commits, Lists, Upkeep, Races, Feed):
    """All but the model, which takes long and asks nothing more of the way to the server."""

    @pytest.fixture
    def new_store(self, cluster: Node) -> Callable[[], Store]:
        url = cluster.url()
        return lambda: ValkeyStore(url)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[ValkeyStore]:
    store = ValkeyStore(valkey.url())
    await store.open()
    yield store
    await store.aclose()


def keys_of(server: Valkey, store: ValkeyStore) -> dict[str, int]:
    """The keys of a store without what they all begin with, and the seconds each has left."""
    names = [name for name in ask(server, "KEYS", "*") if name.startswith(store._base)]
    return {name.removeprefix(store._base): ask(server, "TTL", name) for name in names}


def kept_keys(server: Valkey, store: ValkeyStore) -> set[str]:
    """Those that are not about to go."""
    return {name for name in keys_of(server, store) if not name.startswith("done:")}


class TestKeys:
    pytestmark = pytest.mark.anyio

    async def test_no_key_is_without_an_expiry_that_should_have_one(self, valkey: Valkey, store: ValkeyStore) -> None:
        await live_through_everything(store, clock := FakeClock())
        await store.open()
        left = keys_of(valkey, store)
        kinds = {name.partition(":")[0] for name in left}
        assert kinds == WITHOUT_END | {"request", "device", "setting", "code", "counter", "done"}
        endless = {name for name, seconds in left.items() if seconds == WITHOUT_EXPIRY}
        for name in endless - WITHOUT_END:
            assert ask(valkey, "ZSCORE", f"{store._base}due", name) is None, name  # it is not to be purged either
            assert name.startswith(("setting:", "device:"))
        assert endless >= WITHOUT_END
        clock.advance(DAY * 1000)
        while await store.purge(clock(), 50):
            pass
        assert kept_keys(valkey, store) <= endless
        assert ask(valkey, "XLEN", f"{store._base}events") == 0

    async def test_a_place_that_was_emptied_and_begun_anew_is_another_history(self, valkey: Valkey) -> None:
        url = valkey.url()
        await (store := ValkeyStore(url)).open()
        await store.commit(Log(an_event()))
        async with aclosing(store.watch()) as feed:
            known = (await anext(feed)).cursor
            ask(valkey, "DEL", *(store._base + name for name in keys_of(valkey, store)))
            await (other := ValkeyStore(url)).open()  # before the first one has looked again
            await other.commit(Log(an_event(name="new")))
            assert (await anext(feed)).cursor < known
            batch = await anext(feed)
            assert [event.name for event in batch.events] == ["new"]
            assert batch.cursor > known
        await other.aclose()
        await store.aclose()

    async def test_a_purge_of_everything_leaves_no_member_of_an_index(self, valkey: Valkey, store: ValkeyStore) -> None:
        await store.commit(
            Add(a_request(purge_at=NOW, code_digest=b"code")),
            Add(a_device(purge_at=NOW)),
            Add(a_setting(purge_at=NOW)),
            Log(an_event(purge_at=NOW)),
        )
        await store.hit("key", 1, 1)
        await store.purge(NOW)
        assert kept_keys(valkey, store) == {"schema", "place", "seq", "events"}

    async def test_what_was_not_purged_goes_by_itself_a_day_later(self, valkey: Valkey, store: ValkeyStore) -> None:
        request, device = a_request(purge_at=NOW, code_digest=b"code"), a_device()
        await store.commit(Add(request), Add(device), Add(a_setting(id="kept")))
        await store.hit("key", 60, NOW)
        left = keys_of(valkey, store)
        for name in (f"request:{request.id}", f"code:{b'code'.hex()}"):
            assert DAY - 60 < left[name] <= DAY
        assert 3600 < left["counter:key"] <= 3660
        assert left[f"device:{device.id}"] == left["setting:kept"] == WITHOUT_EXPIRY

    async def test_an_expiry_comes_and_goes_with_the_time_to_purge(self, valkey: Valkey, store: ValkeyStore) -> None:
        request = a_request(purge_at=NOW, code_digest=b"code")
        await store.commit(Add(request))
        await store.commit(Swap(endless := request.evolve(purge_at=None)))
        named = (f"request:{request.id}", f"code:{b'code'.hex()}")
        assert {keys_of(valkey, store)[name] for name in named} == {WITHOUT_EXPIRY}
        await store.commit(Swap(endless.evolve(purge_at=FOREVER)))
        assert all(keys_of(valkey, store)[name] > 1000 * DAY for name in named)

    async def test_lists_pass_over_what_went_by_itself(self, valkey: Valkey, store: ValkeyStore) -> None:
        devices = [a_device(name="Phone", purge_at=NOW) for _ in range(3 * STEP)]
        requests = [a_request(expires_at=NOW, purge_at=NOW) for _ in range(3)]
        await store.commit(*map(Add, devices), *map(Add, requests))
        for record in (*devices[:-2], *requests[1:]):
            ask(valkey, "DEL", f"{store._base}{'device' if record in devices else 'request'}:{record.id}")
        assert await store.list_devices() == devices[:-3:-1]
        assert await store.search_devices("phone") == devices[-2:]
        assert await store.list_requests(live_at=0) == requests[:1]
        assert [ask(valkey, "ZCARD", store._base + index) for index in ("paired", "names", "live")] == [2, 2, 1]
        while await store.purge(NOW):
            pass
        assert kept_keys(valkey, store) == {"schema", "place", "seq"}

    async def test_many_requests_that_have_expired_hide_none_that_has_not(self, store: ValkeyStore) -> None:
        live = [a_request(expires_at=NOW + 1) for _ in range(3)]
        await store.commit(*map(Add, live))
        await store.commit(*(Add(a_request(expires_at=NOW)) for _ in range(5 * STEP)))
        assert await store.list_requests(live_at=NOW, limit=2) == live[:0:-1]
        assert await store.list_requests(live_at=NOW) == live[::-1]

    async def test_long_lists_come_whole(self, store: ValkeyStore) -> None:
        devices = [a_device() for _ in range(2 * STEP + 1)]
        await store.commit(*map(Add, devices), *(Log(an_event()) for _ in range(1001)))
        assert await store.list_devices(limit=1000) == devices[::-1]
        assert await store.list_devices(limit=2 * STEP) == devices[:0:-1]
        assert len(await store.list_events(limit=501)) == 501
        assert len(await store.list_events(limit=5000)) == 1001
        assert await store.list_events(before=0) == await store.list_events(before=1) == []

    async def test_prefixes_and_databases_keep_services_apart(self, valkey: Valkey) -> None:
        place = valkey.url()
        stores = [ValkeyStore(place), ValkeyStore(f"{place}2"), ValkeyStore(place.replace("/0?", "/7?"))]
        for number, store in enumerate(stores):
            await store.open()
            assert await store.list_devices() == []
            await store.commit(Add(a_device(id="same", name=str(number))), Log(an_event(name=str(number))))
            assert await store.hit("key", 1, 1) == Hits(1, 2.0)
        for number, store in enumerate(stores):
            (device,) = await store.list_devices()
            (event,) = await store.list_events()
            assert device.name == event.name == str(number)
            await store.aclose()

    async def test_all_keys_of_a_service_lie_in_one_hash_slot(self, valkey: Valkey, store: ValkeyStore) -> None:
        await store.commit(Add(a_request(id="{other}", code_digest=b"x")), Add(a_device(id="a{b}c")), Log(an_event()))
        await store.hit("{slot}", 1, 1)
        names = [name for name in ask(valkey, "KEYS", "*") if name.startswith(store._base)]
        assert len(names) >= len(WITHOUT_END) + 4
        assert all(name.startswith(f"{{{store._address.prefix}}}:") for name in names)

    async def test_a_code_that_moves_within_a_commit_has_its_new_owner(self, store: ValkeyStore) -> None:
        giver, taker = a_request(code_digest=b"code"), a_request()
        await store.commit(Add(giver), Add(taker))
        given, taken = giver.evolve(code_digest=None), taker.evolve(code_digest=b"code")
        with pytest.raises(Conflict):
            await store.commit(Swap(taken), Swap(given))
        await store.commit(Swap(given), Swap(taken))
        assert await store.find_code(b"code") == taken

    async def test_two_versions_in_one_commit_follow_each_other(self, store: ValkeyStore) -> None:
        request = a_request(code_digest=b"code", state=State.APPROVED)
        second = request.evolve(code_digest=None)
        third = second.evolve(code_digest=b"new", state=State.REDEEMED)
        await store.commit(Add(request), Swap(second), Swap(third))
        assert await store.find(PairingRequest, request.id) == await store.find_code(b"new") == third
        assert await store.find_code(b"code") is None
        assert await store.list_requests(live_at=0) == []

    async def test_times_are_kept_to_the_last_bit(self, store: ValkeyStore) -> None:
        at = 1763791234.1234567
        beyond = 1763791234.1234570
        await store.commit(Add(device := a_device(purge_at=beyond)), Add(request := a_request(expires_at=beyond)))
        await store.touch({device.id: at})
        assert await store.find(Device, device.id) == replace(device, seen_at=at)
        assert await store.list_requests(live_at=at) == [request]
        assert await store.list_requests(live_at=beyond) == []
        assert await store.purge(at) == {}
        assert await store.hit("key", 0.1, at) == Hits(1, at + 0.1)
        assert (await store.hit("key", 0.1, at + 0.1)).count == 1

    async def test_numbers_that_a_failover_lost_are_not_given_again(self, valkey: Valkey, store: ValkeyStore) -> None:
        await store.commit(Log(an_event()))
        (kept,) = await store.list_events()
        await store.commit(*(Log(an_event(name="lost")) for _ in range(3)))
        last = (await store.list_events())[0].seq
        ask(valkey, "DEL", f"{store._base}events")
        ask(valkey, "SET", f"{store._base}seq", kept.seq)
        assert (await anext(store.watch(last))).cursor == kept.seq
        await store.commit(Log(an_event(name="new")))
        assert [event.name for event in (await anext(store.watch(last))).events] == ["new"]

    async def test_scripts_that_the_server_forgot_are_told_again(self, valkey: Valkey, store: ValkeyStore) -> None:
        feed = store.watch()
        await anext(feed)
        ask(valkey, "SCRIPT", "FLUSH")
        await store.commit(Add(device := a_device()), Log(an_event(name="told")))
        ask(valkey, "SCRIPT", "FLUSH")
        assert await asyncio.gather(*(store.find(Device, device.id) for _ in range(5))) == [device] * 5
        ask(valkey, "SCRIPT", "FLUSH")
        assert (await anext(feed)).events[0].name == "told"
        await feed.aclose()


async def live_through_everything(store: ValkeyStore, clock: FakeClock) -> None:
    """Pair in each way, guess wrongly, refresh, narrow and revoke; the store is closed afterwards."""
    limits = Limits(starts="1000/second", pending=100, pending_per_source=100)
    pairlock = Pairlock(store=store, secret_keys=[KEY], default_permissions=SENSORS, clock=clock, limits=limits)
    kept = await pair(pairlock, "Kept")
    assert kept.refresh_token is not None
    await pairlock.tokens.refresh(kept.refresh_token)
    by_code = await pairlock.codes.redeem((await pairlock.codes.mint(Permissions.parse(SENSORS))).code, "Laptop")
    await pairlock.codes.mint(Permissions.parse(SENSORS))
    guessed = await pairlock.pairing.start("Guessed")
    pin = wrong(the_pin(pairlock, guessed))
    with pytest.raises(InvalidPin):
        await pairlock.pairing.submit_pin(guessed.request.id, guessed.secret, pin)
    with pytest.raises(InvalidGrant):
        await pairlock.tokens.refresh("plr_unknown")
    await pairlock.devices.revoke(by_code.device.id)
    await pairlock.aclose()
