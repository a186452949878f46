"""How often is too often: the library `limits` decides, and counts in the store that all processes share."""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from hashlib import sha256
from math import ceil

from limits import RateLimitItem, RateLimitItemPerSecond, parse_many
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter

from pairlock.errors import ConfigurationError, TooManyRequests
from pairlock.stores.contract import Store

LONGEST_WINDOW = 366 * 86400
MAX_SOURCE = 64  # characters of a source that stand in a key as they are

Decide = Callable[[RateLimitItem, str], Awaitable[bool]]


class Rate(RateLimitItemPerSecond):
    """At most `amount` in `multiples` seconds, whatever unit they were written in."""

    def key_for(self, subject: str) -> str:  # type: ignore[override]  # one identifier, the only one ever given
        """The counter of one subject."""
        return f"{subject}:{self.amount}/{self.multiples}"


# Not a subclass of Storage: that would wrap every method, which doubles what a hit costs.
@Storage.register
class StoredCounters:
    """A store of ours as `limits` wants one for fixed windows. Windows end by our clock."""

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

    `name` says what is counted, `source` whose calls they are; each name and source is counted by itself.
    `limits` are as in "3/minute; 10/hour". Every method raises TemporarilyUnavailable when the store does
    not answer.
    """

    def __init__(self, store_ready: Callable[[], Awaitable[Store]], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._counters = StoredCounters(store_ready, clock)
        self._windows = FixedWindowRateLimiter(self._counters)  # type: ignore[arg-type]  # registered as one

    async def hit(self, name: str, limits: str, source: str) -> None:
        """Count one call in each window, a refused one too. Raises TooManyRequests when one holds too many."""
        await self._admit(self._windows.hit, name, limits, source)

    async def check(self, name: str, limits: str, source: str) -> None:
        """Count nothing. Raises TooManyRequests when the next call would be one too many."""
        await self._admit(self._windows.test, name, limits, source)

    async def take_back(self, name: str, limits: str, source: str) -> None:
        """Forget one call: what turned out right was no wrong guess."""
        subject = subject_of(name, source)
        for rate in _rates(limits, name):
            await self._windows.hit(rate, subject, cost=-1)

    async def _admit(self, decide: Decide, name: str, limits: str, source: str) -> None:
        subject = subject_of(name, source)
        used_up = []
        for rate in _rates(limits, name):
            if not await decide(rate, subject):
                used_up.append(rate)
        if used_up:
            raise TooManyRequests(retry_after=await self._wait(used_up, subject))

    async def _wait(self, used_up: list[Rate], subject: str) -> int:
        """Whole seconds until the windows of all these have ended, at least 1."""
        ends = [await self._counters.get_expiry(rate.key_for(subject)) for rate in used_up]
        return max(ceil(max(ends) - self._clock()), 1)


def parse_limits(text: str, setting: str) -> tuple[Rate, ...]:
    """The rates of a text such as "3/minute; 5/10 minutes". Raises ConfigurationError, naming the setting."""
    try:
        items = parse_many(text)
    except ValueError as error:
        raise ConfigurationError(f'{setting}: {text!r} is no limit; write one such as "3/minute; 10/hour"') from error
    if any(item.amount < 1 or item.get_expiry() > LONGEST_WINDOW for item in items):
        raise ConfigurationError(f"{setting}: {text!r} must allow at least 1 in at most 366 days")
    return tuple(dict.fromkeys(Rate(item.amount, item.get_expiry()) for item in items))


_rates = lru_cache(parse_limits)


def subject_of(name: str, source: str) -> str:
    """The beginning of a key. Different names and sources never give the same one."""
    if ":" in name:
        raise ValueError(f"{name!r}: the name of a limit has no colon")
    is_plain = len(source) <= MAX_SOURCE and source.isascii() and source.isprintable()
    return f"{name}:{source if is_plain else _digest(source)}"


def _digest(source: str) -> str:
    """Longer than any source that stands for itself, hence never equal to one."""
    return "sha256=" + sha256(source.encode(errors="surrogatepass")).hexdigest()
