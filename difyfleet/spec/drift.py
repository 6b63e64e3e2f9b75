"""What happens with drift: which roles may be corrected without being asked, who is told, where figures go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from difyfleet.spec.secret_source import SecretSource
from difyfleet.spec.section import MAY_BE_MISSING, Section
from difyfleet.spec.values import HttpUrl

# Every role but the preflight, which has no operations. A test compares them with deploy.py.
RoleName = Literal[
    "docker",
    "images",
    "ollama",
    "openwebui",
    "dify",
    "dify_admin",
    "dify_models",
    "knowledge",
    "assistants",
]
AUTO, REPORT = "auto", "report"


class Notify(Section):
    """Who is told when the state of the fleet changes. A JSON summary without secrets goes to each of them."""

    command: Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Program and arguments, run on the controller without a shell; the summary is its standard input (60 s at most).",
    )
    webhook: HttpUrl | None = Field(None, description="URL that gets the summary as a POST.")
    webhook_from: SecretSource | None = Field(
        None, description="The same for a URL that holds a token: where the URL comes from."
    )
    always: bool = Field(
        False, description="Tell after every run, not only when the state of a host or role is another one."
    )


class Drift(Section):
    """What `difyfleet drift` may do and whom it tells. Only at the top level of the file."""

    correct: dict[RoleName, Literal["auto", "report"]] = Field(
        default_factory=dict,
        description="Role -> auto: `drift --correct` takes back what somebody changed on a host, but nothing that would lose data. "
        "Roles that are not named are only reported.",
    )
    notify: Notify = Field(default_factory=Notify, description="Who is told.")
    full_every: int = Field(
        24,
        ge=0,
        le=24 * 31,
        description="Hours after which `drift --quick` looks at a host in full again, also if all is as it was; "
        "a full look also repeats the checks, with questions to models. 0: always in full.",
    )
    metrics: Path | None = Field(
        None,
        description="File for Prometheus' node_exporter (textfile collector), written anew by every drift run; name it *.prom.",
        json_schema_extra={MAY_BE_MISSING: True},
    )
    html: Path | None = Field(
        None,
        description="File for a page with hosts, roles and history, written anew by every drift run.",
        json_schema_extra={MAY_BE_MISSING: True},
    )

    def corrects(self, role: str) -> bool:
        """Whether `--correct` may change anything of a role."""
        return dict(self.correct).get(role) == AUTO  # type: ignore[call-overload,no-any-return]
