"""Commits: all or nothing, and only upon the version that was read."""

import pytest
from msgspec import Struct
from msgspec.structs import fields, replace

from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType, Origin, PairingRequest, Record, Setting
from pairlock._core.states import State
from pairlock.errors import TemporarilyUnavailable
from pairlock.stores.contract import Add, Conflict, Log, Store, Swap
from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.contract.handles import Handles, NewStore, all_events

PERMISSIONS = Permissions(read=("/sensors/**", "/ü/*"), write=("/control/lamp",))
ORIGIN = Origin(address="2001:db8::7", user_agent="curl/8 “quoted” \U0001f600", hint="kitchen\x00shelf")

# Every field differs from its default: `test_every_field_...` sees to it when a field is added.
FULL_REQUEST = PairingRequest(
    id="request-1",
    version=7,
    purge_at=2000.25,
    method="device_code",
    state=State.DENIED,
    name="Bärbels 'phone'; --",
    created_at=1000.125,
    expires_at=1600.1,
    secret_digest=bytes(range(256)),
    code_digest=b"\x00\xff digest",
    key_id="a1b2",
    requested=PERMISSIONS,
    granted=Permissions(read=("/x",)),
    guesses=3,
    hint="laptop",
    origin=ORIGIN,
    decided_by="operator",
    decided_at=1234.5678,
    message="welcome",
    reason="not today",
    device_id="device-1",
    client_id="tv",
    challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    interval=10,
    polled_at=1001.5,
    refused_at=1002.5,
    present_until=1060.5,
    token_life=600.0,
    ended_at=1234.5678,
)
FULL_DEVICE = Device(
    id="device-1",
    version=3,
    purge_at=3e9,
    name="\U0001f469\u200d\U0001f4bb laptop",
    method="qr",
    permissions=PERMISSIONS,
    created_at=1000.0,
    request_id="request-1",
    approved_by="operator",
    origin=ORIGIN,
    epoch=5,
    revoked_at=1600.75,
    client_id="tv",
    token_life=600.0,
    family_digest=bytes(range(64, 96)),
    refresh_digest=bytes(range(128, 160)),
    rotated_from=bytes(range(96, 128)),
    rotated_at=1500.5,
    expires_at=9000.5,
    used_at=1001.25,
    seen_at=1600.5,
)
FULL_SETTING = Setting(
    id="setting-1", version=2, purge_at=9.5, value={"list": [1, 2.5, None, True, "ü"], "empty": {}, "big": 2**53}
)
FULL_EVENT = AuditEvent(
    type=EventType.NARROWED,
    at=1000.5,
    by="operator",
    seq=1,
    method="pin",
    name="phone",
    request_id="request-1",
    device_id="device-1",
    origin=ORIGIN,
    epoch=2,
    permissions=PERMISSIONS,
    reason="too wide",
    expires_at=1600.5,
    purge_at=5000.0,
)


def _assert_full(record: Struct) -> None:
    for field in fields(record):
        assert getattr(record, field.name) != field.default, f"give {field.name} a value of its own"


class Commits(Handles):
    @pytest.mark.parametrize("record", [a_request(), a_device(), a_setting()], ids=lambda record: type(record).__name__)
    async def test_a_record_that_was_added_is_found(self, store: Store, other: Store, record: Record) -> None:
        await store.commit(Add(record))
        assert await store.find(type(record), record.id) == record
        assert await other.find(type(record), record.id) == record

    @pytest.mark.parametrize("kind", [PairingRequest, Device, Setting])
    async def test_what_was_never_added_is_not_found(self, store: Store, kind: type[Record]) -> None:
        assert await store.find(kind, "nothing") is None

    @pytest.mark.parametrize("record", [a_request(), a_device(), a_setting()], ids=lambda record: type(record).__name__)
    async def test_an_id_that_exists_is_not_added_again(self, store: Store, other: Store, record: Record) -> None:
        await store.commit(Add(record))
        with pytest.raises(Conflict):
            await other.commit(Add(replace(record, version=2)))
        assert await store.find(type(record), record.id) == record

    async def test_an_id_names_one_record_of_each_kind(self, store: Store) -> None:
        records = (a_request(id="same"), a_device(id="same"), a_setting(id="same"))
        await store.commit(*(Add(record) for record in records))
        for record in records:
            assert await store.find(type(record), "same") == record

    async def test_a_request_is_found_by_its_code_digest(self, store: Store, other: Store) -> None:
        request = a_request(code_digest=b"\x00code")
        await store.commit(Add(request), Add(a_request(code_digest=b"another")))
        assert await other.find_code(b"\x00code") == request
        assert await other.find_code(b"unknown") is None

    async def test_a_code_digest_that_exists_is_not_added_again(self, store: Store, other: Store) -> None:
        first, second = a_request(code_digest=b"code"), a_request(code_digest=b"code")
        await store.commit(Add(first))
        with pytest.raises(Conflict):
            await other.commit(Add(second))
        assert await store.find(PairingRequest, second.id) is None
        assert await store.find_code(b"code") == first

    async def test_any_number_of_requests_have_no_code(self, store: Store) -> None:
        await store.commit(Add(a_request()), Add(a_request()))
        await store.commit(Add(a_request()))

    async def test_a_request_keeps_its_code_when_it_changes(self, store: Store) -> None:
        request = a_request(code_digest=b"code")
        await store.commit(Add(request))
        await store.commit(Swap(request.evolve(state=State.REDEEMED)))
        assert await store.find_code(b"code") == request.evolve(state=State.REDEEMED)

    async def test_a_code_given_up_is_free_again(self, store: Store) -> None:
        request, later = a_request(code_digest=b"code"), a_request(code_digest=b"code")
        await store.commit(Add(request))
        await store.commit(Swap(request.evolve(code_digest=None)))
        assert await store.find_code(b"code") is None
        await store.commit(Add(later))
        assert await store.find_code(b"code") == later

    async def test_a_code_of_another_request_is_not_taken_by_a_change(self, store: Store) -> None:
        owner, other_request = a_request(code_digest=b"code"), a_request(code_digest=b"mine")
        await store.commit(Add(owner), Add(other_request))
        with pytest.raises(Conflict):
            await store.commit(Swap(other_request.evolve(code_digest=b"code")))
        assert await store.find_code(b"code") == owner
        assert await store.find_code(b"mine") == other_request

    @pytest.mark.parametrize("record", [a_request(), a_device(), a_setting()], ids=lambda record: type(record).__name__)
    async def test_a_swap_puts_the_next_version_in_place(self, store: Store, other: Store, record: Record) -> None:
        await store.commit(Add(record))
        await other.commit(Swap(record.evolve()))
        await store.commit(Swap(record.evolve().evolve()))
        assert await other.find(type(record), record.id) == record.evolve().evolve()

    @pytest.mark.parametrize("version", [1, 3, 4, 6, 7])
    @pytest.mark.parametrize("record", [a_request(), a_device(), a_setting()], ids=lambda record: type(record).__name__)
    async def test_a_swap_needs_exactly_the_version_before(self, store: Store, record: Record, version: int) -> None:
        kept = replace(record, version=4)
        await store.commit(Add(kept))
        with pytest.raises(Conflict):
            await store.commit(Swap(replace(kept, version=version)))
        assert await store.find(type(record), record.id) == kept

    @pytest.mark.parametrize("version", [1, 2])
    async def test_what_does_not_exist_is_not_swapped(self, store: Store, version: int) -> None:
        with pytest.raises(Conflict):
            await store.commit(Swap(a_device(id="nothing", version=version)))
        assert await store.find(Device, "nothing") is None

    async def test_a_conflict_in_the_last_write_leaves_nothing_of_the_first(self, store: Store, other: Store) -> None:
        known, request = a_setting(), a_request(code_digest=b"old")
        await store.commit(Add(known), Add(request), Log(an_event(name="before")))
        device, extra = a_device(), a_request(code_digest=b"extra")
        writes = (Log(an_event()), Add(extra), Add(device), Swap(request.evolve(code_digest=b"new")), Log(an_event()))
        for too_late in (Add(known), Swap(known), Swap(a_device()), Add(a_request(code_digest=b"extra"))):
            with pytest.raises(Conflict):
                await store.commit(*writes, too_late)
            assert await other.find(Device, device.id) is None
            assert await other.find_code(b"extra") is None
            assert await other.find_code(b"old") == await other.find(PairingRequest, request.id) == request
            assert await other.find_code(b"new") is None
            assert [event.name for event in await all_events(other)] == ["before"]
        await store.commit(*writes)
        assert await other.find(Device, device.id) == device

    async def test_one_commit_cannot_add_an_id_twice(self, store: Store) -> None:
        device = a_device()
        with pytest.raises(Conflict):
            await store.commit(Add(device), Add(device))
        assert await store.find(Device, device.id) is None

    async def test_events_are_numbered_in_the_order_of_commits(self, store: Store, other: Store) -> None:
        for round_ in range(3):
            await store.commit(Log(an_event(name=f"{round_}a")), Add(a_device()), Log(an_event(name=f"{round_}b")))
            await other.commit(Log(an_event(name=f"{round_}c", seq=99)))
        events = await all_events(store)
        assert [event.name for event in events] == [f"{round_}{part}" for round_ in range(3) for part in "abc"]
        seqs = [event.seq for event in events]
        assert seqs == sorted(set(seqs))
        assert await all_events(other) == events

    async def test_every_field_of_every_kind_comes_back(self, store: Store, other: Store) -> None:
        for record in (FULL_REQUEST, FULL_DEVICE, FULL_SETTING):
            _assert_full(record)
            await store.commit(Add(record))
            if isinstance(record, Device):
                await store.touch({record.id: record.seen_at or 0})
            assert await other.find(type(record), record.id) == record
        _assert_full(FULL_EVENT)
        await store.commit(Log(FULL_EVENT))
        (event,) = await all_events(other)
        assert replace(event, seq=FULL_EVENT.seq) == FULL_EVENT

    async def test_a_value_changed_in_hand_changes_nothing_kept(self, store: Store) -> None:
        setting = a_setting(value={"names": ["first"]})
        await store.commit(Add(setting))
        setting.value["names"].append("second")
        found = await store.find(Setting, setting.id)
        assert found is not None
        assert found.value == {"names": ["first"]}
        found.value["names"].clear()
        assert await store.find(Setting, setting.id) == replace(setting, value={"names": ["first"]})

    async def test_an_open_handle_answers(self, store: Store) -> None:
        await store.check()
        await store.commit(Add(a_device()), Log(an_event()))
        await store.check()

    async def test_a_new_handle_finds_everything(self, store: Store, new_store: NewStore) -> None:
        request, device = a_request(code_digest=b"code"), a_device()
        await store.commit(Add(request), Add(device), Log(an_event()))
        events = await all_events(store)
        await store.aclose()
        again = new_store()
        await again.open()
        assert await again.find_code(b"code") == request
        assert await again.list_devices() == [device]
        assert await all_events(again) == events
        await again.commit(Swap(device.evolve()), Log(an_event()))
        assert (await all_events(again))[-1].seq > events[-1].seq
        await again.aclose()

    async def test_closing_twice_does_nothing_more(self, store: Store, other: Store) -> None:
        await store.aclose()
        await store.aclose()
        await other.commit(Add(a_device()))

    async def test_a_handle_that_is_not_open_says_so_at_every_call(self, new_store: NewStore) -> None:
        handle = new_store()
        await handle.open()
        await handle.aclose()
        for closed in (handle, new_store()):
            for call in (
                closed.commit(Add(a_device())),
                closed.find(Device, "any"),
                closed.find_code(b"any"),
                closed.list_requests(live_at=0),
                closed.list_devices(),
                closed.search_devices(""),
                closed.list_events(),
                closed.touch({"any": 1}),
                closed.check(),
                closed.hit("key", 1, 1),
                closed.purge(1),
                anext(closed.watch()),
            ):
                with pytest.raises(TemporarilyUnavailable):
                    await call
