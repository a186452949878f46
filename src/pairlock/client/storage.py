"""Where credentials are kept: a file of the user's, written whole or not at all; or only in memory.

Whoever changes them holds the lock. What is damaged is reported and never written over. Room for the next
version is taken before a server is asked for a token, so that a full disk costs nothing.
"""

import glob
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Protocol

from pairlock.client import vault
from pairlock.client.credentials import Credential, Document, decode
from pairlock.client.libraries import needed
from pairlock.errors import CredentialsError

VARIABLE = "PAIRLOCK_CREDENTIALS"
LEFT_BEHIND = 60.0  # seconds after which nobody works on a draft any more
ROOM = 16384  # bytes by which a file may grow in one change


class Draft(Protocol):
    """The next version of what is kept; there is room for it."""

    def put(self, key: str, credential: Credential) -> None:
        """Keep this one, in the place of what was there."""
        ...

    def remove(self, key: str) -> None:
        """Forget that one."""
        ...


class Credentials(Protocol):
    """Where credentials are kept. All of it may block, and raises CredentialsError.

    `keyring`: whether the tokens of new ones go into the keyring of the operating system.
    """

    keyring: bool

    def read(self) -> Document:
        """What is kept now, without what is in a keyring."""
        ...

    def load(self, key: str) -> Credential | None:
        """One credential, with its tokens; None when it is not there (any more)."""
        ...

    def try_lock(self) -> Callable[[], None] | None:
        """Keep everybody else from changing it until what is returned is called; None while somebody else does."""
        ...

    def drafting(self) -> AbstractContextManager[Draft]:
        """With the lock held: room for the next version of what is kept."""
        ...


class MemoryCredentials:
    """Keeps credentials no longer than this process."""

    keyring = False

    def __init__(self) -> None:
        self._document = Document({})
        self._lock = Lock()

    def __repr__(self) -> str:
        return "<MemoryCredentials>"

    def read(self) -> Document:
        return self._document

    def load(self, key: str) -> Credential | None:
        return self._document.credentials().get(key)

    def try_lock(self) -> Callable[[], None] | None:
        return self._lock.release if self._lock.acquire(blocking=False) else None

    @contextmanager
    def drafting(self) -> Iterator[Draft]:
        yield self

    def put(self, key: str, credential: Credential) -> None:
        self._document = self._document.put(key, credential)

    def remove(self, key: str) -> None:
        self._document = self._document.without(key)


class CredentialFile:
    """Keeps credentials in a file that only its user can read; where there is none yet, it is made.

    Without `path` it is the one of `PAIRLOCK_CREDENTIALS`, else `default_path()`. With `keyring`, the tokens of what
    is newly kept go into the keyring of the operating system, by the package of that name.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, keyring: bool = False) -> None:
        named = os.environ.get(VARIABLE) if path is None else path
        self.path = _at_home(lambda: Path(named).expanduser() if named else default_path())
        self.keyring = keyring

    def __repr__(self) -> str:
        return f"<CredentialFile {self.path}>"

    def read(self) -> Document:
        with self.explained("read"):
            try:
                text = self.path.read_bytes()
            except FileNotFoundError:
                return Document({})
            return self._decoded(text)

    def load(self, key: str) -> Credential | None:
        found = self.read().credentials().get(key)
        return vault.filled(found) if found is not None and found.keyring else found

    def try_lock(self) -> Callable[[], None] | None:
        with self.explained("written"):
            place = self._place()
            _make_folder(place.parent)
            filelock = needed("filelock")
            lock = filelock.FileLock(f"{place}.lock", mode=0o600, thread_local=False)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                return None
            _hand_over(Path(f"{place}.lock"), place)
            release: Callable[[], None] = lock.release
            return release

    @contextmanager
    def drafting(self) -> Iterator[Draft]:
        size = len(self.read().encode()) + ROOM
        with self.explained("written"):
            draft = _FileDraft(self, self._place())
        try:
            with self.explained("written"):
                draft.take_room(size)
            yield draft
        finally:
            draft.close()

    def _place(self) -> Path:
        """Where it really is: a link stays a link, and whoever comes by another one meets the same lock."""
        return self.path.resolve()

    def _decoded(self, text: bytes) -> Document:
        try:
            return decode(text)
        except ValueError as error:
            raise CredentialsError(
                f"{self.path} is damaged ({error}). It is left as it is: mend it, or move it away and pair again."
            ) from None

    @contextmanager
    def explained(self, done: str) -> Iterator[None]:
        """What goes wrong in here, as a CredentialsError."""
        try:
            yield
        except (OSError, RuntimeError) as error:  # a RuntimeError of links that lead in a circle
            raise CredentialsError(
                f"{self.path} cannot be {done} ({getattr(error, 'strerror', None) or error}). Nothing was changed;"
                f" make room or mend its permissions, or name another file (--credentials, {VARIABLE})."
            ) from error


class _FileDraft:
    """A file beside the one that it will take the place of."""

    def __init__(self, file: CredentialFile, place: Path) -> None:
        self._file = file
        self._place = place
        _sweep(place)
        self._path = place.with_name(f".{place.name}.{secrets.token_hex(8)}.draft")  # there may be a lock that is none
        self._handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        _hand_over(self._path, place)

    def take_room(self, size: int) -> None:
        _write(self._handle, b"\n" * size)

    def close(self) -> None:
        os.close(self._handle)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def put(self, key: str, credential: Credential) -> None:
        document = self._file.read()
        before = document.credentials().get(key)
        if credential.keyring:
            credential = vault.emptied(credential)
        self._replace(document.put(key, credential))
        if before is not None and before.keyring and before.device_id != credential.device_id:
            vault.forget(before)

    def remove(self, key: str) -> None:
        document = self._file.read()
        found = document.credentials().get(key)
        if found is not None and found.keyring:
            vault.forget(found)
        self._replace(document.without(key))

    def _replace(self, document: Document) -> None:
        with self._file.explained("written"):
            _write(self._handle, document.encode())
            self._path.replace(self._place)
        with suppress(OSError):  # not every system can; the file is in its place all the same
            _sync_folder(self._place.parent)


def _sweep(place: Path) -> None:
    """Drop what processes have left behind that were killed."""
    for draft in place.parent.glob(f".{glob.escape(place.name)}.*.draft"):
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > LEFT_BEHIND:
                draft.unlink()


def _hand_over(made: Path, place: Path) -> None:
    """What root makes in the folder of a user is that user's."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = (place if place.exists() else place.parent).stat()
        os.chown(made, owner.st_uid, owner.st_gid)


def default_path(app: str = "pairlock") -> Path:
    """Where an application keeps the tokens of its user, by the custom of the operating system."""
    return _settings_folder(sys.platform, os.environ, Path.home) / app / "tokens.json"


def _settings_folder(platform: str, environ: Mapping[str, str], home: Callable[[], Path]) -> Path:
    if platform == "darwin":
        return home() / "Library" / "Application Support"
    if platform == "win32":
        return Path(environ["APPDATA"]) if environ.get("APPDATA") else home() / "AppData" / "Roaming"
    configured = environ.get("XDG_CONFIG_HOME", "")
    return Path(configured) if Path(configured).is_absolute() else home() / ".config"


def _at_home(path: Callable[[], Path]) -> Path:
    try:
        return path()
    except RuntimeError as error:
        raise CredentialsError(f"where is the home folder? ({error}) Set {VARIABLE} to the path of a file") from None


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it, for its user alone."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _write(handle: int, text: bytes) -> None:
    """All of it and nothing else, on disk."""
    os.lseek(handle, 0, os.SEEK_SET)
    rest = memoryview(text)
    while rest:
        rest = rest[os.write(handle, rest) :]
    os.ftruncate(handle, len(text))
    os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; only where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
