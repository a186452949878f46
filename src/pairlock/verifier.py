"""From a token to a grant: the only way there is. Verified tokens are remembered, unverified ones never."""

from pairlock._core.credentials import bearer_token
from pairlock._core.grants import Grant
from pairlock._core.requests import MAX_CLOCK_SKEW
from pairlock.errors import InvalidRequest, InvalidToken, TemporarilyUnavailable
from pairlock.runtime import Runtime

MAX_GRANTS = 4096


class Verifier:
    """Turns Authorization headers into grants.

    `grants` holds what was verified, by the raw header bytes; bounded, the oldest leaves first.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.grants: dict[bytes, Grant] = {}
        self.runtime = runtime

    async def verify(self, token: str | bytes) -> Grant:
        """The grant of a token that counts now. Raises InvalidToken, TemporarilyUnavailable."""
        try:
            return await self.admit(b"Bearer " + (token.encode(errors="replace") if isinstance(token, str) else token))
        except InvalidRequest:
            raise InvalidToken from None

    async def admit(self, header: bytes) -> Grant:
        """The grant of an Authorization header. Raises MissingToken, InvalidRequest, InvalidToken."""
        if not self.runtime.fresh:
            await self.runtime.ready()
            if not self.runtime.fresh:
                raise TemporarilyUnavailable(retry_after=1)
        grant = self.grants.get(header) or self._learn(header)
        if grant.revoked or grant.expires_at <= self.runtime.clock():
            raise InvalidToken
        return grant

    def _learn(self, header: bytes) -> Grant:
        claims = self.runtime.signer.read(bearer_token(header))
        now = self.runtime.clock()
        if not claims.issued_at - MAX_CLOCK_SKEW <= now < claims.expires_at:
            raise InvalidToken
        grant = Grant(claims, self.runtime.standings.of(claims.device_id))
        if len(self.grants) >= MAX_GRANTS:
            del self.grants[next(iter(self.grants))]
        self.grants[header] = grant
        return grant
