"""The engine from RPMs: exact versions, the repository, the key by its fingerprint."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from difyfleet.errors import HostError
from difyfleet.facts.engine import InstalledPackages, RpmEngine, RpmEngineState
from difyfleet.facts.files import PathState
from difyfleet.facts.fitness import CONFLICTING
from difyfleet.operations import rpm
from tests.unit.fakehost import fact, fake_host, run_steps
from tests.unit.operations.docker_facts import docker, file

HERE = RpmEngine(
    {
        "docker-ce": "26.1.5",
        "docker-ce-cli": "26.1.5",
        "containerd.io": "1.7.24",
        "docker-compose-plugin": "2.26.1",
    },
    keys=frozenset(["621e9f35"]),
)
SECTION = docker(method="rpm")


def whys(seen: RpmEngine, section: Any = SECTION) -> list[str]:
    with fake_host({fact(RpmEngineState): seen}):
        return [change.why for change in run_steps(rpm.packages, section)[0]]


def test_versions_fit() -> None:
    assert rpm.fits("26.1.5", "26.1.5")
    assert rpm.fits("26.1.5+dfsg1", "26.1.5")
    assert rpm.fits("2.26.1-4", "2.26.1")
    assert rpm.fits("1.7.24", None)
    assert not rpm.fits("26.1.50", "26.1.5")
    assert not rpm.fits("26.1.5", "26.1")
    assert not rpm.fits(None, None)


def test_installed_as_wanted() -> None:
    assert whys(HERE) == []


def test_missing_other_and_damaged() -> None:
    assert whys(RpmEngine())[0] == "docker-ce: not installed, wanted 26.1.5"
    older = replace(HERE, versions={**HERE.versions, "docker-ce": "26.1.4"}, changed=("/usr/bin/runc",))
    assert whys(older) == ["docker-ce: 26.1.4, wanted 26.1.5", "/usr/bin/runc: not as its package had it"]


def test_what_wants_a_restart() -> None:
    changed = replace(
        HERE, versions={**HERE.versions, "docker-compose-plugin": "2.0.0"}, changed=("/usr/bin/docker",)
    )
    with fake_host({fact(RpmEngineState): changed}):
        assert rpm.restart_reasons(SECTION) == []
    with fake_host({fact(RpmEngineState): replace(changed, changed=("/usr/bin/docker-proxy",))}):
        assert rpm.restart_reasons(SECTION) == ["/usr/bin/docker-proxy: not as its package had it"]


def test_a_static_installation_is_not_overwritten() -> None:
    with (
        fake_host({fact(RpmEngineState): replace(HERE, static=True)}),
        pytest.raises(HostError, match="static archive"),
    ):
        run_steps(rpm.packages, SECTION)


def test_dnf_runs_as_a_unit_of_the_host() -> None:
    assert rpm.dnf_command("install", ["docker-ce-26.1.5*", "containerd.io"], "other programs") == (
        "mkdir -p -m 0755 /run/difyfleet; while systemctl -q is-active difyfleet-dnf.service; do sleep 1; done; "
        "systemd-run --quiet --wait --collect --unit=difyfleet-dnf --setenv=LC_ALL=C sh -c "
        "'dnf -y --enablerepo=difyfleet-docker --setopt=install_weak_deps=False install '\"'\"'docker-ce-26.1.5*'\"'\"' containerd.io"
        " >/run/difyfleet/dnf.log 2>&1 && mkdir -p -m 0755 /run/difyfleet && echo '\"'\"'other programs'\"'\"' >> /run/difyfleet/docker.restart'"
        "; r=$?; [ $r = 0 ] || grep -v '^Last metadata' /run/difyfleet/dnf.log | tail -n 12 >&2; exit $r"
    )


def repository(section: Any, repo: str | None, keys: frozenset[str]) -> tuple[list[str], list[str]]:
    answers = {
        fact(PathState, path=rpm.KEY): file("a key") if keys else None,
        fact(PathState, path=rpm.REPO): None if repo is None else file(repo),
        fact(RpmEngineState): RpmEngine(keys=keys),
    }
    with fake_host(answers):
        found, commands = run_steps(rpm.repository, section)
    return [change.why for change in found], commands


def test_the_repository_and_its_key() -> None:
    whys, commands = repository(SECTION, None, frozenset())
    assert whys == ["rpm: signing key c52feb6b621e9f35 not trusted yet", f"{rpm.REPO}: absent"]
    assert "import_key" in commands[0]  # the key before the file that relies on it
    text = (
        "# Written by difyfleet. Off for plain dnf runs: the engine's version is pinned in the inventory.\n"
        "[difyfleet-docker]\nname=Docker CE (difyfleet)\nbaseurl=https://download.docker.com/linux/rhel/8/x86_64/stable\n"
        "enabled=0\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-difyfleet-docker\n"
    )
    assert repository(SECTION, text, frozenset(["621e9f35"])) == ([], [])
    assert repository(SECTION, text.replace("enabled=0", "enabled=1"), frozenset(["621e9f35"]))[0] == [
        f"{rpm.REPO}: content differs"
    ]


def test_without_a_fingerprint_a_key_is_fetched_once() -> None:
    section = docker(method="rpm", rpm={"gpg_fingerprint": None})
    first = repository(section, None, frozenset())[0][0]
    assert first == "rpm: signing key https://download.docker.com/linux/rhel/gpg not trusted yet"
    assert repository(section, None, frozenset(["any"]))[0] == [f"{rpm.REPO}: absent"]


def test_an_unsigned_repository_wants_no_key() -> None:
    section = docker(method="rpm", rpm={"baseurl": "http://repo.lan/rpm", "gpgkey": None})
    whys, commands = repository(section, None, frozenset())
    assert whys == [f"{rpm.REPO}: absent"]
    assert len(commands) == 1


def test_other_engines_packages() -> None:
    with fake_host({fact(InstalledPackages, names=CONFLICTING): {"docker-engine": "18.09.0-345"}}):
        changes, commands = run_steps(rpm.conflicting_absent)
    assert [change.why for change in changes] == [
        "package docker-engine-18.09.0-345: installed, wanted absent"
    ]
    assert len(commands) == 1


# A throw-away key made for this test with gpg, which named the fingerprint.
KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawUulRYJKwYBBAHaRw8BAQdAWQ0AknuWfONt07cwMphvbXZcKRPkpjT4Uh47
hy+JF6C0JWRpZnlmbGVldCB0ZXN0IDx0ZXN0QGV4YW1wbGUuaW52YWxpZD6IkAQT
FggAOBYhBM0cNbmRusmoqibO+IRugzcX8FYUBQJrBS6VAhsDBQsJCAcCBhUKCQgL
AgQWAgMBAh4BAheAAAoJEIRugzcX8FYUg7oA/jAgodVocwIQ68EI9T2Ri3J//H1w
BpyTu0c4DtQNhpBvAQD5Dmxsxjphb33kPt1i0D07pRvP/amjuqLZRp7Ufr7UAw==
=caui
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "cd1c35b991bac9a8aa26cef8846e833717f05614"


def fetch_key(tmp_path: Path, text: str, fingerprint: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "key").write_text(text)
    script = Path(rpm.__file__).with_name("import_key_script.py").read_text()
    argv = [sys.executable, "-", f"file://{tmp_path}/key", fingerprint, str(tmp_path / "target")]
    return subprocess.run(
        argv, input=script, capture_output=True, text=True, timeout=30, env=dict(os.environ), check=False
    )


def test_the_key_with_the_right_fingerprint(tmp_path: Path) -> None:
    done = fetch_key(tmp_path, KEY, FINGERPRINT)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "target").read_text() == KEY


@pytest.mark.parametrize(
    ("text", "fingerprint", "words"),
    [
        (KEY, "0" * 40, f"the signing key has the fingerprint {FINGERPRINT}"),
        ("<html>", FINGERPRINT, "not an OpenPGP key"),
    ],
)
def test_any_other_key_is_refused(tmp_path: Path, text: str, fingerprint: str, words: str) -> None:
    done = fetch_key(tmp_path, text, fingerprint)
    assert done.returncode == 1
    assert words in done.stderr
    assert not (tmp_path / "target").exists()
