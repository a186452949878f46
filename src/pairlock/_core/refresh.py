"""Refresh tokens: `plr_`, the device's id, a secret and a seal; rotated at each use (RFC 9700 §4.14).

The secret decides whether it counts: its digest is kept with the device, whatever becomes of the keys. The seal
tells one that was given out once, and is presented again after its time, from one that somebody made up.
Its successor is derived: whoever lost the answer gets the same one again.
"""

import re

from msgspec import Struct

from pairlock._core.codes import digest_secret, encode_secret, is_same, is_secret
from pairlock._core.keys import Keys
from pairlock._core.records import Device
from pairlock._core.requests import MAX_CLOCK_SKEW

PREFIX = "plr_"
REPLAY_WITHIN = 10.0  # seconds after its rotation in which a refresh token may be presented again

_TOKEN = re.compile(rf"{PREFIX}(?P<device_id>[0-9a-z]{{26}})\.(?P<secret>[\w-]{{43}})\.(?P<seal>[\w-]{{43}})", re.ASCII)


class RefreshToken(Struct, frozen=True):
    """A refresh token as it was presented."""

    device_id: str
    secret: str
    seal: str

    def __repr__(self) -> str:
        return f"<RefreshToken of {self.device_id}>"

    def __str__(self) -> str:
        return f"{PREFIX}{self.device_id}.{self.secret}.{self.seal}"


def parse(text: str) -> RefreshToken | None:
    """The parts of a refresh token; None when it has not the form of one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else RefreshToken(**found.groupdict())


def make(keys: Keys, device_id: str, secret: str) -> RefreshToken:
    """A refresh token with this secret, sealed with the newest key."""
    return RefreshToken(device_id, secret, _seals(keys, device_id, secret)[0])


def first(keys: Keys, device_id: str, told: str) -> RefreshToken:
    """The first refresh token of a device, out of a secret told at its pairing: the same one for the same secret."""
    return make(keys, device_id, _first_secrets(keys, device_id, told)[0])


def first_again(keys: Keys, device: Device, told: str) -> RefreshToken | None:
    """The first refresh token of a device while it counts; None when the key it was derived with is gone."""
    return _counting(keys, device, _first_secrets(keys, device.id, told))


def is_ours(keys: Keys, token: RefreshToken) -> bool:
    """Whether we gave this token out, at any time, under a key we still have."""
    return any(is_same(token.seal, seal) for seal in _seals(keys, token.device_id, token.secret))


def counts(device: Device, token: RefreshToken) -> bool:
    """Whether this is the device's refresh token."""
    return device.refresh_digest is not None and is_secret(token.secret, device.refresh_digest)


def was_just_rotated(device: Device, token: RefreshToken, now: float) -> bool:
    """Whether this token counted until a moment ago, so that its answer may have been lost (or it was sent twice)."""
    if device.rotated_from is None or device.rotated_at is None or not is_secret(token.secret, device.rotated_from):
        return False
    return -MAX_CLOCK_SKEW <= now - device.rotated_at < REPLAY_WITHIN  # another process's clock may be behind


def successor(keys: Keys, token: RefreshToken) -> RefreshToken:
    """The token that takes the place of this one."""
    return make(keys, token.device_id, _next_secrets(keys, token)[0])


def successor_again(keys: Keys, device: Device, token: RefreshToken) -> RefreshToken | None:
    """The token that took the place of this one; None when the key it was derived with is gone."""
    return _counting(keys, device, _next_secrets(keys, token))


def digest(token: RefreshToken) -> bytes:
    """What is kept of it."""
    return digest_secret(token.secret)


def _counting(keys: Keys, device: Device, secrets: list[str]) -> RefreshToken | None:
    made = (make(keys, device.id, secret) for secret in secrets)
    return next((token for token in made if counts(device, token)), None)


def _first_secrets(keys: Keys, device_id: str, told: str) -> list[str]:
    return [encode_secret(derived) for derived in keys.derive_all("first refresh", f"{device_id}.{told}")]


def _next_secrets(keys: Keys, token: RefreshToken) -> list[str]:
    return [encode_secret(derived) for derived in keys.derive_all("refresh", token.secret)]


def _seals(keys: Keys, device_id: str, secret: str) -> list[str]:
    return [encode_secret(derived) for derived in keys.derive_all("refresh seal", f"{device_id}.{secret}")]
