"""roles.openwebui: what the container is made of before and after its admin is claimed."""

from __future__ import annotations

from typing import Any

import yaml

from difyfleet.operations.compose import Project
from difyfleet.spec.models import Admin, HostSpec, OpenWebui
from roles import openwebui


def spec(**section: Any) -> HostSpec:
    admin = Admin(email="Owner@Example.com", name="owner")
    return HostSpec(name="llm", address="10.0.0.1", admin=admin, openwebui=OpenWebui(**section))


def service(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(project.text)["services"]["open-webui"]
    return found


def test_before_the_claim_only_the_host_itself_reaches_it_and_signup_is_open() -> None:
    container = service(openwebui.private_project(spec()))
    assert container["ports"] == [{"host_ip": "127.0.0.1", "published": "8080", "target": 8080}]
    assert container["environment"]["ENABLE_SIGNUP"] == "true"


def test_afterwards_it_is_published_and_signup_is_closed() -> None:
    container = service(openwebui.public_project(spec()))
    assert container["ports"] == [{"host_ip": "0.0.0.0", "published": "8080", "target": 8080}]
    assert container["environment"]["ENABLE_SIGNUP"] == "false"
    assert container["restart"] == "always"
    assert container["pull_policy"] == "never"


def test_signup_env_of_the_inventory_cannot_close_the_claim() -> None:
    assert (
        service(openwebui.private_project(spec(env={"ENABLE_SIGNUP": "false"})))["environment"][
            "ENABLE_SIGNUP"
        ]
        == "true"
    )


def test_secret_key_is_a_read_only_file_and_not_in_the_environment() -> None:
    container = service(openwebui.public_project(spec()))
    assert "WEBUI_SECRET_KEY" not in container["environment"]
    assert container["volumes"][1] == {
        "type": "bind",
        "source": "/etc/difyfleet/secrets/openwebui_secret_key",
        "target": "/app/backend/.webui_secret_key",
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def test_offline_looks_nothing_up() -> None:
    environment = service(openwebui.public_project(spec()))["environment"]
    assert environment.items() >= openwebui.OFFLINE.items()
    assert "HF_ENDPOINT" not in environment


def test_online_uses_the_documents_mirror() -> None:
    environment = service(openwebui.public_project(spec(offline=False)))["environment"]
    assert environment["HF_ENDPOINT"] == "https://hf-mirror.com"
    assert "OFFLINE_MODE" not in environment


def test_ollama_address() -> None:
    assert openwebui.ollama_url(spec()) == "http://ollama:11434"
    assert openwebui.ollama_url(spec(ollama_url="http://10.0.0.9:11434/")) == "http://10.0.0.9:11434"


def test_admin_is_the_environments_unless_named_and_in_lower_case() -> None:
    assert openwebui.admin_of(spec()).email == "owner@example.com"
    assert (
        openwebui.admin_of(spec(admin={"email": "Chat@example.com", "name": "chat"})).email
        == "chat@example.com"
    )


def test_urls() -> None:
    lan = spec(bind="10.0.0.1", port=8090)
    assert openwebui.private_url(lan) == "http://127.0.0.1:8090"
    assert openwebui.public_url(lan) == "http://10.0.0.1:8090"
    assert openwebui.public_url(spec()) == "http://127.0.0.1:8080"
