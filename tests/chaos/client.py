"""HTTP/1.1 to one worker, with no more to it than the load needs.

A general client costs thirty times as much, on the processors that the workers need.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

BROKEN = (OSError, EOFError)  # EOFError: the connection ended before the answer did
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Response(Struct, frozen=True):
    """What came back; `body` is empty where it is no JSON object."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


class Client:
    """Calls one port; its connections are kept for further calls."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._kept: list[Streams] = []

    async def ask(
        self, method: str, path: str, *, bearer: str | None = None, json: Any = None, form: dict[str, str] | None = None
    ) -> Response:
        """Call once. Raises one of BROKEN."""
        reader, writer = self._take() or await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(_request(method, path, bearer, json, form))
            status, headers = await _head(reader)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except BaseException:
            writer.transport.abort()
            raise
        self._kept.append((reader, writer))
        return Response(status, headers, _object(body))

    @asynccontextmanager
    async def stream(self, path: str, bearer: str) -> AsyncIterator[tuple[int, asyncio.StreamReader]]:
        """The status of an answer, and the rest of it. Raises one of BROKEN."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(_request("GET", path, bearer, None, None))
            yield (await _head(reader))[0], reader
        finally:
            writer.transport.abort()

    def close(self) -> None:
        """Let go of all connections."""
        for _, writer in self._kept:
            writer.transport.abort()
        self._kept.clear()

    def _take(self) -> Streams | None:
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return None


def _request(method: str, path: str, bearer: str | None, body: Any, form: dict[str, str] | None) -> bytes:
    kind, content = "application/json", b"" if body is None else json.dumps(body).encode()
    if form is not None:
        kind, content = "application/x-www-form-urlencoded", urlencode(form).encode()
    authorization = "" if bearer is None else f"authorization: Bearer {bearer}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}content-type: {kind}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return int(first.split()[1]), headers


def _object(content: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(content)
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
