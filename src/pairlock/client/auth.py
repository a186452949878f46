"""`PairlockAuth`: requests that carry the token of a paired device, kept fresh."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from pairlock.client import addresses
from pairlock.client.credentials import Credential
from pairlock.client.drivers import arun, run
from pairlock.client.keeping import Keeper
from pairlock.client.libraries import library_of, loaded, trusting
from pairlock.client.storage import CredentialFile, Credentials
from pairlock.client.stored import at
from pairlock.errors import NotPaired, Unreachable

if TYPE_CHECKING:
    import httpx

    _Auth = httpx.Auth
else:
    _Auth = object  # of which library it is, is seen when one is made


class PairlockAuth(_Auth):
    """Authentication for an HTTP client of your own, sync or async: `httpx.Client(auth=PairlockAuth(url))`.

    It is for what is kept for `url`. Its own calls, such as a refresh, go through `http`: give a client where one
    is needed to reach the server, for its certificate or a proxy. The token goes to the server's own origin and
    nowhere else. Raises NotPaired, CredentialsError; with it, requests raise AnotherServer and PairAgain too.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        bases = [each.Auth for each in loaded()]
        return object.__new__(_of_libraries(cls, *bases))  # type: ignore[arg-type]  # a class can be hashed

    def __init__(
        self, url: str, *, credentials: Credentials | str | os.PathLike[str] | None = None, http: Any = None
    ) -> None:
        place = kept_in(credentials)
        found = at(place, addresses.parse(url))
        if len(found) > 1:
            raise NotPaired(f"more than one server was paired with at {url}; connect() finds out which one is there")
        key = next(iter(found))
        self.use(Keeper(place, key, place.load(key) or found[key]), http)

    @classmethod
    def of(cls, keeper: Keeper, http: Any) -> Self:
        """For a credential that is at hand."""
        auth = cls.__new__(cls)
        auth.use(keeper, http)
        return auth

    def use(self, keeper: Keeper, http: Any) -> None:
        """Carry this credential from now on. Raises Unencrypted."""
        address = keeper.credential.address
        addresses.check_encrypted(address, insecure=keeper.credential.insecure)
        port = None if address.port == addresses.PORTS[address.scheme] else address.port
        self._origin = (address.scheme, address.host, port)
        self.keeper = keeper
        self._http = http

    def __repr__(self) -> str:
        return f"<PairlockAuth with {self.credential}>"

    @property
    def credential(self) -> Credential:
        """What it carries, as it is now: the device's name, its permissions, the server's name."""
        return self.keeper.credential

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """For the HTTP library."""
        if not self._is_for(request.url):
            yield request
            return
        credential = self.keeper.known() or self._run(self.keeper.current(), request)
        response = yield from self._sent(_carrying(request, credential))
        if self._was_refused(response):
            response.read()  # it would hold its connection while ours need one
            again = self._run(self.keeper.after_refusal(credential.token), request)
            if _can_be_sent_again(request):
                yield _carrying(request, again)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """For the HTTP library."""
        if not self._is_for(request.url):
            yield request
            return
        credential = self.keeper.known() or await self._arun(self.keeper.current(), request)
        try:
            response = yield _carrying(request, credential)
        except GeneratorExit:  # as below
            self.keeper.lost()
            raise
        self.keeper.heard()
        if self._was_refused(response):
            await response.aread()  # as above
            again = await self._arun(self.keeper.after_refusal(credential.token), request)
            if _can_be_sent_again(request):
                yield _carrying(request, again)

    def _sent(self, request: Any) -> Generator[Any, Any, Any]:
        try:
            response = yield request
        except GeneratorExit:  # of a call that failed, or nobody waits for
            self.keeper.lost()
            raise
        self.keeper.heard()
        return response

    def _is_for(self, url: Any) -> bool:
        return (url.scheme, url.raw_host.decode("ascii"), url.port) == self._origin

    def _was_refused(self, response: Any) -> bool:
        """Whether it is our token that the server does not take (RFC 6750 §3.1)."""
        refused = response.status_code == 401 and "invalid_token" in response.headers.get("www-authenticate", "")
        return refused and self._is_for(response.request.url)

    def _run(self, exchange: Any, request: Any) -> Any:
        try:
            with self._caller(request) as http:
                return run(exchange, http)
        except Unreachable as error:
            raise error.__cause__ or error from None  # as of any other request of that client

    async def _arun(self, exchange: Any, request: Any) -> Any:
        try:
            async with self._acaller(request) as http:
                return await arun(exchange, http)
        except Unreachable as error:
            raise error.__cause__ or error from None

    @contextmanager
    def _caller(self, request: Any) -> Iterator[Any]:
        if self._http is not None and not hasattr(self._http, "aclose"):
            yield self._http
        else:
            with library_of(request).Client(**trusting(self.credential.ca)) as http:
                yield http

    @asynccontextmanager
    async def _acaller(self, request: Any) -> AsyncIterator[Any]:
        if self._http is not None and hasattr(self._http, "aclose"):
            yield self._http
        else:
            async with library_of(request).AsyncClient(**trusting(self.credential.ca)) as http:
                yield http


@cache
def _of_libraries(auth: type, *bases: type) -> type:
    """The same class, as each of these libraries takes it."""
    missing = tuple(base for base in bases if not issubclass(auth, base))
    return type(auth.__name__, (auth, *missing), {}) if missing else auth


def kept_in(credentials: Credentials | str | os.PathLike[str] | None) -> Credentials:
    """Where to keep credentials: as given, in the file of that name, or in the user's own."""
    if credentials is None or isinstance(credentials, str | os.PathLike):
        return CredentialFile(credentials)
    return credentials


def _carrying(request: Any, credential: Credential) -> Any:
    request.headers["Authorization"] = f"Bearer {credential.token}"
    return request


def _can_be_sent_again(request: Any) -> bool:
    """Whether its body is still at hand; one that was streamed is not."""
    try:
        return request.content is not None
    except RuntimeError:  # of the library: it was not read
        return False
