"""Rows of what is inside Ollama and Dify: models, knowledge bases with their documents, assistants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from difyfleet.clients.dify import Icon
from tests.lab.drift.hands import APP, KB, Hands, ollama, sql
from tests.lab.drift.row import Row, json_edit

LIBRARY = "/opt/ollama/models/manifests/registry.ollama.ai/library"
PROVED = "/var/lib/difyfleet/ollama-verified.json"
KEY_FILE = "/etc/difyfleet/secrets/dify_app_key_helper"
_GONE = "what is not there has no value"


def blob(name: str) -> str:
    """The largest blob of a model, as a shell word."""
    found = f'grep -o \'image.model","digest":"sha256:[0-9a-f]*\' {LIBRARY}/{name}'
    return f"/opt/ollama/models/blobs/sha256-$({found} | sed 's/.*sha256://')"


def model(number: int, what: str, edit: str, old: str, new: str = "", why: str = "") -> Row:
    return Row(f"model: {what}", "ollama", number, edit, old, new, why)


MODELS = (
    model(1, "removed", ollama("rm llama3.2"), "model llama3.2:latest: absent", why=_GONE),
    model(
        1,
        "record that it has answered",
        json_edit(PROVED, "d['answered'].pop('nomic-embed-text:latest')"),
        "model nomic-embed-text:latest: has not answered since it was pulled",
        why="an answer is had or not",
    ),
    model(
        1,
        "manifest broken",
        f"echo broken > {LIBRARY}/qwen2.5/7b",
        "model qwen2.5:7b: its manifest cannot be read",
        why="the wanted manifest is the registry's",
    ),
    model(
        2,
        "blob truncated",
        f"truncate -s -1000 {blob('qwen2.5/7b')}",
        "model qwen2.5:7b: blob ",
        "bytes, its manifest says",
    ),
    model(
        3,
        "blob removed",
        f"rm {blob('qwen2.5/7b')}",
        "model qwen2.5:7b: blob ",
        "missing",
    ),
    model(
        4,
        "one bit of a blob",
        f"printf x | dd of={blob('qwen2.5/7b')} bs=1 seek=1000 conv=notrunc status=none",
        "model qwen2.5:7b: blob ",
        "content does not match its SHA-256",
    ),
    model(
        6,
        "blob's times",
        f"touch {blob('qwen2.5/7b')}",
        "model qwen2.5:7b: hashes are right, but blobs came or changed their times since they were proved",
        why="nothing but the times differs",
    ),
    model(
        2,
        "one that nobody declared (remove_undeclared_models)",
        ollama("cp llama3.2 drifted"),
        "model drifted:latest: present but not declared",
        "to be removed",
    ),
)


def inside(
    number: int,
    role: str,
    what: str,
    edit: Callable[[Hands], Any] | str,
    old: str,
    new: str = "",
    why: str = "",
) -> Row:
    return Row(what, role, number, edit, old, new, why)


def stored(number: int, name: str, kind: str, field: str, now: Any, old: str, new: str) -> Row:
    def edit(hands: Hands) -> None:
        hands.change_model(name, type=kind, **{field: now})

    label = f"model {name} ({kind}): {field if field != 'vision' else 'vision_support'} "
    return Row(f"Dify's model {name}: {field}", "dify_models", number, edit, f"{label}{old}", f"wanted {new}")


DIFY = (
    inside(
        1,
        "dify_admin",
        "note about a refused login",
        'echo \'{"at": "x", "email": "x", "salt": "00", "hash": "00"}\' > /etc/difyfleet/dify-login-refused.json',
        "/etc/difyfleet/dify-login-refused.json: the login works again",
        why="the note is about another password",
    ),
    stored(1, "qwen2.5:7b", "llm", "context_size", 8192, "'8192'", "'4096'"),
    stored(2, "qwen2.5:7b", "llm", "max_tokens", 100, "'100'", "'4096'"),
    stored(2, "llama3.2", "llm", "mode", "completion", "'completion'", "'chat'"),
    stored(3, "qwen2.5:7b", "llm", "vision", True, "'true'", "'false'"),
    stored(
        1,
        "llama3.2",
        "llm",
        "base_url",
        "http://ollama.difyfleet:11434",
        "'http://ollama.difyfleet:11434'",
        "'http://ollama:11434'",
    ),
    stored(1, "nomic-embed-text", "text-embedding", "context_size", 512, "'512'", "'2048'"),
    inside(
        3,
        "dify_models",
        "Dify's model llama3.2: removed",
        lambda hands: hands.dify.models.remove("llama3.2", "llm"),
        "model llama3.2 (llm): absent",
        why=_GONE,
    ),
    inside(
        1,
        "dify_models",
        "default model: llm",
        lambda hands: hands.dify.models.set_defaults({"llm": "llama3.2"}),
        "default llm model: ollama llama3.2",
        "wanted ollama qwen2.5:7b",
    ),
    inside(
        2,
        "dify_models",
        "default model: text-embedding",
        lambda hands: hands.default_embedding("llama3.2"),
        "default text-embedding model: ollama llama3.2",
        "wanted ollama nomic-embed-text",
    ),
)


def knowledge(number: int, what: str, changes: dict[str, Any], old: str, new: str) -> Row:
    return Row(
        f"knowledge base: {what}",
        "knowledge",
        number,
        lambda hands: hands.set_knowledge(**changes),
        f"knowledge base {KB}: {old}",
        new,
    )


def document(
    number: int,
    name: str,
    what: str,
    edit: Callable[[Hands], Any] | str,
    old: str,
    new: str = "",
    why: str = "",
) -> Row:
    return Row(f"document {name}: {what}", "knowledge", number, edit, f"document {name}: {old}", new, why)


def in_database(name: str, change: str) -> str:
    return sql(f"UPDATE documents SET {change} WHERE name = '{name}'")


KNOWLEDGE = (
    knowledge(1, "description", {"description": "Drift"}, "description 'Drift'", "wanted '云帆 YF-200"),
    knowledge(3, "name", {"name": "Drift"}, "name 'Drift'", f"wanted '{KB}'"),
    knowledge(
        2,
        "permission",
        {"permission": "all_team_members"},
        "permission 'all_team_members'",
        "wanted 'only_me'",
    ),
    knowledge(
        1,
        "search method",
        {"search_search_method": "full_text_search"},
        "search method 'full_text_search'",
        "wanted 'semantic_search'",
    ),
    knowledge(1, "top_k", {"search_top_k": 9}, "search top_k 9", "wanted 4"),
    knowledge(
        3,
        "score threshold",
        {"search_score_threshold": 0.9, "search_score_threshold_enabled": True},
        "search score_threshold 0.9",
        "wanted None",
    ),
    document(
        1, "更新记录.txt", "deleted", lambda hands: hands.delete_document("更新记录.txt"), "absent", why=_GONE
    ),
    document(
        1,
        "技术参数.csv",
        "renamed",
        lambda hands: hands.rename_document("技术参数.csv", "drift.csv"),
        "named drift.csv in Dify",
        "document 技术参数.csv",
    ),
    document(
        1,
        "联系方式.html",
        "switched off",
        lambda hands: hands.switch_document_off("联系方式.html"),
        "switched off in Dify",
        why="declared documents are on",
    ),
    document(
        2,
        "产品概述.md",
        "replaced by another upload",
        lambda hands: hands.replace_document("产品概述.md", b"drift\n"),
        "replaced in Dify by another upload",
        why="content is compared by the upload's id and a hash",
    ),
    document(
        2,
        "常见问题.jsonl.txt",
        "segmented anew",
        lambda hands: hands.segment_anew("常见问题.jsonl.txt"),
        "segmented anew in Dify",
        why="Dify makes a new rule each time; only its id is listed",
    ),
    document(
        2,
        "价格表.xlsx",
        "archived",
        lambda hands: hands.archive_document("价格表.xlsx"),
        "archived in Dify",
        why="declared documents are not",
    ),
    document(
        3,
        "保修条款.pdf",
        "failed",
        in_database("保修条款.pdf", "indexing_status = 'error', error = 'no connection'"),
        "error no connection",
        why="declared documents are indexed",
    ),
    document(
        3,
        "安装手册.docx",
        "without text",
        in_database("安装手册.docx", "word_count = 0"),
        "indexed without any text in it",
        why="what text there should be is in the file",
    ),
    document(
        3,
        "drift.txt",
        "not declared (remove_undeclared_documents)",
        lambda hands: hands.replace_document("drift.txt", b"drift\n"),
        "in Dify, not declared any more",
        why="it goes",
    ),
    Row(
        "knowledge base: deleted",
        "knowledge",
        4,
        lambda hands: hands.dify.datasets.delete(hands.knowledge_id),
        f"knowledge base {KB}: absent",
        "",
        _GONE,
    ),
)


def assistant(
    number: int, what: str, edit: Callable[[Hands], Any] | str, old: str, new: str = "", why: str = ""
) -> Row:
    return Row(f"assistant: {what}", "assistants", number, edit, old, new, why)


def configured(number: int, what: str, old: str, new: str, **changes: Any) -> Row:
    return assistant(number, what, lambda hands: hands.configure(**changes), f"assistant {APP}: {old}", new)


def parameter(number: int, name: str, now: Any, new: str) -> Row:
    return assistant(
        number,
        f"parameter {name}",
        lambda hands: hands.parameter(name, now),
        f"assistant {APP}: parameter {name} {now}",
        new,
    )


ASSISTANTS = (
    assistant(
        1, "name", lambda hands: hands.about(name="Drift"), f"assistant {APP}: name Drift", f"wanted {APP}"
    ),
    assistant(
        1,
        "description",
        lambda hands: hands.about(description="Drift"),
        f"assistant {APP}: description Drift",
        "wanted 根据产品手册回答问题",
    ),
    assistant(
        1,
        "icon",
        lambda hands: hands.about(icon=Icon("🚢", "#FFEAD5")),
        f"assistant {APP}: icon 🚢 on #FFEAD5",
        "wanted 📘 on #FFEAD5",
    ),
    assistant(
        2,
        "icon's background",
        lambda hands: hands.about(icon=Icon("📘", "#000000")),
        f"assistant {APP}: icon 📘 on #000000",
        "wanted 📘 on #FFEAD5",
    ),
    configured(1, "model", "model llama3.2", "wanted qwen2.5:7b", model="llama3.2"),
    configured(1, "prompt", "prompt Drift", "wanted 只根据文档回答，直接写出答案。", prompt="Drift"),
    configured(
        1, "opening statement", "opening Drift", "wanted 您好，请问关于 YF-200 的问题。", opening="Drift"
    ),
    configured(
        1,
        "suggested questions",
        'suggested ["Drift?"]',
        'wanted ["错误代码 E07 是什么意思？"',
        suggested=["Drift?"],
    ),
    configured(
        2,
        "suggestions after an answer",
        "suggested after answer true",
        "wanted false",
        suggested_after_answer=True,
    ),
    configured(1, "citations", "citation switch off", "wanted on", citations=False),
    configured(2, "knowledge bases", "knowledge bases []", f'wanted ["{KB}"]', datasets=[]),
    parameter(1, "temperature", 0.9, "wanted 0"),
    parameter(1, "num_predict", 9, "wanted 60"),
    parameter(1, "num_ctx", 512, "wanted 4096"),
    parameter(1, "top_p", 0.1, "wanted null"),
    parameter(1, "seed", 7, "wanted null"),
    assistant(
        1, "top_k", lambda hands: hands.retrieval(top_k=9), f"assistant {APP}: retrieval top_k 9", "wanted 2"
    ),
    assistant(
        1,
        "score threshold",
        lambda hands: hands.retrieval(score_threshold=0.9),
        f"assistant {APP}: retrieval score_threshold 0.9",
        "wanted null",
    ),
    assistant(
        1,
        "merging without scores",
        lambda hands: hands.retrieval(reranking_enabled=True),
        f"assistant {APP}: retrieval mixed true",
        "wanted false",
    ),
    assistant(
        1,
        "one knowledge base chosen by the model",
        lambda hands: hands.retrieval(retrieval_model="single"),
        f"assistant {APP}: retrieval model single",
        "wanted multiple",
    ),
    assistant(
        2,
        "web page",
        lambda hands: hands.dify.apps.enable_site(hands.app_id, False),
        f"assistant {APP}: web page off",
        "wanted on",
    ),
    assistant(
        2,
        "service API",
        lambda hands: hands.dify.apps.enable_api(hands.app_id, False),
        f"assistant {APP}: service API off",
        "wanted on",
    ),
    assistant(
        2,
        "API key",
        lambda hands: hands.delete_key(),
        f"API key of assistant {APP}: removed in Dify",
        why="a key is never shown",
    ),
    assistant(
        1,
        "API key on the host",
        f"printf app-drifted > {KEY_FILE}",
        f"{KEY_FILE}: another key than the app's in Dify",
        why="a key is never shown",
    ),
    assistant(
        3,
        "API key on the host: mode",
        f"chmod 0644 {KEY_FILE}",
        f"{KEY_FILE}: mode 0644 root:root",
        "wanted 0600",
    ),
    assistant(
        3,
        "model parameter left out",
        lambda hands: hands.configure(params={}),
        f"assistant {APP}: parameter num_ctx null",
        "wanted 4096",
    ),
    assistant(
        4,
        "deleted",
        lambda hands: hands.dify.apps.delete(hands.app_id),
        f"assistant {APP}: absent",
        why=_GONE,
    ),
)
