"""Ansible as a contender: an environment of its own with the current ansible-core and Mitogen, and what the playbook declares."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bench import inventory
from lab import container
from lab.engine import run
from lab.network import Network

_HERE = Path(__file__).parent
_VENV = inventory.FOLDER / "ansible-venv"
_DECLARED = inventory.FOLDER / "declared"
# OpenSSH's masters: a short path, since a socket's name may have 107 characters
_MASTERS = Path(tempfile.gettempdir()) / f"difyfleet-bench-{os.getuid()}"


def install() -> Path | None:
    """Make the environment if it is not there; gives Mitogen's folder of strategies, None where it cannot be installed.

    Raises:
        LabError: ansible-core cannot be installed.
    """
    if not (_VENV / "bin" / "ansible-playbook").exists():
        run([sys.executable, "-m", "venv", str(_VENV)], timeout=120)
        run([str(_VENV / "bin" / "pip"), "install", "-q", "ansible-core"], timeout=600)
    found = list(_VENV.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
    if not found:
        run([str(_VENV / "bin" / "pip"), "install", "-q", "mitogen"], timeout=300, check=False)
        found = list(_VENV.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
    return found[0] if found else None


def versions() -> str:
    """ansible-core and Mitogen as pip names them."""
    listed = json.loads(run([str(_VENV / "bin" / "pip"), "list", "--format", "json"], timeout=60).stdout)
    return ", ".join(
        f"{each['name']} {each['version']}" for each in listed if each["name"] in ("ansible-core", "mitogen")
    )


def declare(lab: Network, host: str, path: Path) -> None:
    """Write the playbook's inventory: the hosts of an inventory of ours, and what they are declared to have.

    Args:
        host: the lab host from which that is read.
        path: our inventory; Ansible's is written beside it.

    Raises:
        LabError: the host is not one that difyfleet has made.
    """
    ours = yaml.safe_load(path.read_text())
    kinds = [[model["name"], model.get("type", "llm")] for model in ours["dify"]["models"]]
    script = (_HERE / "declared_script.py").read_text()
    settings = ["env", f"EMAIL={ours['admin']['email']}", f"MODELS={json.dumps(kinds)}"]
    seen = run(container.execute(lab, host, [*settings, "python3", "-"]), timeout=120, input=script).stdout
    stack = {"hosts": _hosts(ours), "vars": {"declared": _declared(json.loads(seen))}}
    target = path.with_suffix(".ansible.json")
    target.write_text(json.dumps({"stack": stack}, ensure_ascii=False, indent=1))
    target.chmod(0o600)


def _hosts(ours: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    ssh = ours["ssh"]
    return {
        name: {
            "ansible_host": host["address"],
            "ansible_user": ssh["user"],
            "ansible_ssh_private_key_file": ssh["key"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={ssh['known_hosts']} -o KexAlgorithms=curve25519-sha256",
        }
        for name, host in ours["hosts"].items()
    }


def _declared(seen: dict[str, Any]) -> dict[str, Any]:
    """Contents as files for `copy`; answers of services as digests, because Ansible would take the braces in them for templates."""
    _DECLARED.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number, file in enumerate(seen["files"]):
        source = _DECLARED / f"{number:02}-{Path(file['path']).name.lstrip('.')}"
        source.write_bytes(base64.b64decode(file.pop("content")))
        file["src"] = str(source)
    for page in (*seen["webui"], *seen["dify"]):
        page["digest"] = digest(page.pop("json"))
    return seen


def digest(answer: Any) -> str:
    """As the playbook makes it: `answer | to_json(sort_keys=true) | hash('sha256')`."""
    return hashlib.sha256(json.dumps(answer, sort_keys=True).encode()).hexdigest()


def command(hosts: Path, skip_tags: str = "") -> list[str]:
    """ansible-playbook for an inventory that :func:`declare` has written."""
    argv = [str(_VENV / "bin" / "ansible-playbook"), "-i", str(hosts), str(_HERE / "playbook.yml")]
    return [*argv, "--skip-tags", skip_tags] if skip_tags else argv


def environment(mitogen: Path | None, hosts: int) -> dict[str, str]:
    """What ansible.cfg cannot say: places, Mitogen, and a fork for each host."""
    settings = {
        "ANSIBLE_CONFIG": str(_HERE / "ansible.cfg"),
        "ANSIBLE_FORKS": str(hosts),
        "ANSIBLE_HOME": str(inventory.FOLDER / "ansible-home"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(_MASTERS),
        "LC_ALL": "C.UTF-8",
    }
    if mitogen is not None:
        settings |= {"ANSIBLE_STRATEGY": "mitogen_linear", "ANSIBLE_STRATEGY_PLUGINS": str(mitogen)}
    return settings


def hang_up() -> None:
    """End the connections that Ansible leaves open for a minute: every run starts cold, as those of the others do."""
    for socket in _MASTERS.glob("*") if _MASTERS.is_dir() else ():
        subprocess.run(
            ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "nobody"],
            capture_output=True,
            timeout=20,
            check=False,
        )
