"""For tests: a clock that stands still, builders of valid records, and the suite that proves a store.

`StoreContract` needs pytest and hypothesis; the rest needs nothing beyond pairlock.
"""

from typing import TYPE_CHECKING, Any

from pairlock.testing.builders import a_device, a_request, a_setting, an_event
from pairlock.testing.clock import FakeClock

if TYPE_CHECKING:
    from pairlock.testing.contract import StoreContract

__all__ = ["FakeClock", "StoreContract", "a_device", "a_request", "a_setting", "an_event"]


def __getattr__(name: str) -> Any:
    if name != "StoreContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pairlock.testing.contract import StoreContract

    return StoreContract
