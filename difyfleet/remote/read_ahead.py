"""Read-ahead: what a run is going to read of a host is asked for in ONE exec, and each read then finds its answer there.

Which reads these will be is learned from the last run of the same deploy. On the host they are run by read_ahead_script.py, the way
sshd would have run each of them, and their answers come as they are ready. Nothing is decided by it: whatever was not foreseen, is not
fresh, or cannot be given exactly as without it (binary or very large output, a host without python3) is an exec of its own.

An answer is void as soon as a change goes out (remote/changes.py), at the end of the phase, and after FRESH seconds. It is given as often
as the last run asked for it, and again only for AGAIN seconds: a loop that waits for something is not fed with the past.
"""

from __future__ import annotations

import json
import secrets
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from paramiko import SSHException
from pyinfra import logger
from pyinfra.connectors.util import CommandOutput, OutputLine

from difyfleet.remote import journal
from difyfleet.remote.learned_reads import Learned, Read
from difyfleet.secrets import Secret

FRESH = 300.0  # seconds an answer may be old, counted from the moment the host had it at the earliest
AGAIN = 30.0  # seconds after it was given first during which it may be given again
AT_ONCE = 4  # reads that run side by side on the host
YOUNG = 1.0  # seconds after which a read no longer keeps another one waiting: one that hangs blocks nobody
MOST = 4 << 20  # bytes of an answer; a larger one is fetched by an exec of its own
SEND_TIMEOUT = 60.0  # seconds until the host has taken the request
MOST_ASKED = 1 << 20  # bytes of all commands of one request
_SCRIPT = Path(__file__).with_name("read_ahead_script.py")
# the program and the request come on standard input: argv is short, and shows nothing
_BOOT = "import sys; i = sys.stdin.buffer; exec(i.read(int(i.readline())))"
LINE = f"exec python3 -I -S -c {shlex.quote(_BOOT)}"


class Answer(NamedTuple):
    """What the host said. status: exit status, -1 (a signal), "late" or "large"."""

    status: int | str
    stdout: bytes
    stderr: bytes
    fresh_until: float  # by time.monotonic()


class ReadAhead:
    """The answers of one host.

    Args:
        name: the host's, for the journal.
        open_channel: opens an exec channel for a line.
        learned: where to learn from and to.
    """

    def __init__(self, name: str, open_channel: Callable[[str], Any], learned: Learned) -> None:
        self._name, self._open, self._learned = name, open_channel, learned
        self._lock = threading.Lock()
        self._phase: str | None = None
        self._asked: Counter[Read] = Counter()  # in this phase so far; keeps their order
        self._left: Counter[Read] = Counter()  # how often each answer may still be given
        self._sent: list[Read] = []
        self._answers: dict[Read, Answer] = {}
        self._first_given: dict[Read, float] = {}
        self._frames: _Frames | None = None

    def begin(self, phase: str) -> None:
        """From here on reads are expected to be those that the last run made in this phase."""
        self.drop()
        self._phase, self._asked, self._left = phase, Counter(), self._learned.load(phase)
        self._sent = []
        self._first_given.clear()

    def end(self, *, learn: bool) -> None:
        """The phase is over.

        Args:
            learn: it went to its end, so that its reads are what the next run will need.
        """
        self.drop()
        if self._phase is not None and learn:
            try:
                self._learned.save(self._phase, self._asked)
            except OSError as error:  # a full disk: the next run does without
                logger.debug("what was read of %s is not remembered: %s", self._name, error)
        self._phase = None

    def drop(self) -> None:
        """Throw all answers away, also those to come. Nothing more is read ahead in this phase."""
        self._left.clear()
        self._answers.clear()
        self._hang_up()

    @property
    def busy(self) -> bool:
        """Whether its channel is open."""
        return self._frames is not None

    def answer(self, read: Read, password: Secret | None = None) -> tuple[int, CommandOutput] | None:
        """The exit status and output of a read, or None: it has to be run.

        Args:
            password: what sudo asks for.

        Raises:
            TimeoutError: it took longer than it may, on the host or to get here.
        """
        if self._phase is None:
            return None
        with self._lock:
            self._asked[read] += 1
            if self._left[read] <= 0:
                return None
            if not self._sent:
                self._send(password)
            found = self._wait(read)
            self._left[read] -= 1
        now = time.monotonic()
        if found is None or min(found.fresh_until, self._first_given.setdefault(read, now) + AGAIN) < now:
            return None
        if found.status == "late":
            raise TimeoutError(f"no answer within {read.timeout} s")
        lines = _lines(found)
        return (
            None if lines is None or isinstance(found.status, str) else (found.status, CommandOutput(lines))
        )

    def _send(self, password: Secret | None) -> None:
        self._sent = list(_bounded(read for read in self._left if password is not None or not read.asks))
        request = {
            "nonce": (nonce := secrets.token_hex(16)),
            "reads": self._sent,
            "password": f"{password.reveal()}\n" if password is not None else "",
            "at_once": AT_ONCE,
            "young": YOUNG,
            "most": MOST,
        }
        program = _SCRIPT.read_bytes()
        book = journal.current()
        book.write(self._name, journal.READ, "exec", f"read ahead: {len(self._sent)} commands")
        for read in self._sent:
            book.write(self._name, journal.READ, "ahead", read.line)
        began = time.monotonic()
        try:
            channel = self._open(LINE)
            channel.settimeout(SEND_TIMEOUT)
            self._frames = _Frames(channel, nonce, began)
            channel.sendall(b"%d\n%b%b\n" % (len(program), program, json.dumps(request).encode()))
        except (SSHException, OSError, EOFError) as error:
            self._without(error)

    def _wait(self, read: Read) -> Answer | None:
        deadline = time.monotonic() + read.timeout
        while read not in self._answers and self._frames is not None:
            try:
                frame = self._frames.next(deadline)
            except TimeoutError:
                raise TimeoutError(f"no answer within {read.timeout} s") from None
            except (SSHException, OSError, EOFError, ValueError) as error:
                self._without(error)
                return None
            if frame is None:
                self._hang_up()
            else:
                number, self._answers[self._sent[number]] = frame
        return self._answers.get(read)

    def _without(self, error: Exception) -> None:
        logger.debug("no reading ahead on %s: %s", self._name, error or type(error).__name__)
        self.drop()

    def _hang_up(self) -> None:
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()


class _Frames:
    """The answers that come out of a channel, see read_ahead_script.py."""

    def __init__(self, channel: Any, nonce: str, began: float) -> None:
        self._channel, self._nonce, self._began = channel, nonce.encode(), began
        self._data = bytearray()
        self._found_first = False

    def next(self, deadline: float) -> tuple[int, Answer] | None:
        """The next read's number and answer; None = there are no more. When it raises TimeoutError it may be called again.

        Raises:
            TimeoutError: none until `deadline`, by time.monotonic().
            EOFError, ValueError: the other end is gone, or says something else.
        """
        while not (head := self._head(deadline)).startswith(self._nonce):
            if self._found_first:
                raise ValueError("the host's answers are broken")
            del self._data[: len(head)]  # words of a login script
        self._found_first = True
        words = head.split()[1:]
        if words == [b"end"]:
            return None
        number, status, seconds, out, err = words
        start, middle = len(head), len(head) + int(out)
        end = middle + int(err)
        self._fill(end, deadline)
        stdout, stderr = bytes(self._data[start:middle]), bytes(self._data[middle:end])
        del self._data[:end]
        code = status.decode() if status in (b"late", b"large") else int(status)
        return int(number), Answer(code, stdout, stderr, self._began + float(seconds) + FRESH)

    def close(self) -> None:
        self._channel.close()

    def _head(self, deadline: float) -> bytes:
        while (end := self._data.find(b"\n")) < 0:
            self._fill(len(self._data) + 1, deadline)
        return bytes(self._data[: end + 1])

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            data = self._channel.recv(1 << 16)
            if not data:
                raise EOFError("the host ended it")
            self._data += data


def _bounded(reads: Iterator[Read]) -> Iterator[Read]:
    """As many as fit into one request."""
    size = 0
    for read in reads:
        size += len(read.line.encode())
        if size > MOST_ASKED:
            return
        yield read


def _lines(answer: Answer) -> list[OutputLine] | None:
    """The outputs as paramiko and pyinfra make lines of them; None = not text."""
    try:
        texts = {"stdout": answer.stdout.decode(), "stderr": answer.stderr.decode()}
    except UnicodeDecodeError:
        return None
    return [
        OutputLine(name, line)
        for name, text in texts.items()
        if text
        for line in text.removesuffix("\n").split("\n")
    ]
