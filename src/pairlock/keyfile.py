"""Where the secret keys come from: the argument, the environment, or a file beside the SQLite database."""

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from pairlock._core.keys import Keys
from pairlock.errors import ConfigurationError, StoreError

VARIABLE = "PAIRLOCK_SECRET_KEYS"
PATIENCE, PAUSE = 5.0, 0.05  # seconds: until a lock is given up, and between looks


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
            return _keys(str(path), _split(file.read()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path}: the secret keys cannot be kept there ({error}); set secret_keys or {VARIABLE}"
        ) from error


def new_key() -> str:
    """A key of 256 random bits."""
    return secrets.token_urlsafe(32)


def rewrite_keys(path: Path, change: Callable[[list[str]], Sequence[str]]) -> Keys:
    """Put what this makes of the keys in a file in their place; the keys that are there then.

    Whoever reads finds the ones or the others, whole; nobody else rewrites them meanwhile. Raises ConfigurationError,
    and StoreError where nothing could be written: the keys are as they were.
    """
    try:
        path = path.resolve(strict=True)
        with _locked(path) as file:
            status = os.fstat(file.fileno())
            _check_owner(path, status)
            before = _split(file.read())
            _keys(str(path), before)
            after = change(before)
            keys = _keys(str(path), after)
            _replace(path, "".join(f"{key}\n" for key in after), status)
            return keys
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: the secret keys could not be rotated, and are as they were: {error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[TextIO]:
    """The file, open and locked against others who rewrite it; one that was replaced meanwhile is opened anew."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with path.open(encoding="ascii") as file:
            if _lock(file):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    yield file
                    return
            elif time.monotonic() > deadline:
                raise StoreError(f"{path}: somebody else is rotating these secret keys; try again")
        time.sleep(PAUSE)


def _lock(file: TextIO) -> bool:
    try:
        import fcntl  # only here: it is not on every system
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{file.name}: this system has no locks for files; add a line with a new key at its end, and restart"
        ) from None
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _replace(path: Path, content: str, status: os.stat_result) -> None:
    """Replace a file that is locked in one step, with the same owner and mode."""
    draft = path.with_name(f".{path.name}.new")  # one name: what a process left behind that was killed goes
    draft.unlink(missing_ok=True)
    try:
        with _open_new(draft) as file:
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            with suppress(PermissionError):  # a group that is not ours; it may do nothing with it anyway
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            _write(file, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    with suppress(OSError):  # not every system can; the file is in its place all the same
        _keep_names_of(path.parent)


def _keep_names_of(folder: Path) -> None:
    """Let names that were given there be so after a loss of power too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _check_owner(path: Path, status: os.stat_result) -> None:
    if os.name == "posix" and status.st_uid not in (0, os.geteuid()):  # whoever made it knows the keys
        raise ConfigurationError(f"{path}: these secret keys belong to another user; run as that user, or own the file")
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
        with _open_new(draft) as file:
            _write(file, f"{new_key()}\n")
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def _open_new(path: Path) -> TextIO:
    return open(path, "x", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600))


def _write(file: TextIO, content: str) -> None:
    """Write it, so that it is there after a loss of power too."""
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
