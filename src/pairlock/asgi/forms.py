"""How the form of an OAuth request is read: bounded, UTF-8, no parameter twice (RFC 6749 §3.1)."""

from urllib.parse import parse_qsl

from starlette.requests import Request

from pairlock.asgi.bodies import read_body
from pairlock.errors import InvalidRequest

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 64


async def read_form(request: Request, *, or_query: bool = False) -> dict[str, str]:
    """The parameters of a form; empty ones are left out. Raises InvalidRequest, BodyTooLarge.

    `or_query` takes the query's where the body is empty, as some clients send them.
    """
    raw = await read_body(request)
    if or_query and not raw:
        return _parse(request.scope["query_string"])
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    if kind.strip() != FORM or ("charset" in parameters and "utf-8" not in parameters):
        raise InvalidRequest(detail=f"send the body as Content-Type: {FORM}, in UTF-8")
    return _parse(raw)


def _parse(raw: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest(detail="the form is malformed") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise InvalidRequest(detail="no parameter may be there twice")
    return {name: value for name, value in form.items() if value}
