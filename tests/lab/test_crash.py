"""A sample of the crash matrix (`make torture` is the whole of it): pieces of every role are taken away, and the apply that puts them back is
cut ten times. At the end the host is what it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.lab import cuts, hoststate
from tests.lab.conftest import LabHost

pytestmark = pytest.mark.lab

GONE = """
set -e
docker exec ollama ollama rm llama3.2
docker rm -fv open-webui dify-ssrf_proxy-1 dify-nginx-1
docker image rm $(docker image ls -q ubuntu/squid)
rm -f /etc/docker/daemon.json /opt/difyfleet/openwebui/compose.yml /opt/dify/.env
rm -f /etc/difyfleet/secrets/dify_app_key_helper
chmod 0644 /etc/difyfleet/secrets/dify_admin_password
"""
# role -> a change of it; each is cut where it is first met
TEN = {
    "docker": r"/etc/docker/daemon\.json",
    "images": r"difyfleet-pull-",
    "ollama": r"difyfleet-model-",
    "openwebui": r"cd /opt/difyfleet/openwebui .* up -d",
    "dify, files": r"/opt/dify/\.env",
    "dify, containers": r"cd /opt/dify .* up -d",
    "dify_admin": r"secrets/dify_admin_password",
    "dify_models": r"POST \S+/model-providers/ollama/models",
    "knowledge": r"POST \S+/datasets/[^/]+/documents$",
    "assistants": r"POST \S+/console/api/apps$",
}
BY_SSHD = (
    "openwebui",
    "dify_admin",
    "knowledge",
)  # their connection is cut, the others' controller is killed


def test_ten_cuts_over_all_roles_leave_nothing_behind(stack_host: LabHost) -> None:
    before = hoststate.take(stack_host.name)
    dify = hoststate.console(stack_host.name)
    for app in dify.apps.all():
        dify.apps.delete(app.id)
    for dataset in dify.datasets.all():
        dify.datasets.delete(dataset.id)
    dify.models.remove("llama3.2", "llm")
    stack_host.sh(GONE)

    left, end_sshd = dict(TEN), cuts.EndSshd(stack_host)

    def choose(point: cuts.Point, entry: Mapping[str, Any]) -> tuple[str, cuts.Sever] | None:
        role = next((role for role, words in left.items() if re.search(words, entry["what"])), None)
        if role is None:
            return None
        del left[role]
        return ("sshd", end_sshd) if role in BY_SSHD else ("kill", cuts.kill)

    walk = cuts.walk(stack_host, choose, seed=1, say=print)
    end_sshd.close()
    assert left == {}, "changes that were not met"
    assert walk.faults == []
    assert len(walk.cuts) == len(TEN)
    assert max(cut.lock or 0 for cut in walk.cuts) < cuts.LOCK_LIMIT
    assert hoststate.differences(before, hoststate.take(stack_host.name)) == []
    planned = stack_host.plan()
    assert planned.code == 0, planned.would_change
