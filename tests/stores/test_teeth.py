"""The suite notices: a store that breaks a promise fails the tests of that promise."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
BROKEN = "tests/stores/broken.py"

MODEL = "test_it_does_what_plain_dicts_would_do"
RACES = (
    "test_of_many_swaps_one_wins",
    "test_of_many_adds_one_wins",
    "test_of_many_adds_of_one_code_one_wins",
    "test_a_request_is_redeemed_once_with_one_device",
    "test_approving_and_denying_have_one_winner",
)
TEETH: dict[str, tuple[str, ...]] = {
    "TestAnyCode": (
        MODEL,
        "test_of_many_adds_of_one_code_one_wins",
        "test_a_code_digest_that_exists_is_not_added_again",
        "test_a_code_of_another_request_is_not_taken_by_a_change",
    ),
    "TestCheckThenWrite": RACES,
    "TestNoVersionCheck": (
        MODEL,
        "test_of_many_swaps_one_wins",
        "test_approving_and_denying_have_one_winner",
        "test_a_request_is_redeemed_once_with_one_device",
        "test_a_swap_needs_exactly_the_version_before",
    ),
    "TestLockPerHandle": RACES,
    "TestOneByOne": (
        MODEL,
        "test_a_conflict_in_the_last_write_leaves_nothing_of_the_first",
        "test_one_commit_cannot_add_an_id_twice",
        "test_a_request_is_redeemed_once_with_one_device",
        "test_a_commit_that_failed_is_not_in_the_feed",
        "test_a_cancelled_commit_happened_whole_or_not_at_all",
    ),
    "TestPurgesNothing": (
        MODEL,
        "test_a_purge_drops_exactly_what_is_due",
        "test_a_purge_goes_by_the_newest_version",
        "test_what_was_purged_can_be_added_again",
    ),
    "TestPurgesEarly": (MODEL, "test_a_purge_drops_exactly_what_is_due"),
    "TestCountsPerHandle": (
        MODEL,
        "test_parallel_hits_are_all_counted",
        "test_parallel_hits_and_those_taken_back_are_all_counted",
        "test_hits_are_counted_through_every_handle",
        "test_counts_survive_the_handle",
    ),
    "TestNeverResets": (MODEL, "test_a_count_starts_anew_once_its_window_has_passed"),
    "TestCountsOneByOne": (MODEL, "test_several_hits_are_counted_at_once"),
    "TestCountsLooks": (MODEL, "test_looking_counts_nothing"),
    "TestKeepsLooks": (MODEL, "test_looking_begins_no_window_and_keeps_nothing"),
    "TestTakesNothingBack": (MODEL, "test_hits_are_taken_back"),
    "TestGoesBelowZero": (MODEL, "test_no_more_is_taken_back_than_was_counted"),
    "TestTakesBackFromNothing": (MODEL, "test_taking_back_where_no_window_runs_does_nothing"),
    "TestLooksThenCounts": (
        "test_parallel_hits_are_all_counted",
        "test_parallel_hits_and_those_taken_back_are_all_counted",
    ),
    "TestDropsEvents": (
        "test_a_feed_goes_on_from_a_cursor",
        "test_a_feed_catches_up_however_long_it_was_away",
        "test_every_watcher_sees_each_event_once_in_order",
    ),
    "TestRepeatsEvents": ("test_a_feed_tells_of_every_handle_promptly",),
    "TestDeafToOthers": (
        "test_a_feed_tells_of_every_handle_promptly",
        "test_every_watcher_sees_each_event_once_in_order",
    ),
    "TestNoHeartbeat": ("test_a_feed_shows_that_it_is_alive_every_second",),
    "TestBeginsInThePast": ("test_a_feed_begins_at_the_present",),
    "TestOldestFirst": (
        MODEL,
        "test_pages_of_devices_leave_nothing_out",
    ),
    "TestOverlapsPages": ("test_pages_of_events_leave_nothing_out",),
    "TestShowsRevoked": (MODEL, "test_paired_devices_are_those_not_revoked"),
    "TestListsExpired": (
        MODEL,
        "test_a_request_is_live_until_the_moment_it_expires",
        "test_pages_of_requests_leave_nothing_out",
    ),
    "TestFindsInnerWords": ("test_devices_are_searched_by_the_beginning_of_their_folded_name",),
    "TestSearchesRevoked": (MODEL, "test_a_search_finds_paired_devices_under_the_names_they_have"),
    "TestSearchesByName": ("test_pages_of_a_search_leave_nothing_out",),
    "TestSeenInCommits": (
        "test_being_seen_makes_no_new_version_and_no_event",
        "test_a_commit_says_nothing_of_being_seen",
    ),
    "TestSeenLast": ("test_the_latest_time_of_being_seen_counts",),
    "TestSeenAsAChange": (
        MODEL,
        "test_being_seen_makes_no_new_version_and_no_event",
    ),
    "TestPurgesAll": ("test_a_purge_drops_no_more_at_once_than_it_is_told",),
    "TestForgetsToClose": ("test_a_handle_that_is_not_open_says_so_at_every_call",),
}


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The tests that failed, of each store; those are run that should fail."""
    report = tmp_path_factory.mktemp("teeth") / "report.xml"
    tests = [f"{BROKEN}::{store}::{test}" for store, tests in TEETH.items() for test in tests]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *tests,
        "-q",
        "--tb=short",
        f"--junitxml={report}",
    ]
    run = subprocess.run([*command, "-p", "no:cacheprovider"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1, run.stdout + run.stderr
    failed: dict[str, set[str]] = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None:
            failed[case.attrib["classname"].rpartition(".")[2]].add(case.attrib["name"].partition("[")[0])
    return failed


@pytest.mark.parametrize("store", TEETH)
def test_a_store_that_breaks_a_promise_fails(store: str, failures: dict[str, set[str]]) -> None:
    assert failures[store] == set(TEETH[store])
