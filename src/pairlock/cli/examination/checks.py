"""What `pairlock doctor` finds in settings, keys and files; it makes none of them, and never shows a secret."""

import os
import secrets
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from pairlock._core.keys import MIN_KEY_BYTES
from pairlock._core.permissions import Permissions
from pairlock.cli.operator.operating import DEFAULT_STORE, key_file_of
from pairlock.cli.service.app_loading import check_module
from pairlock.cli.terminal import spoken
from pairlock.client.storage import CredentialFile
from pairlock.configuration import Configuration, read_configuration, unknown_variables
from pairlock.errors import ConfigurationError, CredentialsError, StoreError
from pairlock.facade import Pairlock
from pairlock.keyfile import VARIABLE, configured_keys, file_keys
from pairlock.stores import open_store
from pairlock.stores.sqlite import SQLiteStore

Status = Literal["ok", "warning", "problem"]
WRITE_EVERYTHING = Permissions(write=("/**",))


class Finding(Struct, frozen=True):
    """How one thing is, and if it is not well, what to do."""

    name: str
    status: Status
    detail: str


def ok(name: str, detail: str) -> Finding:
    """It is well."""
    return Finding(name, "ok", detail)


def warning(name: str, detail: str) -> Finding:
    """It works, but may not be meant."""
    return Finding(name, "warning", detail)


def problem(name: str, detail: str) -> Finding:
    """It does not work, or is not safe."""
    return Finding(name, "problem", detail)


def store_url(configuration: Configuration) -> str:
    """Where the service keeps its records."""
    return str(configuration.pairing.get("store", DEFAULT_STORE))


def size_of(file: Path) -> int | None:
    """How large a file is; None where there is none. Raises OSError where that cannot be known."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return None


def check_configuration(
    config: Path | None, store: str | None, environ: Mapping[str, str]
) -> tuple[tuple[Configuration, Pairlock] | None, list[Finding]]:
    """The settings and a Pairlock with them, not started, where a service could have it; and what is found of them."""
    strange = unknown_variables(environ)
    warnings = [warning("environment", says) for says in strange.values()]
    known = {name: text for name, text in environ.items() if name not in strange}
    try:
        configuration = read_configuration(config, given={"store": store}, environ=known)
        pairlock = _tried_out(configuration)
    except (ConfigurationError, StoreError) as error:
        return None, [*(problem("configuration", line) for line in str(error).splitlines()), *warnings]
    read = f"read from {configuration.path}" if configuration.path else "no file: environment and defaults only"
    return (configuration, pairlock), [ok("configuration", read), *warnings]


def _tried_out(configuration: Configuration) -> Pairlock:
    """Raises what would keep a service from starting; nothing is opened, and no key file is made."""
    serving = configuration.serving
    pairlock = configuration.pairlock(secret_keys=[secrets.token_bytes(MIN_KEY_BYTES)])
    with configuration.placing():
        pairlock.protect(pairlock.app, at=serving.at, public=serving.public, origins=serving.origins)
    return pairlock


def check_permissions(configuration: Configuration) -> Finding:
    """What pairing by PIN grants."""
    name = "default permissions"
    said = configuration.pairing.get("default_permissions")
    if said is None:
        return warning(name, "nobody said any; `pairlock serve` needs --read, --write or default_permissions")
    granted = Permissions.parse(said)
    if granted.include(WRITE_EVERYTHING):
        return warning(name, f"{spoken(granted)}: who pairs by PIN may write everything; name what devices need")
    return ok(name, spoken(granted))


def check_keys(configuration: Configuration, environ: Mapping[str, str]) -> Finding:
    """Where the secret keys come from, and how many there are."""
    try:
        return _keys(store_url(configuration), environ)
    except ConfigurationError as error:
        return problem("keys", str(error))
    except OSError as error:
        return problem("keys", f"they cannot be looked at ({error.strerror}); run this as the user of the service")


def _keys(url: str, environ: Mapping[str, str]) -> Finding:
    told, file = configured_keys(None, environ), key_file_of(url)
    if told is not None:
        return ok("keys", f"{_counted(len(told.secrets))} from {VARIABLE}")
    if file is None and url.startswith("memory:"):
        return ok("keys", "made anew at each start, as memory:// does")
    if file is None:
        return problem("keys", f"{VARIABLE} is not set here, and this store keeps no key file: set it for the service")
    if size_of(file) is None:
        return warning("keys", f"there is no {file}; a service makes it as it starts, unless {VARIABLE} is set for it")
    return ok("keys", f"{_counted(len(file_keys(file).secrets))} in {file}")


def _counted(keys: int) -> str:
    return "1 key" if keys == 1 else f"{keys} keys, of which the newest signs,"


def check_app(configuration: Configuration) -> list[Finding]:
    """Whether the app that is guarded can be there; its module is not run, for nobody knows what it does."""
    app = configuration.serving.app
    if app is None:
        return []
    try:
        check_module(app)
    except ConfigurationError as error:
        return [problem("app", str(error))]
    module, _, attribute = app.partition(":")
    return [ok("app", f"the module {module} is there; `pairlock serve` runs it, and looks for {attribute} in it")]


def check_files(configuration: Configuration) -> list[Finding]:
    """Whether what is secret can be read by others on this machine, or put in its place."""
    files = list(_secret_files(configuration))
    found = [
        *(
            problem("files", f"others may read {each}; run: chmod 600 {_quoted(each)}")
            for each in files
            if _is_open(each)
        ),
        *(
            problem("files", f"others may put files into {each}; run: chmod o-w {_quoted(each)}")
            for each in sorted({each.parent for each in files if _mode(each)})
            if _is_shared(each)
        ),
    ]
    return found or [ok("files", "others on this machine may read none of what is secret")]


def _secret_files(configuration: Configuration) -> Iterator[Path]:
    store = open_store(store_url(configuration))
    if isinstance(store, SQLiteStore):
        yield from (Path(f"{store.path}{suffix}") for suffix in ("", "-wal", "-shm"))
    key = configuration.serving.tls_key or configuration.serving.tls_certificate  # which then holds the key
    if key is not None:
        yield key
    if configuration.path is not None and _holds_secrets(configuration):
        yield configuration.path
    yield from _credentials()


def _holds_secrets(configuration: Configuration) -> bool:
    """Whether the file does."""
    pairing, in_file = configuration.pairing, configuration.in_file
    with_secret = [client for client in pairing.get("clients", ()) if client.secret is not None]
    return (
        "resource_servers" in in_file
        or ("clients" in in_file and bool(with_secret))
        or ("store" in in_file and urlsplit(pairing["store"]).password is not None)
    )


def _credentials() -> Iterator[Path]:
    with suppress(CredentialsError):  # nobody's home is known
        yield CredentialFile().path


def _is_open(file: Path) -> bool:
    """Whether others may read or change it."""
    return bool(_mode(file) & stat.S_IRWXO)


def _is_shared(folder: Path) -> bool:
    """Whether others may replace what lies in it; where it is sticky, as /tmp is, they may not."""
    return _mode(folder) & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH


def _mode(path: Path) -> int:
    """The permissions of a file; none where it is not there, or cannot be looked at."""
    try:
        return path.stat().st_mode if os.name == "posix" else 0
    except OSError:
        return 0


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
