"""Every picture of an address is read back by a reader that shares nothing with the library that drew it."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import accumulate, chain, groupby
from math import ceil
from threading import Barrier
from typing import NamedTuple
from xml.etree import ElementTree as ET

import png  # type: ignore[import-untyped]  # pypng has no types
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st

from pairlock import ConfigurationError
from pairlock.services.pictures import LONGEST, QUIET_ZONE, Picture

SECRET = "0123456789ABCDEF0123456789ABCDEF"
TYPICAL = f"https://house.example.org:8443/pair/qr#{SECRET}"

URIS = [
    TYPICAL,
    "http://a",
    "HTTP://10.0.0.1/#0123456789",
    f"http://192.168.178.20:8000/pair/qr#{SECRET}",
    f"http://[fe80::1]:8000/pair/qr#{SECRET}",
    f"https://[2001:db8:85a3:8d3:1319:8a2e:370:7348]:8443/pair/qr#{SECRET}",
    f"https://xn--kche-0ra.example/~us%20er/pair/qr?a=1&b=<2>'\"#{SECRET}",
    "https://" + ".".join(["house" * 12] * 4) + f".example/pair/qr#{SECRET}",
    "https://house.example/" + "far/" * 60 + f"qr#{SECRET}",
]

# Bytes that fit at level M, of version 1 on: ISO/IEC 18004, table 7.
CAPACITIES = [
    *(14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666),
    *(711, 779, 857, 911, 997, 1059, 1125, 1190, 1264, 1370),
    *(1452, 1538, 1628, 1722, 1809, 1911, 1989, 2099, 2213, 2331),
]

BLACK, WHITE = 0, 255
DARK_TERMINAL, LIGHT_TERMINAL = (200, 20), (40, 240)  # what its text and its background look like, as grey

Pixels = list[list[int]]  # rows of greys
Margins = tuple[int, int, int, int]  # pixels: above, right, below, left


def pixels_of_svg(svg: str, canvas: int = WHITE, width: int | None = None) -> Pixels:
    """What a browser paints on a canvas of this grey, one sample a pixel, as wide as CSS says or the picture asks."""
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    left, top, across, down = map(float, root.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    columns = width or int(root.attrib["width"])
    assert "height" not in root.attrib  # so that it follows from the width
    scale = columns / across
    pixels = [[canvas] * columns for _ in range(round(down * scale))]
    for element in root:
        shape = {"{http://www.w3.org/2000/svg}rect": rectangle, "{http://www.w3.org/2000/svg}path": path}[element.tag]
        grey = {"#fff": WHITE, "#000": BLACK}[element.attrib["fill"]]
        fill(pixels, (edge.scaled(scale) for edge in shape(element)), grey)
    return pixels


class Edge(NamedTuple):
    """An upright stretch of an outline; `turn` is 1 downwards and -1 upwards."""

    x: float
    top: float
    bottom: float
    turn: int

    def scaled(self, scale: float) -> "Edge":
        return Edge(self.x * scale, self.top * scale, self.bottom * scale, self.turn)


def rectangle(element: ET.Element) -> Iterator[Edge]:
    x, y = (float(element.get(name, 0)) for name in ("x", "y"))
    width, height = (float(element.attrib[name]) for name in ("width", "height"))
    yield Edge(x, y, y + height, -1)
    yield Edge(x + width, y, y + height, 1)


def path(element: ET.Element) -> Iterator[Edge]:
    """The upright edges of a path of level and upright lines: SVG 1.1 §8.3."""
    x = y = start_x = start_y = 0.0
    for command, arguments in re.findall(r"([A-Za-z])([^A-Za-z]*)", element.attrib["d"]):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", arguments)]
        before = y
        match command, numbers:
            case "M", [x, y]:
                before, start_x, start_y = y, x, y
            case "h", [by]:
                x += by
            case "v", [by]:
                y += by
            case "z", []:
                assert x == start_x, "closed by a level or an upright line"
                y = start_y
            case _:
                pytest.fail(f"a command that is not known here: {command}{arguments}")
        if before != y:
            yield Edge(x, min(before, y), max(before, y), 1 if y > before else -1)


def fill(pixels: Pixels, edges: Iterator[Edge], grey: int) -> None:
    """Paint the pixels whose centres are inside: the nonzero rule."""
    width = len(pixels[0])
    turns = [[0] * (width + 1) for _ in pixels]
    for edge in edges:
        for y in range(first_within(edge.top), first_within(edge.bottom)):
            turns[y][first_within(edge.x)] += edge.turn
    for row, turned in zip(pixels, turns, strict=True):
        *inside, outside = accumulate(turned)
        assert outside == 0
        row[:] = [grey if within else was for was, within in zip(row, inside, strict=True)]


def first_within(bound: float) -> int:
    """The first pixel whose centre is not before this."""
    return ceil(bound - 0.5)


def pixels_of_png(data: bytes) -> Pixels:
    width, height, rows, about = png.Reader(bytes=data).read()
    assert about["greyscale"]
    assert not about["alpha"]  # nothing of a dark page shines through
    pixels = [[WHITE * value // (2 ** about["bitdepth"] - 1) for value in row] for row in rows]
    assert {len(row) for row in pixels} == {width}
    assert len(pixels) == height
    return pixels


def pixels_of_terminal(text: str, colours: tuple[int, int] = DARK_TERMINAL) -> Pixels:
    """What a terminal of these default colours shows, two pixels a cell, with its own background around the text."""
    ink, paper = colours
    rows: Pixels = []
    for line in ["", *text.split("\n"), ""]:
        upper, lower = [paper], [paper]
        for codes, symbol in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if symbol:
                above, below = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}[symbol]
                upper.append(ink if above else paper)
                lower.append(ink if below else paper)
            else:
                ink, paper = {"0": colours, "38;5;16;48;5;231": (BLACK, WHITE)}[codes]
        rows += [upper, lower]
    widest = max(map(len, rows)) + 1
    return [row + [paper] * (widest - len(row)) for row in rows]


def read(pixels: Pixels, scale: int = 1) -> zxingcpp.Barcode:
    """The one QR code in these pixels, magnified; dark on light only."""
    stretched = [bytes(chain.from_iterable(zip(*[row] * scale, strict=True))) * scale for row in pixels]
    image = memoryview(b"".join(stretched)).cast("B", shape=[scale * len(pixels), scale * len(pixels[0])])
    [code] = zxingcpp.read_barcodes(image, try_invert=False, try_rotate=False)
    assert code.format == zxingcpp.BarcodeFormat.QRCode
    return code


def from_svg(picture: Picture) -> zxingcpp.Barcode:
    return read(pixels_of_svg(picture.svg()))


def from_png(picture: Picture) -> zxingcpp.Barcode:
    return read(pixels_of_png(picture.png()))


def from_terminal(picture: Picture) -> zxingcpp.Barcode:
    return read(pixels_of_terminal(picture.terminal()), scale=4)


FORMS = pytest.mark.parametrize("form", [from_svg, from_png, from_terminal])
Form = Callable[[Picture], zxingcpp.Barcode]


@cache
def kept(uri: str) -> Picture:
    """One picture an address, for its code takes longest."""
    return Picture(uri)


def version(picture: Picture) -> int:
    """From 1, of 21 modules a side, to 40."""
    columns = len(visible(picture.terminal()).splitlines()[0])
    modules, rest = divmod(columns - 2 * QUIET_ZONE - 17, 4)
    assert rest == 0
    return modules


def visible(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def margins(pixels: Pixels) -> Margins:
    """How much of each side is white throughout."""

    def white(rows: Pixels) -> int:
        is_white, run = next((set(row) == {WHITE}, run) for row, run in groupby(rows, key=lambda row: row))
        assert is_white
        return len(list(run))

    columns = [list(column) for column in zip(*pixels, strict=True)]
    return white(pixels), white(columns[::-1]), white(pixels[::-1]), white(columns)


@FORMS
@pytest.mark.parametrize("uri", URIS)
def test_a_picture_is_read_back_as_the_address_exactly(uri: str, form: Form) -> None:
    assert form(kept(uri)).text == uri


FRAGMENTS = st.one_of(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%", max_size=150),
    st.text("0123456789ABCDEF", min_size=32, max_size=64),
    st.lists(st.sampled_from(["7" * 19, "7" * 20, "7" * 21, "A" * 19, "A" * 20, "A" * 21, "a", "a" * 20])).map("".join),
)


def test_the_longest_address_is_read_back_too() -> None:
    assert from_png(kept("a" * LONGEST)).text == "a" * LONGEST


@settings(max_examples=8)  # an example takes a tenth of a second
@given(fragment=FRAGMENTS)
def test_whatever_the_fragment_is_every_form_is_read_back(fragment: str) -> None:
    picture = Picture(f"https://house.example.org:8443/pair/qr#{fragment}")
    assert {form(picture).text for form in (from_svg, from_png, from_terminal)} == {picture.uri}


@FORMS
@pytest.mark.parametrize("uri", [TYPICAL, "http://a", "a" * 500])
def test_a_picture_is_of_level_m(uri: str, form: Form) -> None:
    assert form(kept(uri)).ec_level == "M"


@pytest.mark.parametrize("canvas", [BLACK, WHITE])
@pytest.mark.parametrize("width", [None, 137, 250, 600])
def test_an_svg_is_read_on_a_page_of_any_colour_and_at_any_width_that_css_gives_it(
    canvas: int, width: int | None
) -> None:
    assert read(pixels_of_svg(Picture(TYPICAL).svg(), canvas, width)).text == TYPICAL


@pytest.mark.parametrize("colours", [DARK_TERMINAL, LIGHT_TERMINAL])
def test_a_terminal_s_own_colours_make_no_difference(colours: tuple[int, int]) -> None:
    pixels = pixels_of_terminal(Picture(TYPICAL).terminal(), colours)
    assert read(pixels, scale=4).text == TYPICAL
    assert {grey for row in pixels[2:-2] for grey in row[1:-1]} == {BLACK, WHITE}


@pytest.mark.parametrize("uri", [TYPICAL, "http://a", "a" * 500])
def test_four_modules_of_white_are_around_the_code_in_every_form(uri: str) -> None:
    picture = Picture(uri)
    svg = pixels_of_svg(picture.svg(), canvas=BLACK)
    text = pixels_of_terminal(picture.terminal())
    assert margins(svg) == (32, 32, 32, 32)
    assert margins(pixels_of_png(picture.png())) == (32, 32, 32, 32)
    assert margins([row[1:-1] for row in text[2:-2]]) == (4, 4, 5, 4)  # one more completes the last line


def test_an_svg_is_one_path_on_white_in_a_document_of_its_own() -> None:
    svg = Picture(TYPICAL).svg()
    root = ET.fromstring(svg)
    assert svg.isascii()
    assert [element.tag.partition("}")[2] for element in root.iter()] == ["svg", "rect", "path"]
    assert root.attrib["viewBox"] == "0 0 45 45"
    assert root.attrib["width"] == "360"


def test_an_svg_has_nothing_that_a_strict_content_security_policy_refuses() -> None:
    assert not re.search(r"style|script|href|url\(|<[?!]", Picture(TYPICAL).svg())


def test_a_png_has_8_pixels_a_module_and_is_small() -> None:
    data = Picture(TYPICAL).png()
    assert (len(pixels_of_png(data)), len(data) < 1000) == (8 * 45, True)


def test_in_a_terminal_every_line_is_equally_wide_and_fits_80_columns() -> None:
    lines = visible(Picture(TYPICAL).terminal()).split("\n")
    assert {len(line) for line in lines} == {45}
    assert len(lines) == 23


def test_in_a_terminal_no_line_leaves_its_colours_behind() -> None:
    for line in Picture(TYPICAL).terminal().split("\n"):
        assert re.fullmatch(r"\x1b\[38;5;16;48;5;231m[ ▀▄█]+\x1b\[0m", line)


@pytest.mark.parametrize("smaller", [1, 2, 3, 4, 5, 6, 9, 10, 26, 39])  # headers grow after 9 and 26
def test_the_smallest_code_that_holds_the_address_is_drawn(smaller: int) -> None:
    capacity = CAPACITIES[smaller - 1]
    assert version(Picture("a" * capacity)) == smaller
    assert version(Picture("a" * (capacity + 1))) == smaller + 1


def test_a_secret_in_capitals_makes_for_a_smaller_code() -> None:
    address = "http://house.example:8000/pair/qr#"
    assert (version(Picture(address + SECRET.lower())), version(Picture(address + SECRET))) == (5, 4)


@settings(max_examples=20)
@given(fragment=FRAGMENTS)
def test_no_address_takes_a_larger_code_than_its_bytes_would(fragment: str) -> None:
    assert version(Picture(f"a{fragment}")) <= 1 + bisect_left(CAPACITIES, len(fragment) + 1)


@pytest.mark.parametrize("run", ["7" * 20 + "a", "A" * 20 + "a"])
def test_what_fits_as_bytes_fits_whatever_it_is_made_of(run: str) -> None:
    assert version(Picture((run * LONGEST)[:LONGEST])) <= 40


@pytest.mark.parametrize("uri", ["a" * (LONGEST + 1), "7" * (LONGEST + 1), "é" * (LONGEST // 2 + 1)])
def test_an_address_that_no_code_holds_is_refused_at_once_and_not_repeated(uri: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"^the address is too long for a QR code: it has 2332 bytes, and 2331 fit"
    ) as refused:
        Picture(uri)
    assert uri[:9] not in str(refused.value)


def test_what_is_shown_of_a_picture_does_not_tell_the_secret() -> None:
    picture = Picture(TYPICAL)
    assert picture.uri == TYPICAL
    assert f"{picture} {picture!r}" == "Picture() Picture()"
    assert SECRET not in picture.svg() + picture.terminal() + picture.png().decode("latin-1")


def test_a_picture_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Picture(TYPICAL).uri = "http://elsewhere"  # type: ignore[misc]  # what a type checker would say


def test_two_pictures_of_an_address_are_the_same_to_the_byte() -> None:
    one, other = Picture(TYPICAL), Picture(TYPICAL)
    assert forms(one) == forms(other)
    assert forms(one) != forms(Picture(TYPICAL.lower()))


def test_threads_that_draw_the_same_picture_at_once_get_the_same() -> None:
    picture, together = Picture(TYPICAL), Barrier(4)

    def draw(_: int) -> tuple[str, bytes, str]:
        together.wait()
        return forms(picture)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(draw, range(4))) == {forms(Picture(TYPICAL))}


def forms(picture: Picture) -> tuple[str, bytes, str]:
    return picture.svg(), picture.png(), picture.terminal()
