"""What a service writes down of itself in its store, for the commands of operators that run beside it."""

from contextlib import suppress
from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins

from pairlock._core.records import Setting
from pairlock.errors import TemporarilyUnavailable
from pairlock.services.runtime import Runtime
from pairlock.settings import Settings
from pairlock.stores.contract import Store, put

KEY = "introduction"


class Introduction(Struct, frozen=True, kw_only=True):
    """The settings by which operators' commands decide as the service would; `address` is where devices pair."""

    default_permissions: dict[str, list[str]]
    pin_length: int
    confirmation_pin: bool
    window_open: bool
    window_timeout: float
    issuer: str | None = None
    address: str | None = None

    def settings(self) -> dict[str, Any]:
        """As keywords of a Pairlock."""
        return {name: value for name, value in to_builtins(self).items() if name != "address" and value is not None}


async def introduce(runtime: Runtime) -> None:
    """Write down how this service pairs; the one that started last counts. A store that is away hears it next time."""
    made = Setting(id=KEY, value=to_builtins(_introduction(runtime.settings, runtime.address)))

    async def attempt() -> None:
        kept = await (await runtime.ready()).find(Setting, KEY)
        if kept is None or kept.value != made.value:
            await runtime.commit(put(kept, made))

    with suppress(TemporarilyUnavailable):
        await runtime.settle(attempt)


async def introduced(store: Store) -> Introduction | None:
    """What a service has written down there; None when none has, or one of another version."""
    kept = await store.find(Setting, KEY)
    try:
        return None if kept is None else convert(kept.value, Introduction)
    except ValidationError:
        return None


def _introduction(settings: Settings, address: str | None) -> Introduction:
    granted = settings.default_permissions
    return Introduction(
        default_permissions={"read": list(granted.read), "write": list(granted.write)},
        pin_length=settings.pin_length,
        confirmation_pin=settings.confirmation_pin,
        window_open=settings.window_open,
        window_timeout=settings.window_timeout,
        issuer=settings.issuer,
        address=address,
    )
