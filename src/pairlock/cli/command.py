"""What all commands share: an example that works in their help, `--json`, and async bodies."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from pairlock.cli.terminal import Terminal


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def command(
    name: str, *, examples: Sequence[str], group: click.Group | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command, of a group if one is given; it gets a `terminal`, and may be async.

    An integer that it returns is its exit code.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        @click.option("--json", "as_json", is_flag=True, help="Answer with JSON: one object, or one a line.")
        @wraps(function)
        def call(*, as_json: bool, **given: Any) -> Any:
            result = function(terminal=Terminal(as_json=as_json), **given)
            return asyncio.run(result) if inspect.iscoroutine(result) else result

        made = click.command(name, cls=Command, examples=examples)(call)
        if group is not None:
            group.add_command(made)
        return made

    return decorate
