"""QR: what a picture of an address takes, beside what the qrcode library draws itself, and what the event loop feels.

Each call draws a new picture: code, mask and all; "again" is another form of a picture whose code is known. The
lateness is that of P8, with and without 5 pictures a second being drawn in a thread. A thread frees the loop of
the work, but not of the interpreter lock, which a busy thread keeps for up to 5 ms (`sys.getswitchinterval`).
"""

import asyncio
from io import BytesIO, StringIO
from statistics import median

from qrcode.constants import ERROR_CORRECT_M  # type: ignore[import-untyped]  # qrcode has no types
from qrcode.image.pure import PyPNGImage  # type: ignore[import-untyped]
from qrcode.image.svg import SvgPathImage  # type: ignore[import-untyped]
from qrcode.main import QRCode  # type: ignore[import-untyped]

from pairlock.services.pictures import QUIET_ZONE, SCALE, Picture
from tests.benchmarks.measure import Times, calls, interleave
from tests.benchmarks.p8_pin_checks import ROUNDS, SPELL, lateness
from tests.benchmarks.report import Row, Rows, microseconds, script

URI = "https://house.example.org:8443/pair/qr#0123456789ABCDEF0123456789ABCDEF"
PICTURES_PER_SECOND = 5


async def measure() -> Rows:
    known = Picture(URI)
    known.svg()
    times = await interleave(
        {
            "svg()": calls(lambda: Picture(URI).svg()),
            "SvgPathImage": calls(lambda: code().make_image(SvgPathImage).to_string()),
            "png()": calls(lambda: Picture(URI).png()),
            "PyPNGImage": calls(lambda: code().make_image(PyPNGImage).save(BytesIO())),
            "terminal()": calls(lambda: Picture(URI).terminal()),
            "print_ascii": calls(lambda: code().print_ascii(StringIO())),
            "svg() again": calls(known.svg),
            "png() again": calls(known.png),
            "terminal() again": calls(known.terminal),
        }
    )
    return [
        _row(times, "svg()", "SvgPathImage"),
        _row(times, "png()", "PyPNGImage"),
        _row(times, "terminal()", "print_ascii"),
        _row(times, "svg() again", "svg()"),
        _row(times, "png() again", "png()"),
        _row(times, "terminal() again", "terminal()"),
        await _loop_lateness(),
    ]


def _row(times: Times, ours: str, other: str) -> Row:
    shown = f"{other} {microseconds(times.seconds(other))}"
    return Row("QR", ours, microseconds(times.seconds(ours)), shown, times.ratio(ours, other))


def code() -> QRCode:
    """The library's own, of the same size."""
    made = QRCode(error_correction=ERROR_CORRECT_M, border=QUIET_ZONE, box_size=SCALE)
    made.add_data(URI)
    return made


async def _loop_lateness() -> Row:
    idle, busy = [], []
    for _ in range(ROUNDS):
        idle.append(await lateness())
        drawing = asyncio.create_task(draw_pictures())
        busy.append(await lateness())
        await drawing
    ratio = median(late / early for late, early in zip(busy, idle, strict=True))
    what = f"loop lateness p99, {PICTURES_PER_SECOND} pictures/s"
    return Row("QR", what, microseconds(median(busy)), f"idle {microseconds(median(idle))}", ratio)


async def draw_pictures() -> None:
    """Draw for one spell, evenly spread, each a new picture in a thread."""
    for _ in range(int(SPELL * PICTURES_PER_SECOND) - 1):
        await asyncio.sleep(1 / PICTURES_PER_SECOND)
        await asyncio.to_thread(lambda: Picture(URI).svg())


if __name__ == "__main__":
    script(measure, __doc__)
