"""What happened: each thing once, with who and where and how, in the commit that did it; and never a secret."""

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pairlock import Approve, Asked, Client, Deny, Operator, Pairlock, Permissions, Prompt, WireError
from pairlock._core import refresh
from pairlock._core.clients import Credentials
from pairlock._core.events import KEPT
from pairlock._core.methods import grouped
from pairlock._core.records import AuditEvent, EventType, Origin, PairingRequest, Record, Setting
from pairlock._core.states import LIVE
from pairlock.errors import InvalidPin, TemporarilyUnavailable
from pairlock.services.deciding import Decision
from pairlock.services.device_codes import DeviceCode
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Log, Write
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, FailingStore, Make, away, pair, the_pin, wrong
from tests.services.steps import (
    HERE,
    OFTEN,
    TV,
    ask,
    ask_by_device_code,
    do_chores,
    guess,
    happened,
    mistype,
    no_places,
    poll,
    redeem,
    type_pin,
)

pytestmark = pytest.mark.anyio

DEFAULT = Permissions.parse(SENSORS)
NARROW = Permissions(read=("/sensors/a",))
ALICE = Operator("alice")
BY_ALICE = ALICE.actor
ADDRESS = "https://house.example/pair"
REDEEMER = "a-secret-of-22-letters-or-more"

Act = Callable[[], Awaitable[object]]
Prepare = Callable[[Pairlock], Awaitable[Act]]


# The table: what is done, and what is written down of it


async def start_by_pin(pairlock: Pairlock) -> Act:
    return lambda: ask(pairlock, HERE)


async def start_by_device_code(pairlock: Pairlock) -> Act:
    return lambda: ask_by_device_code(pairlock, HERE)


async def approve(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    return lambda: pairlock.deciding.approve(started.request.id, by=ALICE)


async def deny(pairlock: Pairlock) -> Act:
    started = await ask_by_device_code(pairlock, HERE)
    return lambda: pairlock.deciding.deny(started.request.id, by=ALICE)


async def cancel(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    return lambda: pairlock.pairing.cancel(started.request.id, started.secret)


async def type_the_pin(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    return lambda: type_pin(pairlock, started)


async def type_a_wrong_pin(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    return lambda: type_pin(pairlock, started, wrong(the_pin(pairlock, started)))


async def type_the_last_wrong_pin(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    await mistype(pairlock, started, 4)
    return lambda: type_pin(pairlock, started, wrong(the_pin(pairlock, started)))


async def type_the_20th_wrong_pin(pairlock: Pairlock) -> Act:
    await guess(pairlock, 19)
    return await type_a_wrong_pin(pairlock)


async def reopen(pairlock: Pairlock) -> Act:
    await guess(pairlock, 20)
    return lambda: pairlock.pin_guesses.reopen(by=BY_ALICE)


async def redeem_what_was_approved(pairlock: Pairlock) -> Act:
    started = await ask(pairlock, HERE)
    await pairlock.deciding.approve(started.request.id)
    return lambda: redeem(pairlock, started)


async def approved_by_device_code(pairlock: Pairlock) -> DeviceCode:
    asked = await ask_by_device_code(pairlock, HERE)
    await pairlock.deciding.approve(asked.request.id)
    return asked


async def redeem_a_device_code(pairlock: Pairlock) -> Act:
    asked = await approved_by_device_code(pairlock)
    return lambda: pairlock.device_codes.redeem(asked.device_code, TV)


async def confirm_wrongly_for_the_last_time(pairlock: Pairlock) -> Act:
    asked = await approved_by_device_code(pairlock)
    pin = wrong(pairlock.deciding.confirmation_pin(await pairlock.deciding.show(asked.request.id)))
    for _ in range(4):
        with pytest.raises(InvalidPin):
            await pairlock.device_codes.redeem(asked.device_code, TV, confirmation_pin=pin)
    return lambda: pairlock.device_codes.redeem(asked.device_code, TV, confirmation_pin=pin)


async def mint(pairlock: Pairlock) -> Act:
    return lambda: pairlock.codes.mint(DEFAULT, by=ALICE)


async def mint_qr(pairlock: Pairlock) -> Act:
    return lambda: pairlock.codes.qr(DEFAULT, address=ADDRESS, by=ALICE)


async def withdraw(pairlock: Pairlock) -> Act:
    minted = await pairlock.codes.mint(DEFAULT, by=ALICE)
    return lambda: pairlock.codes.withdraw(minted.request.id, by=ALICE)


async def redeem_a_code(pairlock: Pairlock) -> Act:
    code = await pairlock.code(SENSORS)
    return lambda: pairlock.codes.redeem(code, "Laptop", origin=HERE)


async def redeem_a_code_again(pairlock: Pairlock) -> Act:
    code = await pairlock.code(SENSORS)
    await pairlock.codes.redeem(code, "Laptop", secret=REDEEMER, origin=HERE)
    return lambda: pairlock.codes.redeem(code, "Laptop", secret=REDEEMER, origin=HERE)


async def refresh_a_token(pairlock: Pairlock) -> Act:
    token = (await pair(pairlock)).refresh_token or ""
    return lambda: pairlock.tokens.refresh(token, origin=HERE)


async def use_a_refresh_token_twice(pairlock: Pairlock) -> Act:
    token = first = (await pair(pairlock)).refresh_token or ""
    for _ in range(2):
        token = (await pairlock.tokens.refresh(token)).refresh_token or ""
    return lambda: pairlock.tokens.refresh(first, origin=HERE)


async def give_back_a_token(pairlock: Pairlock) -> Act:
    token = (await pair(pairlock)).refresh_token or ""
    return lambda: pairlock.tokens.revoke(token, origin=HERE)


async def rename(pairlock: Pairlock) -> Act:
    device = (await pair(pairlock)).device
    return lambda: pairlock.devices.rename(device.id, "Tablet", by=BY_ALICE)


async def narrow(pairlock: Pairlock) -> Act:
    device = (await pair(pairlock)).device
    return lambda: pairlock.devices.narrow(device.id, NARROW, by=BY_ALICE)


async def rename_and_narrow(pairlock: Pairlock) -> Act:
    device = (await pair(pairlock)).device
    return lambda: pairlock.devices.change(device.id, name="Tablet", permissions=NARROW, by=BY_ALICE)


async def revoke(pairlock: Pairlock) -> Act:
    device = (await pair(pairlock)).device
    return lambda: pairlock.devices.revoke(device.id, by=BY_ALICE)


async def revoke_all(pairlock: Pairlock) -> Act:
    await pair(pairlock)
    await pair(pairlock)
    return lambda: pairlock.devices.revoke_all(by=BY_ALICE)


async def open_the_window(pairlock: Pairlock) -> Act:
    return lambda: pairlock.window.open(60, by=BY_ALICE)


async def close_the_window(pairlock: Pairlock) -> Act:
    return lambda: pairlock.window.close(by=BY_ALICE)


async def let_in(asked: Asked) -> Decision:
    return Approve()


async def keep_out(asked: Asked) -> Decision:
    return Deny(reason="No")


ITSELF = "device:{}"
TABLE: list[tuple[Prepare, dict[str, Any], list[tuple[str, str]]]] = [
    (start_by_pin, {}, [("requested", "device")]),
    (start_by_device_code, {}, [("requested", "device")]),
    (start_by_pin, {"decide": let_in}, [("requested", "device"), ("approved", "handler")]),
    (start_by_pin, {"decide": keep_out}, [("requested", "device"), ("denied", "handler")]),
    (approve, {}, [("approved", BY_ALICE)]),
    (deny, {}, [("denied", BY_ALICE)]),
    (cancel, {}, [("cancelled", "device")]),
    (type_the_pin, {}, [("redeemed", ITSELF)]),
    (type_a_wrong_pin, {}, []),
    (type_the_last_wrong_pin, {}, [("locked", "pin")]),
    (type_the_20th_wrong_pin, {}, [("held", "pin")]),
    (reopen, {}, [("reopened", BY_ALICE)]),
    (redeem_what_was_approved, {}, [("redeemed", ITSELF)]),
    (redeem_a_device_code, {}, [("redeemed", ITSELF)]),
    (confirm_wrongly_for_the_last_time, {"confirmation_pin": True}, [("locked", "confirmation")]),
    (mint, {}, [("minted", BY_ALICE)]),
    (mint_qr, {}, [("minted", BY_ALICE)]),
    (withdraw, {}, [("cancelled", BY_ALICE)]),
    (redeem_a_code, {}, [("redeemed", ITSELF)]),
    (redeem_a_code_again, {}, [("reissued", ITSELF)]),
    (refresh_a_token, {}, [("refreshed", ITSELF)]),
    (use_a_refresh_token_twice, {}, [("reuse_detected", ITSELF), ("revoked", ITSELF)]),
    (give_back_a_token, {}, [("revoked", ITSELF)]),
    (rename, {}, [("renamed", BY_ALICE)]),
    (narrow, {}, [("narrowed", BY_ALICE)]),
    (rename_and_narrow, {}, [("renamed", BY_ALICE), ("narrowed", BY_ALICE)]),
    (revoke, {}, [("revoked", BY_ALICE)]),
    (revoke_all, {}, [("revoked", BY_ALICE), ("revoked", BY_ALICE)]),
    (open_the_window, {}, [("window_opened", BY_ALICE)]),
    (close_the_window, {}, [("window_closed", BY_ALICE)]),
]
EACH = pytest.mark.parametrize(
    ("prepare", "settings", "told"),
    TABLE,
    ids=[" ".join([prepare.__name__, *(str(each) for each in settings)]) for prepare, settings, _ in TABLE],
)


class RecordingStore(FailingStore):
    """Remembers what was committed, commit by commit."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[Write, ...]] = []

    async def commit(self, *writes: Write) -> None:
        await super().commit(*writes)
        self.commits.append(writes)

    def kept(self) -> dict[str, Record]:
        """Every record there is."""
        data = self.store._kept  # type: ignore[attr-defined]  # of a MemoryStore
        return {f"{kind.__name__} {key}": each for kind, kept in data.records.items() for key, each in kept.items()}


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


async def do(act: Act) -> None:
    """What is asked for, though it may be refused."""
    try:
        await act()
    except TemporarilyUnavailable:
        raise
    except WireError:
        pass


def audited(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "pairlock.audit"]


@EACH
async def test_each_thing_that_happens_is_told_once_in_order_with_who_did_it(
    make: Make,
    store: RecordingStore,
    caplog: pytest.LogCaptureFixture,
    clock: FakeClock,
    prepare: Prepare,
    settings: dict[str, Any],
    told: list[tuple[str, str]],
) -> None:
    pairlock = make(store=store, **settings)
    act = await prepare(pairlock)
    before = len(await happened(pairlock))
    with caplog.at_level(logging.INFO, "pairlock.audit"):
        caplog.clear()
        await do(act)
    events = (await happened(pairlock))[before:]
    assert [event.type.value for event in events] == [name for name, _ in told]
    assert [event.by for event in events] == [
        by.format(event.device_id) for (_, by), event in zip(told, events, strict=True)
    ]
    assert {event.at for event in events} <= {clock.now}
    assert {event.purge_at for event in events} <= {clock.now + KEPT}
    records = audited(caplog)
    assert [record.getMessage().split(":")[0] for record in records] == [
        f"{event.type} by {event.by}".split(":")[0] for event in events
    ]
    assert [getattr(record, "pairlock").type for record in records] == [event.type for event in events]  # noqa: B009  # `extra` put it there
    assert {record.levelno for record in records} <= {logging.INFO}


@EACH
async def test_what_happened_is_written_in_the_commit_that_did_it(
    make: Make,
    store: RecordingStore,
    prepare: Prepare,
    settings: dict[str, Any],
    told: list[tuple[str, str]],
) -> None:
    pairlock = make(store=store, **settings)
    act = await prepare(pairlock)
    store.commits.clear()
    await do(act)
    logged = [write.event.type.value for commit in store.commits for write in commit if isinstance(write, Log)]
    assert logged == [name for name, _ in told]
    for commit in store.commits:
        events = [write.event for write in commit if isinstance(write, Log)]
        records = [write.record for write in commit if not isinstance(write, Log)]
        if events:
            never_kept = settings.get("decide") is keep_out  # who is denied at once leaves no request
            assert never_kept or any(_is_about(event, records) for event in events)
        else:  # guesses and polls alone are no event
            assert all(
                isinstance(each, Setting) or (isinstance(each, PairingRequest) and each.state in LIVE)
                for each in records
            )


def _is_about(event: AuditEvent, records: list[Record]) -> bool:
    ids = {event.request_id, event.device_id}
    return any(isinstance(each, Setting) or each.id in ids for each in records)


@EACH
async def test_where_a_commit_fails_nothing_happened_and_nothing_is_told(
    make: Make,
    store: RecordingStore,
    caplog: pytest.LogCaptureFixture,
    prepare: Prepare,
    settings: dict[str, Any],
    told: list[tuple[str, str]],
) -> None:
    pairlock = make(store=store, **settings)
    await pairlock.start()
    act = await prepare(pairlock)
    before = store.kept(), await happened(pairlock)
    store.errors = {"commit": away()}
    with caplog.at_level(logging.INFO, "pairlock.audit"):
        caplog.clear()
        with pytest.raises(TemporarilyUnavailable):
            await act()
    assert (store.kept(), await happened(pairlock)) == before
    assert audited(caplog) == []
    store.errors = {}
    await do(act)  # and can be done again
    assert len(await happened(pairlock)) == len(before[1]) + len(told)


async def test_a_service_whose_commits_fail_writes_down_later_what_time_ended(
    make: Make, store: RecordingStore, clock: FakeClock
) -> None:
    pairlock = make(store=store)
    await pairlock.start()
    await ask(pairlock)
    store.once = {"commit": [away()]}
    clock.advance(300)
    await ask_nothing(pairlock)
    clock.advance(60)
    await do_chores(pairlock)
    assert [event.type.value for event in await happened(pairlock)] == ["requested", "expired"]


async def ask_nothing(pairlock: Pairlock) -> None:
    """Wait until the chores have been tried, and have failed."""
    store = await pairlock._runtime.ready()
    assert isinstance(store, RecordingStore)
    async with asyncio.timeout(5):
        while store.once["commit"]:  # noqa: ASYNC110  # emptied by what runs beside
            await asyncio.sleep(0.01)


# Who, where, how


async def test_an_event_says_who_asked_from_where_and_by_which_method(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=OFTEN)
    origin = Origin("192.0.2.7", "curl/8", "kitchen")
    started = await pairlock.pairing.start("Phone", permissions=NARROW, origin=origin)
    await pairlock.deciding.approve(started.request.id, by=ALICE)
    device = (await redeem(pairlock, started)).device
    gone = await pairlock.device_codes.start(TV, origin=origin)
    await pairlock.deciding.deny(gone.request.id, reason="No", by=ALICE)
    requested, approved, redeemed, asked, denied = await happened(pairlock)
    assert requested == AuditEvent(
        type=EventType.REQUESTED,
        at=clock.now,
        by="device",
        seq=requested.seq,
        method="pin",
        name="Phone",
        request_id=started.request.id,
        origin=origin,
        expires_at=clock.now + 300,
        purge_at=clock.now + KEPT,
    )
    assert (approved.permissions, approved.origin, approved.request_id) == (NARROW, origin, started.request.id)
    assert (redeemed.device_id, redeemed.permissions, redeemed.origin) == (device.id, NARROW, origin)
    assert (asked.method, asked.name, denied.reason) == ("device_code", "Television", "No")


async def test_the_events_of_a_device_say_where_its_calls_came_from(pairlock: Pairlock) -> None:
    device = await pair(pairlock)
    first = await pairlock.tokens.refresh(device.refresh_token or "", origin=HERE)
    await pairlock.tokens.revoke(first.refresh_token or "", origin=HERE)
    refreshed, revoked = (await happened(pairlock))[-2:]
    for event in (refreshed, revoked):
        assert (event.origin, event.name, event.method, event.device_id) == (HERE, "Phone", "pin", device.device.id)
    assert (refreshed.epoch, revoked.epoch) == (0, 1)


async def test_the_audit_log_is_one_line_an_event_whatever_devices_call_themselves(
    pairlock: Pairlock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pairlock.audit"):
        started = await ask(pairlock, HERE, name="Phone\r\nrevoked by app: 'x'")
        await pairlock.window.close(by=BY_ALICE)
    lines = [record.getMessage() for record in audited(caplog)]
    assert lines == [
        f"requested by device: pin {started.request.name!r}",
        "window_closed by operator:alice: ",
    ]
    assert not any("\n" in line or "\r" in line for line in lines)


# Reading


async def test_the_audit_is_paged_by_seq_newest_first(pairlock: Pairlock, other: Pairlock) -> None:
    for turn in range(7):
        await (pairlock, other)[turn % 2].window.open()
    events = await happened(pairlock)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    first = await other.audit.list(limit=3)
    assert first == events[:-4:-1]
    second = await other.audit.list(before=first[-1].seq, limit=3)
    assert second == events[-4:-7:-1]
    assert await other.audit.list(before=second[-1].seq, limit=3) == events[:1]
    assert await other.audit.list(before=events[0].seq) == []


async def test_events_are_told_in_their_order_in_every_process(pairlock: Pairlock, other: Pairlock) -> None:
    heard: dict[Pairlock, list[AuditEvent]] = {pairlock: [], other: []}

    async def hear(process: Pairlock) -> None:
        async for event in process.events():
            heard[process].append(event)

    tasks = [asyncio.create_task(hear(process)) for process in heard]
    await other.start()
    async with asyncio.timeout(5):
        while not (pairlock._runtime._listeners and other._runtime._listeners):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    before = len(await happened(pairlock))
    for turn in range(5):
        device = (await pair((pairlock, other)[turn % 2], f"Phone {turn}")).device
        await (other, pairlock)[turn % 2].devices.revoke(device.id)
    await asyncio.gather(*(pair((pairlock, other)[turn % 2], "At once") for turn in range(10)))
    expected = (await happened(pairlock))[before:]
    assert len(expected) == 5 * 3 + 20
    async with asyncio.timeout(5):
        while min(map(len, heard.values())) < len(expected):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert heard[pairlock] == heard[other] == expected
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not pairlock._runtime._listeners  # who stopped listening leaves nothing behind


async def test_events_are_kept_for_90_days(pairlock: Pairlock, other: Pairlock, clock: FakeClock) -> None:
    await pairlock.window.close()
    clock.advance(KEPT - 1)
    await do_chores(pairlock)
    assert len(await happened(pairlock)) == 1
    clock.advance(61)
    await do_chores(pairlock)
    assert await happened(pairlock) == []


# No secret, anywhere


@dataclass
class Said:
    """All that a service has said, and the secrets that it must not have."""

    secrets: set[str] = field(default_factory=set)
    short: set[str] = field(default_factory=set)  # of six digits: these could stand inside a longer number
    texts: list[str] = field(default_factory=list)

    def keep(self, *secrets: str | None) -> None:
        assert all(secrets)
        self.secrets.update(secret for secret in secrets if secret)

    def show(self, *shown: object) -> None:
        self.texts.extend(repr(each) for each in shown)

    def redeemed(self, pairlock: Pairlock, redeemed: Redeemed) -> Redeemed:
        token, _ = pairlock.tokens.access(redeemed.device)
        self.keep(redeemed.refresh_token, token, (redeemed.refresh_token or "").split(".")[1])
        self.show(redeemed, refresh.parse(redeemed.refresh_token or ""))
        return redeemed

    async def refuse(self, call: Awaitable[object]) -> None:
        with pytest.raises(WireError) as refused:
            await call
        error = refused.value
        self.texts.append(f"{error!r} {error} {error.body()} {''.join(traceback.format_exception(error))}")

    def leaks(self, text: str) -> list[str]:
        """The secrets that stand in a text."""
        found = [secret for secret in self.secrets if secret in text]
        return found + [pin for pin in self.short if re.search(rf"(?<!\w){pin}(?!\w)", text)]


CLIENT_SECRET = "the-secret-of-the-television"
SERVER_SECRET = "the-secret-of-the-resource-server"
PROVEN = Client(id="tv", name="Television", secret=CLIENT_SECRET)
SETTINGS: dict[str, Any] = {
    "secret_keys": None,
    "pin_length": 12,  # so many digits do not stand anywhere by chance
    "confirmation_pin": True,
    "clients": [PROVEN],
    "resource_servers": {"house": SERVER_SECRET},
    "limits": no_places(),
}


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def by_pin(pairlock: Pairlock, said: Said) -> Redeemed:
    started = await ask(pairlock, HERE)
    pin = the_pin(pairlock, started)
    said.keep(pin, started.secret)
    said.show(started, started.request)
    await poll(pairlock, started)
    await said.refuse(pairlock.pairing.find(started.request.id, started.secret[:-1] + "~"))
    await said.refuse(redeem(pairlock, started))
    nearly = pin[:-1] + str((int(pin[-1]) + 1) % 10)
    said.keep(nearly)  # what is typed nearly right tells nearly everything
    await said.refuse(type_pin(pairlock, started, nearly))
    await said.refuse(type_pin(pairlock, started, pin + "1"))
    redeemed = said.redeemed(pairlock, await type_pin(pairlock, started))
    await said.refuse(type_pin(pairlock, started))
    return redeemed


async def by_device_code(pairlock: Pairlock, said: Said) -> Redeemed:
    asked = await pairlock.device_codes.start(PROVEN, origin=HERE)
    said.keep(asked.device_code, asked.device_code.partition(".")[2], asked.user_code, grouped(asked.user_code))
    said.show(asked, asked.request)
    await said.refuse(pairlock.device_codes.redeem(asked.device_code, PROVEN))
    await said.refuse(pairlock.deciding.look_up(asked.user_code[::-1], by=ALICE, origin=HERE))
    request = await pairlock.deciding.look_up(asked.user_code, by=ALICE, origin=HERE)
    approved = await pairlock.deciding.approve(request.id, by=ALICE, message="Welcome")
    pin = pairlock.deciding.confirmation_pin(approved) or ""
    said.short.add(pin)
    said.show(request, approved)
    await said.refuse(pairlock.device_codes.redeem(asked.device_code, PROVEN))
    await said.refuse(pairlock.device_codes.redeem(asked.device_code, PROVEN, confirmation_pin=wrong(pin)))
    redeemed = await pairlock.device_codes.redeem(asked.device_code, PROVEN, confirmation_pin=pin)
    await said.refuse(pairlock.device_codes.redeem(asked.device_code, PROVEN, confirmation_pin=pin))
    return said.redeemed(pairlock, redeemed)


async def by_code(pairlock: Pairlock, said: Said) -> Redeemed:
    minted = await pairlock.codes.mint(DEFAULT, by=ALICE, hint="laptop")
    code = await pairlock.code(SENSORS)
    said.keep(minted.code, grouped(minted.code), code, code.replace("-", ""), REDEEMER)
    said.show(minted, minted.request)
    first = await pairlock.codes.redeem(minted.code, "Laptop", secret=REDEEMER, origin=HERE)
    said.redeemed(pairlock, first)
    again = await pairlock.codes.redeem(minted.code, "Laptop", secret=REDEEMER, origin=HERE)
    await said.refuse(pairlock.codes.redeem(minted.code, "Laptop", origin=HERE))
    await said.refuse(pairlock.codes.redeem(code, "", origin=HERE))
    said.redeemed(pairlock, await pairlock.codes.redeem(code.lower(), "Second laptop", origin=HERE))
    return said.redeemed(pairlock, again)


async def by_qr(pairlock: Pairlock, said: Said) -> Redeemed:
    picture = await pairlock.qr(SENSORS, address=ADDRESS)
    drawn = await pairlock.codes.picture(picture.id, address=ADDRESS)
    secret = picture.uri.partition("#")[2]
    said.keep(secret)
    said.show(picture, drawn)
    redeemed = await pairlock.codes.redeem(secret, "Tablet", origin=HERE)
    await said.refuse(pairlock.codes.redeem(secret, "Tablet", origin=HERE))
    await said.refuse(pairlock.codes.picture(picture.id, address=ADDRESS))
    return said.redeemed(pairlock, redeemed)


async def use(pairlock: Pairlock, said: Said, redeemed: Redeemed) -> None:
    """Verify, refresh, present again what was used up, and revoke."""
    token, _ = pairlock.tokens.access(redeemed.device)
    client = redeemed.device.client_id
    said.show(await pairlock.verify(token), await pairlock.tokens.introspect(token))
    await said.refuse(pairlock.verify(token[:-1]))
    first = redeemed.refresh_token or ""
    following = said.redeemed(pairlock, await pairlock.tokens.refresh(first, client_id=client, origin=HERE))
    await said.refuse(pairlock.tokens.refresh(first[:-1] + "~", client_id=client))
    last = said.redeemed(pairlock, await pairlock.tokens.refresh(following.refresh_token or "", client_id=client))
    await said.refuse(pairlock.tokens.refresh(first, client_id=client, origin=HERE))  # it is in two hands
    await said.refuse(pairlock.tokens.refresh(last.refresh_token or "", client_id=client))
    await said.refuse(pairlock.verify(token))


async def by_handler(make: Make, said: Said) -> None:
    async def decide(asked: Asked) -> Decision:
        said.show(asked)
        return Approve(message="Hello", token_life=60) if asked.name == "Phone" else None

    async def fail(asked: Asked) -> Decision:
        raise RuntimeError(f"no idea about {asked}")

    deciding, failing = make(**SETTINGS, decide=decide), make(**SETTINGS, decide=fail)
    started = await ask(deciding, HERE)
    said.keep(started.secret)
    said.redeemed(deciding, await redeem(deciding, started))
    await said.refuse(ask(failing, HERE))
    said.show(Approve(message="Hello"), Deny(reason="No"))


async def by_display(pairlock: Pairlock, said: Said) -> None:
    started = await ask(pairlock, HERE)
    prompt = await anext(pairlock.requests())
    assert isinstance(prompt, Prompt)
    said.keep(prompt.pin, started.secret)
    said.show(prompt)
    await prompt.deny("No", by=ALICE)
    await said.refuse(redeem(pairlock, started))


def show_what_is_public(pairlock: Pairlock, said: Said) -> None:
    settings, runtime = pairlock.settings, pairlock._runtime
    said.keep(*(key.decode() for key in runtime.keys.secrets), CLIENT_SECRET, SERVER_SECRET)
    said.show(pairlock, settings, settings.clients, settings.resource_servers, settings.limits, PROVEN)
    said.show(Credentials("tv", CLIENT_SECRET), Credentials("house", SERVER_SECRET), ALICE)
    said.show(runtime, runtime.keys, runtime.signer, runtime.limiter, pairlock.app)
    services = (
        pairlock.pairing,
        pairlock.device_codes,
        pairlock.codes,
        pairlock.deciding,
        pairlock.devices,
        pairlock.tokens,
        pairlock.window,
        pairlock.pin_guesses,
        pairlock.audit,
    )
    for service in services:
        said.show(service, vars(service))


@pytest.fixture
async def said(make: Make, path: Path, everything_logged: pytest.LogCaptureFixture) -> Said:
    """All that is said while devices pair by every method, go wrong in every way, and are shut out."""
    pairlock, said = make(**SETTINGS), Said()
    await pairlock.start()
    heard: list[AuditEvent] = []
    with pairlock._runtime.listening() as queue:
        for way in (by_pin, by_device_code, by_code, by_qr):
            await use(pairlock, said, await way(pairlock, said))
        await by_handler(make, said)
        await by_display(pairlock, said)
        show_what_is_public(pairlock, said)
        assert len(said.secrets) > 40
        async with asyncio.timeout(5):
            while len(heard) < len(await happened(pairlock)):
                event = await queue.get()
                assert event is not None
                heard.append(event)
    said.show(*heard)
    store = await pairlock._runtime.ready()
    said.show(*await store.list_devices(), *await store.list_requests(live_at=0))
    return said


async def test_no_secret_is_in_an_event_a_repr_or_an_error(said: Said, pairlock: Pairlock) -> None:
    assert said.leaks(repr(await happened(pairlock))) == []
    assert said.leaks("\n".join(said.texts)) == []


async def test_no_secret_is_in_any_log(said: Said, everything_logged: pytest.LogCaptureFixture) -> None:
    records = everything_logged.get_records("setup")
    assert {"pairlock", "pairlock.audit", "aiosqlite"} <= {record.name for record in records}
    formatter = logging.Formatter()
    for record in records:
        assert said.leaks(f"{formatter.format(record)} {vars(record)!r}") == []


async def test_no_secret_is_in_a_file_but_the_keys_in_theirs(said: Said, path: Path) -> None:
    files = [file for file in path.parent.iterdir() if file.suffix != ".keys"]
    assert {path.name, f"{path.name}-wal"} <= {file.name for file in files}
    for file in files:
        assert said.leaks(file.read_bytes().decode("latin-1")) == []


async def test_a_leak_would_be_found(said: Said) -> None:
    for secret in said.secrets:
        assert said.leaks(f"a text with {secret} in it")
    for pin in said.short:
        assert said.leaks(f"the PIN is {pin}.")


def test_every_event_type_is_in_the_table_or_told_elsewhere() -> None:
    told = {name for _, _, events in TABLE for name, _ in events}
    assert told | {"expired", "keys_rotated"} == {each.value for each in EventType}  # the latter by a command
