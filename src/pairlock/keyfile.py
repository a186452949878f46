"""Where the secret keys come from: the argument, the environment, or a file beside the SQLite database."""

import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from pairlock._core.keys import Keys
from pairlock.errors import ConfigurationError

VARIABLE = "PAIRLOCK_SECRET_KEYS"


def configured_keys(secret_keys: Sequence[str | bytes] | None, environ: Mapping[str, str]) -> Keys | None:
    """The keys given as an argument, else those of the environment (separated by commas, oldest first)."""
    if secret_keys is not None:
        if isinstance(secret_keys, str | bytes) or not all(isinstance(key, str | bytes) for key in secret_keys):
            raise ConfigurationError("secret_keys: give a list of keys, oldest first, such as [key]")
        return Keys(secret_keys)
    if VARIABLE in environ:
        return _keys(VARIABLE, [key.strip() for key in environ[VARIABLE].split(",") if key.strip()])
    return None


def file_keys(path: Path) -> Keys:
    """The keys in a file, one a line, oldest first; made with a new key when there is none.

    Raises ConfigurationError when it cannot be read, or can be read by others.
    """
    try:
        if not path.exists():
            _create(path)
        with path.open(encoding="ascii") as file:
            _check_owner(path, os.fstat(file.fileno()))
            return _keys(str(path), file.read().replace(",", " ").split())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: the secret keys cannot be kept there ({error}); set secret_keys or {VARIABLE}"
        ) from error


def _check_owner(path: Path, status: os.stat_result) -> None:
    if os.name == "posix" and status.st_uid not in (0, os.geteuid()):  # whoever made it knows the keys
        raise ConfigurationError(f"{path}: these secret keys belong to another user; remove the file, or own it")
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigurationError(f"{path}: others may read these secret keys; run: chmod 600 {path}")


def _keys(source: str, secret_keys: Sequence[str]) -> Keys:
    try:
        return Keys(secret_keys)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {str(error).removeprefix('secret_keys: ')}") from None


def _create(path: Path) -> None:
    """Make the file in one step: whoever comes second, in this process or another, finds the first one's key."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(draft, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)
