"""Commands run in this process, and find no settings in the environment of whoever runs the tests."""

import os
from functools import partial

import pytest

from tests.cli.parts import Cli, call


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PAIRLOCK_", "COLUMNS"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs one command in this process: `cli("devices", "list")` says how it ended."""
    return partial(call, capsys)
