"""Another process that takes part in a benchmark: the same script, told line by line what to do."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

OTHER = "--other-process"


class Other:
    """A process to talk to."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self) -> str:
        """The next line that it says. Raises RuntimeError once it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the other process has ended")
        return line.decode().strip()


@asynccontextmanager
async def other_process(module: str, *arguments: str) -> AsyncIterator[Other]:
    """One that runs this module, and is told by its arguments that it is the other one."""
    command = [sys.executable, "-m", module, OTHER, *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=os.environ)
    try:
        yield Other(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def is_other() -> bool:
    """Whether this process is one."""
    return sys.argv[1:2] == [OTHER]


def say(line: object) -> None:
    """From the other process."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def hear() -> str:
    """In the other process; empty once there is nobody any more who talks to it."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()
