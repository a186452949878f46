"""A store against a model that is plain dicts, under any order of calls that hypothesis thinks of."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace

from pairlock._core.records import AuditEvent, Device, PairingRequest, Record, Setting
from pairlock._core.states import LIVE, State
from pairlock.stores.contract import Add, Hits, Log, Swap, Write
from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.contract.handles import Handles, NewStore, all_events, succeeds

T = TypeVar("T")
K = TypeVar("K", bound=Record)

ENOUGH = settings(
    max_examples=50, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
FOREVER = 1e15

# Few of each, so that calls meet.
ids = st.sampled_from("abcd")
times = st.integers(0, 6).map(float)
maybe_times = st.none() | times
codes = st.sampled_from([None, b"x", b"y"])
limits = st.integers(1, 3)
handles = st.sampled_from([0, 1])

requests = st.builds(
    a_request, id=ids, state=st.sampled_from(State), expires_at=times, code_digest=codes, purge_at=times
)
devices = st.builds(a_device, id=ids, epoch_at=maybe_times, revoked_at=maybe_times, purge_at=times)
all_settings = st.builds(a_setting, id=ids, value=st.integers(0, 9) | st.text(max_size=3), purge_at=times)
events = st.builds(an_event, name=st.sampled_from("uvw"), purge_at=times)

# What to write: how much later than the version kept (None: add), and the record. At most one of each
# kind in a commit: what two writes of one record do in one commit is not promised.
ages = st.sampled_from([None, None, 1, 1, 0, 2])
plans = st.tuples(
    *(st.none() | st.tuples(ages, records) for records in (requests, devices, all_settings)), st.none() | events
)


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

    def write(self, age: int | None, record: Record) -> Write:
        """An add, or a swap that is right or stale."""
        kept = self.records.get((type(record), record.id))
        if age is None:
            return Add(record)
        return Swap(replace(record, version=(kept.version if kept else 0) + age))

    def commit(self, writes: Iterable[Write]) -> bool:
        """Do all, or none and say so."""
        records = dict(self.records)
        for write in writes:
            if not isinstance(write, Log):
                key = (type(write.record), write.record.id)
                kept = self.records[key].version if key in self.records else None
                if kept != (write.record.version - 1 if isinstance(write, Swap) else None):
                    return False
                records[key] = write.record
        digests = [record.code_digest for record in records.values() if isinstance(record, PairingRequest)]
        if any(digest is not None and digests.count(digest) > 1 for digest in digests):
            return False
        self.records = records
        self.events += [write.event for write in writes if isinstance(write, Log)]
        return True

    def hit(self, key: str, window: float, now: float) -> Hits:
        """Count."""
        hits = self.counters.get(key)
        anew = hits is None or now >= hits.resets_at
        self.counters[key] = Hits(1, now + window) if anew or hits is None else Hits(hits.count + 1, hits.resets_at)
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

    @rule(handle=handles, plan=plans)
    def commit(self, handle: int, plan: Any) -> None:
        *records, event = plan
        writes = [self.kept.write(*planned) for planned in records if planned is not None]
        writes += [] if event is None else [Log(event)]
        assert self.run(succeeds(self.stores[handle], *writes)) == self.kept.commit(writes)

    @rule(handle=handles, kind=st.sampled_from([PairingRequest, Device, Setting]), id=ids)
    def find(self, handle: int, kind: type[Record], id: str) -> None:
        assert self.run(self.stores[handle].find(kind, id)) == self.kept.records.get((kind, id))

    @rule(handle=handles, digest=st.sampled_from([b"x", b"y"]))
    def find_code(self, handle: int, digest: bytes) -> None:
        expected = [request for request in self.kept.all(PairingRequest) if request.code_digest == digest]
        assert self.run(self.stores[handle].find_code(digest)) == (expected[0] if expected else None)

    @rule(handle=handles, live_at=times, before=st.none() | ids, limit=limits)
    def list_requests(self, handle: int, live_at: float, before: str | None, limit: int) -> None:
        live = [
            request
            for request in self.kept.all(PairingRequest)
            if request.state in LIVE and live_at < request.expires_at and (before is None or request.id < before)
        ]
        listed = self.run(self.stores[handle].list_requests(live_at=live_at, before=before, limit=limit))
        assert listed == live[:limit]

    @rule(handle=handles, since=maybe_times, before=st.none() | ids, limit=limits)
    def list_devices(self, handle: int, since: float | None, before: str | None, limit: int) -> None:
        wanted = [
            device
            for device in self.kept.all(Device)
            if (device.revoked_at is None if since is None else (device.epoch_at or -1) >= since)
            and (before is None or device.id < before)
        ]
        listed = self.run(self.stores[handle].list_devices(changed_since=since, before=before, limit=limit))
        assert listed == wanted[:limit]

    @rule(handle=handles)
    def list_events(self, handle: int) -> None:
        listed = self.run(all_events(self.stores[handle]))
        assert [replace(event, seq=0) for event in listed] == self.kept.events

    @rule(handle=handles, key=ids, window=st.integers(1, 4).map(float), now=times)
    def hit(self, handle: int, key: str, window: float, now: float) -> None:
        assert self.run(self.stores[handle].hit(key, window, now)) == self.kept.hit(key, window, now)

    @rule(handle=handles, now=times)
    def purge(self, handle: int, now: float) -> None:
        assert self.run(self.stores[handle].purge(now)) == self.kept.purge(now)

    @rule(handle=handles)
    def reopen(self, handle: int) -> None:
        self.run(self.stores[handle].aclose())
        self.stores[handle] = self.new_store()
        self.run(self.stores[handle].open())


class Model(Handles):
    def test_it_does_what_plain_dicts_would_do(self, new_store: NewStore) -> None:
        run_state_machine_as_test(lambda: StoreMachine(new_store), settings=ENOUGH)  # type: ignore[arg-type]  # any factory does
