"""Answers of the lab host to the reads of a plan, kept in a file, and made those of many hosts: each has secrets of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from bench import inventory

PATH = inventory.FOLDER / "answers.json"
Answers = dict[str, tuple[int, str, str]]  # line -> exit status, standard output, standard error


def keep(answers: Answers) -> None:
    """Write them; they hold the lab host's secrets."""
    inventory.folder()
    PATH.touch(mode=0o600)
    PATH.write_text(json.dumps(answers))


def kept() -> Answers:
    """What was kept.

    Raises:
        FileNotFoundError: nothing was.
    """
    return {line: (status, out, err) for line, (status, out, err) in json.loads(PATH.read_text()).items()}


def of_another_host(answers: Answers, spec: Any, number: int) -> Answers:
    """Those answers that differ on a host with other secrets: the secrets, .env, compose.yml, the labels of Dify's containers.

    Args:
        spec: of the host.
        number: of the host; what its secrets are made from.

    Raises:
        ValueError: the recording does not hold what the stack of this checkout makes.
    """
    from difyfleet.facts.secrets import HostSecrets
    from difyfleet.operations import dify
    from difyfleet.operations.dify_settings import SECRETS, settings
    from difyfleet.secrets import Secret

    line = next(line for line in answers if "/etc/difyfleet/secrets/*" in line)
    found = HostSecrets().process(answers[line][1].splitlines())
    values = [secret.value.reveal() for secret in found.values()]
    swapped = {
        value: hashlib.sha256(f"{number} {value}".encode()).hexdigest()[: len(value)] for value in values
    }

    def project(swap: dict[str, str]) -> Any:
        now = {field: found[name].value.reveal() for field, name in SECRETS.items()}
        given = {field: Secret(swap.get(value, value)) for field, value in now.items()}
        return dify.project(spec.dify, spec.docker, settings(spec.dify, given))

    before, after = project({}), project(swapped)
    for old, new in ((before.env, after.env), (before.text, after.text)):
        swapped[_sha256(old)] = _sha256(new)
        swapped[base64.b64encode(old.encode()).decode()] = base64.b64encode(new.encode()).decode()
        swapped.update(
            zip(re.findall(r"\b[0-9a-f]{32}\b", old), re.findall(r"\b[0-9a-f]{32}\b", new), strict=True)
        )
    if not all(
        any(old in out for _, out, _ in answers.values())
        for old in (_sha256(before.env), _sha256(before.text))
    ):
        raise ValueError("record again: the host's files are not those that this checkout makes")
    every = re.compile("|".join(sorted(map(re.escape, swapped), key=len, reverse=True)))
    other = {
        line: (status, every.sub(lambda match: swapped[match[0]], out), err)
        for line, (status, out, err) in answers.items()
    }
    return {line: answer for line, answer in other.items() if answer != answers[line]}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
