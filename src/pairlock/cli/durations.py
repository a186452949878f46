"""The type of options that say for how long."""

from typing import Any

import click

from pairlock.cli.terminal import countdown
from pairlock.configuration.shapes import SECONDS, Problems


class Duration(click.ParamType[float]):
    """A number of seconds, or 5:00, or 1:30:00, as in the settings; from the least to the most."""

    name = "time"

    def __init__(self, least: float, most: float) -> None:
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds."""
        problems = Problems()
        seconds: float = SECONDS.read(SECONDS.parse(str(value)), (), problems)
        if problems.found:
            self.fail(f"{value!r} is no time: give seconds, or 5:00, or 1:30:00.", param, ctx)
        if not self.least <= seconds <= self.most:
            self.fail(f"{value} is not from {countdown(self.least)} to {countdown(self.most)}.", param, ctx)
        return seconds
