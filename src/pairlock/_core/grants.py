"""A grant: what a verified token lets its holder do, for as long as its device stands."""

from pairlock._core.addresses import check_address
from pairlock._core.permissions import Action, Permissions
from pairlock._core.standings import Standing
from pairlock._core.tokens import Claims
from pairlock.errors import AmbiguousPath

MAX_DECISIONS = 256


class Grant:
    """A verified token: who the device is, and what it may do now.

    Starlette finds it as `request.user` and `request.auth`, so it answers to what both are asked.
    """

    __slots__ = (
        "_now",
        "_permissions",
        "decisions",
        "device_id",
        "device_name",
        "epoch",
        "expires_at",
        "mark",
        "standing",
    )

    is_authenticated = True

    def __init__(self, claims: Claims, standing: Standing) -> None:
        self.device_id = claims.device_id
        self.device_name = claims.device_name
        self.epoch = claims.epoch
        self.expires_at = claims.expires_at
        self.standing = standing
        self._permissions = Permissions(claims.read, claims.write)
        self.renew()

    def __repr__(self) -> str:
        return f"<Grant {self.device_id} {self.device_name!r}>"

    def renew(self) -> None:
        """Forget what was decided before the device's standing changed."""
        mark = self.standing.mark  # read first: a change on another thread while this runs must not go unseen
        self._now = self._narrowed()
        self.decisions: dict[Action, dict[str, bool]] = {"read": {}, "write": {}}
        self.mark = mark

    @property
    def permissions(self) -> Permissions:
        """What the device may do now, narrowed since the token was issued or not."""
        if self.mark is not self.standing.mark:
            self.renew()
        return self._now

    def _narrowed(self) -> Permissions:
        narrowed = self.standing.permissions
        if narrowed is None or self.epoch >= self.standing.least_epoch:
            return self._permissions
        return narrowed.common(self._permissions)  # the token itself may carry less than its device has

    @property
    def revoked(self) -> bool:
        """Whether the device has been revoked, in this process's knowledge."""
        return self.standing.revoked

    def allows(self, action: Action, address: str) -> bool:
        """Whether the device may "read" or "write" this address, now; no to an address that is not canonical."""
        if self.mark is not self.standing.mark:
            self.renew()
        decisions = self.decisions[action]
        decision = decisions.get(address)
        return self._decide(action, address, decisions) if decision is None else decision

    def _decide(self, action: Action, address: str, decisions: dict[str, bool]) -> bool:
        try:
            decided = not self.revoked and self.permissions.allows(action, check_address(address))
        except AmbiguousPath:
            return False  # not remembered: only canonical addresses are of bounded length
        if len(decisions) >= MAX_DECISIONS:
            decisions.pop(next(iter(decisions)), None)
        decisions[address] = decided
        return decided

    @property
    def display_name(self) -> str:
        """For Starlette's `request.user`: the name the device had when its token was issued."""
        return self.device_name

    @property
    def identity(self) -> str:
        """For Starlette's `request.user`: the device's id."""
        return self.device_id

    @property
    def scopes(self) -> list[str]:
        """For Starlette's `@requires`: "paired", and each permission as "read:/sensors/**"."""
        return ["paired", *self.permissions.scopes()]


class Admission:
    """What is being served: a grant, and what it was asked for."""

    __slots__ = ("action", "address", "grant")

    def __init__(self, grant: Grant, action: Action, address: str) -> None:
        self.grant = grant
        self.action: Action = action
        self.address = address

    @property
    def counts(self) -> bool:
        """Whether the grant allows it now."""
        return self.grant.allows(self.action, self.address)
