"""One exec channel for all that a run reads of a host: answers of many reads, and pipes to its ports. The host's side is mux_script.py."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import secrets
import shlex
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from paramiko import SSHException

from difyfleet import host_calls
from difyfleet.remote.learned_reads import Read

START = 60.0  # seconds until the host's side has said its first word, and that a packet may take to get away
PACK_FROM = 2000  # bytes of a request; what one way takes more than a packet or two costs round trips while TCP starts slowly
BLOCKS = 64  # of 64 KiB that a pipe may send before somebody takes them
_MAIN = "difyfleet.remote.mux_script"
_START = b"difyfleet\n"
# The program and the requests come on standard input: argv is short, and shows nothing. In front of it there may be a password that
# sudo did not want after all.
_BOOT = """import sys, zlib
i = sys.stdin.buffer
while i.readline() not in (b"", b"difyfleet\\n"): pass
for _ in range(int(i.readline())):
    n, s = i.readline().decode().split()
    m = sys.modules[n] = type(sys)(n)
    exec(zlib.decompress(i.read(int(s))), m.__dict__)
m.main()"""
_PYTHON = f"python3 -I -S -c {shlex.quote(_BOOT)}"
LINE = f"exec {_PYTHON}"
BROKEN = (SSHException, OSError, EOFError, ValueError)


def line_behind(sudo: str) -> str:
    """The line that starts the host's side as root. Where sudoers do not allow python3, it is started all the same, and asks sudo per read.

    Args:
        sudo: with its options.
    """
    return f"exec sh -c {shlex.quote(f'{sudo} {_PYTHON} sudo || {{ [ $? = 1 ] && exec {_PYTHON}; }}')}"


@functools.lru_cache(maxsize=64)
def _packed(code: bytes) -> bytes:
    return zlib.compress(code, 9)


@functools.lru_cache(maxsize=1)
def _program() -> bytes:
    parts = [(name.encode(), _packed(host_calls.source(name))) for name in host_calls.modules(_MAIN)]
    return b"%b%d\n" % (_START, len(parts)) + b"".join(
        b"%b %d\n%b" % (name, len(part), part) for name, part in parts
    )


class Answer(NamedTuple):
    """What the host said. status: exit status, -1 (a signal), "late", "large" or "other" (it takes another way than this channel)."""

    status: int | str
    stdout: bytes
    stderr: bytes
    at: float  # the earliest moment at which the host can have had it, by time.monotonic()


class Mux:
    """The channel. A thread (a greenlet, once gevent has patched threading) takes what comes out of it.

    Args:
        open_channel: opens an exec channel for a line.
        hello: for the host's side, see mux_script.py. Where `front` is a sudo, the host's side is started through it.

    Raises:
        SSHException, OSError, EOFError: there is no channel to be had.
    """

    def __init__(self, open_channel: Callable[[str], Any], hello: dict[str, Any]) -> None:
        front: str = hello.setdefault("front", "")
        sudo = front.removesuffix("sh -c ").rstrip() if front.startswith("sudo ") else ""
        self._nonce = secrets.token_hex(16).encode()
        self._numbers = itertools.count(1)
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._ready = False
        self._ended: Exception | None = None
        self._answers: dict[int, Answer] = {}
        self._under_way: set[int] = set()
        self._pipes: dict[int, Pipe] = {}
        self._data = bytearray()
        self._inflate: Any = None  # once the host's side packs what it says
        self._began = time.monotonic()
        self.news: dict[str, list[str]] = {}  # what calls have found out, for the next channel
        self._sent = set(host_calls.modules(_MAIN))  # scripts
        self._channel = open_channel(line_behind(sudo) if sudo else LINE)
        self._channel.settimeout(START)
        hello = {**hello, "nonce": self._nonce.decode(), "ahead": BLOCKS}
        password = hello["password"].encode() if sudo else b""
        self._channel.sendall(b"%b%b%b\n" % (password, _program(), json.dumps(hello).encode()))
        threading.Thread(target=self._listen, name="mux", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._ended is None

    def tell(self, known: dict[str, list[str]]) -> None:
        """What calls have found out in earlier channels (known_script.py).

        Raises:
            SSHException, OSError, EOFError: the channel is broken.
        """
        self._send(["known", known])

    def ask(self, reads: Iterable[Read]) -> dict[Read, int]:
        """Have reads run; their numbers, for `wait`.

        Raises:
            SSHException, OSError, EOFError: the channel is broken.
        """
        numbers = {read: next(self._numbers) for read in reads}
        self._under_way.update(numbers.values())
        self._send_scripts(numbers)
        self._send(["reads", [[number, *read] for read, number in numbers.items()]])
        return numbers

    def ask_digest(self, reads: Iterable[Read], services: Sequence[dict[str, Any]] = ()) -> int:
        """Have reads run and requests made for the digest of all their answers; a number, for `wait`: its standard output is the digest.

        Args:
            services: as for `ask_http`, each request with a `number` (see `number`); of sign-ins the answers come, too.

        Raises:
            SSHException, OSError, EOFError: the channel is broken.
        """
        ident = self.number()
        reads = list(reads)
        self._send_script("difyfleet.remote.digest_script")
        if services:
            self._send_script("difyfleet.remote.http_script")
        self._send_scripts(reads)
        self._send(["digest", ident, [[next(self._numbers), *read] for read in reads], list(services)])
        return ident

    def number(self) -> int:
        """A number for something to wait for, larger than those before."""
        number = next(self._numbers)
        self._under_way.add(number)
        return number

    def ask_http(self, services: Iterable[dict[str, Any]]) -> list[int]:
        """Have requests made (http_script.py has their form); their numbers in order, for `wait`: standard output is the body, error the head.

        Raises:
            SSHException, OSError, EOFError: the channel is broken.
        """
        services = [
            {**service, "requests": [{**each, "number": next(self._numbers)} for each in service["requests"]]}
            for service in services
        ]
        numbers = [each["number"] for service in services for each in service["requests"]]
        self._under_way.update(numbers)
        self._send_script("difyfleet.remote.http_script")
        self._send(["http", services])
        return numbers

    def wait(self, number: int, deadline: float) -> Answer | None:
        """The answer of a read; None = it will not come.

        Raises:
            TimeoutError: not until `deadline`, by time.monotonic(). It may come later.
        """
        with self._news:
            while number not in self._answers and self._ended is None:
                if not self._news.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    raise TimeoutError
            return self._answers.get(number)

    def forget(self) -> None:
        """Reads under way need not go on; their answers, and those that nobody has taken, are thrown away."""
        under_way = bool(self._under_way)
        with self._news:
            self._answers.clear()
            self._under_way.clear()
        if under_way and self.alive:
            with contextlib.suppress(*BROKEN):
                self._send(["forget"])

    def pipe(self, address: str, port: int) -> Pipe | None:
        """A pipe to a port as the host sees it; None = the host's side does not come up. A port that is closed gives a pipe that ends."""
        deadline = self._began + START
        with self._news:
            while not self._ready and self._ended is None and time.monotonic() < deadline:
                self._news.wait(max(deadline - time.monotonic(), 0))
            if not self._ready or self._ended is not None:
                return None
            ident = next(self._numbers)
            self._pipes[ident] = pipe = Pipe(self, ident)
        try:
            self._send_script("difyfleet.remote.pipes_script")
            self._send(["open", ident, address, port])
        except BROKEN:
            return None
        return pipe

    def close(self) -> None:
        """End the host's side with all that it runs."""
        self._end(EOFError("it was closed"))
        with contextlib.suppress(*BROKEN):
            self._channel.close()

    def send_to(self, ident: int, data: bytes) -> None:
        """Bytes into a pipe."""
        self._send(["data", ident, len(data)], data)

    def taken(self, ident: int, blocks: int) -> None:
        """So many blocks of a pipe were taken."""
        self._send(["more", ident, blocks])

    def close_pipe(self, ident: int) -> None:
        """Nobody wants more of it."""
        if self._pipes.pop(ident, None) is not None and self.alive:
            with contextlib.suppress(*BROKEN):
                self._send(["close", ident])

    def _send_scripts(self, reads: Iterable[Read]) -> None:
        for read in reads:
            if read.call:
                self._send_script(read.call[0])

    def _send_script(self, module: str) -> None:
        for name in host_calls.modules(module):
            if name not in self._sent:
                self._sent.add(name)
                code = _packed(host_calls.source(name))
                self._send(["code", name, len(code)], code)

    def _send(self, request: list[Any], data: bytes = b"") -> None:
        with self._sending:
            if self._ended is not None:
                raise SSHException(f"the channel has ended: {self._ended}")
            line = json.dumps(request).encode() + b"\n"
            if len(line) > PACK_FROM and not data:
                data = zlib.compress(line, 1)
                line = b'["packed", %d]\n' % len(data)
            self._channel.sendall(line + data)

    # -- what comes

    def _listen(self) -> None:
        try:
            while self._ended is None:
                self._frame()
        except BROKEN as error:
            self._end(error)
        except zlib.error as error:
            self._end(ValueError(f"the host's answers are broken: {error}"))

    def _end(self, error: Exception) -> None:
        with self._news:
            self._ended = self._ended or error
            self._news.notify_all()
        for pipe in list(self._pipes.values()):
            pipe.feed(b"")

    def _frame(self) -> None:
        head = self._head()
        if not head.startswith(self._nonce):
            if self._ready:
                raise ValueError("the host's answers are broken")
            return  # words of a login script
        kind, *words = head.split()[1:]
        if kind in (b"read", b"digest"):
            number, answer = self._answer(words) if kind == b"read" else self._digest(words)
            with self._news:
                if number in self._under_way:  # else nobody wants it any more
                    self._under_way.discard(number)
                    self._answers[number] = answer
                    self._news.notify_all()
        elif kind == b"known":
            self.news.update(json.loads(self._take(int(words[0]))))
        elif kind == b"data":
            data = self._take(int(words[1]))
            pipe = self._pipes.get(int(words[0]))
            if pipe is not None:
                pipe.feed(data)
        else:
            if words == [b"packed"]:
                self._inflate = zlib.decompressobj()
                self._data = bytearray(self._inflate.decompress(self._data))
            with self._news:
                self._ready = True
                self._news.notify_all()

    def _answer(self, words: list[bytes]) -> tuple[int, Answer]:
        number, status, seconds, out, err = words
        code = status.decode() if status in (b"late", b"large", b"other") else int(status)
        stdout, stderr = self._take(int(out)), self._take(int(err))
        return int(number), Answer(code, stdout, stderr, self._began + float(seconds))

    def _digest(self, words: list[bytes]) -> tuple[int, Answer]:
        number, digest = words
        return int(number), Answer("late" if digest == b"-" else 0, digest, b"", time.monotonic())

    def _head(self) -> bytes:
        while (end := self._data.find(b"\n")) < 0:
            self._fill()
        return self._take(end + 1)

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._fill()
        data = bytes(self._data[:size])
        del self._data[:size]
        return data

    def _fill(self) -> None:
        while True:
            try:
                data = self._channel.recv(1 << 16)
            except TimeoutError:
                continue  # those who wait have deadlines of their own
            if not data:
                raise EOFError("the host ended it")
            self._data += data if self._inflate is None else self._inflate.decompress(data)
            return


class Pipe:
    """A pipe to a port of the host, with what http.client's socket needs of a paramiko channel."""

    def __init__(self, mux: Mux, ident: int) -> None:
        self._mux, self._ident = mux, ident
        self._news = threading.Condition()
        self._data = bytearray()
        self._blocks = 0
        self._timeout: float | None = None
        self.eof_received = False
        self.closed = False

    def feed(self, data: bytes) -> None:
        """What came; nothing = the end."""
        with self._news:
            self._data += data
            self._blocks += 1
            self.eof_received = self.eof_received or not data
            self._news.notify_all()

    def recv(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            TimeoutError: nothing came in time.
        """
        with self._news:
            while not self._data and not self.eof_received:
                if not self._news.wait(self._timeout):
                    raise TimeoutError("timed out")
            data = bytes(self._data[:size])
            del self._data[:size]
            taken = 0
            if not self._data and self._blocks >= BLOCKS // 4:
                taken, self._blocks = self._blocks, 0
        if taken:
            with contextlib.suppress(*BROKEN):
                self._mux.taken(self._ident, taken)
        return data

    def sendall(self, data: bytes) -> None:
        """Bytes into it.

        Raises:
            OSError: the way to the host is broken.
        """
        try:
            self._mux.send_to(self._ident, data)
        except (SSHException, EOFError) as error:
            raise BrokenPipeError(str(error)) from error

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        return self._timeout

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._mux.close_pipe(self._ident)
