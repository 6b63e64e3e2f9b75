"""Runs ON THE HOST as root (Python >= 3.7, standard library): one compose project, asked of the engine's socket, as one JSON object.

One process and one socket instead of a `docker` client for each question: a client costs 50 ms of processor time or more, and a
plan asks for four projects. Nothing is printed where no engine answers. Environments of containers hold secrets and stay here.

One JSON object on argv: `project`, `directory`, `files` (names of compose.yml, .env and the record), `names` (container names),
`images` (references), `views` ("service:/path"), `compose` (argv of compose).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from typing import Any

SOCKET = "/var/run/docker.sock"
TIMEOUT = 20.0  # seconds; an engine that hangs counts as none
COMPOSE_TIMEOUT = 120.0  # seconds
LABEL = "com.docker.compose."


def get(path: str) -> Any:
    """What the engine answers to GET, or None. HTTP/1.0: no chunks, and the end of the connection is the end of the answer."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(TIMEOUT)
        link.connect(SOCKET)
        link.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        parts = []
        while True:
            part = link.recv(1 << 16)
            if not part:
                break
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    return json.loads(body.decode()) if head.split(b" ", 2)[1:2] == [b"200"] else None


def quoted(text: str) -> str:
    """For a query of a URL; the standard library's own costs more to import than the whole answer."""
    return "".join(
        c if c.isalnum() and c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in text
    )


def listed(**filters: list[str]) -> list[str]:
    """IDs of the containers, also of stopped ones, that these filters of the engine find."""
    return [each["Id"] for each in get("/containers/json?all=1&filters=" + quoted(json.dumps(filters))) or ()]


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


def sha256(path: str) -> str | None:
    """Hash of a file's content; None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return None


def view(job: Any, containers: list[dict[str, Any]], wanted: str) -> str | None:
    """Hash of a file as the service's running container sees it: through /proc, a replaced bind mount shows its old content there."""
    service, _, path = wanted.partition(":")
    for each in containers:
        labels = each["labels"] or {}
        mine = labels.get(LABEL + "project") == job["project"] and labels.get(LABEL + "service") == service
        if mine and each["pid"]:
            return sha256("/proc/{}/root{}".format(each["pid"], path))
    return None


def hashes(job: Any) -> tuple[str | None, str | None]:
    """What compose makes of the files: (its output, None), or (None, its words)."""
    done = subprocess.run(
        job["compose"] + ["-p", job["project"], "-f", job["files"][0], "config", "--hash", "*"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=COMPOSE_TIMEOUT, cwd=job["directory"],
    )  # fmt: skip
    said = done.stdout.decode("utf-8", "replace")
    return (said, None) if done.returncode == 0 else (None, said)


def read(job: Any) -> dict[str, Any]:
    """The whole answer: what the job names, as found."""
    ids = listed(label=[LABEL + "project=" + job["project"]])
    if job["names"]:
        ids += listed(name=[f"^/{name}$" for name in job["names"]])
    found = [get(f"/containers/{each}/json") for each in sorted(set(ids))]
    containers = [container(each) for each in found if each]  # one may have gone since
    images = {
        name: (get("/images/{}/json".format(quoted(name).replace("%2F", "/"))) or {}).get("Id")
        for name in job["images"]
    }
    paths = {name: os.path.join(job["directory"], name) for name in job["files"]}
    compose_file, env_file, record = job["files"]
    loaded, error = hashes(job) if os.path.isfile(paths[compose_file]) else (None, None)
    try:
        with open(paths[record]) as stream:
            recorded = stream.read()
    except OSError:
        recorded = ""
    return {
        "project": job["project"], "containers": containers, "images": images, "files": {name: sha256(paths[name]) for name in (compose_file, env_file)},
        "hashes": loaded, "error": error, "recorded": recorded, "seen": {each: view(job, containers, each) for each in job["views"]},
    }  # fmt: skip


def main() -> None:
    """Print the answer; nothing where no engine answers."""
    job = json.loads(sys.argv[1])
    try:
        if get("/version") is None:
            return
    except (OSError, ValueError):
        return
    json.dump(read(job), sys.stdout)


if __name__ == "__main__":
    main()
