"""Runs ON A HOST (python3 >= 3.7, as root): what the playbook declares, read from a host that difyfleet made, as JSON."""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

FILES = (
    "/etc/sysctl.d/99-zz-difyfleet.conf",
    "/etc/systemd/system/docker.service",
    "/etc/docker/daemon.json",
    "/etc/difyfleet/daemon.json",
    "/etc/difyfleet/mirrors.json",
    "/etc/difyfleet/engine.json",
    "/etc/difyfleet/images.json",
    "/etc/difyfleet/canary.json",
    "/opt/difyfleet/ollama/compose.yml",
    "/opt/difyfleet/openwebui/compose.yml",
    "/opt/dify/ssrf_proxy/squid.conf",
    "/opt/dify/nginx/nginx.conf",
    "/opt/dify/nginx/proxy.conf",
    "/opt/dify/nginx/conf.d/default.conf",
    "/opt/dify/.env",
    "/opt/dify/compose.yml",
)
FOLDERS = (
    "/var/lib/difyfleet",
    "/opt/ollama",
    "/opt/difyfleet/ollama",
    "/opt/open-webui",
    "/opt/difyfleet/openwebui",
    "/etc/difyfleet",
    "/etc/difyfleet/secrets",
    "/opt/dify",
    "/opt/dify/volumes",
    "/opt/dify/volumes/app",
    "/opt/dify/volumes/app/storage",
    "/opt/dify/volumes/db",
    "/opt/dify/volumes/db/data",
    "/opt/dify/volumes/redis",
    "/opt/dify/volumes/redis/data",
    "/opt/dify/volumes/sandbox",
    "/opt/dify/volumes/sandbox/dependencies",
    "/opt/dify/volumes/weaviate",
)
SECRETS = "/etc/difyfleet/secrets"
WEBUI, DIFY = "http://127.0.0.1:8080", "http://127.0.0.1/console/api"
WEBUI_SETTINGS = ("/ollama/config", "/api/v1/auths/admin/config", "/openai/config")


def output(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout


def attributes(path: str) -> dict[str, str]:
    found = os.lstat(path)
    return {
        "path": path,
        "mode": format(found.st_mode & 0o7777, "04o"),
        "owner": pwd.getpwuid(found.st_uid).pw_name if found.st_uid in known else str(found.st_uid),
    }


def ask(url: str, token: str | None = None, **body: object) -> Any:
    request = urllib.request.Request(url, headers={"Content-Type": "application/json"})  # noqa: S310 - our own addresses
    if token:
        request.add_header("Authorization", "Bearer " + token)
    if body:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def password(name: str) -> str:
    with open(os.path.join(SECRETS, name)) as file:
        return file.read().strip()


def dify_pages(state: dict[str, Any], models: list[tuple[str, str]]) -> Iterator[str]:
    """What a plan of difyfleet asks of Dify's console."""
    yield from ("/workspaces/current/model-providers/ollama/models",)
    for name, kind in models:
        yield (
            f"/workspaces/current/model-providers/ollama/models/credentials?model={name}&model_type={kind}"
        )
    for kind in ("llm", "text-embedding"):
        yield "/workspaces/current/default-model?model_type=" + kind
    for known in state["knowledge"].values():
        yield "/datasets/" + known["id"]
        yield "/datasets/{}/documents?page=1&limit=100".format(known["id"])
    for known in state["assistants"].values():
        yield "/apps/" + known["id"]
        yield "/apps/{}/api-keys".format(known["id"])


known = {entry.pw_uid for entry in pwd.getpwall()}
email, models = os.environ["EMAIL"], json.loads(os.environ["MODELS"])
files = []
for path in FILES:
    with open(path, "rb") as file:
        files.append({"content": base64.b64encode(file.read()).decode(), **attributes(path)})
with open("/etc/difyfleet/dify-state.json", encoding="utf-8") as kept:
    state = json.load(kept)
with open("/etc/difyfleet/images.json", encoding="utf-8") as kept:
    images = json.load(kept)
webui = ask(WEBUI + "/api/v1/auths/signin", email=email, password=password("openwebui_admin_password"))[
    "token"
]
console = ask(DIFY + "/login", email=email, password=password("dify_admin_password"), remember_me=True)
token = console["data"]["access_token"]
print(
    json.dumps(
        {
            "email": email,
            "files": files,
            "folders": [attributes(path) for path in FOLDERS],
            "secrets": sorted(os.listdir(SECRETS)),
            "versions": output(
                "sh", "-c", "docker version --format '{{.Server.Version}}'; docker compose version --short"
            ).split(),
            "mirrors": json.loads(output("docker", "info", "--format", "{{json .RegistryConfig.Mirrors}}")),
            "images": images,
            "models": [name for name, _ in models],
            "webui": [{"path": path, "json": ask(WEBUI + path, webui)} for path in WEBUI_SETTINGS],
            "dify": [{"path": path, "json": ask(DIFY + path, token)} for path in dify_pages(state, models)],
        }
    )
)
