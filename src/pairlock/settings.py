"""The settings of a service, checked once: what cannot work is said at start, never during a request."""

import math
from typing import Any

from msgspec import Struct

from pairlock._core.permissions import Permissions
from pairlock.errors import ConfigurationError, InvalidPermissions

PIN_LENGTHS = range(4, 13)


class Settings(Struct, frozen=True, kw_only=True):
    """How a service pairs. Durations are in seconds. Raises ConfigurationError when it cannot work.

    `default_permissions` is what a right PIN grants when the device asked for nothing narrower;
    `token_life` bounds how long a token counts without being renewed;
    `max_staleness` is how long revocations may go unheard before everything guarded is refused.
    """

    default_permissions: Permissions
    enabled: bool = True
    pin_length: int = 6
    pin_timeout: float = 300
    token_life: float = 90 * 86400
    max_staleness: float = 10
    server_name: str = "pairlock"

    def __post_init__(self) -> None:
        if type(self.pin_length) is not int or self.pin_length not in PIN_LENGTHS:
            raise ConfigurationError(f"pin_length: {self.pin_length!r} is not from 4 to 12; 6 is a good choice")
        for name in ("pin_timeout", "token_life", "max_staleness"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise ConfigurationError(f"{name}: {seconds!r} is not a positive number of seconds, such as 300")
        if self.token_life < 1:
            raise ConfigurationError(f"token_life: {self.token_life!r} is under the second in which tokens count")


def permissions_setting(given: Any) -> Permissions:
    """The setting `default_permissions` as Permissions. Raises ConfigurationError, naming the pattern."""
    try:
        return Permissions.parse(given)
    except InvalidPermissions as error:
        raise ConfigurationError(f"default_permissions: {error.details['detail']}") from error
