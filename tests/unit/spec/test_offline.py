"""`offline: true` in an inventory."""

from __future__ import annotations

from tests.unit.spec.conftest import Errors, Load

BASE = """
    admin: {email: a@example.com}
    hosts:
      one: 192.0.2.1
      two: {address: 192.0.2.2, offline: true}
"""


def test_an_offline_host_has_no_mirrors(inventory: Load) -> None:
    one, two = inventory(BASE).hosts
    assert one.docker.mirrors
    assert one.docker.mirror_probe
    assert two.offline
    assert two.docker.mirrors == []
    assert not two.docker.mirror_probe


def test_what_needs_a_network_is_refused(errors: Errors) -> None:
    text = """
    admin: {email: a@example.com}
    offline: true
    docker: {method: rpm}
    openwebui: {offline: false}
    ollama: {image: "ollama/ollama@sha256:%s"}
    hosts: {one: 192.0.2.1}
    """
    found = errors(text % ("a" * 64))
    assert [line.split(": ", 2)[1] for line in found] == [
        "docker.method",
        "openwebui.offline",
        "ollama.image",
    ]
    assert "takes the static archive" in found[0]
    assert "name its tag" in found[2]


def test_online_hosts_may_have_all_of_it(inventory: Load) -> None:
    inventory(
        """
        admin: {email: a@example.com}
        docker: {method: rpm}
        openwebui: {offline: false}
        hosts: {one: 192.0.2.1}
        """
    )
