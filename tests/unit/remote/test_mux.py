"""remote.mux: pipes to ports of a host, in the channel that also carries reads."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from difyfleet.remote import digest_script, journal
from difyfleet.remote.http import ExecTunnelAdapter
from difyfleet.remote.learned_reads import Learned, Read
from difyfleet.remote.mux import Mux, Pipe
from difyfleet.remote.read_ahead import ReadAhead
from difyfleet.remote.reading import reading
from tests.unit.remote.channel import Channel

HELLO = {"password": "", "at_once": 4, "young": 1.0, "most": 1 << 20}
ENVIRONMENT = {"SHELL": "/bin/bash", "PATH": "/usr/bin:/bin", "HOME": "/"}
SOON = 20.0  # seconds that something may take on a busy machine


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path) -> None:
    journal.use(tmp_path / "journal.jsonl")


@pytest.fixture
def mux() -> Iterator[Mux]:
    mux = Mux(lambda line: Channel(line, ENVIRONMENT, apart=True), HELLO)
    yield mux
    mux.close()


class Echo(socketserver.BaseRequestHandler):
    """Says all back, and `more` times a block of x first."""

    more = 0

    def handle(self) -> None:
        for _ in range(type(self).more):
            self.request.sendall(b"x" * 65536)
        while data := self.request.recv(65536):
            self.request.sendall(data)


@pytest.fixture
def port() -> Iterator[int]:
    Echo.more = 0
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def pipe_to(mux: Mux, port: int) -> Pipe:
    pipe = mux.pipe("127.0.0.1", port)
    assert pipe is not None
    pipe.settimeout(SOON)
    return pipe


def whole(pipe: Pipe, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := pipe.recv(1 << 16)):
        data += more
    return data


def test_bytes_come_back_as_they_were_sent_also_many(mux: Mux, port: int) -> None:
    pipe = pipe_to(mux, port)
    data = os.urandom(3_000_000)
    sender = threading.Thread(
        target=lambda: [pipe.sendall(data[at : at + 99_999]) for at in range(0, 3_000_000, 99_999)]
    )
    sender.start()
    assert whole(pipe, len(data)) == data
    sender.join()


def test_two_pipes_and_a_read_side_by_side(mux: Mux, port: int) -> None:
    one, two = pipe_to(mux, port), pipe_to(mux, port)
    numbers = mux.ask([Read("echo three", 10)])
    two.sendall(b"two")
    one.sendall(b"one")
    assert (whole(one, 3), whole(two, 3)) == (b"one", b"two")
    answer = mux.wait(numbers[Read("echo three", 10)], time.monotonic() + SOON)
    assert answer is not None
    assert answer.stdout == b"three\n"


def test_a_pipe_that_nobody_empties_keeps_nobody_waiting(
    mux: Mux, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "more", 200)
    full = pipe_to(mux, port)
    read = Read("echo one", 10)
    assert mux.wait(mux.ask([read])[read], time.monotonic() + SOON) is not None
    assert len(full._data) <= 64 * 65536, "the host's side waits with the rest"
    assert whole(full, 200 * 65536) == b"x" * 200 * 65536


def test_a_closed_port_ends_at_once(mux: Mux, port: int) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), Echo) as server:
        closed = server.server_address[1]
    pipe = pipe_to(mux, closed)
    pipe.sendall(b"anybody there?")
    assert pipe.recv(100) == b""
    assert pipe.eof_received


def test_nothing_for_a_while_is_a_time_out(mux: Mux, port: int) -> None:
    pipe = pipe_to(mux, port)
    pipe.settimeout(0.05)
    with pytest.raises(TimeoutError):
        pipe.recv(1)


def test_when_the_channel_ends_so_do_its_pipes(mux: Mux, port: int) -> None:
    pipe = pipe_to(mux, port)
    pipe.sendall(b"one")
    assert whole(pipe, 3) == b"one"

    os.kill(mux._channel.process.pid, signal.SIGKILL)
    assert pipe.recv(1) == b""
    assert mux.pipe("127.0.0.1", port) is None
    with pytest.raises(BrokenPipeError):
        pipe.sendall(b"two")


def test_the_host_hangs_up_when_the_controller_does(mux: Mux) -> None:
    ended = threading.Event()

    class Server(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello")
            while self.request.recv(100):
                pass
            ended.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        pipe = pipe_to(mux, server.server_address[1])
        assert whole(pipe, 5) == b"hello"
        pipe.close()
        assert ended.wait(SOON)
        ended.clear()
        assert whole(pipe_to(mux, server.server_address[1]), 5) == b"hello"
        mux.close()
        assert ended.wait(SOON)
        server.shutdown()


# -- requests ---------------------------------------------------------------------------------------------------------


def reads(*lines: str, timeout: float = SOON) -> list[Read]:
    return [Read(line, timeout) for line in lines]


def digest_of(mux: Mux, asked: list[Read]) -> str:
    answer = mux.wait(mux.ask_digest(asked), time.monotonic() + SOON)
    assert answer is not None
    return answer.stdout.decode()


def test_the_digest_is_that_of_the_answers_in_their_order(mux: Mux) -> None:
    asked = reads("printf 'a\\0b'", "echo out; echo err >&2; exit 3", "sleep 0.2; echo slow")
    answers = [mux.wait(number, time.monotonic() + SOON) for number in mux.ask(asked).values()]
    expected = digest_script.of_all(
        [digest_script.of_answer((), int(one.status), one.stdout, one.stderr) for one in answers if one]
    )
    assert digest_of(mux, asked) == expected
    assert digest_of(mux, asked[::-1]) != expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("echo a", "echo b"), ("echo a", "echo a >&2"), ("echo a", "echo a; false"), ("printf a", "echo a")],
)
def test_another_output_or_status_is_another_digest(mux: Mux, one: str, other: str) -> None:
    assert digest_of(mux, reads("true", one)) != digest_of(mux, reads("true", other))


def test_there_is_no_digest_where_an_answer_is_missing(mux: Mux) -> None:
    assert digest_of(mux, [*reads("true"), *reads("sleep 60", timeout=0.3)]) == "-"
    assert digest_of(mux, reads("true", "head -c 2000000 /dev/zero")) == "-"
    assert digest_of(mux, reads("true")) != "-", "the channel goes on"


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Door:
    """As much of a door as HTTP needs."""

    def __init__(self, folder: Path) -> None:
        self.host, self.name, self.sudo_password = self, "llm", None
        self.lines: list[str] = []
        self.ahead = ReadAhead("llm", self.open, Learned(folder / "learned.json", "digest"))

    def open(self, line: str) -> Channel:
        self.lines.append(line)
        return Channel(line, ENVIRONMENT, apart=True)

    def operation_name(self) -> None:
        return None


def test_requests_and_reads_are_one_exec(tmp_path: Path) -> None:
    door = Door(tmp_path)
    session = requests.Session()
    session.mount("http://", ExecTunnelAdapter(door))
    read = Read("echo one", 10)
    door.ahead._learned.save("checks", {read: 1})  # type: ignore[arg-type]
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        door.ahead.begin("checks")
        with reading():
            assert [session.get(f"{base}/{number}", timeout=SOON).text for number in range(3)] == [
                "/0",
                "/1",
                "/2",
            ]
            assert door.ahead.answer(read) is not None
        door.ahead.end(learn=True)
        door.ahead.begin("more checks")
        assert session.get(f"{base}/later", timeout=SOON).text == "/later", "the connection is kept"
        server.shutdown()
    door.ahead.close()
    assert len(door.lines) == 1
    assert journal.current().count("llm", None, "exec") == 1
