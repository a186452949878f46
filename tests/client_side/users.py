"""A device in a process of its own: `python -m tests.client_side.users PATH URL AHEAD`, with its clock so far ahead."""

import sys
import time

from pairlock.client import connect


def main(path: str, url: str, ahead: str) -> None:
    now = time.time
    offset = 0.0
    with connect(url, credentials=path, clock=lambda: now() + offset) as client:
        offset = float(ahead)
        print("ready", flush=True)
        try:
            print(client.get("/sensors/a").status_code, flush=True)
        except KeyboardInterrupt:
            print("interrupted", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
