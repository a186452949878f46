"""What is open for devices that may do less ends a moment later, and a few at a time."""

import asyncio

import pytest

from pairlock._core.standings import Standing
from pairlock.services.cutting import AT_ONCE, GRACE, Cutting
from tests.services.parts import until

pytestmark = pytest.mark.anyio


class Stream:
    """Something that is served, until it is cancelled."""

    def __init__(self) -> None:
        self.ended = False

    def cancel(self, msg: str) -> None:
        self.ended = True


class Refused:
    """What would not be let in now."""

    counts = False


def served(count: int) -> tuple[list[Standing], list[Stream]]:
    standings, streams = [Standing() for _ in range(count)], [Stream() for _ in range(count)]
    for standing, stream in zip(standings, streams, strict=True):
        standing.served[stream] = Refused()
    return standings, streams


async def test_a_moment_is_left_for_what_is_being_answered() -> None:
    cutting, ((standing,), (stream,)) = Cutting(), served(1)
    cutting.cut(standing)
    await asyncio.sleep(GRACE / 2)
    assert not stream.ended
    await until(lambda: stream.ended, seconds=1)


async def test_each_is_cut_however_many_and_whenever_they_come() -> None:
    cutting, (standings, streams) = Cutting(), served(5 * AT_ONCE + 1)
    for standing in standings[: 3 * AT_ONCE]:
        cutting.cut(standing)
    await asyncio.sleep(GRACE / 2)
    for standing in standings[3 * AT_ONCE :]:
        cutting.cut(standing)
    await until(lambda: all(stream.ended for stream in streams), seconds=2)
    cutting.cut(standings[0])  # and it goes on afterwards
    streams[0].ended = False
    await until(lambda: streams[0].ended, seconds=1)


async def test_only_a_few_are_cut_before_others_may_run() -> None:
    cutting, (standings, streams) = Cutting(), served(4 * AT_ONCE)
    for standing in standings:
        cutting.cut(standing)
    most, ended = 0, 0
    async with asyncio.timeout(2):
        while ended < len(streams):
            await asyncio.sleep(0)
            now = sum(stream.ended for stream in streams)
            most, ended = max(most, now - ended), now
    assert most <= AT_ONCE


async def test_what_is_not_served_costs_nothing() -> None:
    cutting = Cutting()
    for _ in range(100):
        cutting.cut(Standing())
    assert not cutting._due


async def test_only_a_few_of_one_device_are_cut_before_others_may_run() -> None:
    cutting, ((standing,), _) = Cutting(), served(1)
    streams = [Stream() for _ in range(4 * AT_ONCE)]
    standing.served.update(dict.fromkeys(streams, Refused()))
    cutting.cut(standing)
    most, ended = 0, 0
    async with asyncio.timeout(2):
        while ended < len(streams):
            await asyncio.sleep(0)
            now = sum(stream.ended for stream in streams)
            most, ended = max(most, now - ended), now
    assert most <= AT_ONCE
