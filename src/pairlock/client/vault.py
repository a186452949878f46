"""Tokens in the keyring of the operating system, where that was asked for; everything else stays in the file."""

import secrets
from types import ModuleType

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pairlock.client.credentials import Credential
from pairlock.errors import CredentialsError

SERVICE = "pairlock"  # what the keyring files them under
PROBE = "probe"
WITHOUT = "leave it out, to keep tokens in a file"


class Tokens(Struct, frozen=True):
    """What the keyring holds of a credential."""

    token: str
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "<Tokens>"


def filled(credential: Credential) -> Credential:
    """A credential as it was read, with its tokens. Raises CredentialsError."""
    keyring = _keyring()
    try:
        kept = msgspec.json.decode(keyring.get_password(SERVICE, _name(credential)) or "null", type=Tokens | None)
    except (keyring.errors.KeyringError, ValueError) as error:
        raise CredentialsError(
            f"the keyring does not give the tokens of {credential.place} ({error}); unlock it"
        ) from None
    if kept is None:
        raise CredentialsError(f"the keyring has no tokens of {credential.place} any more; pair again")
    return replace(credential, token=kept.token, refresh_token=kept.refresh_token)


def emptied(credential: Credential) -> Credential:
    """A credential as it may be written to a file, once its tokens are in the keyring. Raises CredentialsError."""
    keyring, tokens = _keyring(), Tokens(credential.token, credential.refresh_token)
    try:
        keyring.set_password(SERVICE, _name(credential), msgspec.json.encode(tokens).decode())
    except keyring.errors.KeyringError as error:
        raise CredentialsError(
            f"the keyring does not take the tokens of {credential.place} ({error}); unlock it"
        ) from None
    return replace(credential, token="", refresh_token=None)


def forget(credential: Credential) -> None:
    """Drop the tokens of a credential; those that are gone already are no error."""
    keyring = _keyring()
    try:
        keyring.delete_password(SERVICE, _name(credential))
    except keyring.errors.PasswordDeleteError:
        return
    except keyring.errors.KeyringError as error:
        raise CredentialsError(
            f"the keyring does not drop the tokens of {credential.place} ({error}); unlock it"
        ) from None


def check() -> None:
    """Raises CredentialsError when there is no keyring to be used."""
    keyring, said = _keyring(), secrets.token_hex()
    try:
        keyring.set_password(SERVICE, PROBE, said)
        kept = keyring.get_password(SERVICE, PROBE)
        keyring.delete_password(SERVICE, PROBE)
    except keyring.errors.KeyringError as error:
        raise CredentialsError(f"there is no keyring here that could be used ({error}); {WITHOUT}") from None
    if kept != said:  # there is one that keeps nothing
        raise CredentialsError(f"the keyring here keeps nothing; {WITHOUT}")


def _name(credential: Credential) -> str:
    """Of one device at one server: there may be several files, and several servers at an address."""
    return f"{credential.server.id}/{credential.device_id}"


def _keyring() -> ModuleType:
    try:
        import keyring  # only where it was asked for
        import keyring.errors
    except ImportError:
        raise CredentialsError("keyring: install it with: pip install 'pairlock[keyring]'") from None
    return keyring
