"""The bodies that are taken and the answers that are given."""

from typing import Any

import msgspec
import pytest

from pairlock._core import wire
from pairlock._core.permissions import NOTHING, Permissions
from pairlock._core.records import AuditEvent, Device, EventType, Origin, PairingRequest
from pairlock._core.states import State
from pairlock._core.windows import Window

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
        (wire.UserCodeBody, b"{}"),
        (wire.UserCodeBody, b'{"user_code": "WDJB-MJHT", "permissions": {}}'),
        (wire.MintBody, b'{"permissions": {"read": "/a"}}'),
        (wire.MintBody, b'{"expires_in": "300"}'),
        (wire.MintBody, b'{"name": "Phone"}'),
        (wire.RedeemBody, b'{"code": "K3F9-X2NM"}'),
        (wire.RedeemBody, b'{"code": 12345678, "name": "Phone"}'),
        (wire.RedeemBody, b'{"code": "K3F9-X2NM", "name": "Phone", "permissions": {}}'),
        (wire.WindowBody, b"{}"),
        (wire.WindowBody, b'{"open": "yes"}'),
        (wire.WindowBody, b'{"open": true, "expires_in": "300"}'),
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


def test_a_body_to_mint_a_code_may_say_nothing() -> None:
    assert msgspec.json.decode(b"{}", type=wire.MintBody) == wire.MintBody("one_time_code", None, None, "")


@pytest.mark.parametrize(
    ("text", "expires_in"),
    [(b'{"open": true}', msgspec.UNSET), (b'{"open": true, "expires_in": null}', None)],
)
def test_a_window_that_is_to_stay_open_is_told_from_one_for_the_usual_time(text: bytes, expires_in: Any) -> None:
    assert msgspec.json.decode(text, type=wire.WindowBody).expires_in is expires_in


@pytest.mark.parametrize(
    "body", [wire.PinBody("123456"), wire.RedeemBody("123456", "Phone"), wire.RedeemBody("K", "Phone", secret="123456")]
)
def test_a_code_does_not_show_itself(body: wire.Body) -> None:
    assert "123456" not in repr(body) + str(body)


@pytest.mark.parametrize("shown", [True, False])
def test_who_starts_to_pair_gets_the_secret_and_whole_seconds(shown: bool) -> None:
    answer = wire.started_answer(a_request(), "secret", interval=5, pin_length=6, shown=shown, now=1000.2)
    assert answer == {
        "id": "1",
        "secret": "secret",
        "state": "pending",
        "shown": shown,
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
    assert pending(a_request(), now=5000)["expires_in"] == 0


@pytest.mark.parametrize("message", ["welcome", None])
@pytest.mark.parametrize("refresh_token", ["plr_x", None])
def test_a_token_answer_is_the_same_for_all_methods(message: str | None, refresh_token: str | None) -> None:
    answer = wire.token_answer(
        a_device(),
        "plk_x",
        3600,
        permissions=WIDE,
        server={"id": "3", "name": "home"},
        refresh_token=refresh_token,
        message=message,
    )
    said = {"message": message, "refresh_token": refresh_token}
    assert answer == {
        "access_token": "plk_x",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "read:/a/** write:/b",
        "device_id": "2",
        "device_name": "Phone",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "server": {"id": "3", "name": "home"},
    } | {name: text for name, text in said.items() if text is not None}


def test_6749_5_1_a_token_answer_says_what_the_token_carries_not_what_its_device_may() -> None:
    answer = wire.token_answer(a_device(), "plk_x", 3600, permissions=LESS, server={})
    assert (answer["scope"], answer["permissions"]) == ("read:/a/x", {"read": ["/a/x"], "write": []})


def pending(request: PairingRequest, now: float = 1000, **more: Any) -> dict[str, Any]:
    """The request as an operator sees it, where nothing else is said."""
    given: dict[str, Any] = {"default": WIDE, "network": "unknown", "now": now} | more
    return wire.pending_answer(request, **given)


@pytest.mark.parametrize(
    ("requested", "granted", "shown"),
    [(None, None, WIDE), (LESS, None, LESS), (NOTHING, None, NOTHING), (WIDE, LESS, LESS), (WIDE, NOTHING, NOTHING)],
)
def test_an_operator_sees_what_approving_would_grant(
    requested: Permissions | None, granted: Permissions | None, shown: Permissions
) -> None:
    answer = pending(a_request(requested=requested, granted=granted))
    assert answer["permissions"] == wire.shown_permissions(shown)
    assert answer.get("requested") == (None if requested is None else wire.shown_permissions(requested))


def test_an_operator_sees_who_asks() -> None:
    answer = pending(a_request(), pin="847291", network="same")
    assert answer == {
        "id": "1",
        "method": "pin",
        "state": "pending",
        "name": "Phone",
        "pin": "847291",
        "created_at": 1000,
        "expires_in": 301,
        "attempts_left": 5,
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "address": "192.0.2.1",
        "network": "same",
        "user_agent": "agent",
        "hint": "cli",
    }
    assert "pin" not in pending(a_request())


def test_an_operator_sees_which_client_asks_and_the_pin_that_confirms() -> None:
    answer = pending(a_request(State.APPROVED, client_id="tv", granted=LESS), confirmation_pin="123456")
    assert (answer["client_id"], answer["state"], answer["confirmation_pin"]) == ("tv", "approved", "123456")
    assert not {"client_id", "confirmation_pin"} & set(pending(a_request()))


# --- codes


def a_code(state: State = State.APPROVED, **fields: Any) -> PairingRequest:
    given: dict[str, Any] = {"granted": WIDE, "hint": "for the kitchen", "origin": Origin()} | fields
    return msgspec.structs.replace(a_request(state), method="one_time_code", name="", **given)


def test_a_code_is_shown_once_with_what_it_lets_a_device_have() -> None:
    assert wire.code_answer(a_code(), 1000.2, code="K3F9-X2NM", uri="https://house.example/pair/qr#x") == {
        "id": "1",
        "method": "one_time_code",
        "state": "pending",  # approved in advance, which is no news to who minted it
        "code": "K3F9-X2NM",
        "uri": "https://house.example/pair/qr#x",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "expires_in": 301,
        "hint": "for the kitchen",
    }
    assert not {"code", "uri", "redeemed"} & set(wire.code_answer(a_code(), 1000))


@pytest.mark.parametrize(
    ("state", "now", "shown"),
    [
        (State.APPROVED, 1000, "pending"),
        (State.APPROVED, 1301, "expired"),
        (State.CANCELLED, 1000, "cancelled"),
        (State.EXPIRED, 1000, "expired"),
        (State.REDEEMED, 1000, "redeemed"),
        (State.REDEEMED, 5000, "redeemed"),
    ],
)
def test_who_minted_a_code_sees_what_became_of_it(state: State, now: float, shown: str) -> None:
    answer = wire.code_answer(a_code(state), now)
    assert answer["state"] == shown
    assert ("redeemed" in answer) is (shown == "redeemed")


def test_who_minted_a_code_sees_who_redeemed_it() -> None:
    request = msgspec.structs.replace(
        a_code(State.REDEEMED), name="Phone", device_id="2", ended_at=1100.5, origin=ORIGIN
    )
    assert wire.code_answer(request, 1200)["redeemed"] == {
        "at": 1100.5,
        "device_id": "2",
        "name": "Phone",
        "address": "192.0.2.1",
        "user_agent": "agent",
        "hint": "cli",
    }


def test_a_code_that_grants_nothing_shows_as_such() -> None:
    assert wire.code_answer(a_code(granted=None), 1000)["permissions"] == {"read": [], "write": []}


def test_a_code_that_is_unknown_shows_as_one_that_expired() -> None:
    assert wire.unknown_code_answer("7") == {"id": "7", "state": "expired"}


# --- the service


@pytest.mark.parametrize(
    ("window", "shown"),
    [
        (Window(open=True), {"open": True}),
        (Window(open=False), {"open": False}),
        (Window(open=True, until=1300.1, since=1000, by="operator:ada"), {"expires_in": 201, "by": "operator:ada"}),
        (Window(open=True, until=1050, since=1000), {"expires_in": 0}),
        (Window(open=False, since=1000, by="time"), {"open": False, "by": "time"}),
    ],
)
def test_a_window_shows_how_long_it_is_open_and_who_opened_it(window: Window, shown: dict[str, Any]) -> None:
    assert wire.window_answer(window, 1100) == {"open": window.open} | shown


def test_an_event_says_what_there_is_to_say() -> None:
    event = AuditEvent(
        type=EventType.REDEEMED,
        at=1100.5,
        by="device:2",
        seq=7,
        method="pin",
        name="Phone",
        request_id="1",
        device_id="2",
        origin=ORIGIN,
        epoch=3,
        permissions=WIDE,
        reason="so",
        expires_at=1300,
        purge_at=9000,
    )
    assert wire.event_answer(event) == {
        "seq": 7,
        "type": "redeemed",
        "at": 1100.5,
        "by": "device:2",
        "method": "pin",
        "name": "Phone",
        "request_id": "1",
        "device_id": "2",
        "address": "192.0.2.1",
        "user_agent": "agent",
        "hint": "cli",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "reason": "so",
        "expires_at": 1300,
    }


@pytest.mark.parametrize("origin", [None, Origin()])
def test_an_event_leaves_out_what_there_is_not_to_say(origin: Origin | None) -> None:
    event = AuditEvent(type=EventType.HELD, at=1100.5, by="pin", name="", origin=origin)
    assert wire.event_answer(event) == {"seq": 0, "type": "held", "at": 1100.5, "by": "pin"}


# --- devices


@pytest.mark.parametrize(
    ("fields", "more"),
    [({}, {}), ({"expires_at": 9000.5, "client_id": "tv"}, {"expires_at": 9000.5, "client_id": "tv"})],
)
def test_a_device_shows_what_it_is_and_who_approved_it_and_no_secret(
    fields: dict[str, Any], more: dict[str, Any]
) -> None:
    device = a_device().evolve(refresh_digest=b"x", rotated_from=b"x", rotated_at=1200.0, **fields)
    assert wire.device_answer(device) == {
        "id": "2",
        "name": "Phone",
        "method": "pin",
        "permissions": {"read": ["/a/**"], "write": ["/b"]},
        "created_at": 1100.5,
        "approved_by": "operator:ada",
        "address": "192.0.2.1",
        "user_agent": "agent",
        **more,
    }
