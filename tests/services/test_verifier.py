"""From a token to a grant."""

import asyncio

import pytest

from pairlock import Pairlock
from pairlock._core.records import Device
from pairlock.errors import InvalidRequest, InvalidToken, MissingToken
from pairlock.services.verifier import MAX_GRANTS
from pairlock.stores.contract import R
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.testing import FakeClock
from tests.services.parts import OTHER_KEY, FailingStore, Make, pair, paired_token, until

pytestmark = pytest.mark.anyio

LIFE = 3600


async def test_a_token_counts_to_the_second_of_its_end(pairlock: Pairlock, clock: FakeClock) -> None:
    token = await paired_token(pairlock)
    clock.advance(LIFE - 0.1)
    assert (await pairlock.verify(token)).device_name == "Phone"
    clock.advance(0.1)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


async def test_a_token_that_was_remembered_expires_too(pairlock: Pairlock, clock: FakeClock) -> None:
    token = await paired_token(pairlock)
    grant = await pairlock.verify(token)
    assert await pairlock.verify(token) is grant  # read and checked once
    clock.advance(LIFE)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


@pytest.mark.parametrize(("seconds", "counts"), [(-60, True), (-61, False)])
async def test_a_token_from_the_future_counts_only_as_far_as_clocks_may_differ(
    pairlock: Pairlock, clock: FakeClock, seconds: float, counts: bool
) -> None:
    token = await paired_token(pairlock)
    clock.advance(seconds)
    if counts:
        assert (await pairlock.verify(token)).device_name == "Phone"
    else:
        with pytest.raises(InvalidToken):
            await pairlock.verify(token)


async def test_a_token_of_another_service_is_refused(pairlock: Pairlock, make: Make) -> None:
    stranger = make(store="memory://", secret_keys=[OTHER_KEY])
    with pytest.raises(InvalidToken):
        await pairlock.verify(await paired_token(stranger))


@pytest.mark.parametrize("token", ["", " ", "a b", "a,b", "\ud800", "plk_", "plk_x.y", "x" * 10_000, "\x00", "é"])
async def test_what_is_no_token_is_refused_as_one(pairlock: Pairlock, token: str) -> None:
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


async def test_a_token_may_be_given_as_bytes(pairlock: Pairlock) -> None:
    token = await paired_token(pairlock)
    assert (await pairlock._verifier.verify(token.encode())).device_name == "Phone"


@pytest.mark.parametrize("position", [0, 4, 10, -50, -1])
async def test_a_token_with_one_symbol_changed_is_refused(pairlock: Pairlock, position: int) -> None:
    token = list(await paired_token(pairlock))
    token[position] = "A" if token[position] != "A" else "E"
    with pytest.raises(InvalidToken):
        await pairlock.verify("".join(token))


async def test_a_header_without_a_token_is_told_so(pairlock: Pairlock) -> None:
    verifier = pairlock._verifier
    for header in (b"", b"Basic x"):
        with pytest.raises(MissingToken):
            await verifier.admit(header)
    with pytest.raises(InvalidRequest):
        await verifier.admit(b"Bearer a b")


async def test_the_scheme_is_read_in_any_case(pairlock: Pairlock) -> None:
    token = await paired_token(pairlock)
    assert (await pairlock._verifier.admit(b"bEARER " + token.encode())).device_name == "Phone"


async def test_no_more_than_so_many_grants_are_remembered(make: Make, clock: FakeClock) -> None:
    pairlock = make(token_life=2 * MAX_GRANTS)
    device = (await pair(pairlock)).device
    grants = pairlock._verifier.grants
    tokens = []
    for _ in range(MAX_GRANTS + 10):
        clock.advance(1)
        tokens.append(pairlock.tokens.access(device)[0])
        await pairlock.verify(tokens[-1])
    assert len(grants) == MAX_GRANTS
    first, last = (tokens[at].encode() for at in (0, -1))
    assert first not in grants
    assert last in grants
    assert (await pairlock.verify(tokens[0])).device_id == device.id  # forgotten, not refused


async def test_what_is_refused_is_not_remembered(pairlock: Pairlock) -> None:
    for number in range(10):
        with pytest.raises(InvalidToken):
            await pairlock.verify(f"plk_{number}")
    assert not pairlock._verifier.grants


async def test_devices_that_were_revoked_stay_so_after_a_restart(make: Make) -> None:
    pairlock = make()
    revoked, narrowed = (await pair(pairlock)).device, (await pair(pairlock)).device
    tokens = [pairlock.tokens.access(device)[0] for device in (revoked, narrowed)]
    await pairlock.devices.revoke(revoked.id)
    await pairlock.devices.narrow(narrowed.id, narrowed.permissions.parse({"read": ["/sensors/a"]}))
    after = make()
    with pytest.raises(InvalidToken):
        await after.verify(tokens[0])
    grant = await after.verify(tokens[1])
    assert grant.allows("read", "/sensors/a")
    assert not grant.allows("read", "/sensors/b")
    assert not grant.allows("write", "/control/lamp")


async def test_a_revocation_that_comes_while_a_token_is_looked_up_is_not_missed(make: Make) -> None:
    class StillReading(FailingStore):
        reading = asyncio.Event()
        read_on = asyncio.Event()

        async def find(self, kind: type[R], id: str) -> R | None:
            found = await super().find(kind, id)
            if kind is Device and id == watched:
                self.reading.set()
                await self.read_on.wait()
            return found

    watched = ""
    data = MemoryData()
    store = StillReading(MemoryStore(data))
    pairlock, other = make(store=store), make(store=MemoryStore(data))
    device = (await pair(other)).device
    await pairlock.start()
    watched = device.id
    verifying = asyncio.create_task(pairlock.verify(other.tokens.access(device)[0]))
    await store.reading.wait()
    await other.devices.revoke(device.id)
    await until(lambda: pairlock._runtime.standings.of(device.id).revoked)
    store.read_on.set()
    with pytest.raises(InvalidToken):
        await verifying
    assert not pairlock._verifier.grants
