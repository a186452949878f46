"""The change feed: what any process commits, each event once, none left out."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from pairlock.stores.contract import Add, Batch, Conflict, Log, Store
from pairlock.testing.builders import a_device, an_event
from pairlock.testing.contract.handles import Handles, all_events

ROUNDS = 25
PATIENCE = 10.0  # seconds after which a test stops waiting; nothing that works comes near it
PROMPT = 1.0  # seconds within which the feed says something
LENIENCE = 0.5  # for a machine that is busy with other things


@contextlib.asynccontextmanager
async def following(store: Store, since: int | None = None) -> AsyncIterator[AsyncGenerator[Batch, None]]:
    """A feed that is closed when the test is done with it, and not waited for without end."""
    async with asyncio.timeout(PATIENCE), contextlib.aclosing(store.watch(since)) as feed:
        yield feed


async def names_after(store: Store, since: int | None, count: int) -> list[str | None]:
    """The names of the first so many events of a feed."""
    names: list[str | None] = []
    async with following(store, since) as feed:
        while len(names) < count:
            names += [event.name for event in (await anext(feed)).events]
    return names


async def next_names(feed: AsyncGenerator[Batch, None]) -> list[str | None]:
    """The names of the next events, which must come promptly; the cursor is that of the last."""
    names: list[str | None] = []
    async with asyncio.timeout(PROMPT + LENIENCE):
        while not names:
            batch = await anext(feed)
            names = [event.name for event in batch.events]
            assert [event.seq for event in batch.events[-1:]] in ([], [batch.cursor])
    return names


async def commit_events(store: Store, name: str) -> None:
    for number in range(ROUNDS):
        events = [an_event(name=f"{name}{number}.{part}") for part in range(number % 3)]
        await store.commit(*(Log(event) for event in events))


class Feed(Handles):
    async def test_a_feed_begins_at_the_present(self, store: Store) -> None:
        await store.commit(Log(an_event(name="past")))
        (past,) = await all_events(store)
        async with following(store) as feed:
            assert await anext(feed) == Batch(past.seq, ())
            await store.commit(Log(an_event(name="new")))
            assert await next_names(feed) == ["new"]

    async def test_a_feed_of_an_empty_store_begins_at_once(self, store: Store) -> None:
        async with asyncio.timeout(PROMPT + LENIENCE), following(store) as feed:
            assert (await anext(feed)).events == ()

    async def test_a_feed_tells_of_every_handle_promptly(self, store: Store, other: Store) -> None:
        async with following(store) as feed:
            await anext(feed)
            for number, handle in enumerate((store, other) * 3):
                await handle.commit(Add(a_device()), Log(an_event(name=str(number))))
                assert await next_names(feed) == [str(number)]

    async def test_a_feed_goes_on_from_a_cursor(self, store: Store, other: Store) -> None:
        await store.commit(Log(an_event(name="seen")))
        async with following(store) as feed:
            cursor = (await anext(feed)).cursor
        for name in "abc":
            await other.commit(Log(an_event(name=name)))
        async with following(other, cursor) as feed:
            batch = await anext(feed)
        assert [event.name for event in batch.events] == ["a", "b", "c"]
        assert batch.events == tuple((await all_events(store))[1:])
        async with asyncio.timeout(PROMPT + LENIENCE), following(store, batch.cursor) as feed:
            assert await anext(feed) == Batch(batch.cursor, ())

    async def test_a_feed_catches_up_however_long_it_was_away(self, store: Store) -> None:
        async with following(store) as feed:
            cursor = (await anext(feed)).cursor
        await store.commit(*(Log(an_event(name=str(number))) for number in range(1203)))
        assert await names_after(store, cursor, 1203) == [str(number) for number in range(1203)]

    async def test_a_feed_goes_on_after_a_purge_of_all_events(self, store: Store) -> None:
        await store.commit(Log(an_event(purge_at=1)), Log(an_event(purge_at=1)))
        cursor = (await all_events(store))[-1].seq
        await store.purge(1)
        async with following(store) as fresh, following(store, cursor) as feed:
            await anext(fresh)
            await anext(feed)
            await store.commit(Log(an_event(name="new")))
            assert await next_names(fresh) == await next_names(feed) == ["new"]

    async def test_a_feed_shows_that_it_is_alive_every_second(self, store: Store) -> None:
        async with following(store) as feed:
            first = await anext(feed)
            begun = time.monotonic()
            assert await anext(feed) == first
            assert time.monotonic() - begun < PROMPT + LENIENCE

    async def test_every_watcher_sees_each_event_once_in_order(self, store: Store, other: Store) -> None:
        await store.commit(Log(an_event(name="begin")))
        cursor = (await all_events(store))[-1].seq
        total = 2 * sum(number % 3 for number in range(ROUNDS))
        *seen, _, _ = await asyncio.gather(
            *(names_after(handle, cursor, total) for handle in (store, store, other, other)),
            commit_events(store, "a"),
            commit_events(other, "b"),
        )
        committed = [event.name for event in (await all_events(store))[1:]]
        assert len(committed) == total
        assert seen == [committed] * 4

    async def test_a_commit_that_failed_is_not_in_the_feed(self, store: Store) -> None:
        device = a_device()
        await store.commit(Add(device))
        async with following(store) as feed:
            await anext(feed)
            with pytest.raises(Conflict):
                await store.commit(Log(an_event(name="never")), Add(device))
            await store.commit(Log(an_event(name="after")))
            assert await next_names(feed) == ["after"]

    async def test_a_cancelled_watcher_leaves_the_handle_working(self, store: Store) -> None:
        async with following(store) as feed:
            await anext(feed)
            waiting = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
        await store.commit(Log(an_event()))
        assert len(await all_events(store)) == 1
