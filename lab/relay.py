"""The way into the lab: loopback ports of this machine, each joined to one port of one lab host.

The lab's namespace has no route to or from this machine. This process listens in the machine's namespace and makes its
outgoing sockets in the lab's: a socket belongs to the namespace that its thread was in when it was made.

``python -m lab.relay NAMESPACE ADDRESS PORT...`` prints one JSON line, ``{"22": 40123, ...}``, and then serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable

_CLONE_NEWNET = 0x40000000
_CHUNK = 256 * 1024  # bytes
_CONNECT_TIMEOUT = 5.0  # seconds

Dial = Callable[[], socket.socket]


def namespace_socket(namespace: str) -> Dial:
    """A maker of TCP sockets inside a named network namespace (``ip netns add NAME``).

    :raises OSError: if the namespace does not exist or may not be entered.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Kept open for the life of the process. os.setns exists only from Python 3.12 on.
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/{namespace}", os.O_RDONLY)

    def enter(descriptor: int) -> None:
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot enter network namespace {namespace}: {os.strerror(number)}")

    def dial() -> socket.socket:
        enter(theirs)
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            enter(ours)

    return dial


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy one direction until its end, then pass the end on: the other direction may still have much to say."""
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(_CHUNK))
    while count := await loop.sock_recv_into(source, buffer):
        await loop.sock_sendall(sink, buffer[:count])
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


async def _join(client: socket.socket, dial: Dial, target: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    with client:
        upstream = dial()
        with upstream:
            upstream.setblocking(False)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await asyncio.wait_for(loop.sock_connect(upstream, target), _CONNECT_TIMEOUT)
            except (OSError, asyncio.TimeoutError):
                return  # the client sees its connection closed without a byte: "not up"
            pumps = [
                asyncio.create_task(_pump(client, upstream)),
                asyncio.create_task(_pump(upstream, client)),
            ]
            try:
                await asyncio.gather(*pumps)
            except OSError:
                pass
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)


async def accept(listener: socket.socket, dial: Dial, target: tuple[str, int]) -> None:
    """Serve one listening socket for ever."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        client, _ = await loop.sock_accept(listener)
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.create_task(_join(client, dial, target))
        tasks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(tasks.discard)


def listen() -> socket.socket:
    """A listening socket on a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.setblocking(False)
    return listener


async def _serve(listeners: dict[int, socket.socket], dial: Dial, address: str) -> None:
    await asyncio.gather(*(accept(listener, dial, (address, port)) for port, listener in listeners.items()))


def main(argv: list[str]) -> int:
    namespace, address, *ports = argv
    dial = namespace_socket(namespace)
    listeners = {int(port): listen() for port in ports}
    print(json.dumps({port: listener.getsockname()[1] for port, listener in listeners.items()}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(listeners, dial, address))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
