"""What a device holds: its access token, and the refresh token that is rotated at each use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pairlock import Approve, Limits, Pairlock, Permissions
from pairlock._core import refresh
from pairlock._core.keys import Keys
from pairlock._core.records import EventType
from pairlock.errors import InvalidGrant, InvalidPermissions, InvalidToken, NotFound, TooManyRequests
from pairlock.services.tokens import Redeemed
from pairlock.stores.contract import Log, Swap
from pairlock.testing import FakeClock
from tests.services.codes_parts import (
    DEFAULT,
    NARROW,
    SOMEWHERE,
    TV,
    WIDER,
    RecordingStore,
    audited,
    by_code,
    by_device_code,
    happened,
    purge,
)
from tests.services.parts import KEY, OTHER_KEY, Make, kept_devices, pair, paired_token, until

pytestmark = pytest.mark.anyio

DAY = 86400


@pytest.fixture
async def paired(pairlock: Pairlock) -> Redeemed:
    return await pair(pairlock)


def token_of(redeemed: Redeemed) -> str:
    assert redeemed.refresh_token is not None
    return redeemed.refresh_token


async def refreshed(pairlock: Pairlock, redeemed: Redeemed) -> Redeemed:
    return await pairlock.tokens.refresh(token_of(redeemed))


async def assert_refused(pairlock: Pairlock, token: str, client_id: str = "") -> None:
    with pytest.raises(InvalidGrant):
        await pairlock.tokens.refresh(token, client_id=client_id)


async def assert_paired(pairlock: Pairlock, redeemed: Redeemed) -> None:
    assert (await pairlock.devices.find(redeemed.device.id)).revoked_at is None


# Refreshing


async def test_a_refresh_token_is_rotated_at_each_use(
    pairlock: Pairlock, paired: Redeemed, path: Path, clock: FakeClock
) -> None:
    clock.advance(3600)
    second = await pairlock.tokens.refresh(token_of(paired), origin=SOMEWHERE)
    assert second.device.id == paired.device.id
    assert second.permissions == DEFAULT
    assert second.refresh_token != paired.refresh_token
    assert await kept_devices(path) == [second.device]
    token, life = pairlock.tokens.access(second.device, second.permissions)
    assert life == 3600
    assert (await pairlock.verify(token)).permissions == DEFAULT
    event = (await audited(pairlock))[-1]
    assert (event.type, event.by, event.origin) == (EventType.REFRESHED, f"device:{second.device.id}", SOMEWHERE)


async def test_a_device_refreshes_fifty_times_and_its_first_token_then_ends_it(
    pairlock: Pairlock, other: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    chain = [paired]
    for turn in range(50):
        clock.advance(3600)
        chain.append(await refreshed((pairlock, other)[turn % 2], chain[-1]))
    assert len({each.refresh_token for each in chain}) == 51
    assert (await pairlock.verify(pairlock.tokens.access(chain[-1].device)[0])).device_id == paired.device.id
    await assert_refused(pairlock, token_of(paired))
    await assert_refused(pairlock, token_of(chain[-1]))
    with pytest.raises(NotFound):
        await other.devices.find(paired.device.id)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_any_refresh_token_that_was_used_before_revokes_the_device(
    pairlock: Pairlock, paired: Redeemed, clock: FakeClock, at: int
) -> None:
    chain = [paired]
    for _ in range(3):
        chain.append(await refreshed(pairlock, chain[-1]))
    clock.advance(10)
    await assert_refused(pairlock, token_of(chain[at]))
    assert (await happened(pairlock))[-2:] == [EventType.REUSE_DETECTED, EventType.REVOKED]
    for each in chain:
        await assert_refused(pairlock, token_of(each))
    assert (await happened(pairlock)).count(EventType.REVOKED) == 1


async def test_a_reuse_is_written_down_in_the_write_that_revokes(make: Make, path: Path, clock: FakeClock) -> None:
    store = RecordingStore(path)
    pairlock = make(store=store)
    first = await pair(pairlock)
    await refreshed(pairlock, first)
    clock.advance(10)
    with pytest.raises(InvalidGrant):
        await pairlock.tokens.refresh(token_of(first), origin=SOMEWHERE)
    writes = store.commits[-1]
    (gone,) = [write.record for write in writes if isinstance(write, Swap)]
    assert gone.id == first.device.id
    events = [write.event for write in writes if isinstance(write, Log)]
    assert [event.type for event in events] == [EventType.REUSE_DETECTED, EventType.REVOKED]
    assert {(event.by, event.origin) for event in events} == {(f"device:{first.device.id}", SOMEWHERE)}


async def test_a_reuse_ends_access_here_at_once_and_elsewhere_within_a_second(
    pairlock: Pairlock, other: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    token, _ = pairlock.tokens.access(paired.device)
    await pairlock.verify(token)
    grant = await other.verify(token)
    await refreshed(pairlock, paired)
    clock.advance(10)
    await assert_refused(pairlock, token_of(paired))
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)
    await until(lambda: grant.revoked, seconds=1)
    with pytest.raises(InvalidToken):
        await other.verify(token)


async def test_a_token_that_was_just_rotated_gets_the_same_successor_again(
    pairlock: Pairlock, other: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    second = await refreshed(pairlock, paired)
    for handle, seconds in ((pairlock, 0.0), (other, 5.0), (pairlock, 4.9)):
        clock.advance(seconds)
        assert await refreshed(handle, paired) == second
    assert (await happened(pairlock)).count(EventType.REFRESHED) == 1
    clock.advance(0.1)
    await assert_refused(pairlock, token_of(paired))
    assert (await happened(pairlock))[-1] is EventType.REVOKED


@pytest.mark.parametrize("seconds", [-0.3, -5])
async def test_a_clock_that_is_behind_makes_no_reuse_of_what_was_sent_twice(
    pairlock: Pairlock, other: Pairlock, paired: Redeemed, clock: FakeClock, seconds: float
) -> None:
    second = await refreshed(pairlock, paired)
    clock.advance(seconds)  # as that of another process, or one that was put right
    assert (await refreshed(other, paired)).refresh_token == second.refresh_token
    await assert_paired(pairlock, paired)


async def test_who_lost_an_answer_twice_over_is_no_thief_until_the_next_was_used(
    pairlock: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    second = await refreshed(pairlock, paired)
    clock.advance(3)
    third = await refreshed(pairlock, second)
    clock.advance(3)
    assert await refreshed(pairlock, second) == third
    await assert_refused(pairlock, token_of(paired))  # both it and its successor were used
    assert (await happened(pairlock))[-1] is EventType.REVOKED


async def test_what_was_never_given_out_is_refused_and_revokes_nobody(
    pairlock: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    token = refresh.parse(token_of(paired))
    assert token is not None
    stranger = await pair(pairlock, "Tablet")
    others = refresh.parse(token_of(stranger))
    assert others is not None
    guesses = [
        replace(token, family="t" * 43, secret="s" * 43),
        replace(token, family=others.family),
        replace(token, device_id=stranger.device.id),
        replace(token, device_id="0" * 26),
        refresh.first(Keys([OTHER_KEY]), token.device_id, "told"),
    ]
    whole = str(token)
    texts = ["", "plr_", "plr_x.y.z", whole[:-1], whole + "A", whole + "\n", f" {whole}", whole.upper(), "\ud800", "é"]
    await refreshed(pairlock, paired)
    clock.advance(60)  # a reuse would revoke now
    for text in [*map(str, guesses), *texts, "plk_x.y", pairlock.tokens.access(paired.device)[0]]:
        await assert_refused(pairlock, text)
    await assert_paired(pairlock, paired)
    await assert_paired(pairlock, stranger)
    assert EventType.REVOKED not in await happened(pairlock)


async def test_a_refresh_token_is_good_for_nothing_but_refreshing(pairlock: Pairlock, paired: Redeemed) -> None:
    with pytest.raises(InvalidToken):
        await pairlock.verify(token_of(paired))


async def test_a_refresh_token_counts_for_its_client_alone(pairlock: Pairlock, clock: FakeClock) -> None:
    first = await by_device_code(pairlock, TV)
    for client_id in ("", "radio", "TV"):
        await assert_refused(pairlock, token_of(first), client_id)
    second = await pairlock.tokens.refresh(token_of(first), client_id=TV.id)
    clock.advance(60)
    for client_id in ("", "radio"):
        await assert_refused(pairlock, token_of(first), client_id)  # a reuse, but not by who was given it
    third = await pairlock.tokens.refresh(token_of(second), client_id=TV.id)
    assert third.device.id == first.device.id


async def test_a_device_that_paired_without_a_client_may_say_any(pairlock: Pairlock, paired: Redeemed) -> None:
    second = await pairlock.tokens.refresh(token_of(paired), client_id="curl")
    assert (await refreshed(pairlock, second)).device.client_id == ""


# How long things last


async def test_a_device_that_is_idle_for_90_days_is_paired_no_more(
    pairlock: Pairlock, paired: Redeemed, path: Path, clock: FakeClock
) -> None:
    clock.advance(90 * DAY - 1)
    second = await refreshed(pairlock, paired)
    clock.advance(90 * DAY - 1)
    third = await refreshed(pairlock, second)
    clock.advance(90 * DAY)
    await assert_refused(pairlock, token_of(third))
    with pytest.raises(NotFound):
        await pairlock.devices.find(paired.device.id)
    for gone in (pairlock.devices.revoke, pairlock.devices.find):
        with pytest.raises(NotFound):
            await gone(paired.device.id)
    await purge(pairlock, clock.now)
    assert await kept_devices(path) == []
    await assert_refused(pairlock, token_of(third))


async def test_a_device_is_not_purged_before_its_time(
    pairlock: Pairlock, paired: Redeemed, path: Path, clock: FakeClock
) -> None:
    clock.advance(90 * DAY - 1)
    await purge(pairlock, clock.now)
    assert await kept_devices(path) == [paired.device]


async def test_how_long_a_device_may_be_idle_is_a_setting(make: Make, clock: FakeClock) -> None:
    pairlock = make(refresh_idle=7 * DAY)
    first = await pair(pairlock)
    clock.advance(7 * DAY - 1)
    second = await refreshed(pairlock, first)
    clock.advance(7 * DAY)
    await assert_refused(pairlock, token_of(second))


async def test_a_device_lasts_as_long_as_its_access_token_though_it_may_be_idle_for_less(
    make: Make, clock: FakeClock
) -> None:
    pairlock = make(refresh_idle=60, token_life=3600)
    paired = await pair(pairlock)
    token, _ = pairlock.tokens.access(paired.device)
    clock.advance(3599)
    assert (await pairlock.verify(token)).device_name == "Phone"
    await assert_paired(pairlock, paired)


async def test_a_method_whose_devices_cannot_refresh_gives_one_long_lived_token(make: Make, clock: FakeClock) -> None:
    pairlock = make(long_lived=["one_time_code"])
    long_lived, by_pin = await by_code(pairlock), await pair(pairlock)
    assert long_lived.refresh_token is None
    assert by_pin.refresh_token is not None
    token, life = pairlock.tokens.access(long_lived.device)
    assert life == 90 * DAY
    assert pairlock.tokens.access(by_pin.device)[1] == 3600
    await assert_refused(pairlock, str(refresh.first(pairlock._runtime.keys, long_lived.device.id, "told")))
    clock.advance(90 * DAY - 1)
    assert (await pairlock.verify(token)).device_name == "Laptop"
    clock.advance(1)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)
    with pytest.raises(NotFound):
        await pairlock.devices.find(long_lived.device.id)


async def test_how_long_a_token_counts_is_a_setting_of_each_method(make: Make) -> None:
    pairlock = make(token_life={"pin": 60, "one_time_code": 2 * DAY}, long_lived=["one_time_code"])
    devices = [(await paired).device for paired in (pair(pairlock), by_code(pairlock), by_device_code(pairlock))]
    assert [pairlock.tokens.access(device)[1] for device in devices] == [60, 2 * DAY, 3600]


async def test_a_handler_decides_how_long_the_tokens_of_one_device_count(make: Make, clock: FakeClock) -> None:
    async def decide(asked: object) -> Approve:
        return Approve(token_life=120.5, message="Hello")

    pairlock = make(decide=decide)
    started = await pairlock.pairing.start("Phone")
    first = await pairlock.pairing.redeem(started.request.id, started.secret)
    second = await refreshed(pairlock, first)
    assert (first.message, second.message) == ("Hello", None)
    for redeemed in (first, second):
        assert pairlock.tokens.access(redeemed.device)[1] == 120
    token, _ = pairlock.tokens.access(second.device)
    clock.advance(120)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


# What a refreshed token may do


async def test_a_device_that_was_narrowed_refreshes_into_less(
    pairlock: Pairlock, other: Pairlock, paired: Redeemed
) -> None:
    await other.devices.narrow(paired.device.id, NARROW)
    second = await refreshed(pairlock, paired)
    assert second.permissions == second.device.permissions == NARROW
    grant = await pairlock.verify(pairlock.tokens.access(second.device, second.permissions)[0])
    assert (grant.epoch, grant.permissions) == (1, NARROW)
    assert (await pairlock.tokens.refresh(token_of(second), wanted=DEFAULT)).permissions == NARROW


@pytest.mark.parametrize("wanted", [NARROW, Permissions(), Permissions(write=("/control/lamp",)), DEFAULT])
async def test_who_wants_less_gets_less_and_the_next_may_want_all_again(
    pairlock: Pairlock, paired: Redeemed, wanted: Permissions
) -> None:
    second = await pairlock.tokens.refresh(token_of(paired), wanted=wanted)
    assert (second.permissions, second.device.permissions) == (wanted, DEFAULT)
    token, _ = pairlock.tokens.access(second.device, second.permissions)
    assert (await pairlock.verify(token)).permissions == wanted
    assert (await pairlock.tokens.refresh(token_of(paired), wanted=wanted)) == second  # sent twice
    assert (await refreshed(pairlock, second)).permissions == DEFAULT


@pytest.mark.parametrize("wanted", [WIDER, Permissions(read=("/sensors/**",), write=("/**",))])
async def test_who_wants_more_gets_what_of_it_the_device_has(
    pairlock: Pairlock, paired: Redeemed, wanted: Permissions
) -> None:
    narrower = await pairlock.tokens.refresh(token_of(paired), wanted=wanted)
    assert narrower.permissions == DEFAULT.common(wanted)
    assert wanted.include(narrower.permissions)
    assert DEFAULT.include(narrower.permissions)
    assert narrower.permissions.read


async def test_who_wants_only_what_the_device_has_not_is_refused_and_loses_nothing(
    pairlock: Pairlock, paired: Redeemed
) -> None:
    with pytest.raises(InvalidPermissions):
        await pairlock.tokens.refresh(token_of(paired), wanted=Permissions(read=("/admin",)))
    assert (await refreshed(pairlock, paired)).permissions == DEFAULT


async def test_a_token_that_was_used_up_revokes_whatever_became_of_the_keys(make: Make, clock: FakeClock) -> None:
    old, new = make(), make(secret_keys=[OTHER_KEY])
    paired = await pair(old)
    await refreshed(new, await refreshed(new, paired))
    clock.advance(60)
    await assert_refused(new, token_of(paired))
    assert (await happened(new))[-2:] == [EventType.REUSE_DETECTED, EventType.REVOKED]


async def test_a_device_may_refresh_only_so_often_and_loses_nothing(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=Limits(refreshes="3/minute"))
    paired = await pair(pairlock)
    for _ in range(3):
        paired = await refreshed(pairlock, paired)
    with pytest.raises(TooManyRequests):
        await refreshed(pairlock, paired)
    clock.advance(60)
    await refreshed(pairlock, paired)


# Key rotation


async def test_key_rotation_logs_nobody_out(make: Make, clock: FakeClock) -> None:
    old, both, new = make(), make(secret_keys=[KEY, OTHER_KEY]), make(secret_keys=[OTHER_KEY])
    early, late = await pair(old), await pair(old)
    token, _ = old.tokens.access(early.device)
    assert (await both.verify(token)).device_id == early.device.id
    with pytest.raises(InvalidToken):
        await new.verify(token)
    second = await refreshed(both, early)
    assert (await new.verify(both.tokens.access(second.device)[0])).device_id == early.device.id
    clock.advance(60)
    third = await refreshed(new, second)
    assert (await new.verify(new.tokens.access(third.device)[0])).device_id == early.device.id
    clock.advance(60)
    overslept = await refreshed(new, late)  # the key it was made with is gone
    assert (await new.verify(new.tokens.access(overslept.device)[0])).device_id == late.device.id


async def test_what_was_just_rotated_with_a_key_that_is_gone_is_refused_but_revokes_nobody(make: Make) -> None:
    old, new = make(), make(secret_keys=[OTHER_KEY])
    first = await pair(old)
    second = await refreshed(old, first)
    await assert_refused(new, token_of(first))
    await assert_paired(new, first)
    assert (await refreshed(new, second)).device.id == first.device.id


async def test_a_refresh_token_of_a_key_that_is_gone_can_be_given_back_as_long_as_it_counts(make: Make) -> None:
    old, new = make(), make(secret_keys=[OTHER_KEY])
    first = await pair(old)
    await new.start()
    await new.tokens.revoke(token_of(first))
    with pytest.raises(NotFound):
        await new.devices.find(first.device.id)


# Revoking, looking into


Which = Callable[[Pairlock, Redeemed], str]
EITHER_TOKEN = [
    pytest.param(lambda pairlock, redeemed: pairlock.tokens.access(redeemed.device)[0], id="access"),
    pytest.param(lambda pairlock, redeemed: token_of(redeemed), id="refresh"),
]


@pytest.mark.parametrize("which", EITHER_TOKEN)
async def test_either_token_un_pairs_its_device(pairlock: Pairlock, paired: Redeemed, which: Which, path: Path) -> None:
    await pairlock.tokens.revoke(which(pairlock, paired), origin=SOMEWHERE)
    assert await kept_devices(path) == []
    await assert_refused(pairlock, token_of(paired))
    with pytest.raises(InvalidToken):
        await pairlock.verify(pairlock.tokens.access(paired.device)[0])
    event = (await audited(pairlock))[-1]
    assert (event.type, event.by, event.origin) == (EventType.REVOKED, f"device:{paired.device.id}", SOMEWHERE)
    await pairlock.tokens.revoke(which(pairlock, paired))  # once more changes nothing
    assert (await happened(pairlock)).count(EventType.REVOKED) == 1


async def test_a_refresh_token_that_was_used_up_still_un_pairs(pairlock: Pairlock, paired: Redeemed) -> None:
    second = await refreshed(pairlock, paired)
    await pairlock.tokens.revoke(token_of(paired))
    await assert_refused(pairlock, token_of(second))


async def test_giving_back_what_does_not_count_changes_nothing(
    pairlock: Pairlock, paired: Redeemed, clock: FakeClock
) -> None:
    token = refresh.parse(token_of(paired))
    assert token is not None
    expired, _ = pairlock.tokens.access(paired.device)
    elsewhere = refresh.first(Keys([OTHER_KEY]), token.device_id, "told")
    forged = [replace(token, family="f" * 43, secret="s" * 43), elsewhere]
    clock.advance(3600)
    for text in ("", "x", "\ud800", "plk_", "plr_", expired, expired[:-1], *map(str, forged)):
        await pairlock.tokens.revoke(text)
    await assert_paired(pairlock, paired)


@pytest.mark.parametrize("which", EITHER_TOKEN)
async def test_nobody_gives_back_another_clients_token(pairlock: Pairlock, which: Which) -> None:
    redeemed = await by_device_code(pairlock, TV)
    for client_id in ("radio", ""):
        with pytest.raises(InvalidGrant):
            await pairlock.tokens.revoke(which(pairlock, redeemed), client_id=client_id)
    await assert_paired(pairlock, redeemed)
    await pairlock.tokens.revoke(which(pairlock, redeemed), client_id=TV.id)
    with pytest.raises(NotFound):
        await pairlock.devices.find(redeemed.device.id)
    await pairlock.tokens.revoke(which(pairlock, redeemed), client_id="radio")  # it is nobody's now


@pytest.mark.parametrize("which", EITHER_TOKEN)
async def test_the_first_call_of_a_process_may_be_to_revoke_or_to_introspect(
    pairlock: Pairlock, make: Make, paired: Redeemed, which: Which
) -> None:
    access, token = pairlock.tokens.access(paired.device)[0], which(pairlock, paired)
    assert await make().tokens.introspect(access) is not None
    await make().tokens.revoke(token)
    assert await make().tokens.introspect(access) is None


async def test_a_token_that_counts_says_whose_it_is_and_what_it_permits(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    await other.start()
    redeemed = await by_device_code(pairlock, TV)
    token, _ = pairlock.tokens.access(redeemed.device, NARROW)
    for handle in (pairlock, other):
        found = await handle.tokens.introspect(token)
        assert found is not None
        claims, permissions, device = found
        assert (claims.device_id, claims.issued_at) == (redeemed.device.id, clock.now)
        assert claims.expires_at == clock.now + 3600
        assert permissions == NARROW
        assert (device, device.client_id) == (redeemed.device, "tv")


async def test_a_token_of_before_a_narrowing_permits_what_both_do(pairlock: Pairlock, paired: Redeemed) -> None:
    tokens = pairlock.tokens
    before, less = tokens.access(paired.device)[0], tokens.access(paired.device, Permissions(read=("/sensors/b",)))[0]
    narrowed = await pairlock.devices.narrow(paired.device.id, NARROW)
    for token, permitted in ((before, NARROW), (less, Permissions()), (tokens.access(narrowed)[0], NARROW)):
        found = await tokens.introspect(token)
        assert found is not None
        assert found[1] == permitted == (await pairlock.verify(token)).permissions


async def test_what_does_not_count_is_all_the_same(
    pairlock: Pairlock, other: Pairlock, make: Make, clock: FakeClock
) -> None:
    paired, revoked = await pair(pairlock), await pair(pairlock)
    stranger = make(store="memory://", secret_keys=[OTHER_KEY])
    twin = make(store="memory://")
    stranger_token = await paired_token(stranger)
    active, gone = pairlock.tokens.access(paired.device)[0], pairlock.tokens.access(revoked.device)[0]
    await other.devices.revoke(revoked.device.id)
    for text in (
        gone,
        token_of(paired),
        token_of(revoked),
        active[:-2] + "AA",
        stranger_token,
        await paired_token(twin),  # the key is right, the device unknown
        "",
        "plk_",
        "\ud800",
    ):
        assert await pairlock.tokens.introspect(text) is None
    assert await stranger.tokens.introspect(stranger_token) is not None
    assert await pairlock.tokens.introspect(active) is not None
    clock.advance(3600)
    assert await pairlock.tokens.introspect(active) is None


async def test_what_is_handed_out_does_not_show_itself(pairlock: Pairlock, paired: Redeemed) -> None:
    token = refresh.parse(token_of(paired))
    assert token is not None
    assert repr(paired) == f"<Redeemed {paired.device.id}>"
    assert repr(token) == f"<RefreshToken of {paired.device.id}>"
    assert repr(await refreshed(pairlock, paired)) == repr(paired)
