"""What the commands of a device share: where credentials are kept, how a server is reached, how they end."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pairlock._core.names import clean_name
from pairlock._core.permissions import Permissions
from pairlock.cli.command import Command, command
from pairlock.cli.patterns import permissions_of
from pairlock.cli.terminal import Terminal, quoted, spoken
from pairlock.client import CredentialFile
from pairlock.client.credentials import Credential
from pairlock.client.journeys import How
from pairlock.client.ready import keeper_of
from pairlock.errors import AlreadyPaired, InvalidRequest

CREDENTIALS = click.option(
    "--credentials",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="PAIRLOCK_CREDENTIALS",
    help="The file where credentials are kept, instead of the usual one.",
)
CA = click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The certificate authority that the server is known by, where the system does not know it.",
)
NAME = click.option("--name", help="What this device calls itself; the name of the machine unless it is given.")
READ = click.option("--read", "read", multiple=True, metavar="PATTERN", help="Ask to read no more than this.")
WRITE = click.option("--write", "write", multiple=True, metavar="PATTERN", help="Ask to write no more than this.")
INSECURE = click.option("--insecure", is_flag=True, help="Allow plain http:// to another machine.")
KEYRING = click.option("--keyring", is_flag=True, help="Keep the tokens in the keyring of the operating system.")
REPLACE = click.option("--replace", is_flag=True, help="Take the place of what is kept for this server already.")


class Holding:
    """Where this device keeps its credentials, and how it reaches servers."""

    def __init__(self, credentials: Path | None, ca: Path | None) -> None:
        self.file = CredentialFile(credentials)
        self._ca = ca

    def how(self) -> How:
        """For the functions of the client."""
        return {"credentials": self.file, "ca": self._ca}


class Wish(Holding):
    """The same, of a device that wants to pair: its name, and what it asks for."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given.pop("credentials"), given.pop("ca"))
        self.file.keyring = given.pop("keyring")
        self.name = _checked(given.pop("name"))
        self.replace: bool = given.pop("replace")
        self._insecure: bool = given.pop("insecure")
        self.permissions: Permissions | None = permissions_of(given.pop("read"), given.pop("write"))

    def how(self) -> How:
        return {**super().how(), "insecure": self._insecure, "replace": self.replace}


def device_command(name: str, *, examples: list[str]) -> Callable[[Callable[..., Any]], Command]:
    """A command of a device that is paired: it gets `terminal` and `holding`."""

    def decorate(function: Callable[..., Any]) -> Command:
        @CREDENTIALS
        @CA
        @wraps(function)
        def call(*, credentials: Path | None, ca: Path | None, **given: Any) -> Any:
            return function(holding=Holding(credentials, ca), **given)

        return command(name, examples=examples)(call)

    return decorate


def pairing_command(name: str, *, examples: list[str]) -> Callable[[Callable[..., Any]], Command]:
    """A command that pairs: it gets `terminal` and `wish`, and is called again where something may be replaced."""

    def decorate(function: Callable[..., Awaitable[Credential]]) -> Command:
        @NAME
        @READ
        @WRITE
        @CREDENTIALS
        @KEYRING
        @CA
        @INSECURE
        @REPLACE
        @wraps(function)
        async def call(*, terminal: Terminal, **given: Any) -> None:
            wish = Wish(given)
            with _ended_like_an_interrupt():
                try:
                    credential = await function(terminal=terminal, wish=wish, **given)
                except AlreadyPaired as error:
                    wish.replace = _may_be_replaced(terminal, error)
                    credential = await function(terminal=terminal, wish=wish, **given)
            told(terminal, credential)

        return command(name, examples=examples)(call)

    return decorate


async def finished(pairing: Awaitable[Any]) -> Credential:
    """What this device was handed, once it is let in."""
    async with await pairing as client:
        return keeper_of(client).credential


def told(terminal: Terminal, credential: Credential) -> None:
    """Say with whom this device is paired now, and what it may do."""
    server, name = credential.server, credential.name
    terminal.answer(shown(credential), f"Paired with {server.name} as {quoted(name)}: {spoken(credential.granted)}")


def shown(credential: Credential) -> dict[str, Any]:
    """A credential as JSON, without its secrets."""
    return {
        "server": {"id": credential.server.id, "name": credential.server.name},
        "url": credential.url,
        "base_url": credential.base_url,
        "device_id": credential.device_id,
        "device_name": credential.name,
        "permissions": credential.permissions,
        "paired_at": credential.paired_at,
    }


def _may_be_replaced(terminal: Terminal, error: AlreadyPaired) -> bool:
    """Ask whether what is kept may go; raises AlreadyPaired where nobody can be asked, or the answer is no."""
    if not terminal.is_interactive:
        raise error
    what_is, _, _ = str(error).partition("; say")
    terminal.note(f"{what_is}.")
    if not terminal.confirm("Pair again, and revoke what it has now?", otherwise="give --replace"):
        raise AlreadyPaired("Nothing was changed.")
    return True


def _checked(name: str | None) -> str | None:
    """The name as it will be kept. Raises BadParameter for one that cannot be."""
    if name is None:
        return None
    try:
        return clean_name(name, "the name")
    except InvalidRequest as error:
        raise click.BadParameter(f"{error.detail}.", param_hint="--name") from None


@contextmanager
def _ended_like_an_interrupt() -> Iterator[None]:
    """SIGTERM ends this as Ctrl-C does: the request is withdrawn, and the terminal is left as it was."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # `timeout` sends it twice, and the second would cut our end short
    signal.raise_signal(signal.SIGINT)
