"""The settings of a service, checked once: what cannot work is said at start, never during a request."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from pairlock._core.clients import Clients, ResourceServers
from pairlock._core.methods import DEVICE_CODE, METHODS, PIN
from pairlock._core.permissions import Permissions, parse_pattern
from pairlock._core.sources import Network, parse_address
from pairlock.errors import ConfigurationError, InvalidPermissions

logger = logging.getLogger("pairlock")

PIN_LENGTHS = range(4, 13)
SWITCHES = ("enabled", "window_open", "confirmation_pin", "same_network")
DURATIONS = (
    "pin_timeout",
    "device_code_timeout",
    "refresh_idle",
    "max_staleness",
    "window_timeout",
    "decide_timeout",
)
TOKEN_LIFE = 3600.0
LONG_LIFE = 90 * 86400.0
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?")


class Limits(Struct, frozen=True, kw_only=True):
    """How often is too often; rates are written "3/minute; 10/hour". Raises ConfigurationError for what is no rate.

    A source is an IPv4 address or an IPv6 /64. Wrong PINs in all hold the PIN method until an operator reopens it.
    """

    starts: str = "3/minute; 5/10 minutes; 10/hour"  # per source
    starts_in_all: str = "600/hour"
    pending_per_source: int = 3
    pending: int = 20  # by each method, in all
    denials: str = "1/minute"  # per source: as long as they are used up, it may not ask again
    wrong_pins: str = "10/15 minutes; 15/day"  # per source
    wrong_pins_in_a_row: int = 20  # in all
    wrong_pins_a_day: int = 50  # in all
    wrong_codes: str = "10/minute; 20/hour"  # per source
    wrong_codes_in_all: str = "100/hour"
    wrong_user_codes: str = "5/15 minutes"  # per operator
    wrong_user_codes_per_source: str = "10/15 minutes"
    wrong_user_codes_in_all: str = "100/hour"
    wrong_secrets: str = "10/minute"  # of OAuth clients and resource servers, per source
    refreshes: str = "20/minute; 200/hour"  # per device
    code_polls: str = "120/minute"  # per operator
    codes: int = 20  # that an operator may have waiting

    def __post_init__(self) -> None:
        from pairlock.services.limiter import parse_limits  # only here: the library takes long to import

        for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            value = getattr(self, name)
            if isinstance(default, str):
                parse_limits(value, f"limits: {name}")
            elif type(value) is not int or value < 1:
                raise ConfigurationError(f"limits: {name}: {value!r} is no whole number from 1 up")


class Settings(Struct, frozen=True, kw_only=True):
    """How a service pairs. Durations are in seconds. Raises ConfigurationError when it cannot work.

    `default_permissions` is what a right PIN grants when the device asked for nothing narrower;
    `token_life` bounds how long a token counts without being refreshed, by method;
    `long_lived` names the methods whose devices get one token and no refresh token;
    `max_staleness` is how long revocations may go unheard before everything guarded is refused.
    """

    default_permissions: Permissions
    enabled: bool = True
    pin_length: int = 6
    pin_timeout: float = PIN.lifetime
    device_code_timeout: float = DEVICE_CODE.lifetime
    token_life: Mapping[str, float] = {}
    long_lived: Collection[str] = ()
    refresh_idle: float = 90 * 86400
    max_staleness: float = 10
    server_name: str = "pairlock"
    issuer: str | None = None
    verification_uri: str | None = None
    window_open: bool = True
    window_timeout: float = 300
    confirmation_pin: bool = False
    same_network: bool = False
    decide_timeout: float = 10
    limits: Limits
    trusted_proxies: tuple[Network, ...] = ()
    clients: Clients = Clients(None)
    resource_servers: ResourceServers = ResourceServers({})

    def __post_init__(self) -> None:
        if type(self.pin_length) is not int or self.pin_length not in PIN_LENGTHS:
            raise ConfigurationError(
                f"pin_length: {self.pin_length!r} is no whole number from 4 to 12; 6 is a good choice"
            )
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}: {getattr(self, name)!r} is neither True nor False")
        if not isinstance(self.limits, Limits):
            raise ConfigurationError('limits: give Limits(starts="3/minute", ...)')
        if not isinstance(self.server_name, str):
            raise ConfigurationError(f"server_name: {self.server_name!r} is no text")
        for name in DURATIONS:
            _check_seconds(getattr(self, name), name)
        for method, life in self.token_life.items():
            _check_method(method, "token_life")
            _check_token_life(life)
        for method in self.long_lived:
            _check_method(method, "long_lived")
        for name in ("issuer", "verification_uri"):
            check_address(getattr(self, name), name)

    def life_of(self, method: str) -> float:
        """For how many seconds a token of a device counts that paired by this method."""
        return self.token_life.get(method, LONG_LIFE if method in self.long_lived else TOKEN_LIFE)

    def timeout_of(self, method: str) -> float:
        """For how many seconds a request by this method lives that a device makes."""
        return {PIN.name: self.pin_timeout, DEVICE_CODE.name: self.device_code_timeout}[method]


def check_address(given: object, setting: str) -> None:
    """Raises ConfigurationError for what is no address of a web page."""
    if given is None:
        return
    if not isinstance(given, str) or not _ADDRESS.fullmatch(given):
        raise ConfigurationError(
            f"{setting}: {given!r} must be an address such as https://house.example/pair,"
            " without a slash at its end, query or fragment"
        )
    try:
        host = urlsplit(given).hostname or ""
    except ValueError as error:
        says = f"{setting}: {given!r}: {error}; write one such as https://house.example/pair"
        raise ConfigurationError(says) from None
    address = parse_address(host)
    if given.startswith("http:") and host != "localhost" and not (address and address.is_loopback):
        logger.warning("%s: %s is not encrypted: whoever is on the way can read tokens; serve https", setting, given)


def mount_point(at: str) -> str:
    """Where the pairing sub-app is, as a path. Raises ConfigurationError."""
    try:
        if at == "/" or "*" in parse_pattern(at):
            raise ConfigurationError(f"at: {at!r} must be a path such as /pair")
    except InvalidPermissions as error:
        raise ConfigurationError(f"at: {error.details['detail']}") from error
    return at


def permissions_setting(given: Any) -> Permissions:
    """The setting `default_permissions` as Permissions. Raises ConfigurationError, naming the pattern."""
    try:
        return Permissions.parse(given)
    except InvalidPermissions as error:
        raise ConfigurationError(f"default_permissions: {error.details['detail']}") from error


def long_lived_setting(given: Collection[str]) -> frozenset[str]:
    """The setting `long_lived` as a set of methods."""
    if isinstance(given, str) or not isinstance(given, Collection):
        raise ConfigurationError(f"long_lived: give a list of methods, such as ['qr'], not {given!r}")
    for method in given:
        _check_method(method, "long_lived")
    return frozenset(given)


def token_life_setting(given: Any) -> dict[str, float]:
    """The setting `token_life` by method: one number is for all of them, None leaves it to the defaults."""
    if given is None:
        return {}
    return dict(given) if isinstance(given, Mapping) else dict.fromkeys(METHODS, given)


def _check_seconds(seconds: object, setting: str) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ConfigurationError(f"{setting}: {seconds!r} is not a positive number of seconds")


def _check_token_life(seconds: float) -> None:
    _check_seconds(seconds, "token_life")
    if seconds < 1:
        raise ConfigurationError(f"token_life: {seconds!r} is under the second in which tokens count")


def _check_method(method: object, setting: str) -> None:
    if not isinstance(method, str) or method not in METHODS:
        raise ConfigurationError(f"{setting}: {method!r} is not a method; there are {', '.join(METHODS)}")
