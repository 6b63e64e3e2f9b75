"""Read-ahead: what a run is going to read of a host is asked for in ONE exec, and each read then finds its answer there.

Which reads these will be is learned from the last run of the same deploy. On the host they are run by mux_script.py, the way
sshd would have run each of them, and their answers come as they are ready. HTTP to the host's services goes through the same
channel. Nothing is decided by it: whatever was not foreseen, is not fresh, or cannot be given exactly as without it (binary or very
large output, a host without python3) is an exec of its own.

An answer is void as soon as a change goes out (remote/changes.py), at the end of the phase, and after FRESH seconds. It is given as often
as the last run asked for it, and again only for AGAIN seconds: a loop that waits for something is not fed with the past.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pyinfra import logger
from pyinfra.connectors.util import CommandOutput, OutputLine
from requests import PreparedRequest, Response

from difyfleet.remote import digest_script, journal
from difyfleet.remote.learned_reads import Learned, Read
from difyfleet.remote.mux import BROKEN, Answer, Mux, Pipe
from difyfleet.remote.requests_ahead import RequestsAhead
from difyfleet.secrets import Secret

FRESH = 300.0  # seconds an answer may be old, counted from the moment the host had it at the earliest
AGAIN = 30.0  # seconds after it was given first during which it may be given again
AT_ONCE = 4  # reads that run side by side on the host
YOUNG = 1.0  # seconds after which a read no longer keeps another one waiting: one that hangs blocks nobody
MOST = 4 << 20  # bytes of an answer; a larger one is fetched by an exec of its own
MOST_ASKED = 1 << 20  # bytes of all commands of one request


class Evidence(NamedTuple):
    """What a phase was decided by, as digests: of the reads, and of all their answers."""

    reads: str
    answers: str


class ReadAhead:
    """The answers of one host.

    Args:
        name: the host's, for the journal.
        open_channel: opens an exec channel for a line.
        learned: where to learn from and to.
        front: how lines begin that the host's side is to run itself, see mux_script.py.
        requests: HTTP reads that are made with them; None = none are.
    """

    def __init__(
        self,
        name: str,
        open_channel: Callable[[str], Any],
        learned: Learned,
        front: Callable[[], str] = lambda: "",
        requests: RequestsAhead | None = None,
    ) -> None:
        self._name, self._open, self._learned, self._front = name, open_channel, learned, front
        self._lock = threading.Lock()
        self._phase: str | None = None
        self._asked: Counter[Read] = Counter()  # in this phase so far; keeps their order
        self._left: Counter[Read] = Counter()  # how often each answer may still be given
        self._numbers: dict[Read, int] | None = None  # of those that were sent
        self._first_given: dict[Read, float] = {}
        self._answers: dict[Read, bytes] = {}  # digests of those that were given in this phase
        self._besides = False  # something else was asked in it
        self.evidence: Evidence | None = None
        self._changed = False
        self.requests = requests
        self._mux: Mux | None = None
        self._off = False  # this host cannot do it

    def begin(self, phase: str, like: str = "", *, sign_in: bool = True) -> None:
        """From here on reads are expected to be those that the last run made in this phase.

        Args:
            like: a phase with much the same reads, for the first time.
            sign_in: whether the host may sign in to its services ahead.
        """
        self._void()
        if self.requests is not None:
            self.requests.begin(phase, like, sign_in=sign_in)
        self._phase, self._asked = phase, Counter()
        self._left = self._learned.load(phase) or self._learned.load(like)
        self._changed = self._besides = False
        self._first_given.clear()
        self._answers.clear()
        self.evidence = None

    def asked_besides(self) -> None:
        """Something was asked of the host that is not among the answers of this phase."""
        self._besides = True

    def end(self, *, learn: bool) -> None:
        """The phase is over.

        Args:
            learn: it went to its end, so that its reads are what the next run will need, if nothing was changed in it.
        """
        if self._phase is not None and learn and not self._changed:
            self._remember(self._asked)
        self.evidence = self._decided_by() if learn and not self._changed and not self._besides else None
        self._void()
        self._phase = None

    def _decided_by(self) -> Evidence | None:
        requests = self.requests.digests() if self.requests is not None else ([], [])
        if requests is None or any(read not in self._answers for read in self._asked):
            return None
        answers = [*(self._answers[read] for read in self._asked), *requests[1]]
        return Evidence(self._learned.of(self._asked, requests[0]), digest_script.of_all(answers))

    def _remember(self, asked: Counter[Read] | None = None) -> None:
        try:
            if asked is not None and self._phase is not None:
                self._learned.save(self._phase, asked)
                if self.requests is not None:
                    self.requests.end(self._phase)
            if self._mux is not None and self._mux.news:
                news, self._mux.news = self._mux.news, {}
                self._learned.keep_known(news)
        except OSError as error:  # a full disk: the next run does without
            logger.debug("what was read of %s is not remembered: %s", self._name, error)

    def drop(self) -> None:
        """Something is changed: throw all answers away, also those to come. Nothing more is read ahead in this phase."""
        self._changed = True
        self._void()

    def _void(self) -> None:
        self._left.clear()
        self._numbers = None
        if self.requests is not None:
            self.requests.void(self._mux)
        if self._mux is not None:
            self._mux.forget()

    def close(self) -> None:
        """End it for good: the connection ends, or its channel is in the way."""
        self._off = True
        self._void()
        if self._mux is not None:
            self._mux.close()

    @property
    def busy(self) -> bool:
        """Whether its channel is open."""
        return self._mux is not None and self._mux.alive

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
            if self._left[read] <= 0 or (mux := self._channel(password)) is None:
                return None
            if self._numbers is None:
                self._numbers = self._send(mux, password)
            number = self._numbers.get(read)
            if number is None:
                return None
            found = self._wait(mux, number, read.timeout)
            self._left[read] -= 1
        now = time.monotonic()
        if found is None or min(found.at + FRESH, self._first_given.setdefault(read, now) + AGAIN) < now:
            return None
        given = _given(found, read)
        if given is not None:
            with contextlib.suppress(Exception):  # an answer that nobody expected has no short form
                self._answers[read] = digest_script.of_answer(read.call, given[0], found.stdout, found.stderr)
        return given

    def digest(self, phase: str, password: Secret | None = None) -> Evidence | None:
        """What the reads and requests that were learned for a phase give now, told as one digest by the host; None = it cannot be told.

        Raises:
            TimeoutError: it took longer than the slowest read may, or the answer did not get here.
        """
        reads = list(self._learned.load(phase))
        if len(list(_bounded(iter(reads)))) < len(reads):
            return None
        if any(read.asks for read in reads) and password is None:
            return None
        if (mux := self._channel(password)) is None:
            return None
        requests = self.requests.for_digest(phase, mux.number) if self.requests is not None else ({}, [])
        if requests is None:
            return None
        numbers, services = requests
        if not reads and not numbers:
            return None
        what = f"digest of the {len(reads)} reads and {len(numbers)} requests of {phase}"
        journal.current().write(self._name, journal.READ, "ahead", what)
        try:
            number = mux.ask_digest(reads, services)
        except BROKEN as error:
            self._without(error)
            return None
        try:
            answer = self._wait(
                mux, number, max([read.timeout for read in reads] + [asked.seconds for asked in numbers])
            )
        finally:
            if self.requests is not None:
                self.requests.told(mux, numbers)
        self._remember()
        if answer is None or answer.status != 0:
            return None
        return Evidence(self._learned.of(reads, numbers), answer.stdout.decode())

    def respond(
        self, request: PreparedRequest, seconds: float, password: Secret | None = None
    ) -> Response | None:
        """The answer to an HTTP read, or None: it has to be made.

        Args:
            seconds: that it may be without a byte.

        Raises:
            requests.ReadTimeout, requests.ConnectionError: what the host got instead.
        """
        if self._phase is None or self.requests is None:
            return None
        asked = self.requests.foreseen(request, seconds)
        if asked is None or (mux := self._channel(password)) is None:
            return None
        with self._lock:
            if self._numbers is None:
                self._numbers = self._send(mux, password)
        return self.requests.answer(mux, request, asked, FRESH, AGAIN)

    def responded(self, request: PreparedRequest, response: Response) -> None:
        """A request was made besides, and answered."""
        if self.requests is not None:
            self.requests.learn(request, response)

    def ask(self, read: Read, password: Secret | None = None) -> tuple[int, CommandOutput] | None:
        """Have a read run now, in the channel that is open: for a host that gives no second one. None = that cannot be.

        Raises:
            TimeoutError: as `answer`.
        """
        if (mux := self._channel(password)) is None:
            return None
        try:
            number = mux.ask([read])[read]
        except BROKEN as error:
            self._without(error)
            return None
        found = self._wait(mux, number, read.timeout)
        return _given(found, read) if found is not None else None

    def pipe(self, address: str, port: int, password: Secret | None = None) -> Pipe | None:
        """A pipe to a port of the host in the same channel; None = it has to be opened otherwise."""
        if self._phase is None or (mux := self._channel(password)) is None:
            return None
        return mux.pipe(address, port)

    def _channel(self, password: Secret | None) -> Mux | None:
        """The open channel, opened at first use; once it has ended, there is no other."""
        if self._mux is None and not self._off:
            hello = {
                "password": f"{password.reveal()}\n" if password is not None else "",
                "at_once": AT_ONCE,
                "young": YOUNG,
                "most": MOST,
                "front": self._front(),
            }
            journal.current().write(self._name, journal.READ, "exec", "channel for reads and requests")
            try:
                self._mux = Mux(self._open, hello)
                self._mux.tell(self._learned.known())
            except BROKEN as error:
                self._without(error)
        return self._mux if self.busy and not self._off else None

    def _send(self, mux: Mux, password: Secret | None) -> dict[Read, int]:
        reads = list(_bounded(read for read in self._left if password is not None or not read.asks))
        for read in reads:
            journal.current().write(self._name, journal.READ, "ahead", read.line)
        try:
            if self.requests is not None:
                self.requests.send(mux)
            return mux.ask(reads)
        except BROKEN as error:
            self._without(error)
            return {}

    def _wait(self, mux: Mux, number: int, timeout: float) -> Answer | None:
        try:
            return mux.wait(number, time.monotonic() + timeout)
        except TimeoutError:
            raise TimeoutError(f"no answer within {timeout} s") from None

    def _without(self, error: Exception) -> None:
        logger.debug("no reading ahead on %s: %s", self._name, error or type(error).__name__)
        self.close()


def _bounded(reads: Iterator[Read]) -> Iterator[Read]:
    """As many as fit into one request."""
    size = 0
    for read in reads:
        size += len(read.line.encode())
        if size > MOST_ASKED:
            return
        yield read


def _given(answer: Answer, read: Read) -> tuple[int, CommandOutput] | None:
    """An answer as the door gives it; None = the host cannot give it in this way."""
    if answer.status == "late":
        raise TimeoutError(f"no answer within {read.timeout} s")
    lines = _lines(answer)
    return None if lines is None or isinstance(answer.status, str) else (answer.status, CommandOutput(lines))


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
