"""Text that strangers chose and operators read: names, user agents, hints."""

import re
import unicodedata

from pairlock.errors import InvalidRequest

MAX_NAME = 64
MAX_TEXT = 200
SPARE = 8  # times as many characters are looked at as are kept: most of what is dropped fits in
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # controls, bidi marks, surrogates, private use
BLANKS = r"\s\u115f\u1160\u2800\u3164\uffa0"  # spaces, and letters and symbols that look like them
JOINERS = frozenset("\u200d")  # keeps composed emoji whole; harmless beside a visible symbol
_UNSEEN = re.compile(  # default-ignorable code points: two names that differ in them alone look the same
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANK = re.compile(f"[{BLANKS}]")


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Text safe to show on one line: controls and bidi marks dropped, spaces folded, cut at `limit`."""
    spaced = re.sub(f"[{BLANKS}]", " ", text[: SPARE * limit])  # first of all: normalising long text takes long
    kept = (symbol for symbol in spaced if symbol in JOINERS or unicodedata.category(symbol) not in INVISIBLE)
    folded = re.sub(" +", " ", "".join(kept)).strip()
    return unicodedata.normalize("NFC", folded)[:limit].rstrip()


def clean_name(name: str, what: str = "name") -> str:
    """A device's name as it is kept. Raises InvalidRequest when nothing visible is left or it is too long."""
    cleaned = clean_text(name, limit=MAX_NAME + 1)
    if len(cleaned) > MAX_NAME or len(name) > SPARE * MAX_NAME:
        raise InvalidRequest(detail=f"{what} is over {MAX_NAME} characters")
    if not any(unicodedata.category(symbol)[0] in "LNPS" for symbol in cleaned):
        raise InvalidRequest(detail=f"{what} needs at least one visible character")
    return cleaned


def fold(text: str) -> str:
    """Text as it is compared with others: without regard to case, width and composition; what is unseen is dropped."""
    seen = _UNSEEN.sub("", text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return "".join(symbol for symbol in folded if symbol >= " ")


def visible(text: str) -> str:
    """Text in which whatever cannot be seen, or looks like a space, is written out, such as \\u202e."""
    return "".join(symbol if _is_seen(symbol) else _written_out(symbol) for symbol in text)


def _is_seen(symbol: str) -> bool:
    return symbol.isprintable() and not _UNSEEN.match(symbol) and not _BLANK.match(symbol)


def _written_out(symbol: str) -> str:
    return f"\\u{ord(symbol):04x}" if symbol <= "\uffff" else f"\\U{ord(symbol):08x}"
