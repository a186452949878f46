"""QR codes of an address, drawn for a page, a file and a terminal.

Drawing a first one takes about ten milliseconds, most of them to choose the mask: do it off the event loop.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from itertools import groupby

from pairlock.errors import ConfigurationError

LONGEST = 2331  # bytes, in the largest code at level M: ISO/IEC 18004, table 7
QUIET_ZONE = 4  # modules of white around it: ISO/IEC 18004 §9.1
SCALE = 8  # pixels a module; of one bit each, they make a byte of a PNG

# Black on white whatever the terminal's own colours are, and from the 256: themes redefine the first sixteen.
INK, END = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
HALVES = " ▄▀█"  # by whether the upper module is dark (2) and the lower one (1)

Row = tuple[bool, ...]


@dataclass(frozen=True)
class Picture:
    """A QR code of an address. Raises ConfigurationError when the address is too long for one.

    The code is worked out when a form of it is first asked for, and kept; any thread may ask.
    """

    uri: str = field(repr=False)  # it carries a secret

    def __post_init__(self) -> None:
        if (size := len(self.uri.encode())) > LONGEST:
            raise ConfigurationError(
                f"the address is too long for a QR code: it has {size} bytes, and {LONGEST} fit; serve at a shorter one"
            )

    def svg(self) -> str:
        """A standalone SVG document: 8 pixels a module, unless CSS sets its width; the height follows.

        It has no XML declaration, so that it can stand within a page too, and no style that a strict
        Content-Security-Policy refuses.
        """
        size = len(self._modules)
        # The library's own SVG registers a namespace for the whole process; two threads that do so at once may fail.
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{SCALE * size}" viewBox="0 0 {size} {size}"'
            ' role="img" aria-label="QR code" shape-rendering="crispEdges">'
            f'<rect width="{size}" height="{size}" fill="#fff"/>'
            f'<path fill="#000" d="{"".join(_bars(self._modules))}"/></svg>'
        )

    def png(self) -> bytes:
        """A PNG file, black on white, 8 pixels a module."""
        import png  # type: ignore[import-untyped]  # only here, since few services draw; pypng has no types

        size = SCALE * len(self._modules)
        rows = [bytes(0x00 if dark else 0xFF for dark in row) for row in self._modules for _ in range(SCALE)]
        file = BytesIO()
        # The library's own PNG looks at each pixel, and takes ten times as long.
        png.Writer(size, size, greyscale=True, bitdepth=1).write_packed(file, rows)
        return file.getvalue()

    def terminal(self) -> str:
        """Lines for a terminal, dark or light, a column a module: 45 to 53 of them for most addresses.

        Each line sets its colours and resets them at its end. The last one ends without a line feed.
        """
        rows = self._modules
        lowers = [*rows[1::2], rows[0]]  # the number of rows is odd: one more of the quiet zone completes the last line
        return "\n".join(map(_line, rows[::2], lowers))

    @cached_property
    def _modules(self) -> tuple[Row, ...]:
        """The rows of the code and the quiet zone around it; True is dark. If threads race, each finds the same."""
        from qrcode.constants import ERROR_CORRECT_M  # type: ignore[import-untyped]  # as above
        from qrcode.main import QRCode  # type: ignore[import-untyped]

        code = QRCode(error_correction=ERROR_CORRECT_M, border=QUIET_ZONE)
        # The library writes runs of at least 20 digits or capitals in fewer bits each. That pays for their headers
        # in every version, so what fits as bytes (LONGEST) fits; shorter runs would not.
        code.add_data(self.uri, optimize=20)
        return tuple(map(tuple, code.get_matrix()))


def _bars(rows: Iterable[Row]) -> Iterable[str]:
    """Path data that fills each run of dark modules of a row."""
    for y, row in enumerate(rows):
        x = 0
        for dark, run in groupby(row):
            width = len(list(run))
            if dark:
                yield f"M{x},{y}h{width}v1h-{width}z"
            x += width


def _line(upper: Row, lower: Row) -> str:
    """Two rows of modules as half blocks."""
    return INK + "".join(HALVES[2 * above + below] for above, below in zip(upper, lower, strict=True)) + END
