"""Operators: who may approve, list and revoke. A kind of principal of their own, never a device."""

from msgspec import Struct

from pairlock._core.permissions import EVERYTHING, Permissions
from pairlock.errors import ConfigurationError


class Operator(Struct, frozen=True):
    """Somebody the host has authenticated to decide about devices.

    `id` is what the audit names; `permissions` bounds what this operator may grant.
    """

    id: str
    permissions: Permissions = EVERYTHING

    def __post_init__(self) -> None:
        if type(self.id) is not str or not self.id:
            raise ConfigurationError(f"Operator: its id is a text that tells it from others, not {self.id!r}")
        if not isinstance(self.permissions, Permissions):
            raise ConfigurationError("Operator: give its permissions as Permissions.parse({...})")

    @property
    def actor(self) -> str:
        """How the audit names an operator; the application itself has a name that no operator has."""
        return "app" if self is APP else f"operator:{self.id}"


APP = Operator("app")  # the host application, deciding by itself
