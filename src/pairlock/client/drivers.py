"""Do what an exchange asks for: with threads that block, or with tasks. Either HTTP library will do."""

import asyncio
import inspect
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from types import ModuleType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from pairlock.client.exchange import Answer, Call, Do, Effect, Exchange, Tell, Wait
from pairlock.client.libraries import library_of
from pairlock.errors import NotPairlock, Unreachable

T = TypeVar("T")

USER_AGENT = f"pairlock/{version('pairlock')}"  # operators are shown it
MAX_ANSWER = 1 << 20  # bytes; ours have a few hundred


def run(exchange: Exchange[T], http: Any) -> T:
    """Do an exchange with a blocking HTTP client."""
    step: Callable[[], Effect] = partial(next, exchange)
    try:
        while True:
            effect = step()
            try:
                result = _do(effect, http)
            except Exception as error:  # noqa: BLE001  # the exchange may know what to do
                step = partial(exchange.throw, error)
            else:
                step = partial(exchange.send, result)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        exchange.close()


async def arun(exchange: Exchange[T], http: Any) -> T:
    """Do an exchange with an asynchronous HTTP client."""
    step: Callable[[], Effect] = partial(next, exchange)
    try:
        while True:
            try:
                effect = step()
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                result = await _ado(effect, http)
            except Exception as error:  # noqa: BLE001  # the exchange may know what to do
                step = partial(exchange.throw, error)
            else:
                step = partial(exchange.send, result)
    finally:
        exchange.close()


def _do(effect: Effect, http: Any) -> Any:
    match effect:
        case Call():
            return _call(effect, http)
        case Wait(seconds):
            return time.sleep(seconds)
        case Do(function):
            return function()
        case Tell(function, what):
            return function(what)
        case _:
            with ThreadPoolExecutor(1) as thread:  # an interrupt meets who waits, not what is done
                return thread.submit(run, effect.exchange, http).result()


async def _ado(effect: Effect, http: Any) -> Any:
    match effect:
        case Call():
            return await _acall(effect, http)
        case Wait(seconds):
            return await anyio.sleep(seconds)
        case Do(function):
            return await anyio.to_thread.run_sync(function)
        case Tell(function, what):
            told = function(what)
            return await told if inspect.isawaitable(told) else told
        case _:
            return await _unbroken(arun(effect.exchange, http))


async def _unbroken(doing: Coroutine[Any, Any, T]) -> T:
    """Wait until this is done, and only then be cancelled."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another library's loop: trio knows no cancellation but by scopes
        with anyio.CancelScope(shield=True):
            return await doing
    task, cancelled = asyncio.ensure_future(doing), None
    with anyio.CancelScope(shield=True):  # a scope that is cancelled would say so at every turn of the loop
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None and not task.cancelled():
        task.exception()  # is nobody's any more
        raise cancelled
    return task.result()


def _call(call: Call, http: Any) -> Answer:
    library = library_of(http)
    try:
        with http.stream(**_arguments(call)) as response:
            content = b""
            for chunk in response.iter_bytes():
                content = _longer(content, chunk, call)
            return _answer(response, content)
    except (library.RequestError, library.InvalidURL) as error:
        raise unreachable(error, call.url, library) from error


async def _acall(call: Call, http: Any) -> Answer:
    library = library_of(http)
    try:
        async with http.stream(**_arguments(call)) as response:
            content = b""
            async for chunk in response.aiter_bytes():
                content = _longer(content, chunk, call)
            return _answer(response, content)
    except (library.RequestError, library.InvalidURL) as error:
        raise unreachable(error, call.url, library) from error


def _arguments(call: Call) -> dict[str, Any]:
    body = {} if call.json is None else {"json": call.json}
    form = {} if call.form is None else {"data": dict(call.form)}
    return {
        "method": call.method,
        "url": call.url,
        "headers": {"accept": "application/json", "user-agent": USER_AGENT, **call.headers},
        "timeout": call.timeout,
        "auth": None,
        "follow_redirects": False,  # what goes along is meant for this address alone
        **body,
        **form,
    }


def _longer(content: bytes, chunk: bytes, call: Call) -> bytes:
    if len(content) + len(chunk) > MAX_ANSWER:
        raise NotPairlock(f"{call.url} answers far too much; is the address right?")
    return content + chunk


def _answer(response: Any, content: bytes) -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)


def unreachable(error: Exception, url: str, library: ModuleType) -> Unreachable:
    """Why nobody could be reached, in words that say what to do."""
    causes, where = list(_causes(error)), _where(url)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(
                f"{where}: the certificate of this server is not to be trusted ({cause.verify_message});"
                " if it is your own, name its authority (verify=…, --ca FILE)"
            )
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                f"{where}: no encrypted connection ({cause.reason or cause}); does it speak plain http://?"
            )
        if isinstance(cause, socket.gaierror):
            return Unreachable(f"{where}: there is no host of this name ({cause.strerror}); is the address right?")
    why = next((_said(cause) for cause in reversed(causes) if isinstance(cause, OSError) and _said(cause)), "")
    if isinstance(error, library.TimeoutException):
        why = "it does not answer in time"
    question = "is the service running there?"
    if isinstance(error, library.RemoteProtocolError) and url.startswith("http:"):
        question = "does it speak https://?"
    return Unreachable(f"{where} cannot be reached ({why or str(error) or type(error).__name__}); {question}")


def _where(url: str) -> str:
    """The part of an address that can be wrong."""
    return "/".join(url.split("/")[:3])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        of_many = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = of_many or error.__cause__ or error.__context__


def _said(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else ""
