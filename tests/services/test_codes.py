"""Codes that operators hand out: minted, watched, withdrawn, redeemed once, and how often may be guessed."""

import re
from hashlib import sha256
from math import nan
from pathlib import Path

import pytest

from pairlock import ConfigurationError, Limits, Operator, Pairlock, Permissions
from pairlock._core.derived import code_digests
from pairlock._core.keys import Keys
from pairlock._core.methods import ONE_TIME_CODE, grouped
from pairlock._core.records import Origin
from pairlock._core.states import State
from pairlock.errors import (
    AlreadyRedeemed,
    InvalidCode,
    InvalidPermissions,
    InvalidRequest,
    InvalidToken,
    NotFound,
    PairingDisabled,
    TemporarilyUnavailable,
    TooManyRequests,
)
from pairlock.services.codes import MAX_PICTURES, Minted
from pairlock.testing import FakeClock
from tests.services.codes_parts import (
    ALICE,
    BOB,
    DEFAULT,
    NARROW,
    SECRET,
    SOMEWHERE,
    TV,
    WIDER,
    audited,
    by_code,
    happened,
    mint_with,
    purge,
)
from tests.services.parts import KEY, OTHER_KEY, SENSORS, UNLIMITED, Make, kept, kept_devices, pair

pytestmark = pytest.mark.anyio

ADDRESS = "https://house.example/pair"
OTHER_SECRET = "the-secret-of-somebody-else"
UNKNOWN = "ZZZZ-ZZZZ"


@pytest.fixture
async def minted(pairlock: Pairlock) -> Minted:
    return await pairlock.codes.mint(DEFAULT)


async def assert_refused(pairlock: Pairlock, code: str, *, secret: str | None = None) -> None:
    """A code that does not count, whatever the reason, is refused with one and the same answer."""
    with pytest.raises(InvalidCode) as refused:
        await pairlock.codes.redeem(code, "Laptop", secret=secret)
    assert refused.value.body() == InvalidCode().body()


# Minting


async def test_a_code_pairs_one_device_with_what_it_was_minted_for(
    pairlock: Pairlock, path: Path, clock: FakeClock
) -> None:
    minted = await pairlock.codes.mint(NARROW, by=ALICE, hint="handed out at the door")
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}", grouped(minted.code))
    assert (minted.request.state, minted.request.name) == (State.APPROVED, "")
    clock.advance(1)
    redeemed = await pairlock.codes.redeem(minted.code, "  My\x00 laptop ", origin=SOMEWHERE)
    assert await kept_devices(path) == [redeemed.device]
    device = redeemed.device
    assert (device.name, device.method, device.permissions) == ("My laptop", "one_time_code", NARROW)
    assert (device.approved_by, device.request_id, device.created_at) == (
        "operator:alice",
        minted.request.id,
        clock.now,
    )
    request = await kept(path, minted.request.id)
    assert request is not None
    assert (request.state, request.device_id, request.ended_at) == (State.REDEEMED, device.id, clock.now)
    assert redeemed.permissions == NARROW
    grant = await pairlock.verify(pairlock.tokens.access(device)[0])
    assert (grant.device_name, grant.permissions) == ("My laptop", NARROW)


async def test_each_code_is_another_one(make: Make) -> None:
    pairlock = make(limits=UNLIMITED)
    for method, length in (("one_time_code", 8), ("qr", 32)):
        codes = {(await pairlock.codes.mint(DEFAULT, method=method)).code for _ in range(50)}
        assert len(codes) == 50
        assert {len(code) for code in codes} == {length}


@pytest.mark.parametrize(("method", "life"), [("one_time_code", 600), ("qr", 300)])
async def test_a_code_lives_as_long_as_its_method_says(
    pairlock: Pairlock, clock: FakeClock, method: str, life: int
) -> None:
    first, second = [await pairlock.codes.mint(DEFAULT, method=method) for _ in range(2)]
    clock.advance(life - 0.1)
    assert (await pairlock.codes.redeem(first.code, "Laptop")).device.method == method
    clock.advance(0.1)
    await assert_refused(pairlock, second.code)


async def test_a_code_lives_as_long_as_its_operator_says(pairlock: Pairlock, clock: FakeClock) -> None:
    shortest, longest = [await pairlock.codes.mint(DEFAULT, expires_in=seconds) for seconds in (10, 3600)]
    clock.advance(10)
    await assert_refused(pairlock, shortest.code)
    clock.advance(3589.9)
    assert (await pairlock.codes.redeem(longest.code, "Laptop")).device.name == "Laptop"


@pytest.mark.parametrize("seconds", [9.9, 3600.1, 0, -1, nan])
async def test_a_code_is_for_now_and_not_for_later(pairlock: Pairlock, seconds: float) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await pairlock.codes.mint(DEFAULT, expires_in=seconds)
    assert refused.value.detail == "expires_in is from 10 to 3600 seconds"


@pytest.mark.parametrize("method", ["pin", "device_code", "", "otp"])
async def test_only_codes_are_minted(pairlock: Pairlock, method: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await pairlock.codes.mint(DEFAULT, method=method)
    assert refused.value.detail == "method is one of one_time_code, qr"


async def test_an_operator_who_holds_less_cannot_mint_more(pairlock: Pairlock) -> None:
    guest = Operator("guest", NARROW)
    for wanted in (DEFAULT, WIDER, Permissions(write=("/sensors/a",))):
        with pytest.raises(InvalidPermissions):
            await pairlock.codes.mint(wanted, by=guest)
    assert await happened(pairlock) == []
    assert (await pairlock.codes.mint(NARROW, by=guest)).request.granted == NARROW


async def test_a_hint_is_kept_but_names_nothing(pairlock: Pairlock) -> None:
    minted = [await pairlock.codes.mint(DEFAULT, hint="from the \u202ecli") for _ in range(3)]
    codes = [each.code for each in minted]
    silent = await pairlock.codes.redeem(codes[0], "Laptop")
    called = await pairlock.codes.redeem(codes[1], "Laptop", origin=SOMEWHERE)
    hinted = await pairlock.codes.redeem(codes[2], "Laptop", origin=Origin("192.0.2.7", hint="homebrew"))
    assert silent.device.origin == Origin()
    assert called.device.origin == Origin("192.0.2.7")
    shown = [await pairlock.codes.find(each.request.id) for each in minted]
    assert [each and each.hint for each in shown] == ["from the cli"] * 3  # the operator's own
    assert hinted.device.origin == Origin("192.0.2.7", hint="homebrew")
    assert {each.device.name for each in (silent, called, hinted)} == {"Laptop"}
    for without_name in ("", " \x00 "):
        with pytest.raises(InvalidRequest):
            await pairlock.codes.redeem((await pairlock.codes.mint(DEFAULT, hint="cli")).code, without_name)


async def test_where_pairing_is_disabled_no_code_is_minted_or_redeemed(make: Make, minted: Minted) -> None:
    disabled = make(enabled=False)
    with pytest.raises(PairingDisabled):
        await disabled.codes.mint(DEFAULT)
    with pytest.raises(PairingDisabled):
        await disabled.codes.redeem(minted.code, "Laptop")
    assert (await make().codes.redeem(minted.code, "Laptop")).device.name == "Laptop"


# How many may wait


@pytest.fixture
async def full(make: Make) -> tuple[Pairlock, list[Minted]]:
    """A service on which alice has as many codes waiting as she may."""
    pairlock = make(limits=Limits(codes=3))
    lives = {"one_time_code": (300.0, 600.0), "qr": (450.0,)}
    minted = [
        await pairlock.codes.mint(DEFAULT, method=method, expires_in=life, by=ALICE)
        for method, each in lives.items()
        for life in each
    ]
    with pytest.raises(TooManyRequests) as refused:
        await pairlock.codes.mint(DEFAULT, by=ALICE)
    assert refused.value.retry_after == 300
    return pairlock, minted


async def test_an_operator_with_as_many_codes_as_may_wait_is_refused_and_others_are_not(
    full: tuple[Pairlock, list[Minted]],
) -> None:
    pairlock, _ = full
    for method in ("one_time_code", "qr"):
        with pytest.raises(TooManyRequests):
            await pairlock.codes.mint(DEFAULT, method=method, by=ALICE)
        assert (await pairlock.codes.mint(DEFAULT, method=method, by=BOB)).code
    assert await pairlock.code(DEFAULT)
    assert (await pairlock.pairing.start("Phone")).secret


async def test_a_code_that_expired_frees_its_place(full: tuple[Pairlock, list[Minted]], clock: FakeClock) -> None:
    pairlock, _ = full
    clock.advance(299.5)
    with pytest.raises(TooManyRequests) as refused:
        await pairlock.codes.mint(DEFAULT, by=ALICE)
    assert refused.value.retry_after == 1
    clock.advance(0.5)
    assert (await pairlock.codes.mint(DEFAULT, by=ALICE)).code
    with pytest.raises(TooManyRequests):
        await pairlock.codes.mint(DEFAULT, by=ALICE)


async def test_a_code_that_was_redeemed_or_withdrawn_frees_its_place(full: tuple[Pairlock, list[Minted]]) -> None:
    pairlock, minted = full
    await pairlock.codes.redeem(minted[0].code, "Laptop")
    assert (await pairlock.codes.mint(DEFAULT, by=ALICE)).code
    await pairlock.codes.withdraw(minted[2].request.id, by=ALICE)
    assert (await pairlock.codes.mint(DEFAULT, by=ALICE)).code
    with pytest.raises(TooManyRequests):
        await pairlock.codes.mint(DEFAULT, by=ALICE)


# Redeeming


@pytest.mark.parametrize("spelling", ["{0}-{1}", "{0}{1}", " {0} {1}\n", "{0} - {1}.", "«{0}–{1}»", "{0}_{1}é"])
async def test_a_code_is_typed_in_any_case_with_or_without_dashes(
    pairlock: Pairlock, minted: Minted, spelling: str
) -> None:
    typed = spelling.format(minted.code[:4].lower(), minted.code[4:])
    assert (await pairlock.codes.redeem(typed, "Laptop")).device.request_id == minted.request.id


@pytest.mark.parametrize(("symbol", "look_alikes"), [("0", "Oo"), ("1", "IiLl")])
async def test_look_alikes_are_read_as_what_was_meant(make: Make, symbol: str, look_alikes: str) -> None:
    pairlock = make(limits=UNLIMITED)
    for look_alike in look_alikes:
        minted = await mint_with(pairlock, symbol)
        typed = grouped(minted.code).replace(symbol, look_alike)
        assert (await pairlock.codes.redeem(typed, "Laptop")).device.request_id == minted.request.id


@pytest.mark.parametrize("method", ["one_time_code", "qr"])
async def test_a_code_is_redeemed_once(pairlock: Pairlock, other: Pairlock, method: str, path: Path) -> None:
    minted = await pairlock.codes.mint(DEFAULT, method=method)
    await pairlock.codes.redeem(minted.code.lower(), "Laptop")
    await assert_refused(pairlock, minted.code)
    await assert_refused(other, minted.code, secret=SECRET)
    assert len(await kept_devices(path)) == 1


async def test_unknown_used_expired_and_withdrawn_codes_are_one_answer(pairlock: Pairlock, clock: FakeClock) -> None:
    expired = await pairlock.codes.mint(DEFAULT, expires_in=10)
    used, withdrawn = [await pairlock.codes.mint(DEFAULT) for _ in range(2)]
    await pairlock.codes.redeem(used.code, "Laptop")
    await pairlock.codes.withdraw(withdrawn.request.id)
    clock.advance(10)
    started = await pairlock.device_codes.start(TV)
    no_codes = (UNKNOWN, "", "K3F9", "\ud800", "x" * 10_000, "0" * 32, started.user_code, started.request.id)
    for code in (expired.code, used.code, withdrawn.code, *no_codes):
        for secret in (None, SECRET):
            await assert_refused(pairlock, code, secret=secret)


async def test_a_code_made_after_the_clock_was_set_back_is_out_of_its_time(
    pairlock: Pairlock, minted: Minted, clock: FakeClock
) -> None:
    clock.advance(-61)
    await assert_refused(pairlock, minted.code)
    clock.advance(1)
    assert (await pairlock.codes.redeem(minted.code, "Laptop")).device.name == "Laptop"


async def test_a_code_is_used_up_together_with_its_device_or_not_at_all(
    pairlock: Pairlock, minted: Minted, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await pair(pairlock)).device
    with monkeypatch.context() as patched:
        patched.setattr("pairlock.services.codes.new_device_id", lambda now: first.id)  # it is somebody's already
        with pytest.raises(TemporarilyUnavailable):
            await pairlock.codes.redeem(minted.code, "Laptop")
    assert await kept(path, minted.request.id) == minted.request
    assert await kept_devices(path) == [first]
    assert (await pairlock.codes.redeem(minted.code, "Laptop")).device.id != first.id


async def test_codes_of_an_older_key_count_while_that_key_is_in_the_list(make: Make) -> None:
    old, both, new = make(), make(secret_keys=[KEY, OTHER_KEY]), make(secret_keys=[OTHER_KEY])
    for method in ("one_time_code", "qr"):
        first, second = [await old.codes.mint(DEFAULT, method=method) for _ in range(2)]
        third = await both.codes.mint(DEFAULT, method=method)
        assert (await both.codes.redeem(first.code, "Laptop")).device.method == method
        await assert_refused(new, second.code)
        await assert_refused(old, third.code)
        assert (await new.codes.redeem(third.code, "Laptop")).device.method == method


async def test_what_happens_to_a_code_is_audited(pairlock: Pairlock, clock: FakeClock) -> None:
    used, withdrawn = [await pairlock.codes.mint(NARROW, by=ALICE) for _ in range(2)]
    redeemed = await pairlock.codes.redeem(used.code, "Laptop", secret=SECRET, origin=SOMEWHERE)
    await pairlock.codes.redeem(used.code, "Laptop", secret=SECRET, origin=SOMEWHERE)
    await pairlock.codes.withdraw(withdrawn.request.id, by=ALICE)
    device = f"device:{redeemed.device.id}"
    assert [(each.type.value, each.by, each.name, each.request_id) for each in await audited(pairlock)] == [
        ("minted", "operator:alice", "", used.request.id),
        ("minted", "operator:alice", "", withdrawn.request.id),
        ("redeemed", device, "Laptop", used.request.id),
        ("reissued", device, "Laptop", None),
        ("cancelled", "operator:alice", "", withdrawn.request.id),
    ]
    events = await audited(pairlock)
    assert {(each.method, each.permissions) for each in events} == {("one_time_code", NARROW)}
    assert events[2].origin == SOMEWHERE


async def test_no_code_secret_or_token_is_at_rest(make: Make, path: Path) -> None:
    pairlock = make(secret_keys=None)
    secrets: list[str] = []

    async def look() -> None:
        files = [file for file in path.parent.iterdir() if not file.name.endswith(".keys")]
        assert {"pairlock.db", "pairlock.db-wal"} <= {file.name for file in files}
        content = b"".join(file.read_bytes() for file in files).upper()
        assert b"NEEDLE-THAT-IS-THERE" in content
        assert [secret for secret in secrets if secret.upper().encode() in content] == []

    minted = await pairlock.codes.mint(DEFAULT, hint="needle-that-is-there")
    drawn = await pairlock.codes.mint(DEFAULT, method="qr")
    started = await pairlock.device_codes.start(TV)
    secrets += [minted.code, grouped(minted.code), drawn.code, SECRET]
    secrets += [started.device_code, started.device_code.partition(".")[2]]
    secrets += [started.user_code, grouped(started.user_code)]
    await look()
    await pairlock.deciding.approve(started.request.id)
    redeemed = [
        await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET),
        await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET),
        await pairlock.codes.redeem(drawn.code, "Phone"),
        await pairlock.device_codes.redeem(started.device_code, TV),
    ]
    redeemed += [await pairlock.tokens.refresh(each.refresh_token or "", client_id=TV.id) for each in redeemed[1:]]
    for each in redeemed:
        assert each.refresh_token is not None
        secrets += [each.refresh_token, *each.refresh_token.removeprefix("plr_").split(".")[1:]]
        secrets.append(pairlock.tokens.access(each.device)[0])
    await look()
    said = repr([minted, drawn, started, redeemed, await audited(pairlock)])
    assert [secret for secret in secrets if secret in said] == []


async def test_what_is_kept_of_a_code_says_nothing_without_the_key(pairlock: Pairlock, minted: Minted) -> None:
    digest, code = minted.request.code_digest, minted.code
    assert code_digests(Keys([KEY]), ONE_TIME_CODE, grouped(code).lower()) == [digest]
    assert code_digests(Keys([OTHER_KEY]), ONE_TIME_CODE, code) != [digest]
    assert digest not in {sha256(each.encode()).digest() for each in (code, grouped(code), code.lower())}


# Watching, withdrawing and drawing


async def test_an_operator_sees_what_became_of_a_code_and_nobody_elses(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    minted = await pairlock.codes.mint(DEFAULT, by=ALICE)
    for handle in (pairlock, other):
        assert await handle.codes.find(minted.request.id, by=ALICE) == minted.request
        for look in (handle.codes.find, handle.codes.watch):
            assert await look(minted.request.id, by=BOB) is None
            assert await look(minted.request.id) is None
    await other.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)
    seen = await pairlock.codes.watch(minted.request.id, by=ALICE)
    assert seen is not None
    assert (seen.state, seen.name, seen.origin.address) == (State.REDEEMED, "Laptop", "192.0.2.7")


async def test_only_codes_are_found_as_codes(pairlock: Pairlock) -> None:
    by_pin, by_device_code = await pairlock.pairing.start("Phone"), await pairlock.device_codes.start(TV)
    await pairlock.deciding.approve(by_pin.request.id, by=ALICE)
    await pairlock.deciding.approve(by_device_code.request.id, by=ALICE)
    for request_id in (by_pin.request.id, by_device_code.request.id, "0" * 26, ""):
        assert await pairlock.codes.find(request_id, by=ALICE) is None
        with pytest.raises(NotFound):
            await pairlock.codes.withdraw(request_id, by=ALICE)


async def test_a_code_may_be_watched_only_so_often_by_each_operator(make: Make, clock: FakeClock) -> None:
    pairlock = make(limits=Limits(code_polls="3/minute"))
    minted = await pairlock.codes.mint(DEFAULT, by=ALICE)
    for _ in range(3):
        assert await pairlock.codes.watch(minted.request.id, by=ALICE) == minted.request
    with pytest.raises(TooManyRequests) as refused:
        await pairlock.codes.watch(minted.request.id, by=ALICE)
    assert refused.value.retry_after == 60
    assert await pairlock.codes.watch(minted.request.id, by=BOB) is None
    assert (await pairlock.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)).device.name == "Laptop"
    clock.advance(60)
    assert await pairlock.codes.watch(minted.request.id, by=ALICE) is not None


async def test_only_its_operator_withdraws_a_code(pairlock: Pairlock) -> None:
    minted = await pairlock.codes.mint(DEFAULT, by=ALICE)
    for by in (BOB, Operator("app")):
        with pytest.raises(NotFound):
            await pairlock.codes.withdraw(minted.request.id, by=by)
    await pairlock.codes.withdraw(minted.request.id, by=ALICE)
    await pairlock.codes.withdraw(minted.request.id, by=ALICE)  # a second time changes nothing
    await assert_refused(pairlock, minted.code)
    found = await pairlock.codes.find(minted.request.id, by=ALICE)
    assert found is not None
    assert (found.state, found.version) == (State.CANCELLED, 2)


async def test_a_code_that_was_redeemed_or_has_expired_stays_so(pairlock: Pairlock, clock: FakeClock) -> None:
    used, expired = [await pairlock.codes.mint(DEFAULT) for _ in range(2)]
    redeemed = await pairlock.codes.redeem(used.code, "Laptop")
    with pytest.raises(AlreadyRedeemed):
        await pairlock.codes.withdraw(used.request.id)
    clock.advance(600)
    await pairlock.codes.withdraw(expired.request.id)
    assert await pairlock.codes.find(expired.request.id) == expired.request
    assert await pairlock.devices.find(redeemed.device.id) == redeemed.device


async def test_a_code_is_purged_an_hour_after_its_end(pairlock: Pairlock, clock: FakeClock) -> None:
    used, expired = [await pairlock.codes.mint(DEFAULT) for _ in range(2)]
    redeemed = await pairlock.codes.redeem(used.code, "Laptop")
    clock.advance(600 + 3599)
    await purge(pairlock, clock.now)
    assert await pairlock.codes.find(used.request.id) is not None
    assert await pairlock.codes.find(expired.request.id) is not None
    clock.advance(1)
    await purge(pairlock, clock.now)
    for each in (used, expired):
        assert await pairlock.codes.find(each.request.id) is None
        await assert_refused(pairlock, each.code)
    assert await pairlock.devices.find(redeemed.device.id) == redeemed.device


async def test_the_facade_mints_codes_for_the_application(make: Make, clock: FakeClock) -> None:
    pairlock = make(issuer=ADDRESS)
    code = await pairlock.code({"read": ["/sensors/a"]}, expires_in=30)
    assert code == code.upper()
    assert code[4] == "-"
    assert (await pairlock.codes.redeem(code, "Laptop")).device.permissions == NARROW
    for drawn in (await pairlock.qr(SENSORS), await pairlock.qr(DEFAULT, expires_in=30, address=ADDRESS)):
        address, _, secret = drawn.uri.partition("/qr#")
        assert (address, len(secret)) == (ADDRESS, 32)
        assert drawn.expires_in in (300, 30)
        assert (await pairlock.codes.redeem(secret, "Phone")).device.permissions == DEFAULT
        found = await pairlock.codes.find(drawn.id)
        assert found is not None
        assert found.state is State.REDEEMED


async def test_a_qr_code_needs_an_address(pairlock: Pairlock) -> None:
    with pytest.raises(ConfigurationError, match="issuer: set it, or give address="):
        await pairlock.qr(DEFAULT)
    assert await happened(pairlock) == []


async def test_a_qr_code_is_drawn_for_its_operator_while_it_can_be_redeemed(
    pairlock: Pairlock, other: Pairlock, clock: FakeClock
) -> None:
    drawn, used, expired = [await pairlock.codes.mint(DEFAULT, method="qr", by=ALICE) for _ in range(3)]
    picture = await pairlock.codes.picture(drawn.request.id, address=ADDRESS, by=ALICE)
    assert picture.uri == f"{ADDRESS}/qr#{drawn.code}"
    assert await pairlock.codes.picture(drawn.request.id, address=ADDRESS, by=ALICE) is picture
    assert (await other.codes.picture(drawn.request.id, address=ADDRESS, by=ALICE)).uri == picture.uri
    elsewhere = await pairlock.codes.picture(drawn.request.id, address="http://[::1]/pair", by=ALICE)
    assert elsewhere.uri == f"http://[::1]/pair/qr#{drawn.code}"
    assert (await pairlock.codes.picture(used.request.id, address=ADDRESS, by=ALICE)).uri
    await pairlock.codes.redeem(used.code, "Phone")
    typed = await pairlock.codes.mint(DEFAULT, by=ALICE)
    for request_id, by in ((used.request.id, ALICE), (typed.request.id, ALICE), (drawn.request.id, BOB)):
        with pytest.raises(NotFound):
            await pairlock.codes.picture(request_id, address=ADDRESS, by=by)
    clock.advance(300)
    with pytest.raises(NotFound):
        await pairlock.codes.picture(expired.request.id, address=ADDRESS, by=ALICE)


async def test_no_qr_code_is_drawn_once_its_key_is_gone(make: Make) -> None:
    drawn = await make().codes.mint(DEFAULT, method="qr")
    with pytest.raises(NotFound):
        await make(secret_keys=[OTHER_KEY]).codes.picture(drawn.request.id, address=ADDRESS)


async def test_only_so_many_pictures_are_remembered(pairlock: Pairlock) -> None:
    drawn = await pairlock.codes.mint(DEFAULT, method="qr")
    addresses = [f"https://{number}.example" for number in range(MAX_PICTURES + 1)]
    pictures = [await pairlock.codes.picture(drawn.request.id, address=address) for address in addresses]
    assert len(pairlock.codes._pictures) == MAX_PICTURES
    assert await pairlock.codes.picture(drawn.request.id, address=addresses[-1]) is pictures[-1]
    assert await pairlock.codes.picture(drawn.request.id, address=addresses[0]) is not pictures[0]


# When the answer was lost


async def test_whoever_redeemed_may_ask_again_for_the_answer_that_was_lost(
    pairlock: Pairlock, other: Pairlock, minted: Minted, clock: FakeClock, path: Path
) -> None:
    first = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    clock.advance(59.9)
    again = await other.codes.redeem(grouped(minted.code), "Another name", secret=SECRET, origin=SOMEWHERE)
    assert again.device.id == first.device.id
    assert (again.device.name, again.device.origin) == (first.device.name, first.device.origin)
    assert again.refresh_token == first.refresh_token  # should both arrive, neither is taken for stolen
    assert await kept_devices(path) == [again.device]
    assert (await pairlock.verify(pairlock.tokens.access(again.device)[0])).device_id == first.device.id
    assert (await pairlock.tokens.refresh(again.refresh_token or "")).device.id == first.device.id


async def test_an_answer_is_not_given_again_once_its_key_is_gone(make: Make) -> None:
    pairlock = make(secret_keys=[KEY])
    minted = await pairlock.codes.mint(DEFAULT)
    await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    between, after = make(secret_keys=[KEY, OTHER_KEY]), make(secret_keys=[OTHER_KEY])
    assert (await between.codes.redeem(minted.code, "Laptop", secret=SECRET)).refresh_token
    await assert_refused(after, minted.code, secret=SECRET)


async def test_an_answer_is_not_given_again_by_a_process_that_lacks_its_key(make: Make) -> None:
    old, new = make(secret_keys=[KEY]), make(secret_keys=[KEY, OTHER_KEY])
    minted = await old.codes.mint(DEFAULT)
    await new.codes.redeem(minted.code, "Laptop", secret=SECRET)
    await assert_refused(old, minted.code, secret=SECRET)


async def test_an_answer_without_a_refresh_token_is_given_again_too(make: Make) -> None:
    pairlock = make(long_lived=["one_time_code"])
    minted = await pairlock.codes.mint(DEFAULT)
    first = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    again = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    assert (first.refresh_token, again.refresh_token, again.device.id) == (None, None, first.device.id)


async def test_an_answer_may_be_lost_more_than_once_and_outlast_the_code(pairlock: Pairlock, clock: FakeClock) -> None:
    minted = await pairlock.codes.mint(DEFAULT, method="qr", expires_in=10)
    answers = [await pairlock.codes.redeem(minted.code, "Phone", secret=SECRET)]
    for _ in range(3):
        clock.advance(15)
        answers.append(await pairlock.codes.redeem(minted.code, "Phone", secret=SECRET))
    assert len({each.device.id for each in answers}) == 1
    assert len({each.refresh_token for each in answers}) == 1


@pytest.mark.parametrize("secret", [None, OTHER_SECRET, SECRET.upper()])
async def test_without_the_same_secret_nobody_redeems_again(
    pairlock: Pairlock, minted: Minted, secret: str | None
) -> None:
    await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    await assert_refused(pairlock, minted.code, secret=secret)


async def test_who_gave_no_secret_cannot_redeem_again_with_one(pairlock: Pairlock, minted: Minted) -> None:
    await pairlock.codes.redeem(minted.code, "Laptop")
    await assert_refused(pairlock, minted.code, secret=SECRET)


async def test_after_a_minute_nobody_redeems_again(pairlock: Pairlock, minted: Minted, clock: FakeClock) -> None:
    await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    clock.advance(60)
    await assert_refused(pairlock, minted.code, secret=SECRET)


@pytest.mark.parametrize("where", ["the same process", "another process"])
async def test_once_its_token_was_used_nobody_redeems_again(
    pairlock: Pairlock, other: Pairlock, minted: Minted, where: str, path: Path, clock: FakeClock
) -> None:
    redeemed = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    user = pairlock if where == "the same process" else other
    token, _ = pairlock.tokens.access(redeemed.device)
    clock.advance(5)
    await user.verify(token)
    await assert_refused(pairlock, minted.code, secret=SECRET)
    await assert_refused(other, minted.code, secret=SECRET)
    (device,) = await kept_devices(path)
    assert (device.used_at, device.refresh_digest) == (clock.now, redeemed.device.refresh_digest)


async def test_once_it_was_refreshed_nobody_redeems_again(pairlock: Pairlock, other: Pairlock, minted: Minted) -> None:
    redeemed = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    await other.tokens.refresh(redeemed.refresh_token or "")
    await assert_refused(pairlock, minted.code, secret=SECRET)


async def test_once_it_was_revoked_nobody_redeems_again(pairlock: Pairlock, other: Pairlock, minted: Minted) -> None:
    redeemed = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    await other.devices.revoke(redeemed.device.id)
    await assert_refused(pairlock, minted.code, secret=SECRET)


async def test_once_its_device_has_expired_nobody_redeems_again(make: Make, clock: FakeClock) -> None:
    pairlock = make(token_life=1, refresh_idle=1)
    minted = await pairlock.codes.mint(DEFAULT)
    await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    clock.advance(1)
    await assert_refused(pairlock, minted.code, secret=SECRET)
    await purge(pairlock, clock.now)
    await assert_refused(pairlock, minted.code, secret=SECRET)


async def test_a_device_without_a_refresh_token_is_reissued_without_one(make: Make) -> None:
    pairlock = make(long_lived=["one_time_code"])
    minted = await pairlock.codes.mint(DEFAULT)
    first = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    again = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    assert again.device.id == first.device.id
    assert (first.refresh_token, again.refresh_token, again.device.refresh_digest) == (None, None, None)


@pytest.mark.parametrize("length", [0, 21, 129])
async def test_a_secret_too_short_or_too_long_is_told_so_and_costs_nothing(
    pairlock: Pairlock, minted: Minted, length: int
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await pairlock.codes.redeem(minted.code, "Laptop", secret="x" * length)
    assert refused.value.detail == "secret has 22 to 128 characters: 16 random bytes in base64, or more"
    for fitting in (22, 128):
        redeemed = await pairlock.codes.redeem((await pairlock.codes.mint(DEFAULT)).code, "L", secret="x" * fitting)
        assert redeemed.device.name == "L"
    assert (await pairlock.codes.redeem(minted.code, "Laptop")).device.name == "Laptop"


# The first use of a token, which ends this


async def test_the_first_use_is_written_down_once(
    pairlock: Pairlock, other: Pairlock, path: Path, clock: FakeClock
) -> None:
    redeemed = await by_code(pairlock)
    token, _ = pairlock.tokens.access(redeemed.device)
    first_used = clock.now
    for handle in (pairlock, pairlock, other):
        clock.advance(1)
        await handle.verify(token)
    (device,) = await kept_devices(path)
    assert (device.used_at, device.version) == (first_used + 1, 2)


async def test_the_first_use_is_written_down_by_a_process_whose_clock_is_behind(
    pairlock: Pairlock, other: Pairlock, minted: Minted, clock: FakeClock
) -> None:
    redeemed = await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET)
    token, _ = pairlock.tokens.access(redeemed.device)
    clock.advance(-0.3)
    await other.verify(token)
    clock.advance(0.3)
    await assert_refused(pairlock, minted.code, secret=SECRET)


async def test_what_cannot_be_asked_for_again_needs_no_note_of_its_use(
    pairlock: Pairlock, path: Path, clock: FakeClock
) -> None:
    late, by_pin = await by_code(pairlock), await pair(pairlock)
    await pairlock.verify(pairlock.tokens.access(by_pin.device)[0])
    clock.advance(60)
    await pairlock.verify(pairlock.tokens.access(late.device)[0])
    for device in await kept_devices(path):
        assert (device.used_at, device.version) == (None, 1)


async def test_a_token_whose_device_is_gone_is_not_used(pairlock: Pairlock, other: Pairlock) -> None:
    redeemed = await by_code(pairlock)
    token, _ = pairlock.tokens.access(redeemed.device)
    await other.devices.revoke(redeemed.device.id)
    with pytest.raises(InvalidToken):
        await pairlock.verify(token)


# Guessing


async def guess_wrong(pairlock: Pairlock, times: int, origin: Origin | None = SOMEWHERE) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCode):
            await pairlock.codes.redeem(UNKNOWN, "Laptop", origin=origin)


async def test_ten_wrong_codes_a_minute_from_one_source_and_the_right_one_is_refused_too(
    pairlock: Pairlock, other: Pairlock, minted: Minted, clock: FakeClock
) -> None:
    await guess_wrong(pairlock, 5)
    await guess_wrong(other, 5)
    for handle in (pairlock, other):
        with pytest.raises(TooManyRequests) as refused:
            await handle.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)
        assert refused.value.retry_after == 60
    same_source = Origin("::ffff:192.0.2.7", "another agent")
    with pytest.raises(TooManyRequests):
        await pairlock.codes.redeem(minted.code, "Laptop", origin=same_source)
    await guess_wrong(pairlock, 1, Origin("192.0.2.8"))
    clock.advance(60)
    assert (await pairlock.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)).device.name == "Laptop"


async def test_addresses_of_one_ipv6_network_are_one_source(pairlock: Pairlock) -> None:
    for number in range(10):
        await guess_wrong(pairlock, 1, Origin(f"2001:db8::{number}:1"))
    with pytest.raises(TooManyRequests):
        await pairlock.codes.redeem(UNKNOWN, "Laptop", origin=Origin("2001:db8::ffff"))
    await guess_wrong(pairlock, 1, Origin("2001:db8:0:1::1"))


async def test_a_right_code_is_taken_back_and_forgives_no_wrong_ones(make: Make) -> None:
    pairlock = make(limits=Limits(codes=100))
    for _ in range(30):
        minted = await pairlock.codes.mint(DEFAULT)
        await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET, origin=SOMEWHERE)
        await pairlock.codes.redeem(minted.code, "Laptop", secret=SECRET, origin=SOMEWHERE)  # nor is asking again
    await guess_wrong(pairlock, 9)
    await pairlock.codes.redeem((await pairlock.codes.mint(DEFAULT)).code, "Laptop", origin=SOMEWHERE)
    await guess_wrong(pairlock, 1)
    with pytest.raises(TooManyRequests):
        await pairlock.codes.redeem((await pairlock.codes.mint(DEFAULT)).code, "Laptop", origin=SOMEWHERE)


async def test_wrong_codes_in_all_are_limited_and_a_qr_code_goes_on(
    make: Make, minted: Minted, clock: FakeClock
) -> None:
    pairlock = make(limits=Limits(wrong_codes_in_all="12/hour"))
    drawn = [await pairlock.codes.mint(DEFAULT, method="qr") for _ in range(2)]
    for number in range(12):
        await guess_wrong(pairlock, 1, Origin(f"192.0.2.{number}"))
    for origin in (SOMEWHERE, Origin("198.51.100.1"), Origin("2001:db8::1")):
        with pytest.raises(TooManyRequests) as refused:
            await pairlock.codes.redeem(minted.code, "Laptop", origin=origin)
        assert refused.value.retry_after == 3600
    assert (await pairlock.codes.redeem(drawn[0].code, "Phone", origin=SOMEWHERE)).device.method == "qr"
    assert (await pairlock.codes.redeem(minted.code, "Laptop")).device.name == "Laptop"  # the application itself
    clock.advance(3600)
    later = await pairlock.codes.mint(DEFAULT)
    assert (await pairlock.codes.redeem(later.code, "Laptop", origin=SOMEWHERE)).device.name == "Laptop"


def test_by_default_a_hundred_wrong_codes_an_hour_are_looked_at_twenty_of_them_from_one_source() -> None:
    assert (Limits().wrong_codes, Limits().wrong_codes_in_all) == ("10/minute; 20/hour", "100/hour")


async def test_a_qr_secret_is_neither_limited_nor_a_way_around_the_limit(make: Make, minted: Minted) -> None:
    pairlock = make(limits=Limits(wrong_codes="1/hour", wrong_codes_in_all="1/hour"))
    for number in range(20):
        with pytest.raises(InvalidCode):
            await pairlock.codes.redeem(f"{number:032X}", "Phone", origin=SOMEWHERE)
    drawn = await pairlock.codes.mint(DEFAULT, method="qr")
    await guess_wrong(pairlock, 1)
    padded = minted.code + "0" * 32
    for disguised in (padded[:32], padded):
        with pytest.raises((InvalidCode, TooManyRequests)):
            await pairlock.codes.redeem(disguised, "Phone", origin=SOMEWHERE)
    assert (await pairlock.codes.redeem(drawn.code, "Phone", origin=SOMEWHERE)).device.method == "qr"


async def test_watching_a_code_takes_nothing_from_those_who_redeem(make: Make, minted: Minted) -> None:
    pairlock = make(limits=Limits(wrong_codes="2/minute", code_polls="2/minute"))
    for _ in range(2):
        await pairlock.codes.watch(minted.request.id)
    await guess_wrong(pairlock, 1)
    assert (await pairlock.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)).device.name == "Laptop"


async def test_a_nameless_redemption_is_no_guess(pairlock: Pairlock, minted: Minted) -> None:
    for _ in range(20):
        with pytest.raises(InvalidRequest):
            await pairlock.codes.redeem(UNKNOWN, "", origin=SOMEWHERE)
    assert (await pairlock.codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)).device.name == "Laptop"


async def test_the_limits_are_kept_over_a_restart(pairlock: Pairlock, make: Make, minted: Minted, path: Path) -> None:
    await guess_wrong(pairlock, 10)
    await pairlock.aclose()
    with pytest.raises(TooManyRequests):
        await make().codes.redeem(minted.code, "Laptop", origin=SOMEWHERE)
    assert await kept_devices(path) == []
