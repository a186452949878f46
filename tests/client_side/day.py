"""A process of the simulated day: `python -m tests.client_side.day PATH URL TIME`; twenty tasks, one credential file.

Time is what the file TIME says. For each line of stdin all tasks make a request at the same moment; how they were
answered is a line of stdout.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

from pairlock.client import aio

TASKS = 20


async def main(path: str, url: str, time: str) -> None:
    clock = Path(time)
    async with await aio.connect(url, credentials=path, clock=lambda: float(clock.read_text())) as client:
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            answers = await asyncio.gather(*(client.get("/sensors/a") for _ in range(TASKS)), return_exceptions=True)
            said = Counter(repr(each) if isinstance(each, BaseException) else each.status_code for each in answers)
            print(dict(said), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
