"""The second half of the role ollama, after Dify's start: models came while containers started; now they are waited for and proved."""

from __future__ import annotations

from collections.abc import Iterator

from difyfleet.checks import Check
from difyfleet.operations import jobs, models
from difyfleet.spec.models import HostSpec

NAME = "ollama"


def wanted(spec: HostSpec) -> bool:
    return spec.ollama.enabled


def converge(spec: HostSpec) -> None:
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


def checks(spec: HostSpec) -> Iterator[Check]:
    """All of the role's checks are in its first half."""
    return iter(())
