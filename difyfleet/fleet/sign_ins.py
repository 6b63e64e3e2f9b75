"""The sign-ins of a run that may be made ahead, on the host (remote/requests_ahead.py): whose, and where their passwords are."""

from __future__ import annotations

from difyfleet.clients import openwebui
from difyfleet.clients.dify.console import session
from difyfleet.content.console import ADMIN_PASSWORD
from difyfleet.facts.dify_state import REFUSED_PATH
from difyfleet.facts.secrets import SECRETS_DIR
from difyfleet.remote.learned_requests import SignIn
from difyfleet.spec.models import HostSpec
from difyfleet.spec.secret_values import value_of

OPENWEBUI_PASSWORD = "openwebui_admin_password"  # noqa: S105 - a name


def sign_ins(spec: HostSpec) -> tuple[SignIn, ...]:
    """Dify's and Open WebUI's admin. Dify counts wrong passwords: none is tried while the note about a refused one is there."""
    return (
        SignIn(
            "dify",
            session.SIGN_IN,
            "password",
            session.TOKEN,
            lambda: value_of(spec.admin.password),
            f"{SECRETS_DIR}/{ADMIN_PASSWORD}",
            unless=(REFUSED_PATH,),
        ),
        SignIn(
            "openwebui",
            openwebui.SIGN_IN,
            "password",
            openwebui.TOKEN,
            lambda: value_of(spec.openwebui.admin.password or spec.admin.password),
            f"{SECRETS_DIR}/{OPENWEBUI_PASSWORD}",
        ),
    )
