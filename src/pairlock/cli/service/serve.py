"""`pairlock serve`: guards an app, or runs stand-alone, and shows who asks to be let in."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import click
from prompt_toolkit.input import create_input
from rich.console import Console

from pairlock._core.permissions import Permissions
from pairlock.asgi.calls import OperatorHook, operator_token
from pairlock.cli.command import command
from pairlock.cli.durations import Duration
from pairlock.cli.operator.operating import CONFIG, DEFAULT_STORE, STORE, this_operator
from pairlock.cli.patterns import takes_permissions
from pairlock.cli.service.app_loading import App, load_app, nothing
from pairlock.cli.service.banner import Banner, described_store, warning
from pairlock.cli.service.endings import noting_cuts, noting_refusals
from pairlock.cli.service.lines import JSONDisplay, PlainDisplay, QuietDisplay
from pairlock.cli.service.listening import Place, check_certificate, listen, place_of
from pairlock.cli.service.logs import logging_to
from pairlock.cli.service.screen import Screen
from pairlock.cli.service.server import Display, Service, stop
from pairlock.cli.service.server import serve as serve_until_stopped
from pairlock.cli.terminal import NotSaid, Terminal
from pairlock.configuration import Configuration, read_configuration
from pairlock.errors import ConfigurationError
from pairlock.facade import Pairlock
from pairlock.services.windows import LONGEST

OPERATOR_TOKEN = "PAIRLOCK_OPERATOR_TOKEN"
FILE = click.Path(path_type=Path, dir_okay=False)
LEVELS = click.Choice(["critical", "error", "warning", "info", "debug"])


@command(
    "serve",
    examples=[
        "pairlock serve house:app --read '/sensors/**' --write /control/lamp --pairing",
        "pairlock serve --read '/sensors/**'",
        "pairlock serve house:app --config pairlock.yaml --tls-certificate house.pem --tls-key house.key",
    ],
)
@click.argument("app", required=False, metavar="[MODULE:APP]")
@click.option("--factory", is_flag=True, help="APP is a function that makes the app.")
@click.option("--host", help="Address to listen on; 0.0.0.0 for all of this machine.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for any.  [default: 8000]")
@click.option("--pairing", is_flag=True, help="Begin with the pairing window open; it is closed otherwise.")
@click.option(
    "--pairing-timeout",
    "window_timeout",
    type=Duration(1, LONGEST),
    help="For how long the window opens, in seconds or as 5:00.  [default: 5:00]",
)
@takes_permissions
@click.option("--name", "server_name", help="What devices are told they have paired with.")
@click.option("--public", multiple=True, metavar="PATTERN", help="What anybody may reach; may be given repeatedly.")
@click.option("--at", metavar="PATH", help="Where devices pair.  [default: /pair]")
@click.option("--tls-certificate", type=FILE, help="Certificate (PEM), with the chain; then all is encrypted.")
@click.option("--tls-key", type=FILE, help="Its key (PEM), if it is in a file of its own.")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="NETWORK",
    help="Whose X-Forwarded-* headers count, such as 10.0.0.0/8; may be given repeatedly.",
)
@click.option("--issuer", metavar="URL", help="Where devices reach the pairing, if not where they ask.")
@CONFIG
@STORE
@click.option("--log-level", type=LEVELS, default="warning", show_default=True, help="What is logged, on stderr.")
@click.option("--no-display", is_flag=True, help="Show no requests and no PINs, for services.")
def serve(
    *,
    terminal: Terminal,
    app: str | None,
    factory: bool,
    pairing: bool,
    config: Path | None,
    permissions: Permissions | None,
    log_level: str,
    no_display: bool,
    **said: Any,
) -> None:
    """Guard an app: only devices that have paired reach it.

    They reach as much of it as they were granted. MODULE:APP is an ASGI app, such as house:app for the `app` of
    house.py. Without it, devices can only pair here: for a service that asks this one about each token.

    In a terminal, requests are shown with their PINs, and keys approve and deny them. Operators may also use the other
    commands, or the HTTP API with the secret of PAIRLOCK_OPERATOR_TOKEN.
    """
    console = Console(markup=False, emoji=False, highlight=False) if _is_watched(terminal, no_display) else None
    with logging_to(console, log_level):  # also of what is cancelled with the event loop
        configuration = _configured(config, {**said, "app": app, "default_permissions": permissions})
        _check(configuration, factory=factory, pairing=pairing)
        display = _display(terminal, console, no_display)
        asyncio.run(_serve(terminal, configuration, display, factory=factory, pairing=pairing))
    terminal.note("Stopped.")


COMMANDS = {"serve": serve}


async def _serve(
    terminal: Terminal, configuration: Configuration, display: Display, *, factory: bool, pairing: bool
) -> None:
    pairlock = _pairlock(configuration)
    guarded = _guarded(configuration, pairlock, factory=factory)
    with closing(_listener(configuration)) as listener:
        place = _place(terminal, configuration, listener)
        async with _started(pairlock, place, configuration.serving.at, opened=pairing):
            banner = await _banner(configuration, pairlock, place)
            service = Service(guarded, pairlock, listener, configuration.serving, banner)
            await serve_until_stopped(service, display, terminal.note)


def _is_watched(terminal: Terminal, no_display: bool) -> bool:
    """Whether somebody is at a terminal to see a live display, and to press keys."""
    if terminal.as_json or no_display or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()  # not in the background
    except OSError:  # nobody has jobs there
        return True


def _configured(config: Path | None, given: Mapping[str, Any]) -> Configuration:
    return read_configuration(config, given={name: value for name, value in given.items() if value != ()})


def _check(configuration: Configuration, *, factory: bool, pairing: bool) -> None:
    """Raises NotSaid for what was not said, or cannot be meant."""
    if "default_permissions" not in configuration.pairing:
        raise NotSaid(
            "Say what pairing by PIN grants: give --read and --write, such as --read '/sensors/**',"
            " or set server.security.pairing.default_permissions in pairlock.yaml."
        )
    if factory and configuration.serving.app is None:
        raise NotSaid("--factory needs the MODULE:APP that makes the app.")
    if pairing and configuration.pairing.get("enabled") is False:
        raise NotSaid("--pairing opens nothing where the settings say enabled: false.")


def _pairlock(configuration: Configuration) -> Pairlock:
    """The Pairlock of a service; its window begins closed unless the settings say otherwise."""
    window = {} if "window_open" in configuration.pairing else {"window_open": False}
    return configuration.pairlock(operator=_operator_hook(), **window)


def _operator_hook() -> OperatorHook | None:
    secret = os.environ.get(OPERATOR_TOKEN)
    try:
        return operator_token(secret) if secret else None
    except ConfigurationError as error:
        raise ConfigurationError(f"{OPERATOR_TOKEN}: {str(error).removeprefix('operator_token: ')}") from error


def _guarded(configuration: Configuration, pairlock: Pairlock, *, factory: bool) -> App:
    serving = configuration.serving
    app = nothing if serving.app is None else load_app(serving.app, factory=factory)
    with configuration.placing():
        protected = pairlock.protect(noting_cuts(app), at=serving.at, public=serving.public, origins=serving.origins)
    return noting_refusals(protected)


def _listener(configuration: Configuration) -> socket.socket:
    """The socket, once it is certain that the certificate can be used."""
    serving = configuration.serving
    if serving.tls_certificate is not None:
        check_certificate(serving.tls_certificate, serving.tls_key)
    with configuration.placing():
        return listen(serving.host, serving.port)


def _place(terminal: Terminal, configuration: Configuration, listener: socket.socket) -> Place:
    serving = configuration.serving
    place = place_of(listener, serving.host, encrypted=serving.tls_certificate is not None)
    told = warning(place, has_proxies=bool(configuration.pairing.get("trusted_proxies")))
    if told is not None:
        terminal.note(told, style="bold red")
    return place


@asynccontextmanager
async def _started(pairlock: Pairlock, place: Place, at: str, *, opened: bool) -> AsyncIterator[None]:
    await pairlock.start()
    try:
        await pairlock.introduce(place.urls()[0] + at)
        if opened:
            await pairlock.window.open(by=this_operator().actor)
        yield
    finally:
        await pairlock.aclose()


async def _banner(configuration: Configuration, pairlock: Pairlock, place: Place) -> Banner:
    settings, serving = pairlock.settings, configuration.serving
    return Banner(
        place=place,
        app=serving.app,
        public=serving.public,
        grants=settings.default_permissions,
        enabled=settings.enabled,
        window=await pairlock.window.status(),
        store=described_store(configuration.pairing.get("store", DEFAULT_STORE)),
        issuer=settings.issuer,
    )


def _display(terminal: Terminal, console: Console | None, no_display: bool) -> Display:
    if console is not None:
        return Screen(console, create_input(), this_operator(), stop)
    if terminal.as_json:
        return JSONDisplay(terminal, shows_pins=not no_display)
    return QuietDisplay(terminal) if no_display else PlainDisplay(terminal)
