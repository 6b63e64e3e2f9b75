"""What stands between a daemon.json and a restart besides `dockerd --validate`, and what may be shown of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from difyfleet.errors import HostError
from difyfleet.facts.docker import DockerService

PATH = "/etc/docker/daemon.json"
_LOG_OPTIONS = {"max-size": r"-1|\d+(\.\d+)?[kKmMgG]?[bB]?", "max-file": r"[1-9]\d*"}


def shown(text: str | None) -> str | None:
    """A daemon.json for a diff: passwords inside URLs (proxies) masked."""
    return None if text is None else re.sub(r"(?<=//)[^/@\s\"]+@", "********@", text)


def refuse_logging(settings: Mapping[str, Any], service: DockerService) -> None:
    """Raise HostError for log settings with which dockerd starts, but then no container does: it looks at them too late."""
    for option, pattern in _LOG_OPTIONS.items():
        value = (settings.get("log-opts") or {}).get(option)
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise HostError(
                f"{value!r} is no {option}",
                where=f"{PATH}: log-opts",
                hint="sizes are written 20m or 1g, counts 5",
            )
    driver = settings.get("log-driver", "json-file")
    known = service.info.log_drivers if service.info else frozenset()
    if known and isinstance(driver, str) and driver not in known | {"none"}:
        raise HostError(
            f"dockerd has no log driver {driver!r}",
            where=f"{PATH}: log-driver",
            hint=f"it has: {', '.join(sorted(known))}",
        )


def trial(settings: Mapping[str, Any], root: str) -> str:
    """The settings for a dockerd that starts beside the running one and touches nothing of it: own root, socket and no networks."""
    own = (
        "bip",
        "fixed-cidr",
        "hosts",
        "tls",
        "tlsverify",
        "tlscert",
        "tlskey",
        "tlscacert",
        "containerd",
        "cgroup-parent",
    )
    changed = {key: value for key, value in settings.items() if key not in own}
    changed |= {
        "data-root": f"{root}/difyfleet-trial",
        "exec-root": "/run/difyfleet/trial",
        "pidfile": "/run/difyfleet/trial/docker.pid",
        "hosts": ["unix:///run/difyfleet/trial/docker.sock"],
        "bridge": "none",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
    }
    return json.dumps(changed)


def mask_words(words: str) -> str:
    """dockerd's words without its time stamps and without passwords in URLs."""
    found = []
    for line in words.splitlines():
        match = re.match(r'^time="[^"]*" level=\w+ msg="((?:[^"\\]|\\.)*)"(.*)$', line)
        found.append(f"{match[1]}{match[2]}".replace('\\"', '"') if match else line)
    return shown("\n".join(found)) or "no words"
