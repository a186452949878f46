"""A TCP proxy between a client and a server, which can lose their connection at any moment.

It works on threads of its own, so that it serves tests of every kind.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

CHUNK = 1 << 16
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, and lose what was not sent


class Proxy:
    """Forwards whatever connects to `port` to another port of 127.0.0.1, until told otherwise."""

    def __init__(self, server_port: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = threading.RLock()
        self._links: set[tuple[socket.socket, socket.socket]] = set()
        self._threads: list[threading.Thread] = []
        self._answers_pass = threading.Event()
        self._answers_pass.set()
        self._sizes: list[int] = []
        self._cuts_at_answer = False
        self.cuts = 0
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def links(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    def cut(self) -> None:
        """Cut all connections now, and forget what else was to be cut; new ones are taken."""
        self._sizes, self._cuts_at_answer = [], False
        self._cut()

    def cut_after(self, *sizes: int) -> None:
        """Cut once clients have sent so many bytes more, then again after the next number of bytes.

        A 0 cuts at the next byte, which does not arrive.
        """
        self._sizes = list(sizes)

    def cut_at_answer(self) -> None:
        """Cut when the server next answers: it has done what it was asked, and the client does not hear of it."""
        self._cuts_at_answer = True

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Hold back all answers meanwhile: connections stay open, and what clients say arrives."""
        self._answers_pass.clear()
        try:
            yield
        finally:
            self._answers_pass.set()

    def close(self) -> None:
        """Cut, and take no more connections."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._answers_pass.set()
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _cut(self) -> None:
        with self._lock:
            self.cuts += 1
            links, self._links = self._links, set()
        for link in links:
            for end in link:
                with contextlib.suppress(OSError):  # the other side has closed it
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            _close(*link)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]  # a method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._server)
        except OSError:  # it is away
            _close(client)
            return
        link = (client, server)
        for end in link:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._links.add(link)
        self._start(self._carry_requests, link)
        self._start(self._carry_answers, link)

    def _carry_requests(self, link: tuple[socket.socket, socket.socket]) -> None:
        client, server = link
        with self._ending(link):
            while data := client.recv(CHUNK):
                with self._lock:
                    passing, is_last = self._admitted(data)
                server.sendall(passing)
                if is_last:
                    self._cut()

    def _admitted(self, data: bytes) -> tuple[bytes, bool]:
        """What may still pass, and whether it is the last."""
        if not self._sizes:
            return data, False
        passing = data[: self._sizes[0]]
        self._sizes[0] -= len(passing)
        if self._sizes[0]:
            return passing, False
        self._sizes.pop(0)
        return passing, True

    def _carry_answers(self, link: tuple[socket.socket, socket.socket]) -> None:
        client, server = link
        with self._ending(link):
            while data := server.recv(CHUNK):
                self._answers_pass.wait()
                if self._cuts_at_answer:
                    self._cuts_at_answer = False
                    self._cut()
                client.sendall(data)

    @contextlib.contextmanager
    def _ending(self, link: tuple[socket.socket, socket.socket]) -> Iterator[None]:
        """When one side goes, the other is told."""
        with contextlib.suppress(OSError):
            yield
        with self._lock:
            self._links.discard(link)
        _close(*link)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes whoever reads from it
        end.close()
