"""Where the logs of `pairlock serve` go: to stderr, or above the live display; what is no news is left out."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.text import Text

from pairlock.cli.service.endings import is_news

LOGGERS = ("pairlock", "uvicorn")
BIDI = (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))  # and separators of lines
CONTROLS = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"},
    **{code: f"\\u{code:04x}" for code in BIDI},
}
_TOKEN = re.compile(r"(?i)(\bbearer[ ,]+|pl[kr]_)[\w.~+/=-]+")  # websockets logs headers, and what it sends


class Harmless(logging.Formatter):
    """Records in which what strangers wrote cannot move the cursor, and in which no token stands."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return _TOKEN.sub(r"\1…", super().format(record)).translate(CONTROLS)


class AboveDisplay(logging.Handler):
    """Prints records on the console of a live display, above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        with suppress(OSError):  # the terminal has gone
            self._console.print(Text(self.format(record)), soft_wrap=True)


@contextmanager
def logging_to(console: Console | None, level: str) -> Iterator[None]:
    """Our logs and those of the server go to this console meanwhile, without one to stderr."""
    handler = logging.StreamHandler() if console is None else AboveDisplay(console)
    handler.setFormatter(Harmless())
    handler.addFilter(is_news)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False
    try:
        yield
    finally:
        for logger, known, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(known)
            logger.propagate = propagate
