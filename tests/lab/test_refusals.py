"""Bad input and unfit hosts: a clear error, the right exit code, and nothing changed on the host."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import LAB, LabHost, lab, make_host

pytestmark = pytest.mark.lab

MARK = "touch /run/difyfleet-mark; sleep 0.05"
CHANGED = (
    "find /etc /opt /usr/bin /usr/local /usr/libexec /var/lib /root -xdev -newer /run/difyfleet-mark"
    " -not -path '/var/lib/systemd/*' -not -path '/var/lib/dnf/*' -not -path '/var/lib/private/*' -type f"
    " -not -name 'rpmdb.sqlite-*'"  # rpm -q itself touches its database's shared memory file
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabHost]:
    made = make_host("t-refuse", tmp_path_factory.mktemp("refuse"))
    yield made
    lab("down", made.name, check=False)


def refused(host: LabHost, *words: str, code: int = 1) -> str:
    """Apply, expect a refusal that says these words, and nothing changed."""
    host.sh(MARK)
    outcome = host.apply()
    said = outcome.out + outcome.err
    assert outcome.code == code, said
    for word in words:
        assert word.lower() in said.lower(), said
    assert host.changing_commands() == []
    assert host.sh(CHANGED).split() == []
    return said


def test_a_host_that_is_not_openeuler(host: LabHost) -> None:
    host.sh("cp /usr/lib/os-release /run/os-release.kept; sed -i 's/openEuler/CentOS/g' /usr/lib/os-release")
    try:
        refused(host, "t-refuse", "openEuler", "CentOS")
    finally:
        host.sh("cp /run/os-release.kept /usr/lib/os-release")


def test_too_little_disk(host: LabHost) -> None:
    host.write_inventory(preflight={"disk_gib": 1_000_000})
    refused(host, "disk", "GiB needed", "preflight.disk_gib")
    host.write_inventory()


def test_a_port_held_by_somebody_else_is_named_with_its_holder(host: LabHost) -> None:
    host.sh("systemd-run --unit=squatter python3 -m http.server 80 && sleep 1")
    try:
        refused(host, "80", "python3")
    finally:
        host.sh("systemctl stop squatter")


def test_all_failures_are_said_at_once(host: LabHost) -> None:
    host.write_inventory(preflight={"disk_gib": 1_000_000, "memory_mib": 9_000_000})
    refused(host, "disk", "memory")
    host.write_inventory()


def test_a_wrong_sudo_password_is_tried_once(host: LabHost) -> None:
    host.write_inventory(ssh={"user": "operator", "sudo_password": {"env": "SUDO_PASSWORD"}})
    host.sh(MARK)
    outcome = host.difyfleet("apply", str(host.inventory), "--yes", SUDO_PASSWORD="not-the-password")
    host.write_inventory()
    assert outcome.code == 1
    assert "sudo refused the password of operator" in outcome.err
    assert "1 incorrect password attempt" in outcome.err
    assert "not-the-password" not in outcome.out + outcome.err
    assert host.sh(CHANGED).split() == []


def test_a_sudo_that_needs_a_password_without_one(host: LabHost) -> None:
    host.write_inventory(ssh={"user": "operator"})
    host.sh(MARK)
    outcome = host.apply()
    host.write_inventory()
    assert outcome.code == 1
    assert "sudo_password" in outcome.out + outcome.err
    assert host.sh(CHANGED).split() == []


def test_an_unreachable_host_does_not_stop_the_others(host: LabHost) -> None:
    host.write_inventory(
        hosts={host.name: None, "gone": {"address": "127.0.0.1", "ssh": {"port": 9, "config": None}}}
    )
    planned = host.plan()
    host.write_inventory()
    assert planned.code == 1
    results = {entry["name"]: entry for entry in planned.json["hosts"]}
    assert "cannot connect" in results["gone"]["error"]
    assert results[host.name]["error"] is None
    assert results[host.name]["operations"]


def test_a_changed_host_key_is_refused(host: LabHost, tmp_path: Path) -> None:
    wrong = tmp_path / "known_hosts"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    other = (tmp_path / "key.pub").read_text().split()[1]
    lines = [line.split() for line in (LAB / "known_hosts").read_text().splitlines()]
    wrong.write_text("".join(f"{line[0]} ssh-ed25519 {other}\n" for line in lines))
    host.write_inventory(ssh={"known_hosts": str(wrong)})
    outcome = host.plan()
    host.write_inventory()
    assert outcome.code == 1
    assert "host key" in outcome.out.lower()
    assert "ssh-keygen -R" in outcome.out


@pytest.mark.parametrize(
    ("change", "position", "words"),
    [
        ({"dockr": {}}, ":", ["dockr", "docker"]),
        ({"docker": {"mirrors": ["ftp://x"]}}, ":", ["ftp", "http"]),
        ({"dify": {"upload_limit_mb": "50M"}}, ":", ["upload_limit_mb"]),
        ({"dify": {"http_port": 8080}}, ":", ["8080", "openwebui"]),
        ({"dify": {"https": {"enabled": True, "certificate": "no.pem", "key": "no.key"}}}, ":", ["no.pem"]),
    ],
)
def test_a_bad_inventory_is_refused_before_any_connection(
    host: LabHost, change: dict, position: str, words: list[str]
) -> None:
    path = host.write_inventory(**change)
    for verb in (["validate"], ["plan"], ["apply", "--yes"]):
        outcome = host.difyfleet(verb[0], str(path), *verb[1:])
        assert outcome.code == 64, outcome.err
        assert f"{path.name}:" in outcome.err
        for word in words:
            assert word in outcome.err
    host.write_inventory()


def test_secrets_never_show(tmp_path: Path) -> None:
    """Canary values in every secret field: none in any output or file of the controller, argv on the host, world-readable files.

    The apply carries out a saved plan, from nothing to the whole stack.
    """
    host = make_host("t-canary", tmp_path)
    names = (
        "secret_key",
        "db_password",
        "redis_password",
        "weaviate_api_key",
        "sandbox_api_key",
        "init_password",
    )
    canaries = {name: f"canary{number}x{'abcdef'[number] * 12}" for number, name in enumerate(names)}
    canaries["openwebui"] = "canary8xgggggggggg1A"
    host.write_inventory(
        ssh={"user": "operator", "sudo_password": {"env": "CANARY_SUDO"}},
        dify={"secrets": {name: {"env": f"CANARY_{name.upper()}"} for name in names}},
        openwebui={"admin": {"password": {"env": "CANARY_OPENWEBUI"}}},
    )
    env = {f"CANARY_{name.upper()}": value for name, value in canaries.items()} | {
        "CANARY_SUDO": "lab-operator-1"
    }
    values = [*canaries.values(), "lab-operator-1"]
    seen: list[str] = []
    stop = threading.Event()

    def watch_argv() -> None:
        while not stop.is_set():
            for line in lab(
                "exec", host.name, "--", "ps", "axww", "-o", "args", check=False
            ).stdout.splitlines():
                if any(value in line for value in values):
                    seen.append(line)
            stop.wait(0.2)

    watcher = threading.Thread(target=watch_argv)
    watcher.start()
    try:
        plan_file, written = tmp_path / "saved.plan", host.folder / "written"
        written.mkdir()
        files = {kind: str(written / kind) for kind in ("html", "junit", "metrics", "notified")}
        named = ("--html", files["html"], "--junit", files["junit"])
        outcomes = [
            host.difyfleet("plan", str(host.inventory), "--out", str(plan_file), **env),
            host.difyfleet("apply", str(plan_file), "-v", "--events", "--html", files["html"] + "1", **env),
            host.difyfleet("verify", str(host.inventory), "--json", *named, **env),
        ]
        host.sh("sed -i 's/^DB_PASSWORD=.*/DB_PASSWORD=canary9xedited0000/' /opt/dify/.env")
        values.append("canary9xedited0000")
        drift = ("drift", str(host.inventory), *named, "--metrics", files["metrics"])
        outcomes += [
            host.difyfleet("plan", str(host.inventory), **env),
            host.difyfleet(*drift, "--notify", f"tee {files['notified']}", "--events", **env),
            host.difyfleet("history", str(host.inventory), "--json", **env),
            host.difyfleet("lock", "show", str(host.inventory), "--json", **env),
        ]
    finally:
        stop.set()
        watcher.join(60)
    try:
        codes = [outcome.code for outcome in outcomes]
        assert codes == [2, 0, 0, 2, 2, 0, 0], [outcome.out[-3000:] + outcome.err for outcome in outcomes]
        assert {path.name for path in written.iterdir()} == {*files, "html1"}
        assert "DB_PASSWORD" in (written / "html").read_text()
        texts = [outcome.out + outcome.err for outcome in outcomes]
        kept = [plan_file, *written.iterdir(), *(each for each in host.state.rglob("*") if each.is_file())]
        texts += [path.read_text(errors="replace") for path in kept]
        for value in values:
            assert not any(value in text for text in texts), value
        assert seen == []
        pattern = "\n".join(values)
        leaks = host.sh(
            f"grep -rlF --binary-files=text -e '{pattern}' /etc /opt/dify /opt/difyfleet /opt/open-webui /var/lib/difyfleet /tmp /run 2>/dev/null"
            ' | while read -r f; do find "$f" -perm -o+r; done',
            check=False,
        )
        open_leaks = [
            path
            for path in leaks.split()
            if host.sh(f"su -s /bin/sh nobody -c 'cat {path} >/dev/null 2>&1' && echo open || true").strip()
        ]
        assert open_leaks == []
    finally:
        lab("down", host.name, check=False)
