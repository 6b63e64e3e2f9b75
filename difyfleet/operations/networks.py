"""The one Docker network on which the stack's parts find each other by name."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from typing import Any

from pyinfra import host

from difyfleet.errors import HostError
from difyfleet.facts.networks import NetworkState
from difyfleet.operations.base import Change, operation, shell

STACK = (
    "difyfleet"  # Ollama is on it as `ollama`; Open WebUI and Dify's api and worker call http://ollama:11434
)


@operation
def network(name: str = STACK) -> Generator[Any, None, None]:
    """A user-defined bridge network. Unlike the default bridge it resolves names, and it outlives the compose projects on it.

    Raises:
        HostError: a network of that name exists but is of another kind.
    """
    found = host.get_fact(NetworkState, network=name)
    if found is None:
        yield Change(f"docker network {name}: absent")
        yield shell(
            f"docker network create --driver bridge --label difyfleet.managed=true {shlex.quote(name)}"
        )
    elif found.driver != "bridge" or found.internal:
        kind = "internal" if found.internal else found.driver
        raise HostError(
            f"docker network {name} exists but is {kind}, a plain bridge is needed",
            hint=f"detach what uses it and remove it: docker network inspect {name}; docker network rm {name}",
        )
