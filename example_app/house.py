"""The service to be guarded: a plain Starlette app that knows nothing of how devices pair."""

import asyncio
import math
import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

EVERY = 1.0  # seconds between values on /live


def read_sensors() -> dict[str, float]:
    """What the sensors say now: a day's swing, compressed into a minute."""
    swing = math.sin(time.time() * math.tau / 60)
    return {"temperature": round(20 + 3 * swing, 1), "humidity": round(50 - 10 * swing, 1)}


async def home(request: Request) -> Response:
    return PlainTextResponse("A small house. To look inside, pair a device: POST /pair/requests.\n")


async def read_sensor(request: Request) -> Response:
    name = request.path_params["name"]
    sensors = read_sensors()
    if name not in sensors:
        raise HTTPException(404, f"no such sensor; there are {', '.join(sensors)}")
    return JSONResponse({"sensor": name, "value": sensors[name]})


async def control(request: Request) -> Response:
    name = request.path_params["name"]
    value = (await request.body()).decode(errors="replace").strip()
    request.app.state.controls[name] = value
    return JSONResponse({"control": name, "value": value, "set_by": request.user.display_name})


async def live(websocket: WebSocket) -> None:
    """Sends the sensors every second; takes {"write": "/control/lamp", "value": "on"}."""
    await websocket.accept()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_sensors(websocket))
            tasks.create_task(take_writes(websocket))
    except* WebSocketDisconnect:
        pass


async def send_sensors(websocket: WebSocket) -> None:
    while True:
        await websocket.send_json({"sensors": read_sensors()})
        await asyncio.sleep(EVERY)


async def take_writes(websocket: WebSocket) -> None:
    while True:
        try:
            message = await websocket.receive_json()
        except (ValueError, KeyError):  # not JSON, or not text
            message = None
        await websocket.send_json(write(websocket, message))


def write(websocket: WebSocket, message: object) -> dict[str, object]:
    """One message of a device. The guard let it connect; what it may write, the app asks its grant."""
    match message:
        case {"write": str(address), "value": str(value)} if address.startswith("/control/"):
            if not websocket.state.grant.allows("write", address):
                return {"error": f"{websocket.user.display_name} may not write {address}"}
            websocket.app.state.controls[address.removeprefix("/control/")] = value
            return {"written": address, "value": value}
    return {"error": 'send {"write": "/control/lamp", "value": "on"}'}


house = Starlette(
    routes=[
        Route("/", home),
        Route("/sensors/{name}", read_sensor),
        Route("/control/{name}", control, methods=["PUT"]),
        WebSocketRoute("/live", live),
    ]
)
house.state.controls = {"lamp": "off", "door": "shut"}
