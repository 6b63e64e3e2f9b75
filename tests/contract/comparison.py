"""How an answer is compared with a recorded one: status, headers, shape and every value that does not depend on the installation.

Ids (and batches) are learned: the first time a recorded id is met, the answered one is taken for it, and from then on it must be the
same one, and no other recorded id may stand for it. Times, counts of tokens, scores and the model's words are compared by shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.contract.exchanges import IDENTITY, Answer, filled, last

HEADERS = ("Content-Type", "X-Version", "X-Env", "Set-Cookie", "Content-Length")
_PLACEHOLDER = re.compile(r"<([A-Z_0-9]+)>")


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) and word for word in value)


# Fields whose value differs from one run to the next: only its shape is compared, and that null is null in both.
_SHAPES: dict[str, Callable[[Any], bool]] = {
    "pid": _integer,
    "last_login_ip": lambda value: isinstance(value, str) and value.count(".") == 3,
    "setup_at": lambda value: bool(datetime.fromisoformat(value)) and "." not in value,
    **dict.fromkeys(("created_at", "updated_at", "disabled_at"), _number),
    **dict.fromkeys(
        (
            "last_login_at", "last_used_at", "processing_started_at", "parsing_completed_at", "cleaning_completed_at",
            "splitting_completed_at", "completed_at", "indexing_at", "stopped_at", "tokens", "prompt_tokens",
            "completion_tokens", "total_tokens", "hit_count",
        ),
        _integer,
    ),
    **dict.fromkeys(("indexing_latency", "latency", "score"), _number),
    "average_segment_length": _integer,
    "index_node_hash": lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None,
    **dict.fromkeys(("access_token", "code", "token"), lambda value: isinstance(value, str) and value != ""),
    "answer": lambda value: isinstance(value, str | None),
    "keywords": _words,
}  # fmt: skip
# Of what a search found only the best is compared: the rest depends on the model's vectors.
_RANKED = ("records", "retriever_resources")
_SHORTENED = ("324-app-api-disable", "326-app-api-enable")  # trimmed when they were recorded, without a note
_STATES = ("waiting", "parsing", "cleaning", "splitting", "indexing", "completed")
_ERROR_CODES = re.compile(r"[a-z_]+")


def same(expected: Any, actual: Any, where: str, known: dict[str, str], part: bool = False) -> list[str]:
    """Differences between a recorded value and an answered one, as lines of text.

    :param part: the recording was trimmed: what it has must be there, more may be.
    """
    field = where.rpartition(".")[2]
    if isinstance(expected, str) and (match := _PLACEHOLDER.fullmatch(expected)):
        known[match[1]] = str(actual)
        return [] if isinstance(actual, str) and actual else [f"{where}: {actual!r} instead of a secret"]
    shape = _SHAPES.get(field)
    if shape and expected is not None and not (field == "code" and _ERROR_CODES.fullmatch(str(expected))):
        return [] if shape(actual) else [f"{where}: {actual!r} is not shaped like {expected!r}"]
    if field in _RANKED and isinstance(expected, list) and isinstance(actual, list):
        if bool(expected) != bool(actual):
            return [f"{where}: {len(actual)} entries, {len(expected)} were recorded"]
        expected, actual = expected[:1], actual[:1]
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _same_mapping(expected, actual, where, known, part)
    if isinstance(expected, list) and isinstance(actual, list) and (len(expected) == len(actual) or part):
        if len(actual) < len(expected):
            return [f"{where}: {len(actual)} entries, at least {len(expected)} were recorded"]
        actual = _aligned(expected, actual, known)
        if part:
            actual = _alike_first(expected, actual, known)
        return [
            line
            for i, (left, right) in enumerate(zip(expected, actual, strict=False))
            for line in same(left, right, f"{where}.{i}", known, part)
        ]
    if isinstance(expected, str) and isinstance(actual, str):
        return _same_text(expected, actual, where, known)
    equal = expected == actual and type(expected) is type(actual)
    return [] if equal else [f"{where}: {actual!r} != {expected!r}"]


def _aligned(expected: list[Any], actual: list[Any], known: dict[str, str]) -> list[Any]:
    """Entries in the order of the recorded ones: the real server sorts by whole seconds, and so in no order within one."""
    if not all(isinstance(entry, dict) and "id" in entry for entry in [*expected, *actual]):
        return actual
    given = {str(entry["id"]): entry for entry in actual}
    claimed = {known.get(entry["id"]) for entry in expected}
    others = iter([entry for name, entry in given.items() if name not in claimed])
    return [given.get(known.get(entry["id"], "")) or next(others, {}) for entry in expected]


def _alike_first(expected: list[Any], actual: list[Any], known: dict[str, str]) -> list[Any]:
    """Entries of a trimmed recording have lost their ids: each is compared with the first that is like it."""
    left = list(actual)
    ordered = []
    for entry in expected:
        alike = next((other for other in left if not same(entry, other, "", dict(known), part=True)), left[0])
        left.remove(alike)
        ordered.append(alike)
    return ordered


def _same_mapping(
    expected: dict[str, Any], actual: dict[str, Any], where: str, known: dict[str, str], part: bool
) -> list[str]:
    part = part or "_trimmed_note" in expected
    wanted = {name: value for name, value in expected.items() if not name.startswith("_")}
    missing, more = wanted.keys() - actual.keys(), actual.keys() - wanted.keys()
    problems = []
    if missing or (more and not part):
        problems.append(f"{where}: keys missing {sorted(missing)}, more {sorted(more)}")
    for name in sorted(wanted.keys() & actual.keys()):
        problems += same(wanted[name], actual[name], f"{where}.{name}", known, part)
    return problems


def _same_text(expected: str, actual: str, where: str, known: dict[str, str]) -> list[str]:
    """Ids inside are learned and then replaced; addresses of connection objects are left out."""
    olds, news = IDENTITY.findall(expected), IDENTITY.findall(actual)
    if len(olds) == len(news):
        for old, new in zip(olds, news, strict=True):
            if old not in known and new in known.values():
                return [f"{where}: {new} stands for another recorded id than {old}"]
            known.setdefault(old, new)
    wanted, given = (re.sub(r"at 0x[0-9a-f]+", "at 0x", text) for text in (filled(expected, known), actual))
    return [] if wanted == given else [f"{where}: {given!r} != {wanted!r}"]


def _same_cookie(expected: str, actual: str | None, known: dict[str, str]) -> list[str]:
    pattern = re.sub(
        r"<[A-Z_]+>", "(?P<session>[^;]+)", re.escape(expected).replace(r"\<", "<").replace(r"\>", ">")
    )
    match = re.fullmatch(pattern, actual or "")
    if match is None:
        return [f"Set-Cookie: {actual!r} is not shaped like {expected!r}"]
    known["SESSION_COOKIE"] = match["session"]
    return []


def _same_headers(exchange: dict[str, Any], answer: Answer, known: dict[str, str]) -> list[str]:
    problems = []
    for header in HEADERS:
        expected = exchange.get("response_headers", {}).get(header)
        actual = answer.headers.get(header)
        if expected is None or (header == "Content-Length" and _depends_on_installation(exchange)):
            continue
        if header == "Set-Cookie":
            problems += _same_cookie(expected, actual, known)
        elif expected != actual:
            problems.append(f"{header}: {actual!r} != {expected!r}")
    return problems


def _depends_on_installation(exchange: dict[str, Any]) -> bool:
    """Has the recorded body values whose length may differ (a secret, a pid, an address, a model's answer)?"""
    text = json.dumps(exchange.get("response_json", ""))
    if _PLACEHOLDER.search(text) or "http://" in text or "HTTPConnectionPool" in text:
        return True
    return any(
        f'"{field}"' in text
        for field in (
            "pid",
            "last_login_ip",
            "answer",
            "tokens",
            "score",
            "created_at",
            "indexing_status",
            "_trimmed_note",
            "embedding_available",
        )
    )


def differences(exchange: dict[str, Any], answer: Answer, known: dict[str, str]) -> list[str]:
    """How an answer differs from the recorded one; learns the secrets and ids that it carries."""
    problems = []
    wanted_status = exchange["status"] if "changes" not in exchange else 200
    if answer.status != wanted_status:
        problems.append(f"status {answer.status} != {wanted_status}: {answer.body[:300]!r}")
    problems += _same_headers(exchange, answer, known)
    if "response_text" in exchange and answer.body.decode() != exchange["response_text"]:
        problems.append(f"body {answer.body!r} != {exchange['response_text']!r}")
    if "changes" in exchange:
        problems += same(last(exchange), answer.json(), "body", known)
    elif "response_json" in exchange:
        problems += _same_body(exchange, answer.json(), known)
    elif "event_counts" in exchange:
        problems += _same_events(exchange, answer.body.decode(), known)
    return [f"{exchange['name']}: {problem}" for problem in problems]


def _same_body(exchange: dict[str, Any], body: Any, known: dict[str, str]) -> list[str]:
    if exchange["path"] == "/health" and isinstance(body, dict):
        assert body.pop("stand-in", None) is True, "/health must say that it is a stand-in"
    expected = exchange["response_json"]
    problems = []
    if exchange["method"] == "POST" and isinstance(expected, dict):
        made = expected.get("documents") or [expected.get("document", expected)]
        given = body.get("documents") or [body.get("document", body)]
        for old, new in zip(made, given, strict=False):
            problems += _same_progress(old, new)
    return problems + same(
        expected, body, "body", known, part="_trimmed_note" in exchange or exchange["name"] in _SHORTENED
    )


def _same_progress(expected: dict[str, Any] | None, actual: dict[str, Any] | None) -> list[str]:
    """How far the worker is already when a document has been added is chance: any state but an error will do."""
    if not expected or not actual or "indexing_status" not in expected:
        return []
    if actual["indexing_status"] not in _STATES:
        return [f"body: a new document is {actual['indexing_status']}"]
    for name in expected.keys() & {"indexing_status", "display_status", "word_count"}:
        actual[name] = expected[name]
    return []


def events(text: str) -> list[dict[str, Any]]:
    """Events of a stream; a bare ping is left out."""
    return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: ")]


def _same_events(exchange: dict[str, Any], text: str, known: dict[str, str]) -> list[str]:
    """The kinds of events in their order, and the first and the last of each kind."""
    recorded = events(
        "\n\n".join([*exchange["response_sse_first_lines"], *exchange.get("response_sse_last_lines", [])])
    )
    given = events(text)
    problems = []
    kinds = [list(dict.fromkeys(event["event"] for event in found)) for found in (recorded, given)]
    if kinds[0] != kinds[1]:
        problems.append(f"kinds of events {kinds[1]} != {kinds[0]}")
    for kind in exchange["event_counts"]:
        pairs = [[event for event in found if event["event"] == kind] for found in (recorded, given)]
        if all(pairs):
            for place in (0, -1):
                problems += same(pairs[0][place], pairs[1][place], f"event {kind}", known)
    return problems
