"""What `pairlock serve` says once it serves: where, what it guards, what a PIN grants, and how a device pairs."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from pairlock._core.permissions import Permissions
from pairlock._core.windows import Window
from pairlock._core.wire import shown_permissions, window_answer
from pairlock.cli.service.listening import Place
from pairlock.cli.terminal import countdown, spoken
from pairlock.stores import open_store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore

UNENCRYPTED = """\
WARNING: this service is not encrypted, and others than this machine reach it.
Whoever is on the way, on the same Wi-Fi for example, can read PINs and tokens, and come in as your devices do.
Give --tls-certificate and --tls-key. Or listen on 127.0.0.1, behind a proxy that encrypts; where the proxy is
another machine, name its network with --trusted-proxy."""

WIDTH = 12  # of the labels

Row = tuple[str, str]


class Banner(Struct, frozen=True):
    """What is served, and where. `app` is None where devices only pair; `issuer` is the address it is known by."""

    place: Place
    app: str | None
    public: tuple[str, ...]
    grants: Permissions
    enabled: bool
    window: Window
    store: str
    issuer: str | None = None

    @property
    def urls(self) -> list[str]:
        """The addresses by which it is reached."""
        return self.place.urls()

    @property
    def device_url(self) -> str:
        """What a device is told, with the option that it needs where nothing is encrypted."""
        if self.issuer is not None:
            return self.issuer
        insecure = self.place.scheme == "http" and not self.place.is_loopback
        return f"{self.urls[0]}{' --insecure' if insecure else ''}"

    def rows(self) -> list[Row]:
        """What stays as it is, for people, a line each."""
        return [
            ("Listening on", ", ".join(self.urls)),
            ("Guards", self._guards()),
            ("A PIN grants", spoken(self.grants)),
            ("Records in", self.store),
            ("On a device", f"pairlock pair {self.device_url}"),
        ]

    def spoken_window(self, now: float) -> str:
        """Whether devices may ask, as it was at the start."""
        if not self.enabled:
            return "pairing is switched off in the settings (enabled: false)"
        if not self.window.open:
            return "closed; it opens with --pairing, or: pairlock window open"
        until = self.window.until
        return "open until it is closed" if until is None else f"open for {countdown(until - now)}"

    def answer(self, now: float) -> dict[str, Any]:
        """The same for programs."""
        return {
            "urls": self.urls,
            "app": self.app,
            "public": list(self.public),
            "permissions": shown_permissions(self.grants),
            "enabled": self.enabled,
            "window": window_answer(self.window, now),
            "store": self.store,
        }

    def _guards(self) -> str:
        if self.app is None:
            return "nothing: devices pair here, all else answers 404"
        return f"{self.app}, all but {' '.join(self.public)}" if self.public else self.app


def warning(place: Place, *, has_proxies: bool) -> str | None:
    """What is to be said of a service that others can listen in on."""
    is_safe = place.scheme == "https" or place.is_loopback or has_proxies
    return None if is_safe else UNENCRYPTED


def described_store(url: str) -> str:
    """Where a store keeps records, without what opens it."""
    store = open_store(url)
    if isinstance(store, SQLiteStore):
        return str(Path(store.path).absolute())
    if isinstance(store, MemoryStore):
        return "memory: all of them are gone when it ends"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
