"""P4: verifying a token that was not seen before, divided by what itsdangerous and PyJWT take for the same claims.

A token's whole first time in a process: read (signature, version, times) and its device looked up, in the store in
memory, which the peers do not do. First one token, the memory of verified ones emptied each time; then so many
devices taking turns that every one is unknown again by the time it comes back. Without a goal: reading alone.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence

import jwt
from itsdangerous import URLSafeTimedSerializer

from pairlock import Pairlock, Permissions
from pairlock.services.verifier import MAX_GRANTS
from pairlock.stores.contract import Add
from pairlock.testing import a_device
from tests.benchmarks.measure import Times, awaits, calls, interleave
from tests.benchmarks.paired import PERMISSIONS, SECRET, pairing
from tests.benchmarks.report import Row, Rows, microseconds, script

DEVICES = MAX_GRANTS + 900
LIFE = 3600
GOALS = {"itsdangerous": 0.45, "PyJWT": 0.2}

serializer = URLSafeTimedSerializer(SECRET)


async def measure() -> Rows:
    now = int(time.time())
    devices = [a_device(permissions=Permissions.parse(PERMISSIONS)) for _ in range(DEVICES)]
    dicts = [{"sub": device.id, "name": device.name, "epoch": 0, **PERMISSIONS} for device in devices]
    signed = [str(serializer.dumps(each)) for each in dicts]
    encoded = [jwt.encode({**each, "iat": now, "exp": now + LIFE}, SECRET, algorithm="HS256") for each in dicts]
    async with pairing() as pairlock, pairing() as busy:
        await pairlock._runtime.commit(Add(devices[0]))
        await busy._runtime.commit(*map(Add, devices))
        headers = [b"Bearer " + pairlock.tokens.access(device)[0].encode() for device in devices]
        for header in headers:
            await busy._verifier.admit(header)
        times = await interleave(
            {
                "read": calls(pairlock._verifier.read, headers[0].removeprefix(b"Bearer ")),
                "one": awaits(verify_on_empty, pairlock, headers[0]),
                "all": awaits(verify, busy, itertools.cycle(headers)),
                "itsdangerous one": calls(loads, signed[0]),
                "itsdangerous all": calls(one_by_one(loads, signed)),
                "PyJWT one": calls(decode, encoded[0]),
                "PyJWT all": calls(one_by_one(decode, encoded)),
            },
            rounds=61,
        )
    return [
        *(_row(times, "cold verification", "one", f"{peer} one", goal) for peer, goal in GOALS.items()),
        *(_row(times, "the same, memory full", "all", f"{peer} all", goal) for peer, goal in GOALS.items()),
        *(_row(times, "reading the token alone", "read", f"{peer} one", None) for peer in GOALS),
    ]


def _row(times: Times, what: str, which: str, rival: str, goal: float | None) -> Row:
    shown = f"{rival.split()[0]} {microseconds(times.seconds(rival))}"
    return Row("P4", what, microseconds(times.seconds(which)), shown, times.ratio(which, rival), goal)


async def verify_on_empty(pairlock: Pairlock, header: bytes) -> None:
    pairlock._verifier.grants.clear()
    await pairlock._verifier.admit(header)


async def verify(pairlock: Pairlock, headers: Iterator[bytes]) -> None:
    await pairlock._verifier.admit(next(headers))


def loads(token: str) -> None:
    serializer.loads(token, max_age=LIFE)


def decode(token: str) -> None:
    jwt.decode(token, SECRET, algorithms=["HS256"])


def one_by_one(function: Callable[[str], None], tokens: Sequence[str]) -> Callable[[], None]:
    following = itertools.cycle(tokens)
    return lambda: function(next(following))


if __name__ == "__main__":
    script(measure, __doc__)
