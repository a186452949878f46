"""A day of two processes with twenty tasks each on one credential file: nobody is revoked, no token is lost."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from pairlock._core.records import EventType
from pairlock.client import CredentialFile, redeem
from tests.client_side.day import TASKS
from tests.client_side.house import House

ROOT = Path(__file__).parents[2]
HOURS = 24
STEPS = 3  # an hour
KILLED_AT = (5, 11, 18)  # o'clock


class StepClock:
    """A clock that several processes read: a file, written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(1_700_000_000.0)

    def __call__(self) -> float:
        return self.now

    def set(self, now: float) -> None:
        self.now = now
        draft = self.path.with_suffix(".draft")
        draft.write_text(repr(now))
        draft.replace(self.path)

    def advance(self, seconds: float) -> None:
        self.set(self.now + seconds)


class Twenty:
    """A process with twenty tasks."""

    def __init__(self, file: CredentialFile, url: str, clock: StepClock) -> None:
        self._command = [sys.executable, "-m", "tests.client_side.day", str(file.path), url, str(clock.path)]

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        """In the middle of whatever it does."""
        self._process.kill()
        self._process.communicate()

    def go(self) -> None:
        """All make a request."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def said(self) -> str:
        """The next line it says."""
        assert self._process.stdout is not None
        return str(self._process.stdout.readline()).strip()


@pytest.fixture
def day(tmp_path: Path) -> StepClock:
    return StepClock(tmp_path / "time")


def test_a_day_of_two_processes_on_one_credential_file(tmp_path: Path, file: CredentialFile, day: StepClock) -> None:
    with House(tmp_path, clock=day) as house, ExitStack() as opened:
        redeem(house.url, house.code(), credentials=file, clock=day).close()
        processes = [opened.enter_context(Twenty(file, house.url, day)) for _ in range(2)]
        for process in processes:
            assert process.said() == "ready"
        for step in range(HOURS * STEPS):
            day.advance(3600 / STEPS)
            for process in processes:
                process.go()
            file.read()
            if step % STEPS == STEPS - 1 and step // STEPS in KILLED_AT:  # while they refresh
                for process in processes:
                    process.kill()
                    process.start()
                assert [process.said() for process in processes] == ["ready"] * 2
            else:
                assert [process.said() for process in processes] == [str({200: TASKS})] * 2
        events = house.events()

        assert EventType.REVOKED not in events
        assert EventType.REUSE_DETECTED not in events
        assert HOURS - 1 <= events.count(EventType.REFRESHED) <= HOURS + len(KILLED_AT)
        assert len(house.devices()) == len(file.read().credentials()) == 1
