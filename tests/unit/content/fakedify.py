"""A Dify in memory with the client's interface, as far as the content rooms use it, and a host that keeps files in memory.

It behaves where it matters as the recorded server does: adding is an upsert by file name, a new knowledge base is only_me, a new
app is born with defaults, and each changing call is counted and can be cut before or after it has happened.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pyinfra.api import Config, FunctionCommand, StringCommand
from pyinfra.context import ctx_config, ctx_host, ctx_state

from difyfleet.clients.dify import (
    ApiKey,
    App,
    Batch,
    Dataset,
    DatasetSettings,
    Document,
    Icon,
    IndexingStatus,
    ListedApp,
    ListedModel,
    ModelConfig,
    OllamaModel,
    ProcessRule,
    RetrievalModel,
    SetupStatus,
    UploadedFile,
)
from difyfleet.clients.dify import errors as refused
from difyfleet.clients.dify.console.files import Limits
from difyfleet.content import console
from difyfleet.facts.dify_models import Asked, ModelAnswer, OllamaFromDify, Reach
from difyfleet.facts.dify_state import JsonFile
from difyfleet.facts.dify_uploads import DifyUploads, StoredUpload
from difyfleet.facts.secrets import HostSecrets, KeptSecret
from difyfleet.notes import Change, notes
from difyfleet.secrets import Secret

BORN = {
    "retriever_resource": {"enabled": True},
    "dataset_configs": {"retrieval_model": "multiple", "datasets": {"datasets": []}},
    "model": {"provider": "openai", "name": "gpt-4o", "mode": "chat", "completion_params": {}},
}


class Cut(BaseException):
    """The connection is gone in the middle of a run."""


class FakeDify:
    """Everything of one server."""

    def __init__(self) -> None:
        self.counter = itertools.count(1)
        self.writes: list[str] = []
        self.cut_at: int | None = None
        self.cut_after = False  # the call happens, its answer is lost
        self.admin: tuple[str, Secret] | None = None
        self.init_password: Secret | None = None
        self.logins: list[Secret] = []
        self.stored: dict[tuple[str, str], OllamaModel] = {}
        self.default_models: dict[str, tuple[str, str]] = {}
        self.sets: dict[str, Dataset] = {}
        self.docs: dict[str, dict[str, Document]] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.apps_: dict[str, App] = {}
        self.keys_: dict[str, list[ApiKey]] = {}
        self.fail: dict[str, str] = {}  # document name -> error while indexing
        self.setup = Setup(self)
        self.session = Session(self)
        self.models = Models(self)
        self.datasets = Datasets(self)
        self.files = Files(self)
        self.documents = Documents(self)
        self.apps = Apps(self)
        self.keys = Keys(self)

    def new(self) -> str:
        return f"00000000-0000-0000-0000-{next(self.counter):012d}"

    @contextlib.contextmanager
    def write(self, what: str) -> Iterator[None]:
        """Count a changing call; cut where the test wants it."""
        self.writes.append(what)
        cut = self.cut_at == len(self.writes)
        if cut and not self.cut_after:
            raise Cut(what)
        yield
        if cut:
            raise Cut(what)


class Part:
    def __init__(self, server: FakeDify) -> None:
        self.s = server


class Setup(Part):
    confirmed = False

    def status(self) -> SetupStatus:
        return SetupStatus(self.s.admin is not None)

    def wait(self, seconds: float) -> SetupStatus:
        return self.status()

    def needs_init(self) -> bool:
        return self.s.init_password is not None and not self.confirmed

    def confirm_init(self, password: Secret) -> None:
        if password != self.s.init_password:
            raise refused.InitPasswordWrong("wrong", status=401)
        self.confirmed = True

    def create_admin(self, email: str, name: str, password: Secret) -> bool:
        assert not self.needs_init()
        with self.s.write("setup"):
            if self.s.admin is not None:
                return False
            self.s.admin = (email, password)
        return True


class Session(Part):
    logged_in = False
    crashes = False  # Redis is away, say

    def login(self, email: str, password: Secret) -> None:
        if self.crashes:
            raise refused.ServerCrashed("Internal Server Error", status=500)
        self.s.logins.append(password)
        if self.s.admin != (email, password):
            raise refused.WrongPassword("The email or password is mismatched.", status=400)
        self.logged_in = True


class Models(Part):
    provider = "ollama"

    def all(self) -> list[ListedModel]:
        return [ListedModel("ollama", name, kind, "active") for name, kind in self.s.stored]

    def credentials(self, name: str, kind: str) -> dict[str, str] | None:
        found = self.s.stored.get((name, kind))
        return found.credentials() if found else None

    def add(self, model: OllamaModel) -> None:
        with self.s.write(f"model {model.name}"):
            self.s.stored[model.name, model.type] = model
            self.s.default_models.setdefault(model.type, ("ollama", model.name))

    def default(self, kind: str) -> tuple[str, str] | None:
        return self.s.default_models.get(kind)

    def set_defaults(self, wanted: dict[str, str]) -> None:
        with self.s.write(f"defaults {wanted}"):
            self.s.default_models |= {kind: ("ollama", name) for kind, name in wanted.items()}


class Datasets(Part):
    def all(self, keyword: str | None = None) -> list[Dataset]:
        return [self.get(each) for each in self.s.sets]

    def get(self, identity: str) -> Dataset:
        if identity not in self.s.sets:
            raise refused.NotFound("gone", status=404)
        return replace(self.s.sets[identity], document_count=len(self.s.docs[identity]))

    def find(self, name: str) -> Dataset | None:
        same = [each for each in self.all() if each.name == name]
        if len(same) > 1:
            raise refused.DifyError(
                f"2 knowledge bases are called {name!r}: {', '.join(each.id for each in same)}"
            )
        return same[0] if same else None

    def create(self, name: str, description: str = "", technique: str | None = None) -> Dataset:
        with self.s.write(f"create {name}"):
            made = Dataset(
                self.s.new(),
                name,
                description,
                "only_me",
                technique,
                None,
                None,
                True,
                RetrievalModel(top_k=2),
                0,
                0,
                0,
            )
            self.s.sets[made.id], self.s.docs[made.id] = made, {}
        return made

    def update(self, identity: str, settings: DatasetSettings) -> None:
        with self.s.write(f"update {settings.name}"):
            self.s.sets[identity] = replace(self.s.sets[identity], **vars(settings))


class Files(Part):
    def limits(self) -> Limits:
        return Limits(15, 5)

    def allowed_extensions(self) -> frozenset[str]:
        return frozenset({"txt", "md", "pdf"})

    def upload(self, name: str, content: bytes) -> UploadedFile:
        with self.s.write(f"upload {name}"):
            identity = self.s.new()
            self.s.uploads[identity] = (name, content)
        return UploadedFile(identity, name, len(content), name.rpartition(".")[2], "")


class Documents(Part):
    def all(self, dataset: str) -> list[Document]:
        return list(self.s.docs[dataset].values())

    def add(self, dataset: str, file_ids: list[str], rule: ProcessRule) -> Batch:
        made = []
        with self.s.write("add " + ", ".join(self.s.uploads[each][0] for each in file_ids)):
            rule_id = self.s.new()
            for file_id in file_ids:
                name, content = self.s.uploads[file_id]
                old = next((each for each in self.all(dataset) if each.name == name and each.enabled), None)
                error = self.s.fail.get(name)
                status = "error" if error else "completed"
                words = len(content.decode(errors="replace").strip())
                document = Document(
                    old.id if old else self.s.new(),
                    name,
                    1,
                    status,
                    "available",
                    True,
                    False,
                    error,
                    words,
                    file_id,
                    len(content),
                    "",
                    rule_id,
                )
                self.s.docs[dataset][document.id] = document
                made.append(document)
        return Batch(f"{dataset}/{','.join(each.id for each in made)}", tuple(made))

    def status(self, dataset: str, batch: str) -> list[IndexingStatus]:
        return [self.status_of(dataset, each) for each in batch.partition("/")[2].split(",")]

    def status_of(self, dataset: str, identity: str) -> IndexingStatus:
        found = self.s.docs[dataset][identity]
        if found.indexing_status == "indexing":  # the worker is done by the time somebody looks
            found = self.s.docs[dataset][identity] = replace(found, indexing_status="completed")
        segments = 1 if found.word_count and not found.error else 0
        return IndexingStatus(identity, found.indexing_status, segments, segments, found.error)

    def delete(self, dataset: str, identity: str) -> None:
        with self.s.write(f"delete {self.s.docs[dataset][identity].name}"):
            del self.s.docs[dataset][identity]

    def rename(self, dataset: str, identity: str, name: str) -> None:
        with self.s.write(f"rename {name}"):
            found = self.s.docs[dataset][identity]
            self.s.docs[dataset][identity] = replace(found, name=name)

    def enable(self, dataset: str, identity: str, on: bool = True) -> None:
        with self.s.write(f"enable {self.s.docs[dataset][identity].name}"):
            self.s.docs[dataset][identity] = replace(self.s.docs[dataset][identity], enabled=on)


class Apps(Part):
    def all(self, name: str | None = None) -> list[ListedApp]:
        return [
            ListedApp(app.id, app.name, app.mode, app.description, app.icon, 0)
            for app in self.s.apps_.values()
        ]

    def find(self, name: str, mode: str | None = None) -> ListedApp | None:
        same = [app for app in self.all() if app.name == name and mode in (None, app.mode)]
        if len(same) > 1:
            raise refused.DifyError(f"2 apps are called {name!r}: {', '.join(each.id for each in same)}")
        return same[0] if same else None

    def get(self, identity: str) -> App:
        if identity not in self.s.apps_:
            raise refused.NotFound("gone", status=404)
        return self.s.apps_[identity]

    def create(self, name: str, mode: str, description: str, icon: Icon | None) -> str:
        with self.s.write(f"app {name}"):
            identity = self.s.new()
            config = ModelConfig.from_answer(BORN)
            self.s.apps_[identity] = App(
                identity, name, mode, description, icon or Icon(), True, True, config, {}, ""
            )
            self.s.keys_[identity] = []
        return identity

    def update(self, identity: str, name: str, description: str, icon: Icon) -> None:
        with self.s.write(f"about {name}"):
            self.s.apps_[identity] = replace(
                self.s.apps_[identity], name=name, description=description, icon=icon
            )

    def set_config(self, identity: str, config: ModelConfig) -> None:
        with self.s.write("config"):
            body = {key: value for key, value in config.body().items() if value is not None}
            self.s.apps_[identity] = replace(self.s.apps_[identity], config=ModelConfig.from_answer(body))

    def enable_site(self, identity: str, on: bool) -> None:
        with self.s.write(f"site {on}"):
            self.s.apps_[identity] = replace(self.s.apps_[identity], enable_site=on)

    def enable_api(self, identity: str, on: bool) -> None:
        with self.s.write(f"api {on}"):
            self.s.apps_[identity] = replace(self.s.apps_[identity], enable_api=on)


class Keys(Part):
    def all(self, app_id: str) -> list[ApiKey]:
        return list(self.s.keys_[app_id])

    def create(self, app_id: str) -> ApiKey:
        with self.s.write("key"):
            made = ApiKey(self.s.new(), Secret(f"app-{self.s.new()}"), 0)
            self.s.keys_[app_id].append(made)
        return made


class FakeOn:
    """A host: files in memory, facts answered from them and from the server."""

    name = "llm"

    def __init__(self, server: FakeDify, files: dict[str, str] | None = None) -> None:
        self.server = server
        self.files: dict[str, str] = files if files is not None else {}
        self.connector: Any = None  # no lease
        self.connector_data: dict[str, Any] = {}
        self.data = {"_sudo": True}
        self.current_op_hash: str | None = "op"
        self.executing_op_hash: str | None = None
        self.scripts: list[tuple[str, str]] = []
        self.answers: list[str] = []
        self.reach: dict[str, Reach] | None = None
        self.database = True

    def run_shell_command(self, command: StringCommand, **arguments: Any) -> tuple[bool, Any]:
        text, stdin = command.get_raw_value(), arguments.get("_stdin") or ""
        self.scripts.append((text, stdin))
        written = re.search(r"mv -fT \S+ (\S+)", text)
        if written and "base64 -d" in text:
            self.files[shlex.split(written[1])[0]] = base64.b64decode(stdin).decode()
        removed = re.fullmatch(r"rm -f (\S+)", text)
        if removed:
            self.files.pop(removed[1], None)
        answer = self.answers.pop(0).splitlines() if self.answers and text.startswith("docker") else []
        return True, type("Output", (), {"stdout_lines": answer, "stderr_lines": []})()

    def get_fact(self, fact: type, **kwargs: Any) -> Any:
        if fact is JsonFile:
            text = self.files.get(kwargs["path"], "")
            return JsonFile().process(text.splitlines())
        if fact is HostSecrets:
            folder = "/etc/difyfleet/secrets/"
            found = {
                path.removeprefix(folder): text
                for path, text in self.files.items()
                if path.startswith(folder)
            }
            return {name: KeptSecret(Secret(text), "0600", "root:root") for name, text in found.items()}
        if fact is DifyUploads:
            known = {
                each: self.server.uploads[each]
                for each in kwargs["ids"]
                if self.database and each in self.server.uploads
            }
            return {
                each: StoredUpload(
                    len(content), hashlib.sha3_256(content).hexdigest(), f"upload_files/t/{each}"
                )
                for each, (_, content) in known.items()
            }
        if fact is OllamaFromDify:
            return self.reach if self.reach is not None else good_reach(kwargs["models"])
        raise AssertionError(f"the test gives no answer for {fact.__name__}({kwargs})")


def good_reach(models: tuple[Asked, ...], dimension: int = 768) -> dict[str, Reach]:
    """Both containers reach Ollama, and every model answers."""
    tags = tuple(m.name if ":" in m.name else f"{m.name}:latest" for m in models)
    answers = {m.name: ModelAnswer(0.1, dimension if m.type == "text-embedding" else 0, None) for m in models}
    return {name: Reach(tags, None, answers) for name in ("api", "worker")}


class _State:
    config = Config()

    def __init__(self, executing: bool) -> None:
        self.is_executing = executing


class Failed(Exception):
    """An operation's function failed, with the words for the operator."""


@contextlib.contextmanager
def on_host(on: FakeOn, *, executing: bool = True) -> Iterator[FakeOn]:
    """A context in which `pyinfra.host` is this host and its Dify is the one in memory."""
    original = console.client
    console.client = lambda host, spec: on.server  # type: ignore[assignment, return-value]
    try:
        with ctx_state.use(_State(executing)), ctx_config.use(Config()), ctx_host.use(on):
            yield on
    finally:
        console.client = original


def run(on: FakeOn, operation: Any, *args: Any, executing: bool = True) -> list[str]:
    """Run an operation; its notes. A plan stops at the first command, as pyinfra's does.

    Raises:
        Failed: a function failed.
    """
    said = []
    with on_host(on, executing=executing):
        for step in operation.steps(*args):
            if isinstance(step, Change):
                said.append(step.why)
            elif not executing:
                break
            elif isinstance(step, FunctionCommand):
                if not step.function(None, on, *step.args, **step.kwargs):
                    raise Failed(notes(on, "op").error)
            else:
                on.run_shell_command(step, _stdin=step.connector_arguments.get("_stdin"))
    return said
