"""Runs ON THE HOST as root (Python >= 3.7, standard library): Docker's service, images and networks, to the byte as their commands tell them."""

from __future__ import annotations

import os

from difyfleet.facts.engine_socket_script import answer, get, image, like_the_client, quoted, running
from difyfleet.facts.files_script import cat
from difyfleet.facts.systemd_script import Refused, Systemd
from difyfleet.known_script import NotPlain, known, output, program, state_of
from difyfleet.light_script import compact

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from typing import Any

INFO = ("ServerVersion", "LiveRestoreEnabled", "LoggingDriver", "DockerRootDir", "Driver", "CgroupVersion", "CgroupDriver", "Containers", "Warnings")  # fmt: skip
PLUGINS = tuple(
    f"{folder}/cli-plugins"
    for folder in (
        "/usr/local/lib/docker",
        "/usr/local/libexec/docker",
        "/usr/lib/docker",
        "/usr/libexec/docker",
    )
)
NO_UNIT = ("org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.DBus.Error.FileNotFound")


def service(keys: str, pending: str) -> bytes:
    """See facts.docker.Docker.

    Raises:
        NotPlain: docker.service is not loaded, or something does not answer.
    """
    link = Systemd()
    try:
        unit = {
            name: link.property(name, "docker.service", "Service" if name == "Result" else "Unit")
            for name in keys.split(",")
        }
        if unit["LoadState"] != "loaded":
            raise NotPlain("docker.service")
        try:
            socket_enabled = link.enabled("docker.socket") == "enabled"
        except Refused as error:
            if str(error) not in NO_UNIT:
                raise
            socket_enabled = False
        socket_active = link.property("ActiveState", "docker.socket") == "active"
        firewalld = "absent"
        if program("firewall-cmd"):
            firewalld = link.property("ActiveState", "firewalld.service")
    finally:
        link.close()
    lines = ["##unit", *sorted(f"{name}={value}" for name, value in unit.items()), "##socket"]
    lines += ["enabled"] * socket_enabled + ["active"] * socket_active
    text = (
        "\n".join([*lines, "##pending", ""]).encode()
        + cat(pending)
        + f"##firewalld\n{firewalld}\n##info\n".encode()
    )
    if running():
        text += f"{info()}\n##chains\n".encode()
        if program("iptables"):
            chains = (("-t", "nat", "-nL", "DOCKER"), ("-nL", "DOCKER"))
            text += (
                b"ok\n"
                if all(output("iptables", "-w", "5", *each)[0] == 0 for each in chains)
                else b"missing\n"
            )
    return text


def info() -> str:
    """`docker info` in facts.docker's form.

    Raises:
        NotPlain: the engine does not answer, or the client would ask another one.
    """
    like_the_client()
    if program("docker") is None:
        raise NotPlain("docker")
    said = get("/info")
    if not said or not said.get("ServerVersion"):
        raise NotPlain("no engine")
    plain = {name: said.get(name) for name in INFO}
    plain["Mirrors"] = (said.get("RegistryConfig") or {}).get("Mirrors")
    plain["Log"] = (said.get("Plugins") or {}).get("Log")
    parts = [f'"{name}":{compact(plain[name])}' for name in (*INFO, "Mirrors", "Log")]
    return "{" + ",".join(parts) + ',"Compose":"' + compose_version() + '"}'


def compose_version() -> str:
    """Version of compose as `docker` finds it."""
    return known("compose version", _compose_files, _ask_for_compose)


def _compose_files() -> str | None:
    home = os.environ.get("HOME", "/root")
    folders = (f"{home}/.docker/cli-plugins", *PLUGINS)
    return state_of(program("docker") or "", *folders, *(f"{folder}/docker-compose" for folder in folders))


def _ask_for_compose() -> str:
    form = '{{range .ClientInfo.Plugins}}{{if eq .Name "compose"}}{{.Version}}{{end}}{{end}}'
    status, said = output("docker", "info", "--format", form)
    if status != 0:
        raise NotPlain("docker info")
    return said.decode().strip()


def images(*names: str) -> bytes:
    """See facts.images.LocalImages."""
    if not running():
        return b""
    like_the_client()
    lines = ["##up"]
    for name in names:
        found = image(name)
        if found:
            parts = (("id", "Id"), ("tags", "RepoTags"), ("digests", "RepoDigests"), ("size", "Size"))
            lines.append("{" + ",".join(f'"{key}":{compact(found.get(field))}' for key, field in parts) + "}")
    return "\n".join([*lines, ""]).encode()


def network(name: str) -> bytes:
    """See facts.networks.NetworkState."""
    if not running() or program("docker") is None:
        return b""
    like_the_client()
    status, found = answer("/networks/" + quoted(name))
    if status == 404:
        return b""
    if status != 200:
        raise NotPlain(name)
    fields = ",".join(f'"{field}":{compact(found[field])}' for field in ("Name", "Driver", "Internal"))
    return ("{" + fields + "}\n").encode()


def containers() -> Any:
    """What the engine knows of each running container, by ID in order."""
    found = [get(f"/containers/{each['Id']}/json") for each in get("/containers/json") or ()]
    return sorted((each for each in found if each), key=lambda each: str(each["Id"]))
