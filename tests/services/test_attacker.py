"""A year of somebody who guesses PINs: any number of addresses and requests, and an operator who always reopens."""

import asyncio
import math
import random
from dataclasses import dataclass, field

import pytest

from pairlock import Pairlock
from pairlock._core.guesses import DAY
from pairlock.errors import AccessDenied, ExpiredToken, InvalidPin, InvalidToken, Locked, PinHeld
from pairlock.services.pairing import Started
from pairlock.services.tokens import Redeemed
from pairlock.testing import FakeClock
from tests.services.parts import SENSORS, Make, pair
from tests.services.steps import TV, anywhere, ask, ask_by_device_code, type_pin

pytestmark = pytest.mark.anyio

YEAR = 365
A_DAY = 50  # guesses that are looked at, whatever anybody does
MONTH = 30
DEVIATIONS = 6  # by so many a count may be off: about one run in 50,000
PACES = (0.0, 1.0, 30.0)  # seconds between two guesses, while it guesses all that it may at once
TRICKLES = 30, 5  # of so many days it spends so many on taking each guess as soon as there is one


@dataclass
class Attacker:
    """Guesses as fast as the limits let it; each guess and each request comes from an address never seen before."""

    pairlock: Pairlock
    clock: FakeClock
    digits: int
    chance: random.Random = field(default_factory=lambda: random.Random(8628))
    wrong: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    opened: int = 0
    _started: Started | None = None
    _tried: set[str] = field(default_factory=set)

    async def guess(self) -> None:
        """One PIN, of a new request where the last is used up. Raises PinHeld."""
        if self._started is None:
            self._started, self._tried = await ask(self.pairlock), set()
            self.opened += 1
        try:
            await type_pin(self.pairlock, self._started, self._another(), anywhere())
            self.right.append(self.clock.now)
            self._started = None
        except InvalidPin as error:
            self.wrong.append(self.clock.now)
            if not error.attempts_left:
                self._started = None
        except (Locked, ExpiredToken, InvalidToken):  # out of its time, or purged since
            self._started = None

    def _another(self) -> str:
        """A PIN not tried for this request; to try one twice would be a waste."""
        while (pin := f"{self.chance.randrange(10**self.digits):0{self.digits}}") in self._tried:
            pass
        self._tried.add(pin)
        return pin

    def trickles(self) -> bool:
        """Whether these are days on which it takes each guess as soon as there is one."""
        period, trickling = TRICKLES
        return self.clock.now // DAY % period < trickling

    @property
    def looked_at(self) -> list[float]:
        """When its guesses were looked at."""
        return sorted([*self.wrong, *self.right])


@dataclass
class House:
    """What else goes on: an operator who reopens at once, and people who pair devices of their own."""

    pairlock: Pairlock
    clock: FakeClock
    chance: random.Random = field(default_factory=lambda: random.Random(6749))
    reopened: int = 0
    paired: int = 0

    async def reopen(self) -> float:
        """As soon as it is allowed, which is in so many seconds."""
        try:
            await self.pairlock.pin_guesses.reopen()
        except PinHeld as held:
            return float(held.retry_after)
        self.reopened += 1
        return 0.0

    async def perhaps_pair(self) -> None:
        """By the right PIN, which ends the row."""
        if self.chance.random() < 0.04:
            self.paired += 1
            await type_pin(self.pairlock, await ask(self.pairlock))


async def simulate(attacker: Attacker, house: House, device: Redeemed, days: int) -> int:
    """So many days; how often everything else was tried while the PIN method was held."""
    clock, tried, due = attacker.clock, 0, attacker.clock.now
    end = clock.now + days * DAY
    while clock.now < end:
        try:
            await house.perhaps_pair()
            await attacker.guess()
        except PinHeld:
            if clock.now >= due:
                device = await use_everything_else(attacker.pairlock, device)
                tried, due = tried + 1, clock.now + MONTH * DAY
            if wait := await house.reopen():
                clock.advance(wait if attacker.trickles() else DAY)
                await asyncio.sleep(0)  # for what runs beside: the feed, the chores, the purge
        clock.advance(attacker.chance.choice(PACES))
    return tried


async def use_everything_else(pairlock: Pairlock, device: Redeemed) -> Redeemed:
    """A hold of the PIN method is no denial of service; the device with its next refresh token."""
    assert await pairlock.pin_guesses.is_held()
    code = await pairlock.code(SENSORS)
    assert (await pairlock.codes.redeem(code, "Laptop", origin=anywhere())).device.name == "Laptop"
    picture = await pairlock.qr(SENSORS, address="https://house.example/pair")
    secret = picture.uri.partition("#")[2]
    assert (await pairlock.codes.redeem(secret, "Tablet", origin=anywhere())).device.name == "Tablet"
    asked = await ask_by_device_code(pairlock)
    await pairlock.deciding.approve((await pairlock.deciding.look_up(asked.user_code, origin=anywhere())).id)
    assert (await pairlock.device_codes.redeem(asked.device_code, TV)).device.name == "Television"
    refreshed = await pairlock.tokens.refresh(device.refresh_token or "")
    grant = await pairlock.verify(pairlock.tokens.access(refreshed.device)[0])
    assert grant.allows("read", "/sensors/a")
    return refreshed


def most_in_a_day(times: list[float]) -> int:
    """The most of these in any 24 hours, wherever they begin."""
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= DAY:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize(("digits", "days"), [(6, YEAR), (4, YEAR // 6)])  # with four there is something to find
@pytest.mark.no_cover  # it takes twice as long while measured
async def test_a_year_of_guessing_finds_a_pin_no_oftener_than_promised(
    make: Make, clock: FakeClock, digits: int, days: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pairlock = make(store="memory://", pin_length=digits)
    device = await pair(pairlock)
    attacker, house = Attacker(pairlock, clock, digits), House(pairlock, clock)
    tried = await simulate(attacker, house, device, days)

    most, found, looked_at = most_in_a_day(attacker.wrong), len(attacker.right), len(attacker.looked_at)
    promised = A_DAY / 10**digits
    by_chance = promised * days + DEVIATIONS * max(math.sqrt(promised * days), 1 / 3)
    with capsys.disabled():
        print(
            f"\n{digits} digits: {looked_at} guesses looked at in {days} days, {looked_at / days:.1f} a day, at most"
            f" {most} wrong ones in any 24 hours, over {attacker.opened} requests; reopened {house.reopened} times,"
            f" {house.paired} devices paired meanwhile; broken {found} times, {found / days:.1e} a day"
            f" (expected {looked_at / days / 10**digits:.1e}, promised at most {promised:.1e};"
            f" up to {by_chance:.0f} times may be chance)"
        )
    assert most == A_DAY  # never more; and it did what it could
    assert looked_at > 0.9 * A_DAY * days
    assert found <= by_chance
    assert tried >= days // 31
    assert house.reopened > days
    assert house.paired > days


async def test_an_operator_who_denies_everything_gives_no_guess_away(make: Make) -> None:
    pairlock = make(store="memory://")
    for _ in range(30):
        started = await ask(pairlock)
        await pairlock.deciding.deny(started.request.id)
        with pytest.raises(AccessDenied):
            await type_pin(pairlock, started)
    assert not await pairlock.pin_guesses.is_held()
