"""Refresh tokens: `plr_`, the device's id, its family and a secret; rotated at each use (RFC 9700 §4.14).

The secret decides whether it counts. The family is the same in all tokens of a device: one with the right family
and another secret was given out once, and is presented again after its time. Digests of both are kept with the device,
and hold whatever becomes of the keys. The successor of a token is derived: whoever lost the answer gets the same
one again.
"""

import re

from msgspec import Struct
from msgspec.structs import replace

from pairlock._core.codes import digest_secret, encode_secret, is_secret
from pairlock._core.keys import Keys
from pairlock._core.records import Device
from pairlock._core.requests import MAX_CLOCK_SKEW

PREFIX = "plr_"
REPLAY_WITHIN = 10.0  # seconds after its rotation in which a refresh token may be presented again

_TOKEN = re.compile(
    rf"{PREFIX}(?P<device_id>[0-9a-z]{{26}})\.(?P<family>[\w-]{{43}})\.(?P<secret>[\w-]{{43}})", re.ASCII
)


class RefreshToken(Struct, frozen=True):
    """A refresh token as it was presented."""

    device_id: str
    family: str
    secret: str

    def __repr__(self) -> str:
        return f"<RefreshToken of {self.device_id}>"

    def __str__(self) -> str:
        return f"{PREFIX}{self.device_id}.{self.family}.{self.secret}"


def parse(text: str) -> RefreshToken | None:
    """The parts of a refresh token; None when it has not the form of one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else RefreshToken(**found.groupdict())


def first(keys: Keys, device_id: str, told: str) -> RefreshToken:
    """The first refresh token of a device, out of a secret told at its pairing: the same one for the same secret."""
    return _firsts(keys, device_id, told)[0]


def first_again(keys: Keys, device: Device, told: str) -> RefreshToken | None:
    """The first refresh token of a device while it counts; None when the key it was derived with is gone."""
    return next((token for token in _firsts(keys, device.id, told) if counts(device, token)), None)


def is_of_family(device: Device, token: RefreshToken) -> bool:
    """Whether we gave this token to the device, at any time."""
    return device.family_digest is not None and is_secret(token.family, device.family_digest)


def counts(device: Device, token: RefreshToken) -> bool:
    """Whether this is the device's refresh token."""
    kept = device.refresh_digest
    return kept is not None and is_of_family(device, token) and is_secret(token.secret, kept)


def was_just_rotated(device: Device, token: RefreshToken, now: float) -> bool:
    """Whether this token counted until a moment ago, so that its answer may have been lost (or it was sent twice)."""
    if device.rotated_from is None or device.rotated_at is None or not is_of_family(device, token):
        return False
    if not is_secret(token.secret, device.rotated_from):
        return False
    return -MAX_CLOCK_SKEW <= now - device.rotated_at < REPLAY_WITHIN  # another process's clock may be behind


def successor(keys: Keys, token: RefreshToken) -> RefreshToken:
    """The token that takes the place of this one."""
    return _successors(keys, token)[0]


def successor_again(keys: Keys, device: Device, token: RefreshToken) -> RefreshToken | None:
    """The token that took the place of this one; None when the key it was derived with is gone."""
    return next((token for token in _successors(keys, token) if counts(device, token)), None)


def kept(device: Device, token: RefreshToken) -> Device:
    """The device with this refresh token."""
    return replace(device, refresh_digest=digest_secret(token.secret), family_digest=digest_secret(token.family))


def _firsts(keys: Keys, device_id: str, told: str) -> list[RefreshToken]:
    """Under every key, newest first."""
    text = f"{device_id}.{told}"
    parts = zip(keys.derive_all("refresh family", text), keys.derive_all("refresh", text), strict=True)
    return [RefreshToken(device_id, encode_secret(family), encode_secret(secret)) for family, secret in parts]


def _successors(keys: Keys, token: RefreshToken) -> list[RefreshToken]:
    """Under every key, newest first."""
    secrets = [encode_secret(derived) for derived in keys.derive_all("refresh", token.secret)]
    return [RefreshToken(token.device_id, token.family, secret) for secret in secrets]
