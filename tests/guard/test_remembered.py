"""What the guard remembers of a request counts for that very request only, and only for as long as it is true.

Each test lets a request through twice, so that the second is recalled, then changes one thing.
"""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from pairlock import Pairlock, Permissions
from pairlock._core.tokens import Claims
from pairlock.asgi.guard import MAX_KNOWN, MAX_VERDICTS, Guard
from pairlock.errors import TemporarilyUnavailable
from pairlock.stores.contract import Add, Batch
from pairlock.stores.sqlite import SQLiteStore
from pairlock.testing import FakeClock, a_device
from tests.guard.parts import EVERYTHING, Phone, Recorder, ask, eventually, grant_of, pair, scope_of, standing

pytestmark = pytest.mark.anyio


@pytest.fixture
def guard(pairlock: Pairlock, app: Recorder) -> Guard:
    return pairlock.guard(app)


@pytest.fixture
async def phone(pairlock: Pairlock) -> Phone:
    return await pair(pairlock, read=["/sensors/**"], write=["/control/lamp"])


async def reaches(guard: Guard, phone: Phone, path: str = "/sensors/a", method: str = "GET", **more: Any) -> None:
    for _ in range(2):
        assert (await ask(guard, scope_of(method, path, phone.raw, **more))).status == 200
    assert guard._recall(scope_of(method, path, phone.raw, **more))


async def test_an_allowance_is_not_anothers(pairlock: Pairlock, guard: Guard, phone: Phone) -> None:
    other = await pair(pairlock, read=["/elsewhere"])
    await reaches(guard, phone)
    assert (await ask(guard, scope_of("GET", "/sensors/a", other.raw))).status == 403
    assert (await ask(guard, scope_of("GET", "/sensors/a", (b"authorization", phone.raw[1] + b"x")))).status == 401
    assert (await ask(guard, scope_of("GET", "/sensors/a"))).status == 401


async def test_a_refusal_is_not_anothers(pairlock: Pairlock, guard: Guard, phone: Phone) -> None:
    other = await pair(pairlock, read=["/elsewhere"])
    for _ in range(2):
        assert (await ask(guard, scope_of("GET", "/sensors/a", other.raw))).status == 403
    await reaches(guard, phone)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "BREW"])
async def test_an_allowance_is_not_another_methods(guard: Guard, phone: Phone, method: str) -> None:
    await reaches(guard, phone)
    assert (await ask(guard, scope_of(method, "/sensors/a", phone.raw))).status == 403


async def test_an_allowance_to_write_is_none_to_read(guard: Guard, phone: Phone) -> None:
    await reaches(guard, phone, "/control/lamp", method="PUT")
    assert (await ask(guard, scope_of("GET", "/control/lamp", phone.raw))).status == 403


async def test_an_allowance_is_not_another_paths(guard: Guard, phone: Phone) -> None:
    await reaches(guard, phone)
    for path in ("/control/lamp", "/sensors/../control/lamp", "/Sensors/a", "/sensors/a/../../x", "/"):
        assert (await ask(guard, scope_of("GET", path, phone.raw))).status in (400, 403)


@pytest.mark.parametrize("raw", [b"/sensors%2Fa", b"/sensors%2fa", b"/sensors/%61%5c", b"/sensors/%ff", b"/sensors/%"])
async def test_an_allowance_is_not_that_of_another_spelling(guard: Guard, phone: Phone, raw: bytes) -> None:
    await reaches(guard, phone, raw_path=b"/sensors/a")
    assert (await ask(guard, scope_of("GET", "/sensors/a", phone.raw, raw_path=raw))).status == 400


async def test_an_allowance_below_a_root_is_not_one_without_it(guard: Guard, phone: Phone) -> None:
    await reaches(guard, phone, "/api/sensors/a", root_path="/api")
    assert (await ask(guard, scope_of("GET", "/api/sensors/a", phone.raw))).status == 403
    assert (await ask(guard, scope_of("GET", "/api/sensors/a", phone.raw, root_path="/api/sensors"))).status == 403


async def test_an_allowance_without_a_root_is_not_one_below_it(guard: Guard, phone: Phone) -> None:
    await reaches(guard, phone)
    assert (await ask(guard, scope_of("GET", "/sensors/a", phone.raw, root_path="/sensors"))).status == 403


async def test_a_narrowing_counts_at_once(pairlock: Pairlock, guard: Guard, phone: Phone, app: Recorder) -> None:
    await reaches(guard, phone)
    await reaches(guard, phone, "/sensors/b")
    grant = grant_of(app.scopes[-1])
    await pairlock.devices.narrow(phone.id, Permissions(read=("/sensors/b",)))
    for _ in range(2):
        assert (await ask(guard, scope_of("GET", "/sensors/a", phone.raw))).status == 403
        assert (await ask(guard, scope_of("GET", "/sensors/b", phone.raw))).status == 200
        assert (await ask(guard, scope_of("PUT", "/control/lamp", phone.raw))).status == 403
    assert not grant.allows("read", "/sensors/a")
    assert grant_of(app.scopes[-1]).scopes == ["paired", "read:/sensors/b"]


async def test_a_revocation_counts_at_once(pairlock: Pairlock, guard: Guard, phone: Phone, app: Recorder) -> None:
    await reaches(guard, phone)
    assert (await ask(guard, scope_of("POST", "/sensors/a", phone.raw))).status == 403
    grant = grant_of(app.scopes[-1])
    await pairlock.devices.revoke(phone.id)
    for method in ("GET", "POST"):
        assert (await ask(guard, scope_of(method, "/sensors/a", phone.raw))).status == 401
    assert grant.revoked
    assert not grant.allows("read", "/sensors/a")


async def test_a_revocation_is_the_devices_alone(pairlock: Pairlock, guard: Guard, phone: Phone) -> None:
    other = await pair(pairlock, read=["/sensors/**"])
    await reaches(guard, phone)
    await reaches(guard, other)
    await pairlock.devices.revoke(phone.id)
    await reaches(guard, other)


async def test_a_token_ends_at_its_second(pairlock: Pairlock, guard: Guard, phone: Phone, clock: FakeClock) -> None:
    await reaches(guard, phone)
    assert (await ask(guard, scope_of("POST", "/sensors/a", phone.raw))).status == 403
    clock.advance(pairlock.settings.life_of("pin") - 0.001)
    await reaches(guard, phone)
    clock.advance(0.001)
    for method in ("GET", "POST"):
        assert (await ask(guard, scope_of(method, "/sensors/a", phone.raw))).status == 401


@pytest.mark.parametrize(
    "query", [b"access_token=x", b"a=b&access_token=x", b"access_token=%70lk", b"access_token=x&q"]
)
async def test_an_allowance_does_not_let_a_token_in_the_query_pass(guard: Guard, phone: Phone, query: bytes) -> None:
    await reaches(guard, phone)
    assert (await ask(guard, scope_of("GET", "/sensors/a", phone.raw, query_string=query))).status == 400


@pytest.mark.parametrize(
    "query", [b"q=access_token", b"access_token_type=x", b"access_token=", b"%61ccess_token=x", b"q"]
)
async def test_a_query_is_judged_alike_before_and_after_its_request_is_remembered(
    guard: Guard, phone: Phone, query: bytes
) -> None:
    asked = scope_of("GET", "/sensors/a", phone.raw, query_string=query)
    before = (await ask(guard, dict(asked))).status
    await reaches(guard, phone)
    assert (await ask(guard, dict(asked))).status == before


async def test_an_allowance_does_not_let_two_tokens_pass(pairlock: Pairlock, guard: Guard, phone: Phone) -> None:
    other = await pair(pairlock, read=["/**"])
    await reaches(guard, phone)
    await reaches(guard, other)
    for headers in ([phone.raw, phone.raw], [phone.raw, other.raw], [other.raw, (b"x", b"y"), phone.raw]):
        assert (await ask(guard, scope_of("GET", "/sensors/a", *headers))).status == 400


async def test_what_an_app_answers_by_its_own_address_is_not_remembered(
    pairlock: Pairlock, phone: Phone, app: Recorder
) -> None:
    addresses = iter(["/sensors/a", "/elsewhere", "/sensors/a"])
    guard = pairlock.guard(app, address=lambda scope: next(addresses))
    statuses = [(await ask(guard, scope_of("GET", "/rpc", phone.raw))).status for _ in range(3)]
    assert statuses == [200, 403, 200]


# While revocations may be missing


class Interruptible(SQLiteStore):
    """A store whose change feed can be cut off."""

    is_cut = False

    async def watch(self, since: int | None = None) -> AsyncGenerator[Batch, None]:
        async for batch in super().watch(since):
            if self.is_cut:
                raise TemporarilyUnavailable(retry_after=1) from ConnectionError("the cable was pulled")
            yield batch


async def test_everything_guarded_is_refused_while_the_feed_is_stale_and_served_once_it_is_back(
    tmp_path: Path, app: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    store = Interruptible(tmp_path / "pairlock.db")
    pairlock = Pairlock(store=store, default_permissions=EVERYTHING, max_staleness=0.6)
    async with pairlock.lifespan():
        phone, guard = await pair(pairlock, read=["/sensors/**"]), pairlock.guard(app, public=["/"])
        await reaches(guard, phone)
        store.is_cut = True
        await pairlock.devices.rename(phone.id, "wakes the feed")
        await eventually(lambda: not pairlock._runtime.fresh)
        reached = len(app.scopes)
        for method, path in (("GET", "/sensors/a"), ("POST", "/sensors/a"), ("GET", "/sensors/new")):
            answer = await ask(guard, scope_of(method, path, phone.raw))
            assert answer.status == 503
            assert int(answer.headers[b"retry-after"]) >= 1
        assert len(app.scopes) == reached
        assert (await ask(guard, scope_of("GET", "/sensors/a"))).status == 401
        assert (await ask(guard, scope_of("GET", "/", phone.raw))).status == 200
        assert not app.user.is_authenticated
        store.is_cut = False
        await eventually(lambda: pairlock._runtime.fresh, within=5)
        await reaches(guard, phone)
    assert "the change feed was interrupted" in caplog.text


async def test_after_the_end_nothing_is_recalled_until_it_has_started_again(
    pairlock: Pairlock, guard: Guard, phone: Phone
) -> None:
    await reaches(guard, phone)
    await pairlock.aclose()
    await reaches(guard, phone)  # started again by itself
    await pairlock.devices.revoke(phone.id)
    await pairlock.aclose()
    assert (await ask(guard, scope_of("GET", "/sensors/a", phone.raw))).status == 401


# Bounds


async def test_after_ten_thousand_requests_of_many_tokens_all_tables_are_within_their_bounds(
    pairlock: Pairlock, guard: Guard, clock: FakeClock, app: Recorder
) -> None:
    now = int(clock())
    phones = [
        Phone(f"device{n}", pairlock._runtime.signer.sign(Claims(f"device{n}", "x", 0, ("/**",), (), now, now + 99)))
        for n in range(5000)
    ]
    await pairlock._runtime.commit(*(Add(a_device(id=f"device{n}")) for n in range(5000)))
    for turn in range(2):
        for number, phone in enumerate(phones):
            method = "POST" if number % 5 == turn else "GET"
            assert (await ask(guard, scope_of(method, f"/{number % 7}", phone.raw))).status in (200, 403)
        app.scopes.clear()
    verifier, standings = pairlock._verifier, pairlock._runtime.standings
    assert len(guard.known) == MAX_KNOWN
    assert len(verifier.grants) <= 4096
    assert len(standings._held) <= MAX_KNOWN + len(verifier.grants)
    assert all(not held.served for held in standings._held.values())
    assert sum(len(known.verdicts) for known in guard.known.values()) <= MAX_KNOWN * MAX_VERDICTS


async def test_the_places_remembered_for_a_token_are_bounded_and_the_oldest_leaves(
    guard: Guard, phone: Phone, pairlock: Pairlock
) -> None:
    for number in range(3 * MAX_VERDICTS):
        assert (await ask(guard, scope_of("GET", f"/sensors/{number}", phone.raw))).status == 200
    verdicts = guard.known[phone.raw[1]].verdicts
    assert len(verdicts) == MAX_VERDICTS
    assert [place[1] for place in verdicts][-1] == f"/sensors/{3 * MAX_VERDICTS - 1}"
    assert standing(pairlock, phone).served == {}


async def test_refused_tokens_leave_nothing_behind(guard: Guard, pairlock: Pairlock) -> None:
    for number in range(1000):
        header = (b"authorization", b"Bearer plk_%d" % number)
        assert (await ask(guard, scope_of("GET", f"/{number}", header))).status == 401
    assert len(guard.known) == len(pairlock._verifier.grants) == len(pairlock._runtime.standings._held) == 0


async def test_changes_of_a_device_replace_what_was_remembered_of_it(
    guard: Guard, phone: Phone, pairlock: Pairlock
) -> None:
    for number in range(20):
        assert (await ask(guard, scope_of("GET", f"/sensors/{number}", phone.raw))).status == 200
    await pairlock.devices.narrow(phone.id, Permissions(read=("/sensors/*",)))
    await reaches(guard, phone)
    assert list(guard.known) == [phone.raw[1]]
    assert len(guard.known[phone.raw[1]].verdicts) == 1


async def test_a_long_header_path_or_method_does_not_fill_the_memory(guard: Guard, phone: Phone) -> None:
    name, value = phone.raw
    for number in range(200):
        padded = value.replace(b" ", b" " * (1 + 50_000 + number))
        await ask(guard, scope_of("GET", "/sensors/a", (name, padded)))
        await ask(guard, scope_of("X" * 50_000 + str(number), "/sensors/a", phone.raw))
        await ask(guard, scope_of("GET", "/sensors/a", phone.raw, raw_path=b"/sensors/" + b"%61" * (9000 + number)))
    headers = sum(len(header or b"") for header in (*guard.known, *guard.verifier.grants))
    places = [place for known in guard.known.values() for place in known.verdicts]
    assert headers + sum(len(method) + len(raw or b"") for method, _, raw, _ in places) < 1_000_000


async def test_only_the_usual_spelling_of_a_header_is_remembered(guard: Guard, phone: Phone) -> None:
    token = phone.raw[1].removeprefix(b"Bearer ")
    for spaces in range(2, 20):
        padded = (b"authorization", b"Bearer" + spaces * b" " + token)
        assert (await ask(guard, scope_of("GET", "/sensors/a", padded))).status == 200
    assert not guard.known
    await reaches(guard, phone)
    assert list(guard.known) == [phone.raw[1]]
