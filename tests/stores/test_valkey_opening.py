"""How the store in Valkey is opened: what is refused, what is warned of, and who may."""

import asyncio
import logging
import re
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509  # comes with authlib
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pairlock._core.records import Device
from pairlock.errors import StoreError, TemporarilyUnavailable
from pairlock.stores import open_store, valkey_opening
from pairlock.stores.contract import Add, Log
from pairlock.stores.valkey import ValkeyStore
from pairlock.testing import a_device, a_request, an_event
from tests.servers import Valkey, free_port
from tests.stores.valkey_servers import Node, ask, client_of, cluster_of_one, meet, started

pytestmark = pytest.mark.anyio

GUIDE = Path(__file__).parents[2] / "docs" / "valkey.md"


async def opened(url: str) -> ValkeyStore:
    store = ValkeyStore(url)
    await store.open()
    return store


async def refused(url: str) -> str:
    """What the error says of a store that cannot be opened; it leaves nothing behind, and gives nothing away."""
    store = ValkeyStore(url, timeout=1)
    with pytest.raises(StoreError) as raised:
        await store.open()
    with pytest.raises(TemporarilyUnavailable):
        await store.list_devices()
    said = f"{raised.value} {raised.value.__cause__!r}"
    assert "hunter2" not in said
    return said


def base(store: ValkeyStore, name: str) -> str:
    return f"{store._base}{name}"


@pytest.fixture
def own() -> Iterator[Valkey]:
    """A server with settings of its own."""
    server = Valkey("--appendonly", "yes", "--loglevel", "warning")
    with started(server):
        yield server


class TestLayout:
    async def test_opening_twice_and_closing_at_once_is_nothing(self, valkey: Valkey) -> None:
        store = ValkeyStore(url := valkey.url())
        await store.aclose()
        await store.open()
        await store.commit(Add(device := a_device()))
        await store.open()
        assert await store.list_devices() == [device]
        await store.aclose()
        again = await opened(url)
        assert await again.list_devices() == [device]
        await again.aclose()

    def test_a_handle_may_be_opened_again_in_another_loop(self, valkey: Valkey) -> None:
        store = ValkeyStore(valkey.url())

        async def use() -> int:
            await store.open()
            await store.commit(Add(a_device()), Log(an_event()))
            batch = await anext(feed := store.watch(0))
            await feed.aclose()
            await store.aclose()
            return len(batch.events)

        assert [asyncio.run(use()) for _ in range(3)] == [1, 2, 3]

    async def test_eight_may_open_a_new_place_at_once(self, valkey: Valkey) -> None:
        url = valkey.url()
        stores = await asyncio.gather(*(opened(url) for _ in range(8)))
        await asyncio.gather(*(store.commit(Log(an_event())) for store in stores))
        assert len(await stores[0].list_events()) == 8
        await asyncio.gather(*(store.aclose() for store in stores))

    async def test_a_newer_schema_is_refused(self, valkey: Valkey) -> None:
        await (store := await opened(url := valkey.url())).aclose()
        ask(valkey, "SET", base(store, "schema"), "99")
        said = await refused(url)
        assert "schema version '99', this pairlock knows 1" in said
        assert "upgrade pairlock" in said

    @pytest.mark.parametrize("key", ["events", "seq", "due", "live", "paired", "names"])
    async def test_keys_of_something_else_are_left_alone(self, valkey: Valkey, key: str) -> None:
        name = base(ValkeyStore(url := valkey.url()), key)
        ask(valkey, "SET", name, "mine")
        assert "keys of something else under this prefix" in await refused(url)
        assert ask(valkey, "GET", name) == "mine"
        assert ask(valkey, "EXISTS", base(ValkeyStore(url), "schema")) == 0

    async def test_a_mark_that_is_not_ours_is_left_alone(self, valkey: Valkey) -> None:
        name = base(ValkeyStore(url := valkey.url()), "schema")
        ask(valkey, "HSET", name, "a", "b")
        assert "WRONGTYPE" in await refused(url)
        assert ask(valkey, "HGETALL", name) == {"a": "b"}

    async def test_data_of_another_version_is_neither_read_nor_written(self, valkey: Valkey) -> None:
        store = await opened(valkey.url())
        await store.commit(Add(device := a_device()))
        await store.check()
        ask(valkey, "SET", base(store, "schema"), "2")
        with pytest.raises(StoreError, match="start this process again"):
            await store.check()
        for call in (store.commit(Add(a_request())), store.find(Device, device.id), store.hit("key", 1, 1)):
            with pytest.raises(TemporarilyUnavailable) as raised:
                await call
            assert "SCHEMA" in str(raised.value.__cause__)
        ask(valkey, "SET", base(store, "schema"), "1")
        assert await store.list_devices() == [device]
        await store.aclose()

    async def test_a_server_that_was_emptied_is_used_again_once_it_is_opened_again(self, own: Valkey) -> None:
        store = await opened(own.url())
        feed = store.watch()
        cursor = (await anext(feed)).cursor
        ask(own, "FLUSHALL")
        assert (await anext(feed)).cursor < cursor
        await feed.aclose()
        with pytest.raises(TemporarilyUnavailable):
            await store.commit(Add(a_device()))
        with pytest.raises(StoreError):
            await store.check()
        await store.aclose()
        await store.open()
        await store.commit(Add(device := a_device()))
        assert await store.list_devices() == [device]
        await store.aclose()


class TestServers:
    async def test_a_server_that_is_not_there_is_named(self) -> None:
        port = free_port()
        said = await refused(f"valkey://user:hunter2@127.0.0.1:{port}/0")
        assert f"valkey://127.0.0.1:{port}/0, prefix pairlock cannot be opened" in said
        assert "Connect call failed" in said
        assert "that runs and takes writes" in said

    async def test_sentinels_and_nodes_that_are_not_there_are_named(self) -> None:
        port = free_port()
        assert "No master found" in await refused(f"valkey+sentinel://:hunter2@127.0.0.1:{port}/main")
        assert "cannot be connected" in await refused(f"valkey+cluster://:hunter2@127.0.0.1:{port}")

    async def test_an_old_server_is_refused_and_left_as_it_is(
        self, own: Valkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(valkey_opening, "LEAST_VERSION", (99, 1))
        assert "too old: use Valkey, or Redis 6.2 or newer" in await refused(own.url())
        assert ask(own, "DBSIZE") == 0

    async def test_a_replica_is_refused(self, own: Valkey) -> None:
        ask(own, "REPLICAOF", "127.0.0.1", free_port())
        assert "ReadOnlyError" in await refused(own.url())

    async def test_a_cluster_is_named_as_such(self) -> None:
        with cluster_of_one() as node, started(empty := Node()):
            meet(empty, node)
            assert "write valkey+cluster://" in await refused(f"valkey://127.0.0.1:{empty.port}")
            store = await opened(f"valkey+cluster://127.0.0.1:{empty.port}")  # any node will do
            await store.aclose()

    async def test_one_server_is_no_cluster(self, valkey: Valkey) -> None:
        said = await refused(f"valkey+cluster://127.0.0.1:{valkey.port}")
        assert "Cluster mode is not enabled on this node" in said

    async def test_a_socket_will_do(self, tmp_path: Path) -> None:
        with started(Valkey("--appendonly", "yes", "--unixsocket", str(tmp_path / "valkey.sock"))):
            store = await opened(f"valkey+unix://{tmp_path}/valkey.sock?db=3")
            await store.commit(Add(device := a_device()))
            assert await store.list_devices() == [device]
            await store.aclose()

    def test_a_library_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "valkey", None)
        for module in ("valkey", "valkey_link", "valkey_opening"):
            monkeypatch.delitem(sys.modules, f"pairlock.stores.{module}")
        with pytest.raises(StoreError, match=r"install pairlock\[valkey\]"):
            open_store("valkey://host")


class TestWarnings:
    async def warnings(self, url: str, caplog: pytest.LogCaptureFixture) -> list[str]:
        caplog.clear()
        await (await opened(url)).aclose()
        assert {record.name for record in caplog.records} <= {"pairlock"}
        assert all(record.levelno == logging.WARNING for record in caplog.records)
        return [record.getMessage() for record in caplog.records]

    async def test_a_server_that_keeps_its_word_is_not_warned_of(
        self, own: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        ask(own, "CONFIG", "SET", "maxmemory", "1gb")
        assert await self.warnings(own.url(), caplog) == []

    async def test_a_server_that_forgets_is_warned_of(self, own: Valkey, caplog: pytest.LogCaptureFixture) -> None:
        ask(own, "CONFIG", "SET", "appendonly", "no")
        (warning,) = await self.warnings(own.url(), caplog)
        assert "do not survive a restart" in warning
        assert "appendonly yes" in warning

    async def test_a_server_that_drops_keys_is_warned_of(self, own: Valkey, caplog: pytest.LogCaptureFixture) -> None:
        ask(own, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        assert await self.warnings(own.url(), caplog) == []  # it has no bound to keep to
        ask(own, "CONFIG", "SET", "maxmemory", "1gb")
        (warning,) = await self.warnings(own.url(), caplog)
        assert "maxmemory-policy noeviction" in warning

    async def test_what_cannot_be_told_is_said(self, own: Valkey, caplog: pytest.LogCaptureFixture) -> None:
        ask(own, "ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-info")
        url = own.url().replace("//", "//app:hunter2@")
        (warning,) = await self.warnings(url, caplog)
        assert "grant +info" in warning
        assert "hunter2" not in warning


class TestRights:
    async def test_a_wrong_password_is_refused(self, own: Valkey) -> None:
        ask(own, "ACL", "SETUSER", "app", "on", ">right", "~*", "+@all")
        for login in ("app:hunter2", "nobody:hunter2"):
            said = await refused(own.url().replace("//", f"//{login}@"))
            assert "AuthenticationError" in said
            assert "docs/valkey.md" in said

    async def test_a_password_that_is_missing_is_asked_for(self, own: Valkey) -> None:
        with closing(client_of(own)) as client:
            client.config_set("requirepass", "right")
        assert "Give a user and password" in await refused(own.url())
        store = await opened(own.url().replace("//", "//:right@"))
        await store.aclose()

    async def test_rights_that_are_missing_are_named(self, own: Valkey) -> None:
        ask(own, "ACL", "SETUSER", "app", "on", ">hunter2", "~*", "+@all", "-evalsha")
        said = await refused(own.url().replace("//", "//app:hunter2@"))
        assert "evalsha" in said
        assert "the rights of docs/valkey.md" in said

    async def test_the_rights_in_the_guide_are_enough_and_reach_nothing_else(self, own: Valkey) -> None:
        (line,) = re.findall(r"^ACL SETUSER (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
        ask(own, "ACL", "SETUSER", *line.replace(">the-password", ">hunter2").split())
        url = f"valkey://pairlock:hunter2@127.0.0.1:{own.port}/0"
        store = await opened(url)
        device, request = a_device(purge_at=5), a_request(code_digest=b"code", purge_at=5)
        feed = store.watch()
        await anext(feed)
        await store.commit(Add(device), Add(request), Log(an_event(purge_at=5)))
        assert len((await anext(feed)).events) == 1
        await feed.aclose()
        await store.touch({device.id: 1})
        assert await store.find_code(b"code") == request
        assert await store.list_requests(live_at=0) == [request]
        assert len(await store.list_devices()) == len(await store.search_devices("")) == len(await store.list_events())
        for amount in (1, 0, -1):
            await store.hit("key", 1, 1, amount)
        await store.check()
        assert (await store.purge(1e12)).total() == 4
        ask(own, "SCRIPT", "FLUSH")
        ask(own, "DEL", base(store, "names"))
        assert await store.search_devices("") == []
        await store.aclose()
        assert "NoPermissionError" in await refused(f"{url}?prefix=other")


class TestTLS:
    async def test_a_certificate_is_checked_by_authority_and_name(self, valkey: Valkey, tmp_path: Path) -> None:
        async with encrypted(valkey, tmp_path) as port:
            query = f"?ssl_ca_certs={tmp_path}/certificate.pem&prefix=tls"
            store = await opened(f"valkeys://localhost:{port}/0{query}")
            await store.check()
            await store.aclose()
            for place, said in (
                (f"localhost:{port}", "self-signed certificate"),
                (f"127.0.0.1:{port}/0{query}", "IP address mismatch"),
            ):
                assert said in await refused(f"rediss://:hunter2@{place}")
            store = await opened(f"valkeys://127.0.0.1:{port}/0{query}&ssl_check_hostname=no")
            await store.aclose()


@asynccontextmanager
async def encrypted(server: Valkey, folder: Path) -> AsyncIterator[int]:
    """The port of something that speaks TLS for a server, with a certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    named = unsigned.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    authority = named.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = authority.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "both.pem").write_bytes(private + certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)

    listening = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
