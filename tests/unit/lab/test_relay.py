"""The relay, between two sockets of this process (its namespace is exercised by the lab tests)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from lab import relay


@contextlib.contextmanager
def relaying(target: tuple[str, int]) -> Iterator[int]:
    """A relay to a target, in a thread; gives its port."""
    listener = relay.listen()
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    def dial() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

    async def serve() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        task = asyncio.create_task(relay.accept(listener, dial, target))
        started.set()
        await ended.wait()
        task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield listener.getsockname()[1]
    finally:
        stop[0]()
        thread.join(10)
        listener.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def receive_all(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_both_ways_and_half_close(server: socket.socket) -> None:
    """The client ends its side first and still gets the whole answer, larger than every buffer between."""
    answer = bytes(range(256)) * (40 * 1024)

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            asked = receive_all(connection)
            connection.sendall(asked + answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with relaying(server.getsockname()) as port, socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"question" + answer
    thread.join(10)


def test_nobody_there_closes_without_a_byte() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gone = listening.getsockname()
    with relaying(gone) as port, socket.create_connection(("127.0.0.1", port), 10) as client:
        assert receive_all(client) == b""


def test_many_connections_at_once(server: socket.socket) -> None:
    def serve() -> None:
        for _ in range(20):
            connection, _ = server.accept()
            threading.Thread(
                target=lambda c=connection: (c.sendall(receive_all(c).upper()), c.close())
            ).start()

    threading.Thread(target=serve, daemon=True).start()
    with relaying(server.getsockname()) as port, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(f"host-{number}".encode())
            client.shutdown(socket.SHUT_WR)
        assert [receive_all(client) for client in clients] == [
            f"HOST-{number}".encode() for number in range(20)
        ]
