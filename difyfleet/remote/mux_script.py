"""Runs ON THE HOST (python3 >= 3.7, nothing but the standard library): many reads and pipes to local ports in one SSH exec.

Standard input: one line of JSON (see `Mux`), then requests, a JSON list a line; when it closes the controller has lost interest.

    ["packed", BYTES] and so many bytes                      a request, packed by zlib
    ["code", MODULE, BYTES] and so many bytes                a script for calls, by its name, packed
    ["known", {NAME: [STATE, FOUND]}]                        what calls have found out before (known_script.py)
    ["reads", [[NUMBER, LINE, SECONDS, ASKS, CALL], ...]]    run these; SECONDS each may take, ASKS: sudo wants the password
    ["digest", ID, READS, SERVICES]                          run and make these, and tell one digest of all their answers (digest_script.py); of
                                                             sign-ins the answer, too
    ["http", [SERVICE, ...]]                                 make these requests, the services side by side (http_script.py)
    ["forget"]                                               end all reads, also those to come
    ["open", ID, ADDRESS, PORT]   ["data", ID, BYTES] and so many bytes   ["more", ID, BLOCKS]   ["close", ID]      pipes_script.py

Standard output: `NONCE ready packed`, and from there on a zlib stream: per read `NONCE read NUMBER STATUS SECONDS BYTES BYTES` and so many bytes of its standard output
and of its standard error (STATUS is the exit status, -1 for a signal, `late`, `large` or `other`; SECONDS on this program's clock; of a request,
its body and head), and per block of a pipe `NONCE data ID BYTES` and so many bytes; none = it has ended. `NONCE known BYTES` and so many bytes
of JSON: what calls have found out. `NONCE digest ID DIGEST`; DIGEST is `-` where an answer is missing.

A read is a call of a script in this process where there is one (see host_calls.py). Else, and wherever the call gives up, it runs as sshd
would run it: by the login shell, in a session of its own, with nothing on standard input. Started by sudo, this program runs what sudo would
have run, with the environment that sudo makes; a line that does not go through the same sudo is answered by `other`.
"""

from __future__ import annotations

import _thread
import os
import pwd
import sys
import time
import zlib

from difyfleet.known_script import KNOWN, MOMENT, NEWS
from difyfleet.light_script import dumps, loads

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a read
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Tell = Callable[[int, object, bytes, bytes], None]

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-")


class _Read:
    """One read that was asked for."""

    def __init__(self, age: int, tell: Tell, number: int, line: str, seconds: float, asks: bool, call: list[str]) -> None:  # fmt: skip
        self.age, self.tell = age, tell
        self.number, self.line, self.seconds, self.asks, self.call = number, line, seconds, asks, call
        self.began = 0.0
        self.slow = False  # somebody else does its worker's work by now
        self.told = False
        self.process: Any = None


class Mux:
    """All of one controller's requests.

    Args:
        hello: `nonce`, `password`, `at_once` (reads that run side by side), `young` (seconds after which a read no longer keeps others
            waiting), `most` (bytes of an answer), `ahead` (blocks a pipe may send that nobody has taken), `front` (how lines begin that
            this program's user is to run).
    """

    def __init__(self, hello: dict[str, Any]) -> None:
        self.hello = hello
        self.nonce = hello["nonce"]
        self.began = time.monotonic()
        self.shell = os.environ.get("SHELL") or pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
        self.environment = _environment()
        self.requests = sys.stdin.buffer
        self.sudo = sys.argv[1:] == ["sudo"]
        # its own user is the one that such lines are to run as; without sudo, where sudo is wanted, there are none
        self.front = hello["front"] if self.sudo or not hello["front"].startswith("sudo ") else ""
        self._age = 0  # one more with each `forget`
        self._lock = _thread.allocate_lock()  # for all below
        self._waiting: list[_Read] = []
        self._running: list[_Read] = []
        self._workers = 0
        self._watched = False
        self._writing = _thread.allocate_lock()
        self._deflate: Any = None  # packs what is said

    def serve(self) -> None:
        """Do what is asked until standard input closes."""
        self.write(f"{self.nonce} ready packed\n".encode())
        self._deflate = zlib.compressobj(1)
        do: dict[str, Callable[..., None]] = {
            "code": self._code,
            "known": KNOWN.update,
            "reads": self._reads,
            "digest": self._digest,
            "http": self._http,
            "forget": self._forget,
        }
        for line in iter(self.requests.readline, b""):
            what, *words = loads(line.decode())
            if what == "packed":
                what, *words = loads(zlib.decompress(self.requests.read(words[0])).decode())
            if what not in do:
                from difyfleet.remote.pipes_script import Pipes

                pipes = Pipes(self.nonce, self.hello["ahead"], self.write)
                do.update(open=pipes.open, data=pipes.send, more=pipes.more, close=pipes.close)
            if what == "data":
                words[1] = self.requests.read(words[1])
            do[what](*words)
        self._forget()

    def write(self, data: bytes) -> None:
        """One whole frame."""
        with self._writing:
            if self._deflate is not None:
                data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _code(self, name: str, size: int) -> None:
        code = zlib.decompress(self.requests.read(size))
        module = sys.modules[name] = type(sys)(name)
        try:
            exec(code, module.__dict__)  # noqa: S102 - it comes from who has started this program, on the same channel
        except Exception:  # a python that does not know something in it: there are no such calls then
            module.__dict__.clear()

    # -- reads

    def _reads(self, reads: list[Any], tell: Tell | None = None) -> None:
        MOMENT[0] += 1
        with self._lock:
            self._waiting += [_Read(self._age, tell or self._tell, *read) for read in reads]
            self._hire()
            if not self._watched:
                self._watched = True
                _thread.start_new_thread(self._watch, ())

    def _tell(self, number: int, status: object, stdout: bytes, stderr: bytes) -> None:
        head = f"{self.nonce} read {number} {status} {time.monotonic() - self.began:.3f} {len(stdout)} {len(stderr)}\n"
        self.write(head.encode() + stdout + stderr)

    def _tell_news(self) -> None:
        with self._lock:
            news = {name: NEWS.pop(name) for name in list(NEWS)}
        if news:
            said = dumps(news).encode()
            self.write(f"{self.nonce} known {len(said)}\n".encode() + said)

    def _digest(self, ident: int, reads: list[Any], services: list[Any]) -> None:
        from difyfleet.remote.digest_script import of_all, of_answer, of_response

        found: dict[int, Any] = {}
        calls = {read[0]: read[4] for read in reads}
        signs_in = {
            one["number"]: one["sign_in"] is not None for each in services for one in each["requests"]
        }
        one_by_one = _thread.allocate_lock()

        def keep(number: int, status: object, stdout: bytes, stderr: bytes) -> None:
            digest = None
            if signs_in.get(number):
                self._tell(number, status, stdout, stderr)
            if isinstance(status, int):
                try:
                    if number in calls:
                        digest = of_answer(calls[number], status, stdout, stderr)
                    else:
                        digest = of_response(status, stdout, signs_in[number])
                except Exception:  # noqa: S110 - an answer that nobody expected has no short form
                    pass
            with one_by_one:
                found[number] = digest
                if len(found) < len(calls) + len(signs_in):
                    return
            answers = [found[each] for each in (*calls, *sorted(signs_in))]
            whole = "-" if None in answers else of_all(answers)
            self.write(f"{self.nonce} digest {ident} {whole}\n".encode())

        if services:
            self._http(services, keep)
        self._reads(reads, keep)

    def _http(self, services: list[Any], tell: Tell | None = None) -> None:
        from difyfleet.remote.http_script import make_requests

        age = self._age

        def told(number: int, status: object, body: bytes, head: bytes) -> None:
            if age == self._age:
                (tell or self._tell)(number, status, body, head)

        for service in services:
            arguments = (service, self.hello["most"], lambda: age != self._age, told)
            _thread.start_new_thread(make_requests, arguments)

    def _forget(self) -> None:
        with self._lock:
            self._age += 1
            self._waiting.clear()
            running = list(self._running)
        for read in running:
            _kill(read)

    def _hire(self) -> None:
        """As many workers as there is work for. The caller holds the lock."""
        for _ in range(min(self.hello["at_once"] - self._workers, len(self._waiting))):
            self._workers += 1
            _thread.start_new_thread(self._work, ())

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._workers -= 1
                    return
                read = self._waiting.pop(0)
                read.began = time.monotonic()
                self._running.append(read)
            try:
                self._answer(read)
            except Exception:  # nobody would ever hear of it: no shell, no process to be had
                self._told(read, "other")
            with self._lock:
                self._running.remove(read)
                if read.slow:
                    return

    def _watch(self) -> None:
        """While there is work: a read that takes long gets no more hands, one that takes too long is given up."""
        while True:
            time.sleep(self.hello["young"] / 4)
            now = time.monotonic()
            with self._lock:
                if not self._running and not self._waiting:
                    self._watched = False
                    return
                for read in self._running:
                    if not read.slow and now >= read.began + self.hello["young"]:
                        read.slow = True
                        self._workers -= 1
                self._hire()
                late = [read for read in self._running if now >= read.began + read.seconds]
            for read in late:
                _kill(read)
                self._told(read, "late")

    def _told(self, read: _Read, status: object, stdout: bytes = b"", stderr: bytes = b"") -> None:
        with self._lock:
            told, read.told = read.told, True
        if not told and read.age == self._age:
            read.tell(read.number, status, stdout, stderr)

    def _answer(self, read: _Read) -> None:
        mine = self.front and read.line.startswith(self.front)
        word = _word(read.line[len(self.front) :]) if mine else None
        if self.sudo and word is None:
            self._told(read, "other")
            return
        if read.call and word is not None:
            module, function, *arguments = read.call
            try:
                stdout = getattr(sys.modules[module], function)(*arguments)
                self._tell_news()
                self._told(read, 0 if len(stdout) <= self.hello["most"] else "large", stdout)
                return
            except Exception:  # noqa: S110 - it was not made for what it met: the command is
                pass
        if not read.told and read.age == self._age:
            self._run(read, word)

    def _run(self, read: _Read, word: str | None) -> None:
        import select
        import subprocess

        argv, environment = [os.path.basename(self.shell), "-c", read.line], self.environment
        if self.sudo and word is not None:
            argv = ["sh", "-c", word]
            path = environment.get(b"PATH", b"/usr/bin:/bin").split(b":")
            found = next((each + b"/sh" for each in path if os.access(each + b"/sh", os.X_OK)), b"/bin/sh")
            environment = {**environment, b"SUDO_COMMAND": b"%b -c %b" % (found, word.encode())}
            program = found.decode()
        else:
            program = self.shell
        asks = read.asks and not self.sudo
        process = read.process = subprocess.Popen(
            argv,
            executable=program,
            env=environment,
            stdin=subprocess.PIPE if asks else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        if read.told or read.age != self._age:
            _kill(read)
        if process.stdin is not None:
            try:
                process.stdin.write(self.hello["password"].encode())
                process.stdin.close()
            except OSError:  # sudo has ended already; its own words say why
                pass
        outputs = {pipe.fileno(): bytearray() for pipe in (process.stdout, process.stderr) if pipe}
        stdout, stderr = outputs.values()
        waiting = select.poll()
        for handle in outputs:
            waiting.register(handle, select.POLLIN)
        still = len(outputs)
        while still:  # until both are closed, as sshd waits for that, too
            for handle, _ in waiting.poll():
                data = os.read(handle, 65536)
                outputs[handle] += data
                if not data:
                    waiting.unregister(handle)
                    still -= 1
            if len(stdout) + len(stderr) > self.hello["most"]:
                _kill(read)
                self._told(read, "large")
                break
        status = process.wait()
        read.process = None
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        self._told(read, max(status, -1), bytes(stdout), bytes(stderr))


def _word(text: str) -> str | None:
    """What a shell makes of one word that was quoted by shlex.quote; None = it is something else."""
    if text[:1] == "'" == text[-1:] and len(text) > 1:
        whole = text[1:-1]
        return whole.replace("'\"'\"'", "'") if "'" not in whole.replace("'\"'\"'", "") else None
    return text if text and _SAFE.issuperset(text) else None


def _environment() -> dict[bytes, bytes]:
    """The environment as sshd or sudo made it: python sets LC_CTYPE in its own where the locale is C (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (pair.partition(b"=") for pair in file.read().split(b"\0"))
        return {name: value for name, _, value in pairs if name}


def _kill(read: _Read) -> None:
    """End a read with all that it started. What runs as another user is left to end by itself, as when a channel closes."""
    if read.process is not None:
        try:
            os.killpg(read.process.pid, 9)
        except OSError:
            pass


def main() -> None:
    """Serve one controller."""
    try:
        Mux(loads(sys.stdin.buffer.readline().decode())).serve()
    finally:
        os._exit(0)  # without waiting for threads
