"""What stores keep."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, Device, EventType, Origin, PairingRequest, Record, Setting
from pairlock._core.states import State

GRANTED = Permissions(read=("/a",))
REQUEST = PairingRequest(
    id="1",
    method="pin",
    state=State.APPROVED,
    name="Phone",
    created_at=1000.5,
    expires_at=1300,
    secret_digest=b"\x00\xff",
    requested=GRANTED,
    origin=Origin("192.0.2.1", "agent", "hint"),
)
DEVICE = Device(
    id="2", name="Phone", method="pin", permissions=GRANTED, created_at=1, request_id="1", approved_by="operator:ada"
)
SETTING = Setting(id="server", value={"id": "3", "n": 1})
EVENT = AuditEvent(type=EventType.NARROWED, at=1.5, by="operator:ada", device_id="2", epoch=1, permissions=GRANTED)
RECORDS: list[Record] = [REQUEST, DEVICE, SETTING]


@pytest.mark.parametrize("record", RECORDS)
def test_a_change_is_a_new_record_one_version_later(record: Record) -> None:
    changed = record.evolve(purge_at=5.0)
    assert type(changed) is type(record)
    assert (changed.id, changed.version, changed.purge_at) == (record.id, 2, 5.0)
    assert (record.version, record.purge_at) == (1, None)
    assert changed.evolve().version == 3


@pytest.mark.parametrize("record", [*RECORDS, EVENT])
def test_a_record_cannot_be_changed_in_place(record: Any) -> None:
    with pytest.raises(AttributeError):
        record.version = 7


def test_a_change_of_what_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError):
        DEVICE.evolve(nickname="x")


@pytest.mark.parametrize("kept", [*RECORDS, EVENT])
@pytest.mark.parametrize(
    ("encode", "decode"),
    [(msgspec.msgpack.encode, msgspec.msgpack.decode), (msgspec.json.encode, msgspec.json.decode)],
)
def test_what_is_kept_reads_back_the_same(kept: Any, encode: Callable[..., bytes], decode: Callable[..., Any]) -> None:
    assert decode(encode(kept), type=type(kept)) == kept


def test_a_new_record_is_kept_until_it_changes() -> None:
    assert [(record.version, record.purge_at) for record in RECORDS] == 3 * [(1, None)]


def test_a_new_device_is_not_revoked_and_all_its_tokens_count() -> None:
    assert (DEVICE.epoch, DEVICE.revoked_at) == (0, None)


def test_a_new_request_was_never_polled_and_may_be_polled_every_five_seconds() -> None:
    assert (REQUEST.interval, REQUEST.polled_at, REQUEST.refused_at, REQUEST.present_until) == (5, None, None, None)
    assert (REQUEST.client_id, REQUEST.challenge, REQUEST.token_life, REQUEST.ended_at) == ("", "", None, None)


def test_a_new_device_holds_no_refresh_token_and_has_no_end() -> None:
    assert (DEVICE.family_digest, DEVICE.refresh_digest, DEVICE.rotated_from, DEVICE.rotated_at) == (
        None,
        None,
        None,
        None,
    )
    assert (DEVICE.client_id, DEVICE.token_life, DEVICE.expires_at, DEVICE.used_at) == ("", None, None, None)


FULL_REQUEST = REQUEST.evolve(
    client_id="tv",
    hint="cli",
    challenge="c",
    interval=10,
    polled_at=1.5,
    refused_at=2.5,
    present_until=3.5,
    token_life=4.5,
    ended_at=5.5,
    code_digest=b"\x00",
    granted=GRANTED,
)
FULL_DEVICE = DEVICE.evolve(
    client_id="tv",
    token_life=1.5,
    family_digest=b"\x01",
    refresh_digest=b"\xff",
    rotated_from=b"\x00",
    rotated_at=2.5,
    expires_at=3.5,
    used_at=4,
)


@pytest.mark.parametrize("kept", [FULL_REQUEST, FULL_DEVICE])
def test_a_record_with_everything_in_it_reads_back_the_same(kept: Any) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=type(kept)) == kept


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        (REQUEST, "interval polled_at refused_at present_until client_id challenge token_life ended_at hint"),
        (DEVICE, "client_id token_life family_digest refresh_digest rotated_from rotated_at expires_at used_at"),
    ],
)
def test_a_record_of_before_these_were_kept_reads_as_one_without_them(kept: Any, names: str) -> None:
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(kept))
    for name in names.split():
        del old[name]
    assert msgspec.convert(old, type(kept)) == msgspec.convert(msgspec.to_builtins(kept), type(kept))
