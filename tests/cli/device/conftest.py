"""A service to pair with, and a home of its own for the device."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.device.parts import Home, House


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home, where commands of this process and of others keep their credentials."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return Home(folder)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A service with its usual settings, but for limits."""
    with House(tmp_path / "house") as house:
        yield house
