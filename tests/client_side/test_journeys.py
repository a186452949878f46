"""Pairing, each way of it, with a real service, over either library, blocking and asynchronous."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.sync.client

from pairlock import client as blocking
from pairlock._core.records import EventType
from pairlock.client import CredentialFile, DeviceCode, MemoryCredentials, Progress
from pairlock.client.journeys import print_code
from pairlock.errors import (
    AccessDenied,
    AlreadyPaired,
    ConfigurationError,
    InvalidCode,
    InvalidPin,
    NotPaired,
    NotPairlock,
    PairAgain,
    Unreachable,
    WindowClosed,
)
from tests.client_side.house import House, Stranger
from tests.client_side.sides import Side


@contextmanager
def meanwhile(work: Any, *args: Any) -> Iterator[None]:
    """Somebody else does this at the same time."""
    thread = threading.Thread(target=work, args=args)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def wrong(pin: str) -> str:
    return f"{(int(pin) + 1) % 10 ** len(pin):0{len(pin)}}"


def test_a_device_pairs_by_pin_and_is_let_in(side: Side, house: House, file: CredentialFile) -> None:
    with side.entered(side.pair(house.url, name="My Phone", credentials=file)) as asked:
        assert (asked.server_name, asked.device_name, asked.pin_length) == ("Studio", "My Phone", 6)
        assert asked.attempts_left == 5
        assert asked.shown
        assert 290 <= asked.expires_in <= 300
        assert "secret" not in repr(asked)
        with pytest.raises(InvalidPin) as refused:
            side.do(asked.submit_pin, wrong(house.pin()))
        assert asked.attempts_left == refused.value.attempts_left == 4
        client = side.closing(side.do(asked.submit_pin, house.pin()))
    assert side.get(client, "/sensors/a").json() == {"sensor": "a", "read_by": "My Phone"}
    assert side.get(side.connect(house.url, credentials=file), "sensors/b").status_code == 200
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_device_pairs_by_approval(side: Side, house: House, file: CredentialFile) -> None:
    told: list[Progress] = []
    with (
        side.entered(side.pair(house.url, credentials=file, on_progress=told.append)) as asked,
        meanwhile(house.approve),
    ):
        client = side.closing(side.do(asked.wait_for_approval))
    assert side.get(client, "/sensors/a").status_code == 200
    assert {progress.state for progress in told} <= {"pending"}


def test_a_denial_is_told_with_its_reason(side: Side, house: House, file: CredentialFile) -> None:
    with side.entered(side.pair(house.url, credentials=file)) as asked:
        house.deny("No robots")
        with pytest.raises(AccessDenied) as denied:
            side.do(asked.wait_for_decision)
    assert denied.value.reason == "No robots"
    assert file.read().credentials() == {}


def test_whoever_leaves_without_success_withdraws_the_request(side: Side, house: House, file: CredentialFile) -> None:
    with pytest.raises(KeyError), side.entered(side.pair(house.url, credentials=file)):
        raise KeyError
    assert house.events()[-1] is EventType.CANCELLED


def test_a_request_can_be_withdrawn(side: Side, house: House, file: CredentialFile) -> None:
    with side.entered(side.pair(house.url, credentials=file)) as asked:
        side.do(asked.cancel)
    assert house.events().count(EventType.CANCELLED) == 1


def test_whoever_leaves_while_the_service_is_gone_hears_of_his_own_error(
    side: Side, house: House, file: CredentialFile
) -> None:
    with pytest.raises(KeyError), side.entered(side.pair(house.url, credentials=file)), house.gone():
        raise KeyError


def test_a_closed_window_says_so(side: Side, house: House, file: CredentialFile) -> None:
    house.do(lambda pairlock: pairlock.window.close())
    with pytest.raises(WindowClosed):
        side.pair(house.url, credentials=file)
    with pytest.raises(WindowClosed):
        side.do(side.module.pair, house.url, credentials=file)


def test_a_code_is_redeemed(side: Side, house: House, file: CredentialFile) -> None:
    client = side.redeem(f"{house.url}/pair/", house.code().lower(), name="CLI", credentials=file)
    assert side.get(client, f"{house.url}/sensors/a").json()["read_by"] == "CLI"
    with pytest.raises(InvalidCode):
        side.redeem(house.url, "K3F9-X2NM", credentials=file, replace=True)


def test_a_qr_code_is_redeemed(side: Side, house: House, file: CredentialFile) -> None:
    qr = house.do(lambda pairlock: pairlock.qr({"read": ["/sensors/**"]}, address=f"{house.url}/pair"))
    client = side.do(side.module.pair_with_qr, qr.uri, name="Scanner", credentials=file, http=side.http())
    assert side.get(client, "/sensors/a").json()["read_by"] == "Scanner"


@pytest.mark.parametrize("side", ["httpx", "httpx2 async"], indirect=True)  # each takes an interval of five seconds
def test_a_device_code_is_shown_and_approved(side: Side, house: House, file: CredentialFile) -> None:
    shown: list[DeviceCode] = []
    told: list[Progress] = []

    def on_code(code: DeviceCode) -> None:
        shown.append(code)
        house.approve(code.user_code)

    async def on_code_async(code: DeviceCode) -> None:
        on_code(code)

    callbacks = {"on_code": on_code_async if side.portal else on_code, "on_progress": told.append}
    login = {"name": "TV", "credentials": file, "http": side.http(), **callbacks}
    client = side.do(side.module.device_login, house.url, **login)
    assert side.get(client, "/sensors/a").json()["read_by"] == "TV"
    assert shown[0].verification_uri == f"{house.url}/pair/device"
    assert client.auth.credential.client_id == "pairlock"


def test_by_default_the_code_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_code(DeviceCode("WDJB-MJHT", "http://127.0.0.1/pair/device", None, 600))
    assert capsys.readouterr().out == "Open http://127.0.0.1/pair/device and type WDJB-MJHT\n"


def test_without_a_client_of_the_callers_there_is_a_new_one(side: Side, house: House, file: CredentialFile) -> None:
    with side.entered(side.do(side.module.pair, house.url, credentials=file)) as asked:
        first = side.closing(side.do(asked.submit_pin, house.pin()))
    again = side.closing(side.do(side.module.connect, house.url, credentials=file))
    for client in (first, again):
        assert side.get(client, "/sensors/a").status_code == 200
    with pytest.raises(NotPaired):
        side.do(side.module.connect, "http://127.0.0.1:1", credentials=file)


def test_what_is_kept_is_replaced_only_when_told_and_the_old_one_is_revoked(
    side: Side, house: House, file: CredentialFile
) -> None:
    first = side.redeem(house.url, house.code(), name="First", credentials=file)
    with pytest.raises(AlreadyPaired, match=r"Studio.*First"):
        side.redeem(house.url, house.code(), name="Second", credentials=file)
    assert house.devices() == ["First"]
    second = side.redeem(house.url, house.code(), name="Second", credentials=file, replace=True)
    assert house.devices() == ["Second"]
    assert side.get(second, "/sensors/a").status_code == 200
    assert len(file.read().credentials()) == 1
    assert first.auth.credential.name == "First"


def test_connecting_after_a_revocation_says_pair_again(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), name="My Phone", credentials=file)
    house.do(lambda pairlock: pairlock.devices.revoke_all())
    with pytest.raises(PairAgain, match=r"[Pp]air again"):
        side.connect(house.url, credentials=file)
    assert side.redeem(house.url, house.code(), credentials=file, replace=True)


def test_logging_out_revokes_and_forgets(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), credentials=file)
    assert side.do(side.module.logout, house.url, credentials=file) is True
    assert house.devices() == []
    assert file.read().credentials() == {}
    with pytest.raises(NotPaired, match="pair first"):
        side.do(side.module.logout, house.url, credentials=file)


def test_logging_out_after_a_revocation_only_forgets(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), credentials=file)
    house.do(lambda pairlock: pairlock.devices.revoke_all())
    assert side.do(side.module.logout, house.url, credentials=file) is False
    assert file.read().credentials() == {}


def test_logging_out_while_the_service_is_gone_forgets_nothing(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), credentials=file)
    with house.gone(), pytest.raises(Unreachable):
        side.do(side.module.logout, house.url, credentials=file)
    assert len(file.read().credentials()) == 1


def test_a_credential_can_be_forgotten_without_the_service(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), credentials=file)
    with house.gone():
        side.do(side.module.forget, house.url, credentials=file)
    assert file.read().credentials() == {}


def test_what_is_kept_in_memory_is_in_no_file(side: Side, house: House, home: Path) -> None:
    memory = MemoryCredentials()
    side.redeem(house.url, house.code(), credentials=memory)
    assert side.get(side.connect(house.url, credentials=memory), "/sensors/a").status_code == 200
    side.do(side.module.logout, house.url, credentials=memory)
    assert not home.exists()
    assert repr(memory) == "<MemoryCredentials>"


def test_where_nobody_is_the_error_says_so(side: Side, house: House, file: CredentialFile) -> None:
    with house.gone(), pytest.raises(Unreachable, match=rf"^http://127.0.0.1:{house.port} cannot be reached \(.*refus"):
        side.redeem(house.url, "K3F9-X2NM", credentials=file)


def test_what_is_no_pairlock_is_found_out_and_gets_no_code(side: Side, file: CredentialFile) -> None:
    with Stranger(lambda seen: (200, {"content-type": "text/html"}, b"<html>It works!</html>")) as other:
        with pytest.raises(NotPairlock, match="there is no pairlock"):
            side.redeem(other.url, "K3F9-X2NM", credentials=file)
        assert {seen.method for seen in other.seen} == {"GET"}


def test_an_answer_without_end_is_not_read_to_its_end(side: Side, file: CredentialFile) -> None:
    with Stranger(lambda seen: (200, {}, b" " * (2 << 20))) as other, pytest.raises(NotPairlock, match="far too much"):
        side.redeem(other.url, "K3F9-X2NM", credentials=file)


def test_an_answer_that_cannot_be_unpacked_is_nobody(side: Side, file: CredentialFile) -> None:
    unpackable = Stranger(lambda seen: (200, {"content-encoding": "gzip"}, b"no gzip"))
    with unpackable as other, pytest.raises(NotPairlock, match="an encoding that was not asked for"):
        side.redeem(other.url, "K3F9-X2NM", credentials=file)


def test_what_is_no_http_client_is_refused(file: CredentialFile) -> None:
    with pytest.raises(ConfigurationError, match="httpx or httpx2"):
        blocking.redeem("http://127.0.0.1:1", "K", credentials=file, http=object())  # type: ignore[arg-type]


@pytest.mark.parametrize("as_subprotocol", [False, True])
def test_a_websocket_is_opened_with_the_token(
    side: Side, house: House, file: CredentialFile, as_subprotocol: bool
) -> None:
    client = side.redeem(house.url, house.code(), credentials=file)
    given = side.do(side.module.websocket, client, "/live", as_subprotocol=as_subprotocol)
    if side.portal is None:
        with websockets.sync.client.connect(**given, proxy=None) as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
    else:

        async def talk() -> None:
            async with websockets.asyncio.client.connect(**given, proxy=None) as socket:
                await socket.send("hello")
                assert await socket.recv() == "hello"

        side.do(talk)
    assert house.seen[-1].method == "WEBSOCKET"
    assert house.seen[-1].authorization.startswith("Bearer plk_") is not as_subprotocol


@pytest.mark.parametrize(
    "path", ["", "live", "@evil.example/live", ".evil.example/live", ":80@evil.example/", "\\live"]
)
def test_a_websocket_never_leads_to_another_host(one_side: Side, house: House, file: CredentialFile, path: str) -> None:
    client = one_side.redeem(house.url, house.code(), credentials=file)
    with pytest.raises(ConfigurationError, match="starts with /"):
        one_side.module.websocket(client, path)


def test_a_websocket_needs_a_client_that_is_ready(side: Side) -> None:
    with pytest.raises(ConfigurationError, match="made ready"):
        side.do(side.module.websocket, side.http(), "/live")
