"""P1: what the guard adds to a raw ASGI app, divided by what a no-op middleware adds.

The device's token and the address have been seen before: the hot path.
"""

from tests.benchmarks.measure import interleave
from tests.benchmarks.paired import NoOp, a_scope, pair, pairing, plain_app, requests
from tests.benchmarks.report import Row, Rows, microseconds, script


async def measure() -> Rows:
    async with pairing() as pairlock:
        scope = a_scope(await pair(pairlock))
        times = await interleave(
            {
                "app": requests(plain_app, scope),
                "no-op": requests(NoOp(plain_app), scope),
                "guard": requests(pairlock.guard(plain_app), scope),
            },
            rounds=101,
        )
    guard, floor = ("guard", "app"), ("no-op", "app")
    return [
        Row(
            "P1",
            "guard added to a raw app",
            microseconds(times.seconds(guard)),
            f"no-op middleware {microseconds(times.seconds(floor))}",
            times.ratio(guard, floor),
            goal=5,
        )
    ]


if __name__ == "__main__":
    script(measure, __doc__)
