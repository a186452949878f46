"""What the live display of `pairlock serve` shows, and what its keys mean. Pure: time is an argument."""

import math
from collections.abc import Sequence

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from pairlock._core.records import AuditEvent, PairingRequest
from pairlock._core.windows import is_open
from pairlock.cli.service.story import Story, details, lines
from pairlock.cli.service.watching import Scene
from pairlock.cli.terminal import countdown, quoted, safe

STEADY = 0.7  # seconds in which keys do not decide, once another request stands where they are aimed at
REPEATS = 0.05  # seconds within which a key repeats that is held down
LEAST = 9  # lines that requests may take before there is news: one in full, in most terminals
DIGITS = "123456789"
MOVES = {"up": -1, "k": -1, "down": 1, "j": 1}
ACTIONS = {"w": "window", "r": "reopen", "q": "quit", "c-c": "quit", "c-d": "quit", "c-z": "suspend"}
DECISIONS = {"a": "approve", "d": "deny"}

Lines = list[Text]


class Pressed(Struct, frozen=True):
    """What a key asks for: to approve or deny a request; window, reopen, quit or suspend."""

    action: str
    request_id: str = ""
    name: str = ""


class LiveDisplay:
    """All that the screen shows. `url` is where a device pairs; `enabled` whether any can."""

    def __init__(self, url: str, *, enabled: bool = True) -> None:
        self.url = url
        self.enabled = enabled
        self.story = Story()
        self.scene = Scene()
        self.last = ""
        self._selected: str | None = None
        self._stirred_at = self._aimed_at = -math.inf
        self._deciding: set[str] = set()
        self._cut: set[str] = set()  # those that are too long for the screen
        self._decided = ("", -math.inf)  # the last key that was to decide, and when

    # What happens

    def see(self, scene: Scene, now: float) -> None:
        """What there is to see now; the selection stays with its request, or goes to the one in its place."""
        for ending in self.story.end(scene, now):
            self.last = ending
        before, after = _ids(self.scene), _ids(scene)
        self.scene = scene
        if before != after:
            self._stirred_at = now
        self._deciding &= set(after)
        if self._selected not in after:
            place = before.index(self._selected) if self._selected in before else 0
            self._select(after[min(place, len(after) - 1)] if after else None)

    def hear(self, event: AuditEvent) -> None:
        """Something has happened."""
        self.last = self.story.tell(event) or self.last

    def say(self, text: str) -> None:
        """Something is to be told beside that."""
        self.last = text

    # Keys

    def press(self, key: str, now: float) -> Pressed | None:
        """What a key asks for; None where it asks for nothing, or only moves the selection."""
        if key in ACTIONS:
            return Pressed(ACTIONS[key])
        if key in MOVES:
            self._move(MOVES[key])
        elif key in DIGITS:
            self._select_at(DIGITS.index(key))
        elif key in DECISIONS and not self._repeats(key, now):
            return self._decide(DECISIONS[key], now)
        return None

    def done(self, pressed: Pressed) -> None:
        """What a key asked for is done, or has failed."""
        self._deciding.discard(pressed.request_id)

    def is_steady(self, now: float) -> bool:
        """Whether keys decide: not just after another request has come to stand where they are aimed at."""
        return abs(now - self._aimed_at) >= STEADY  # the clock may be set back

    @property
    def selected(self) -> PairingRequest | None:
        """The request that the keys are aimed at."""
        return next((shown.request for shown in self.scene.shown if shown.request.id == self._selected), None)

    def _decide(self, action: str, now: float) -> Pressed | None:
        request = self.selected
        if request is None or request.id in self._deciding or not self.is_steady(now):
            return None
        if action == "approve" and request.id in self._cut:
            self.last = (
                f"Not approved: {quoted(request.name)} asks for more than fits here. Make the terminal larger,"
                f" or use: pairlock requests approve {request.id}"
            )
            return None
        self._deciding.add(request.id)
        return Pressed(action, request.id, safe(request.name))

    def _repeats(self, key: str, now: float) -> bool:
        """Whether a key is held down: it decides about nobody else."""
        (before, at), self._decided = self._decided, (key, now)
        return key == before and abs(now - at) < REPEATS

    def _move(self, by: int) -> None:
        if self._selected is not None:
            self._select_at(max(_ids(self.scene).index(self._selected) + by, 0))

    def _select_at(self, place: int) -> None:
        ids = _ids(self.scene)
        if place < len(ids):
            self._select(ids[place])

    def _select(self, request_id: str | None) -> None:
        """Aim at this; where the list has just changed, the key may have been meant for another."""
        if request_id != self._selected:
            self._selected, self._aimed_at = request_id, self._stirred_at

    # The screen

    def render(self, console: Console, now: float) -> Lines:
        """The lines of the screen, none wider and together no more than fit."""
        width, height = console.width, max(console.height - 1, 1)
        news = [line for text in self._news(now) for line in _wrapped(text, console, width)]
        keys = len(_wrapped(self._keys(now), console, width)[: max(height // 2, 1)])
        room = max(height - keys - len(news), min(height - keys, LEAST))
        above = self._above(console, width, room, now)
        kept = height - keys - len(above)
        legend = _wrapped(self._keys(now), console, width)[:keys]  # once more: it may not be approved what is cut off
        return [*above, *news[max(len(news) - kept, 0) :], *legend]

    def _above(self, console: Console, width: int, room: int, now: float) -> Lines:
        if not self.scene.shown:
            return [Text(), *_wrapped(self._nobody(now), console, width), Text()][:room]
        blocks = [self._block(place, console, width, now) for place in range(len(self.scene.shown))]
        longest = room - (len(blocks) > 1)  # beside others, a line says how many
        self._cut = {each for each, block in zip(_ids(self.scene), blocks, strict=True) if len(block) > longest}
        blocks = [_cut_off(block, longest, console, width) for block in blocks]
        if sum(map(len, blocks)) > room:
            blocks = self._fitted(blocks, room, width, now)
        return [line for block in blocks for line in block][:room]

    def _fitted(self, blocks: Sequence[Lines], room: int, width: int, now: float) -> list[Lines]:
        """The selected request in full, of the others a line each, as many around it as there is room for."""
        at = next(place for place, shown in enumerate(self.scene.shown) if shown.request.id == self._selected)
        others = max(room - len(blocks[at]) - 1, 0)
        first = max(min(at - others // 2, len(blocks) - 1 - others), 0)
        kept = range(first, min(first + others + 1, len(blocks)))
        hidden = len(blocks) - len(kept)
        short = [blocks[place] if place == at else [self._short(place, width, now)] for place in kept]
        return [*short, [Text(f"   and {hidden} more; j and k go there"[:width], style="dim")]] if hidden else short

    def _block(self, place: int, console: Console, width: int, now: float) -> Lines:
        shown = self.scene.shown[place]
        is_selected = shown.request.id == self._selected
        title, pin, left = lines(shown, now)
        said = [(title, "bold cyan" if is_selected else "bold"), (pin, "bold"), (left, "")]
        said += [(detail, "dim") for detail in details(shown)]
        wrapped = [line for text, style in said for line in _wrapped(Text(text, style), console, width - 3)]
        return [Text(), *(Text.assemble(self._mark(place, first=not at), line) for at, line in enumerate(wrapped))]

    def _short(self, place: int, width: int, now: float) -> Text:
        shown = self.scene.shown[place]
        _, pin, left = lines(shown, now)
        said = f"{pin}  {left.rpartition(' ')[2]}  {quoted(shown.request.name)}"
        line = Text.assemble(self._mark(place, first=True), said)
        line.truncate(width, overflow="ellipsis")
        return line

    def _mark(self, place: int, *, first: bool) -> Text:
        if not first:
            return Text("   ")
        marker = ">" if self.scene.shown[place].request.id == self._selected else " "
        number = DIGITS[place] if len(self.scene.shown) > 1 and place < len(DIGITS) else " "
        return Text(f"{marker}{number} ", style="bold cyan")

    def _nobody(self, now: float) -> Text:
        if not self.enabled:
            return Text("Pairing is switched off in the settings (enabled: false).", style="dim")
        if is_open(self.scene.window, now):
            return Text(f"No device asks to pair. On a device: pairlock pair {self.url}", style="dim")
        return Text("The pairing window is closed: no device can ask. Press w to open it.", style="dim")

    def _news(self, now: float) -> list[Text]:
        behind = self.scene.behind
        waiting = f"{behind} more wait{'s' if behind == 1 else ''}: of each address, one PIN is shown at a time"
        status = Text.assemble(self._window(now), "  ", f"{_devices(self.story.paired)} paired in this run", style="")
        held = Text("PIN method held: too many wrong PINs. Press r to reopen it.", style="bold red")
        said = [
            Text(),
            *([Text(waiting, style="yellow")] if behind else []),
            *([held] if self.scene.held else []),
            *([Text(self.last, style="bold")] if self.last else []),
        ]
        return [*said, status]

    def _window(self, now: float) -> tuple[str, str]:
        window = self.scene.window
        if not is_open(window, now):
            return "Window closed", "yellow"
        left = "" if window.until is None else f" {countdown(window.until - now)}"
        return f"Window open{left}", "green"

    def _keys(self, now: float) -> Text:
        keys = [("w", f"{'close' if is_open(self.scene.window, now) else 'open'} window"), ("q", "quit")]
        request = self.selected
        if request is None:
            return _legend(keys, "")
        moves = [("j/k", "select")] if len(self.scene.shown) > 1 else []
        off = "" if self.is_steady(now) else "dim strike"
        approve = _legend([("a", f"approve {quoted(request.name)}")], "dim strike" if request.id in self._cut else off)
        return Text("  ").join([approve, _legend([("d", "deny")], off), _legend([*moves, *keys], "")])


def _ids(scene: Scene) -> list[str]:
    return [shown.request.id for shown in scene.shown]


def _devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"


def _legend(keys: Sequence[tuple[str, str]], style: str) -> Text:
    parts = [Text.assemble((key, f"reverse {style}"), (f" {says}", style)) for key, says in keys]
    return Text("  ").join(parts)


def _cut_off(block: Lines, longest: int, console: Console, width: int) -> Lines:
    """A block that fits; one that is too long says that it goes on."""
    if len(block) <= longest:
        return block
    says = Text("… goes on: make the terminal larger, or see it all with: pairlock requests list", "bold red")
    more = _wrapped(says, console, width)
    return [*block[: max(longest - len(more), 0)], *more][: max(longest, 0)]


def _wrapped(text: Text, console: Console, width: int) -> Lines:
    """The text in lines no wider than that; one empty line where it is empty."""
    return list(text.wrap(console, max(width, 1), overflow="fold")) or [Text()]
