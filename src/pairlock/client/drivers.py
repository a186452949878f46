"""Do what an exchange asks for: with threads that block, or with tasks. Either HTTP library will do."""

import asyncio
import inspect
import os
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from threading import Thread, current_thread, main_thread
from types import ModuleType
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from pairlock.client.exchange import Answer, Call, Do, Effect, Exchange, Tell, Wait
from pairlock.client.libraries import library_of
from pairlock.errors import NotPairlock, Unreachable

T = TypeVar("T")
Perform = Callable[[Effect, Any], Awaitable[Any]]

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


async def arun(exchange: Exchange[T], http: Any, *, perform: "Perform | None" = None) -> T:
    """Do an exchange with an asynchronous HTTP client; `perform` does one step of it in another way than ours."""
    do = perform or _ado
    step: Callable[[], Effect] = partial(next, exchange)
    try:
        while True:
            try:
                effect = step()
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                result = await do(effect, http)
            except Exception as error:  # noqa: BLE001  # the exchange may know what to do
                step = partial(exchange.throw, error)
            else:
                step = partial(exchange.send, result)
    finally:
        exchange.close()


def _do(effect: Effect, http: Any) -> Any:
    match effect:
        case Call():
            return _in_time(effect, http)
        case Wait(seconds):
            return time.sleep(seconds)
        case Do(function):
            return function()
        case Tell(function, what):
            return function(what)
        case _:
            return _uninterrupted(partial(run, effect.exchange, http))


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
            return await _unbroken(effect.exchange, http)


def _uninterrupted(work: Callable[[], T]) -> T:
    """What this returns; Ctrl-C is heard once it is done."""
    if current_thread() is not main_thread():
        return work()
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        return work()
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
        if heard:
            signal.raise_signal(signal.SIGINT)


async def _unbroken(exchange: Exchange[T], http: Any) -> T:
    """Wait until this is done, and only then be cancelled."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another library's loop: trio knows no cancellation but by scopes
        with anyio.CancelScope(shield=True):
            return await arun(exchange, http)
    task, cancelled = asyncio.ensure_future(arun(exchange, http, perform=_ado_stubbornly)), None
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


async def _ado_stubbornly(effect: Effect, http: Any) -> Any:
    """Do it though the task is cancelled: asyncio.run cancels every one at its end."""
    if isinstance(effect, Do):
        return await _waited_for(asyncio.get_running_loop().run_in_executor(None, effect.function))
    if not isinstance(effect, Call) or not effect.again:
        return await _ado(effect, http)
    try:
        return await _ado(effect, http)
    except asyncio.CancelledError:
        return await _ado(effect, http)


async def _waited_for(doing: asyncio.Future[T]) -> T:
    while not doing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([doing])
    return doing.result()


def _in_time(call: Call, http: Any) -> Answer:
    """The answer, unless it takes longer than it may in all: a thread that nobody waits for any more ends by itself."""
    answered: Future[Answer] = Future()

    def answer() -> None:
        try:
            answered.set_result(_call(call, http))
        except BaseException as error:  # noqa: BLE001  # whoever waits is told
            answered.set_exception(error)

    Thread(target=answer, daemon=True).start()
    try:
        return answered.result(call.timeout)
    except TimeoutError:
        raise _too_late(call) from None


def _call(call: Call, http: Any) -> Answer:
    library = library_of(http)
    try:
        with http.stream(**_arguments(call)) as response:
            content = _begun(response, call)
            for chunk in () if response.is_stream_consumed else response.iter_raw():
                _extend(content, chunk, call)
            return _answer(response, content)
    except (library.RequestError, library.InvalidURL) as error:
        raise unreachable(error, call.url, library) from error


async def _acall(call: Call, http: Any) -> Answer:
    library = library_of(http)
    try:
        with anyio.fail_after(call.timeout):
            async with http.stream(**_arguments(call)) as response:
                content = _begun(response, call)
                if not response.is_stream_consumed:
                    async for chunk in response.aiter_raw():
                        _extend(content, chunk, call)
                return _answer(response, content)
    except TimeoutError:
        raise _too_late(call) from None
    except (library.RequestError, library.InvalidURL) as error:
        raise unreachable(error, call.url, library) from error


def _arguments(call: Call) -> dict[str, Any]:
    body = {} if call.json is None else {"json": call.json}
    form = {} if call.form is None else {"data": dict(call.form)}
    return {
        "method": call.method,
        "url": call.url,
        "headers": {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": USER_AGENT,
            **call.headers,
        },
        "timeout": call.timeout,
        "auth": None,
        "follow_redirects": False,  # what goes along is meant for this address alone
        **body,
        **form,
    }


def _begun(response: Any, call: Call) -> bytearray:
    """Room for the content as it comes: what is packed could be any size."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise NotPairlock(f"{call.url} answers in an encoding that was not asked for; is the address right?")
    return bytearray(response.content if response.is_stream_consumed else b"")  # consumed: of a transport for tests


def _extend(content: bytearray, chunk: bytes, call: Call) -> None:
    if len(content) + len(chunk) > MAX_ANSWER:
        raise NotPairlock(f"{call.url} answers far too much; is the address right?")
    content += chunk


def _answer(response: Any, content: bytearray) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, bytes(content))


def _too_late(call: Call) -> Unreachable:
    return Unreachable(
        f"{_where(call.url)} cannot be reached (it does not answer in time); is the service running there?"
    )


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
