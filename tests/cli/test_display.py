"""What the display of `pairlock serve` shows, what its keys mean, and how a terminal is treated."""

import asyncio
import io
import json
import os
import re
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prompt_toolkit.input import create_input
from rich.console import Console
from rich.text import Text

from pairlock import Operator, Pairlock
from pairlock._core.permissions import Permissions
from pairlock._core.records import AuditEvent, EventType, Origin, PairingRequest
from pairlock._core.windows import Window
from pairlock.cli.service.banner import Banner
from pairlock.cli.service.display import REPEATS, STEADY, LiveDisplay, Pressed
from pairlock.cli.service.lines import JSONDisplay, PlainDisplay, QuietDisplay
from pairlock.cli.service.listening import Place
from pairlock.cli.service.screen import Screen
from pairlock.cli.service.story import Story, details, lines
from pairlock.cli.service.watching import Scene, Shown, stirs, until_one_ends, watch
from pairlock.cli.terminal import Terminal
from pairlock.errors import TemporarilyUnavailable
from pairlock.services.deciding import first_of_each_source
from pairlock.services.pairing import Started
from pairlock.testing.builders import MADE_AT, a_request, an_event
from tests.cli.parts import TIMEOUT, plain
from tests.services.parts import KEY, SENSORS, UNLIMITED, the_pin, wrong

NOW = MADE_AT + 1
SOON = NOW + STEADY
GRANTED = Permissions.parse(SENSORS)
URL = "http://127.0.0.1:8000"
BANNER = Banner(
    place=Place("http", "127.0.0.1", "127.0.0.1", 8000),
    app="house:app",
    public=(),
    grants=GRANTED,
    enabled=True,
    window=Window(True, NOW + 300, NOW, "operator:ann"),
    store="/srv/pairlock.db",
)


def asking(name: str = "My Phone", address: str = "192.0.2.7", **changes: Any) -> Shown:
    request = a_request(name=name, origin=Origin(address, "curl/8.5.0"), **changes)
    return Shown(request, "847291", request.requested or GRANTED)


def some(count: int) -> tuple[Shown, ...]:
    return tuple(asking(f"Phone {number}") for number in range(1, count + 1))


def scene(*shown: Shown, **more: Any) -> Scene:
    return Scene(shown, **{"window": Window(True, NOW + 192, NOW, "operator:ann"), **more})


def display_of(*shown: Shown, **more: Any) -> LiveDisplay:
    display = LiveDisplay(URL)
    display.see(scene(*shown, **more), NOW)
    return display


def text_of(display: LiveDisplay, *, width: int = 100, height: int = 40, now: float = SOON) -> str:
    console = Console(file=io.StringIO(), width=width, height=height)
    rendered = display.render(console, now)
    assert len(rendered) < height
    assert all(line.cell_len <= width for line in rendered)
    return "\n".join(line.plain.rstrip() for line in rendered)


def about(shown: Shown, type: EventType, by: str = "operator:ann", **more: Any) -> AuditEvent:
    request = shown.request
    return an_event(type=type, by=by, name=request.name, request_id=request.id, method=request.method, **more)


# Words


def test_a_request_is_known_by_three_lines() -> None:
    assert lines(asking(), NOW) == ('Pairing request from "My Phone"', "PIN: 847291", "Expires in 4:59")


def test_a_request_whose_key_has_gone_says_so_in_place_of_its_pin() -> None:
    assert "the key that it was made with is gone" in lines(replace(asking(), pin=None), NOW)[1]


def test_what_a_device_would_get_is_told_with_where_it_is_and_how_many_guesses_are_left() -> None:
    assert details(asking()) == (
        "From 192.0.2.7, curl/8.5.0",
        "Would get read /sensors/**, write /control/lamp; 5 attempts left",
    )


def test_what_a_device_asks_for_is_told_as_its_wish() -> None:
    shown = asking(requested=Permissions.parse({"read": ["/sensors/temperature"]}), guesses=4)
    assert details(shown)[1] == "Asks for read /sensors/temperature; 1 attempt left"


def test_a_device_of_unknown_origin_is_told_as_such() -> None:
    shown = asking()
    nowhere = Shown(replace(shown.request, origin=Origin()), shown.pin, shown.permissions)
    assert details(nowhere)[0] == "From unknown"


def test_a_pin_is_not_in_what_a_traceback_would_show() -> None:
    assert "847291" not in repr(scene(asking()))


@pytest.mark.parametrize(
    ("type", "more", "told"),
    [
        (EventType.APPROVED, {}, "Approved: My Phone by ann"),
        (EventType.APPROVED, {"by": "app"}, "Approved: My Phone"),
        (EventType.APPROVED, {"by": "handler"}, "Approved: My Phone by handler"),
        (EventType.DENIED, {}, "Denied: My Phone by ann"),
        (EventType.DENIED, {"reason": "Not today"}, "Denied: My Phone by ann: Not today"),
        (EventType.LOCKED, {"by": "pin"}, "Locked: 5 wrong PINs for My Phone"),
        (EventType.CANCELLED, {"by": "device"}, "Withdrawn: My Phone"),
        (EventType.CANCELLED, {"by": "time"}, None),
        (EventType.EXPIRED, {"by": "time"}, None),
        (EventType.REDEEMED, {"by": "device:1"}, "Paired: My Phone (PIN)"),
        (EventType.REQUESTED, {"by": "device"}, None),
    ],
)
def test_what_becomes_of_a_request_is_told_in_a_line(type: EventType, more: dict[str, Any], told: str | None) -> None:
    assert Story().tell(about(asking(), type, **more)) == told


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (an_event(type=EventType.WINDOW_OPENED, by="operator:ann"), "Window opened by ann"),
        (an_event(type=EventType.WINDOW_CLOSED, by="time"), "Window closed by time"),
        (an_event(type=EventType.REVOKED, by="operator:ann", name="TV", device_id="1"), "Revoked: TV by ann"),
        (an_event(type=EventType.REFRESHED, by="device:1", name="TV", device_id="1"), None),
        (an_event(type=EventType.REDEEMED, by="device:1", name="TV", method="qr"), "Paired: TV (QR code)"),
    ],
)
def test_what_happens_to_devices_and_to_the_service_is_told_too(event: AuditEvent, told: str | None) -> None:
    assert Story().tell(event) == told


def test_the_hold_is_told_without_a_request() -> None:
    assert (Story().tell(an_event(type=EventType.HELD, by="pin", method="pin")) or "").startswith("PIN method held: ")


def test_a_device_that_was_approved_by_hand_is_told_as_such_once_it_has_paired() -> None:
    story, shown = Story(), asking()
    story.tell(about(shown, EventType.APPROVED))
    assert story.tell(about(shown, EventType.REDEEMED, by="device:1")) == "Paired: My Phone (approved by ann)"
    assert story.paired == 1


def test_a_request_that_time_ends_is_told_at_once_and_not_again_when_it_is_written_down() -> None:
    story, shown = Story(), asking()
    assert list(story.end(scene(shown), NOW)) == []
    assert list(story.end(scene(), shown.request.expires_at)) == ["Expired: My Phone"]
    assert story.tell(about(shown, EventType.EXPIRED, by="time")) is None


def test_a_device_that_stops_asking_is_told_of() -> None:
    story, shown = Story(), asking(present_until=NOW + 30)
    list(story.end(scene(shown), NOW))
    assert list(story.end(scene(), NOW + 31)) == ["Withdrawn: My Phone stopped asking"]


def test_a_request_that_somebody_ended_is_not_told_as_expired() -> None:
    story, shown = Story(), asking()
    list(story.end(scene(shown), NOW))
    story.tell(about(shown, EventType.DENIED))
    assert list(story.end(scene(), shown.request.expires_at)) == []


def test_a_request_that_is_not_listed_any_more_and_not_over_is_told_by_its_event_alone() -> None:
    story = Story()
    list(story.end(scene(asking()), NOW))
    assert list(story.end(scene(), NOW)) == []


# The live display


def test_the_screen_shows_each_request_with_its_pin_and_what_it_would_get() -> None:
    shown = text_of(display_of(asking(), asking("TV")), now=NOW)
    assert 'Pairing request from "My Phone"\n   PIN: 847291\n   Expires in 4:59\n   From 192.0.2.7' in shown
    assert 'Pairing request from "TV"' in shown
    assert "Would get read /sensors/**, write /control/lamp; 5 attempts left" in shown


def test_the_screen_says_what_to_do_while_nobody_asks() -> None:
    assert f"No device asks to pair. On a device: pairlock pair {URL}" in text_of(display_of())


def test_the_screen_says_what_to_do_while_the_window_is_closed() -> None:
    shown = text_of(display_of(window=Window(False)))
    assert "The pairing window is closed: no device can ask. Press w to open it." in shown
    assert "Window closed" in shown


def test_the_screen_says_that_pairing_is_switched_off() -> None:
    assert "switched off" in text_of(LiveDisplay(URL, enabled=False))


def test_the_screen_counts_the_window_down() -> None:
    assert "Window open 3:12" in text_of(display_of(), now=NOW)
    assert "Window open 3:02" in text_of(display_of(), now=NOW + 10)
    assert "Window closed" in text_of(display_of(), now=NOW + 192)


def test_a_window_without_an_end_has_no_countdown() -> None:
    assert "Window open  0 devices" in text_of(display_of(window=Window(True, None, NOW, "operator:ann")))


def test_the_screen_counts_a_request_down() -> None:
    assert "Expires in 4:49" in text_of(display_of(asking()), now=NOW + 10)


def test_the_screen_says_how_many_wait_behind_others() -> None:
    assert "1 more waits: of each address, one PIN is shown at a time" in text_of(display_of(asking(), behind=1))
    assert "3 more wait: of each address" in text_of(display_of(asking(), behind=3))


def test_the_screen_says_that_pins_are_held_and_which_key_ends_it() -> None:
    assert "PIN method held: too many wrong PINs. Press r to reopen it." in text_of(display_of(held=True))


def test_the_screen_shows_the_last_that_happened_and_how_many_paired() -> None:
    shown = asking()
    display = display_of(shown)
    display.hear(about(shown, EventType.REDEEMED, by="device:1"))
    display.hear(an_event(type=EventType.REFRESHED))
    assert "Paired: My Phone (PIN)\nWindow open 3:12  1 device paired" in text_of(display)


def test_the_screen_shows_what_time_has_ended() -> None:
    shown = asking()
    display = display_of(shown)
    display.see(scene(), shown.request.expires_at)
    assert "Expired: My Phone" in text_of(display)


def test_the_screen_says_what_went_wrong() -> None:
    display = display_of()
    display.say("The store does not answer.")
    assert "The store does not answer." in text_of(display)


def test_names_are_text_and_nothing_else() -> None:
    assert '"[bold]x[/bold] :smile:"' in text_of(display_of(asking("[bold]x[/bold] :smile:")))


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize("width", [10, 40, 200])
@pytest.mark.parametrize("height", [2, 5, 12, 24, 200])
def test_the_screen_fits_every_terminal(count: int, width: int, height: int) -> None:
    display = display_of(*[asking(f"漢字 {'x' * 50} {number}") for number in range(count)], behind=2, held=True)
    text_of(display, width=width, height=height)


def test_many_requests_take_a_line_each_but_the_selected() -> None:
    display = display_of(*some(20))
    display.press("9", SOON)
    shown = text_of(display, height=24)
    assert '>9 Pairing request from "Phone 9"\n   PIN: 847291' in shown
    assert ' 8 PIN: 847291  4:59  "Phone 8"' in shown
    assert "and 6 more; j and k go there" in shown


@pytest.mark.parametrize("selected", range(20))
def test_the_selected_request_is_on_the_screen_wherever_it_stands(selected: int) -> None:
    display = display_of(*some(20))
    for _ in range(selected):
        display.press("j", SOON)
    assert f'Pairing request from "Phone {selected + 1}"' in text_of(display, height=14)


def test_a_line_that_says_what_is_hidden_is_left_out_where_nothing_is() -> None:
    assert "more; j and k" not in text_of(display_of(*some(4)), height=20)


# Keys


def test_the_screen_names_whom_a_key_would_approve() -> None:
    display = display_of(*some(2))
    assert 'a approve "Phone 1"  d deny  j/k select' in text_of(display)
    display.press("down", SOON)
    assert 'a approve "Phone 2"' in text_of(display)


def test_keys_decide_about_the_selected_request() -> None:
    first, second = some(2)
    assert display_of(first, second).press("a", SOON) == Pressed("approve", first.request.id, "Phone 1")
    assert display_of(first, second).press("d", SOON) == Pressed("deny", first.request.id, "Phone 1")


@pytest.mark.parametrize(
    ("keys", "selected"),
    [("j", 1), ("jj", 2), ("jjjjj", 2), ("jk", 0), ("k", 0), ("3", 2), ("9", 0), ("31", 0)],
)
def test_keys_move_the_selection_within_the_list(keys: str, selected: int) -> None:
    shown = some(3)
    display = display_of(*shown)
    for key in keys:
        assert display.press(key, SOON) is None
    assert display.selected == shown[selected].request


def test_keys_that_mean_nothing_do_nothing() -> None:
    display = display_of(asking())
    assert [display.press(key, SOON) for key in ("x", "enter", "0", "c-a", "")] == [None] * 5


def test_keys_that_need_a_request_do_nothing_without_one() -> None:
    display = display_of()
    assert [display.press(key, SOON) for key in "adjk1"] == [None] * 5


@pytest.mark.parametrize(
    ("key", "action"),
    [("w", "window"), ("r", "reopen"), ("q", "quit"), ("c-c", "quit"), ("c-d", "quit"), ("c-z", "suspend")],
)
def test_keys_for_the_service_work_at_once(key: str, action: str) -> None:
    assert display_of(asking()).press(key, NOW) == Pressed(action)


def test_a_request_that_has_just_come_is_not_decided_by_a_key_that_was_on_its_way() -> None:
    display = display_of(asking())
    assert display.press("a", NOW + STEADY / 2) is None
    assert not display.is_steady(NOW)
    assert display.press("a", SOON) is not None


def test_a_request_that_replaces_the_selected_one_is_not_decided_by_accident() -> None:
    first, second = some(2)
    display = display_of(first, second)
    display.see(scene(second), NOW + 60)
    assert display.selected == second.request
    assert display.press("a", NOW + 60) is None
    assert display.press("d", NOW + 60 + STEADY / 2) is None
    assert display.press("d", NOW + 60 + STEADY) is not None


def test_a_selection_moved_while_the_list_changes_does_not_decide_at_once_either() -> None:
    first, second, third = some(3)
    display = display_of(first, second, third)
    display.see(scene(first, third), NOW + 60)
    display.press("j", NOW + 60.1)
    assert display.press("a", NOW + 60.2) is None
    assert display.press("a", NOW + 60 + STEADY) is not None


def test_a_selection_that_its_operator_moves_decides_at_once() -> None:
    display = display_of(*some(2))
    display.press("j", NOW + 60)
    assert display.press("a", NOW + 60) is not None


def test_a_clock_that_is_set_back_does_not_lock_the_keys() -> None:
    assert display_of(asking()).press("a", NOW - 3600) is not None


def test_the_selection_stays_with_its_request_when_others_come_and_go() -> None:
    first, second, third = some(3)
    display = display_of(first, second)
    display.press("j", SOON)
    display.see(scene(second, third), NOW + 60)
    assert display.selected == second.request
    assert display.press("a", NOW + 60) is not None


def test_the_selection_goes_to_whoever_stands_in_the_same_place() -> None:
    first, second, third = some(3)
    display = display_of(first, second, third)
    display.press("j", SOON)
    display.see(scene(first, third), NOW + 60)
    assert display.selected == third.request
    display.see(scene(first), NOW + 61)
    assert display.selected == first.request


def test_a_request_is_decided_once_until_that_is_done() -> None:
    display = display_of(asking())
    pressed = display.press("a", SOON)
    assert pressed is not None
    assert display.press("a", SOON) is None
    display.done(pressed)
    assert display.press("d", SOON) is not None


def test_a_key_that_is_held_down_decides_once() -> None:
    first, second = some(2)
    display, at = display_of(first, second), SOON
    assert display.press("a", at) == Pressed("approve", first.request.id, "Phone 1")
    display.press("j", at)
    for _ in range(100):
        at += REPEATS / 2
        assert display.press("a", at) is None
    assert display.press("a", at + 2 * REPEATS) == Pressed("approve", second.request.id, "Phone 2")


def test_a_clock_that_is_set_back_a_little_keeps_the_keys_from_deciding_at_once() -> None:
    display = display_of(asking())
    assert display.press("a", NOW - STEADY / 2) is None
    assert display.press("a", NOW - STEADY) is not None


# Requests that are longer than the screen


def greedy(name: str = "Greedy") -> Shown:
    return asking(name, requested=Permissions.parse({"read": [f"/{number}/{'x' * 80}" for number in range(34)]}))


@pytest.mark.parametrize("others", [0, 1, 20])
def test_a_request_that_does_not_fit_says_so_and_is_not_approved(others: int) -> None:
    shown = greedy()
    display = display_of(shown, *some(others))
    text = text_of(display, height=24)
    assert "… goes on: make the terminal larger, or see it all with: pairlock requests list" in text
    assert 'a approve "Greedy"  d deny' in text
    assert display.press("a", SOON) is None
    assert f"or use: pairlock requests approve {shown.request.id}" in text_of(display, width=200, height=24)


def test_a_request_that_does_not_fit_can_be_denied() -> None:
    display = display_of(greedy())
    text_of(display, height=24)
    assert display.press("d", SOON) is not None


def test_news_goes_before_a_request_is_cut_off() -> None:
    display = display_of(asking(), behind=2, held=True)
    display.say("Something else has happened.")
    text_of(display, height=9)
    assert display.press("a", SOON) is not None


def test_once_the_terminal_is_large_enough_it_is_approved() -> None:
    display = display_of(greedy())
    text_of(display, height=24)
    assert "goes on" not in text_of(display, height=100)
    assert display.press("a", SOON) is not None


def test_one_that_does_not_fit_is_not_approved_before_it_was_looked_at_either() -> None:
    display = display_of(asking(), greedy())
    text_of(display, height=24)
    assert [display.press(key, SOON) for key in "ja"] == [None, None]


@pytest.mark.parametrize("height", range(4, 24))
def test_what_the_keys_mean_is_always_on_the_screen(height: int) -> None:
    text = text_of(display_of(greedy(), asking(), behind=2, held=True), height=height)
    assert 'a approve "Greedy"  d deny  j/k select  w close window  q quit' in text


# Line by line


@pytest.fixture
def now() -> Callable[[], float]:
    return lambda: NOW


def test_without_a_terminal_there_is_a_line_for_each_thing(
    capsys: pytest.CaptureFixture[str], now: Callable[[], float]
) -> None:
    display, shown = PlainDisplay(Terminal(as_json=False), clock=now), asking()
    display.begin(BANNER)
    display.see(scene(shown))
    display.see(scene(shown))
    display.hear(about(shown, EventType.REDEEMED, by="device:1"))
    display.hear(an_event(type=EventType.REFRESHED))
    out = capsys.readouterr().out
    assert out.startswith("Listening on  http://127.0.0.1:8000\nGuards        house:app\n")
    assert "Window        open for 5:00\n" in out
    assert out.count('\nPairing request from "My Phone"\nPIN: 847291\nExpires in 4:59\n') == 1
    assert out.endswith("\nPaired: My Phone (PIN)\n")


def test_without_a_terminal_a_request_that_time_ends_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    shown, at = asking(), iter([NOW, NOW, NOW + 300])
    display = PlainDisplay(Terminal(as_json=False), clock=lambda: next(at))
    display.see(scene(shown))
    display.see(scene())
    assert capsys.readouterr().out.endswith("\nExpired: My Phone\n")


def test_for_programs_there_is_an_object_a_line(capsys: pytest.CaptureFixture[str], now: Callable[[], float]) -> None:
    display, shown = JSONDisplay(Terminal(as_json=True), clock=now), asking()
    display.begin(BANNER)
    display.see(scene(shown))
    display.hear(about(shown, EventType.DENIED))
    listening, prompt, denied = map(json.loads, capsys.readouterr().out.splitlines())
    assert listening["type"] == "listening"
    assert listening["urls"] == ["http://127.0.0.1:8000"]
    assert listening["window"] == {"open": True, "expires_in": 300, "by": "operator:ann"}
    assert (prompt["type"], prompt["name"], prompt["pin"], prompt["expires_in"]) == (
        "prompt",
        "My Phone",
        "847291",
        299,
    )
    assert (denied["type"], denied["name"]) == ("denied", "My Phone")


def test_programs_see_no_pin_where_none_is_to_be_shown(
    capsys: pytest.CaptureFixture[str], now: Callable[[], float]
) -> None:
    JSONDisplay(Terminal(as_json=True), shows_pins=False, clock=now).see(scene(asking()))
    assert "847291" not in capsys.readouterr().out


def test_the_quiet_display_says_where_it_listens_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    display, shown = QuietDisplay(Terminal(as_json=False)), asking()
    display.begin(BANNER)
    display.see(scene(shown))
    display.hear(about(shown, EventType.DENIED))
    assert capsys.readouterr() == ("", "Listening on http://127.0.0.1:8000\n")


def test_what_goes_wrong_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    PlainDisplay(Terminal(as_json=False)).say("The store does not answer.")
    assert capsys.readouterr() == ("", "warning: The store does not answer.\n")


# Watching


@asynccontextmanager
async def a_service(folder: Path, **settings: Any) -> Any:
    """A started Pairlock."""
    url = f"sqlite:///{folder}/pairlock.db"
    given = {"store": url, "secret_keys": [KEY], "default_permissions": SENSORS, "limits": UNLIMITED, **settings}
    pairlock = Pairlock(**given)
    await pairlock.start()
    try:
        yield pairlock
    finally:
        await pairlock.aclose()


async def ask(pairlock: Pairlock, name: str, address: str = "192.0.2.7") -> Started:
    return await pairlock.pairing.start(name, origin=Origin(address, "curl/8.5.0"))


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not true():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.02)


class Seen:
    """A display that remembers."""

    def __init__(self) -> None:
        self.scenes: list[Scene] = []
        self.events: list[EventType] = []
        self.said: list[str] = []

    def see(self, scene: Scene) -> None:
        self.scenes.append(scene)

    def hear(self, event: AuditEvent) -> None:
        self.events.append(event.type)

    def say(self, text: str) -> None:
        self.said.append(text)

    def names(self) -> list[str]:
        return [shown.request.name for shown in self.scenes[-1].shown] if self.scenes else []


@pytest.mark.anyio
async def test_of_each_source_one_request_is_shown_and_the_others_wait(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock:
        await ask(pairlock, "First")
        seen = Seen()
        watching = asyncio.create_task(watch(pairlock, seen))
        await until(lambda: seen.names() == ["First"])
        second, _ = await ask(pairlock, "Second"), await ask(pairlock, "Other", "192.0.2.8")
        await until(lambda: seen.names() == ["First", "Other"] and seen.scenes[-1].behind == 1)
        assert not await pairlock.deciding.is_shown(second.request)
        assert EventType.REQUESTED in seen.events
        assert seen.scenes[-1].shown[0].pin is not None
        await pairlock.aclose()
        await asyncio.wait_for(watching, TIMEOUT)


def test_of_requests_without_an_address_each_is_shown() -> None:
    requests = [a_request(), a_request()]
    assert first_of_each_source(requests[::-1]) == requests


@pytest.mark.anyio
async def test_wrong_pins_are_seen_though_no_event_tells_of_them(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock:
        seen, started = Seen(), await ask(pairlock, "Phone")
        watching = asyncio.create_task(watch(pairlock, seen))
        await until(lambda: seen.names() == ["Phone"])
        with pytest.raises(Exception, match="invalid_pin"):
            await pairlock.pairing.submit_pin(started.request.id, started.secret, wrong(the_pin(pairlock, started)))
        await until(lambda: seen.scenes[-1].shown[0].request.guesses == 1)
        watching.cancel()


@pytest.mark.parametrize(
    ("event", "is_one"),
    [
        (about(asking(), EventType.REQUESTED), True),
        (about(asking(), EventType.REDEEMED, by="device:1", device_id="1"), True),
        (an_event(type=EventType.WINDOW_OPENED), True),
        (an_event(type=EventType.REFRESHED, device_id="1"), False),
    ],
)
def test_devices_that_refresh_change_nothing_that_waits(event: AuditEvent, is_one: bool) -> None:
    assert stirs(event) is is_one


@pytest.mark.anyio
async def test_what_devices_do_is_heard_all_the_same(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock:
        started = await ask(pairlock, "Phone")
        redeemed = await pairlock.pairing.submit_pin(started.request.id, started.secret, the_pin(pairlock, started))
        seen = Seen()
        watching = asyncio.create_task(watch(pairlock, seen))
        await until(lambda: bool(seen.scenes))
        await pairlock.tokens.refresh(redeemed.refresh_token or "")
        await until(lambda: EventType.REFRESHED in seen.events)
        watching.cancel()


@pytest.mark.anyio
async def test_a_store_that_does_not_answer_is_told_of_once_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_service(tmp_path) as pairlock:
        pairlock.deciding = Failing(pairlock.deciding, times=2)
        monkeypatch.setattr("pairlock.cli.service.watching.WHILE_QUIET", 0.01)
        seen = Seen()
        watching = asyncio.create_task(watch(pairlock, seen))
        await until(lambda: bool(seen.scenes))
        assert len(seen.said) == 1
        watching.cancel()


class Failing:
    """Decides as the other does, once it has failed so often."""

    def __init__(self, deciding: Any, *, times: int) -> None:
        self._deciding = deciding
        self._left = times

    async def pending(self, **how: Any) -> list[PairingRequest]:
        if self._left:
            self._left -= 1
            raise TemporarilyUnavailable(retry_after=1)
        return list(await self._deciding.pending(**how))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deciding, name)


@pytest.mark.anyio
async def test_what_ends_first_ends_the_others_and_what_it_raises_is_raised() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def fails() -> None:
        raise BrokenPipeError

    await until_one_ends(forever(), asyncio.sleep(0))
    with pytest.raises(BrokenPipeError):
        await until_one_ends(forever(), fails())
    assert ended == ["forever"] * 2


# In a terminal


class Pty:
    """A terminal: what it shows, and whoever types on it."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def modes(self) -> Any:
        return termios.tcgetattr(self.slave)

    def read(self) -> None:
        self.shown += plain(os.read(self.master, 65536).decode(errors="replace")).replace("\r", "")

    async def shows(self, text: str) -> None:
        await until(lambda: text in self.shown)

    def forget(self) -> None:
        self.shown = ""


@contextmanager
def a_terminal() -> Iterator[tuple[Pty, Console, Any]]:
    """A terminal, its console and its keys."""
    pty = Pty()
    with os.fdopen(pty.slave, "r+b", buffering=0, closefd=False) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        console = Console(file=text, force_terminal=True, markup=False, emoji=False, highlight=False)
        loop = asyncio.get_running_loop()
        loop.add_reader(pty.master, pty.read)
        try:
            yield pty, console, create_input(stdin=text)
        finally:
            loop.remove_reader(pty.master)
            text.detach()
    os.close(pty.slave)
    os.close(pty.master)


@asynccontextmanager
async def on_screen(pairlock: Pairlock, **more: Any) -> Any:
    """A service shown in a terminal: the terminal, and how often it was asked to stop."""
    stopped: list[bool] = []
    with a_terminal() as (pty, console, keys):
        before = pty.modes()
        screen = Screen(console, keys, Operator("ann"), lambda: stopped.append(True), **more)
        showing = asyncio.create_task(screen.follow(pairlock, BANNER))
        try:
            await pty.shows("quit")
            assert pty.modes() != before
            yield pty, stopped, screen
        finally:
            await pairlock.aclose()
            await asyncio.wait_for(showing, TIMEOUT)
        assert pty.modes() == before


@pytest.mark.anyio
async def test_a_terminal_shows_who_asks_and_keys_approve_and_deny(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, _, _):
        await pty.shows("Listening on  http://127.0.0.1:8000")
        started = await ask(pairlock, "My Phone")
        await pty.shows(f'Pairing request from "My Phone"\n   PIN: {the_pin(pairlock, started)}\n')
        await asyncio.sleep(STEADY)
        pty.type("xa")
        await pty.shows("Approved: My Phone by ann")
        await pairlock.pairing.redeem(started.request.id, started.secret)
        await pty.shows("Paired: My Phone (approved by ann)")
        await ask(pairlock, "Stranger")
        await pty.shows('approve "Stranger"')
        await asyncio.sleep(STEADY)
        pty.type("D")
        await pty.shows("Denied: Stranger by ann")


@pytest.mark.anyio
async def test_two_operators_who_race_are_told_and_nothing_breaks(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, _, screen):
        started = await ask(pairlock, "My Phone")
        await pty.shows("PIN: ")
        await pairlock.deciding.deny(started.request.id)
        screen._pressed.put_nowait(Pressed("approve", started.request.id, "My Phone"))
        await pty.shows("Somebody was faster: My Phone is denied")


@pytest.mark.anyio
async def test_a_key_opens_and_closes_the_window(tmp_path: Path) -> None:
    async with a_service(tmp_path, window_open=False) as pairlock, on_screen(pairlock) as (pty, _, _):
        await pty.shows("Press w to open it")
        pty.type("w")
        await pty.shows("Window opened by ann")
        await pty.shows("Window open 4:5")
        pty.type("w")
        await pty.shows("Window closed by ann")


@pytest.mark.anyio
async def test_a_key_reopens_the_pin_method_or_says_how_long_it_waits(tmp_path: Path) -> None:
    limits = replace(UNLIMITED, wrong_pins_in_a_row=2, wrong_pins_a_day=3)
    async with a_service(tmp_path, limits=limits) as pairlock, on_screen(pairlock) as (pty, _, _):
        started = await ask(pairlock, "Guesser")
        await pty.shows("5 attempts left")
        pin = wrong(the_pin(pairlock, started))
        for _ in range(2):
            with pytest.raises(Exception, match="invalid_pin"):
                await pairlock.pairing.submit_pin(started.request.id, started.secret, pin)
        await pty.shows("Press r to reopen it")
        pty.type("r")
        await pty.shows("PIN method reopened by ann")
        with pytest.raises(Exception, match="invalid_pin"):
            await pairlock.pairing.submit_pin(started.request.id, started.secret, pin)
        pty.forget()
        await pty.shows("Press r to reopen it")
        pty.type("r")
        await pty.shows("retry after")


@pytest.mark.anyio
@pytest.mark.parametrize("key", ["q", "\x03", "\x04"])
async def test_keys_end_the_service(tmp_path: Path, key: str) -> None:
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, stopped, _):
        pty.type(key)
        await until(lambda: stopped == [True])


@pytest.mark.anyio
async def test_what_is_pasted_decides_nothing(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, stopped, _):
        started = await ask(pairlock, "My Phone")
        await pty.shows("PIN: ")
        await asyncio.sleep(STEADY)
        pty.type("quarantaine")
        await asyncio.sleep(0.2)
        assert stopped == []
        assert (await pairlock.deciding.show(started.request.id)).state == "pending"


@pytest.mark.anyio
async def test_a_terminal_that_has_gone_ends_the_service(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock:
        stopped: list[bool] = []
        with a_terminal() as (pty, console, keys):
            screen = Screen(console, keys, Operator("ann"), lambda: stopped.append(True))
            showing = asyncio.create_task(screen.follow(pairlock, BANNER))
            await pty.shows("quit")
            keys.stdin_reader.closed = True
            pty.type("x")
            await until(lambda: bool(stopped))
            showing.cancel()
            await asyncio.wait([showing])


@pytest.mark.anyio
async def test_ctrl_z_gives_the_terminal_back_meanwhile(tmp_path: Path) -> None:
    modes: list[Any] = []
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, _, _):
        before = signal.signal(signal.SIGTSTP, lambda number, frame: modes.append(pty.modes()[3]))
        pty.forget()
        try:
            pty.type("\x1a")
            await until(lambda: bool(modes))
        finally:
            signal.signal(signal.SIGTSTP, before)
        assert modes[0] & termios.ECHO
        assert modes[0] & termios.ICANON
        assert not pty.modes()[3] & termios.ECHO
        await pty.shows("quit")


@pytest.mark.anyio
async def test_a_terminal_of_another_size_is_painted_anew(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock, on_screen(pairlock) as (pty, _, screen):
        pty.forget()
        screen._console.size = (40, 20)
        await pty.shows("Listening on")
        await until(lambda: re.search(r"On a device: *\npairlock pair", pty.shown) is not None)


@pytest.mark.anyio
async def test_nothing_is_sent_to_a_terminal_while_nothing_changes(tmp_path: Path) -> None:
    async with a_service(tmp_path, window_open=False) as pairlock, on_screen(pairlock) as (pty, _, _):
        await asyncio.sleep(0.5)
        pty.forget()
        await asyncio.sleep(1)
        assert pty.shown == ""


@pytest.mark.anyio
async def test_the_terminal_is_restored_when_the_display_breaks(tmp_path: Path) -> None:
    async with a_service(tmp_path) as pairlock:
        with a_terminal() as (pty, console, keys):
            before = pty.modes()
            screen = Screen(console, keys, Operator("ann"), lambda: None)
            showing = asyncio.create_task(screen.follow(pairlock, BANNER))
            await pty.shows("quit")
            screen._pressed.put_nowait(Pressed("approve", "no such request"))
            await pty.shows("There is nothing with this address or id.")
            screen._state.render = broken  # type: ignore[method-assign]
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(showing, TIMEOUT)
            assert pty.modes() == before


def broken(console: Console, now: float) -> list[Text]:
    raise ZeroDivisionError
