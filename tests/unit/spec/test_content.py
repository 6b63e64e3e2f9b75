"""Models, knowledge bases and assistants in an inventory: what is taken, what is refused, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from difyfleet.spec.content import EMBEDDING, LLM, DifyModel, Parameters, dify_models, plain
from difyfleet.spec.document_files import document_name, documents_of, jsonl_text
from tests.unit.spec.conftest import Errors, Load

MODELS = 'ollama: {models: ["qwen2.5:7b", nomic-embed-text]}\n'


@pytest.fixture
def docs(folder: Path) -> Path:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("# a")
    return folder / "docs"


def test_left_out_models_are_those_of_ollama_and_embedders_are_known_by_name() -> None:
    found = dify_models(
        None, ["qwen2.5:7b", "llama3.2", "nomic-embed-text", "bge-m3", "library/mxbai-embed-large:335m"]
    )
    assert [(model.name, model.type, model.default) for model in found] == [
        ("qwen2.5:7b", LLM, True),
        ("llama3.2", LLM, False),
        ("nomic-embed-text", EMBEDDING, True),
        ("bge-m3", EMBEDDING, False),
        ("library/mxbai-embed-large:335m", EMBEDDING, False),
    ]
    assert [model.window for model in found[:3]] == [4096, 4096, 2048]


def test_a_marked_default_stays_the_only_one() -> None:
    found = dify_models([DifyModel(name="a"), DifyModel(name="b", default=True), "c"], [])
    assert [model.default for model in found] == [False, True, False]


def test_completion_parameters() -> None:
    assert Parameters().completion(documents=False) == {}
    assert Parameters().completion(documents=True) == {"num_ctx": 4096}
    assert Parameters(context=0).completion(documents=True) == {}
    given = Parameters(temperature=0, max_tokens=60, context=8192, more={"mirostat": 1, "stop": ["\n"]})
    assert given.completion(documents=True) == {
        "temperature": 0,
        "num_predict": 60,
        "num_ctx": 8192,
        "mirostat": 1,
        "stop": ["\n"],
    }


def test_plain_text() -> None:
    assert plain(" ＹＦ－200\n是 36 个月") == "yf-200是36个月"


def test_a_whole_declaration(host_with: Load, docs: Path) -> None:
    (docs.parent / "prompt.txt").write_text("只根据文档回答。\n", encoding="utf-8")
    spec = host_with(
        MODELS
        + "knowledge: {manuals: {documents: docs}}\n"
        + "assistants:\n"
        + "  helper: {prompt_file: prompt.txt, knowledge: [manuals], golden: [{ask: x, contains: y, cites: a.md}]}\n"
    ).hosts[0]
    assert spec.assistants["helper"].instructions == "只根据文档回答。"
    assert spec.knowledge["manuals"].sources == (docs,)
    assert [each.name for each in documents_of(spec.knowledge["manuals"]).documents] == ["a.md"]


CASES = {
    "no embedding model": (
        'ollama: {models: ["qwen2.5:7b"]}\nknowledge: {m: {indexing: high_quality}}\n',
        "inv.yml:4:27: knowledge.m.indexing: high_quality needs an embedding model and none is declared",
    ),
    "another embedding model": (
        MODELS + "knowledge: {m: {embedding_model: nomic-embed}}\n",
        "knowledge.m.embedding_model: there is no embedding model 'nomic-embed' in dify.models; did you mean nomic-embed-text?",
    ),
    "economy with an embedding model": (
        MODELS + "knowledge: {m: {indexing: economy, embedding_model: nomic-embed-text}}\n",
        "knowledge.m.embedding_model: indexing: economy has no embedding model",
    ),
    "economy searched by meaning": (
        MODELS + "knowledge: {m: {indexing: economy, retrieval: {method: semantic_search}}}\n",
        "knowledge.m.retrieval.method: indexing: economy can only be searched by keyword_search",
    ),
    "overlap": (
        MODELS + "knowledge: {m: {segmentation: {max_tokens: 100, overlap: 100}}}\n",
        "knowledge.m.segmentation.overlap: should be less than max_tokens (100)",
    ),
    "segments too long": (
        MODELS + "knowledge: {m: {segmentation: {max_tokens: 9000}}}\n",
        "knowledge.m.segmentation.max_tokens: should be at most 4000, not the number 9000",
    ),
    "name too long": (
        MODELS + f"knowledge: {{m: {{name: {'长' * 41}}}}}\n",
        "knowledge.m.name: should have at most 40 characters",
    ),
    "two of one name": (
        MODELS + "knowledge: {a: {name: 手册}, b: {name: 手册}}\n",
        "knowledge.b.name: the knowledge base a has the name '手册' too",
    ),
    "no such folder": (MODELS + "knowledge: {m: {documents: nowhere}}\n", "DIR/nowhere does not exist"),
    "no such knowledge base": (
        MODELS + "knowledge: {manuals: }\nassistants: {h: {knowledge: [manual]}}\n",
        "assistants.h.knowledge[0]: there is no knowledge base 'manual'; did you mean manuals?",
    ),
    "no such model": (
        MODELS + "assistants: {h: {model: qwen2.5}}\n",
        "assistants.h.model: there is no model 'qwen2.5' of type llm in dify.models; did you mean qwen2.5:7b?",
    ),
    "an embedding model for chats": (
        MODELS + "assistants: {h: {model: nomic-embed-text}}\n",
        "assistants.h.model: there is no model 'nomic-embed-text' of type llm",
    ),
    "a document that is not there": (
        MODELS
        + "knowledge: {m: {documents: docs}}\nassistants: {h: {knowledge: [m], golden: [{ask: x, cites: b.md}]}}\n",
        "assistants.h.golden[0]: cites 'b.md', which is no document here; did you mean a.md?",
    ),
    "a question that expects nothing": (
        MODELS + "assistants: {h: {golden: [{ask: x}]}}\n",
        "assistants.h.golden[0]: expects nothing: add contains, cites or refuses",
    ),
    "a refusal with facts": (
        MODELS + "assistants: {h: {golden: [{ask: x, refuses: true, contains: y}]}}\n",
        "assistants.h.golden[0]: an answer that refuses holds no facts and cites nothing",
    ),
    "questions without a key": (
        MODELS + "assistants: {h: {api_key: false, golden: [{ask: x, contains: y}]}}\n",
        "assistants.h.golden[0]: golden questions are asked through the service API, so api_key must be true",
    ),
    "two prompts": (
        MODELS + "assistants: {h: {prompt: x, prompt_file: docs/a.md}}\n",
        "assistants.h.prompt_file: prompt is given too; one of them is enough",
    ),
    "scores that cannot be compared": (
        MODELS
        + "knowledge: {a: , b: {indexing: economy}}\nassistants: {h: {knowledge: [a, b], merge: by_score}}\n",
        "assistants.h.merge: economy and high_quality knowledge bases have no scores that can be compared",
    ),
    "two defaults": (
        "dify: {models: [{name: a, default: true}, {name: b, default: true}]}\n",
        "dify.models: two defaults of type llm: a, b",
    ),
    "a misspelt key": (
        MODELS + "assistants: {h: {promt: x}}\n",
        "assistants.h.promt: unknown key; did you mean prompt?",
    ),
    "a key with blanks": (
        MODELS + "assistants: {my helper: {prompt: x}}\n",
        'assistants["my helper"]: the key should be letters, digits, - and _ (40 at most)',
    ),
}


@pytest.mark.parametrize(("text", "said"), CASES.values(), ids=CASES)
def test_what_does_not_fit(section_errors: Errors, docs: Path, text: str, said: str) -> None:
    found = section_errors(text)
    assert any(said in line for line in found), found
    assert len(found) == 1, found


def test_a_file_over_the_limit_is_named(section_errors: Errors, docs: Path) -> None:
    (docs / "big.txt").write_bytes(b"x" * (1024 * 1024 + 1))
    (said,) = section_errors(MODELS + "dify: {upload_limit_mb: 1}\nknowledge: {m: {documents: docs}}\n")
    assert "big.txt has 1.0 MB, more than dify.upload_limit_mb (1)" in said


def test_other_formats_are_left_out_with_a_warning_or_refused_when_asked_for(
    host_with: Load, section_errors: Errors, docs: Path
) -> None:
    (docs / "b.exe").write_bytes(b"x")
    environment = host_with(MODELS + "knowledge: {m: {documents: docs}}\n")
    assert [str(warning).partition(": ")[2] for warning in environment.warnings] == [
        "knowledge.m.documents: left out, since Dify reads no such format: b.exe; name them under exclude"
    ]
    assert host_with(MODELS + "knowledge: {m: {documents: docs, exclude: ['*.exe']}}\n").warnings == ()
    (said,) = section_errors(MODELS + "knowledge: {m: {documents: [docs, docs/b.exe]}}\n")
    assert "b.exe: Dify reads no .exe files; it reads txt, md" in said


def test_two_files_of_one_name_are_refused(section_errors: Errors, docs: Path) -> None:
    (docs / "sub").mkdir()
    (docs / "sub" / "a.md").write_text("# other")
    (said,) = section_errors(MODELS + "knowledge: {m: {documents: docs}}\n")
    assert "would both be the document a.md" in said


def test_globs(host_with: Load, docs: Path) -> None:
    for name in ("b.md", "c.txt", ".hidden.md", "sub/d.md"):
        (docs / name).parent.mkdir(exist_ok=True)
        (docs / name).write_text("x")

    def names(more: str) -> list[str]:
        spec = host_with(MODELS + f"knowledge: {{m: {{documents: docs{more}}}}}\n").hosts[0]
        return [each.name for each in documents_of(spec.knowledge["m"]).documents]

    assert names("") == ["a.md", "b.md", "c.txt", "d.md"]
    assert names(", include: ['*.md']") == ["a.md", "b.md", "d.md"]
    assert names(", exclude: ['sub/*', 'c.*']") == ["a.md", "b.md"]


def test_names_of_documents() -> None:
    assert document_name("faq.jsonl") == "faq.jsonl.txt"
    assert document_name("e\u0301tude.md") == "\u00e9tude.md"


def test_jsonl_becomes_paragraphs() -> None:
    text = '{"问题": "几点？", "答案": "12 点", "标签": ["a", "b"], "更多": {"页": 3, "有效": true}}\n\n"只有文字"\n'
    assert (
        jsonl_text(text.encode())
        == "问题: 几点？\n答案: 12 点\n标签: a\n标签: b\n更多.页: 3\n更多.有效: true\n\n只有文字\n"
    )
    assert jsonl_text(b"") == ""


def test_a_line_that_is_no_json_is_named(section_errors: Errors, docs: Path) -> None:
    (docs / "x.jsonl").write_text('{"a": 1}\n{"a": \n')
    (said,) = section_errors(MODELS + "knowledge: {m: {documents: docs}}\n")
    assert "x.jsonl: line 2 is not JSON" in said


def test_without_dify_a_declaration_has_no_effect_and_says_so(host_with: Load) -> None:
    environment = host_with("dify: {enabled: false}\nassistants: {h: {model: whatever}}\n")
    assert "has no effect: Dify is not enabled on this host" in str(environment.warnings[0])


def test_a_host_adds_to_the_common_declarations(inventory: Load) -> None:
    environment = inventory(
        """
        admin: {email: a@b.cd}
        ollama: {models: ["qwen2.5:7b"]}
        hosts:
          one: 10.9.9.1
          two: {address: 10.9.9.2, assistants: {extra: {prompt: x}, helper: {top_k: 2}}}
        assistants: {helper: {prompt: y}}
        """
    )
    one, two = environment.hosts
    assert list(one.assistants) == ["helper"]
    assert sorted(two.assistants) == ["extra", "helper"]
    assert (two.assistants["helper"].prompt, two.assistants["helper"].top_k) == ("y", 2)
