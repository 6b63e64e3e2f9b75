"""The pure parts of the Dify and weaviate stand-ins that handle texts: forms, files, segments, keywords, the vector store's query."""

from __future__ import annotations

from email.message import Message
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab.images.dify_api.dify_api import extract, keywords, multipart, splitter
from lab.images.dify_api.dify_api.http import ApiError, Request
from lab.images.weaviate.weaviate import graphql, objects
from tests.contract import office


def request(body: bytes, content_type: str = "multipart/form-data; boundary=b") -> Request:
    headers = Message()
    headers["Content-Type"] = content_type
    return Request(None, "POST", "/", {}, headers, body, "127.0.0.1")


def part(disposition: str, content: bytes, *more: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *more])
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def test_a_form_with_a_file() -> None:
    content = b"a\r\n--c\r\n\r\n\x00\xff--b"
    body = part('name="source"', b"datasets") + part(
        'name="file"; filename="\u6e2f\u53e3 a.txt"', content, "Content-Type: text/plain; charset=utf-8"
    )
    form = multipart.parse(request(body + b"--b--\r\n"))
    assert form.fields == {"source": "datasets"}
    assert form.file() == multipart.File("\u6e2f\u53e3 a.txt", "text/plain", content)


@pytest.mark.parametrize(
    "body", [b"", b"--b--\r\n", part('name="upload"; filename="a"', b"x") + b"--b--\r\n", b"--b\r\nno head"]
)
def test_a_form_without_the_file(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        multipart.parse(request(body)).file()
    assert caught.value.response.body["code"] == "bad_request_key_error"


def test_a_body_of_another_type_is_no_form() -> None:
    assert multipart.parse(request(b"{}", "application/json")) == multipart.Form()


def rules(size: int = 50, overlap: int = 0, separator: str = "\\n\\n", **flags: bool) -> splitter.Rules:
    given = {
        "pre_processing_rules": [{"id": name, "enabled": enabled} for name, enabled in flags.items()],
        "segmentation": {"separator": separator, "max_tokens": size, "chunk_overlap": overlap},
    }
    return splitter.Rules.of("custom", given, 1000)


def test_a_written_out_line_end_is_one() -> None:
    assert rules().segments(["one\n\ntwo", "three"]) == ["one", "two", "three"]


def test_a_long_paragraph_is_cut_at_full_stops_within_the_size() -> None:
    text = "停泊费每晚十四克朗。" * 12
    found = rules(size=100).segments([text])
    assert len(found) > 1
    assert all(splitter.tokens(piece) <= 100 for piece in found)
    assert "".join(found).replace("。", "") == text.replace("。", "")


def test_neighbours_overlap() -> None:
    words = [f"word{n}" for n in range(60)]
    found = [piece.split() for piece in rules(size=50, overlap=10).segments([" ".join(words)])]
    assert len(found) > 1
    for before, after in pairwise(found):
        assert before[-1] in after
        assert before[0] not in after
    assert list(dict.fromkeys(word for piece in found for word in piece)) == words


@pytest.mark.parametrize("size", [49, 1001])
def test_a_size_out_of_range_is_found_while_splitting(size: int) -> None:
    with pytest.raises(ValueError, match="between 50 and 1000"):
        rules(size=size)


def test_automatic_rules() -> None:
    assert splitter.Rules.of("automatic", {}, 1000) == splitter.Rules(None, 500, 50, True, False)


def test_cleaning() -> None:
    text = "a  b\n\n\n\nc <|x|> me@example.com https://example.com/a na\u00efve"
    both = rules(remove_extra_spaces=True, remove_urls_emails=True)
    assert both.clean(text) == "a b\n\nc <x>   nave"
    assert "https://example.com/a" in rules(remove_extra_spaces=True).clean(text)
    assert "a  b\n\n\n\nc" in rules().clean(text)


def write(tmp_path: Path, name: str, data: bytes) -> list[str]:
    path = tmp_path / name
    path.write_bytes(data)
    return extract.texts(path, name.rpartition(".")[2])


@pytest.mark.parametrize(
    ("name", "data", "texts"),
    [
        ("a.txt", "Gr\u00fc\u00dfe\r\n".encode("latin-1"), ["Gr\u00fc\u00dfe\n"]),
        ("a.txt", "停泊费每晚十四克朗".encode("gb18030"), ["停泊费每晚十四克朗"]),
        (
            "a.md",
            b"intro\n# One\ntext\n```\n# no heading\n```\n",
            ["intro", "\n\nOne\ntext\n```\n# no heading\n```"],
        ),
        ("a.csv", "\ufeffname,age\nLi,3\n".encode(), ["name: Li;age: 3"]),
        ("a.html", b"<title>T</title><script>x()</script><p>a&amp;b</p>", ["Ta&b"]),
        ("a.docx", office.docx("one", "two"), ["one\ntwo"]),
        ("a.xlsx", office.xlsx([["h", "k"], ["1", "b"]]), ['"h":"1";"k":"b"']),
    ],
)
def test_texts_of_a_file(tmp_path: Path, name: str, data: bytes, texts: list[str]) -> None:
    assert write(tmp_path, name, data) == texts


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx"])
def test_a_broken_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(extract.ExtractError):
        write(tmp_path, name, b"no archive")


def test_keywords_are_words_and_pairs() -> None:
    assert keywords.keywords("The mooring fee: 停泊费") == ["mooring", "fee", "停泊", "泊费"]
    assert keywords.overlap(keywords.keywords("停泊费是多少？"), keywords.keywords("停泊费每晚十四克朗")) == 2
    assert keywords.overlap(["Fee"], ["fee"]) == 1


def test_similar_texts_score_higher() -> None:
    same, near, far = keywords.similarities("ferry ticket", ["ferry ticket", "ferry quay", "lighthouse"])
    assert (round(same, 6), far) == (1.0, 0.0)
    assert 0 < near < 1


QUERY = (
    '{Get{Vector_index_1_Node(nearVector: {vector: [0.5, -1e-3]} limit: 4 where: {path: ["a"], operator: Equal, '
    'valueText: "x\\"y"}){doc_id text _additional {distance vector} }}}'
)


def test_a_query_is_parsed() -> None:
    got = graphql.parse(QUERY)
    assert got.class_name == "Vector_index_1_Node"
    assert got.arguments["nearVector"] == {"vector": [0.5, -0.001]}
    assert got.arguments["limit"] == 4
    assert (got.properties, got.additional) == (["doc_id", "text"], ["distance", "vector"])
    assert graphql.matcher(got.arguments["where"])({"a": 'x"y'})


@pytest.mark.parametrize(
    "query", ["", "{Get{}}", "{Aggregate{A{x}}}", "{Get{A(limit: ){x}}}", "{Get{A{x}", "{Get{A{é}}}"]
)
def test_another_query_is_an_error(query: str) -> None:
    with pytest.raises(ValueError, match="Syntax Error"):
        graphql.parse(query)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (None, ["a", "b"]),
        ({"path": ["n"], "operator": "Equal", "valueText": "a"}, ["a"]),
        (
            {
                "operator": "Or",
                "operands": [{"path": ["n"], "operator": "Equal", "valueText": name} for name in "ab"],
            },
            ["a", "b"],
        ),
        (
            {
                "operator": "And",
                "operands": [{"path": ["n"], "operator": "Equal", "valueText": name} for name in "ab"],
            },
            [],
        ),
    ],
)
def test_filters(where: Any, kept: list[str]) -> None:
    condition = graphql.matcher(where)
    assert [name for name in "ab" if condition({"n": name})] == kept


def test_an_unknown_filter_is_an_error() -> None:
    with pytest.raises(ValueError, match="Like is not"):
        graphql.matcher({"path": ["n"], "operator": "Like", "valueText": "a*"})


def test_objects_are_kept_found_and_removed(tmp_path: Path) -> None:
    store = objects.Objects(tmp_path)
    entries = [
        {"class": "A", "id": "1", "properties": {"text": "the ferry sails"}, "vector": [1.0, 0.0]},
        {"class": "A", "id": "2", "properties": {"text": "停泊费每晚"}, "vector": [0.6, 0.8]},
        {"class": "B", "id": "3", "properties": {"text": "ferry"}, "vector": [1.0, 0.0]},
    ]
    store.put(entries)
    again = objects.Objects(tmp_path)  # as after a restart
    near = objects.near(again.all("A"), [0.0, 2.0])
    assert [(found.id, round(found.distance, 3)) for found in near] == [("2", 0.2), ("1", 1.0)]
    assert [found.id for found in objects.bm25(again.all("A"), "停泊费是多少", ["text"])] == ["2"]
    with pytest.raises(ValueError, match="lengths don't match"):
        objects.near(again.all("A"), [1.0])
    assert again.remove("A", keep=lambda properties: "ferry" in properties["text"]) == 1
    assert [found.id for found in store.all("A")] == ["1"]
    assert (store.remove("A"), len(store.all("B"))) == (1, 1)
