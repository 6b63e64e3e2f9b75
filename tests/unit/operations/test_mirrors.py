"""Which mirrors are written: the rule that answers are recorded and stand."""

from __future__ import annotations

from typing import Any

from difyfleet.facts.mirrors import Answer, MirrorProbe, MirrorRecord
from difyfleet.operations import mirrors
from difyfleet.spec import defaults
from tests.unit.fakehost import FakeHost, fact, fake_host
from tests.unit.operations.docker_facts import docker

A, B, C = "https://a.example", "https://b.example", "http://c.example:5000"
IMAGES = ("ghcr.io/open-webui/open-webui:0.4.7", "nginx:1.27.3")
GOOD, BAD = Answer(True, "serves library/nginx:1.27.3"), Answer(False, "connection refused")


def known(
    declared: list[str], recorded: dict[str, Answer], asked: dict[str, Answer] | None = None, **options: Any
) -> mirrors.Mirrors:
    """The decision. `asked`: what the mirrors answer, in the order they are asked; None = asking is a failure of the test."""
    data = {"reprobe_mirrors": options.pop("again", False)}
    answers: dict[Any, Any] = {fact(MirrorRecord): recorded}
    if asked is not None:
        answers[fact(MirrorProbe, urls=tuple(asked), timeout=4.0, image="library/nginx:1.27.3")] = asked
    with fake_host(answers, **data):
        return mirrors.known(docker(mirrors=declared, **options), IMAGES)


def test_the_documents_list_has_eleven_distinct_entries() -> None:
    assert len(mirrors.distinct(defaults.MIRRORS)) == 11
    assert mirrors.distinct([A, f"{A}/", B, A]) == (A, B)


def test_recorded_answers_stand() -> None:
    found = known([A, B], {A: GOOD, B: BAD})
    assert (found.alive, found.left_out, found.fresh) == ((A,), {B: "connection refused"}, ())


def test_only_new_mirrors_are_asked() -> None:
    found = known([C, A], {A: GOOD}, {C: GOOD})
    assert found.alive == (C, A)
    assert found.fresh == (C,)
    assert mirrors.as_lines(found) == [f"mirror {C}: used (serves library/nginx:1.27.3)"]


def test_a_mirror_taken_out_is_not_asked_and_forgotten() -> None:
    found = known([A], {A: GOOD, B: GOOD})
    assert found.alive == (A,)
    assert "b.example" not in mirrors.record_text(found)


def test_while_none_is_alive_all_are_asked_and_nothing_new_is_no_change() -> None:
    found = known([A, B], {A: BAD, B: BAD}, {A: Answer(False, "silent for 4 s"), B: BAD})
    assert (found.alive, found.fresh) == ((), ())
    found = known([A, B], {A: BAD, B: BAD}, {A: BAD, B: GOOD})
    assert (found.alive, found.fresh) == ((B,), (B,))


def test_asking_again_on_request() -> None:
    found = known([A, B], {A: GOOD, B: BAD}, {A: BAD, B: GOOD}, again=True)
    assert (found.alive, found.fresh) == ((B,), (A, B))


def test_without_probe_the_list_is_taken_as_it_is() -> None:
    assert known([A, B, A], {}, mirror_probe=False).alive == (A, B)


def test_at_most_so_many() -> None:
    assert known([A, B, C], {A: BAD, B: GOOD, C: GOOD}, mirror_max=1).alive == (B,)


def test_a_mirror_is_asked_once_per_run() -> None:
    calls: list[tuple[str, ...]] = []

    class Counting(FakeHost):
        def get_fact(self, cls: type, **kwargs: Any) -> Any:
            if cls is MirrorProbe:
                calls.append(kwargs["urls"])
                return dict.fromkeys(kwargs["urls"], GOOD)
            return {}

    from pyinfra.context import ctx_host

    with ctx_host.use(Counting({})):
        for _ in range(3):
            assert mirrors.known(docker(mirrors=[A, B]), IMAGES).alive == (A, B)
    assert calls == [(A, B)]


def test_names_on_the_hub() -> None:
    assert mirrors.on_hub("nginx:1.27.3") == "library/nginx:1.27.3"
    assert mirrors.on_hub("ollama/ollama") == "ollama/ollama:latest"
    assert mirrors.on_hub("docker.io/library/redis:6-alpine") == "library/redis:6-alpine"
    assert mirrors.on_hub("ghcr.io/open-webui/open-webui:0.4.7") is None
    assert mirrors.on_hub("reg.lan:5000/a:1") is None
    assert mirrors.on_hub("localhost/a:1") is None
    assert mirrors.probe_image(["ghcr.io/a/b:1"]) == ""


def test_foreign_values_of_registry_mirrors() -> None:
    assert mirrors.entry([f"{A}/", 5, B]) == [A, B]
    assert mirrors.entry("wurst") == []
