"""`pairlock completion`: scripts by which shells complete its commands and options."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from pairlock.cli.command import command
from pairlock.cli.terminal import Terminal

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
VARIABLE = "_PAIRLOCK_COMPLETE"  # by which the script calls the command


@command(
    "completion",
    examples=[
        "pairlock completion bash > pairlock.bash",
        "pairlock completion zsh > _pairlock",
        "pairlock completion fish > pairlock.fish",
    ],
)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(*, terminal: Terminal, shell: str) -> None:
    """Print the script that lets a shell complete what you type.

    \b
    bash: write it to ~/.local/share/bash-completion/completions/pairlock
    zsh:  write it to a file _pairlock in a folder of $fpath
    fish: write it to ~/.config/fish/completions/pairlock.fish
    """
    script = SHELLS[shell](click.get_current_context().find_root().command, {}, "pairlock", VARIABLE).source()
    if terminal.as_json:
        terminal.json({"shell": shell, "script": script})
    else:
        click.echo(script)


COMMANDS = {"completion": completion}
