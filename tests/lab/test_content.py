"""What is inside Dify on a real host: documents kept in step, edits found and mended, broken retrieval named, nothing doubled by a cut."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from difyfleet.clients.dify import Dify, ModelConfig, Settings
from difyfleet.secrets import Secret
from tests.lab.conftest import DIFYFLEET, ROOT, LabHost, Outcome

pytestmark = pytest.mark.lab

KB, APP, QUESTION = "产品手册", "产品助手", "错误代码 E07 是什么意思？"
INSIDE = ("--role", "dify_admin", "--role", "dify_models", "--role", "knowledge", "--role", "assistants")


@dataclass
class Inside:
    """The inside of one host's Dify, through the port that a browser would use, and the folder of its documents."""

    host: LabHost
    folder: Path

    def dify(self) -> Dify:
        """See LabHost.console."""
        return self.host.console()

    def edit_app(self, **settings: Any) -> None:
        dify = self.dify()
        identity = self.app_id(dify)
        config: ModelConfig | None = dify.apps.get(identity).config
        assert config is not None
        dify.apps.set_config(identity, config.change(Settings(**settings)))

    def app_id(self, dify: Dify) -> str:
        (found,) = [app for app in dify.apps.all(APP) if app.name == APP]
        return found.id

    def dataset_id(self, dify: Dify) -> str:
        (found,) = [dataset for dataset in dify.datasets.all() if dataset.name == KB]
        return found.id

    def documents(self) -> dict[str, tuple[str, str | None]]:
        """Name -> (document id, upload id). The second changes when a document is replaced."""
        dify = self.dify()
        return {each.name: (each.id, each.file_id) for each in dify.documents.all(self.dataset_id(dify))}

    def plan(self) -> Outcome:
        return self.host.plan(*INSIDE)

    def apply(self) -> Outcome:
        return self.host.apply(*INSIDE)

    def verify(self) -> Outcome:
        return self.host.verify(*INSIDE)


@pytest.fixture
def inside(stack_host: LabHost, tmp_path: Path) -> Iterator[Inside]:
    folder = tmp_path / "documents"
    shutil.copytree(ROOT / "inventory" / "documents", folder)
    declared = yaml.safe_load((ROOT / "inventory" / "lab.yml").read_text())["knowledge"]
    declared["manuals"]["documents"] = str(folder)
    stack_host.write_inventory(knowledge=declared)
    yield Inside(stack_host, folder)
    stack_host.write_inventory()
    if stack_host.plan(*INSIDE).code != 0:
        mended = stack_host.apply(*INSIDE)
        assert mended.code == 0, mended.out + mended.err


def failures(outcome: Outcome) -> str:
    """The evidence of all failed checks."""
    checks = [check for host in outcome.json["hosts"] for check in host["checks"]]
    return "\n".join(
        f"{check['name']}: {check['evidence']}"
        for check in checks
        if not check["ok"] and not check["warn_only"]
    )


def test_the_answer_cites_a_document(inside: Inside) -> None:
    asked = inside.host.difyfleet("ask", str(inside.host.inventory), "helper", QUESTION, "--json")
    assert asked.code == 0, asked.err
    answer = asked.json["hosts"][0]["result"]
    assert "串口没有收到数据" in answer["answer"]
    assert "常见问题.jsonl.txt" in answer["documents"]
    assert 0 < answer["first_token"] <= answer["seconds"]


def test_one_changed_sentence_replaces_exactly_that_document(inside: Inside) -> None:
    before = inside.documents()
    file = inside.folder / "更新记录.txt"
    file.write_text(file.read_text().replace("首个正式版本", "首个公开版本"))
    planned = inside.plan()
    assert planned.would_change == [
        "knowledge: documents of manuals: knowledge base 产品手册: document 更新记录.txt: content changed"
    ]
    applied = inside.apply()
    assert applied.code == 0, applied.out + applied.err
    sent = [entry["what"].split()[0] for entry in inside.host.changing_commands() if entry["via"] == "http"]
    assert sent == ["POST", "POST"], "one upload, one document"
    after = inside.documents()
    assert {name for name in after if after[name] != before[name]} == {"更新记录.txt"}
    assert after["更新记录.txt"][0] == before["更新记录.txt"][0], "replaced in place"
    assert inside.plan().code == 0


def test_a_removed_file_and_a_new_one(inside: Inside) -> None:
    before = inside.documents()
    (inside.folder / "价格表.xlsx").unlink()
    (inside.folder / "附录.md").write_text("# 附录\n\n包装箱尺寸是 300 毫米乘 200 毫米。\n")
    applied = inside.apply()
    assert applied.code == 0, applied.out + applied.err
    after = inside.documents()
    assert set(before) - set(after) == {"价格表.xlsx"}
    assert set(after) - set(before) == {"附录.md"}
    assert all(after[name] == before[name] for name in set(before) & set(after))


def _delete_document(inside: Inside) -> None:
    dify = inside.dify()
    dataset = inside.dataset_id(dify)
    found = dify.documents.find(dataset, "更新记录.txt")
    assert found is not None
    dify.documents.delete(dataset, found.id)


def _delete_key(inside: Inside) -> None:
    dify = inside.dify()
    app = inside.app_id(dify)
    dify.keys.delete(dify.keys.all(app)[0].id, app)


# made one after the other, each found by a plan of its own, and mended together
EDITS: dict[str, tuple[Callable[[Inside], Any], str]] = {
    "prompt": (
        lambda inside: inside.edit_app(prompt="Sei kurz"),
        "prompt Sei kurz, wanted 只根据文档回答，直接写出答案。",
    ),
    "model": (lambda inside: inside.edit_app(model="llama3.2"), "model llama3.2, wanted qwen2.5:7b"),
    "temperature": (
        lambda inside: inside.edit_app(params={"temperature": 0.9, "num_predict": 60, "num_ctx": 4096}),
        "parameter temperature 0.9, wanted 0.0",
    ),
    "citations": (lambda inside: inside.edit_app(citations=False), "citation switch off, wanted on"),
    "knowledge base detached": (
        lambda inside: inside.edit_app(datasets=[]),
        f'knowledge bases [], wanted ["{KB}"]',
    ),
    "document deleted": (_delete_document, "document 更新记录.txt: absent"),
    "key removed": (_delete_key, "API key of assistant 产品助手: removed in Dify"),
    "default model": (
        lambda inside: inside.dify().models.set_defaults({"llm": "llama3.2"}),
        "default llm model: ollama llama3.2, wanted ollama qwen2.5:7b",
    ),
}


def test_edits_in_the_pages_are_found_with_both_values_and_mended(inside: Inside) -> None:
    for name, (edit, said) in EDITS.items():
        edit(inside)
        planned = inside.plan()
        assert planned.code == 2, name
        assert any(said in line for line in planned.would_change), (name, planned.would_change)
    applied = inside.apply()
    assert applied.code == 0, applied.out + applied.err
    again = inside.plan()
    assert again.code == 0, again.would_change


def _empty(inside: Inside) -> None:
    dify = inside.dify()
    dataset = inside.dataset_id(dify)
    for document in dify.documents.all(dataset):
        dify.documents.delete(dataset, document.id)


BROKEN: dict[str, tuple[Callable[[Inside], Any], str]] = {
    "knowledge base emptied": (_empty, "knowledge base 产品手册 is empty"),
    "embedding model removed": (
        lambda inside: inside.dify().models.remove("nomic-embed-text", "text-embedding"),
        "its embedding model nomic-embed-text is not in Dify any more",
    ),
    "weaviate down": (
        lambda inside: inside.host.sh("docker stop dify-weaviate-1"),
        "the vector store (weaviate) does not answer",
    ),
}


@pytest.mark.parametrize(("break_it", "cause"), BROKEN.values(), ids=BROKEN)
def test_broken_retrieval_fails_verify_with_its_cause(
    inside: Inside, break_it: Callable[[Inside], Any], cause: str
) -> None:
    break_it(inside)
    verified = inside.verify()
    assert verified.code == 5, verified.out
    golden = next(
        line for line in failures(verified).splitlines() if line.startswith(f"golden: helper: {QUESTION}")
    )
    assert cause in golden
    mended = inside.host.apply("--role", "dify", *INSIDE)
    assert mended.code == 0, mended.out + mended.err


def test_a_killed_apply_and_a_rerun_leave_nothing_double(inside: Inside) -> None:
    for seconds in (3.0, 6.0):
        dify = inside.dify()
        dify.apps.delete(inside.app_id(dify))
        dify.datasets.delete(inside.dataset_id(dify))
        inside.host.sh("rm -f /etc/difyfleet/dify-state.json /etc/difyfleet/secrets/dify_app_key_helper")
        command = [str(DIFYFLEET), "apply", str(inside.host.inventory), "--yes", *INSIDE]
        environment = {**os.environ, "DIFYFLEET_STATE_DIR": str(inside.host.state)}
        run = subprocess.Popen(
            command, cwd=inside.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=30)
        applied = inside.apply()
        assert applied.code == 0, applied.out + applied.err
        dify = inside.dify()
        assert [app.name for app in dify.apps.all(APP)] == [APP]
        assert [dataset.name for dataset in dify.datasets.all()] == [KB]
        documents = [each.name for each in dify.documents.all(inside.dataset_id(dify))]
        assert len(documents) == len(set(documents)) == 8
        assert len(dify.keys.all(inside.app_id(dify))) == 1


def test_a_wrong_password_is_one_attempt_and_reset_password_mends_it(inside: Inside) -> None:
    host = inside.host
    host.write_inventory(admin={"password": {"env": "ADMIN_PASSWORD"}})
    count = "docker exec dify-redis-1 redis-cli get login_error_rate_limit:admin@example.com"
    for attempt in range(9):  # Dify locks the account at the seventh
        planned = host.difyfleet(
            "plan", str(host.inventory), "--role", "dify_admin", ADMIN_PASSWORD="not-the-Passw0rd"
        )
        assert planned.code == 1
        assert ("One try was made" if attempt == 0 else "is not tried again") in planned.err
    assert host.sh(count).strip() == "1"
    reset = host.difyfleet("dify", "reset-password", str(host.inventory), ADMIN_PASSWORD="a-New-Passw0rd")
    assert reset.code == 0, reset.err
    planned = host.difyfleet(
        "plan", str(host.inventory), "--role", "dify_admin", ADMIN_PASSWORD="a-New-Passw0rd"
    )
    assert planned.code == 0, planned.err
    # by now the login is learned, and made ahead on the host: that is the run's one try, then
    for attempt in range(3):
        planned = host.difyfleet(
            "plan", str(host.inventory), "--role", "dify_admin", ADMIN_PASSWORD="not-the-Passw0rd"
        )
        assert planned.code == 1
        assert ("One try was made" if attempt == 0 else "is not tried again") in planned.err
    assert host.sh(count).strip() == "1"
    host.write_inventory()
    assert host.difyfleet("dify", "reset-password", str(host.inventory)).code == 0
    assert inside.plan().code == 0


def test_requests_are_made_on_the_host_once_and_a_change_by_hand_is_seen(inside: Inside) -> None:
    host = inside.host
    for _ in range(2):
        assert inside.plan().code == 0
    at_dify = "docker logs dify-nginx-1 2>/dev/null"
    before = len(host.sh(at_dify).splitlines())
    assert inside.plan().code == 0
    served = [
        line.split('"')[1].split()[:2] for line in host.sh(at_dify).splitlines()[before:] if '"' in line
    ]
    asked = Counter(" ".join(each) for each in served if "/console/api/" in each[-1])
    assert asked["POST /console/api/login"] == 1
    assert sum(asked.values()) >= 8
    assert set(asked.values()) == {1}, asked
    assert not [entry["what"] for entry in host.last_journal() if entry["via"] == "http"]
    inside.edit_app(opening="by hand")
    found = inside.plan()
    assert found.code == 2
    assert "opening" in found.out
    assert inside.apply().code == 0
    assert inside.plan().code == 0


def test_a_locked_account_is_unlocked(inside: Inside) -> None:
    host = inside.host
    client = host.page()
    for _ in range(7):
        with pytest.raises(Exception, match=r"mismatch|too many|locked|Too many|incorrect"):
            client.session.login("admin@example.com", Secret("not-the-Passw0rd"))
    locked = host.plan("--role", "dify_admin")
    assert locked.code == 1
    assert "difyfleet dify unlock" in locked.out + locked.err
    assert host.difyfleet("dify", "unlock", str(host.inventory)).code == 0
    assert host.plan("--role", "dify_admin").code == 0


def test_pull_then_plan_is_empty(inside: Inside, tmp_path: Path) -> None:
    host = inside.host
    target = tmp_path / "pulled.yml"
    pulled = host.difyfleet(
        "pull", str(host.inventory), "-o", str(target), "--documents", str(host.folder / "pulled")
    )
    assert pulled.code == 0, pulled.err
    for file in (ROOT / "inventory" / "documents").iterdir():
        if file.suffix != ".jsonl":
            (copy,) = (host.folder / "pulled").rglob(file.name)
            assert copy.read_bytes() == file.read_bytes()
    base = yaml.safe_load(host.inventory.read_text())
    declared = yaml.safe_load(target.read_text())
    adopted = host.folder / "adopted.yml"
    adopted.write_text(yaml.safe_dump({**base, "assistants": {}, **declared}, allow_unicode=True))
    host.sh("mv /etc/difyfleet/dify-state.json /root/")
    try:
        planned = host.difyfleet("plan", str(adopted), "--json")
        assert planned.code == 0, planned.would_change
    finally:
        host.sh("mv /root/dify-state.json /etc/difyfleet/")


def test_export_and_import(inside: Inside, tmp_path: Path) -> None:
    host, file = inside.host, tmp_path / "app.yml"
    assert host.difyfleet("dify", "export", str(host.inventory), "helper", "-o", str(file)).code == 0
    taken = host.difyfleet("dify", "import", str(host.inventory), str(file))
    assert taken.code == 1
    assert "there is an app '产品助手' already" in taken.err
    made = host.difyfleet("dify", "import", str(host.inventory), str(file), "--name", "复本", "--json")
    assert made.code == 0, made.err
    dify = inside.dify()
    (copy,) = [app for app in dify.apps.all("复本") if app.name == "复本"]
    config = dify.apps.get(copy.id).config
    assert config is not None
    assert config.settings().prompt == "只根据文档回答，直接写出答案。"
    assert made.json["hosts"][0]["result"]["missing"] == []
    dify.apps.delete(copy.id)
