"""Finds the app that `pairlock serve MODULE:APP` guards; what keeps it from being one is told in one line."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from pairlock.asgi.answers import refuse
from pairlock.asgi.protected import Protected
from pairlock.cli.terminal import safe
from pairlock.errors import ConfigurationError, NotFound

App = Callable[..., Any]  # ASGI: awaited with scope, receive and send


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """The app of a service where devices only pair."""
    if scope["type"] != "lifespan":
        await refuse(NotFound(), scope, send)


def load_app(named: str, *, factory: bool) -> App:
    """The app MODULE:APP, looked for in the working directory first; with `factory`, what calling APP makes.

    Raises ConfigurationError.
    """
    module_name, attribute = _parts(named)
    found = _attribute(_module(named, module_name), attribute)
    app = _made(named, found) if factory else found
    _check(named, app, is_made=factory)
    return app  # type: ignore[no-any-return]  # checked


def check_module(named: str) -> None:
    """Whether the module of MODULE:APP can be found; it is not run. Raises ConfigurationError."""
    name, _ = _parts(named)
    places = [os.getcwd(), *sys.path]  # noqa: PTH109  # as sys.path has it
    begun: list[str] = []
    for part in name.split("."):
        begun.append(part)
        found = PathFinder.find_spec(part, places)
        if found is None:
            raise _no_module(named, ".".join(begun))
        places = list(found.submodule_search_locations or ())


def _parts(named: str) -> tuple[str, str]:
    module_name, _, attribute = named.partition(":")
    if not module_name or not attribute or "/" in named or module_name.endswith(".py"):
        raise ConfigurationError(f"{named}: write MODULE:APP, such as house:app for the `app` of house.py")
    return module_name, attribute


def _module(named: str, name: str) -> ModuleType:
    here = os.getcwd()  # noqa: PTH109  # as sys.path has it
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module of theirs does
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise _no_module(named, error.name) from None
        raise ConfigurationError(f"{named}: importing it failed: {_told(error)}") from error


def _no_module(named: str, missing: str) -> ConfigurationError:
    here = os.getcwd()  # noqa: PTH109  # as sys.path has it
    return ConfigurationError(f"{named}: there is no module {missing} in {here}; run this in the folder that has it")


def _attribute(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            near = get_close_matches(name, [known for known in dir(found) if not known.startswith("_")], n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigurationError(f"{module.__name__}:{path}: there is no {name} in it{meant}")
        found = getattr(found, name)
    return found


def _made(named: str, factory: Any) -> Any:
    if not callable(factory):
        raise ConfigurationError(f"{named}: it cannot be called; leave out --factory")
    try:
        return factory()
    except Exception as error:
        raise ConfigurationError(f"{named}: making the app failed: {_told(error)}") from error


def _check(named: str, app: Any, *, is_made: bool) -> None:
    if isinstance(app, Protected):
        raise ConfigurationError(
            f"{named}: it is protected by a Pairlock of its own; serve it with uvicorn, or name the app inside"
        )
    if not callable(app):
        raise ConfigurationError(f"{named}: it is no ASGI app but {_article(type(app).__name__)}")
    if not is_made and inspect.isfunction(app) and _takes(app, 0):
        raise ConfigurationError(f"{named}: it takes no arguments; if it makes the app, give --factory")
    if inspect.isclass(app) or not _takes(app, 3):
        raise ConfigurationError(f"{named}: it is no ASGI app: those are called with scope, receive and send")


def _takes(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # some built-in ones do not tell
        return True
    return True


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _told(error: BaseException) -> str:
    """An error in one line, with the place where it was raised."""
    says = f"{type(error).__name__}: {safe(str(error))}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):  # it says its place itself
        return says
    last = frames[-1]
    return f"{says} ({_short(last.filename)}, line {last.lineno}: {last.line})"


def _short(filename: str) -> str:
    below = os.path.relpath(filename)
    return filename if below.startswith(os.pardir) else below
