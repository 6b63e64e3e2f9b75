"""remote.requests_ahead: requests made on the host give what each gives by itself, and are never made twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from difyfleet.remote import journal, read_ahead
from difyfleet.remote.changes import about_to_change
from difyfleet.remote.http import ExecTunnelAdapter
from difyfleet.remote.learned_reads import Learned
from difyfleet.remote.learned_requests import Asked, LearnedRequests, SignIn
from difyfleet.remote.read_ahead import ReadAhead
from difyfleet.remote.reading import reading
from difyfleet.remote.requests_ahead import RequestsAhead
from difyfleet.secrets import Secret
from tests.unit.remote import test_http
from tests.unit.remote.channel import Channel

ENVIRONMENT = {"SHELL": "/bin/bash", "PATH": "/usr/bin:/bin", "HOME": "/"}
SOON = 20.0  # seconds that something may take on a busy machine
PHASE = "converge"


class Service(BaseHTTPRequestHandler):
    """A service with an account, as Dify's: a token per sign-in, and a page that shows what was asked."""

    protocol_version = "HTTP/1.1"
    password = "right-canary-7731"
    asked: Counter[str]
    tokens: list[str]
    value = "as it was"
    broken = False
    release: threading.Event

    def do_GET(self) -> None:
        self.count()
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer: x\r\n\r\n")
        elif self.path == "/until-the-end":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"all of it")
            self.close_connection = True
        elif self.path == "/large":
            self.say(200, "x" * 200_000)
        elif self.path == "/stream":
            self.say(200, "data: 1\n\n", ("Content-Type", "text/event-stream"))
        elif self.path == "/moved":
            self.say(302, "", ("Location", "/value"))
        elif self.path == "/nothing":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/cookie":
            self.say(200, "ümlaut", ("Set-Cookie", "a=b; Path=/"), ("Set-Cookie", "c=d; Path=/"))
        elif self.path.startswith("/hangs-up"):
            self.say(200, "and says nothing of it")
            self.close_connection = True
        elif self.path == "/down":
            self.say(503, "not yet")
        elif self.path == "/missing":
            self.say(404, '{"code": "missing"}')
        elif self.path == "/hangs":
            self.release.wait(SOON)
            self.say(200, "late")
        elif self.path == "/breaks":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"not all")
            self.close_connection = True
        elif self.path.startswith("/own"):
            known = self.headers.get("Authorization", "") in [f"Bearer {token}" for token in self.tokens]
            self.say(200 if known else 401, f"{self.path} {type(self).value}")
        else:
            self.say(200, f"{self.path} {type(self).value}")

    def do_POST(self) -> None:
        self.count()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/login" and type(self).broken:
            self.say(500, "crashed")
        elif self.path == "/login" and body["password"] == type(self).password:
            self.tokens.append(f"token-canary-{len(self.tokens)}")
            self.say(200, json.dumps({"data": {"access_token": self.tokens[-1]}}))
        elif self.path == "/login":
            self.say(401, '{"code": "mismatch"}')
        else:
            self.say(200, "done")

    def count(self) -> None:
        self.asked[f"{self.command} {self.path}"] += 1
        agent = self.headers.get("User-Agent", "")
        assert agent == requests.utils.default_user_agent()

    def say(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path) -> None:
    journal.use(tmp_path / "journal.jsonl")


@pytest.fixture
def service() -> Iterator[str]:
    Service.asked, Service.tokens, Service.release = Counter(), [], threading.Event()
    Service.value, Service.password = "as it was", "right-canary-7731"
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        Service.release.set()
        server.shutdown()


class Host:
    """A host whose sshd is a local bash, as one run after another sees it."""

    name = "llm"
    sudo_password = None

    def __init__(self, folder: Path) -> None:
        self.host = self
        self.given: str | None = "right-canary-7731"
        self.kept = folder / "kept"
        self.note = folder / "refused"
        self.requests = LearnedRequests(folder / "llm.requests.json", "digest")
        self.reads = Learned(folder / "llm.json", "digest")
        self.new_run()

    def new_run(self) -> None:
        """Another process: nothing is known but what was written down."""
        self.sign_in = SignIn(
            "admin",
            "/login",
            "password",
            ("data", "access_token"),
            lambda: Secret(self.given) if self.given else None,
            str(self.kept),
            (str(self.note),),
        )
        ahead = RequestsAhead("llm", self.requests, [self.sign_in])
        self.ahead = ReadAhead("llm", self.open, self.reads, requests=ahead)
        self.session = requests.Session()
        self.session.mount("http://", ExecTunnelAdapter(self))

    def open(self, line: str) -> Channel:
        return Channel(line, ENVIRONMENT, apart=True)

    def operation_name(self) -> None:
        return None

    def require_connection(self, cause: object = None) -> None:
        pass

    def get(self, url: str, token: str = "", timeout: float = SOON) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.session.get(url, headers=headers, timeout=timeout, allow_redirects=False)

    def log_in(self, base: str, password: str = "") -> requests.Response:
        body = {"email": "a@b.c", "password": password or self.given, "remember_me": True}
        with reading():
            return self.session.post(f"{base}/login", json=body, timeout=SOON)

    def run(self, base: str, *paths: str) -> list[str]:
        """One whole run: sign in, then GETs with the token; what was answered."""
        self.new_run()
        self.ahead.begin(PHASE)
        answer = self.log_in(base)
        said = [answer.text]
        if answer.status_code == 200:
            token = answer.json()["data"]["access_token"]
            said += [self.get(base + path, token).text for path in paths]
        self.ahead.end(learn=answer.status_code == 200)
        self.ahead.close()
        return said


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.ahead.close()


def ways() -> Counter[str]:
    """How requests were made since the journal began."""
    return Counter(entry["via"] for entry in journal.current().entries())


def plain(answer: requests.Response) -> tuple[Any, ...]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("Date", "Connection")}
    return (
        answer.status_code,
        answer.reason,
        answer.content,
        answer.text,
        headers,
        answer.url,
        answer.encoding,
        answer.ok,
        dict(answer.cookies),
    )


PLAIN = ["/value", "/value?a=b&c=%20d", "/chunked", "/until-the-end", "/nothing", "/missing", "", "/cookie"]


def test_each_answer_is_what_the_request_gives_by_itself(host: Host, service: str) -> None:
    host.ahead.begin(PHASE)
    alone = [plain(host.get(service + path)) for path in PLAIN]
    host.ahead.end(learn=True)
    host.ahead.close()
    jar = dict(host.session.cookies)
    before = ways()["http"]
    host.new_run()
    host.ahead.begin(PHASE)
    assert [plain(host.get(service + path)) for path in PLAIN] == alone
    assert dict(host.session.cookies) == jar == {"a": "b", "c": "d"}
    assert ways()["http"] == before
    host.get(f"{service}/value")
    assert ways()["http"] == before + 1, "it carries cookies by now, and is made as ever"


server = test_http.server  # over http and https, in a process of its own


def test_plain_and_with_tls(host: Host, server: str) -> None:
    host.session.verify = False
    asked = Asked("GET", f"{server}/value", SOON)
    host.session.mount("https://", ExecTunnelAdapter(host))
    host.requests.save(PHASE, Counter([asked]))
    host.ahead.begin(PHASE)
    ahead = host.get(f"{server}/value")
    assert ways()["http"] == 0
    by_itself = host.get(f"{server}/value")
    assert ways()["http"] == 1
    assert (ahead.status_code, ahead.content) == (by_itself.status_code, by_itself.content)


def test_a_run_that_was_learned_signs_in_once_and_asks_nothing_twice(host: Host, service: str) -> None:
    first = host.run(service, "/own/1", "/own/2", "/own/1")
    assert ways()["http"] == 4
    Service.asked.clear()
    again = host.run(service, "/own/1", "/own/2", "/own/1")
    assert again[1:] == first[1:] == ["/own/1 as it was", "/own/2 as it was", "/own/1 as it was"]
    assert again[0] != first[0], "a sign-in of its own"
    assert Service.asked == {"POST /login": 1, "GET /own/1": 1, "GET /own/2": 1}
    assert ways()["http"] == 4
    assert ways()["ahead"] == 3


def test_a_change_between_two_runs_is_seen(host: Host, service: str) -> None:
    host.run(service, "/own/1")
    Service.value = "by hand"
    assert host.run(service, "/own/1")[1] == "/own/1 by hand"


def test_no_answer_outlives_a_change(host: Host, service: str) -> None:
    host.run(service, "/own/1", "/own/2")
    host.new_run()
    host.ahead.begin(PHASE)
    token = host.log_in(service).json()["data"]["access_token"]
    assert host.get(f"{service}/own/1", token).text == "/own/1 as it was"
    Service.value = "changed"
    about_to_change(host)
    assert host.get(f"{service}/own/2", token).text == "/own/2 changed"


def test_a_post_that_changes_is_a_change(host: Host, service: str) -> None:
    host.run(service, "/own/1")
    host.new_run()
    host.ahead.begin(PHASE)
    token = host.log_in(service).json()["data"]["access_token"]
    host.session.post(f"{service}/change", json={}, timeout=SOON)
    Service.asked.clear()
    host.get(f"{service}/own/1", token)
    assert Service.asked == {"GET /own/1": 1}


def test_no_answer_outlives_its_phase(host: Host, service: str) -> None:
    host.run(service, "/own/1", "/own/1")
    host.new_run()
    host.ahead.begin(PHASE)
    token = host.log_in(service).json()["data"]["access_token"]
    assert host.get(f"{service}/own/1", token).text == "/own/1 as it was"
    host.ahead.end(learn=False)
    host.ahead.begin("checks")
    Service.value = "newer"
    assert host.get(f"{service}/own/1", token).text == "/own/1 newer"


def test_no_answer_gets_old(host: Host, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "FRESH", 0.0)
    host.run(service, "/own/1")
    host.run(service, "/own/1")
    assert Service.asked["POST /login"] == 3, "the old answer of a good sign-in is not given"
    assert ways()["http"] == 4


def test_an_answer_is_given_as_often_as_the_last_run_asked(host: Host, service: str) -> None:
    host.run(service, "/own/1")
    host.new_run()
    host.ahead.begin(PHASE)
    token = host.log_in(service).json()["data"]["access_token"]
    assert host.get(f"{service}/own/1", token).text == "/own/1 as it was"
    Service.value = "newer"
    assert host.get(f"{service}/own/1", token).text == "/own/1 newer"


# -- sign-ins ---------------------------------------------------------------------------------------------------------


def test_the_kept_password_is_read_on_the_host(host: Host, service: str) -> None:
    host.given = None
    host.kept.write_text("right-canary-7731\n")

    def run() -> None:
        host.new_run()
        host.ahead.begin(PHASE)
        token = host.log_in(service, "right-canary-7731").json()["data"]["access_token"]
        assert host.get(f"{service}/own/1", token).ok
        host.ahead.end(learn=True)
        host.ahead.close()

    run()
    Service.asked.clear()
    before = ways()["http"]
    run()
    assert Service.asked == {"POST /login": 1, "GET /own/1": 1}
    assert ways()["http"] == before


def test_nothing_that_is_secret_is_written_down(host: Host, service: str) -> None:
    for _ in range(2):
        host.run(service, "/own/1")
    written = host.requests.path.read_text() + journal.current().path.read_text()
    assert "canary" not in written
    assert host.requests.path.stat().st_mode & 0o777 == 0o600


def test_a_wrong_password_is_tried_once_and_not_again(host: Host, service: str) -> None:
    """The run gets the answer that the host got; later runs make no sign-in ahead, even one that never gets there itself."""
    host.run(service, "/own/1")
    Service.password = "changed by hand"
    Service.asked.clear()
    assert host.run(service, "/own/1") == ['{"code": "mismatch"}']
    assert Service.asked == {"POST /login": 1}
    Service.asked.clear()
    host.new_run()
    host.ahead.begin(PHASE)
    host.get(f"{service}/value")
    host.ahead.end(learn=False)
    assert Service.asked == {"GET /value": 1}


def test_a_sign_in_that_crashed_is_not_made_again_by_itself(
    host: Host, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows how far it got: the run is told what the host was told."""
    host.run(service, "/own/1")
    monkeypatch.setattr(Service, "broken", True)
    Service.asked.clear()
    assert host.run(service, "/own/1") == ["crashed"]
    assert Service.asked == {"POST /login": 1}
    Service.asked.clear()
    host.new_run()
    host.ahead.begin(PHASE)
    host.get(f"{service}/value")
    assert Service.asked == {"GET /value": 1}, "nor ahead"


def test_a_refusal_that_the_run_never_asked_for_is_not_repeated(host: Host, service: str) -> None:
    host.ahead.begin(PHASE)
    host.get(f"{service}/value")
    token = host.log_in(service).json()["data"]["access_token"]
    host.get(f"{service}/own/1", token)
    host.ahead.end(learn=True)
    host.ahead.close()
    Service.password = "changed by hand"
    Service.asked.clear()
    for _ in range(3):  # runs that fail before their own sign-in
        host.new_run()
        host.ahead.begin(PHASE)
        host.get(f"{service}/value")
        host.ahead.end(learn=False)
        host.ahead.close()
    assert Service.asked["POST /login"] == 1


def test_no_sign_in_while_the_note_about_a_refusal_is_there(host: Host, service: str) -> None:
    host.run(service, "/own/1")
    host.note.write_text("{}")
    Service.asked.clear()
    host.new_run()
    host.ahead.begin(PHASE)
    assert host.get(f"{service}/value").ok
    host.ahead.end(learn=False)
    assert Service.asked == {"GET /value": 1}
    assert host.requests.load(PHASE), "it is learned all the same"


def test_another_secret_than_the_one_that_was_learned_is_not_tried(host: Host, service: str) -> None:
    """The inventory gave it, and now the host is to keep it, or the other way round."""
    host.run(service, "/own/1")
    host.given = None
    host.kept.write_text("something else")
    Service.asked.clear()
    host.new_run()
    host.ahead.begin(PHASE)
    assert host.get(f"{service}/value").ok
    assert Service.asked == {"GET /value": 1}


def test_an_answer_to_another_body_is_not_given(host: Host, service: str) -> None:
    host.given = None
    host.kept.write_text("a wrong one")
    body = ('{"email": "a@b.c", "password": "', '", "remember_me": true}')
    host.requests.save(PHASE, Counter({Asked("POST", f"{service}/login", SOON, "admin", body, "kept"): 1}))
    host.new_run()
    host.ahead.begin(PHASE)
    assert host.log_in(service, "right-canary-7731").status_code == 200


def test_a_token_of_an_earlier_phase_is_used_again(host: Host, service: str) -> None:
    def run() -> None:
        host.new_run()
        host.ahead.begin(PHASE)
        token = host.log_in(service).json()["data"]["access_token"]
        host.ahead.end(learn=True)
        host.ahead.begin("checks")
        assert host.get(f"{service}/own/1", token).text == "/own/1 as it was"
        host.ahead.end(learn=True)
        host.ahead.close()

    run()
    before = ways()["http"]
    Service.asked.clear()
    run()
    assert ways()["http"] == before
    assert Service.asked == {"POST /login": 1, "GET /own/1": 1}


def test_no_sign_in_where_changes_are_expected(host: Host, service: str) -> None:
    host.run(service, "/own/1")
    Service.asked.clear()
    host.new_run()
    host.ahead.begin(PHASE, sign_in=False)
    assert host.get(f"{service}/value").ok
    assert Service.asked == {"GET /value": 1}


# -- what is asked as ever --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/down", "/stream", "/moved", "/large"])
def test_what_is_asked_anew(host: Host, service: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is not up, a stream, a redirection, a large answer."""
    monkeypatch.setattr(read_ahead, "MOST", 100_000)
    for _ in range(2):
        host.new_run()
        host.ahead.begin(PHASE)
        answer = host.get(service + path)
        assert answer.content == requests.get(service + path, timeout=SOON, allow_redirects=False).content
        host.ahead.end(learn=True)
        host.ahead.close()
    assert ways()["http"] == 2
    assert ways()["ahead"] == 1


def test_nobody_listens(host: Host) -> None:
    url = "http://127.0.0.1:9/value"
    host.requests.save(PHASE, Counter({Asked("GET", url, SOON): 1}))
    host.ahead.begin(PHASE)
    with pytest.raises(requests.ConnectionError, match="no answer from"):
        host.get(url)
    assert ways()["http"] == 1


def test_silence_is_a_time_out_as_ever_and_the_service_is_left_alone(host: Host, service: str) -> None:
    asked = [Asked("GET", f"{service}/hangs", 0.2), Asked("GET", f"{service}/value", SOON)]
    host.requests.save(PHASE, Counter(asked))
    host.ahead.begin(PHASE)
    with pytest.raises(requests.ReadTimeout):
        host.get(f"{service}/hangs", timeout=0.2)
    assert host.get(f"{service}/value").ok
    assert Service.asked == {"GET /hangs": 1, "GET /value": 1}
    assert ways()["http"] == 1


def test_half_an_answer_is_none(host: Host, service: str) -> None:
    host.requests.save(PHASE, Counter({Asked("GET", f"{service}/breaks", SOON): 1}))
    host.ahead.begin(PHASE)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        host.get(f"{service}/breaks")
    assert ways()["http"] == 1


@pytest.mark.parametrize("header", ["Cookie", "Range", "X-Workspace", "Accept"])
def test_a_request_with_a_header_of_its_own_is_made_as_ever(host: Host, service: str, header: str) -> None:
    for _ in range(2):
        host.ahead.begin(PHASE)
        host.session.get(f"{service}/value", headers={header: "x"}, timeout=SOON)
        host.ahead.end(learn=True)
    assert ways()["http"] == 2
    assert not host.requests.load(PHASE)


def test_a_token_nobody_signed_in_for_and_a_get_that_ends_a_session_are_not_learned(
    host: Host, service: str
) -> None:
    host.ahead.begin(PHASE)
    host.get(f"{service}/own/1", "app-key")
    host.get(f"{service}/logout")
    host.ahead.end(learn=True)
    assert not host.requests.load(PHASE)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1, "phases": {"converge": {"digest": "digest", "requests": [["GET"]]}}}'],
)
def test_a_broken_file_has_no_requests(host: Host, text: str) -> None:
    host.requests.path.write_text(text)
    assert host.requests.load(PHASE) == Counter()
    host.requests.save(PHASE, Counter({Asked("GET", "http://127.0.0.1/", 1.0): 1}))
    assert len(host.requests.load(PHASE)) == 1


def test_a_kept_connection_that_the_server_closed_is_opened_again(host: Host, service: str) -> None:
    """As Dify's gunicorn does after two seconds; a GET may be sent again, a sign-in is sent on a connection of its own."""
    paths = ("/hangs-up", "/value?1", "/hangs-up?2")
    body = ('{"email": "a@b.c", "password": "', '", "remember_me": true}')
    sign_in = Asked("POST", f"{service}/login", SOON, "admin", body, "given")
    asked = [*(Asked("GET", service + path, SOON) for path in paths), sign_in]
    host.requests.save(PHASE, Counter(asked))
    host.ahead.begin(PHASE)
    assert all(host.get(service + path).ok for path in paths)
    assert host.log_in(service).ok
    assert Service.asked["POST /login"] == 1
    assert ways()["http"] == 0
