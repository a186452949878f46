"""Two handles on the same data, as two processes are: of those who come at once one wins, and the others are told so.

A lock within one handle would hide a race, so every race is run across both.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pairlock import Limits, Pairlock
from pairlock._core.records import Device, EventType, Origin, PairingRequest
from pairlock._core.states import State
from pairlock.errors import (
    AccessDenied,
    AlreadyDecided,
    AlreadyRedeemed,
    AuthorizationPending,
    InvalidCode,
    InvalidGrant,
    InvalidPin,
    InvalidToken,
    NotFound,
    SlowDown,
    TooManyRequests,
)
from pairlock.services.device_codes import DeviceCode
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Hits, Write
from pairlock.testing import FakeClock
from tests.services.codes_parts import (
    ALICE,
    ATTEMPTS_EACH,
    BOB,
    DEFAULT,
    SECRET,
    SOMEWHERE,
    STORES,
    TV,
    approved,
    at_once,
    by_code,
    happened,
)
from tests.services.parts import UNLIMITED, FailingStore, Make, kept_devices, pair, wrong

pytestmark = pytest.mark.anyio

Handles = tuple[Pairlock, Pairlock]
MakeHandles = Callable[..., Awaitable[Handles]]

ROOT = Path(__file__).parents[2]
PROCESSES = 4
CODES = 50
ROUNDS = 20


@pytest.fixture(params=STORES)
def make_handles(request: pytest.FixtureRequest, make: Make) -> MakeHandles:
    """Makes two handles on the same data."""
    another = STORES[request.param](request.getfixturevalue)

    async def make_two(**settings: Any) -> Handles:
        handles = [make(store=another(), **{"limits": UNLIMITED, **settings}) for _ in range(2)]
        for handle in handles:
            await handle.start()
        return handles[0], handles[1]

    return make_two


@pytest.fixture
async def handles(make_handles: MakeHandles) -> Handles:
    return await make_handles()


def of_each(
    handles: Handles, call: Callable[[Pairlock], Awaitable[Redeemed]]
) -> list[Callable[[], Awaitable[Redeemed]]]:
    """The same call of both handles."""
    return [partial(call, handle) for handle in handles]


async def two_at_once(turn: int, *calls: Awaitable[Any]) -> list[Any]:
    """What two different calls return or raise at the same time; who begins takes turns."""
    order = calls if turn % 2 else calls[::-1]
    told = await asyncio.gather(*order, return_exceptions=True)
    return told if turn % 2 else told[::-1]


async def as_kept(pairlock: Pairlock, request_id: str) -> PairingRequest:
    store = await pairlock._runtime.ready()
    request = await store.find(PairingRequest, request_id)
    assert request is not None
    return request


def poll(pairlock: Pairlock, started: DeviceCode) -> Awaitable[Redeemed]:
    return pairlock.device_codes.redeem(started.device_code, TV)


# Codes


@pytest.mark.parametrize("method", ["one_time_code", "qr"])
async def test_of_50_who_redeem_one_code_at_once_one_is_let_in(handles: Handles, method: str) -> None:
    minted = await handles[0].codes.mint(DEFAULT, method=method)
    redeemed, errors = await at_once(50, *of_each(handles, lambda each: each.codes.redeem(minted.code, "Laptop")))
    assert len(redeemed) == 1
    assert [type(error) for error in errors] == [InvalidCode] * 49
    assert await handles[1].devices.list() == [redeemed[0].device]
    assert await happened(handles[0]) == [EventType.MINTED, EventType.REDEEMED]


async def test_whoever_asks_many_times_at_once_with_their_secret_has_one_device_and_one_token(handles: Handles) -> None:
    minted = await handles[0].codes.mint(DEFAULT)
    calls = of_each(handles, lambda each: each.codes.redeem(minted.code, "Laptop", secret=SECRET))
    redeemed, errors = await at_once(16, *calls)
    assert errors == []
    assert len({each.device.id for each in redeemed}) == 1
    assert len({each.refresh_token for each in redeemed}) == 1
    (device,) = await handles[0].devices.list()
    (last,) = [each for each in redeemed if each.device == device]
    assert (await handles[0].tokens.refresh(last.refresh_token or "")).device.id == device.id


async def test_a_token_that_is_used_while_its_answer_is_asked_for_again_is_used(handles: Handles) -> None:
    for turn in range(ROUNDS):
        minted = await handles[0].codes.mint(DEFAULT)
        first = await handles[0].codes.redeem(minted.code, "Laptop", secret=SECRET)
        again = handles[0].codes.redeem(minted.code, "Laptop", secret=SECRET)
        verified = handles[1].verify(handles[1].tokens.access(first.device)[0])
        grant, answer = await two_at_once(turn, verified, again)
        assert grant.device_id == first.device.id
        assert isinstance(answer, Redeemed | InvalidCode)
        store = await handles[0]._runtime.ready()
        device = await store.find(Device, first.device.id)
        assert device is not None
        assert device.used_at is not None
        for handle in handles:
            with pytest.raises(InvalidCode):
                await handle.codes.redeem(minted.code, "Laptop", secret=SECRET)
        held = answer if isinstance(answer, Redeemed) else first
        assert (await handles[1].tokens.refresh(held.refresh_token or "")).device.id == device.id


async def test_a_code_is_redeemed_or_withdrawn_and_each_is_told_which(handles: Handles) -> None:
    for turn in range(ROUNDS):
        minted = await handles[0].codes.mint(DEFAULT)
        redeem = handles[0].codes.redeem(minted.code, "Laptop")
        withdraw = handles[1].codes.withdraw(minted.request.id)
        redeemed, withdrawn = await two_at_once(turn, redeem, withdraw)
        request = await as_kept(handles[1], minted.request.id)
        if isinstance(redeemed, Redeemed):
            assert isinstance(withdrawn, AlreadyRedeemed)
            assert (request.state, request.device_id) == (State.REDEEMED, redeemed.device.id)
            assert await handles[1].devices.find(redeemed.device.id) == redeemed.device
        else:
            assert isinstance(redeemed, InvalidCode)
            assert withdrawn is None
            assert (request.state, request.device_id) == (State.CANCELLED, None)
    assert len(await handles[0].devices.list()) == (await happened(handles[0])).count(EventType.REDEEMED)


async def test_those_who_mint_at_once_get_no_more_codes_than_may_wait(make_handles: MakeHandles) -> None:
    handles = await make_handles(limits=Limits(codes=3))
    calls = [partial(handle.codes.mint, DEFAULT, by=ALICE) for handle in handles]
    for waiting in (3, 1):
        minted, errors = await at_once(12, *calls)
        assert len(minted) == waiting
        assert {type(error) for error in errors} == {TooManyRequests}
        await handles[0].codes.withdraw(minted[0].request.id, by=ALICE)
    assert (await handles[1].codes.mint(DEFAULT, by=BOB)).code


async def test_of_wrong_codes_at_once_only_so_many_are_looked_at(make_handles: MakeHandles) -> None:
    handles = await make_handles(limits=Limits())
    calls = of_each(handles, lambda each: each.codes.redeem("ZZZZ-ZZZZ", "Laptop", origin=SOMEWHERE))
    _, errors = await at_once(30, *calls)
    assert sorted(type(error).__name__ for error in errors) == ["InvalidCode"] * 10 + ["TooManyRequests"] * 20


async def test_of_wrong_user_codes_at_once_only_so_many_are_looked_at(make_handles: MakeHandles) -> None:
    handles = await make_handles(limits=Limits())
    calls = [partial(handle.deciding.look_up, "BBBB-BBBB", by=ALICE, origin=Origin("192.0.2.7")) for handle in handles]
    _, errors = await at_once(20, *calls)
    assert sorted(type(error).__name__ for error in errors) == ["InvalidCode"] * 5 + ["TooManyRequests"] * 15


# Device codes


async def test_of_50_polls_at_once_after_the_approval_one_gets_the_token(handles: Handles) -> None:
    started = await approved(handles[0])
    redeemed, errors = await at_once(50, *of_each(handles, lambda each: poll(each, started)))
    assert len(redeemed) == 1
    assert [type(error) for error in errors] == [InvalidGrant] * 49
    assert await handles[1].devices.list() == [redeemed[0].device]


async def test_of_50_polls_at_once_before_the_approval_none_is_too_soon(handles: Handles) -> None:
    started = await handles[0].device_codes.start(TV)
    _, errors = await at_once(50, *of_each(handles, lambda each: poll(each, started)))
    assert [type(error) for error in errors] == [AuthorizationPending] * 50
    assert (await as_kept(handles[1], started.request.id)).version == 2


async def test_of_approve_and_deny_one_wins_and_the_other_is_told(handles: Handles) -> None:
    for turn in range(ROUNDS):
        started = await handles[0].device_codes.start(TV)
        approve = handles[0].deciding.approve(started.request.id, by=ALICE)
        deny = handles[1].deciding.deny(started.request.id, by=BOB)
        told = await two_at_once(turn, approve, deny)
        (winner,) = [each for each in told if isinstance(each, PairingRequest)]
        (loser,) = [each for each in told if isinstance(each, AlreadyDecided)]
        assert loser.state == winner.state.value
        assert await as_kept(handles[1], started.request.id) == winner
        if winner.state is State.APPROVED:
            assert (await poll(handles[1], started)).device.approved_by == "operator:alice"
        else:
            with pytest.raises(AccessDenied):
                await poll(handles[1], started)


async def test_no_approval_is_lost_to_a_poll_and_no_code_comes_back(handles: Handles, clock: FakeClock) -> None:
    for turn in range(200):
        started = await handles[0].device_codes.start(TV)
        if turn % 4 > 1:  # then the poll is too soon, which is written down too
            with pytest.raises(AuthorizationPending):
                await poll(handles[0], started)
            clock.advance(2)
        approve = handles[1].deciding.approve(started.request.id)
        polled, decided = await two_at_once(turn, poll(handles[0], started), approve)
        assert isinstance(decided, PairingRequest)
        assert isinstance(polled, AuthorizationPending | SlowDown | Redeemed)
        told = [polled, *await two_at_once(turn, poll(handles[0], started), poll(handles[1], started))]
        (redeemed,) = [each for each in told if isinstance(each, Redeemed)]
        assert {type(each) for each in told[1:]} <= {Redeemed, InvalidGrant}
        request = await as_kept(handles[1], started.request.id)
        assert (request.state, request.device_id) == (State.REDEEMED, redeemed.device.id)
    assert len(await handles[0].devices.list(limit=1000)) == 200


async def test_a_second_approval_after_the_device_is_in_changes_nothing(handles: Handles) -> None:
    for turn in range(ROUNDS):
        started = await approved(handles[0])
        again = handles[1].deciding.approve(started.request.id, by=BOB)
        redeemed, late = await two_at_once(turn, poll(handles[0], started), again)
        assert isinstance(redeemed, Redeemed)
        assert isinstance(late, AlreadyDecided)
        assert late.state in ("approved", "redeemed")
        with pytest.raises(AlreadyDecided) as refused:
            await handles[1].deciding.approve(started.request.id, by=BOB)
        assert refused.value.state == "redeemed"
        assert redeemed.device.approved_by == "app"
        with pytest.raises(InvalidGrant):
            await poll(handles[1], started)


async def test_of_wrong_confirmation_pins_at_once_five_are_looked_at(make_handles: MakeHandles) -> None:
    handles = await make_handles(confirmation_pin=True)
    started = await approved(handles[0])
    right = handles[0].deciding.confirmation_pin(await handles[0].deciding.show(started.request.id))
    calls = of_each(
        handles,
        lambda each: each.device_codes.redeem(started.device_code, TV, confirmation_pin=wrong(right)),
    )
    _, errors = await at_once(20, *calls)
    assert sorted(error.attempts_left for error in errors if isinstance(error, InvalidPin)) == [0, 1, 2, 3, 4]
    assert sum(isinstance(error, InvalidGrant) for error in errors) == 15
    assert (await as_kept(handles[1], started.request.id)).state is State.LOCKED


async def test_the_right_confirmation_pin_sent_twice_lets_the_device_in_once(make_handles: MakeHandles) -> None:
    handles = await make_handles(confirmation_pin=True)
    for turn in range(ROUNDS):
        started = await approved(handles[0])
        right = handles[0].deciding.confirmation_pin(await handles[0].deciding.show(started.request.id))
        calls = [each.device_codes.redeem(started.device_code, TV, confirmation_pin=right) for each in handles]
        told = await two_at_once(turn, *calls)
        assert sorted(type(each).__name__ for each in told) == ["InvalidGrant", "Redeemed"]


# Tokens


async def test_one_token_refreshed_many_times_at_once_has_one_successor_and_revokes_nobody(handles: Handles) -> None:
    first = await pair(handles[0])
    calls = of_each(handles, lambda each: each.tokens.refresh(first.refresh_token or ""))
    for _ in range(5):
        redeemed, errors = await at_once(20, *calls)
        assert errors == []
        (following,) = {each.refresh_token for each in redeemed}
        assert following not in (None, first.refresh_token)
        calls = of_each(handles, partial(refresh, following or ""))
    assert (await happened(handles[0])).count(EventType.REFRESHED) == 5
    assert EventType.REVOKED not in await happened(handles[0])
    assert len(await handles[1].devices.list()) == 1


async def refresh(token: str, pairlock: Pairlock) -> Redeemed:
    return await pairlock.tokens.refresh(token)


async def test_a_device_that_refreshes_while_it_is_revoked_is_revoked(handles: Handles) -> None:
    for turn in range(ROUNDS):
        first = await by_code(handles[0])
        revoke = handles[1].devices.revoke(first.device.id)
        refreshed, gone = await two_at_once(turn, refresh(first.refresh_token or "", handles[0]), revoke)
        assert isinstance(gone, Device)
        assert isinstance(refreshed, Redeemed | InvalidGrant)
        held = [first, refreshed] if isinstance(refreshed, Redeemed) else [first]
        for each in held:
            with pytest.raises(InvalidToken):
                await handles[1].verify(handles[1].tokens.access(each.device)[0])
            for handle in handles:
                with pytest.raises(InvalidGrant):
                    await handle.tokens.refresh(each.refresh_token or "")
        with pytest.raises(NotFound):
            await handles[0].devices.find(first.device.id)
    assert (await happened(handles[0])).count(EventType.REVOKED) == ROUNDS


async def test_a_device_that_gives_its_token_back_while_it_refreshes_is_gone(handles: Handles) -> None:
    for turn in range(ROUNDS):
        first = await pair(handles[0])
        token = first.refresh_token or ""
        refreshed, given_back = await two_at_once(turn, refresh(token, handles[0]), handles[1].tokens.revoke(token))
        assert given_back is None
        assert isinstance(refreshed, Redeemed | InvalidGrant)
        with pytest.raises(NotFound):
            await handles[0].devices.find(first.device.id)
    assert await handles[0].devices.list() == []


async def test_a_token_that_is_given_back_twice_at_once_is_revoked_once(handles: Handles) -> None:
    for _ in range(ROUNDS):
        token = (await pair(handles[0])).refresh_token or ""
        assert await at_once(4, *(partial(each.tokens.revoke, token) for each in handles)) == ([None] * 4, [])
    assert (await happened(handles[0])).count(EventType.REVOKED) == ROUNDS
    assert await handles[0].devices.list() == []


async def test_a_token_that_is_first_used_everywhere_at_once_is_noted_once(handles: Handles) -> None:
    for _ in range(ROUNDS):
        device = (await by_code(handles[0])).device
        token, _ = handles[0].tokens.access(device)
        grants, errors = await at_once(8, *(partial(each.verify, token) for each in handles))
        assert (len(grants), errors) == (8, [])
        used = await handles[1].devices.find(device.id)
        assert (used.used_at, used.version) == (device.created_at, 2)


# Processes


def spawn(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.services.codes_parts", str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_together(path: Path, codes: list[str]) -> list[dict[str, list[str]]]:
    """What so many processes say that redeemed these codes at the same time."""
    processes = [spawn(path) for _ in range(PROCESSES)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(codes) + "\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


async def test_of_2000_attempts_by_four_processes_each_code_is_redeemed_once(make: Make, path: Path) -> None:
    assert PROCESSES * CODES * ATTEMPTS_EACH == 2000
    pairlock = make(limits=UNLIMITED, clock=time.time)
    minted = [await pairlock.codes.mint(DEFAULT) for _ in range(CODES)]
    said = await asyncio.to_thread(run_together, path, [each.code for each in minted])
    made = {code: devices for each in said for code, devices in each.items()}
    assert sum(len(each) for each in said) == len(made) == CODES
    assert all(len(devices) == 1 for devices in made.values())
    requests = [await as_kept(pairlock, each.request.id) for each in minted]
    assert {request.state for request in requests} == {State.REDEEMED}
    assert {each.code: [request.device_id] for each, request in zip(minted, requests, strict=True)} == made
    paired = {device.id: device.request_id for device in await kept_devices(path)}
    assert paired == {request.device_id: request.id for request in requests}


class Approving(FailingStore):
    """A store through which an operator approves a request just when this call is made."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.when = call
        self.operator: Pairlock | None = None
        self.request_id = ""

    async def approve(self, call: str) -> None:
        operator, self.operator = self.operator, None if call == self.when else self.operator
        if operator is not None and call == self.when:
            await operator.deciding.approve(self.request_id)

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Hits:
        await self.approve("hit")
        return await super().hit(key, window, now, amount)

    async def commit(self, *writes: Write) -> None:
        await super().commit(*writes)
        await self.approve("commit")


@pytest.mark.parametrize("when", ["hit", "commit"])
async def test_a_pin_that_is_typed_while_an_operator_approves_lets_in_once(make: Make, when: str) -> None:
    store = Approving(when)
    device, operator = make(store=store), make(store=store.store)
    await operator.start()
    started = await device.pairing.start("Phone")
    pin = operator.deciding.pin(started.request)
    store.operator, store.request_id = operator, started.request.id
    redeemed = await device.pairing.submit_pin(
        started.request.id, started.secret, pin or "", origin=Origin("192.0.2.1")
    )
    assert redeemed.device.approved_by == "app"
    assert await operator.devices.list() == [redeemed.device]
