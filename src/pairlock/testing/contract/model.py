"""A store against a model that is plain dicts, under any order of calls that hypothesis thinks of."""

import asyncio
from collections.abc import Coroutine, Iterable
from operator import attrgetter
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting
from pairlock._core.states import LIVE, State
from pairlock.stores.contract import Add, Hits, Log, Store, Swap, Write
from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.contract.handles import Handles, NewStore, all_events, succeeds

T = TypeVar("T")
K = TypeVar("K", bound=Record)

ENOUGH = settings(
    max_examples=30, stateful_step_count=20, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FOREVER = 1e15

# Few of each, so that calls meet.
ids = st.sampled_from("abc")
times = st.integers(0, 6).map(float)
later = st.integers(4, 9).map(float)
codes = st.sampled_from([None, None, b"x", b"y"])
handles = st.sampled_from([0, 1])
amounts = st.sampled_from([1, 1, 3, 0, -1, -2])

requests = st.builds(
    a_request, id=ids, state=st.sampled_from(State), expires_at=times, code_digest=codes, purge_at=later
)
devices = st.builds(a_device, id=ids, name=st.sampled_from("aBc"), revoked_at=st.none() | times, purge_at=later)
all_settings = st.builds(a_setting, id=ids, value=st.integers(0, 9) | st.text(max_size=3), purge_at=later)
events = st.builds(an_event, name=st.sampled_from("uvw"), purge_at=later)
records = st.one_of(requests, devices, all_settings)

# How a write stands to what is kept; most are right, or little would ever be kept.
RIGHT, AGAIN, STALE, AHEAD = "right", "again", "stale", "ahead"
aims = st.sampled_from([RIGHT] * 7 + [AGAIN, STALE, AHEAD])
# One of each kind at most: what two writes of one record do in one commit is not promised.
plans = st.tuples(
    handles,
    st.lists(st.tuples(aims, records), min_size=1, max_size=3, unique_by=lambda plan: type(plan[1])),
    st.lists(events, max_size=2),
)
Plan = tuple[int, list[tuple[str, Record]], list[AuditEvent]]


_name_key = attrgetter("name_key")


class Kept:
    """The model: what a store should hold."""

    def __init__(self) -> None:
        self.records: dict[tuple[type[Record], str], Record] = {}
        self.events: list[AuditEvent] = []
        self.counters: dict[str, Hits] = {}

    def all(self, kind: type[K]) -> list[K]:
        """Every record of a kind, newest first."""
        records = [record for record in self.records.values() if isinstance(record, kind)]
        return sorted(records, key=lambda record: record.id, reverse=True)

    def write(self, aim: str, record: Record) -> Write:
        """An add or a swap that is right, or too late."""
        kept = self.records.get((type(record), record.id))
        if aim == AGAIN or (aim == RIGHT and kept is None):
            return Add(record)
        ahead = {RIGHT: 1, STALE: 0, AHEAD: 2}[aim]
        return Swap(replace(record, version=(kept.version if kept else 0) + ahead))

    def commit(self, writes: Iterable[Write]) -> bool:
        """Do all, or none and say so."""
        records = dict(self.records)
        for write in writes:
            if not isinstance(write, Log):
                key = (type(write.record), write.record.id)
                kept = self.records[key].version if key in self.records else None
                if kept != (write.record.version - 1 if isinstance(write, Swap) else None):
                    return False
                records[key] = self.beside(write.record)
        digests = [record.code_digest for record in records.values() if isinstance(record, PairingRequest)]
        if any(digest is not None and digests.count(digest) > 1 for digest in digests):
            return False
        self.records = records
        self.events += [write.event for write in writes if isinstance(write, Log)]
        return True

    def beside(self, record: Record) -> Record:
        """The record, with what no commit changes."""
        kept = self.records.get((type(record), record.id))
        return (
            replace(record, seen_at=kept.seen_at if isinstance(kept, Device) else None)
            if isinstance(record, Device)
            else record
        )

    def touch(self, id: str, at: float) -> None:
        """Note that a device was seen."""
        kept = self.records.get((Device, id))
        if isinstance(kept, Device):
            self.records[Device, id] = replace(kept, seen_at=max(at, kept.seen_at or at))

    def hit(self, key: str, window: float, now: float, amount: int) -> Hits:
        """Count, look or take back."""
        hits = self.counters.get(key, Hits(0, now))
        if now < hits.resets_at:
            self.counters[key] = Hits(max(hits.count + amount, 0), hits.resets_at)
        elif amount > 0:
            self.counters[key] = Hits(amount, now + window)
        else:
            return Hits(0, now)
        return self.counters[key]

    def purge(self, now: float) -> int:
        """Drop."""
        before = len(self.records) + len(self.events) + len(self.counters)
        self.records = {key: record for key, record in self.records.items() if (record.purge_at or 0) > now}
        self.events = [event for event in self.events if (event.purge_at or 0) > now]
        self.counters = {key: hits for key, hits in self.counters.items() if hits.resets_at > now}
        return before - len(self.records) - len(self.events) - len(self.counters)


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one store, and the model. All that is written can be purged, to begin empty again."""

    def __init__(self, new_store: NewStore) -> None:
        super().__init__()
        self.new_store = new_store
        self.runner = asyncio.Runner()
        self.stores = [new_store(), new_store()]
        for store in self.stores:
            self.run(store.open())
        self.run(self.stores[0].purge(FOREVER))
        self.kept = Kept()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.aclose())
        self.runner.close()

    @rule(plans=st.lists(plans, min_size=1, max_size=4))
    def commit(self, plans: list[Plan]) -> None:
        for handle, records, events in plans:
            writes: list[Write] = [Log(event) for event in events]
            writes[1:1] = [self.kept.write(aim, record) for aim, record in records]
            assert self.run(succeeds(self.stores[handle], *writes)) == self.kept.commit(writes)

    @rule(handle=handles, at=times, before=st.sampled_from([None, "b", "c"]), limit=st.integers(1, 3))
    def list_pages(self, handle: int, at: float, before: str | None, limit: int) -> None:
        store, last = self.stores[handle], before or "~"
        requests = [request for request in self.kept.all(PairingRequest) if request.id < last]
        live = [request for request in requests if request.state in LIVE and at < request.expires_at]
        assert self.run(store.list_requests(live_at=at, before=before, limit=limit)) == live[:limit]
        devices = [device for device in self.kept.all(Device) if device.id < last]
        paired = [device for device in devices if device.revoked_at is None]
        assert self.run(store.list_devices(before=before, limit=limit)) == paired[:limit]
        named = sorted((device for device in self.kept.all(Device) if device.revoked_at is None), key=_name_key)
        after = None if before is None else f"{before}\n{before}"
        found = [device for device in named if after is None or device.name_key > after]
        assert self.run(store.search_devices("", after=after, limit=limit)) == found[:limit]

    @invariant()
    def the_first_pages_agree(self) -> None:
        for store in self.stores:
            paired = [device for device in self.kept.all(Device) if device.revoked_at is None]
            assert self.run(store.list_devices()) == paired
            requests = self.kept.all(PairingRequest)
            for at in {request.expires_at for request in requests}:
                live = [request for request in requests if request.state in LIVE and at < request.expires_at]
                assert self.run(store.list_requests(live_at=at)) == live

    @rule(handle=handles, key=ids, window=st.integers(1, 4).map(float), now=times, amount=amounts)
    def hit(self, handle: int, key: str, window: float, now: float, amount: int) -> None:
        assert self.run(self.stores[handle].hit(key, window, now, amount)) == self.kept.hit(key, window, now, amount)

    @rule(handle=handles, id=ids, at=times)
    def touch(self, handle: int, id: str, at: float) -> None:
        self.run(self.stores[handle].touch({id: at}))
        self.kept.touch(id, at)

    @rule(handle=handles, now=times)
    def purge(self, handle: int, now: float) -> None:
        assert self.run(self.stores[handle].purge(now)).total() == self.kept.purge(now)

    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        self.run(self.stores[handle].aclose())
        self.stores[handle] = self.new_store()
        self.run(self.stores[handle].open())

    @invariant()
    def both_handles_hold_what_the_model_holds(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        for store in self.stores:
            await self.compare_one(store)

    async def compare_one(self, store: Store) -> None:
        for kind in (PairingRequest, Device, Setting):
            for name in "abc":
                assert await store.find(kind, name) == self.kept.records.get((kind, name))
        for digest in (b"x", b"y"):
            owners = [request for request in self.kept.all(PairingRequest) if request.code_digest == digest]
            assert await store.find_code(digest) == (owners[0] if owners else None)
        assert [replace(event, seq=0) for event in await all_events(store)] == self.kept.events


class Model(Handles):
    model_settings = ENOUGH  # a store far away may do with fewer examples

    def test_it_does_what_plain_dicts_would_do(self, new_store: NewStore) -> None:
        run_state_machine_as_test(lambda: StoreMachine(new_store), settings=self.model_settings)  # type: ignore[arg-type]  # any factory does
