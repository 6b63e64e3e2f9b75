"""Ollama in a container, kept private, and the models it serves."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.ollama import OllamaClient, OllamaError
from difyfleet.facts.compose import COMPOSE
from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore, Store
from difyfleet.operations import compose, files, jobs, models, networks
from difyfleet.operations.render import render
from difyfleet.remote.http import reading, session
from difyfleet.spec.models import HostSpec, Model, Ollama
from difyfleet.stack import Part
from roles._containers import container_checks

NAME = "ollama"
DIRECTORY = "/opt/difyfleet/ollama"


def wanted(spec: HostSpec) -> bool:
    return spec.ollama.enabled


def converge(spec: HostSpec) -> None:
    ollama, project = spec.ollama, compose_project(spec)
    files.directory("/var/lib/difyfleet", mode="0755", name="folder of difyfleet's own records")
    files.directory(ollama.data_dir, mode="0755", name="data folder")
    files.directory(DIRECTORY, mode="0755", name="compose folder")
    networks.network(networks.STACK, name="network that Open WebUI and Dify reach Ollama on")
    files.put(
        f"{DIRECTORY}/compose.yml",
        project.text,
        validate=f"{COMPOSE} -f %s config --quiet",
        name="compose.yml",
    )
    compose.up(project, wait_timeout=180, name="container")
    if not spec.offline:
        names = tuple(model.name for model in ollama.declared())
        models.begun(
            names, ollama.data_dir, ollama.pull_timeout, name="pulls under way, waited for after Dify's start"
        )


def prove_models(spec: HostSpec) -> None:
    """The second part, after Dify's start: models came while containers started."""
    ollama = spec.ollama
    for model in ollama.declared():
        models.model(
            model.name,
            ollama.data_dir,
            digest=model.digest,
            base_url=ollama.local_url,
            warm=ollama.warm,
            timeout=ollama.pull_timeout,
            offline=spec.offline,
            name=f"model {model.name}",
        )
    jobs.forgotten("model", name="no jobs left over")
    if ollama.remove_undeclared_models:
        models.only_declared(
            tuple(model.name for model in ollama.declared()), ollama.data_dir, name="no other models"
        )


models_proved = Part(NAME, wanted, prove_models)


def compose_project(spec: HostSpec) -> compose.Project:
    """The compose project as this host's section wants it."""
    text = render(
        "ollama/compose.yml.j2",
        ollama=spec.ollama,
        docker=spec.docker,
        environment=environment(spec.ollama),
        network=networks.STACK,
    )
    return compose.Project("ollama", DIRECTORY, compose.stamped(text))


def environment(ollama: Ollama) -> dict[str, str]:
    """The container's environment. NOPRUNE: else each start of the server throws away partial pulls and blobs without a manifest."""
    values = {"OLLAMA_HOST": "0.0.0.0:11434", "OLLAMA_KEEP_ALIVE": ollama.keep_alive, "OLLAMA_NOPRUNE": "1"}
    if ollama.num_parallel:
        values["OLLAMA_NUM_PARALLEL"] = str(ollama.num_parallel)
    if ollama.max_loaded_models:
        values["OLLAMA_MAX_LOADED_MODELS"] = str(ollama.max_loaded_models)
    return values | ollama.env


def checks(spec: HostSpec) -> Iterator[Check]:
    ollama, project = spec.ollama, compose_project(spec)
    yield from container_checks(project, "ollama", f"{ollama.bind}:{ollama.port}->11434/tcp")
    client = OllamaClient(session(host), ollama.local_url)
    yield version_check(client, ollama.image)
    store: Store = host.get_fact(OllamaStore, data_dir=ollama.data_dir, _timeout=HASH_TIMEOUT)
    for model in ollama.declared():
        yield stored_check(store, model)
        yield answer_check(client, model.name)
    yield from leftover_checks(store, ollama)


def version_check(client: OllamaClient, image: str) -> Check:
    """The server is the version the image's tag names; a tag that is no version is only shown."""
    tag = image.rsplit(":", 1)[-1]
    pinned = tag.split("-")[0]
    try:
        version = client.wait(10.0)
    except OllamaError as error:
        return Check(
            "server: answers with the pinned version", False, str(error), "docker logs --tail 100 ollama"
        )
    matches = version == pinned or not pinned[:1].isdigit()
    return Check(
        "server: answers with the pinned version",
        matches,
        f"version {version}, image tag {tag}",
        "difyfleet apply --role images",
    )


def stored_check(store: Store, model: Model) -> Check:
    """The model is on disk, whole, and the declared one."""
    found = store.models.get(model.name)
    wrong = models.faults(found, model.name, model.digest)
    if found is None or wrong:
        return Check(
            f"model {model.name}: complete", False, "; ".join(wrong), "difyfleet apply --role ollama"
        )
    evidence = f"digest {found.digest[:12]}, {len(found.blobs)} blobs, {found.size / 1e9:.1f} GB"
    return Check(f"model {model.name}: complete", True, evidence)


def answer_check(client: OllamaClient, name: str) -> Check:
    """The model does its work, and how long that takes."""
    with reading():
        try:
            return Check(f"model {name}: answers", True, client.ask(name))
        except OllamaError as error:
            return Check(
                f"model {name}: answers", False, str(error), "docker logs --tail 100 ollama; free -m"
            )


def leftover_checks(store: Store, ollama: Ollama) -> Iterator[Check]:
    """What nobody declared is shown, never failed on."""
    extra = sorted(set(store.models) - {model.name for model in ollama.declared()})
    yield Check(
        "models: none beyond the declared",
        not extra,
        ", ".join(f"{name} ({store.models[name].size / 1e9:.1f} GB)" for name in extra) or "none",
        "declare them, or remove them: difyfleet models rm INVENTORY NAME (or ollama.remove_undeclared_models)",
        warn_only=True,
    )
    partial = [name for name in store.strays if "-partial" in name]
    lost = [name for name in store.strays if "-partial" not in name]
    yield Check(
        "models: no left-over blobs",
        not store.strays,
        f"{len(lost)} blobs without a manifest, {len(partial)} parts of unfinished pulls"
        if store.strays
        else "none",
        "restart the container once with OLLAMA_NOPRUNE=false under ollama.env to have Ollama remove them",
        warn_only=True,
    )
