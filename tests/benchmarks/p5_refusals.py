"""P5: a refusal is no dearer than an acceptance, or refusals would be the way to burden a service.

401 is for a token with a bad signature: the whole answer through the guard, and the decision alone. It is
compared with itsdangerous, reading a good token of the same claims. 403 is for a good token at an address
that it was refused before, compared with one that it was allowed.
"""

from contextlib import suppress

from itsdangerous import URLSafeTimedSerializer

from pairlock import Pairlock, PairlockError
from tests.benchmarks.measure import awaits, calls, interleave
from tests.benchmarks.paired import (
    FORBIDDEN,
    PERMISSIONS,
    SECRET,
    a_scope,
    pair,
    pairing,
    plain_app,
    requests,
    status_of,
)
from tests.benchmarks.report import Row, Rows, microseconds, script

serializer = URLSafeTimedSerializer(SECRET)
CLAIMS = {"sub": "01hf3x2r8wkq5n7d9c4v6b1m0z", "name": "Living room phone", "epoch": 0, **PERMISSIONS}


async def measure() -> Rows:
    async with pairing() as pairlock:
        token = await pair(pairlock)
        forged = token[:-43] + "A" * 43
        guard = pairlock.guard(plain_app)
        answers = [await status_of(guard, scope) for scope in (a_scope(forged), a_scope(token, FORBIDDEN))]
        if answers != [401, 403]:
            raise RuntimeError(f"expected 401 and 403, not {answers}")
        times = await interleave(
            {
                "401": requests(guard, a_scope(forged)),
                "decision": awaits(refused, pairlock, b"Bearer " + forged.encode()),
                "loads": calls(serializer.loads, serializer.dumps(CLAIMS)),
                "403": requests(guard, a_scope(token, FORBIDDEN)),
                "hit": requests(guard, a_scope(token)),
            },
            rounds=61,
        )
    loads, hit = (f"{name} {microseconds(times.seconds(name))}" for name in ("loads", "hit"))
    return [
        Row(
            "P5", "401, bad signature", microseconds(times.seconds("401")), f"itsdangerous {loads}",
            times.ratio("401", "loads"), 0.45,
        ),
        Row(
            "P5", "its decision alone", microseconds(times.seconds("decision")), f"itsdangerous {loads}",
            times.ratio("decision", "loads"),
        ),
        Row("P5", "403, seen before", microseconds(times.seconds("403")), hit, times.ratio("403", "hit"), 1.2),
    ]  # fmt: skip


async def refused(pairlock: Pairlock, header: bytes) -> None:
    with suppress(PairlockError):
        await pairlock._verifier.admit(header)


if __name__ == "__main__":
    script(measure, __doc__)
