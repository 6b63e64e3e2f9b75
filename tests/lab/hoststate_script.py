"""Runs ON A LAB HOST as root (Python 3.11, standard library only): everything that an apply makes there, as one JSON object on standard output.

One JSON object on argv: `names` = text -> what to write for it (the host's name and address, which differ between two hosts).
What differs between two hosts by nature is masked where it is read, so that secrets never leave the host: kept secrets by their name,
ids, times, and hashes over secrets.
"""

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

JOB = json.loads(sys.argv[1])
SECRETS = "/etc/difyfleet/secrets"
ROOTS = [
    "/etc",
    "/opt",
    "/root",
    "/home",
    "/tmp",
    "/var/tmp",
    "/run/difyfleet",
    "/usr/bin",
    "/usr/local",
    "/usr/libexec",
    "/usr/lib/systemd/system",
    "/usr/lib/sysctl.d",
    "/var/lib/difyfleet",
    "/var/spool/cron",
]
# folders of data: only they themselves count here; what is in them is asked from those who own it
DATA = (
    "/opt/open-webui",
    "/opt/dify/volumes",
    "/tmp/systemd-private-",
    "/var/tmp/systemd-private-",
    "/root/.cache",
)
# the machine's own: made at its first start, or of its shell sessions; the lease is the running run's, a pull's log tells of its progress
OWN = re.compile(
    r"^/etc/(machine-id|hostname|hosts|resolv\.conf|\.pwd\.lock|.*-|shadow|ld\.so\.cache|ssh/ssh_host_.*"
    r"|mtab|\.updated|udev/.*|firewalld/.*\.old)$|^/root/\.docker(/|$)|^/run/difyfleet/(lease\.lock|lease\.json|work\.lock)$|/__pycache__(/|$)"
    r"|^/run/difyfleet/pulls/.*\.log$"
    r"|^/tmp/runc-process\d+$"  # there while a health check's exec begins
    r"|^/opt/ollama/id_ed25519|^/opt/ollama/history$"
)
RECORDS = re.compile(r"^(/etc|/var/lib)/difyfleet/[^/]+\.json$")
# its ids are help for the memory only: without them things are found by name, so a cut run may have left some out
REMEMBERED = "/etc/difyfleet/dify-state.json"
TEXT_LIMIT = 64 * 1024
TABLES = ["accounts", "tenants", "tenant_account_joins", "provider_models", "tenant_default_models", "datasets", "documents", "document_segments", "apps", "api_tokens", "installed_apps", "sites", "app_dataset_joins"]  # fmt: skip
RESIDUE_TABLES = ("upload_files", "app_model_configs")
LABELS = ("com.docker.compose.config-hash", "com.docker.compose.project.config_files.hash", "io.difyfleet.stamp",
          "com.docker.compose.replace", "com.docker.compose.image")  # fmt: skip


def run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(
        argv,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
    )
    return done.stdout


def kept_secrets() -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir(SECRETS)) if os.path.isdir(SECRETS) else []:
        path = os.path.join(SECRETS, name)
        if os.path.isfile(path):
            with open(path) as stream:
                found[name] = stream.read().strip()
    return found


KEPT = kept_secrets()


def masked(text: str) -> str:
    """The text with secrets, names, ids and times of this host replaced."""
    for name, value in sorted(KEPT.items(), key=lambda item: -len(item[1])):
        if value:
            text = text.replace(value, f"<secret {name}>")
    for name, shown in JOB["names"].items():
        text = text.replace(name, shown)
    text = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>", text)
    return re.sub(r'(io\.difyfleet\.stamp"?: ?"?)[0-9a-f]{32}', r"\1<stamp>", text)


def record(value: Any) -> Any:
    """A JSON record without what differs by nature: numbers (times, inodes, seconds) and stamps made of them."""
    if isinstance(value, dict):
        return {key: record(each) for key, each in value.items()}
    if isinstance(value, list):
        return [record(each) for each in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0
    return "<stamp>" if isinstance(value, str) and re.match(r"^\d+ \d+ \d+ \d+$", value) else value


def content(path: str) -> str:
    """What a file holds: masked text of what difyfleet may have written, or the hash."""
    with open(path, "rb") as stream:
        raw = stream.read(TEXT_LIMIT + 1)
        if (
            len(raw) > TEXT_LIMIT
            or b"\0" in raw
            or not path.startswith(("/etc/", "/opt/", "/var/lib/difyfleet/", "/run/"))
        ):
            digest = hashlib.sha256(raw)
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
            return "sha256:" + digest.hexdigest()
    text = raw.decode("utf-8", "replace")
    if path.startswith(SECRETS + "/"):
        return f"a secret of {len(text.strip())} characters"
    if RECORDS.match(path):
        try:
            known = json.loads(text)
            if path == REMEMBERED:
                known = known["dimensions"]
            text = json.dumps(record(known), indent=1, sort_keys=True, ensure_ascii=False)
        except ValueError:
            text = "no JSON: " + text
    if path.endswith("/.difyfleet-hashes"):
        # hashes over secrets; one line for each container, the newest first, also of those that an earlier run made
        text = "\n".join(sorted(re.sub(r"[0-9a-f]{64}", "<hash>", text).splitlines()))
    return masked(text)


def files() -> Iterator[tuple[str, list[str]]]:
    for root in ROOTS:
        for folder, below, names in os.walk(root):
            below[:] = sorted(name for name in below if not os.path.join(folder, name).startswith(DATA))
            for name in sorted([*names, *below]):
                path = os.path.join(folder, name)
                if not OWN.search(path):
                    try:
                        yield path, entry(path)
                    except FileNotFoundError:
                        continue


def entry(path: str) -> list[str]:
    state = os.lstat(path)
    mode, owner = f"{stat.S_IMODE(state.st_mode):04o}", f"{state.st_uid}:{state.st_gid}"
    if stat.S_ISLNK(state.st_mode):
        return ["link", "", owner, os.readlink(path)]
    if stat.S_ISDIR(state.st_mode):
        return ["folder", mode, owner, ""]
    return (
        ["file", mode, owner, content(path)] if stat.S_ISREG(state.st_mode) else ["special", mode, owner, ""]
    )


def inspect(kind: str, *listing: str) -> list[Any]:
    names = run("docker", *listing).split()
    return list(json.loads(run("docker", kind, "inspect", *sorted(set(names))) or "[]")) if names else []


def container(data: Any) -> dict[str, Any]:
    config, host = data["Config"], data["HostConfig"]
    labels = {key: value for key, value in (config["Labels"] or {}).items() if key not in LABELS}
    depends = labels.pop("com.docker.compose.depends_on", "")  # compose writes it in any order
    state = data["State"]
    return {
        "image": data["Image"],
        "state": state["Status"],
        "health": (state.get("Health") or {}).get("Status", ""),
        "restart policy": host["RestartPolicy"]["Name"],
        "networks": sorted(data["NetworkSettings"]["Networks"]),
        "ports": host["PortBindings"] or {},
        "mounts": sorted("{} {} {}".format(m["Type"], m["Source"] if m["Type"] == "bind" else "<volume>", m["Destination"]) for m in data["Mounts"]),
        "definition": json.loads(masked(json.dumps(
            {
                "environment": sorted(config["Env"] or []), "command": config["Cmd"], "entrypoint": config["Entrypoint"],
                "user": config["User"], "labels": labels, "capabilities": [host["CapAdd"], host["CapDrop"]],
                "security": host["SecurityOpt"], "logging": host["LogConfig"], "health": config.get("Healthcheck"),
                "after": sorted(depends.split(",")),
            }
        ))),
    }  # fmt: skip


def volume(data: Any) -> str:
    return "<anonymous>" if re.match(r"^[0-9a-f]{64}$", data["Name"]) else str(data["Name"])


def docker() -> dict[str, Any]:
    if not os.path.exists("/usr/bin/docker"):
        return {}
    return {
        "containers": {
            each["Name"].lstrip("/"): container(each) for each in inspect("container", "ps", "-aq")
        },
        "images": {each["Id"]: sorted(each["RepoTags"]) for each in inspect("image", "image", "ls", "-q")},
        "networks": {
            each["Name"]: [
                each["Driver"],
                each["Internal"],
                masked(json.dumps(each["Labels"], sort_keys=True)),
            ]
            for each in inspect("network", "network", "ls", "-q")
        },
        "volumes": sorted(volume(each) for each in inspect("volume", "volume", "ls", "-q")),
    }


def units() -> dict[str, Any]:
    show = run(
        "systemctl",
        "show",
        "-p",
        "ActiveState,UnitFileState,NeedDaemonReload",
        "docker.service",
        "firewalld.service",
    )
    # session-N.scope is of whoever is logged in
    running = run("systemctl", "list-units", "--all", "--no-legend", "--plain", "difyfleet-*", "run-*")
    return {
        "docker and firewalld": show.split(),
        "transient": [
            line.split()[0]
            for line in running.splitlines()
            if line.split() and not line.startswith("run-docker")
        ],
        "failed": [
            line.split()[0]
            for line in run("systemctl", "list-units", "--failed", "--no-legend", "--plain").splitlines()
        ],
        "jobs": [
            line
            for line in run("systemctl", "list-jobs", "--no-legend").splitlines()
            if not line.startswith("No jobs")
        ],
    }


def temporary() -> list[str]:
    words = ["find", "/", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/var/lib/docker", "-o", "-path",
             "/var/lib/containerd", ")", "-prune", "-o"]  # fmt: skip
    names = [
        "(",
        "-name",
        "*difyfleet-new*",
        "-o",
        "-name",
        "*.difyfleet-previous",
        "-o",
        "-name",
        "*-partial*",
        ")",
        "-print",
    ]
    found = [
        path
        for path in run(*words, *names).splitlines()
        if path.startswith("/opt/ollama/") or "-partial" not in path
    ]
    return sorted(found)


def commands() -> list[str]:
    """Programs of the login users that still run: nothing of a run may outlive it. Ours hang on this very login."""
    mine = set()
    pid = os.getpid()
    while pid > 1:
        mine.add(pid)
        with open(f"/proc/{pid}/stat") as stream:
            pid = int(stream.read().rsplit(")", 1)[1].split()[1])
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cgroup") as stream:
                session = "session-" in stream.read()
            with open(f"/proc/{name}/cmdline") as stream:
                words = stream.read().replace("\0", " ").strip()
        except OSError:
            continue
        if session and words and int(name) not in mine and not words.startswith(("sshd: ", "(sd-pam)")):
            found.append(masked(words)[:200])
    return sorted(found)


def database() -> dict[str, Any]:
    query = "".join(f"select '{table}', count(*) from {table};\n" for table in (*TABLES, *RESIDUE_TABLES))
    said = run(
        "docker", "exec", "-i", "dify-db-1", "psql", "-U", "postgres", "-d", "dify", "-tA", stdin=query
    )
    counts = {line.split("|")[0]: int(line.split("|")[1]) for line in said.splitlines() if "|" in line}
    return {"rows": {name: counts[name] for name in TABLES if name in counts},
            "residue": {name: counts[name] for name in RESIDUE_TABLES if name in counts}}  # fmt: skip


def rows(path: str, query: str) -> list[list[Any]]:
    """What a SQLite file answers; nothing if it is not there."""
    if not os.path.exists(path):
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        return [list(row) for row in opened.execute(query)]


def vectors() -> dict[str, Any]:
    """Classes and objects of the vector store: a knowledge base made twice, or segments stored twice, would show here."""
    folder = "/opt/dify/volumes/weaviate"
    if not os.path.exists(f"{folder}/stand-in-schema.json"):
        return {}
    with open(f"{folder}/stand-in-schema.json") as stream:
        classes = json.load(stream)["classes"]
    objects = rows(f"{folder}/stand-in-objects.sqlite", "select count(*) from objects")
    return {"classes": len(classes), "objects": objects[0][0]}


def accounts_of_openwebui() -> list[list[Any]]:
    return rows("/opt/open-webui/webui.db", "select email, role from user order by email")


def main() -> None:
    with open("/proc/sys/net/ipv4/ip_forward") as stream:
        forwarding = stream.read().strip()
    state = {
        "files": dict(files()),
        "docker": docker(),
        "units": units(),
        "temporary files": temporary(),
        "left-over commands": commands(),
        "database": database(),
        "vectors": vectors(),
        "accounts of Open WebUI": accounts_of_openwebui(),
        "forwarding": forwarding,
    }
    json.dump(state, sys.stdout)


if __name__ == "__main__":
    main()
