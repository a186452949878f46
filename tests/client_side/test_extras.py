"""What the client needs beside pairlock itself is asked for by name."""

import sys
from pathlib import Path

import pytest

from pairlock.client import CredentialFile, libraries
from pairlock.errors import ConfigurationError


@pytest.mark.parametrize(("missing", "found"), [((), "httpx"), (("httpx",), "httpx2"), (("httpx2",), "httpx")])
def test_either_library_will_do(missing: tuple[str, ...], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert libraries.library().__name__ == found


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in libraries.NAMES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=r"needs httpx; install it with: pip install 'pairlock\[client\]'"):
        libraries.library()


def test_a_file_needs_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "filelock", None)
    file = CredentialFile(tmp_path / "tokens.json")
    with pytest.raises(ConfigurationError, match="needs filelock; install it"):
        file.try_lock()
