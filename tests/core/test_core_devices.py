"""Devices that have paired: whether they may come in, how they end, and who may ask for a lost answer."""

from typing import Any

import pytest

from pairlock._core.devices import RETRY_WITHIN, is_paired, may_be_reissued, revoked
from pairlock._core.records import Device
from pairlock.testing import a_device

MADE = 1_700_000_000.0
DAY = 86400


@pytest.mark.parametrize(
    ("fields", "paired"),
    [
        ({}, True),
        ({"expires_at": MADE + 1}, True),
        ({"expires_at": MADE}, False),
        ({"expires_at": MADE - 1}, False),
        ({"revoked_at": MADE - 1}, False),
        ({"revoked_at": MADE + 1}, False),  # a clock was set back: revoked is revoked
        ({"revoked_at": MADE - 1, "expires_at": MADE + 1}, False),
    ],
)
def test_a_device_is_paired_until_it_is_revoked_or_nothing_it_holds_can_count(
    fields: dict[str, Any], paired: bool
) -> None:
    assert is_paired(a_device(**fields), MADE) is paired


def test_a_device_without_an_end_is_paired_for_good() -> None:
    assert is_paired(a_device(), MADE + 1e9)


def test_a_revoked_device_is_shut_out_with_all_its_tokens_and_kept_for_the_audit() -> None:
    device = a_device(epoch=3, refresh_digest=b"x")
    gone = revoked(device, MADE)
    assert (gone.revoked_at, gone.epoch, gone.version) == (MADE, 4, device.version + 1)
    assert gone.purge_at == MADE + 90 * DAY
    assert not is_paired(gone, MADE)
    assert is_paired(device, MADE)


def by_code(**fields: Any) -> Device:
    return a_device(**{"method": "one_time_code"} | fields)


@pytest.mark.parametrize(
    ("after", "may"), [(0, True), (59.9, True), (60, False), (3600, False), (-60, True), (-60.1, False), (-3600, False)]
)
def test_a_lost_answer_may_be_asked_for_again_for_a_minute(after: float, may: bool) -> None:
    assert may_be_reissued(by_code(), MADE + after) is may
    assert RETRY_WITHIN == 60


@pytest.mark.parametrize(
    ("method", "may"), [("one_time_code", True), ("qr", True), ("pin", False), ("device_code", False)]
)
def test_only_what_was_paired_by_a_code_may_be_asked_for_again(method: str, may: bool) -> None:
    assert may_be_reissued(a_device(method=method), MADE) is may


@pytest.mark.parametrize(
    "fields", [{"used_at": MADE}, {"rotated_at": MADE}, {"revoked_at": MADE}, {"expires_at": MADE}]
)
def test_what_was_used_or_counts_no_more_is_not_given_out_again(fields: dict[str, Any]) -> None:
    assert not may_be_reissued(by_code(**fields), MADE + 1)
