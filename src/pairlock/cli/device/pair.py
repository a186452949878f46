"""`pairlock pair`: by the PIN that the service shows, or by its operator's approval."""

import asyncio
from typing import Any

import click

from pairlock.cli.device.asking import PinPrompt, first_of
from pairlock.cli.device.holding import Wish, finished, pairing_command
from pairlock.cli.terminal import Terminal, quoted
from pairlock.client import aio
from pairlock.client.aio import Pairing
from pairlock.client.credentials import Credential
from pairlock.errors import InvalidPin, PinHeld, TemporarilyUnavailable, TooManyRequests, Unreachable

NOT_NOW = (PinHeld, TooManyRequests, TemporarilyUnavailable, Unreachable)  # the operator may still approve


@pairing_command(
    "pair", examples=["pairlock pair https://house.example", "pairlock pair 127.0.0.1:8000 --name 'My Phone' --wait"]
)
@click.argument("url")
@click.option("--wait", is_flag=True, help="Ask for no PIN; wait until the operator has approved.")
async def pair(*, terminal: Terminal, wish: Wish, url: str, wait: bool) -> Credential:
    """Pair with the service at URL, by the PIN that it shows.

    URL is its address, or that of its pairing below it. Without a scheme it is https, on this machine http. The PIN
    is asked for, or read from a pipe. The service's operator may also approve without it.
    """
    pairing = await aio.pair(url, name=wish.name, permissions=wish.permissions, **wish.how())
    async with pairing:
        _announce(terminal, pairing, wait)
        return await finished(pairing.wait_for_approval() if wait else _let_in(terminal, pairing))


def _announce(terminal: Terminal, pairing: Pairing, wait: bool) -> None:
    terminal.note(f"Asked {pairing.server_name} to let {quoted(pairing.device_name)} in.")
    if wait:
        terminal.note("Waiting for its operator to approve.")
    elif pairing.shown:
        terminal.note("Type the PIN that it shows, or wait for its operator to approve.")
    else:
        terminal.note("It shows another device's PIN first; this one's follows. Or wait for its operator to approve.")


async def _let_in(terminal: Terminal, pairing: Pairing) -> Any:
    prompt = PinPrompt(terminal, pairing.pin_length, lambda: pairing.expires_in)
    while True:
        which, pin = await first_of(_typed(terminal, prompt), _decided(pairing))
        if which == 1:
            return await pairing.wait_for_approval()
        try:
            return await pairing.submit_pin(pin)
        except (InvalidPin, *NOT_NOW) as error:
            prompt.refuse(error)


async def _typed(terminal: Terminal, prompt: PinPrompt) -> str:
    pin = await prompt.ask()
    if pin is None:
        terminal.note("Waiting for its operator to approve; Ctrl-C to give up.")
        await asyncio.Event().wait()
    return pin or ""


async def _decided(pairing: Pairing) -> str:
    await pairing.wait_for_decision()
    return ""


COMMANDS = {"pair": pair}
