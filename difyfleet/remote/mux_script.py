"""Runs ON THE HOST (python3 >= 3.7, nothing but the standard library): many reads and pipes to local ports in one SSH exec.

Standard input: one line of JSON (see `Mux`), then requests, a JSON list a line; when it closes the controller has lost interest.

    ["reads", [[NUMBER, LINE, SECONDS, ASKS], ...]]   run these; SECONDS each may take, ASKS: sudo wants the password
    ["digest", ID, READS]                             run these, and tell one digest of all their answers (digest_script.py)
    ["forget"]                                        end all reads, also those to come
    ["open", ID, ADDRESS, PORT]   ["data", ID, BYTES] and so many bytes   ["more", ID, BLOCKS]   ["close", ID]

Standard output: `NONCE ready`, then per read `NONCE read NUMBER STATUS SECONDS BYTES BYTES` and so many bytes of its standard output
and of its standard error (STATUS is the exit status, -1 for a signal, `late` or `large`; SECONDS on this program's clock), and per block of a pipe
`NONCE data ID BYTES` and so many bytes; none = it has ended. `NONCE digest ID DIGEST`; DIGEST is `-` where an answer is missing.

A read runs as sshd would run it: by the login shell, in a session of its own, with nothing on standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # on the host it is in the same namespace
    from difyfleet.remote.digest_script import of_all, of_answer

BLOCK = 65536  # bytes read from a port at once
CONNECT = 10.0  # seconds until a port has to have answered


class Mux:
    """All of one controller's requests.

    Args:
        hello: `nonce`, `password`, `at_once` (reads that run side by side), `young` (seconds after which a read no longer keeps others
            waiting), `most` (bytes of an answer), `ahead` (blocks a pipe may send that nobody has taken).
    """

    def __init__(self, hello: dict[str, Any]) -> None:
        self.nonce = hello["nonce"]
        self.password = hello["password"]
        self.young = hello["young"]
        self.most = hello["most"]
        self.ahead = hello["ahead"]
        self.began = time.monotonic()
        self.shell = os.environ.get("SHELL") or pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
        self.environment = _environment()
        self._slots = threading.Semaphore(hello["at_once"])
        self._waiting: queue.Queue[Any] = queue.Queue()
        self._age = 0  # one more with each `forget`
        self._writing = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._pipes: dict[int, Any] = {}

    def serve(self) -> None:
        """Do what is asked until standard input closes."""
        self._write(f"{self.nonce} ready\n".encode())
        threading.Thread(target=self._start_reads, daemon=True).start()
        requests = sys.stdin.buffer
        do: dict[str, Any] = {
            "reads": self._reads,
            "digest": self._digest,
            "forget": self._forget,
            "open": self._open,
            "data": self._send,
            "more": self._more,
            "close": self._close,
        }
        for line in iter(requests.readline, b""):
            what, *words = json.loads(line)
            if what == "data":
                words[1] = requests.read(words[1])
            do[what](*words)
        self._forget()

    # -- reads

    def _reads(self, reads: list[Any], tell: Any = None) -> None:
        for read in reads:
            self._waiting.put((self._age, tell or self._tell, read))

    def _tell(self, number: int, status: object, outputs: list[bytearray]) -> None:
        head = f"{self.nonce} read {number} {status} {time.monotonic() - self.began:.3f}"
        self._write(f"{head} {len(outputs[0])} {len(outputs[1])}\n".encode() + outputs[0] + outputs[1])

    def _digest(self, ident: int, reads: list[Any]) -> None:
        found: dict[int, Any] = {}
        one_by_one = threading.Lock()

        def keep(number: int, status: object, outputs: list[bytearray]) -> None:
            digest = of_answer(status, *outputs) if isinstance(status, int) else None
            with one_by_one:
                found[number] = digest
                if len(found) < len(reads):
                    return
            answers = [found[read[0]] for read in reads]
            whole = "-" if None in answers else of_all(answers)
            self._write(f"{self.nonce} digest {ident} {whole}\n".encode())

        self._reads(reads, keep)

    def _forget(self) -> None:
        self._age += 1
        for process in list(self._running):
            _kill(process)

    def _start_reads(self) -> None:
        while True:
            age, tell, read = self._waiting.get()
            self._slots.acquire()
            if age == self._age:
                threading.Thread(target=self._read, args=(age, tell, *read), daemon=True).start()
            else:
                self._slots.release()

    def _read(self, age: int, tell: Any, number: int, line: str, seconds: float, asks: bool) -> None:
        began = time.monotonic()
        process = subprocess.Popen(
            [os.path.basename(self.shell), "-c", line],
            executable=self.shell,
            env=self.environment,
            stdin=subprocess.PIPE if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        if age != self._age:
            _kill(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # sudo has ended already; its own words say why
                process.stdin.write(self.password.encode())
                process.stdin.close()
        status, outputs = self._outputs(process, began, began + seconds)
        self._running.discard(process)
        if age == self._age:
            tell(number, status, outputs)

    def _outputs(
        self, process: subprocess.Popen[bytes], began: float, deadline: float
    ) -> tuple[object, list[bytearray]]:
        """What it says until both its outputs are closed, as sshd waits for that, too. The slot is given back on the way."""
        found = [bytearray(), bytearray()]
        slot = [self._slots]
        try:
            with selectors.DefaultSelector() as selector:
                for number, pipe in enumerate((process.stdout, process.stderr)):
                    selector.register(pipe, selectors.EVENT_READ, found[number])  # type: ignore[arg-type]
                while selector.get_map():
                    now = time.monotonic()
                    if now >= deadline:
                        return self._given_up(process, "late")
                    if slot and now >= began + self.young:
                        slot.pop().release()
                    for key, _ in selector.select(
                        min(deadline, began + self.young if slot else deadline) - now
                    ):
                        data = os.read(key.fd, 65536)
                        key.data.extend(data)
                        if not data:
                            selector.unregister(key.fileobj)
                    if len(found[0]) + len(found[1]) > self.most:
                        return self._given_up(process, "large")
            try:
                status = process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                return self._given_up(process, "late")
            return max(status, -1), found
        finally:
            for pipe in (process.stdout, process.stderr):
                pipe.close()  # type: ignore[union-attr]
            if slot:
                slot.pop().release()

    def _given_up(self, process: subprocess.Popen[bytes], why: str) -> tuple[object, list[bytearray]]:
        _kill(process)
        return why, [bytearray(), bytearray()]

    # -- pipes to local ports

    def _open(self, ident: int, address: str, port: int) -> None:
        try:
            pipe = socket.create_connection((address, port), CONNECT)
            pipe.settimeout(None)
            pipe.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._write(f"{self.nonce} data {ident} 0\n".encode())
            return
        self._pipes[ident] = pipe, threading.Semaphore(self.ahead)
        threading.Thread(target=self._receive, args=(ident, *self._pipes[ident]), daemon=True).start()

    def _receive(self, ident: int, pipe: socket.socket, taken: threading.Semaphore) -> None:
        data = b"-"
        while data:
            try:
                data = pipe.recv(BLOCK)
            except OSError:
                data = b""
            taken.acquire()
            self._write(f"{self.nonce} data {ident} {len(data)}\n".encode() + data)

    def _send(self, ident: int, data: bytes) -> None:
        with contextlib.suppress(OSError, KeyError):  # its end is under way, or has been told
            self._pipes[ident][0].sendall(data)

    def _more(self, ident: int, blocks: int) -> None:
        if ident in self._pipes:
            for _ in range(blocks):
                self._pipes[ident][1].release()

    def _close(self, ident: int) -> None:
        pipe, taken = self._pipes.pop(ident, (None, None))
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)
            pipe.close()
            taken.release()

    def _write(self, data: bytes) -> None:
        with self._writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def _environment() -> dict[bytes, bytes]:
    """The environment as sshd made it: python sets LC_CTYPE in its own where the locale is C (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (pair.partition(b"=") for pair in file.read().split(b"\0"))
        return {name: value for name, _, value in pairs if name}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a read with all that it started. What runs as another user is left to end by itself, as when a channel closes."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    try:
        Mux(json.loads(sys.stdin.buffer.readline())).serve()
    finally:
        os._exit(0)  # without waiting for threads


if __name__ == "__main__":
    main()
