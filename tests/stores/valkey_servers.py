"""Valkey servers in sets: a primary with a replica under a Sentinel, and a cluster."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from valkey import Valkey as Client

from tests.servers import Valkey, free_port

PATIENCE = 20.0
SERVICE = "pairlock-tests"


def client_of(server: Valkey) -> Client:
    """A client of one server, that of a cluster too."""
    return Client(port=server.port, decode_responses=True)


def ask(server: Valkey, *words: str | int) -> Any:
    """The answer of a server to a command."""
    with contextlib.closing(client_of(server)) as client:
        return client.execute_command(*words)  # type: ignore[no-untyped-call]  # the library's


def until(told: Callable[[], bool]) -> None:
    """Wait until this is true."""
    deadline = time.monotonic() + PATIENCE
    while not told():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def replica_of(primary: Valkey) -> Valkey:
    """A server that follows another, started and up to date."""
    replica = Valkey("--appendonly", "yes", "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    until(lambda: ask(replica, "INFO")["master_link_status"] == "up")
    return replica


class Sentinel(Valkey):
    """One that watches a primary and decides alone."""

    def __init__(self, primary: Valkey) -> None:
        super().__init__()
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 700",
            f"sentinel failover-timeout {SERVICE} 2000",
        )
        (self.folder / "sentinel.conf").write_text("\n".join(lines))

    def command(self) -> list[str]:
        return [super().command()[0], str(self.folder / "sentinel.conf"), "--sentinel"]

    def url(self) -> str:
        return f"valkey+sentinel://127.0.0.1:{self.port}/{SERVICE}?prefix=place-{next(self._places)}"


class Node(Valkey):
    """A node of a cluster, on its own so far."""

    def __init__(self) -> None:
        self.bus_port = free_port()
        quick = ("--cluster-node-timeout", "500", "--cluster-announce-ip", "127.0.0.1")
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port), *quick)
        super().__init__("--appendonly", "yes", *cluster)

    def url(self) -> str:
        return f"valkey+cluster://127.0.0.1:{self.port}?prefix=place-{next(self._places)}"


@contextlib.contextmanager
def started(*servers: Valkey) -> Iterator[None]:
    """They run meanwhile."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.close()


@contextlib.contextmanager
def watched_by_sentinel(primary: Valkey) -> Iterator[Sentinel]:
    """A Sentinel that knows a primary and its replica."""
    with started(sentinel := Sentinel(primary)):
        until(lambda: bool(ask(sentinel, "SENTINEL REPLICAS", SERVICE)))
        yield sentinel


@contextlib.contextmanager
def cluster_of_one() -> Iterator[Node]:
    """A cluster whose only node has all hash slots."""
    node = Node()
    with started(node):
        ask(node, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until_whole(node)
        yield node


def wait_until_whole(node: Node) -> None:
    """Until this node knows who has each hash slot."""
    until(lambda: "cluster_state:ok" in ask(node, "CLUSTER", "INFO"))


def meet(node: Node, other: Node) -> None:
    """Let a new node join the cluster of another."""
    ask(node, "CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
    wait_until_whole(node)


def follow(node: Node, other: Node) -> None:
    """Let a node that has met another become its replica."""
    ask(node, "CLUSTER", "REPLICATE", ask(other, "CLUSTER", "MYID"))
    until(lambda: ask(node, "INFO")["master_link_status"] == "up")
