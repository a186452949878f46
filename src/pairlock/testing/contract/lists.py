"""Lists: newest first, in pages that leave nothing out."""

from collections.abc import Awaitable, Callable
from typing import Any

from pairlock._core.states import LIVE, State
from pairlock.stores.contract import Add, Log, Store, Swap
from pairlock.testing.builders import a_device, a_request, an_event
from pairlock.testing.contract.handles import Handles

NOW = 1000.0
TOO_MANY = 20  # pages: those of a store that goes round in circles


async def paged(page_before: Callable[[Any], Awaitable[list[Any]]], key: str) -> list[list[Any]]:
    """The keys of all pages, each begun where the last one ended."""
    pages: list[list[Any]] = []
    before = None
    while (page := await page_before(before)) and len(pages) < TOO_MANY:
        pages.append([getattr(item, key) for item in page])
        before = pages[-1][-1]
    return pages


class Lists(Handles):
    async def test_everything_is_empty_at_first(self, store: Store) -> None:
        assert await store.list_requests(live_at=0) == []
        assert await store.list_devices() == []
        assert await store.list_events() == []

    async def test_live_requests_are_those_pending_or_approved(self, store: Store) -> None:
        requests = [a_request(state=state, expires_at=NOW + 1) for state in State]
        await store.commit(*(Add(request) for request in requests))
        live = [request for request in requests[::-1] if request.state in LIVE]
        assert await store.list_requests(live_at=NOW) == live

    async def test_a_request_is_live_until_the_moment_it_expires(self, store: Store) -> None:
        request = a_request(expires_at=NOW)
        await store.commit(Add(request))
        assert await store.list_requests(live_at=NOW - 0.001) == [request]
        assert await store.list_requests(live_at=NOW) == []

    async def test_a_request_leaves_the_list_with_its_state(self, store: Store, other: Store) -> None:
        request = a_request(expires_at=NOW + 1)
        await store.commit(Add(request))
        await store.commit(Swap(request.evolve(state=State.APPROVED)))
        assert await other.list_requests(live_at=NOW) == [request.evolve(state=State.APPROVED)]
        await other.commit(Swap(request.evolve().evolve(state=State.REDEEMED)))
        assert await store.list_requests(live_at=NOW) == []

    async def test_requests_come_newest_first_whatever_the_order_of_adding(self, store: Store) -> None:
        for name in ("b", "d", "a", "c", "0", "é"):
            await store.commit(Add(a_request(id=name, expires_at=NOW + 1)))
        assert [request.id for request in await store.list_requests(live_at=NOW)] == ["é", "d", "c", "b", "a", "0"]

    async def test_pages_of_requests_leave_nothing_out(self, store: Store) -> None:
        requests = [a_request(expires_at=NOW + number % 3) for number in range(14)]
        await store.commit(*(Add(request) for request in requests))
        ids = [request.id for request in requests[::-1] if request.expires_at > NOW]
        pages = await paged(lambda before: store.list_requests(live_at=NOW, before=before, limit=4), "id")
        assert pages == [ids[:4], ids[4:8], ids[8:]]

    async def test_paired_devices_are_those_not_revoked(self, store: Store, other: Store) -> None:
        devices = [a_device() for _ in range(3)]
        await store.commit(*(Add(device) for device in devices))
        assert await other.list_devices() == devices[::-1]
        await store.commit(Swap(devices[1].evolve(epoch=1, revoked_at=NOW)))
        assert await other.list_devices() == [devices[2], devices[0]]

    async def test_pages_of_devices_leave_nothing_out(self, store: Store) -> None:
        devices = [a_device(revoked_at=NOW if number % 4 == 0 else None) for number in range(12)]
        await store.commit(*(Add(device) for device in devices))
        ids = [device.id for device in devices[::-1] if device.revoked_at is None]
        pages = await paged(lambda before: store.list_devices(before=before, limit=3), "id")
        assert pages == [ids[:3], ids[3:6], ids[6:]]

    async def test_devices_are_searched_by_the_beginning_of_their_folded_name(self, store: Store, other: Store) -> None:
        names = ("Phone", "phone of Ömer", "PHONE-2", "Ｐhonograph", "Tablet", "My phone", "Phone", "%hone", "phon_")
        devices = [a_device(name=name) for name in names]
        await store.commit(*(Add(device) for device in devices))
        by_key = sorted(devices, key=lambda device: device.name_key)
        for prefix in ("phone", "phon", "phone of ö", "p", "", "x", "phone-", "%", "phon_", "my phone", "phone\n"):
            found = [device for device in by_key if device.name_key.startswith(prefix)]
            assert await other.search_devices(prefix) == found, prefix

    async def test_a_search_finds_paired_devices_under_the_names_they_have(self, store: Store, other: Store) -> None:
        renamed, gone, kept = (a_device(name="Phone") for _ in range(3))
        await store.commit(*(Add(device) for device in (renamed, gone, kept)))
        named = renamed.evolve(name="Übertablet")
        await store.commit(Swap(named), Swap(gone.evolve(revoked_at=NOW)))
        assert await other.search_devices("phone") == [kept]
        assert await other.search_devices("übert") == [named]
        await store.commit(Swap(named.evolve(revoked_at=NOW)))
        assert await other.search_devices("übert") == []
        assert await other.search_devices("") == [kept]

    async def test_pages_of_a_search_leave_nothing_out(self, store: Store) -> None:
        devices = [a_device(name=f"Phone {number // 3}") for number in range(11)]
        await store.commit(*(Add(device) for device in devices), Add(a_device(name="Tablet")))
        keys = sorted(device.name_key for device in devices)
        pages = await paged(lambda after: store.search_devices("phone", after=after, limit=4), "name_key")
        assert pages == [keys[:4], keys[4:8], keys[8:]]

    async def test_a_page_of_a_search_begins_beyond_a_key_that_is_gone_too(self, store: Store) -> None:
        await store.commit(*(Add(a_device(id=name, name=name)) for name in "bdf"))
        assert [each.id for each in await store.search_devices("", after="c\nc", limit=1)] == ["d"]
        assert [each.id for each in await store.search_devices("", after="d\nd")] == ["f"]
        assert await store.search_devices("b", after="d\nd") == []
        assert [each.id for each in await store.search_devices("f", after="a")] == ["f"]

    async def test_a_page_holds_a_hundred_unless_told(self, store: Store) -> None:
        await store.commit(
            *(Add(a_device()) for _ in range(101)),
            *(Add(a_request(expires_at=NOW + 1)) for _ in range(101)),
            *(Log(an_event()) for _ in range(101)),
        )
        assert len(await store.list_devices()) == len(await store.list_requests(live_at=NOW)) == 100
        assert len(await store.search_devices("")) == len(await store.list_events()) == 100

    async def test_a_page_begins_below_an_id_that_is_gone_too(self, store: Store) -> None:
        await store.commit(*(Add(a_device(id=name)) for name in "aceg"))
        assert [device.id for device in await store.list_devices(before="f", limit=2)] == ["e", "c"]
        assert [device.id for device in await store.list_devices(before="c")] == ["a"]
        assert await store.list_devices(before="a") == []

    async def test_pages_of_events_leave_nothing_out(self, store: Store) -> None:
        await store.commit(*(Log(an_event(name=str(number))) for number in range(10)))
        seqs = [event.seq for event in await store.list_events()]
        assert [event.name for event in await store.list_events()] == [str(number) for number in range(9, -1, -1)]
        pages = await paged(lambda before: store.list_events(before=before, limit=4), "seq")
        assert pages == [seqs[:4], seqs[4:8], seqs[8:]]
