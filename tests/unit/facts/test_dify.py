"""facts.dify: answers as curl and docker exec print them."""

from __future__ import annotations

import base64

from difyfleet.facts.dify import Answer, DifyFront, DifyInside, Inside, ServedCertificate, parse_answer

SETUP = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nX-Version: 0.11.2\r\nX-Env: PRODUCTION\r\n\r\n"
    b'{"step": "not_started"}\n'
)


def test_answer_of_curl() -> None:
    answer = parse_answer(SETUP)
    assert (answer.status, answer.headers["x-version"], answer.body) == (
        200,
        "0.11.2",
        '{"step": "not_started"}\n',
    )


def test_no_answer_keeps_the_words_of_curl() -> None:
    words = b"curl: (7) Failed to connect to 127.0.0.1 port 80 after 0 ms: Couldn't connect to server\n"
    assert parse_answer(words) == Answer(0, body=words.decode().strip())


def test_answers_by_path() -> None:
    output = ["@/console/api/setup", base64.b64encode(SETUP).decode(), "@/", ""]
    assert {path: answer.status for path, answer in DifyFront().process(output).items()} == {
        "/console/api/setup": 200
    }


def test_front_asks_each_path_once() -> None:
    command = DifyFront().command("https://127.0.0.1:443", ("/", "/v1/"), host_name="dify.lab")
    assert command.count("curl -isSk --max-time 20 -H 'Host: dify.lab' ") == 2
    assert "https://127.0.0.1:443/v1/" in command


def test_inside() -> None:
    output = [
        "@worker_ping 0",
        "->  celery@0d4: OK",
        "        pong",
        "1 node online.",
        "@api_limit 0",
        "15",
        "@nginx_limit 1",
        "",
    ]
    found = DifyInside().process(output)
    assert found.worker_ping == (0, "->  celery@0d4: OK\n        pong\n1 node online.")
    assert found.api_limit == (0, "15")
    assert found.nginx_limit == (1, "")
    assert found.model_server is None
    assert DifyInside.default() == Inside()


def test_certificate_or_nothing() -> None:
    pem = ["-----BEGIN CERTIFICATE-----", "AAAA", "-----END CERTIFICATE-----"]
    assert ServedCertificate().process(pem) == "\n".join(pem) + "\n"
    assert ServedCertificate().process(["Can't read"]) is None
