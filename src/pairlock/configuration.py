"""Settings of a service from a file and the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairlock._core.permissions import NOTHING
from pairlock.facade import Pairlock


class Configuration:
    """What a file, the environment and arguments say, the later ones first."""

    def __init__(self, pairing: Mapping[str, Any]) -> None:
        self.pairing = pairing

    def pairlock(self, **more: Any) -> Pairlock:
        """A Pairlock with these settings."""
        return Pairlock(**{"default_permissions": NOTHING, **self.pairing, **more})


def read_configuration(
    path: Path | None = None, *, given: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> Configuration:
    """STUB."""
    return Configuration({**(given or {})})
