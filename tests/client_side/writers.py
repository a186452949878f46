"""What other processes of these tests do with a credential file: `python -m tests.client_side.writers WHAT PATH …`."""

import os
import resource
import signal
import sys
import time

from msgspec.structs import replace

from pairlock.client import CredentialFile
from pairlock.client.drivers import run
from pairlock.client.keeping import in_turn
from pairlock.errors import CredentialsError
from tests.client_side.parts import credential

ROUNDS = 40


def put(file: CredentialFile, key: str, token: str) -> None:
    """Write one entry, in turn."""

    def putting() -> None:
        with file.drafting() as draft:
            draft.put(key, replace(credential(), token=token))

    run(in_turn(file, putting), None)


def write(path: str, name: str) -> None:
    """Write entries of one's own, as many as it takes."""
    for number in range(ROUNDS):
        put(CredentialFile(path), f"{name}-{number}", f"plk_{name}")


def write_forever(path: str) -> None:
    """Write one entry again and again, until killed."""
    print("ready", flush=True)
    for number in range(sys.maxsize):
        put(CredentialFile(path), "host:1", f"plk_{number}_" + "x" * (number % 7000))


def hold(path: str) -> None:
    """Take the lock, and keep it until killed; a draft is half written."""
    file = CredentialFile(path)
    release = file.try_lock()
    assert release is not None
    with file.drafting():
        print("ready", flush=True)
        time.sleep(600)


def without_room(path: str, room: str) -> None:
    """Write where a file may not grow beyond this."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(room), int(room)))
    told(path)


def told(path: str) -> None:
    """Write, and say what came of it."""
    try:
        put(CredentialFile(path), "host:1", "plk_new")
    except CredentialsError as error:
        print(f"refused: {error}")
    else:
        print("kept")


def homeless() -> None:
    """Where is the default, for a user whom nobody knows?"""
    os.environ.pop("HOME", None)
    os.setuid(54321)
    try:
        print(CredentialFile())
    except CredentialsError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
