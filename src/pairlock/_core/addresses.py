"""The one canonicaliser: from what a server says of a request to the address that is guarded.

Whatever two readers could read differently is refused, so that no handler is ever reached by
an address that the patterns did not see.
"""

import re
from urllib.parse import unquote_to_bytes

from pairlock.errors import AmbiguousPath

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
MAX_BYTES = 2048
MAX_SEGMENTS = 128

# An encoded slash or backslash, or a percent sign that encodes nothing.
_ENCODED_SEPARATOR = re.compile(rb"%(?:2f|5c|(?![0-9a-f]{2}))", re.IGNORECASE)
# Controls, backslash, what would end the path if it were parsed as a URL again (as `request.url` of Starlette 1.0
# does), what a lenient UTF-8 decoder leaves behind, and what is still encoded after decoding.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\?#\ufffd\ud800-\udfff]|%[0-9A-Fa-f]{2}")
# An empty or dot segment. `;` starts parameters for some readers: `..;` and `;x` are such segments to them.
_HOLLOW = re.compile(r"/\.{0,2}(?:[/;]|\Z)")


def action_of(method: str) -> str:
    """Which permission an HTTP method needs: "read" or "write"."""
    return "read" if method in READ_METHODS else "write"


def canonical(path: str, raw_path: bytes | None = None, root_path: str = "") -> str:
    """The address of a request: its path below `root_path`, one trailing slash dropped.

    Raises AmbiguousPath when the path could be read in more than one way.
    """
    if raw_path is not None:
        _check_encoding(raw_path)
    return check_address(_below(path, root_path))


def check_address(address: str) -> str:
    """An address without its trailing slash. Raises AmbiguousPath when it is not canonical."""
    if not address.startswith("/") or _FORBIDDEN.search(address) or len(address.encode()) > MAX_BYTES:
        raise AmbiguousPath
    if address == "/":
        return address
    address = address.removesuffix("/")
    if address.count("/") > MAX_SEGMENTS or _HOLLOW.search(address):
        raise AmbiguousPath
    return address


def _check_encoding(raw_path: bytes) -> None:
    if b"%" in raw_path:
        if _ENCODED_SEPARATOR.search(raw_path):
            raise AmbiguousPath
        raw_path = unquote_to_bytes(raw_path)
    try:
        raw_path.decode()
    except UnicodeDecodeError:
        raise AmbiguousPath from None


def _below(path: str, root_path: str) -> str:
    """The part of the path that routes: the rule of Starlette's own router, so that both see the same."""
    below = path.removeprefix(root_path)
    return path if below and not below.startswith("/") else below or "/"
