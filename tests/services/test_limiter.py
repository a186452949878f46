"""Limits count in the store, by our clock, and each name, source and rate by itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from pairlock.errors import ConfigurationError, TemporarilyUnavailable, TooManyRequests
from pairlock.services.limiter import Limiter, key_of, parse_limits, rates
from pairlock.stores.contract import Store
from pairlock.stores.memory import MemoryData, MemoryStore
from pairlock.stores.sqlite import SQLiteStore
from pairlock.testing import FakeClock
from tests.services.parts import FailingStore, away

STARTS = "3/minute; 5/10 minutes; 10/hour"
SOURCE = "203.0.113.7"

NewLimiter = Callable[[], Awaitable[Limiter]]


@pytest.fixture(params=["memory", "sqlite"])
async def new_limiter(request: pytest.FixtureRequest, path: Path, clock: FakeClock) -> AsyncIterator[NewLimiter]:
    """Makes limiters, each with a handle of its own on the same data: as processes are to each other."""
    data, opened = MemoryData(), list[Store]()

    async def make() -> Limiter:
        store: Store = MemoryStore(data) if request.param == "memory" else SQLiteStore(path)
        await store.open()
        opened.append(store)
        return limiter_on(store, clock)

    yield make
    for store in opened:
        await store.aclose()


@pytest.fixture
async def limiter(new_limiter: NewLimiter) -> Limiter:
    return await new_limiter()


def limiter_on(store: Store, clock: Callable[[], float]) -> Limiter:
    async def ready() -> Store:
        return store

    return Limiter(ready, clock)


async def wait_of(call: Awaitable[None]) -> int | None:
    """What `retry_after` says; None when the call was let through."""
    try:
        await call
    except TooManyRequests as refused:
        wait: int = refused.retry_after
        return wait
    return None


class TestLimits:
    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize(
        ("limits", "calls"),
        [
            # Each call: seconds since the last one, and how long to wait, or None when it is let through.
            ("1/second", [(0, None), (0.5, 1), (0.5, None)]),
            ("2/minute", [(0, None), (59, None), (0.5, 1), (0.5, None), (1, None), (1, 58)]),
            ("2/minute", [(0, None), (0, None), (0, 60), (30, 30), (29.9, 1), (0.1, None)]),
            ("2 per 15 minutes", [(0, None), (899, None), (0, 1), (1, None)]),
            ("1/minute; 1/hour", [(0, None), (1, 3599), (3599, None)]),
            ("1/minute; 1/hour", [(0, None), (3599, 60), (60, None)]),  # the refused call filled another minute
            (STARTS, [*[(0, None)] * 3, (0, 60), (60, None), (0, None), (0, 540), (540, None), (0, None)]),
            ("1/day", [(0, None), (86399.5, 1), (0.5, None)]),
        ],
    )
    async def test_calls_are_counted_in_windows_that_begin_with_the_first(
        self, limiter: Limiter, clock: FakeClock, limits: str, calls: list[tuple[float, int | None]]
    ) -> None:
        for after, wait in calls:
            clock.advance(after)
            assert await wait_of(limiter.hit("starts", limits, SOURCE)) == wait

    async def test_a_refused_call_uses_up_no_longer_window(self, limiter: Limiter, clock: FakeClock) -> None:
        for turn in range(4):
            waits = [await wait_of(limiter.hit("starts", "4/hour; 1/minute", SOURCE)) for _ in range(4)]
            assert waits == [None, *[60] * 3] if turn < 3 else [None, *[3420] * 3]
            clock.advance(60)
        assert await wait_of(limiter.hit("starts", "4/hour; 1/minute", SOURCE)) == 3360

    async def test_windows_end_by_our_clock_alone(self, limiter: Limiter, clock: FakeClock) -> None:
        clock.set(5)
        assert await wait_of(limiter.hit("starts", "1/minute", SOURCE)) is None
        assert await wait_of(limiter.hit("starts", "1/minute", SOURCE)) == 60

    async def test_what_was_right_is_taken_back(self, limiter: Limiter) -> None:
        for _ in range(20):
            await limiter.hit("pins", "2/minute; 4/hour", SOURCE)
            await limiter.take_back("pins", "2/minute; 4/hour", SOURCE)
        await limiter.hit("pins", "2/minute; 4/hour", SOURCE)
        await limiter.hit("pins", "2/minute; 4/hour", SOURCE)
        assert await wait_of(limiter.hit("pins", "2/minute; 4/hour", SOURCE)) == 60

    async def test_no_more_is_taken_back_than_was_counted(self, limiter: Limiter) -> None:
        for _ in range(5):
            await limiter.take_back("pins", "1/minute", SOURCE)
        await limiter.hit("pins", "1/minute", SOURCE)
        assert await wait_of(limiter.hit("pins", "1/minute", SOURCE)) == 60

    async def test_checking_counts_nothing(self, limiter: Limiter) -> None:
        for _ in range(5):
            await limiter.check("pins", "1/minute", SOURCE)
        await limiter.hit("pins", "1/minute", SOURCE)

    async def test_checking_refuses_what_the_next_call_would_be(self, limiter: Limiter, clock: FakeClock) -> None:
        await limiter.hit("pins", "2/minute; 2/hour", SOURCE)
        clock.advance(20)
        await limiter.check("pins", "2/minute; 2/hour", SOURCE)
        await limiter.hit("pins", "2/minute; 2/hour", SOURCE)
        assert await wait_of(limiter.check("pins", "2/minute", SOURCE)) == 40
        assert await wait_of(limiter.check("pins", "2/minute; 2/hour", SOURCE)) == 3580
        clock.advance(40)
        await limiter.check("pins", "2/minute", SOURCE)

    async def test_one_second_is_the_least_to_wait(self, limiter: Limiter, clock: FakeClock) -> None:
        await limiter.hit("pins", "1/second", SOURCE)
        clock.advance(0.999)
        assert await wait_of(limiter.check("pins", "1/second", SOURCE)) == 1

    @pytest.mark.parametrize("looks", [0, 1, 2])
    async def test_a_window_that_ends_while_a_call_is_refused_says_one_second(self, looks: int) -> None:
        times = itertools.chain([0.0, 59.9], itertools.repeat(59.9, looks), itertools.repeat(60.0))
        await (store := MemoryStore()).open()
        limiter = limiter_on(store, lambda: next(times))
        await limiter.hit("pins", "1/minute", SOURCE)
        assert await wait_of(limiter.hit("pins", "1/minute", SOURCE)) == 1

    async def test_of_many_at_once_exactly_as_many_pass_as_may(self, new_limiter: NewLimiter) -> None:
        handles = [await new_limiter(), await new_limiter()]
        calls = (handle.hit("starts", "10/minute; 50/hour", SOURCE) for handle in handles * 25)
        waits = await asyncio.gather(*map(wait_of, calls))
        assert waits.count(None) == 10

    async def test_handles_count_together(self, new_limiter: NewLimiter) -> None:
        one, other = await new_limiter(), await new_limiter()
        await one.hit("starts", "2/minute", SOURCE)
        await other.hit("starts", "2/minute", SOURCE)
        assert await wait_of(one.hit("starts", "2/minute", SOURCE)) == 60
        await other.take_back("starts", "2/minute", SOURCE)
        assert await wait_of(one.check("starts", "2/minute", SOURCE)) == 60

    async def test_names_sources_and_rates_are_counted_apart(self, limiter: Limiter) -> None:
        await limiter.hit("starts", "1/minute", SOURCE)
        await limiter.hit("pins", "1/minute", SOURCE)
        await limiter.hit("starts", "1/minute", "203.0.113.8")
        await limiter.hit("starts", "1/hour", SOURCE)
        await limiter.hit("starts", "2/minute", SOURCE)
        assert await wait_of(limiter.hit("starts", "1/60 seconds", SOURCE)) == 60  # the same rate, in other words

    @pytest.mark.parametrize("source", ["", "2001:db8::/64", "Zoë", "\0", "\ud800", "x" * 10_000, "a b'\";--"])
    async def test_a_source_may_be_any_text(self, limiter: Limiter, source: str) -> None:
        await limiter.hit("starts", "1/minute", source)
        assert await wait_of(limiter.hit("starts", "1/minute", source)) == 60

    async def test_a_store_that_does_not_answer_lets_nothing_through(self, clock: FakeClock) -> None:
        store = FailingStore()
        await store.open()
        store.errors["hit"] = away()
        limiter = limiter_on(store, clock)
        for call in (limiter.hit, limiter.check, limiter.take_back):
            with pytest.raises(TemporarilyUnavailable):
                await call("starts", STARTS, SOURCE)


@pytest.mark.anyio
async def test_counts_survive_a_restart(path: Path, clock: FakeClock) -> None:
    for wait in (None, None, 60):
        store = SQLiteStore(path)
        await store.open()
        assert await wait_of(limiter_on(store, clock).hit("starts", "2/minute", SOURCE)) == wait
        await store.aclose()


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "parsed"),
        [
            ("3/minute", [(3, 60)]),
            ("3 per minute", [(3, 60)]),
            (STARTS, [(3, 60), (5, 600), (10, 3600)]),
            ("10/15 minutes, 100/day | 1/second", [(1, 1), (10, 900), (100, 86400)]),
            ("3/minute; 3/60 seconds; 4/minute", [(3, 60), (4, 60)]),
            ("1/year", [(1, 360 * 86400)]),
        ],
    )
    def test_limits_are_written_as_the_library_has_it(self, text: str, parsed: list[tuple[int, int]]) -> None:
        assert [(rate.amount, rate.get_expiry()) for rate in parse_limits(text, "starts")] == parsed

    @pytest.mark.parametrize(
        "text",
        ["", "often", "3", "3/fortnight", "3/minute;", "-1/minute", "1.5/minute", "9" * 5000 + "/day", None, 3, []],
    )
    def test_what_is_no_limit_names_the_setting_and_what_to_write(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r'^limits: starts: .* is no limit; write one such as "3/minute'):
            parse_limits(text, "limits: starts")

    @pytest.mark.parametrize("text", ["0/minute", "3/minute; 0/hour", "1/2 years", "1/99999999999999999999 days"])
    def test_what_never_allows_or_never_ends_is_refused(self, text: str) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^starts: .* does not allow at least 1 in at most 366 days; write"
        ):
            parse_limits(text, "starts")

    def test_a_name_has_no_colon(self) -> None:
        with pytest.raises(ValueError, match="no colon"):
            rates("a:b", "3/minute")


names = st.text("ab1/ ", max_size=4)
limits = st.builds("{}/{} seconds".format, st.integers(1, 12), st.integers(1, 12))
sources = st.text(st.sampled_from("ab1:/ =#é"), max_size=6) | st.text(max_size=100)
counted = st.tuples(names, limits, sources)


def key(name: str, limits: str, source: str) -> str:
    (rate,) = rates(name, limits)
    return rate.key_for(key_of(source))


class TestKeys:
    def test_a_key_is_read_by_people(self) -> None:
        assert key("starts", "3/minute", "2001:db8::/64") == "starts:3/60:2001:db8::/64"

    @given(counted, counted)
    @example(("a", "1/1 second", "1/1:b"), ("a", "1/1 second", "b"))
    @example(("a", "1/1 second", key_of("x" * 100)), ("a", "1/1 second", "x" * 100))
    def test_what_differs_never_shares_a_key(self, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
        assert (key(*one) == key(*other)) == (one == other)

    @given(st.text())
    @example("x" * 1000)
    @example("\ud800")
    def test_a_key_is_short_and_plain_whatever_the_source(self, source: str) -> None:
        text = key("starts", "3/minute", source)
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 100
