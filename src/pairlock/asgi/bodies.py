"""How a JSON body is read: bounded, strictly decoded."""

from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from pairlock._core.wire import Body
from pairlock.errors import BodyTooLarge, InvalidRequest, UnsupportedMediaType

B = TypeVar("B", bound=Body)

MAX_BODY_BYTES = 16 * 1024


async def decode(request: Request, kind: type[B], *, optional: bool = False) -> B:
    """The body of a request as a record of this kind; `optional` takes none for an empty object.

    Raises BodyTooLarge, UnsupportedMediaType, InvalidRequest.
    """
    raw = await read_body(request)
    if optional and not raw:
        return msgspec.convert({}, kind)
    # A page of another site cannot send this type without asking first (CORS).
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType
    if not raw:
        raise InvalidRequest(detail="send a JSON object as the body")
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(detail=str(error)) from None


async def read_body(request: Request) -> bytes:
    """All of it. Raises BodyTooLarge, InvalidRequest."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLarge
    except ClientDisconnect:  # nobody reads the answer, but no error of ours shall be logged
        raise InvalidRequest(detail="the body ended early") from None
    return bytes(body)
