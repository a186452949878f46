"""Opens a page where whoever sits here sees it.

`python -m pairlock.cli.device.browsing URL` does so, and ends: a browser of its own has no part in our terminal and may
stay open for as long as it likes.
"""

import asyncio
import subprocess
import sys
import webbrowser
from collections.abc import Mapping
from threading import Thread

PATIENCE = 3.0  # seconds after which a browser that has not said so has opened all the same


def can_browse(environ: Mapping[str, str], platform: str) -> bool:
    """Whether whoever sits here would see a page that is opened here."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    return platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


async def opened(page: str) -> bool:
    """Whether a browser took this page."""
    return await asyncio.to_thread(_opened, page)


def _opened(page: str) -> bool:
    null = subprocess.DEVNULL
    command = [sys.executable, "-P", "-m", __name__, page]  # nothing of the working directory is run
    done = subprocess.run(command, stdin=null, stdout=null, stderr=null, start_new_session=True, check=False)  # noqa: S603  # ours
    return done.returncode == 0


def take(page: str) -> bool:
    """Whether a browser of this process takes it; one that we would have to wait for counts."""
    taken: list[bool] = []
    opening = Thread(target=lambda: taken.append(webbrowser.open(page)), daemon=True)
    opening.start()
    opening.join(PATIENCE)
    return opening.is_alive() or any(taken)


if __name__ == "__main__":
    sys.exit(not take(sys.argv[1]))
