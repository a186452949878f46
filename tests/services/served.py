"""The service that is killed: `python -m tests.services.served DATABASE PORT`."""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send

from pairlock import Pairlock, operator_token
from tests.services.parts import SENSORS, UNLIMITED

OPERATOR_TOKEN = "the-operator-token-of-these-tests"


async def sensors(scope: Scope, receive: Receive, send: Send) -> None:
    """What is guarded."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    pairlock = Pairlock(
        store=f"sqlite:///{sys.argv[1]}",
        default_permissions=SENSORS,
        operator=operator_token(OPERATOR_TOKEN),
        limits=UNLIMITED,
    )
    uvicorn.run(pairlock.protect(sensors), port=int(sys.argv[2]), log_level="critical", lifespan="off")
