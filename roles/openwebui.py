"""Open WebUI in a container: a chat page on top of Ollama, its admin claimed before the port is open to others."""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra import host

from difyfleet.checks import Check
from difyfleet.clients.openwebui import OpenWebuiClient, OpenWebuiError
from difyfleet.errors import HostError
from difyfleet.facts.compose import COMPOSE
from difyfleet.facts.secrets import SECRETS_DIR
from difyfleet.operations import compose, files, networks, openwebui, secrets
from difyfleet.operations.openwebui import ADMIN_PASSWORD, SECRET_KEY, Admin, Settings
from difyfleet.operations.render import render
from difyfleet.remote.http import reading
from difyfleet.spec.models import HostSpec
from difyfleet.spec.secret_values import value_of
from difyfleet.stack import Part
from roles._containers import container_checks

NAME = "openwebui"
DIRECTORY = "/opt/difyfleet/openwebui"
LOOPBACK = "127.0.0.1"

# Nothing is looked up outside; else the first start waits for Hugging Face and each model list for api.openai.com.
OFFLINE = {
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_MODEL_AUTO_UPDATE": "false",
    "RAG_RERANKING_MODEL_AUTO_UPDATE": "false",
    "WHISPER_MODEL_AUTO_UPDATE": "false",
    "ENABLE_OPENAI_API": "false",
    "ENABLE_COMMUNITY_SHARING": "false",
    "ENABLE_RAG_WEB_SEARCH": "false",
}
ONLINE = {"HF_ENDPOINT": "https://hf-mirror.com"}  # as in the user's document


def wanted(spec: HostSpec) -> bool:
    return spec.openwebui.enabled


def converge(spec: HostSpec) -> None:
    webui, admin = spec.openwebui, admin_of(spec)
    guard = openwebui.marker(webui.data_dir)
    generated = {SECRET_KEY: None} | ({} if admin.given else {ADMIN_PASSWORD: None})
    files.directory(SECRETS_DIR, mode="0700", name="folder of kept secrets")
    secrets.keep(
        generated, guards={SECRET_KEY: guard, ADMIN_PASSWORD: guard}, name="secret key and admin password"
    )
    files.directory(
        webui.data_dir, mode="0700", name="data folder"
    )  # accounts and chats are nobody else's to read
    files.directory(DIRECTORY, mode="0755", name="compose folder")
    networks.network(networks.STACK, name="network that Ollama is on")
    openwebui.start_private(private_project(spec), webui.data_dir, name="first start, for this host only")


def claim(spec: HostSpec) -> None:
    """The second part, after Dify's stores began to start: it answers by now."""
    webui, admin, public = spec.openwebui, admin_of(spec), public_project(spec)
    openwebui.claim(admin, webui.data_dir, private_url(spec), public_url(spec), name="admin account")
    if admin.given:
        secrets.keep({ADMIN_PASSWORD: admin.given}, name="admin password kept")
    files.put(
        f"{DIRECTORY}/compose.yml",
        public.text,
        validate=f"{COMPOSE} -f %s config --quiet",
        name="compose.yml",
    )
    compose.begun(
        public, tuple(public.services), name="container as published, waited for after Dify's start"
    )


def settle(spec: HostSpec) -> None:
    """The third part, after Dify's start."""
    webui = spec.openwebui
    compose.up(public_project(spec), wait_timeout=600, name="container")
    openwebui.settings(
        settings_of(spec),
        admin_of(spec),
        webui.data_dir,
        public_url(spec),
        name="settings kept in its database",
    )


claimed, settled = Part(NAME, wanted, claim), Part(NAME, wanted, settle)


def admin_of(spec: HostSpec) -> Admin:
    """The admin account: its own section's values, else the environment's."""
    own = spec.openwebui.admin
    return Admin(
        # Open WebUI stores and compares e-mail addresses in lower case.
        (own.email or spec.admin.email).lower(),
        own.name or spec.admin.name,
        value_of(own.password or spec.admin.password),
    )


def settings_of(spec: HostSpec) -> Settings:
    webui = spec.openwebui
    role = webui.env.get("DEFAULT_USER_ROLE", "pending")
    return Settings(ollama_url(spec), signup=webui.signup, default_role=role, offline=webui.offline)


def ollama_url(spec: HostSpec) -> str:
    """Where the container finds Ollama: by its name on the stack's network, unless the inventory names another server."""
    return str(spec.openwebui.ollama_url or "http://ollama:11434").rstrip("/")


def environment(spec: HostSpec, *, signup: bool) -> dict[str, str]:
    """The container's environment, without the secret key (mounted as a file)."""
    webui = spec.openwebui
    values = {
        "OLLAMA_BASE_URL": ollama_url(spec),
        "WEBUI_AUTH": "true",
        "ENABLE_SIGNUP": "true" if signup else "false",
        "DEFAULT_USER_ROLE": "pending",
    }
    return values | (OFFLINE if webui.offline else ONLINE) | webui.env


def private_project(spec: HostSpec) -> compose.Project:
    """Reachable from the host only. Sign-up is open: up to 0.4 it has to be, even for the first account."""
    return _project(spec, LOOPBACK, environment(spec, signup=True) | {"ENABLE_SIGNUP": "true"})


def public_project(spec: HostSpec) -> compose.Project:
    """As the inventory wants it published."""
    return _project(spec, spec.openwebui.bind, environment(spec, signup=spec.openwebui.signup))


def _project(spec: HostSpec, bind: str, values: dict[str, str]) -> compose.Project:
    text = render(
        "openwebui/compose.yml.j2",
        openwebui=spec.openwebui,
        docker=spec.docker,
        environment=values,
        bind=bind,
        secret_key_file=f"{SECRETS_DIR}/{SECRET_KEY}",
        network=networks.STACK,
    )
    return compose.Project("openwebui", DIRECTORY, compose.stamped(text))


def private_url(spec: HostSpec) -> str:
    """The page before its admin is claimed, on the host."""
    return f"http://{LOOPBACK}:{spec.openwebui.port}"


def public_url(spec: HostSpec) -> str:
    """The page as the host itself reaches it afterwards."""
    bind = spec.openwebui.bind
    return f"http://{LOOPBACK if bind in ('0.0.0.0', '::') else bind}:{spec.openwebui.port}"


def checks(spec: HostSpec) -> Iterator[Check]:
    webui, admin = spec.openwebui, admin_of(spec)
    yield from container_checks(public_project(spec), "open-webui", f"{webui.bind}:{webui.port}->8080/tcp")
    try:
        client = openwebui.signed_in(host, admin, public_url(spec), wait=10.0)
    except (OpenWebuiError, HostError) as error:
        yield Check(
            "admin account: signs in",
            False,
            str(error),
            getattr(error, "hint", None) or "docker logs --tail 100 open-webui",
        )
        return
    with reading():
        yield from signed_in_checks(spec, client, admin)


def signed_in_checks(spec: HostSpec, client: OpenWebuiClient, admin: Admin) -> Iterator[Check]:
    """What only the admin can see: settings as they are in the database, and the models on offer."""
    public = client.public_config()
    yield Check(
        "admin account: claimed and signs in", not public.empty, f"{admin.email}, version {public.version}"
    )
    different = list(settings_of(spec).differences(client))
    yield Check(
        "settings: as declared in its database",
        not different,
        "; ".join(different) or "all",
        "difyfleet apply --role openwebui",
    )
    models = client.models()
    missing = (
        [model.name for model in spec.ollama.declared() if model.name not in models]
        if spec.ollama.enabled
        else []
    )
    yield Check(
        "Ollama: its models are on offer",
        bool(models) and not missing,
        ", ".join(models)
        if not missing
        else f"missing {', '.join(missing)}; on offer: {', '.join(models) or 'none'}",
        f"does the container reach {ollama_url(spec)}? docker exec open-webui curl -s {ollama_url(spec)}/api/version",
    )
