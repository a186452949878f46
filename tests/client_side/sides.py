"""The four ways to use the client, by one face: httpx or httpx2, blocking or asynchronous."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from types import ModuleType
from typing import Any

import httpx
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from pairlock import client
from pairlock.client import aio

KINDS = ("httpx", "httpx async", "httpx2", "httpx2 async")


class Side:
    """The functions of the client, called and waited for; HTTP clients of one library."""

    def __init__(self, library: ModuleType, portal: BlockingPortal | None, opened: ExitStack) -> None:
        self.library = library
        self.portal = portal
        self.module: ModuleType = client if portal is None else aio
        self._opened = opened

    def do(self, function: Callable[..., Any], *args: Any, **given: Any) -> Any:
        """What this returns, once it is done."""
        if self.portal is None:
            return function(*args, **given)
        return self.portal.call(partial(function, *args, **given))

    def http(self, **given: Any) -> Any:
        """An HTTP client, closed after the test."""
        made = self.library.Client(**given) if self.portal is None else self.library.AsyncClient(**given)
        return self.closing(made)

    def closing(self, http: Any) -> Any:
        """The same, closed after the test."""
        self._opened.callback(self.close, http)
        return http

    def close(self, http: Any) -> None:
        """Close an HTTP client."""
        self.do(http.close if self.portal is None else http.aclose)

    def entered(self, pairing: Any) -> AbstractContextManager[Any]:
        """For `with`."""
        return pairing if self.portal is None else self.portal.wrap_async_context_manager(pairing)

    def pair(self, url: str, **given: Any) -> Any:
        return self.do(self.module.pair, url, **{"http": self.http(), **given})

    def redeem(self, url: str, code: str, **given: Any) -> Any:
        return self.do(self.module.redeem, url, code, **{"http": self.http(), **given})

    def connect(self, url: str, **given: Any) -> Any:
        return self.do(self.module.connect, url, **{"http": self.http(), **given})

    def get(self, http: Any, url: str, **given: Any) -> Any:
        return self.do(http.get, url, **given)

    def post(self, http: Any, url: str, **given: Any) -> Any:
        return self.do(http.post, url, **given)


@contextmanager
def opened_side(kind: str) -> Iterator[Side]:
    """A side of this kind; what it opened is closed in the end."""
    name, _, how = kind.partition(" ")
    library = {"httpx": httpx, "httpx2": httpx2}[name]
    with start_blocking_portal() if how else nullcontext() as portal, ExitStack() as opened:
        yield Side(library, portal, opened)
