"""Rows of files and folders: Ollama's, Open WebUI's, Dify's, and the secrets."""

from __future__ import annotations

from difyfleet.diffs import mask_line
from difyfleet.operations.dify_settings import SECRETS, settings
from difyfleet.secrets import MASK, Secret
from difyfleet.spec.models import Dify
from tests.lab.drift.hands import webui
from tests.lab.drift.row import Row, changed, gone, mode, owner, secret_mode, secret_owner

FLEET, OLLAMA, WEBUI, DIFY = (
    "/etc/difyfleet",
    "/opt/difyfleet/ollama",
    "/opt/difyfleet/openwebui",
    "/opt/dify",
)
MARKER = "/opt/open-webui/.difyfleet-admin"


def env_rows() -> tuple[Row, ...]:
    """Every key of Dify's .env, each with another value."""
    found = []
    for _, values in settings(Dify(), {name: Secret("") for name in SECRETS}).sections:
        for key, value in values.items():
            secret = mask_line(f"{key}='x'") != f"{key}='x'"
            found.append(
                Row(
                    f".env: {key}",
                    "dify",
                    1,
                    f"grep -q '^{key}=' {DIFY}/.env && sed -i \"s|^{key}=.*|{key}='drifted'|\" {DIFY}/.env",
                    f"-{key}={MASK}" if secret else f"-{key}='drifted'",
                    f"+{key}={MASK}" if secret else f"+{key}='{value}'",
                    "a secret, or named like one: masked on both sides" if secret else "",
                )
            )
    return tuple(found)


OF_OLLAMA = (
    mode(2, "ollama", "/var/lib/difyfleet", "0755", "0777"),
    owner(2, "ollama", "/var/lib/difyfleet"),
    mode(2, "ollama", "/opt/ollama", "0755", "0777"),
    owner(2, "ollama", "/opt/ollama"),
    mode(2, "ollama", OLLAMA, "0755", "0777"),
    owner(2, "ollama", OLLAMA),
    changed(1, "ollama", f"{OLLAMA}/compose.yml", 'OLLAMA_KEEP_ALIVE: "30m"', 'OLLAMA_KEEP_ALIVE: "5m"'),
    changed(1, "ollama", f"{OLLAMA}/compose.yml", '- host_ip: "127.0.0.1"', '- host_ip: "0.0.0.0"'),
    changed(1, "ollama", f"{OLLAMA}/compose.yml", "restart: always", "restart: unless-stopped"),
    mode(2, "ollama", f"{OLLAMA}/compose.yml"),
    owner(2, "ollama", f"{OLLAMA}/compose.yml"),
    gone(3, "ollama", f"{OLLAMA}/compose.yml"),
)

OF_WEBUI = (
    mode(2, "openwebui", "/opt/open-webui", "0700", "0777"),
    owner(2, "openwebui", "/opt/open-webui"),
    mode(2, "openwebui", WEBUI, "0755", "0777"),
    owner(2, "openwebui", WEBUI),
    changed(1, "openwebui", f"{WEBUI}/compose.yml", 'WEBUI_AUTH: "true"', 'WEBUI_AUTH: "false"'),
    changed(1, "openwebui", f"{WEBUI}/compose.yml", "pids_limit: 4096", "pids_limit: 9"),
    mode(2, "openwebui", f"{WEBUI}/compose.yml"),
    owner(2, "openwebui", f"{WEBUI}/compose.yml"),
    gone(3, "openwebui", f"{WEBUI}/compose.yml"),
    secret_mode(2, "openwebui", "openwebui_secret_key"),
    secret_owner(2, "openwebui", "openwebui_admin_password"),
    Row(
        "admin account: marker removed",
        "openwebui",
        3,
        f"rm {MARKER}",
        "admin account admin@example.com: not claimed",
        "",
        "a marker has no value",
    ),
)

_ADMIN = "/api/v1/auths/admin/config"
OF_WEBUI_SETTINGS = (
    Row(
        "Open WebUI: sign-up",
        "openwebui",
        1,
        webui(_ADMIN, ENABLE_SIGNUP=True),
        "ENABLE_SIGNUP True",
        "wanted False",
    ),
    Row(
        "Open WebUI: role of new accounts",
        "openwebui",
        1,
        webui(_ADMIN, DEFAULT_USER_ROLE="user"),
        "DEFAULT_USER_ROLE user",
        "wanted pending",
    ),
    Row(
        "Open WebUI: community sharing",
        "openwebui",
        1,
        webui(_ADMIN, ENABLE_COMMUNITY_SHARING=True),
        "ENABLE_COMMUNITY_SHARING True",
        "wanted False",
    ),
    Row(
        "Open WebUI: Ollama's address",
        "openwebui",
        1,
        webui("/ollama/config", OLLAMA_BASE_URLS=["http://10.9.9.9:11434"]),
        "Ollama address http://10.9.9.9:11434",
        "wanted http://ollama:11434",
    ),
    Row(
        "Open WebUI: Ollama switched off",
        "openwebui",
        2,
        webui("/ollama/config", ENABLE_OLLAMA_API=False),
        "Ollama address switched off",
        "wanted http://ollama:11434",
    ),
    Row(
        "Open WebUI: OpenAI's API",
        "openwebui",
        1,
        webui("/openai/config", ENABLE_OPENAI_API=True),
        "OpenAI API enabled",
        "wanted off",
    ),
)

_FOLDERS = {
    DIFY: "0755",
    f"{DIFY}/volumes": "0755",
    f"{DIFY}/volumes/app": "0755",
    f"{DIFY}/volumes/db": "0755",
    f"{DIFY}/volumes/redis": "0755",
    f"{DIFY}/volumes/sandbox": "0755",
    f"{DIFY}/volumes/app/storage": "0700",
    f"{DIFY}/volumes/db/data": "0755",
    f"{DIFY}/volumes/redis/data": "0755",
    f"{DIFY}/volumes/weaviate": "0700",
    f"{DIFY}/volumes/sandbox/dependencies": "0755",
}
_GIVEN_AWAY = f"{DIFY}/volumes/redis/data"  # belongs to the image's own user

OF_DIFY = (
    mode(2, "dify", FLEET, "0755", "0777"),
    owner(2, "dify", FLEET),
    mode(2, "dify", f"{FLEET}/secrets", "0700", "0777"),
    owner(2, "dify", f"{FLEET}/secrets"),
    *(secret_mode(2, "dify", name) for name in list(SECRETS.values())[::2]),
    *(secret_owner(2, "dify", name) for name in list(SECRETS.values())[1::2]),
    secret_mode(2, "dify_admin", "dify_admin_password"),
    *(
        Row(
            f"secret {SECRETS[name]}: removed",
            "dify",
            5,
            f"rm {FLEET}/secrets/{SECRETS[name]}",
            f"{FLEET}/secrets/{SECRETS[name]}: absent",
            "",
            "a secret is never shown",
        )
        for name in ("redis_password", "weaviate_api_key", "sandbox_api_key", "init_password")
    ),
    *(mode(2, "dify", folder, wanted, "0777") for folder, wanted in _FOLDERS.items()),
    *(owner(2, "dify", folder) for folder in _FOLDERS if folder != _GIVEN_AWAY),
    changed(
        1, "dify", f"{DIFY}/ssrf_proxy/squid.conf", "http_access deny metadata", "http_access allow metadata"
    ),
    mode(2, "dify", f"{DIFY}/ssrf_proxy/squid.conf"),
    owner(2, "dify", f"{DIFY}/ssrf_proxy/squid.conf"),
    gone(3, "dify", f"{DIFY}/ssrf_proxy/squid.conf"),
    changed(1, "dify", f"{DIFY}/nginx/nginx.conf", "server_tokens off;", "server_tokens on;"),
    changed(1, "dify", f"{DIFY}/nginx/proxy.conf", "proxy_buffering off;", "proxy_buffering on;"),
    changed(
        1,
        "dify",
        f"{DIFY}/nginx/conf.d/default.conf",
        "limit_req zone=login burst=20 nodelay;",
        "limit_req zone=login burst=200 nodelay;",
    ),
    *(
        row(2, "dify", f"{DIFY}/nginx/{path}")
        for row in (mode, owner)
        for path in ("nginx.conf", "proxy.conf", "conf.d/default.conf")
    ),
    gone(3, "dify", f"{DIFY}/nginx/nginx.conf"),
    gone(3, "dify", f"{DIFY}/nginx/proxy.conf"),
    gone(4, "dify", f"{DIFY}/nginx/conf.d/default.conf"),
    Row(
        "TLS key without HTTPS",
        "dify",
        1,
        f"mkdir -p {DIFY}/nginx/ssl; echo key > {DIFY}/nginx/ssl/dify.key",
        f"{DIFY}/nginx/ssl/dify.key: present",
        "wanted absent",
    ),
    *env_rows(),
    mode(2, "dify", f"{DIFY}/.env", "0600"),
    owner(2, "dify", f"{DIFY}/.env"),
    gone(3, "dify", f"{DIFY}/.env"),
    changed(1, "dify", f"{DIFY}/compose.yml", 'image: "nginx:1.27.3"', 'image: "nginx:latest"'),
    changed(1, "dify", f"{DIFY}/compose.yml", '- "0.0.0.0:80:80"', '- "0.0.0.0:8000:80"'),
    changed(1, "dify", f"{DIFY}/compose.yml", "internal: true", "internal: false"),
    mode(2, "dify", f"{DIFY}/compose.yml", "0600"),
    owner(2, "dify", f"{DIFY}/compose.yml"),
    gone(3, "dify", f"{DIFY}/compose.yml"),
)
