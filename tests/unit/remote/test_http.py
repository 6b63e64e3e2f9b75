"""remote.http: requests through a channel, plain and with TLS inside, counted as what they are."""

from __future__ import annotations

import datetime
import multiprocessing
import re
import select
import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paramiko import SSHException

from difyfleet.errors import ConnectionLost
from difyfleet.remote import journal
from difyfleet.remote.http import reading, session

BIG = bytes(range(256)) * 4096 * 3  # 3 MiB


class Channel:
    """paramiko's channel as far as it is used, with a real socket behind it."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self.closed = False

    @property
    def eof_received(self) -> bool:
        readable, _, _ = select.select([self._socket], [], [], 0)
        return bool(readable) and self._socket.recv(1, socket.MSG_PEEK) == b""

    def exec_command(self, command: str) -> None:
        target = re.search(r"/dev/tcp/([\w.]+)/(\d+)", command)
        assert target
        try:
            self._socket.connect((target[1], int(target[2])))
        except OSError:
            self._socket.close()
            self._socket, other = socket.socketpair()
            other.close()  # what bash does when nobody listens

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size)

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def gettimeout(self) -> float | None:
        return self._socket.gettimeout()

    def close(self) -> None:
        self.closed = True
        self._socket.close()


class Host:
    """pyinfra's host with a connection that only opens channels."""

    name = "llm"

    def __init__(self) -> None:
        self.opened: list[Channel] = []
        self.connector_data: dict[str, Any] = {}
        self.host = self
        self.connector = self
        self.client = self
        self.connected = True

    def require_connection(self, cause: object = None) -> None:
        if not self.connected:
            raise ConnectionLost(f"the SSH connection was lost ({cause})", where=self.name)

    def operation_name(self) -> str | None:
        return "documents"

    def get_transport(self) -> Host:
        return self

    def open_session(self, timeout: float) -> Channel:
        if not self.connected:
            raise SSHException("SSH session not active")
        self.opened.append(Channel())
        return self.opened[-1]


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(BIG if self.path == "/big" else b"hello")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for a name that is not 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dify.example.com")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "crt.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "crt.pem", folder / "key.pem"


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(tmp_path))
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    # a process of its own: once gevent has patched threading, a TLS handshake in here would wait for itself
    process = multiprocessing.get_context("fork").Process(target=httpd.serve_forever, daemon=True)
    process.start()
    yield f"{request.param}://127.0.0.1:{httpd.server_port}"
    process.kill()
    process.join()
    httpd.server_close()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[journal.Journal]:
    yield journal.use(tmp_path / "journal.jsonl")
    journal.use(None)


@pytest.mark.filterwarnings("error::urllib3.exceptions.InsecureRequestWarning")
def test_one_connection_carries_everything(server: str, book: journal.Journal) -> None:
    host = Host()
    assert session(host) is session(host)
    for _ in range(3):
        assert session(host).get(f"{server}/").text == "hello"
    assert session(host).get(f"{server}/big").content == BIG
    assert session(host).post(f"{server}/", data=BIG).content == BIG
    assert len(host.opened) == 1


def test_what_only_asks_is_a_read(server: str, book: journal.Journal) -> None:
    host = Host()
    session(host).get(f"{server}/?token=secret")
    with reading():
        session(host).post(f"{server}/login", data=b"x")
    session(host).post(f"{server}/change", data=b"x")
    calls = [(entry["kind"], entry["what"]) for entry in book.entries() if entry["via"] == "http"]
    assert calls == [
        ("read", f"GET {server}/"),
        ("read", f"POST {server}/login"),
        ("change", f"POST {server}/change"),
    ]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_listens(scheme: str, book: journal.Journal) -> None:
    with pytest.raises(requests.ConnectionError, match="llm: no answer from"):
        session(Host()).get(f"{scheme}://127.0.0.1:9/", timeout=5)


def test_a_lost_connection_is_not_a_service_that_is_not_there_yet(book: journal.Journal) -> None:
    """Whoever waits for Dify asks again after a ConnectionError: a run whose connection was gone asked for a minute and a half."""
    host = Host()
    host.connected = False
    with pytest.raises(ConnectionLost, match="SSH session not active"):
        session(host).get("http://127.0.0.1:80/", timeout=5)
