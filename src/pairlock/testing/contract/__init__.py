"""The promises of `pairlock.stores.contract`, as tests that any store can run."""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("handles", "commits", "lists", "upkeep", "races", "feed", "model"))
)

from pairlock.testing.contract.commits import Commits  # noqa: E402  # after the rewrite of their asserts
from pairlock.testing.contract.feed import Feed  # noqa: E402
from pairlock.testing.contract.lists import Lists  # noqa: E402
from pairlock.testing.contract.model import Model  # noqa: E402
from pairlock.testing.contract.races import Races  # noqa: E402
from pairlock.testing.contract.upkeep import Upkeep  # noqa: E402

__all__ = ["StoreContract"]


class StoreContract(Commits, Lists, Upkeep, Races, Feed, Model):
    """Every promise of a store. A store's own test says only how a handle is made:

        class TestMyStore(StoreContract):
            @pytest.fixture
            def new_store(self, tmp_path):
                return lambda: MyStore(tmp_path / "my.db")

    Each call gives a new handle, not yet open, on the same data, which is empty at the start of a test.
    """
