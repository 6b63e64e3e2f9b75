"""Runs ON THE HOST as root (Python >= 3.7, standard library): one compose project, asked of the engine's socket, as one JSON object.

One process and one socket instead of a `docker` client for each question: a client costs 50 ms of processor time or more, and a
plan asks for four projects. Nothing is printed where no engine answers. Environments of containers hold secrets and stay here.

The job is one JSON object: `project`, `directory`, `files` (names of compose.yml, .env and the record), `names` (container names),
`images` (references), `views` ("service:/path"), `compose` (argv of compose).
"""

from __future__ import annotations

import os

from difyfleet.facts.engine_socket_script import get, image, quoted, running
from difyfleet.known_script import known, program, state_of
from difyfleet.light_script import dumps, loads, sha256

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from typing import Any

COMPOSE_TIMEOUT = 120.0  # seconds
LABEL = "com.docker.compose."
PLUGINS = tuple(
    f"{folder}/cli-plugins"
    for folder in (
        "/root/.docker",
        "/usr/local/lib/docker",
        "/usr/local/libexec/docker",
        "/usr/lib/docker",
        "/usr/libexec/docker",
    )
)  # where `docker` looks for compose, with HOME=/root
# What could make compose look at other files than its two, or find other words than stand there.
BEYOND = (b"env_file", b"label_file", b"include", b"extends", b"build", b"configs:", b"secrets:", b'configs"', b'secrets"', b"configs'",
          b"secrets'", b"\\x", b"\\u", b"\\U", b"COMPOSE_")  # fmt: skip


def listed(**filters: list[str]) -> list[str]:
    """IDs of the containers, also of stopped ones, that these filters of the engine find."""
    return [each["Id"] for each in get("/containers/json?all=1&filters=" + quoted(dumps(filters))) or ()]


def container(data: Any) -> dict[str, Any]:
    """The fields that are compared. The health of a container that does not run is of an earlier time."""
    config, host, state = data["Config"], data["HostConfig"], data["State"]
    health = (state.get("Health") or {}).get("Status", "") if state["Status"] == "running" else ""
    return {
        "id": data["Id"], "name": data["Name"], "image_id": data["Image"], "image": config["Image"], "labels": config["Labels"],
        "status": state["Status"], "exit_code": state["ExitCode"], "pid": state["Pid"], "started": state["StartedAt"],
        "health": "" if health == "none" else health, "restarts": data["RestartCount"],
        "restart_policy": host["RestartPolicy"]["Name"],
        "networks": {name: each.get("Aliases") for name, each in (data["NetworkSettings"]["Networks"] or {}).items()},
        "ports": data["NetworkSettings"]["Ports"],
        "limits": {"memory": host.get("Memory"), "pids": host.get("PidsLimit"), "nano_cpus": host.get("NanoCpus")},
    }  # fmt: skip


def hash_of(path: str) -> str | None:
    """Hash of a file's content; None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return str(sha256(stream.read()).hexdigest())
    except OSError:
        return None


def view(job: Any, containers: list[dict[str, Any]], wanted: str) -> str | None:
    """Hash of a file as the service's running container sees it: through /proc, a replaced bind mount shows its old content there."""
    service, _, path = wanted.partition(":")
    for each in containers:
        labels = each["labels"] or {}
        mine = labels.get(LABEL + "project") == job["project"] and labels.get(LABEL + "service") == service
        if mine and each["pid"]:
            return hash_of("/proc/{}/root{}".format(each["pid"], path))
    return None


def hashes(job: Any) -> tuple[str | None, str | None]:
    """What compose makes of the files: (its output, None), or (None, its words)."""
    said = known(
        "compose " + dumps([job["project"], job["directory"], job["compose"]]),
        lambda: inputs(job),
        lambda: dumps(asked(job)),
    )
    loaded, error = loads(said)
    return loaded, error


def asked(job: Any) -> tuple[str | None, str | None]:
    """As `hashes`, from compose itself."""
    import subprocess

    done = subprocess.run(
        job["compose"] + ["-p", job["project"], "-f", job["files"][0], "config", "--hash", "*"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=COMPOSE_TIMEOUT, cwd=job["directory"],
    )  # fmt: skip
    said = done.stdout.decode("utf-8", "replace")
    return (said, None) if done.returncode == 0 else (None, said)


def inputs(job: Any) -> str | None:
    """State of all that compose looks at; None = it may look further. Its own settings are left alone by `env -i` (facts.compose.COMPOSE)."""
    directory, docker = os.path.realpath(job["directory"]), program("docker")
    texts = []
    for name in job["files"][:2]:
        try:
            with open(os.path.join(directory, name), "rb") as stream:
                texts.append(stream.read())
        except FileNotFoundError:
            texts.append(b"")
    if docker is None or b"COMPOSE_" in texts[1] or any(word in texts[0] for word in BEYOND):
        return None
    programs = state_of(
        docker, "/root/.docker/config.json", *PLUGINS, *(f"{folder}/docker-compose" for folder in PLUGINS)
    )
    if programs is None or os.path.lexists("/root/.docker/config.json"):
        return None
    return dumps([directory, programs, *(sha256(text).hexdigest() for text in texts)])


def read(job: Any) -> dict[str, Any]:
    """The whole answer: what the job names, as found."""
    ids = listed(label=[LABEL + "project=" + job["project"]])
    if job["names"]:
        ids += listed(name=[f"^/{name}$" for name in job["names"]])
    found = [get(f"/containers/{each}/json") for each in sorted(set(ids))]
    containers = [container(each) for each in found if each]  # one may have gone since
    images = {name: (image(name) or {}).get("Id") for name in job["images"]}
    paths = {name: os.path.join(job["directory"], name) for name in job["files"]}
    compose_file, env_file, record = job["files"]
    loaded, error = hashes(job) if os.path.isfile(paths[compose_file]) else (None, None)
    try:
        with open(paths[record]) as stream:
            recorded = stream.read()
    except OSError:
        recorded = ""
    return {
        "project": job["project"], "containers": containers, "images": images, "files": {name: hash_of(paths[name]) for name in (compose_file, env_file)},
        "hashes": loaded, "error": error, "recorded": recorded, "seen": {each: view(job, containers, each) for each in job["views"]},
    }  # fmt: skip


def project(text: str) -> bytes:
    """The answer to a job; nothing where there is no `docker` or no engine answers."""
    if program("docker") is None or not running():
        return b""
    job = loads(text)
    try:
        if get("/version") is None:
            return b""
    except (OSError, ValueError):
        return b""
    return (dumps(read(job)) + "\n").encode()
