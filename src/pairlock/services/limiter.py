"""How often is too often: the library `limits` decides, and counts in the store that all processes share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from hashlib import sha256
from math import ceil

from limits import RateLimitItemPerSecond, parse_many
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter

from pairlock.errors import ConfigurationError, TooManyRequests
from pairlock.stores.contract import Store

LONGEST_WINDOW = 366 * 86400  # seconds
MAX_SOURCE = 64  # characters of a source that stand in a key as they are

Counter = tuple[str, str, str]  # name, limits, source


class Rate(RateLimitItemPerSecond):
    """At most `amount` in `multiples` seconds, whatever unit they were written in; counted apart for each name."""

    __slots__ = ("prefix",)

    def __init__(self, amount: int, seconds: int, name: str) -> None:
        super().__init__(amount, seconds)
        self.prefix = f"{name}:{amount}/{seconds}:"

    def key_for(self, source: str) -> str:  # type: ignore[override]  # one identifier, the only one ever given
        """The counter of one source."""
        return self.prefix + source

    def get_expiry(self) -> int:
        """The seconds of a window."""
        return self.multiples


# Not a subclass of Storage: that wraps each method to translate errors, which ours need not, and costs in every hit.
@Storage.register
class StoredCounters:
    """A store of ours as `limits` wants one for its fixed windows, which end by our clock."""

    def __init__(self, store_ready: Callable[[], Awaitable[Store]], clock: Callable[[], float]) -> None:
        self._store_ready = store_ready
        self._clock = clock

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count so many hits in a window of so many seconds; how many there are now."""
        store = await self._store_ready()
        return (await store.hit(key, expiry, self._clock(), amount)).count

    async def get(self, key: str) -> int:
        """How many hits there are."""
        store = await self._store_ready()
        return (await store.hit(key, 0, self._clock(), 0)).count

    async def get_expiry(self, key: str) -> float:
        """When the window ends; now where none runs."""
        store = await self._store_ready()
        return (await store.hit(key, 0, self._clock(), 0)).resets_at


class Limiter:
    """Refuses what comes too often.

    `name` says what is counted, `source` whose calls they are; each name, source and rate has a counter of its
    own. `limits` are as in "3/minute; 10/hour". Every method raises TemporarilyUnavailable when the store does
    not answer.
    """

    def __init__(self, store_ready: Callable[[], Awaitable[Store]], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counters = StoredCounters(store_ready, clock)
        self._windows = FixedWindowRateLimiter(self._counters)  # type: ignore[arg-type]  # registered as one

    async def hit(self, name: str, limits: str, source: str) -> None:
        """Count one call in each window, from the shortest on. Raises TooManyRequests when one holds too many.

        What is refused is counted in the window that refuses it, and in no longer one.
        """
        key, all_rates = key_of(source), rates(name, limits)
        for rate in all_rates:
            if not await self._windows.hit(rate, key):
                raise await self._refusal(all_rates, key)

    async def check(self, name: str, limits: str, source: str) -> None:
        """Count nothing. Raises TooManyRequests when the next call would be one too many."""
        key, all_rates = key_of(source), rates(name, limits)
        for rate in all_rates:
            if not await self._windows.test(rate, key):
                raise await self._refusal(all_rates, key)

    async def take_back(self, name: str, limits: str, source: str) -> None:
        """Forget one call: what turned out right was no wrong guess."""
        for rate in rates(name, limits):
            await self._windows.hit(rate, key_of(source), cost=-1)

    @asynccontextmanager
    async def guessing(self, *counters: Counter) -> AsyncIterator[None]:
        """What may be a wrong guess is counted before it is looked at, and taken back where nothing was raised.

        Raises TooManyRequests when one of the counters holds too many already.
        """
        for counter in counters:
            await self.hit(*counter)
        yield
        for counter in counters:
            await self.take_back(*counter)

    async def _refusal(self, all_rates: tuple[Rate, ...], key: str) -> TooManyRequests:
        """To come again when the next call is let through: a window that is just full now is waited for too."""
        full = [rate for rate in all_rates if not await self._windows.test(rate, key)]
        ends = [await self._counters.get_expiry(rate.key_for(key)) for rate in full]
        return TooManyRequests(retry_after=max(1, ceil(max(ends, default=0) - self._clock())))


def parse_limits(text: str, setting: str) -> tuple[Rate, ...]:
    """The rates of a text such as "3/minute; 5/10 minutes", shortest first.

    Raises ConfigurationError, naming the setting.
    """
    try:
        items = parse_many(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f'{setting}: {text!r} is no limit; write one such as "3/minute; 10/hour"') from error
    if any(item.amount < 1 or item.get_expiry() > LONGEST_WINDOW for item in items):
        raise ConfigurationError(
            f'{setting}: {text!r} does not allow at least 1 in at most 366 days; write one such as "3/minute; 10/hour"'
        )
    distinct = dict.fromkeys(Rate(item.amount, item.get_expiry(), setting) for item in items)
    return tuple(sorted(distinct, key=lambda rate: rate.multiples))


@lru_cache
def rates(name: str, limits: str) -> tuple[Rate, ...]:
    """The rates under a name, parsed once."""
    if ":" in name:
        raise ValueError(f"{name!r}: the name of what is limited has no colon")
    return parse_limits(limits, name)


def key_of(source: str) -> str:
    """The source as it stands in keys: short and of plain characters. Different ones never have the same."""
    if len(source) <= MAX_SOURCE and source.isascii() and source.isprintable():
        return source
    return "sha256=" + sha256(source.encode(errors="surrogatepass")).hexdigest()  # longer than any plain one
