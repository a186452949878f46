"""No spelling of a path reaches a handler that the patterns do not cover.

Raw bytes go to a real server, so that no client tidies them up. The handlers say what they were called with;
whether that was covered is worked out here from that alone, by the most generous reading of a path there is.
"""

import asyncio
import importlib.util
import posixpath
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from pairlock import Pairlock
from tests.guard.parts import EVERYTHING, Phone, pair, served

pytestmark = pytest.mark.anyio

ANY = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW", "PROPFIND"]

# What a token that may read /sensors/** and write /control/lamp does reach, so that the table below proves something.
REACHED = [
    ("GET", b"/sensors/a"),
    ("GET", b"/sensors/a/"),
    ("GET", b"/sensors"),
    ("GET", b"/sensors/"),
    ("GET", b"/sensors/a/b/c"),
    ("GET", b"/sensors/%61"),
    ("GET", b"/%73ensors/a"),
    ("GET", b"/sensors/a%20b"),
    ("GET", b"/sensors/%C3%A9"),
    ("GET", b"/sensors/a;b=c"),
    ("GET", b"/sensors/..."),
    ("GET", b"/sensors/.hidden"),
    ("GET", b"/sensors/a..b"),
    ("GET", b"/sensors/a?next=/control/../x"),
    ("HEAD", b"/sensors/a"),
    ("OPTIONS", b"/sensors/a"),
    ("POST", b"/control/lamp"),
    ("PUT", b"/control/lamp/"),
    ("DELETE", b"/control/%6Camp"),
    ("PROPFIND", b"/control/lamp"),
    ("WS", b"/sensors/a"),
]

REFUSED = [
    # beside the patterns
    ("GET", b"/"),
    ("GET", b"/control/lamp"),
    ("GET", b"/control/door"),
    ("POST", b"/control/door"),
    ("POST", b"/control/lamp/x"),
    ("POST", b"/sensors/a"),
    ("BREW", b"/sensors/a"),
    ("GET", b"/files/sensors/a"),
    ("GET", b"/zone/sensors/a"),
    ("GET", b"/sensorsx/a"),
    ("GET", b"/sensor"),
    # case
    ("GET", b"/Sensors/a"),
    ("POST", b"/control/LAMP"),
    ("POST", b"/CONTROL/lamp"),
    # dot segments, plain and encoded, once and twice
    ("GET", b"/sensors/../control/door"),
    ("GET", b"/sensors/../../control/door"),
    ("GET", b"/sensors/./../control/door"),
    ("GET", b"/sensors/.."),
    ("GET", b"/sensors/."),
    ("GET", b"/sensors/../"),
    ("GET", b"/sensors/%2e%2e/control/door"),
    ("GET", b"/sensors/%2E./control/door"),
    ("GET", b"/sensors/.%2e/files/x"),
    ("GET", b"/sensors/%252e%252e/control/door"),
    ("GET", b"/sensors/%25%32%65%25%32%65/control/door"),
    ("GET", b"/sensors/%2525%32e/x"),
    ("POST", b"/control/lamp/../door"),
    ("POST", b"/control/lamp/..%2fdoor"),
    ("POST", b"/control/door/../lamp"),
    ("POST", b"/control/x/%2e%2e/lamp"),
    ("POST", b"/./control/lamp"),
    ("GET", b"/../sensors/a"),
    # encoded slashes and backslashes, once and twice
    ("GET", b"/sensors%2Fa"),
    ("GET", b"/sensors/a%2fb"),
    ("GET", b"/sensors/..%2fcontrol%2fdoor"),
    ("GET", b"/sensors/%252fcontrol"),
    ("GET", b"/sensors/..%255c..%255cfiles"),
    ("GET", b"/sensors/..\\control\\door"),
    ("GET", b"/sensors/..%5ccontrol%5Cdoor"),
    ("GET", b"\\sensors\\a"),
    ("POST", b"/control%2flamp"),
    ("POST", b"/control\\lamp"),
    ("POST", b"/control/lamp%2f..%2fdoor"),
    # empty segments
    ("GET", b"//sensors/a"),
    ("GET", b"/sensors//a"),
    ("GET", b"/sensors//../control/door"),
    ("GET", b"/sensors/a//"),
    ("GET", b"//"),
    ("GET", b"///"),
    ("POST", b"/control//lamp"),
    ("POST", b"/control/lamp//"),
    ("GET", b"//127.0.0.1/sensors/a"),
    # parameters of segments
    ("GET", b"/sensors/..;/control/door"),
    ("GET", b"/sensors/..;x=y/control/door"),
    ("GET", b"/sensors/;/../x"),
    ("GET", b"/sensors/;x"),
    ("GET", b"/sensors/.;/a"),
    ("GET", b"/sensors/%2e%2e;/control/door"),
    ("GET", b"/sensors/..%3b/control/door"),
    ("POST", b"/control/lamp;x"),
    ("POST", b"/control;/lamp"),
    ("GET", b"/;/sensors/a"),
    # controls, and what ends a path for some readers
    ("GET", b"/sensors/a%00"),
    ("GET", b"/sensors/%00/../control"),
    ("POST", b"/control/lamp%00"),
    ("POST", b"/control/lamp%00.png"),
    ("POST", b"/control/lamp%0a"),
    ("POST", b"/control/lamp%0d%0aX: y"),
    ("POST", b"/control/lamp%09"),
    ("POST", b"/control/lamp%20"),
    ("POST", b"/control/lamp%7f"),
    ("POST", b"/control/lamp%c2%85"),
    ("POST", b"/control/lamp%e2%80%a8"),
    ("POST", b"/control/lamp%3f"),
    ("POST", b"/control/lamp%3fx=y"),
    ("POST", b"/control/lamp%23"),
    ("GET", b"/sensors/a%3f/../../control/door"),
    ("GET", b"/sensors/%23/../control/door"),
    ("POST", b"/control/lamp#x"),
    # broken encodings
    ("GET", b"/sensors/%"),
    ("GET", b"/sensors/%2"),
    ("GET", b"/sensors/%zz"),
    ("GET", b"/sensors/%u002e%u002e/x"),
    ("GET", b"/sensors/%ff"),
    ("GET", b"/sensors/%c0%af..%c0%afcontrol"),
    ("GET", b"/sensors/%c0%ae%c0%ae/control/door"),
    ("GET", b"/sensors/%e0%80%af"),
    ("GET", b"/sensors/%f0%80%80%af"),
    ("GET", b"/sensors/%ed%a0%80"),
    ("GET", b"/sensors/\xff"),
    ("GET", b"/sensors/\xc0\xaf"),
    # other forms of a target
    ("GET", b"http://127.0.0.1/control/door"),
    ("POST", b"http://127.0.0.1/control/door"),
    ("POST", b"http://127.0.0.1/sensors/a"),
    ("GET", b"http://127.0.0.1/sensors/../control/door"),
    ("GET", b"http://sensors/a"),
    ("GET", b"file:///sensors/a"),
    ("GET", b"sensors/a"),
    ("POST", b"control/lamp"),
    ("OPTIONS", b"*"),
    ("GET", b"*"),
    ("CONNECT", b"127.0.0.1:80"),
    ("CONNECT", b"/control/lamp/../door"),
    ("GET", b"?/sensors/a"),
    ("GET", b"#/sensors/a"),
    # length
    ("GET", b"/sensors/" + b"a" * 2048),
    ("GET", b"/sensors/" + b"%61" * 2048),
    ("GET", b"/sensors/" + b"a/" * 128),
    ("GET", b"/sensors/" + b"../" * 500),
    ("GET", b"/sensors" + b"/" * 3000 + b"a"),
    ("GET", b"/sensors/" + b"a" * 40_000),
    # handshakes
    ("WS", b"/control/lamp"),
    ("WS", b"/sensors/../control/lamp"),
    ("WS", b"/sensors/%2e%2e/control/lamp"),
    ("WS", b"/sensors/a%2fb"),
    ("WS", b"/sensors//a"),
    ("WS", b"/sensors/..;/x"),
    ("WS", b"/sensors/a%00"),
    ("WS", b"/sensors/%c0%af"),
    ("WS", b"/sensors/..\\x"),
    ("WS", b"/Sensors/a"),
]


class Seen(NamedTuple):
    """What a handler was called with."""

    action: str
    path: str
    raw: str
    parameters: dict[str, Any]
    url: str


class House:
    """An app with every kind of route, whose handlers write down what they see."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def routes(self) -> list[Any]:
        rooms = [
            Route("/sensors/{name}", self.sensor, methods=ANY),
            Route("/control/lamp", self.lamp, methods=ANY),
            Route("/control/{name}", self.control, methods=ANY),
            WebSocketRoute("/sensors/{name}", self.socket),
        ]
        rest = [Route("/{path:path}", self.rest, methods=ANY), WebSocketRoute("/{path:path}", self.socket)]
        files = Route("/files/{path:path}", self.files, methods=ANY)
        return [*rooms, files, Mount("/zone", routes=[*rooms, *rest]), *rest]

    async def sensor(self, request: Request) -> Response:
        return self.note(request, f"/sensors/{request.path_params['name']}")

    async def lamp(self, request: Request) -> Response:
        return self.note(request, "/control/lamp")

    async def control(self, request: Request) -> Response:
        return self.note(request, f"/control/{request.path_params['name']}")

    async def files(self, request: Request) -> Response:
        return self.note(request, f"/files/{request.path_params['path']}")

    async def rest(self, request: Request) -> Response:
        return self.note(request, f"/{request.path_params['path']}")

    async def socket(self, websocket: WebSocket) -> None:
        self.note(websocket, None)
        await websocket.accept()
        await websocket.close()

    def note(self, connection: HTTPConnection, routed: str | None) -> Response:
        scope = connection.scope
        root = scope["root_path"] if routed is None else scope["root_path"].removesuffix("/zone")
        path = scope["path"].removeprefix(root)
        below = routed if scope["root_path"] == root else None  # below the inner mount its routes say too little
        action = "read" if scope.get("method", "GET") in ("GET", "HEAD", "OPTIONS") else "write"
        raw = scope["raw_path"].decode("latin-1").removeprefix(root)
        url = connection.url.path.removeprefix(root)
        self.seen.append(Seen(action, path, raw, {"routed": below or path}, url))
        return PlainTextResponse("reached")


def readings(text: str) -> Iterator[str]:
    """A path as anybody behind a handler might still read it."""
    for _ in range(4):
        for slashes in (text, text.replace("\\", "/")):
            for cut in (slashes, *(slashes.partition(end)[0] for end in "?#\0\n\r")):
                yield cut
                plain = "/".join(segment.partition(";")[0] for segment in cut.split("/"))
                yield posixpath.normpath(cut)
                yield "/" + posixpath.normpath(plain).lstrip("/")
        text = unquote(text, errors="replace")


def covered(action: str, reading: str) -> bool:
    """Whether a token that may read /sensors/** and write /control/lamp may do this, written without pairlock."""
    segments = reading.removesuffix("/").split("/")
    if action == "write":
        return segments == ["", "control", "lamp"]
    return segments[:2] == ["", "sensors"]


class Service(NamedTuple):
    """A house behind a guard behind a server."""

    house: House
    port: int
    phone: Phone
    prefix: bytes


IMPLEMENTATIONS = ["h11", *(["httptools"] if importlib.util.find_spec("httptools") else [])]
LAYOUTS = {  # the root path the server is told, and the mount point
    "plain": ("", ""),
    "root": ("/api", ""),
    "mounted": ("", "/house"),
    "both": ("/api", "/house"),
    "root of sensors": ("/sensors", ""),  # a root path that is itself granted
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
async def services(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Service]]:
    file = tmp_path_factory.mktemp("paths") / "pairlock.db"
    pairlock = Pairlock(store=f"sqlite:///{file}", default_permissions=EVERYTHING)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pairlock.lifespan())
        phone = await pair(pairlock, read=["/sensors/**"], write=["/control/lamp"])
        made = {}
        for layout, (root, mount) in LAYOUTS.items():
            house = House()
            app: Any = Starlette(routes=house.routes(), middleware=[Middleware(pairlock.guard)])
            app = Starlette(routes=[Mount(mount, app=app)]) if mount else app
            server = served(app, root_path=root, http=request.param, lifespan="off")
            made[layout] = Service(house, await stack.enter_async_context(server), phone, mount.encode())
        yield made


async def status_of(service: Service, method: str, target: bytes) -> int:
    """The status that exactly these bytes are answered with; 0 for none."""
    if target.startswith(b"/"):
        target = service.prefix + target
    lines = [
        (b"GET" if method == "WS" else method.encode()) + b" " + target + b" HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Authorization: Bearer " + service.phone.token.encode(),
    ]
    if method == "WS":
        lines += [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
        lines += [b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="]
    else:
        lines += [b"Connection: close", b"Content-Length: 0"]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"\r\n".join([*lines, b"", b""]))
    try:
        async with asyncio.timeout(5):
            answered = await reader.readline()
        return int(answered.split()[1]) if answered else 0
    except ConnectionResetError:
        return 0
    finally:
        writer.close()


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_what_the_patterns_cover_is_reached(services: dict[str, Service], layout: str) -> None:
    service = services[layout]
    service.house.seen.clear()
    for method, target in REACHED:
        assert await status_of(service, method, target) in (200, 101), target
    assert len(service.house.seen) == len(REACHED)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("method", "target"), REFUSED, ids=lambda value: str(value)[:60])
async def test_no_spelling_reaches_a_handler_that_the_patterns_do_not_cover(
    services: dict[str, Service], layout: str, method: str, target: bytes
) -> None:
    service = services[layout]
    for spelling in (target, target + b"?access=1", target + b"/", target + b"%2f"):
        for _ in range(1 + (spelling is target)):  # the second time the guard may remember
            service.house.seen.clear()
            status = await status_of(service, method, spelling)
            check(service.house.seen)
            assert status != 500
            if spelling is target:
                # A server may itself make a path of an absolute target; then that path was judged.
                assert service.house.seen == [] or b"://" in target or target in (b"#/sensors/a", b"/control/lamp#x")


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_whatever_is_reached_is_covered(services: dict[str, Service], layout: str) -> None:
    """The one check of the table, on random mixtures of its parts."""
    service, parts = services[layout], [b"/", b"sensors", b"control", b"lamp", b"..", b"%2e", b"%2f", b";", b"\\", b"%"]
    number = 1
    for _ in range(150):
        number = number * 1103515245 + 12345 & 0x7FFFFFFF
        picked = [parts[number >> shift & 15] for shift in range(0, 28, 4) if (number >> shift & 15) < len(parts)]
        for method in ("GET", "POST"):
            for start in (b"/sensors/", b"/control/lamp"):
                service.house.seen.clear()
                assert await status_of(service, method, start + b"".join(picked)) != 500
                check(service.house.seen)


def check(seen: list[Seen]) -> None:
    for call in seen:
        for text in (call.path, call.raw, call.url, *call.parameters.values()):
            uncovered = {reading for reading in readings(text) if not covered(call.action, reading)}
            assert uncovered == set(), call


def test_there_are_enough_rows() -> None:
    assert len(REFUSED) >= 60
    assert len(set(REFUSED)) == len(REFUSED)


@pytest.mark.parametrize(
    ("action", "path"),
    [
        ("read", "/sensors/../x"),
        ("read", "/sensors/%252e%252e/x"),
        ("write", "/control/lamp;/x"),
        ("read", "/sensors\0"),
    ],
)
def test_the_check_itself_sees_what_is_not_covered(action: str, path: str) -> None:
    with pytest.raises(AssertionError):
        check([Seen(action, path + "/..", path, {}, path)])
