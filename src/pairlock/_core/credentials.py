"""How a token travels in a request (RFC 6750 §2.1)."""

from pairlock._core.tokens import MAX_TOKEN_BYTES
from pairlock.errors import InvalidRequest, MissingToken

MAX_HEADER_BYTES = len(b"Bearer ") + MAX_TOKEN_BYTES  # verified headers are remembered as they came


def bearer_token(header: bytes) -> bytes:
    """The token in an Authorization header.

    Raises MissingToken for another scheme, InvalidRequest for a malformed Bearer one.
    """
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer":  # the scheme is case-insensitive, RFC 9110 §11.1
        raise MissingToken
    token = token.strip(b" ")
    if not token or b" " in token or b"," in token or len(header) > MAX_HEADER_BYTES:
        raise InvalidRequest(detail="the Authorization header must read: Bearer <token>")
    return token
