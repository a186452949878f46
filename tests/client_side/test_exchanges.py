"""What a client does, as a list of answers and a list of waits: no network, no clock but the test's."""

from typing import Any

import msgspec
import pytest

from pairlock import Permissions
from pairlock.client import pairing
from pairlock.client.addresses import parse
from pairlock.client.answers import DeviceCodeAnswer, ServerAnswer, StartedAnswer, TokenAnswer
from pairlock.client.discovery import Service, find
from pairlock.client.exchange import Answer, Call
from pairlock.client.pairing import Asking, DeviceCode, Progress
from pairlock.errors import (
    AccessDenied,
    AlreadyRedeemed,
    Cancelled,
    ConfigurationError,
    ConfirmationRequired,
    ExpiredToken,
    InvalidCode,
    InvalidPin,
    InvalidToken,
    Locked,
    NotPairlock,
    TemporarilyUnavailable,
    TooManyRequests,
    Unencrypted,
    Unreachable,
    WireError,
)
from pairlock.testing import FakeClock
from tests.client_side.parts import (
    GRANTED,
    PAIRING,
    SERVER,
    SHOWN,
    STARTED,
    TOKENS,
    Played,
    Reply,
    kept_as,
    play,
    refuses,
    says,
)

SERVICE = Service(parse(PAIRING), parse("http://127.0.0.1:8000"), ServerAnswer("01server", "Studio"))
PENDING = refuses("authorization_pending")
AWAY = Unreachable("nobody answers")
ESC = "\x1b[31m\x07\u202e"
HOSTILE_NUMBERS = [-1, "five", None, True, [], {}, 1e300, 10**400, -0.5]


def logging_in(*replies: Reply, shown: Reply | None = None, **given: Any) -> Played[TokenAnswer]:
    clock = FakeClock()
    how = {"client_id": "pairlock", "clock": clock, "on_code": lambda code: None, "keep": kept_as, **given}
    return play(pairing.login(SERVICE, "TV", **how), [shown or says(SHOWN), *replies], clock)


def asking(clock: FakeClock, **given: Any) -> Asking:
    played = play(pairing.ask(SERVICE, "Phone", clock=clock, **given), [says(STARTED, 201)], clock)
    assert played.result is not None, played.error
    return played.result


def waiting(*replies: Reply) -> Played[None]:
    clock = FakeClock()
    return play(asking(clock).wait(), replies, clock)


def state(name: str, **more: Any) -> Answer:
    return says({"id": "01request", "state": name, "expires_in": 200, **more})


# A device code


def test_8628_3_5_slow_down_lengthens_this_interval_and_all_later_ones() -> None:
    played = logging_in(PENDING, refuses("slow_down", interval=10), PENDING, says(TOKENS))
    assert played.waits == [5, 5, 10, 10]
    assert played.result is not None
    assert played.result.access_token == "plk_token"


def test_8628_3_5_a_slow_down_without_an_interval_adds_five_seconds() -> None:
    assert logging_in(refuses("slow_down"), refuses("slow_down"), says(TOKENS)).waits == [5, 10, 15]


@pytest.mark.parametrize("interval", [-3, 1, "x", None, [], 1e300])
def test_a_slow_down_never_makes_it_faster_and_never_stops_it(interval: Any) -> None:
    played = logging_in(refuses("slow_down", interval=interval), says(TOKENS))
    assert played.waits == [5, 10]


def test_a_slow_down_of_a_day_waits_no_longer_than_the_code_lives() -> None:
    played = logging_in(refuses("slow_down", interval=86400), refuses("expired_token"))
    assert played.waits == [5, 595]
    assert isinstance(played.error, ExpiredToken)


def test_8628_3_2_without_an_interval_it_is_five_seconds() -> None:
    shown = {name: value for name, value in SHOWN.items() if name != "interval"}
    assert logging_in(says(TOKENS), shown=says(shown)).waits == [5]


def test_an_interval_of_nothing_is_a_second() -> None:
    assert logging_in(PENDING, says(TOKENS), shown=says({**SHOWN, "interval": 0})).waits == [1, 1]


def test_8628_3_5_whoever_cannot_be_reached_is_asked_less_and_less_often() -> None:
    played = logging_in(AWAY, says(b"<html>", 502), AWAY, AWAY, AWAY, says(TOKENS))
    assert played.waits == [5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_kept_to_while_a_device_code_waits(status: int) -> None:
    played = logging_in(says(b"busy", status, retry_after="30"), says(TOKENS))
    assert played.waits == [5, 30]


def test_a_service_that_stays_away_ends_it_once_the_code_has_expired() -> None:
    played = logging_in(*[AWAY] * 20)
    assert played.error is AWAY
    assert sum(played.waits) == pytest.approx(600, abs=2)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("expired_token", ExpiredToken),
        ("access_denied", AccessDenied),
        ("locked", Locked),
        ("invalid_grant", WireError),
        ("server_error", WireError),
    ],
)
def test_what_ends_a_device_code_is_told_by_its_own_error(code: str, error: type[Exception]) -> None:
    assert isinstance(logging_in(PENDING, refuses(code)).error, error)


def test_the_reason_of_a_denial_is_told_and_cleaned() -> None:
    error = logging_in(refuses("access_denied", reason=f"No {ESC}robots\n")).error
    assert isinstance(error, AccessDenied)
    assert error.reason == "No [31mrobots"


def test_a_device_code_is_shown_once_and_progress_is_told_with_the_time_left() -> None:
    told: list[Any] = []
    played = logging_in(PENDING, PENDING, says(TOKENS), on_code=told.append, on_progress=told.append)
    code = DeviceCode("WDJB-MJHT", "http://127.0.0.1:8000/pair/device", None, 600)
    assert told == played.told == [code, Progress("pending", 595), Progress("pending", 590)]


def test_a_device_code_asks_for_the_permissions_it_was_told_and_proves_that_it_asked() -> None:
    wanted = Permissions.parse({"read": ["/sensors/a"]})
    played = logging_in(says(TOKENS), permissions=wanted)
    asked, polled = (call.form or {} for call in played.calls)
    assert asked["scope"] == "read:/sensors/a"
    assert asked["code_challenge_method"] == "S256"
    assert polled["device_code"] == "01request.code"
    assert len(polled["code_verifier"]) >= 43
    assert polled["code_verifier"] not in repr(played.calls)


def test_a_pin_is_asked_for_where_the_service_wants_one_and_again_after_a_typo() -> None:
    typed = iter(["1111", "2222"])
    told: list[Progress] = []
    played = logging_in(
        refuses("confirmation_required", attempts_left=3),
        refuses("invalid_pin", attempts_left=2),
        says(TOKENS),
        confirm=lambda: next(typed),
        on_progress=told.append,
    )
    assert played.result is not None
    assert [(call.form or {}).get("confirmation_pin") for call in played.calls[1:]] == [None, "1111", "2222"]
    assert [(each.state, each.attempts_left) for each in told] == [("approved", 3), ("approved", 2)]


def test_where_nobody_can_type_that_pin_the_service_says_so() -> None:
    assert isinstance(logging_in(refuses("confirmation_required")).error, ConfirmationRequired)


@pytest.mark.parametrize("name", ["expires_in", "interval"])
@pytest.mark.parametrize("number", HOSTILE_NUMBERS)
def test_hostile_numbers_around_a_device_code_are_no_pairlock(name: str, number: Any) -> None:
    assert isinstance(logging_in(shown=says({**SHOWN, name: number})).error, NotPairlock)


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "javascript:1//%0aalert(1)",
        "JavaScript://x/%0aalert(1)",
        "ftp://house.example/device",
        "file:///etc/passwd",
        "data:text/html,x",
        "house.example/device",
        "https://ann@house.example/device",
        "https://",
        "https://house.example/\x1b[2J",
        "https://house.example/ device",
        "https://house.example/\nhttps://evil.example",
        "https://h\u00f6use.example/device",
        "https://house.example/" + "x" * 3000,
        "",
    ],
)
@pytest.mark.parametrize("name", ["verification_uri", "verification_uri_complete"])
def test_a_link_that_is_no_web_page_is_never_shown(name: str, uri: str) -> None:
    told: list[Any] = []
    played = logging_in(shown=says({**SHOWN, name: uri}), on_code=told.append)
    assert isinstance(played.error, NotPairlock)
    assert told == []


def test_a_complete_link_may_carry_the_code() -> None:
    told: list[DeviceCode] = []
    complete = "https://house.example/device?user_code=WDJB-MJHT#x"
    logging_in(says(TOKENS), shown=says({**SHOWN, "verification_uri_complete": complete}), on_code=told.append)
    assert told[0].verification_uri_complete == complete


def test_a_user_code_is_cleaned_before_it_is_shown() -> None:
    told: list[DeviceCode] = []
    logging_in(says(TOKENS), shown=says({**SHOWN, "user_code": f"WDJB{ESC}\r\n-MJHT"}), on_code=told.append)
    assert told[0].user_code == "WDJB[31m -MJHT"


# A pairing request


def test_a_request_says_what_it_was_told() -> None:
    clock = FakeClock()
    asked = asking(clock, permissions=Permissions.parse(GRANTED))
    assert (asked.id, asked.shown, asked.pin_length, asked.attempts_left, asked.seconds_left) == (
        "01request",
        True,
        6,
        5,
        300,
    )
    clock.advance(400)
    assert asked.seconds_left == 0


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, number) for name in ("expires_in", "interval") for number in HOSTILE_NUMBERS),
        *((name, number) for name in ("attempts", "pin_length") for number in HOSTILE_NUMBERS if number is not None),
        *((name, number) for name in ("id", "secret") for number in HOSTILE_NUMBERS if number != "five"),
    ],
)
def test_hostile_answers_to_a_request_are_no_pairlock(name: str, number: Any) -> None:
    played = play(pairing.ask(SERVICE, "Phone", clock=FakeClock()), [says({**STARTED, name: number}, 201)])
    assert isinstance(played.error, NotPairlock)


@pytest.mark.parametrize("secret", ["two words", "line\r\nX-Evil: 1", "\x1b[31m", "schl\u00fcssel", "a\x00b"])
def test_a_secret_that_fits_into_no_header_is_no_pairlock(secret: str) -> None:
    played = play(pairing.ask(SERVICE, "Phone", clock=FakeClock()), [says({**STARTED, "secret": secret}, 201)])
    assert isinstance(played.error, NotPairlock)


@pytest.mark.parametrize("id", ["../devices", "a/b", "a?b", "a#b", "a b", "", "x" * 300, "\x1b[2J", "01request\n"])
def test_an_id_that_would_change_the_address_is_no_pairlock(id: str) -> None:
    played = play(pairing.ask(SERVICE, "Phone", clock=FakeClock()), [says({**STARTED, "id": id}, 201)])
    assert isinstance(played.error, NotPairlock)


def test_an_approval_is_waited_for_by_polls_that_are_held_open() -> None:
    clock = FakeClock()
    told: list[Progress] = []
    asked = asking(clock, on_progress=told.append)
    held = [state("pending", attempts_left=5), state("pending", attempts_left=4), state("approved")]

    played = play(asked.wait(), held, clock, held_open_for=10)
    assert played.waits == []
    assert {(call.headers["prefer"], call.timeout) for call in played.calls} == {("wait=10", 20.0)}
    assert told == [Progress("pending", 290, 5), Progress("pending", 280, 4)]
    assert asked.attempts_left == 4


def test_where_calls_are_not_held_open_the_interval_is_waited() -> None:
    assert waiting(state("pending"), state("pending"), state("approved")).waits == [5, 5]


def test_an_interval_of_nothing_does_not_make_a_request_a_flood() -> None:
    clock = FakeClock()
    started = play(pairing.ask(SERVICE, "Phone", clock=clock), [says({**STARTED, "interval": 0}, 201)])
    assert started.result is not None
    played = play(started.result.wait(), [state("pending"), state("pending"), state("approved")], clock)
    assert played.waits == [1, 1]


def test_an_approval_is_waited_for_through_a_restart_of_the_server() -> None:
    replies: list[Reply] = [
        state("pending"),
        AWAY,
        AWAY,
        says(b"<html>502", 502),
        refuses("temporarily_unavailable", 503),
    ]
    played = waiting(*replies, state("pending"), AWAY, state("approved"))
    assert played.error is None
    assert played.waits == [5, 1, 2, 4, 8, 5, 1]


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_kept_to_while_an_approval_is_waited_for(status: int) -> None:
    assert waiting(says(b"", status, retry_after="7"), state("approved")).waits == [7]


def test_a_retry_after_beyond_the_end_of_the_request_is_not() -> None:
    assert waiting(says(b"", 503, retry_after="86400"), refuses("expired_token")).waits == [300]


@pytest.mark.parametrize("retry_after", ["-1", "nan", "Wed, 21 Oct 2026 07:28:00 GMT", "1e9", "9" * 5000, "\u0661"])
def test_a_retry_after_that_makes_no_sense_is_none(retry_after: str) -> None:
    assert waiting(says(b"", 503, retry_after=retry_after), state("approved")).waits == [1]


def test_a_service_that_stays_away_ends_the_wait_once_the_request_has_expired() -> None:
    played = waiting(*[AWAY] * 30)
    assert played.error is AWAY
    assert sum(played.waits) == pytest.approx(300, abs=2)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("denied", AccessDenied),
        ("locked", Locked),
        ("cancelled", Cancelled),
        ("expired", ExpiredToken),
        ("redeemed", AlreadyRedeemed),
    ],
)
def test_what_a_request_has_ended_with_is_its_error(name: str, error: type[Exception]) -> None:
    assert isinstance(waiting(state("pending"), state(name, reason="no")).error, error)


def test_a_request_that_was_forgotten_after_its_end_has_expired() -> None:
    clock = FakeClock()
    exchange = asking(clock).wait()
    assert isinstance(play(exchange, [refuses("invalid_token", 401)], clock).error, InvalidToken)
    exchange = asking(clock).wait()
    clock.advance(301)
    assert isinstance(play(exchange, [refuses("invalid_token", 401)], clock).error, ExpiredToken)


def test_an_approved_request_is_redeemed_even_if_the_first_calls_get_no_answer() -> None:
    clock = FakeClock()
    played = play(asking(clock).redeem(), [AWAY, says(b"", 502), says(TOKENS)], clock)
    assert played.result is not None
    assert played.waits == [1, 2]


def test_a_wrong_pin_says_how_many_are_left() -> None:
    clock = FakeClock()
    asked = asking(clock)
    played = play(asked.submit("000000"), [refuses("invalid_pin", attempts_left=4)], clock)
    assert isinstance(played.error, InvalidPin)
    assert asked.attempts_left == played.error.attempts_left == 4
    assert played.calls[0].json == {"pin": "000000"}
    assert "000000" not in repr(played.calls)


def test_a_request_is_withdrawn_with_its_secret() -> None:
    clock = FakeClock()
    played = play(asking(clock).cancel(), [Answer(204, {}, b"")], clock)
    assert played.asked == [f"DELETE {PAIRING}/requests/01request"]
    assert played.calls[0].headers["authorization"] == "Bearer s3cret"


# A code


def test_a_code_is_redeemed_again_with_the_same_secret_when_the_answer_is_lost() -> None:
    played = play(pairing.redeem(SERVICE, "K3F9-X2NM", "CLI"), [AWAY, says(b"", 502), AWAY, says(TOKENS)])
    assert played.result is not None
    assert played.waits == [1, 2, 3]
    assert len({call.json["secret"] for call in played.calls}) == 1
    assert len(played.calls[0].json["secret"]) >= 43


def test_two_devices_never_redeem_with_the_same_secret() -> None:
    secrets = {play(pairing.redeem(SERVICE, "K", "CLI"), [says(TOKENS)]).calls[0].json["secret"] for _ in range(3)}
    assert len(secrets) == 3


def test_a_code_that_does_not_count_is_not_tried_again() -> None:
    played = play(pairing.redeem(SERVICE, "K3F9-X2NM", "CLI"), [refuses("invalid_code")])
    assert isinstance(played.error, InvalidCode)


def test_whoever_stays_away_is_left_alone_after_four_attempts() -> None:
    assert play(pairing.redeem(SERVICE, "K", "CLI"), [AWAY] * 5).waits == [1, 2, 3]


@pytest.mark.parametrize(
    "uri", ["", "https://house.example/pair/qr", "https://house.example/pair/qr#", "https://house.example/pair#x", "#x"]
)
def test_what_is_no_pairing_code_is_not_taken_for_one(uri: str) -> None:
    with pytest.raises(ConfigurationError, match="no pairing code"):
        pairing.split_qr(uri)


def test_a_qr_code_is_an_address_and_a_secret() -> None:
    assert pairing.split_qr(" https://house.example/pair/qr#s3cret\n") == ("https://house.example/pair", "s3cret")


# What anybody may answer


@pytest.mark.parametrize(
    "changed",
    [
        *({"access_token": token} for token in ("", "a b", "a\r\nX: 1", "\x1b", "t\u00f6ken", "x" * 8193, 1, None)),
        *({"refresh_token": token} for token in ("a b", "a\nb", 1, "x" * 8193)),
        *({"expires_in": number} for number in HOSTILE_NUMBERS),
        *({"device_id": each} for each in ("", "a&nonce=x", "a b", "\x1b[0m", 5, None)),
        *({"permissions": {"read": patterns}} for patterns in (["no slash"], ["/\x1b"], "/**")),
        *({"permissions": granted} for granted in ("all", 5, {"rd": ["/x"]})),
        *({"server": server} for server in ("x", {}, {"id": "x\x1b", "name": "x"}, {"id": 1, "name": 2})),
        {"device_name": 5},
    ],
    ids=str,
)
def test_a_hostile_token_answer_is_no_pairlock(changed: dict[str, Any]) -> None:
    played = play(pairing.redeem(SERVICE, "K", "CLI"), [says({**TOKENS, **changed})])
    assert isinstance(played.error, NotPairlock)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>It works!</html>",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b'{"expires_in": NaN}',
        b'{"x": "\\ud800"}',
        b"[" * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' + b"9" * 100_000 + b"}",
    ],
    ids=lambda content: repr(content[:16]),
)
@pytest.mark.parametrize("status", [200, 201, 204, 400, 401, 404, 500])
def test_nonsense_is_no_pairlock(content: bytes, status: int) -> None:
    played = play(pairing.redeem(SERVICE, "K", "CLI"), [says(content, status)])
    assert isinstance(played.error, NotPairlock)
    assert "is the address right?" in str(played.error)


def test_names_and_messages_of_a_server_are_cleaned() -> None:
    answer = says({**TOKENS, "device_name": f"My{ESC} Phone", "message": f"Hi{ESC}\n\n!", "server": SERVER})
    played = play(pairing.redeem(SERVICE, "K", "CLI"), [answer])
    assert played.result is not None
    assert (played.result.device_name, played.result.message) == ("My[31m Phone", "Hi[31m !")


def test_what_an_error_says_is_cleaned_and_bounded() -> None:
    hostile = refuses("too_many_requests", 429, retry_after=1e300, detail=ESC, error_uri="x")
    error = play(pairing.redeem(SERVICE, "K", "CLI"), [hostile]).error
    assert isinstance(error, TooManyRequests)
    assert error.retry_after is None
    detail = play(pairing.redeem(SERVICE, "K", "CLI"), [refuses("invalid_request", detail=f"{ESC}x" * 999)]).error
    assert isinstance(detail, WireError)
    assert "\x1b" not in str(detail)
    assert len(str(detail)) < 400


def test_extras_of_another_type_are_left_out() -> None:
    error = play(pairing.redeem(SERVICE, "K", "CLI"), [refuses("access_denied", reason={"x": 1})]).error
    assert isinstance(error, AccessDenied)
    assert error.reason is None


def test_secrets_are_in_no_repr() -> None:
    answer = play(pairing.redeem(SERVICE, "K", "CLI"), [says(TOKENS)]).result
    clock = FakeClock()
    started = asking(clock)
    shown = [
        repr(answer),
        repr(says(TOKENS)),
        repr(started),
        repr(Call(method="GET", url="x", headers={"a": "s3cret"})),
    ]
    shown += [repr(msgspec.convert(STARTED, StartedAnswer)), repr(msgspec.convert(SHOWN, DeviceCodeAnswer))]
    shown.append(repr(play(started.cancel(), [Answer(204, {}, b"")], clock).calls))
    assert not any(
        secret in text for text in shown for secret in ("plk_token", "plr_refresh", "s3cret", "01request.code")
    )


# Finding the service


IDENTITY = says({"server": SERVER})
NOTHING = says(b"<html>Not found</html>", 404)
RESOURCE = "http://127.0.0.1:8000/.well-known/oauth-protected-resource"


def finding(url: str, *replies: Reply, insecure: bool = False) -> Played[Service]:
    return play(find(url, insecure=insecure), replies)


def test_the_address_of_the_sub_app_is_found_at_once() -> None:
    played = finding("127.0.0.1:8000/pair/", IDENTITY)
    assert played.result == SERVICE
    assert played.asked == [f"GET {PAIRING}/identity"]


def test_from_the_address_of_the_app_its_document_leads_to_the_sub_app() -> None:
    document = says({"resource": "http://127.0.0.1:8000", "authorization_servers": ["http://127.0.0.1:8000/a/pair"]})
    played = finding("127.0.0.1:8000", NOTHING, document, IDENTITY)
    assert played.result == Service(
        parse("http://127.0.0.1:8000/a/pair"), parse("http://127.0.0.1:8000"), SERVICE.server
    )
    assert played.asked[1] == f"GET {RESOURCE}"


def test_9728_3_1_the_path_of_an_app_comes_after_the_well_known_part() -> None:
    played = finding("127.0.0.1:8000/house", NOTHING, NOTHING, IDENTITY)
    assert played.asked == [
        "GET http://127.0.0.1:8000/house/identity",
        f"GET {RESOURCE}/house",
        "GET http://127.0.0.1:8000/house/pair/identity",
    ]


@pytest.mark.parametrize(
    "document",
    [
        NOTHING,
        says(b"<html>It works!</html>"),
        says([]),
        says({}),
        says({"authorization_servers": []}),
        says({"authorization_servers": "http://evil.example"}),
        says({"authorization_servers": [5]}),
        says({"authorization_servers": ["javascript:alert(1)"]}),
        says(b"[" * 100_000),
        says(b"", 302, location="http://evil.example"),
    ],
    ids=str,
)
def test_without_a_document_that_counts_it_is_looked_for_where_it_usually_is(document: Answer) -> None:
    played = finding("127.0.0.1:8000", NOTHING, document, IDENTITY)
    assert played.asked[-1] == f"GET {PAIRING}/identity"
    assert played.result == SERVICE


@pytest.mark.parametrize(
    "server", ["https://evil.example/pair", "http://127.0.0.1:8001/pair", "https://127.0.0.1:8000/pair"]
)
def test_a_document_that_leads_to_another_origin_is_not_followed_but_told(server: str) -> None:
    played = finding("127.0.0.1:8000", NOTHING, says({"authorization_servers": [server]}))
    assert isinstance(played.error, NotPairlock)
    assert server in str(played.error)
    assert len(played.calls) == 2


@pytest.mark.parametrize("answer", [says(b"<html>It works!</html>"), NOTHING, refuses("missing_token", 401), says({})])
def test_where_there_is_no_pairlock_the_error_says_so(answer: Answer) -> None:
    played = finding("127.0.0.1:8000", answer, answer, answer)
    assert isinstance(played.error, NotPairlock)
    assert "there is no pairlock" in str(played.error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_told_and_not_followed(status: int) -> None:
    played = finding("127.0.0.1:8000", *[says(b"", status, location=f"https://house.example/{ESC}")] * 3)
    assert isinstance(played.error, NotPairlock)
    assert "leads on to https://house.example/[31m" in str(played.error)
    assert all(call.url.startswith("http://127.0.0.1:8000/") for call in played.calls)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_its_service_is_no_reason_to_say_that_there_is_none(status: int) -> None:
    assert isinstance(finding("127.0.0.1:8000", says(b"<html>", status)).error, TemporarilyUnavailable)


def test_one_that_has_had_enough_is_no_reason_either() -> None:
    assert isinstance(finding("127.0.0.1:8000", says(b"<html>", 429)).error, TooManyRequests)


def test_plain_http_to_another_machine_is_refused_before_anything_is_sent() -> None:
    played = finding("http://house.example")
    assert isinstance(played.error, Unencrypted)
    assert played.calls == []


def test_plain_http_to_another_machine_is_allowed_to_those_who_say_so() -> None:
    assert finding("http://house.example/pair", IDENTITY, insecure=True).error is None


def test_the_name_of_a_server_is_cleaned() -> None:
    played = finding("127.0.0.1:8000/pair", says({"server": {"id": "01server", "name": f"St{ESC}udio"}}))
    assert played.result is not None
    assert played.result.server.name == "St[31mudio"


def test_who_says_for_ever_that_it_waits_is_not_waited_for() -> None:
    clock = FakeClock()
    asked = asking(clock)
    clock.advance(500)
    assert isinstance(play(asked.wait(), [state("pending")], clock).error, ExpiredToken)
    shown = says({**SHOWN, "expires_in": 1})
    assert isinstance(logging_in(*[PENDING] * 20, shown=shown).error, ExpiredToken)


@pytest.mark.parametrize(
    ("uri", "reply", "there"),
    [
        ("http://127.0.0.1:8000/pair/device", says({}), True),
        ("http://127.0.0.1:8000/pair/device?x=1", Answer(401, {}, b""), True),
        ("http://127.0.0.1:8000/pair/device", Answer(404, {}, b""), False),
        ("http://127.0.0.1:8000/pair/device", AWAY, True),
    ],
)
def test_whether_the_page_of_a_code_is_there_is_found_out(uri: str, reply: Reply, there: bool) -> None:
    assert play(pairing.page_of(SERVICE, uri), [reply]).result is there


def test_the_page_of_another_origin_is_taken_on_trust() -> None:
    played = play(pairing.page_of(SERVICE, "https://elsewhere.example/device"), [])
    assert (played.result, played.calls) == (True, [])
