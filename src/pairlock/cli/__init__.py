"""The `pairlock` command: operators work on the store of a service with it, devices pair and keep their tokens."""

import sys
from collections.abc import Sequence

NEEDED = {"click", "filelock", "httpx", "prompt_toolkit", "rich", "yaml"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        from pairlock.cli.running import run
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"pairlock: the command needs {error.name}; install it with: pip install 'pairlock[cli]'")
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
