"""Images: what is to be pulled or tagged, the commands, and waiting for pulls."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from difyfleet import progress
from difyfleet.errors import HostError
from difyfleet.facts.docker import Docker
from difyfleet.facts.files import PathState
from difyfleet.facts.images import Image, ImagePulls, LocalImages, Pull, PullState
from difyfleet.facts.mirrors import Answer, MirrorRecord
from difyfleet.operations import canary, image_pulls, image_work, images
from difyfleet.progress import Amount
from difyfleet.remote.neighbours import Neighbours
from difyfleet.spec.lock import LockedImage
from difyfleet.spec.models import HostSpec
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import file, seen

NGINX, OLLAMA, WEBUI = "nginx:1.27.3", "ollama/ollama:0.4.7", "ghcr.io/open-webui/open-webui:0.4.7"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def image(identity: str, *tags: str, digests: Iterable[str] = ()) -> Image:
    return Image(identity, frozenset(tags), frozenset(digests))


def test_present_by_tag_and_by_digest() -> None:
    there = (image(ONE, "nginx:1.27.3", digests=["nginx@sha256:ab"]),)
    assert image_work.present("docker.io/library/nginx:1.27.3", there) is there[0]
    assert image_work.present("nginx:1.27.3@sha256:ab", there) is there[0]
    assert image_work.present("nginx@sha256:cd", there) is None
    assert image_work.present("nginx", there) is None


def test_what_is_to_be_done() -> None:
    there = (image(ONE, NGINX), image(TWO))
    assert image_work.work((NGINX,), there, {NGINX: ONE}) == image_work.Work()
    assert image_work.work((OLLAMA,), there, {}).notes == (f"image {OLLAMA}: absent",)
    assert image_work.work((OLLAMA,), there, {}).pull == (OLLAMA,)
    assert image_work.work((NGINX,), there, {}).unrecorded == (NGINX,)


def test_a_moved_tag_is_moved_back_or_pulled() -> None:
    moved = image_work.work((NGINX,), (image(ONE, NGINX), image(TWO)), {NGINX: TWO})
    assert moved.retag == ((TWO, NGINX),)
    assert moved.notes == (
        f"image {NGINX}: the tag is on 111111111111, 222222222222 was pulled; tagged again",
    )
    lost = image_work.work((NGINX,), (image(ONE, NGINX),), {NGINX: TWO})
    assert lost.pull == (NGINX,)


def pulled(there: tuple[Image, ...] | None, record: dict[str, str]) -> tuple[list[str], list[str]]:
    wanted = (OLLAMA, NGINX)
    names = (*wanted, *(record[name] for name in wanted if name in record))
    answers = {
        fact(PathState, path=images.RECORD): file(json.dumps(record)) if record else None,
        fact(LocalImages, names=names): there,
    }
    with fake_host(answers):
        found, commands = run_steps(images.pulled, wanted, "/var/lib/docker")
    return [change.why for change in found], [command.split("(")[1].split(",")[0] for command in commands]


def test_pulled() -> None:
    both = (image(ONE, OLLAMA), image(TWO, NGINX))
    assert pulled(both, {OLLAMA: ONE, NGINX: TWO}) == ([], [])
    assert pulled((), {}) == ([f"image {OLLAMA}: absent", f"image {NGINX}: absent"], ["bring", "record"])
    assert pulled(both, {OLLAMA: ONE}) == (
        [f"image {NGINX}: there as 222222222222, not recorded yet"],
        ["record"],
    )


INDEX, CONFIG = "sha256:" + "a" * 64, "sha256:" + "c" * 64
LOCK = {NGINX: LockedImage(digest=INDEX, id=CONFIG)}
BY_DIGEST = f"nginx@{INDEX}"


@pytest.mark.parametrize(
    "found",
    [
        image(CONFIG, NGINX),  # classic store, loaded from an archive: no RepoDigests
        image(CONFIG, NGINX, digests=[BY_DIGEST]),
        image(INDEX, NGINX, digests=[BY_DIGEST]),  # containerd store
    ],
)
def test_the_locked_image_is_left_alone_in_either_store(found: Image) -> None:
    assert image_work.work((NGINX,), (found,), {NGINX: found.id}, LOCK) == image_work.Work()


def test_the_lock_file_outranks_the_record() -> None:
    there = image_work.work((NGINX,), (image(CONFIG, NGINX),), {NGINX: ONE}, LOCK)
    assert there == image_work.Work(
        unrecorded=(NGINX,), notes=(f"image {NGINX}: there as cccccccccccc, not recorded yet",)
    )
    moved = image_work.work((NGINX,), (image(ONE, NGINX),), {NGINX: ONE}, LOCK)
    assert moved == image_work.Work(
        pull=(BY_DIGEST,),
        retag=((BY_DIGEST, NGINX),),
        notes=(
            f"image {NGINX}: the tag is on 111111111111, cccccccccccc is locked; pulled by its digest and tagged",
        ),
    )


def test_a_locked_image_under_no_name_is_tagged_without_a_pull() -> None:
    both = (image(ONE, NGINX), image(CONFIG))
    assert image_work.work((NGINX,), both, {NGINX: ONE}, LOCK) == image_work.Work(
        retag=((CONFIG, NGINX),),
        notes=(f"image {NGINX}: the tag is on 111111111111, cccccccccccc is locked; tagged again",),
    )


def test_what_was_never_in_a_registry_is_pulled_by_its_tag() -> None:
    absent = image_work.work((NGINX,), (), {}, {NGINX: LockedImage(id=CONFIG)})
    assert (absent.pull, absent.retag, absent.notes) == ((NGINX,), (), (f"image {NGINX}: absent",))


def test_a_reference_by_digest_is_never_tagged() -> None:
    reference = f"nginx:1.27.3@{INDEX}"
    absent = image_work.work((reference,), (), {}, {reference: LOCK[NGINX]})
    assert (absent.pull, absent.retag) == ((f"nginx@{INDEX}",), ())


def test_pulled_with_a_lock_file() -> None:
    answers = {
        fact(PathState, path=images.RECORD): file(json.dumps({NGINX: ONE})),
        fact(LocalImages, names=(NGINX, ONE, CONFIG, BY_DIGEST)): (image(ONE, NGINX),),
    }
    with fake_host(answers):
        _, commands = run_steps(images.pulled, (NGINX,), "/var/lib/docker", LOCK)
    todo = image_work.work((NGINX,), (image(ONE, NGINX),), {NGINX: ONE}, LOCK)
    assert commands == [
        f"FunctionCommand(bring, ({todo!r}, '/var/lib/docker', {{'{NGINX}': '{ONE}'}}, {LOCK!r}, ()), {{}})",
        f"FunctionCommand(record, (('{NGINX}',), {LOCK!r}, ()), {{}})",
    ]


def test_another_image_than_the_locked_one_is_an_error_and_not_recorded() -> None:
    host = Host({})
    host.get_fact = lambda *_, **__: (image(ONE, NGINX),)  # type: ignore[method-assign]
    with pytest.raises(HostError, match="the tag is on 111111111111, cccccccccccc is locked") as caught:
        images.record(host, (NGINX,), LOCK)
    assert "--update" in str(caught.value.hint)
    assert host.started == []


def test_a_digest_that_the_registry_has_no_more_is_said() -> None:
    assert "locked digest" in image_pulls._hint({BY_DIGEST: "manifest unknown"})
    assert "name and tag" in image_pulls._hint({NGINX: "manifest unknown"})


def test_while_docker_is_stopped_recorded_images_are_taken_to_be_there() -> None:
    assert pulled(None, {OLLAMA: ONE, NGINX: TWO}) == ([], [])
    assert pulled(None, {OLLAMA: ONE})[0] == [f"image {NGINX}: absent"]
    [kept] = images.assumed(("nginx:1@sha256:ab",), {"nginx:1@sha256:ab": ONE})
    assert image_work.present("nginx:1@sha256:ab", (kept,)) is kept


def test_start_command() -> None:
    name = image_pulls.short(NGINX)
    assert image_pulls.start_command(NGINX) == (
        f"mkdir -p -m 0755 /run/difyfleet/pulls; systemctl -q is-active difyfleet-pull-{name}.service && exit 0; "
        f"rm -f /run/difyfleet/pulls/{name}.rc; "
        f"systemd-run --quiet --collect --unit=difyfleet-pull-{name}.service --description='difyfleet: pull image {NGINX}' "
        f'sh -c \'docker pull "$1" >/run/difyfleet/pulls/{name}.log 2>&1; echo $? >/run/difyfleet/pulls/{name}.rc.new; '
        f"mv -f /run/difyfleet/pulls/{name}.rc.new /run/difyfleet/pulls/{name}.rc' pull {NGINX}"
    )


def begun(spec: HostSpec, *hosts: str) -> list[str]:
    answers = {
        fact(PathState, path=images.RECORD): None,
        fact(LocalImages, names=(NGINX, OLLAMA, WEBUI)): (image(ONE, NGINX),),
    }
    with fake_host(answers, spec=spec, neighbours=Neighbours(hosts)):
        return run_steps(images.begun, (NGINX, OLLAMA, WEBUI), {}, (OLLAMA,))[1]


def test_pulls_of_absent_images_begin_where_no_other_host_may_have_them() -> None:
    assert begun(spec(), "llm") == [f"FunctionCommand(begin, (('{OLLAMA}', '{WEBUI}'),), {{}})"]
    assert begun(spec(), "llm", "other") == []
    assert len(begun(spec(share={"enabled": False}), "llm", "other")) == 1


def test_the_first_pull_has_a_head_start() -> None:
    first, *others = image_pulls.begin_command((OLLAMA, NGINX, WEBUI)).split(") && (")
    assert first == f"({image_pulls.start_command(OLLAMA)}"
    assert others == [
        image_pulls.start_command(NGINX, OLLAMA),
        f"{image_pulls.start_command(WEBUI, OLLAMA)})",
    ]


@pytest.mark.parametrize(
    ("log", "ended", "goes_on"),
    [
        ("a: Pulling fs layer\nb: Pulling fs layer\na: Download complete\n", False, False),
        (
            "a: Pulling fs layer\nb: Pulling fs layer\nb: Download complete\na: Download complete\n",
            False,
            True,
        ),
        ("0.4.7: Pulling from ollama/ollama\na: Already exists\n", False, False),
        ("", True, True),
    ],
)
def test_others_wait_until_the_first_is_downloaded(
    log: str, ended: bool, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_pulls, "PULLS", str(tmp_path))
    monkeypatch.setattr(image_pulls, "HEAD_START", 1)
    (tmp_path / f"{image_pulls.short(OLLAMA)}.log").write_text(log)
    if ended:
        (tmp_path / f"{image_pulls.short(OLLAMA)}.rc").write_text("0\n")
    script = image_pulls._until_downloaded(OLLAMA) + "echo $i"
    looked = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert looked.stdout.strip() == ("0" if goes_on else "2")


def test_what_is_waited_for_first_is_recorded_beside_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(images, "write", lambda on, path, value: written.append((path, value)))
    answers = {
        fact(PathState, path=images.RECORD): file(json.dumps({NGINX: TWO, "gone:1": ONE})),
        fact(LocalImages, names=(OLLAMA,)): (image(ONE, OLLAMA),),
        fact(LocalImages, names=(NGINX, OLLAMA, TWO)): (image(ONE, OLLAMA), image(ONE, NGINX)),
    }
    with fake_host(answers) as host:
        found, commands = run_steps(
            images.pulled, (NGINX, OLLAMA), "/var/lib/docker", image_work.NO_LOCK, (OLLAMA,)
        )
        images.record(host, (NGINX, OLLAMA), image_work.NO_LOCK, (OLLAMA,))
    assert [change.why for change in found] == [f"image {OLLAMA}: there as 111111111111, not recorded yet"]
    assert [command.split("(")[1].split(",")[0] for command in commands] == ["record"]
    assert written == [(images.RECORD, {NGINX: TWO, OLLAMA: ONE})]


class Host:
    """A host whose pulls end as scripted: image -> exit codes of its tries, with words."""

    name = "llm"

    def __init__(self, script: dict[str, list[tuple[int, str]]]) -> None:
        self.script = {image_pulls.short(name): list(ends) for name, ends in script.items()}
        self.started: list[str] = []
        self.asked = 0
        self.most = 0
        self.data: dict[str, Any] = {}

    def run_shell_command(self, command: Any, **_: Any) -> Any:
        text = str(command)
        self.started.append(text.split("--unit=difyfleet-pull-")[1].split(".service")[0])
        return True, type("Output", (), {"stdout_lines": [], "stderr_lines": []})()

    def get_fact(self, cls: type, **kwargs: Any) -> Any:
        if cls is ImagePulls:
            self.asked += 1
            self.most = max(self.most, len(kwargs["hashes"]))
            pulls = {}
            for name in kwargs["hashes"]:
                if self.asked % 2:  # under way at every first look
                    pulls[name] = Pull(active=True, layers=4, ready=1)
                else:
                    code, words = self.script[name].pop(0)
                    pulls[name] = Pull(False, code, 4, 4, (words,))
            return PullState(pulls, 5_000_000)
        return {Docker: seen(), MirrorRecord: {"https://x": Answer(False, "silent for 4 s")}}[cls]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_pulls, "_POLL_SECONDS", 0)


def test_pulls_run_side_by_side_in_order() -> None:
    names = [f"a/image{number}:1" for number in range(6)]
    host = Host({name: [(0, "")] for name in names})
    image_pulls.pull_all(host, tuple(names), "/var/lib/docker")
    assert host.started == [image_pulls.short(name) for name in names]
    assert host.most == len(names)


def test_layers_are_counted_also_of_pulls_that_are_not_waited_for() -> None:
    host = Host({OLLAMA: [(0, "")], NGINX: [(0, "")]})
    seen: list[tuple[str, Amount]] = []
    stop = progress.listen(lambda *_: None, lambda name, amount: seen.append((name, amount)))
    try:
        image_pulls.pull_all(host, (OLLAMA,), "/var/lib/docker", beside=(NGINX,))
    finally:
        stop()
    assert seen == [("llm", Amount("images", 2, 8, "layers")), ("llm", Amount("images", 8, 8, "layers"))]
    assert host.started == [image_pulls.short(OLLAMA)]


def test_a_lost_connection_is_tried_again() -> None:
    host = Host({NGINX: [(1, "net/http: TLS handshake timeout"), (0, "")]})
    image_pulls.pull_all(host, (NGINX,), "/var/lib/docker")
    assert len(host.started) == 2


def test_failures_speak_with_dockers_words_and_name_what_was_asked() -> None:
    host = Host({NGINX: [(1, "manifest unknown")], WEBUI: [(1, "denied: nope")], OLLAMA: [(0, "")]})
    with pytest.raises(HostError) as caught:
        image_pulls.pull_all(host, (OLLAMA, NGINX, WEBUI), "/var/lib/docker")
    text = str(caught.value)
    assert f"{NGINX}: manifest unknown" in text
    assert f"{WEBUI}: denied: nope" in text
    assert (
        "asked: https://docker.m.daocloud.io, then Docker Hub; left out: https://x (silent for 4 s)" in text
    )
    assert "asked directly: ghcr.io (mirrors serve Docker Hub only)" in text
    assert "next: check the image's name and tag" in text
    assert len(host.started) == 3  # what cannot get better is not tried again, and the others were pulled


def test_progress() -> None:
    state = PullState({"h": Pull(True, None, 4, 2)}, 812_345_678)
    assert (
        image_pulls.progress_text(3, 9, {OLLAMA: "h"}, state)
        == f"images: 3 of 9; {OLLAMA} 2/4 layers; 812 MB in flight"
    )
    assert image_pulls.progress_text(9, 9, {}, state) == "images: 9 of 9"


# -- the canary -----------------------------------------------------------------------------------------------------


def spec(**sections: Any) -> HostSpec:
    return HostSpec.model_validate(
        {"name": "llm", "address": "192.0.2.7", "admin": {"email": "a@example.com"}, **sections}
    )


def test_canaries_are_images_with_glibc() -> None:
    assert [(trial.image, trial.program) for trial in canary.trials(spec())] == [
        ("langgenius/dify-api:0.11.2", "python3"),
        (WEBUI, "python3"),
        (OLLAMA, "ollama"),
    ]
    assert [
        trial.image for trial in canary.trials(spec(dify={"enabled": False}, openwebui={"enabled": False}))
    ] == [OLLAMA]
    [trial] = canary.trials(spec(dify={"enabled": False}, openwebui={"enabled": False}))
    assert (
        trial.command
        == f"timeout 90 docker run --rm --pull never --network none --entrypoint ollama {OLLAMA} --version"
    )


def test_the_canarys_program_starts_a_thread() -> None:
    import sys

    assert subprocess.run([sys.executable, "-c", canary._PYTHON], timeout=30, check=False).returncode == 0


def canary_steps(record: str | None, version: str = "26.1.5") -> tuple[list[str], list[str]]:
    with fake_host({fact(PathState, path=canary.RECORD): None if record is None else file(record)}):
        found, commands = run_steps(canary.thread, canary.trials(spec()), version)
    return [change.why for change in found], commands


def test_once_per_engine_version() -> None:
    assert canary_steps('{"engine": "26.1.5", "image": "x"}') == ([], [])
    assert canary_steps(None)[0] == ["canary: no thread started in a container with Docker 26.1.5 yet"]
    assert len(canary_steps('{"engine": "26.1.4"}')[1]) == 1


class CanaryHost:
    def __init__(self, *ends: tuple[bool, str]) -> None:
        self.ends = list(ends)
        self.commands: list[str] = []
        self.data: dict[str, Any] = {}

    def run_shell_command(self, command: Any, **arguments: Any) -> Any:
        self.commands.append(str(command) + arguments.get("_stdin", ""))
        ok, words = self.ends.pop(0)
        return ok, type("Output", (), {"stdout_lines": [], "stderr_lines": [words]})()


def test_a_candidate_without_the_program_is_passed_over() -> None:
    host = CanaryHost((False, 'exec: "python3": executable file not found in $PATH'), (True, ""), (True, ""))
    canary._try(host, canary.trials(spec()), "26.1.5")
    assert WEBUI in host.commands[2]


def test_an_engine_that_kills_canaries() -> None:
    host = CanaryHost((False, "RuntimeError: can't start new thread"))
    with pytest.raises(HostError, match="can't start new thread"):
        canary._try(host, canary.trials(spec()), "18.09.0")
