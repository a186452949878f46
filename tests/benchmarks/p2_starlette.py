"""P2: a guarded request to a Starlette app, divided by the same with a no-op middleware."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pairlock import Pairlock
from tests.benchmarks.measure import interleave
from tests.benchmarks.paired import NoOp, a_scope, pair, pairing, requests
from tests.benchmarks.report import Row, Rows, microseconds, script

GOALS = {4: 1.10, 14: 1.15}  # by number of headers


async def sensor(request: Request) -> JSONResponse:
    return JSONResponse({"name": request.path_params["name"], "value": 21.5})


async def measure() -> Rows:
    async with pairing() as pairlock:
        token = await pair(pairlock)
        return [await _with_headers(pairlock, token, headers) for headers in GOALS]


async def _with_headers(pairlock: Pairlock, token: str, headers: int) -> Row:
    scope, routes = a_scope(token, headers=headers), [Route("/sensors/{name}", sensor)]
    times = await interleave(
        {
            "no-op": requests(Starlette(routes=routes, middleware=[Middleware(NoOp)]), scope),
            "guard": requests(Starlette(routes=routes, middleware=[Middleware(pairlock.guard)]), scope),
        },
        rounds=101,
    )
    return Row(
        "P2",
        f"guarded Starlette request, {headers} headers",
        microseconds(times.seconds("guard")),
        f"with a no-op {microseconds(times.seconds('no-op'))}",
        times.ratio("guard", "no-op"),
        goal=GOALS[headers],
    )


if __name__ == "__main__":
    script(measure, __doc__)
