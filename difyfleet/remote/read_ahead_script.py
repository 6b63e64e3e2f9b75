"""Runs ON THE HOST (python3 >= 3.7, nothing but the standard library): many reads in one SSH exec, their answers as they come.

Standard input: one line of JSON (see `Reader`); it stays open, and when it closes the controller has lost interest. Standard output, per
read: a line `NONCE NUMBER STATUS SECONDS BYTES BYTES`, then so many bytes of its standard output and of its standard error; at the
end the line `NONCE end`. STATUS is the exit status, -1 (ended by a signal), `late` or `large`.

A read runs as sshd would run it: by the login shell, in a session of its own, with nothing on standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import Any


class Reader:
    """All reads of one request.

    Args:
        request: `nonce`, `reads` ([line, seconds it may take, whether sudo asks for the password]), `password`, `at_once` (reads that
            run side by side), `young` (seconds after which a read no longer keeps others waiting), `most` (bytes of an answer).
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.nonce = request["nonce"]
        self.reads = request["reads"]
        self.password = request["password"]
        self.young = request["young"]
        self.most = request["most"]
        self.began = time.monotonic()
        self.shell = os.environ.get("SHELL") or pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
        self.environment = _environment()
        self._slots = threading.Semaphore(request["at_once"])
        self._writing = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self) -> None:
        threading.Thread(target=self._end_with_the_controller, daemon=True).start()
        readers = []
        for number, (line, seconds, asks) in enumerate(self.reads):
            self._slots.acquire()
            readers.append(threading.Thread(target=self._read, args=(number, line, seconds, asks)))
            readers[-1].start()
        for reader in readers:
            reader.join()
        self._write(f"{self.nonce} end\n".encode())

    def _read(self, number: int, line: str, seconds: float, asks: bool) -> None:
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
        if process.stdin is not None:
            with contextlib.suppress(OSError):  # sudo has ended already; its own words say why
                process.stdin.write(self.password.encode())
                process.stdin.close()
        status, outputs = self._outputs(process, began, began + seconds)
        self._running.discard(process)
        head = f"{self.nonce} {number} {status} {time.monotonic() - self.began:.3f}"
        self._write(f"{head} {len(outputs[0])} {len(outputs[1])}\n".encode() + outputs[0] + outputs[1])

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
            if slot:
                slot.pop().release()

    def _given_up(self, process: subprocess.Popen[bytes], why: str) -> tuple[object, list[bytearray]]:
        _kill(process)
        return why, [bytearray(), bytearray()]

    def _write(self, data: bytes) -> None:
        with self._writing:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _end_with_the_controller(self) -> None:
        while os.read(0, 4096):
            pass
        for process in list(self._running):
            _kill(process)
        os._exit(0)


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
        Reader(json.loads(sys.stdin.buffer.readline())).run()
    finally:
        sys.stdout.flush()
        os._exit(0)  # without waiting for the thread that waits for the controller


if __name__ == "__main__":
    main()
