"""The bodies that are taken and the answers that are given."""

from typing import Any

import msgspec
import pytest

from pairlock._core import wire
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import Device, Origin, PairingRequest
from pairlock._core.states import State

WIDE, LESS = Permissions(read=("/a/**",), write=("/b",)), Permissions(read=("/a/x",))
ORIGIN = Origin("192.0.2.1", "agent", "cli")


def a_request(state: State = State.PENDING, **fields: Any) -> PairingRequest:
    return PairingRequest(
        id="1", method="pin", state=state, name="Phone", created_at=1000, expires_at=1300.9, origin=ORIGIN, **fields
    )


def a_device() -> Device:
    return Device(
        id="2",
        name="Phone",
        method="pin",
        permissions=WIDE,
        created_at=1100.5,
        request_id="1",
        approved_by="operator:ada",
        origin=ORIGIN,
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (wire.StartBody, b'{"name": "a", "permission": {}}'),
        (wire.StartBody, b'{"name": 1}'),
        (wire.StartBody, b"{}"),
        (wire.StartBody, b'{"name": "a", "permissions": {"read": "/a"}}'),
        (wire.StartBody, b'{"name": "a", "permissions": {"read": [1]}}'),
        (wire.PinBody, b'{"pin": 123456}'),
        (wire.PinBody, b'{"pin": "1", "name": "x"}'),
        (wire.ApproveBody, b'{"permisions": {}}'),
        (wire.DenyBody, b'{"reason": 1}'),
        (wire.DeviceBody, b'{"name": null}'),
        (wire.DeviceBody, b'{"permissions": null}'),
        (wire.NoBody, b'{"a": 1}'),
        (wire.NoBody, b"[]"),
    ],
)
def test_a_body_with_a_field_that_is_wrong_or_unknown_is_refused(body: type[wire.Body], text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=body)


def test_a_body_reads_as_it_was_sent() -> None:
    read = msgspec.json.decode(b'{"name": "a", "permissions": {"read": ["/a"]}, "hint": "cli"}', type=wire.StartBody)
    assert read == wire.StartBody("a", {"read": ["/a"]}, "cli")
    assert msgspec.json.decode(b'{"name": "a"}', type=wire.StartBody).permissions is None


def test_a_device_body_tells_what_was_left_out_from_what_was_sent() -> None:
    assert msgspec.json.decode(b'{"name": "a"}', type=wire.DeviceBody) == wire.DeviceBody(name="a")
    assert msgspec.json.decode(b"{}", type=wire.DeviceBody).permissions is msgspec.UNSET


def test_a_pin_does_not_show_itself() -> None:
    assert "123456" not in repr(wire.PinBody("123456")) + str(wire.PinBody("123456"))


def test_who_starts_to_pair_gets_the_secret_and_whole_seconds() -> None:
    answer = wire.started_answer(a_request(), "secret", interval=5, pin_length=6, now=1000.2)
    assert answer == {
        "id": "1",
        "secret": "secret",
        "expires_in": 301,
        "interval": 5,
        "attempts": 5,
        "pin_length": 6,
    }


def test_the_holder_learns_the_state_and_no_secret() -> None:
    request = a_request(guesses=2, secret_digest=b"s", code_digest=b"c", key_id="k")
    assert wire.state_answer(request, 1001) == {
        "id": "1",
        "state": "pending",
        "expires_in": 300,
        "attempts_left": 3,
    }


def test_the_holder_learns_the_reason_and_the_message_where_there_is_one() -> None:
    answer = wire.state_answer(a_request(State.DENIED, reason="no", message="hello"), 1000)
    assert (answer["state"], answer["reason"], answer["message"]) == ("denied", "no", "hello")


def test_a_request_past_its_time_shows_as_expired_with_no_time_left() -> None:
    answer = wire.state_answer(a_request(), 5000)
    assert (answer["state"], answer["expires_in"]) == ("expired", 0)
    assert wire.pending_answer(a_request(), None, WIDE, 5000)["expires_in"] == 0


@pytest.mark.parametrize("message", ["welcome", None])
def test_a_token_answer_is_the_same_for_all_methods(message: str | None) -> None:
    answer = wire.token_answer(a_device(), "plk_x", 3600, server={"id": "3", "name": "home"}, message=message)
    assert answer == {
        "access_token": "plk_x",
        "token_type": "Bearer",
        "expires_in": 3600,
        "device_id": "2",
        "device_name": "Phone",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "server": {"id": "3", "name": "home"},
    } | ({} if message is None else {"message": message})


@pytest.mark.parametrize(
    ("requested", "granted", "shown"),
    [(None, None, WIDE), (LESS, None, LESS), (NOTHING, None, NOTHING), (WIDE, LESS, LESS), (WIDE, NOTHING, NOTHING)],
)
def test_an_operator_sees_what_approving_would_grant(
    requested: Permissions | None, granted: Permissions | None, shown: Permissions
) -> None:
    answer = wire.pending_answer(a_request(requested=requested, granted=granted), "847291", WIDE, 1000)
    assert answer["permissions"] == wire.shown_permissions(shown)
    assert answer.get("requested") == (None if requested is None else wire.shown_permissions(requested))


def test_an_operator_sees_who_asks() -> None:
    answer = wire.pending_answer(a_request(), "847291", WIDE, 1000)
    assert (answer["name"], answer["pin"], answer["attempts_left"]) == ("Phone", "847291", 5)
    assert (answer["address"], answer["user_agent"], answer["hint"]) == ("192.0.2.1", "agent", "cli")
    assert "pin" not in wire.pending_answer(a_request(), None, WIDE, 1000)


def test_a_device_shows_what_it_is_and_who_approved_it() -> None:
    assert wire.device_answer(a_device()) == {
        "id": "2",
        "name": "Phone",
        "method": "pin",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "created_at": 1100.5,
        "approved_by": "operator:ada",
        "address": "192.0.2.1",
        "user_agent": "agent",
    }
