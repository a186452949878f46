"""The options --read and --write: patterns, as permissions."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from pairlock._core.permissions import Permissions, parse_pattern
from pairlock.errors import InvalidPermissions


def takes_permissions(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --read and --write as `permissions`: None where neither was given."""

    @_option("write")
    @_option("read")
    @wraps(function)
    def call(*, read: Sequence[str], write: Sequence[str], **given: Any) -> Any:
        return function(permissions=permissions_of(read, write), **given)

    return call


def permissions_of(read: Sequence[str], write: Sequence[str]) -> Permissions | None:
    """What these patterns permit; None where there are none. Raises UsageError for too many."""
    if not read and not write:
        return None
    try:
        return Permissions.parse({"read": read, "write": write})
    except InvalidPermissions as error:
        raise click.UsageError(f"--read, --write: {error.details['detail']}") from None


def _option(action: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    told = f"What it may {action}, such as '/sensors/**'; give it as often as there are patterns."
    return click.option(f"--{action}", multiple=True, metavar="PATTERN", callback=_parsed, help=told)


def _parsed(context: click.Context, parameter: click.Parameter, patterns: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(map(parse_pattern, patterns))
    except InvalidPermissions as error:
        raise click.BadParameter(error.details["detail"]) from None
