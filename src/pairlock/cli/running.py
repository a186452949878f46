"""Runs the command line: finds the command, and turns every error into one line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import click

from pairlock.cli import outcomes
from pairlock.cli.terminal import Terminal
from pairlock.errors import ConfigurationError, PairlockError

# Where each command lives; imported when it is called for, so that `pairlock token` stays quick.
COMMANDS = {
    "pair": "pairlock.cli.device.pair",
    "login": "pairlock.cli.device.login",
    "whoami": "pairlock.cli.device.credential",
    "token": "pairlock.cli.device.credential",
    "logout": "pairlock.cli.device.credential",
    "list": "pairlock.cli.device.credential",
    "serve": "pairlock.cli.service.serve",
    "requests": "pairlock.cli.operator.requests",
    "devices": "pairlock.cli.operator.devices",
    "code": "pairlock.cli.operator.codes",
    "qr": "pairlock.cli.operator.codes",
    "window": "pairlock.cli.operator.window",
    "audit": "pairlock.cli.operator.audit",
    "keys": "pairlock.cli.operator.keys",
    "doctor": "pairlock.cli.examination.doctor",
    "completion": "pairlock.cli.completion",
}
SERVED_WITH = ("uvicorn", "websockets")
DEVICE_SIDE = ("pair", "login", "whoami", "token", "logout", "list")


class Pairlock(click.Group):
    """The root of all commands: each module binds its commands by their names in `COMMANDS` there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            found: click.Command = importlib.import_module(COMMANDS[cmd_name]).COMMANDS[cmd_name]
        except ModuleNotFoundError as error:
            if error.name not in SERVED_WITH:
                raise
            return _without(cmd_name, error.name or "")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and (alike := get_close_matches(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {alike[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in (
            ("On a device", DEVICE_SIDE),
            ("For operators, beside the service", [name for name in COMMANDS if name not in DEVICE_SIDE]),
        ):
            rows = [(name, found.get_short_help_str(60)) for name in names if (found := self.get_command(ctx, name))]
            with formatter.section(title):
                formatter.write_dl(rows)


def _without(name: str, library: str) -> click.Command:
    """What stands in for a command that is there only with `pairlock[server]`."""
    says = f"Needs {library}; install it with: pip install 'pairlock[server]'"

    def refuse(**given: object) -> None:
        raise ConfigurationError(f"pairlock {name}: {says}")

    rest = click.Argument(["rest"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        name,
        callback=refuse,
        params=[rest],
        help=says,
        short_help=says,
        context_settings={"ignore_unknown_options": True},
    )


@click.command(cls=Pairlock, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pairlock")
def pairlock() -> None:
    """Let devices into a service, and say who may come in."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    terminal = Terminal(as_json="--json" in arguments)
    try:
        result = pairlock.main(list(arguments), "pairlock", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        return _refused(terminal, error)
    except (click.Abort, KeyboardInterrupt):
        terminal.note("Interrupted.")
        return outcomes.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # whoever read us has enough; click and rich would call that a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more is written there, at the end of the process either
        return outcomes.DONE
    except (PairlockError, OSError) as error:
        return _failed(terminal, error)
    return result if isinstance(result, int) else outcomes.DONE


def _refused(terminal: Terminal, error: click.ClickException) -> int:
    if terminal.as_json:
        terminal.json({"error": "usage", "error_description": error.format_message()})
    else:
        error.show()
    return error.exit_code


def _failed(terminal: Terminal, error: Exception) -> int:
    try:
        if terminal.as_json:
            terminal.json(outcomes.as_json(error))
            return outcomes.exit_code(error)
    except OSError:  # nobody can read it there
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    terminal.note(outcomes.line(error), style="red")
    return outcomes.exit_code(error)
