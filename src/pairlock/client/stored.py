"""What is kept, and how it gets there and goes again: exchanges around the credentials."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from msgspec import Struct

from pairlock.client import addresses, answers, vault
from pairlock.client.addresses import Address
from pairlock.client.answers import TokenAnswer, WhoAmIAnswer
from pairlock.client.credentials import Credential, made
from pairlock.client.discovery import Service, check_identity, find, server_at
from pairlock.client.exchange import Call, Do, Exchange
from pairlock.client.keeping import Keeper, in_turn
from pairlock.client.storage import Credentials
from pairlock.errors import (
    AlreadyPaired,
    AnotherServer,
    CredentialsError,
    InvalidToken,
    NotPaired,
    PairAgain,
    PairlockError,
)


class Wanted(Struct, frozen=True, kw_only=True):
    """How the caller wants to pair: where to keep the credential, and what is allowed."""

    credentials: Credentials
    replace: bool = False
    insecure: bool = False
    ca: str | None = None
    clock: Callable[[], float] = time.time


def prepare(url: str, wanted: Wanted) -> Exchange[Service]:
    """The service at an address, once it is sure that a credential for it can be kept.

    Raises AlreadyPaired unless one may be replaced, and CredentialsError.
    """
    service = yield from find(url, insecure=wanted.insecure)
    kept = yield Do(partial(_kept, wanted.credentials, service))
    if kept is not None and not wanted.replace:
        raise AlreadyPaired(
            f'this device is paired with {kept[1].server.name} at {kept[1].place} already, as "{kept[1].name}";'
            " say that it is to be replaced (replace=True, --replace), or log out first"
        )
    yield from in_turn(wanted.credentials, partial(_try_out, wanted.credentials))
    return service


def keep(service: Service, answer: TokenAnswer, wanted: Wanted, client_id: str = "") -> Exchange[Keeper]:
    """Keep what a device was handed. What it had of this server before is revoked there.

    Where it cannot be kept, the pairing is taken back. Raises CredentialsError.
    """
    insecure = wanted.insecure and service.pairing.scheme == "http"
    how = {"client_id": client_id, "insecure": insecure, "ca": wanted.ca, "keyring": wanted.credentials.keyring}
    credential = made(service, answer, wanted.clock(), **how)
    try:
        before = yield Do(partial(_kept, wanted.credentials, service))
        key = yield from in_turn(wanted.credentials, partial(_put, wanted.credentials, credential))
    except CredentialsError:
        yield from _take_back(credential)
        raise
    if before is not None:
        yield from _take_back_from_its_server(before[1])
    keeper = Keeper(wanted.credentials, key, credential, wanted.clock)
    keeper.heard()
    return keeper


def load(url: str, credentials: Credentials, clock: Callable[[], float] = time.time) -> Exchange[Keeper]:
    """What is kept for an address. Raises NotPaired, AnotherServer, Unencrypted, CredentialsError."""
    address = addresses.parse(url)
    found = yield Do(partial(at, credentials, address))
    if len(found) > 1:
        found = yield from _of_the_server_there(found)
    key = next(iter(found))
    credential = yield Do(partial(_loaded, credentials, key, url))
    addresses.check_encrypted(credential.address, insecure=credential.insecure)
    return Keeper(credentials, key, credential, clock)


def resume(keeper: Keeper) -> Exchange[WhoAmIAnswer]:
    """Make sure that a credential counts, and learn what it is today. Raises PairAgain, AnotherServer, Unreachable."""
    answer = yield from _known(keeper)
    yield from keeper.learn(answer.device.name, answer.device.permissions)
    return answer


def _known(keeper: Keeper) -> Exchange[WhoAmIAnswer]:
    credential = yield from keeper.current()
    try:
        return (yield from _whoami(credential))
    except InvalidToken:
        credential = yield from keeper.after_refusal(credential.token)
        try:
            return (yield from _whoami(credential))
        except InvalidToken as error:
            raise keeper.pair_again() from error


def log_out(keeper: Keeper) -> Exchange[bool]:
    """Revoke a device and forget its credential; False when it was revoked already."""
    revoked = True
    try:
        yield from resume(keeper)
        yield from _revoke(keeper.credential)
    except (PairAgain, InvalidToken):
        revoked = False
    yield from keeper.forget()
    return revoked


def forget(url: str, credentials: Credentials) -> Exchange[list[Credential]]:
    """Forget what is kept for an address, unrevoked; of several, those whose server is not there any more."""
    found = yield Do(partial(at, credentials, addresses.parse(url)))
    if len(found) > 1:
        there = yield from _of_the_server_there(found)
        found = {key: credential for key, credential in found.items() if key not in there}
    for key, credential in found.items():
        yield from Keeper(credentials, key, credential).forget()
    return list(found.values())


def at(credentials: Credentials, address: Address) -> dict[str, Credential]:
    """What is kept for an address, by its keys. Raises NotPaired when there is nothing."""
    found = credentials.read().at(address)
    if not found:
        raise _not_paired(address.url)
    return found


def _loaded(credentials: Credentials, key: str, url: str) -> Credential:
    found = credentials.load(key)
    if found is None:  # it was forgotten at this very moment
        raise _not_paired(url)
    return found


def _not_paired(url: str) -> NotPaired:
    return NotPaired(f"this device is not paired with {url}; pair first, for example: pairlock pair {url}")


def _kept(credentials: Credentials, service: Service) -> tuple[str, Credential] | None:
    """What is kept of this very server at this address."""
    for key, credential in credentials.read().credentials().items():
        if credential.server.id == service.server.id and credential.address == service.pairing:
            with suppress(CredentialsError):  # of a keyring that has lost the tokens
                credential = credentials.load(key) or credential
            return key, credential
    return None


def _try_out(credentials: Credentials) -> None:
    if credentials.keyring:
        vault.check()
    with credentials.drafting():
        pass


def _put(credentials: Credentials, credential: Credential) -> str:
    key = credentials.read().key_for(credential)
    with credentials.drafting() as draft:
        draft.put(key, credential)
    return key


def _of_the_server_there(found: dict[str, Credential]) -> Exchange[dict[str, Credential]]:
    """Of those kept for one address, the one for the server that is there now."""
    for key, credential in found.items():
        server = yield from server_at(credential.url)
        if server is not None and server.id == credential.server.id:
            return {key: credential}
    names = ", ".join(sorted({credential.server.name for credential in found.values()}))
    raise AnotherServer(f"what is kept for this address is for {names}, and neither is there now; pair again")


def _whoami(credential: Credential) -> Exchange[WhoAmIAnswer]:
    url = f"{credential.url}/whoami"
    return answers.read((yield Call(method="GET", url=url, headers=_bearer(credential))), WhoAmIAnswer, url)


def _revoke(credential: Credential) -> Exchange[None]:
    url = f"{credential.url}/whoami"
    answers.check((yield Call(method="DELETE", url=url, headers=_bearer(credential))), url)


def _take_back(credential: Credential) -> Exchange[None]:
    """Revoke what nobody will use; as far as that goes."""
    form = {"token": credential.refresh_token or credential.token}
    if credential.client_id:
        form["client_id"] = credential.client_id
    with suppress(PairlockError):
        yield Call(method="POST", url=f"{credential.url}/revoke", form=form)


def _take_back_from_its_server(kept: Credential) -> Exchange[None]:
    """The same for what was kept here before: whoever has this address now may not be who it is from."""
    with suppress(PairlockError):
        yield from check_identity(kept.url, kept.server.id, device_id=kept.device_id, refresh_token=kept.refresh_token)
        yield from _take_back(kept)


def _bearer(credential: Credential) -> dict[str, str]:
    return {"authorization": f"Bearer {credential.token}"}
