"""`pairlock whoami`, `token`, `logout` and `list`: what this device was handed."""

import click

from pairlock.cli.device.holding import Holding, device_command, finished, shown
from pairlock.cli.operator.listing import aligned
from pairlock.cli.outcomes import NoSuch
from pairlock.cli.terminal import Terminal, quoted, spoken
from pairlock.client import aio
from pairlock.client.addresses import parse
from pairlock.client.credentials import Credential
from pairlock.client.stored import at
from pairlock.errors import NotPaired

COLUMNS = ("SERVICE", "ADDRESS", "THIS DEVICE", "PERMISSIONS", "PAIRED")
URL = click.argument("url", required=False)


@device_command("whoami", examples=["pairlock whoami", "pairlock whoami https://house.example --json"])
@URL
async def whoami(*, terminal: Terminal, holding: Holding, url: str | None) -> None:
    """Say who this device is at the service, and what it may do.

    URL may be left out where this device is paired with one service.
    """
    credential = await _resumed(holding, url)
    server = credential.server
    text = f"{quoted(credential.name)} at {server.name} ({credential.url}): {spoken(credential.granted)}"
    terminal.answer(shown(credential), text)


@device_command("token", examples=["pairlock token", 'curl -H "Authorization: Bearer $(pairlock token)" $URL'])
@URL
async def token(*, terminal: Terminal, holding: Holding, url: str | None) -> None:
    """Print a token that counts now, for scripts.

    It is refreshed where needed, and printed only once the service has been found to be still the same. It counts
    for an hour or less: ask for it each time.
    """
    credential = await _resumed(holding, url)
    told = {"access_token": credential.token, "expires_at": credential.expires_at, "url": credential.base_url}
    terminal.answer(told, credential.token)


@device_command("logout", examples=["pairlock logout", "pairlock logout https://house.example --forget"])
@URL
@click.option("--forget", is_flag=True, help="Forget it here without revoking it; for a service that is gone.")
async def logout(*, terminal: Terminal, holding: Holding, url: str | None, forget: bool) -> None:
    """Revoke this device, and forget its credential.

    Where the service cannot be reached nothing is forgotten.
    """
    url = url or _only(holding).url
    where = _named(holding, url)
    if forget:
        forgotten = " and ".join(each.server.name for each in await aio.forget(url, **holding.how()))
        terminal.answer({"revoked": False}, f"Forgot what was kept for {forgotten} at {url}. It was not revoked there.")
    elif await aio.logout(url, **holding.how()):
        terminal.answer({"revoked": True}, f"Logged out of {where}: this device was revoked there.")
    else:
        terminal.answer({"revoked": False}, f"{where} had revoked this device already; its token is gone now.")


@device_command("list", examples=["pairlock list", "pairlock list --json"])
def list_(*, terminal: Terminal, holding: Holding) -> None:
    """List the services that this device has paired with."""
    kept = list(holding.file.read().credentials().values())
    if not kept and not terminal.as_json:
        terminal.out.print("This device is paired with nothing. Pair it with: pairlock pair https://house.example")
        return
    rows = [(each.server.name, each.place, each.name, spoken(each.granted), each.paired_at[:10]) for each in kept]
    terminal.answer({"credentials": [shown(each) for each in kept]}, "\n".join(aligned([COLUMNS, *rows])))


async def _resumed(holding: Holding, url: str | None) -> Credential:
    return await finished(aio.connect(url or _only(holding).url, **holding.how()))


def _only(holding: Holding) -> Credential:
    """The only credential there is. Raises NotPaired, or NoSuch that names them all."""
    kept = list(holding.file.read().credentials().values())
    if not kept:
        raise NotPaired("this device is paired with nothing; pair it with: pairlock pair https://house.example")
    if len({each.base_url for each in kept}) > 1:
        listed = "".join(f"\n  {each.base_url}  {each.server.name}" for each in kept)
        raise NoSuch(f"this device is paired with several services; name one of them:{listed}")
    return kept[0]


def _named(holding: Holding, url: str) -> str:
    names = {each.server.name for each in at(holding.file, parse(url)).values()}
    return f"{' or '.join(sorted(names))} at {url}"


COMMANDS = {"whoami": whoami, "token": token, "logout": logout, "list": list_}
