"""A token is carried, kept fresh by all who use it together, and goes to nobody but its server."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from msgspec.structs import replace
from starlette.responses import JSONResponse, RedirectResponse, Response

from pairlock import Permissions
from pairlock._core.records import EventType
from pairlock._core.refresh import REPLAY_WITHIN
from pairlock.client import CredentialFile, MemoryCredentials, PairlockAuth, aio, connect, redeem
from pairlock.client.answers import TokenAnswer
from pairlock.client.credentials import Credential
from pairlock.client.drivers import run
from pairlock.client.exchange import Do
from pairlock.client.keeping import Keeper
from pairlock.client.stored import Wanted, forget, keep, load
from pairlock.errors import (
    AnotherServer,
    CredentialsError,
    NotPaired,
    NotPairlock,
    PairAgain,
    Unencrypted,
    Unreachable,
)
from pairlock.testing import FakeClock
from tests.client_side.house import DEADLINE, House, Seen, Stranger, eventually
from tests.client_side.parts import TOKENS, credential, play, proves, refresh_token, says, service
from tests.client_side.sides import Side
from tests.client_side.writers import put

ROOT = Path(__file__).parents[2]
TOKEN = "/pair/token"


def refreshes(house: House) -> int:
    """How often a device was refreshed; and none was ever taken for stolen."""
    events = house.events()
    assert EventType.REUSE_DETECTED not in events
    assert EventType.REVOKED not in events
    return events.count(EventType.REFRESHED)


@pytest.fixture
def paired(side: Side, timed: House, file: CredentialFile, clock: FakeClock) -> Any:
    """A client that has just paired, with the clock of the test."""
    return side.redeem(timed.url, timed.code(), name="Phone", credentials=file, clock=clock)


def out_of_step(side: Side, house: House, file: CredentialFile) -> Any:
    """A client whose token the server refuses, which it does not expect."""
    clock = FakeClock(time.time())
    made = side.redeem(house.url, house.code(), credentials=file, clock=clock)
    with house.gone():
        house.settings["secret_keys"] = ["another-key-of-these-tests-as-long"]
    return made


# Refreshing


def test_a_token_is_refreshed_before_it_ends(side: Side, timed: House, paired: Any, clock: FakeClock) -> None:
    clock.advance(3539)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 0
    clock.advance(2)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 1
    assert timed.count("GET", "/sensors/a") == 2  # no 401 on the way


def test_a_token_that_has_ended_is_refreshed_after_a_month_of_silence(
    side: Side, timed: House, paired: Any, clock: FakeClock, file: CredentialFile
) -> None:
    clock.advance(30 * 86400)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 1
    assert file.load(paired.auth.keeper.key) == paired.auth.credential


def test_a_token_that_is_refused_is_refreshed_once_and_the_request_is_sent_again(
    side: Side, house: House, file: CredentialFile
) -> None:
    client = out_of_step(side, house, file)
    answer = side.post(client, "/control/lamp", content=b"on")
    assert (answer.status_code, answer.content) == (200, b"on")
    assert refreshes(house) == 1
    assert side.get(client, "/sensors/a").status_code == 200
    assert refreshes(house) == 1


def test_a_body_that_was_streamed_is_not_sent_again_but_the_next_request_is_let_in(
    side: Side, house: House, file: CredentialFile
) -> None:
    client = out_of_step(side, house, file)

    def chunks() -> Iterator[bytes]:
        yield b"on"

    async def async_chunks() -> Any:
        yield b"on"

    stream = chunks if side.portal is None else async_chunks
    assert side.post(client, "/control/lamp", content=stream()).status_code == 401
    assert house.count("POST", "/control/lamp") == 1
    assert side.post(client, "/control/lamp", content=stream()).content == b"on"


def test_where_one_connection_is_all_there_is_a_refresh_gets_it(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), credentials=file)
    narrow = side.http(limits=side.library.Limits(max_connections=1), timeout=5)
    client = side.connect(house.url, credentials=file, http=narrow)
    with house.gone():
        house.settings["secret_keys"] = ["another-key-of-these-tests-as-long"]
    assert side.get(client, "/sensors/a").status_code == 200


def test_a_refusal_by_the_app_itself_is_left_alone(side: Side, house: House, file: CredentialFile) -> None:
    client = side.redeem(house.url, house.code(), credentials=file)
    assert side.get(client, "/own").status_code == 401
    assert house.count("POST", TOKEN) == 0
    assert house.count("GET", "/own") == 1


def test_a_server_that_refuses_what_it_has_just_refreshed_is_believed(
    side: Side, house: House, file: CredentialFile
) -> None:
    client = side.redeem(house.url, house.code(), credentials=file)
    challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
    house.instead["/sensors/a"] = Response(status_code=401, headers=challenge)
    assert side.get(client, "/sensors/a").status_code == 401
    assert house.count("GET", "/sensors/a") == 2
    assert refreshes(house) == 1


def test_after_a_revocation_the_error_says_pair_again(side: Side, house: House, file: CredentialFile) -> None:
    client = side.redeem(house.url, house.code(), name="My Phone", credentials=file)
    house.do(lambda pairlock: pairlock.devices.revoke(client.auth.credential.device_id))
    for _ in range(2):
        with pytest.raises(PairAgain, match=r'Studio at .* does not let "My Phone" in any more.* Pair again\.'):
            side.get(client, "/sensors/a")
    assert file.read().credentials() != {}


def test_after_a_narrowing_it_may_do_less_and_goes_on(
    side: Side, timed: House, paired: Any, clock: FakeClock, file: CredentialFile
) -> None:
    less = Permissions.parse({"read": ["/sensors/a"]})
    timed.do(lambda pairlock: pairlock.devices.narrow(paired.auth.credential.device_id, less))
    assert side.get(paired, "/sensors/b").status_code == 403
    assert side.get(paired, "/sensors/a").status_code == 200
    clock.advance(3600)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert paired.auth.credential.granted == less


def test_connecting_refreshes_what_is_refused_and_believes_a_second_refusal(
    side: Side, house: House, file: CredentialFile
) -> None:
    out_of_step(side, house, file)
    assert side.get(side.connect(house.url, credentials=file), "/sensors/a").status_code == 200
    assert refreshes(house) == 1
    house.instead["/pair/whoami"] = JSONResponse({"error": "invalid_token"}, 401)
    with pytest.raises(PairAgain):
        side.connect(house.url, credentials=file)


def test_a_client_with_an_address_of_its_own_keeps_it(side: Side, house: House, file: CredentialFile) -> None:
    mine = side.http(base_url=f"{house.url}/sensors")
    side.redeem(house.url, house.code(), credentials=file, http=mine)
    assert side.get(mine, "/a").status_code == 200


# Together


def test_twenty_threads_or_fifty_tasks_that_meet_a_due_token_refresh_it_once(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    clock.advance(3600)
    assert at_once(side, paired) == {200}
    assert refreshes(timed) == 1


def test_twenty_threads_or_fifty_tasks_that_are_refused_refresh_it_once(
    side: Side, house: House, file: CredentialFile
) -> None:
    client = out_of_step(side, house, file)
    assert at_once(side, client) == {200}
    assert refreshes(house) == 1


def at_once(side: Side, client: Any) -> set[int]:
    """How requests are answered that are made at the same time."""
    if side.portal is None:
        with ThreadPoolExecutor(20) as threads:
            return {answer.status_code for answer in threads.map(client.get, ["/sensors/a"] * 20)}

    async def all_of_them() -> set[int]:
        answers = await asyncio.gather(*(client.get("/sensors/a") for _ in range(50)))
        return {answer.status_code for answer in answers}

    return side.do(all_of_them)  # type: ignore[no-any-return]


def test_two_clients_on_one_file_share_a_refresh(
    side: Side, timed: House, paired: Any, clock: FakeClock, file: CredentialFile
) -> None:
    other = side.connect(timed.url, credentials=file, clock=clock)
    clock.advance(3600)
    for client in (paired, other, paired):
        assert side.get(client, "/sensors/a").status_code == 200
    assert refreshes(timed) == 1
    assert other.auth.credential == paired.auth.credential


def test_a_client_finds_out_that_it_was_logged_out_elsewhere(
    side: Side, timed: House, paired: Any, clock: FakeClock, file: CredentialFile
) -> None:
    side.do(side.module.logout, timed.url, credentials=file, clock=clock)
    with pytest.raises(NotPaired, match="logged out"):
        side.get(paired, "/sensors/a")


# Another origin


def test_another_origin_gets_no_token(side: Side, house: House, file: CredentialFile) -> None:
    client = side.redeem(house.url, house.code(), credentials=file)
    with Stranger(lambda seen: (200, {}, b"hello")) as other:
        assert side.get(client, f"{other.url}/sensors/a").content == b"hello"
        for host in ("localhost", "127.0.0.2", "[::ffff:127.0.0.1]"):
            with suppress(side.library.TransportError):
                side.get(client, f"http://{host}:{house.port}/sensors/a")
    assert other.seen == [Seen("GET", "/sensors/a", "")]
    assert {seen.authorization for seen in house.seen[-3:]} <= {"", house.seen[-4].authorization}


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin_carries_no_token(
    side: Side, house: House, file: CredentialFile, status: int
) -> None:
    challenge = {"www-authenticate": 'Bearer error="invalid_token"'}
    side.redeem(house.url, house.code(), credentials=file)
    client = side.connect(house.url, credentials=file, http=side.http(follow_redirects=True))
    with Stranger(lambda seen: (401, challenge, b"")) as other:
        to = f"/away?to={other.url}/x&status={status}"
        assert side.get(client, to).status_code == 401
        assert side.post(client, to, content=b"on").status_code == 401
    assert len(other.seen) == 2
    assert other.secrets_seen == []
    assert house.count("POST", TOKEN) == 0


def test_a_refresh_that_is_answered_by_a_redirect_goes_nowhere(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    with Stranger(lambda seen: (200, {}, b"{}")) as other:
        timed.instead[TOKEN] = RedirectResponse(f"{other.url}/token", 307)
        clock.advance(3600)
        with pytest.raises(NotPairlock, match="leads on to"):
            side.get(paired, "/sensors/a")
    assert other.seen == []


@pytest.mark.parametrize("mask", ["b\u00fccher.example", "xn--bcher-kva.example"])
def test_an_international_name_gets_its_token_however_it_is_written(mask: str) -> None:
    memory = MemoryCredentials()
    made = replace(credential("http://xn--bcher-kva.example:8000/pair"), insecure=True)
    memory.put("x", made)
    auth = PairlockAuth("http://b\u00fccher.example:8000", credentials=memory)
    auth.keeper.heard()
    auth.keeper.credential = replace(made, expires_at=time.time() + 3600)
    request = httpx.Request("GET", f"http://{mask}:8000/sensors/a")
    assert next(auth.sync_auth_flow(request)).headers["authorization"] == "Bearer plk_token"


# Another server


def forgery(house: House, kind: str) -> Callable[[Seen], tuple[int, dict[str, str], bytes]]:
    """What stands in for a house, and says what it can know."""
    public = f'{{"server": {{"id": "{house.do(_server_id)}", "name": "Studio"}}'.encode()

    def respond(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if "/identity" not in seen.path:
            return 401, {"www-authenticate": 'Bearer error="invalid_token"'}, b'{"error": "invalid_token"}'
        copies = {"without proof": public + b"}", "with a wrong proof": public + b', "proof": "' + b"A" * 43 + b'"}'}
        return 200, {}, copies.get(kind, b"<html>It works!</html>")

    return respond


async def _server_id(pairlock: Any) -> str:
    return str(pairlock._runtime.server["id"])


@pytest.mark.parametrize("kind", ["without proof", "with a wrong proof", "no pairlock"])
@pytest.mark.parametrize("when", ["connecting", "later", "when the token is due"])
def test_whoever_takes_over_the_address_gets_no_token(
    side: Side, timed: House, paired: Any, file: CredentialFile, clock: FakeClock, kind: str, when: str
) -> None:
    def use() -> object:
        if when == "connecting":
            return side.connect(timed.url, credentials=file, clock=clock)
        return side.get(paired, "/sensors/a")

    respond = forgery(timed, kind)
    with timed.gone(), Stranger(respond, timed.port) as other:
        clock.advance({"connecting": 0, "later": 61, "when the token is due": 3600}[when])
        for _ in range(2):
            with pytest.raises((AnotherServer, NotPairlock)):
                use()
        assert other.seen
        assert other.secrets_seen == []
    assert side.get(paired, "/sensors/a").status_code == 200


def test_whoever_takes_over_the_address_in_a_moment_gets_no_refresh_token_by_refusing(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    respond = forgery(timed, "without proof")
    with timed.gone(), Stranger(respond, timed.port) as other:
        with pytest.raises((AnotherServer, side.library.TransportError)):
            side.get(paired, "/sensors/a")
        told = len(other.seen)
        with pytest.raises(AnotherServer):
            side.get(paired, "/sensors/a")
        assert not any(b"plr_" in seen.body for seen in other.seen)
        assert not any(seen.authorization for seen in other.seen[told:])


def test_another_house_at_the_address_gets_no_token(
    side: Side, timed: House, paired: Any, file: CredentialFile, tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "other").mkdir()
    with timed.gone(), House(tmp_path / "other", port=timed.port, clock=clock) as other:
        for _ in range(2):
            with pytest.raises(AnotherServer, match=r"belongs to another server now.*Nothing was sent to it"):
                side.connect(timed.url, credentials=file, clock=clock)
        clock.advance(61)
        with pytest.raises(AnotherServer):
            side.get(paired, "/sensors/a")
        assert {seen.authorization for seen in other.seen} == {""}
        second = side.redeem(other.url, other.code(), credentials=file, clock=clock)  # it is another credential
        assert side.get(second, "/sensors/a").status_code == 200
        assert side.get(side.connect(other.url, credentials=file, clock=clock), "/sensors/a").status_code == 200
        with pytest.raises(NotPaired, match="more than one"):
            PairlockAuth(other.url, credentials=file)
    assert len(file.read().credentials()) == 2
    assert side.get(side.connect(timed.url, credentials=file, clock=clock), "/sensors/a").status_code == 200


def test_where_neither_of_two_servers_is_there_any_more_the_error_names_both(
    one_side: Side, timed: House, file: CredentialFile, tmp_path: Path, clock: FakeClock
) -> None:
    one_side.redeem(timed.url, timed.code(), credentials=file, clock=clock)
    for name in ("second", "third"):
        (tmp_path / name).mkdir()
    timed.stop()
    second = House(tmp_path / "second", port=timed.port, clock=clock, server_name="Annex")
    with second:
        one_side.redeem(second.url, second.code(), credentials=file, clock=clock)
    with House(tmp_path / "third", port=timed.port, clock=clock), pytest.raises(AnotherServer, match="Annex, Studio"):
        one_side.connect(timed.url, credentials=file, clock=clock)
    timed.start()


def test_an_identity_that_is_only_to_be_had_elsewhere_is_none(
    side: Side, timed: House, paired: Any, file: CredentialFile, clock: FakeClock
) -> None:
    proxied = House(timed.folder, clock=clock)

    def respond(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        return 307, {"location": f"{proxied.url}{seen.path}"}, b""

    with timed.gone(), proxied, Stranger(respond, timed.port) as other:
        clock.advance(61)
        with pytest.raises(NotPairlock, match="leads on to"):
            side.get(paired, "/sensors/a")
        with pytest.raises(NotPairlock, match="leads on to"):
            side.connect(timed.url, credentials=file, clock=clock)
        assert other.secrets_seen == []


def test_a_device_without_a_refresh_token_is_told_that_it_is_another_server(
    side: Side, tmp_path: Path, file: CredentialFile, clock: FakeClock
) -> None:
    (tmp_path / "other").mkdir()
    with House(tmp_path, clock=clock, long_lived=["one_time_code"]) as house:
        client = side.redeem(house.url, house.code(), credentials=file, clock=clock)
        clock.advance(86400)
        assert side.get(client, "/sensors/a").status_code == 200
        assert client.auth.credential.refresh_token is None
        house.do(lambda pairlock: pairlock.devices.revoke_all())
        with pytest.raises(PairAgain):
            side.get(client, "/sensors/a")
    with House(tmp_path / "other", port=house.port, clock=clock) as other:
        with pytest.raises(AnotherServer):
            side.connect(house.url, credentials=file, clock=clock)
        assert {seen.authorization for seen in other.seen} == {""}


def test_plain_http_to_another_machine_is_never_used_even_if_it_is_kept(side: Side, file: CredentialFile) -> None:
    put(file, "192.168.1.100:7330", "plk_x")
    with pytest.raises(Unencrypted):
        PairlockAuth("http://192.168.1.100:7330", credentials=file)
    with pytest.raises(Unencrypted):
        side.connect("http://192.168.1.100:7330", credentials=file)
    memory = MemoryCredentials()
    memory.put("x", replace(credential(), insecure=True))
    assert "My Phone" in repr(PairlockAuth("192.168.1.100:7330", credentials=memory))


# A server that is away


def test_while_a_refresh_cannot_be_had_a_token_that_still_counts_goes_on(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    timed.instead[TOKEN] = Response(status_code=503, headers={"retry-after": "60"})
    clock.advance(3550)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 0
    del timed.instead[TOKEN]
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 1


def test_a_server_that_is_gone_fails_a_request_like_any_other_and_is_asked_again_who_it_is(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    with timed.gone():
        for ahead in (0, 0, 3600):
            clock.advance(ahead)
            with pytest.raises(side.library.TransportError):
                side.get(paired, "/sensors/a")
    before = timed.count("GET", "/pair/identity")
    assert side.get(paired, "/sensors/a").status_code == 200
    assert timed.count("GET", "/pair/identity") > before


def test_a_refresh_whose_answer_is_lost_twice_is_asked_for_again_and_nobody_is_revoked(
    side: Side, timed: House, paired: Any, clock: FakeClock
) -> None:
    clock.advance(3600)
    timed.lose(TOKEN, times=2)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 1
    clock.advance(3600)
    assert side.get(paired, "/sensors/a").status_code == 200
    assert refreshes(timed) == 2


def test_answers_that_never_come_are_given_up_in_time_to_ask_again(house: House, file: CredentialFile) -> None:
    clock = FakeClock(time.time())
    with redeem(house.url, house.code(), credentials=file, clock=clock) as client:
        clock.advance(3590)
        with house.holding(TOKEN):
            thread = threading.Thread(target=eventually, args=(lambda: len(house.held_back) == 3,))
            thread.start()
            answer = []
            asking = threading.Thread(target=lambda: answer.append(client.get("/sensors/a").status_code))
            asking.start()
            thread.join()
        asking.join()
    assert answer == [200]
    assert refreshes(house) == 1  # three times the same


def test_what_cannot_be_written_down_is_not_asked_for(
    side: Side, timed: House, paired: Any, clock: FakeClock, file: CredentialFile
) -> None:
    text = file.path.read_bytes()
    file.path.write_bytes(text[:-20])
    clock.advance(3550)
    assert side.get(paired, "/sensors/a").status_code == 200
    clock.advance(100)
    with pytest.raises(CredentialsError, match="is damaged"):
        side.get(paired, "/sensors/a")
    assert timed.count("POST", TOKEN) == 0
    file.path.write_bytes(text)
    assert side.get(paired, "/sensors/a").status_code == 200


# Cut short


@pytest.mark.parametrize("how", ["cancel", "timeout", "scope"])
def test_a_task_that_is_cancelled_in_the_middle_of_a_refresh_loses_nothing(
    timed: House, file: CredentialFile, clock: FakeClock, how: str
) -> None:
    async def ask(client: Any) -> None:
        if how == "timeout":
            async with asyncio.timeout(0.3):
                await client.get("/sensors/a")
        elif how == "scope":
            with anyio.fail_after(0.3):
                await client.get("/sensors/a")
        else:
            await client.get("/sensors/a")

    async def scene() -> None:
        client = await aio.redeem(timed.url, timed.code(), credentials=file, clock=clock)
        (key, before), *_ = file.read().credentials().items()
        async with client:
            clock.advance(3600)
            with timed.holding(TOKEN):
                task = asyncio.create_task(ask(client))
                await asyncio.to_thread(eventually, lambda: timed.held_back)
                if how == "cancel":
                    task.cancel()
                await asyncio.sleep(0.5)
                assert not task.done()
            with pytest.raises((asyncio.CancelledError, TimeoutError)):
                await task
            assert file.load(key) != before
            clock.advance(60)
            assert (await client.get("/sensors/a")).status_code == 200

    asyncio.run(scene())
    assert refreshes(timed) == 1


def another(house: House, file: CredentialFile) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.client_side.users", str(file.path), house.url, "3590"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_ended_in_the_middle_of_a_refresh_loses_nothing(
    house: House, file: CredentialFile, how: signal.Signals
) -> None:
    with redeem(house.url, house.code(), credentials=file):
        pass
    before = file.path.read_bytes()
    with another(house, file) as process:
        with house.holding(TOKEN):
            eventually(lambda: house.held_back)
            process.send_signal(how)
            if how is signal.SIGKILL:
                process.wait(DEADLINE)
        said, _ = process.communicate(timeout=DEADLINE)
    assert said.split()[1:] == (["interrupted"] if how is signal.SIGINT else [])
    assert (file.path.read_bytes() == before) is (how is signal.SIGKILL)
    with another(house, file) as process:
        said, _ = process.communicate(timeout=DEADLINE)
    assert said.split() == ["ready", "200"]
    assert refreshes(house) == 1


# Clients of one's own


def test_a_client_of_ones_own_carries_it_too(side: Side, house: House, file: CredentialFile) -> None:
    side.redeem(house.url, house.code(), name="Phone", credentials=file)
    auth = PairlockAuth(house.url, credentials=file.path)
    assert "Phone" in repr(auth)
    assert "plk_" not in repr(auth)
    mine = side.http(auth=auth)
    assert side.get(mine, f"{house.url}/sensors/a").json()["read_by"] == "Phone"
    again = side.http(auth=PairlockAuth(house.url, credentials=file, http=side.http()))
    assert side.get(again, f"{house.url}/sensors/a").status_code == 200


def test_what_is_not_paired_says_how_to_pair(file: CredentialFile) -> None:
    with pytest.raises(NotPaired, match="pairlock pair http://127"):
        PairlockAuth("127.0.0.1:8000", credentials=file)
    with pytest.raises(NotPaired):
        connect("127.0.0.1:8000", credentials=file)


def test_an_answer_of_a_page_is_left_as_it_is(side: Side, house: House, file: CredentialFile) -> None:
    client = side.redeem(house.url, house.code(), credentials=file)
    house.instead["/sensors/a"] = JSONResponse({"error": "mine"}, 401)
    assert side.get(client, "/sensors/a").json() == {"error": "mine"}
    assert house.count("POST", TOKEN) == 0


# As a list of answers


def keeper_of(memory: MemoryCredentials, clock: FakeClock) -> Keeper:
    made = replace(credential(), expires_at=clock() + 3600, refresh_token=refresh_token("1"), device_id="0" * 26)
    memory.put("key", made)
    keeper = Keeper(memory, "key", made, clock)
    keeper.heard()
    return keeper


def test_what_was_read_before_a_refresh_is_never_put_back_after_it(clock: FakeClock) -> None:
    memory = MemoryCredentials()
    keeper = keeper_of(memory, clock)
    clock.advance(3600)
    keeper.heard()
    late = keeper.current()
    looking = next(late)
    assert isinstance(looking, Do)
    old = looking.function()  # it is read, and what was read comes late
    fresh = says({**TOKENS, "access_token": "plk_2", "refresh_token": refresh_token("2")})
    assert play(keeper.current(), [proves, fresh]).error is None
    late.send(old)
    late.close()
    assert keeper.credential.token == "plk_2"
    assert keeper.known() == memory.load("key")


def test_a_refresh_is_tried_three_times_within_the_ten_seconds_in_which_it_may_be(clock: FakeClock) -> None:
    keeper = keeper_of(MemoryCredentials(), clock)
    clock.advance(3600)
    keeper.heard()
    played = play(keeper.current(), [proves, *[Unreachable("gone")] * 3], clock)
    assert isinstance(played.error, Unreachable)
    assert played.waits == [1, 2]
    assert sum(call.timeout for call in played.calls[1:-1]) + sum(played.waits) < REPLAY_WITHIN


def test_what_was_refreshed_and_cannot_be_written_down_is_at_least_remembered(clock: FakeClock) -> None:
    class Full(MemoryCredentials):
        def put(self, key: str, credential: Any) -> None:
            if credential.token == "plk_2":
                raise CredentialsError("no room")
            super().put(key, credential)

    keeper = keeper_of(Full(), clock)
    clock.advance(3550)
    keeper.heard()
    played = play(keeper.current(), [proves, says({**TOKENS, "access_token": "plk_2"})], clock)
    assert played.error is None
    assert keeper.credential.token == "plk_2"


def test_whoever_was_refused_takes_what_another_has_refreshed_meanwhile(clock: FakeClock) -> None:
    keeper = keeper_of(MemoryCredentials(), clock)
    played = play(keeper.after_refusal("plk_old"), [], clock)
    assert played.result == keeper.credential


def test_what_paired_by_a_device_code_refreshes_and_is_given_back_as_that_client(clock: FakeClock) -> None:
    memory = MemoryCredentials()
    keeper = keeper_of(memory, clock)
    memory.put("key", replace(keeper.credential, client_id="tv"))
    clock.advance(3600)
    keeper.heard()
    tokens = {**TOKENS, "refresh_token": refresh_token("2")}
    played = play(keeper.current(), [proves, says(tokens)], clock)
    assert played.calls[1].form == {
        "grant_type": "refresh_token",
        "refresh_token": refresh_token("1"),
        "client_id": "tv",
    }
    wanted = Wanted(credentials=memory, replace=True, clock=clock)
    answer = msgspec.convert(TOKENS, TokenAnswer)
    asked, given_back = play(keep(service(), answer, wanted), [proves, says({})], clock).calls
    assert "/identity?" in asked.url
    assert (given_back.url, given_back.form) == (
        "http://192.168.1.100:7330/pair/revoke",
        {"token": refresh_token("2"), "client_id": "tv"},
    )


def test_what_was_kept_before_goes_to_nobody_who_does_not_prove_to_be_its_server(clock: FakeClock) -> None:
    memory = MemoryCredentials()
    keeper = keeper_of(memory, clock)
    memory.put("key", keeper.credential)
    wanted = Wanted(credentials=memory, replace=True, clock=clock)
    forged = says({"server": msgspec.to_builtins(keeper.credential.server), "proof": "A" * 43})
    calls = play(keep(service(), msgspec.convert(TOKENS, TokenAnswer), wanted), [forged], clock).calls
    assert [call.url.partition("?")[0] for call in calls] == ["http://192.168.1.100:7330/pair/identity"]


def test_what_is_forgotten_while_it_is_looked_up_is_not_paired() -> None:
    class Forgetful(MemoryCredentials):
        def load(self, key: str) -> Credential | None:
            return None

    memory = Forgetful()
    memory.put("key", credential("http://127.0.0.1:8000/pair"))
    assert isinstance(play(load("127.0.0.1:8000", memory), []).error, NotPaired)


def test_whoever_finds_it_refreshed_once_it_is_his_turn_takes_that(clock: FakeClock) -> None:
    class Faster(MemoryCredentials):
        def try_lock(self) -> Callable[[], None] | None:
            release = super().try_lock()
            self.put("key", replace(credential(), token="plk_of_another", expires_at=clock() + 3600))
            return release

    keeper = keeper_of(Faster(), clock)
    clock.advance(3600)
    keeper.heard()
    played = play(keeper.current(), [], clock)
    assert played.result is not None
    assert played.result.token == "plk_of_another"


def test_what_a_server_says_of_a_device_today_is_written_down(clock: FakeClock) -> None:
    memory = MemoryCredentials()
    keeper = keeper_of(memory, clock)
    memory.put(keeper.key, keeper.credential)
    told = {"read": ["/sensors/a"], "write": []}
    for _ in range(2):
        run(keeper.learn("Kitchen", told), None)
    kept = memory.load(keeper.key)
    assert kept is not None
    assert (kept.name, kept.permissions) == ("Kitchen", told)
    memory.remove(keeper.key)
    run(keeper.learn("Hall", told), None)
    assert keeper.credential.name == "Hall"
    assert memory.load(keeper.key) is None


def test_of_several_at_one_address_those_are_forgotten_whose_server_is_gone() -> None:
    memory = MemoryCredentials()
    for key, server in (("host:1", "01old"), ("host:1#01new", "01new"), ("host:1#01older", "01older")):
        memory.put(key, replace(credential(id=server), insecure=True))
    there = says({"server": {"id": "01new", "name": "Studio"}})
    played = play(forget("http://192.168.1.100:7330", memory), [there] * 3)
    assert played.error is None
    assert list(memory.read().credentials()) == ["host:1#01new"]
    assert [each.server.id for each in played.result or []] == ["01old", "01older"]
