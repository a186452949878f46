"""From a URL to a store."""

import asyncio
from pathlib import Path

import pytest

from pairlock.errors import ConfigurationError
from pairlock.stores import open_store
from pairlock.stores.memory import MemoryStore
from pairlock.stores.sqlite import SQLiteStore


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///pairlock.db", "pairlock.db"),
        ("sqlite:///data/pairlock.db", "data/pairlock.db"),
        ("sqlite:////var/lib/pairlock.db", "/var/lib/pairlock.db"),
        ("sqlite:///C:/pairlock.db", "C:/pairlock.db"),
        ("sqlite:////tmp/a%20b%3F%23%25.db", "/tmp/a b?#%.db"),
        ("sqlite:////tmp/b%C3%A4r.db", "/tmp/bär.db"),
    ],
)
def test_a_sqlite_url_names_a_file_as_in_sqlalchemy(url: str, path: str) -> None:
    store = open_store(url)
    assert isinstance(store, SQLiteStore)
    assert store.path == path


def test_memory_is_a_store_of_its_own_each_time() -> None:
    first, second = open_store("memory://"), open_store("memory://")
    assert isinstance(first, MemoryStore)
    assert isinstance(second, MemoryStore)
    assert first is not second


def test_nothing_is_made_before_it_is_opened(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/pairlock.db")
    assert list(tmp_path.iterdir()) == []
    asyncio.run(store.open())
    assert (tmp_path / "pairlock.db").exists()
    asyncio.run(store.aclose())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "",
            (
                "known are sqlite:///relative.db, sqlite:////absolute/path.db, postgresql://host/database,"
                " valkey://host, redis://host and memory://"
            ),
        ),
        ("pairlock.db", "known are sqlite:///"),
        ("sqlite:pairlock.db", "known are sqlite:///"),
        ("sqlite", "known are sqlite:///"),
        ("postgresql", "known are sqlite:///"),
        ("mysql://user:hunter2@host/db", "known are sqlite:///"),
        ("sqlite://", "needs a third slash and a path"),
        ("sqlite:///", "needs a third slash and a path"),
        ("sqlite://pairlock.db", "needs a third slash and a path"),
        ("sqlite:///:memory:", "write memory:// instead"),
        ("sqlite:///pairlock.db?timeout=3", "has no parameters"),
        ("sqlite:///pairlock.db#part", "has no parameters"),
        ("sqlite:///pair%00lock.db", "has no parameters"),
        ("memory://name", "nothing may follow memory://"),
    ],
)
def test_a_url_spelt_wrongly_says_how_to_write_it(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)
