"""What may be said of a device at a time, and how it ends. Time is an argument."""

from pairlock._core.events import KEPT
from pairlock._core.methods import METHODS
from pairlock._core.records import Device
from pairlock._core.requests import MAX_CLOCK_SKEW
from pairlock._core.states import State

RETRY_WITHIN = 60.0  # seconds after pairing in which a lost answer may be asked for again


def is_paired(device: Device, now: float) -> bool:
    """Whether a device may still come in: it was not revoked, and something it holds can count."""
    return device.revoked_at is None and (device.expires_at is None or now < device.expires_at)


def revoked(device: Device, now: float) -> Device:
    """The device, shut out."""
    return device.evolve(revoked_at=now, epoch=device.epoch + 1, purge_at=now + KEPT)


def may_be_reissued(device: Device, now: float) -> bool:
    """Whether its redeemer may say that the answer never arrived: paired by a code a moment ago, and not used since."""
    if not -MAX_CLOCK_SKEW <= now - device.created_at < RETRY_WITHIN:
        return False
    by_code = METHODS[device.method].initial is State.APPROVED
    return by_code and device.used_at is None and device.rotated_at is None and is_paired(device, now)
