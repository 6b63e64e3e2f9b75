"""The units of a schedule: their texts, systemd's own judgement of them, and how they come and go."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from difyfleet.cli import run
from difyfleet.exits import Exit
from difyfleet.fleet import schedule, units
from difyfleet.fleet.schedule import Timing, command_line, quoted, service_text, timer_text, timing
from difyfleet.fleet.units import Units
from difyfleet.spec import load
from difyfleet.spec.models import Environment

# A systemd that keeps what it was told beside its units.
SYSTEMCTL = """\
echo "$@" >> "$TOLD"
case "$*" in
  *is-enabled*) cat "$TOLD.enabled" 2>/dev/null || { echo disabled; exit 1; } ;;
  *is-active*) cat "$TOLD.active" 2>/dev/null || { echo inactive; exit 3; } ;;
  *enable\\ *) echo enabled > "$TOLD.enabled" ;;
  *restart*) echo active > "$TOLD.active" ;;
  *disable*) rm -f "$TOLD.enabled" "$TOLD.active" ;;
  *show*timer*) echo UnitFileState=enabled; echo ActiveState=active; echo "NextElapseUSecRealtime=Tue 2026-11-24 12:00:00 UTC"; echo "LastTriggerUSec=Tue 2026-11-24 11:00:01 UTC" ;;
  *show*service*) echo Result=success; echo ExecMainStatus=2; echo "ExecMainExitTimestamp=Tue 2026-11-24 11:00:09 UTC" ;;
esac
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "prod.yml"
    path.write_text("admin: {email: a@b.cd}\nhosts: {llm: 10.0.0.1, two: 10.0.0.2}\n")
    return path


@pytest.fixture
def environment(inventory: Path) -> Environment:
    return load(inventory)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A user with a systemd of its own; what systemctl was told since the last question."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("difyfleet", "")):
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    log = tmp_path / "told"
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("TOLD", str(log))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(units, "is_system", lambda: False)
    monkeypatch.setattr(schedule, "program", lambda: programs / "difyfleet")

    def words() -> list[str]:
        found = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return found

    return words


def unit(tmp_path: Path, suffix: str) -> Path:
    return tmp_path / "config/systemd/user" / f"difyfleet-drift-prod.{suffix}"


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ("15m", Timing("*-*-* *:00/15:00", 90)),
        ("30m", Timing("*-*-* *:00/30:00", 180)),
        ("60m", Timing("*-*-* 00/1:00:00", 600)),
        ("1h", Timing("*-*-* 00/1:00:00", 600)),
        ("6h", Timing("*-*-* 00/6:00:00", 600)),
        ("24h", Timing("*-*-* 03:00:00", 600)),
        ("1d", Timing("*-*-* 03:00:00", 600)),
    ],
)
def test_timing(every: str, expected: Timing) -> None:
    assert timing(every) == expected


@pytest.mark.parametrize("every", ["", "1", "7m", "1m", "0h", "5h", "2d", "1w", "hourly"])
def test_a_timing_that_does_not_fit_is_refused(every: str) -> None:
    with pytest.raises(ValueError, match="is not 5m, 10m"):
        timing(every)


def test_arguments_reach_the_program_as_they_are() -> None:
    assert quoted(["/a b/c", "100%", "$HOME", 'say "x"', "back\\slash", ""]) == (
        '"/a b/c" 100%% $$HOME "say \\"x\\"" "back\\\\slash" ""'
    )


def test_the_command_line() -> None:
    words = command_line(
        Path("/v/difyfleet"), Path("/e/prod.yml"), correct=True, limit="cpu,llm*", roles=("docker", "dify")
    )
    assert words == [
        "/v/difyfleet", "drift", "/e/prod.yml", "--quick", "--limit", "cpu,llm*", "--role", "docker", "--role", "dify",
        "--correct", "--yes", "--lock-wait", "600",
    ]  # fmt: skip


def texts(environment: Environment, *, system: bool) -> dict[str, str]:
    words = command_line(Path("/bin/true"), environment.path, correct=False, limit=None, roles=())
    return {
        "service": service_text(environment, words, system=system, correct=False),
        "timer": timer_text(environment, timing("1h")),
    }


def test_the_service(environment: Environment, tmp_path: Path) -> None:
    assert (
        texts(environment, system=False)["service"]
        == f"""\
# Written by difyfleet schedule install. difyfleet schedule remove takes it away.
# inventory: {tmp_path}/prod.yml
[Unit]
Description=difyfleet: drift of prod ({tmp_path}/prod.yml)

[Service]
Type=oneshot
ExecStart=/bin/true drift {tmp_path}/prod.yml --quick
# drift (2), another run at work (4) and failed checks (5) are findings, not failures of the service
SuccessExitStatus=2 4 5
WorkingDirectory={tmp_path}
Environment=DIFYFLEET_STATE_DIR={tmp_path}/state
EnvironmentFile=-%h/.config/difyfleet/prod.env
TimeoutStartSec=3600
Nice=10
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
"""
    )


def test_a_system_service_may_write_where_runs_write(tmp_path: Path) -> None:
    (tmp_path / "prod.yml").write_text(
        "admin: {email: a@b.cd}\nhosts: {llm: 10.0.0.1}\nssh: {known_hosts: /etc/difyfleet_known_hosts}\n"
        "drift: {metrics: /var/lib/x.prom}\n"
    )
    text = texts(load(tmp_path / "prod.yml"), system=True)["service"]
    assert "ProtectSystem=full\n" in text
    assert text.count("ReadWritePaths=") == 1
    assert "ReadWritePaths=-/etc\n" in text
    assert "User=root\n" in text
    assert "ProtectHome" not in text, "the SSH keys are there"


@pytest.mark.parametrize("system", [True, False])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_accepts_them(tmp_path: Path, system: bool) -> None:
    folder = tmp_path / "a folder, 100%"
    folder.mkdir()
    (folder / "prod env.yml").write_text("admin: {email: a@b.cd}\nhosts: {llm: 10.0.0.1}\n")
    environment = load(folder / "prod env.yml")
    name = schedule.unit_name(environment.path)
    assert name == "difyfleet-drift-prod-env"
    paths = []
    for suffix, text in texts(environment, system=system).items():
        paths.append(tmp_path / f"{name}.{suffix}")
        paths[-1].write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if name in line]) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("every", ["5m", "15m", "1h", "2h", "12h", "1d"])
def test_systemd_reads_the_calendar(every: str) -> None:
    command = ["systemd-analyze", "calendar", "--iterations=2", timing(every).calendar]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_install_twice_and_remove_twice(
    inventory: Path, told: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schedule", "install", str(inventory)]) == Exit.OK
    assert [words for words in told() if "is-" not in words] == [
        "--user daemon-reload",
        "--user enable difyfleet-drift-prod.timer",
        "--user restart difyfleet-drift-prod.timer",
    ]
    assert (
        f"ExecStart={tmp_path}/bin/difyfleet drift {inventory} --quick\n"
        in unit(tmp_path, "service").read_text()
    )
    assert (
        "OnCalendar=*-*-* 00/1:00:00\nRandomizedDelaySec=600\nPersistent=true\n"
        in unit(tmp_path, "timer").read_text()
    )
    said = capsys.readouterr().err
    assert "loginctl enable-linger" in said
    assert "/.config/difyfleet/prod.env" in said

    assert run(["schedule", "install", str(inventory)]) == Exit.OK
    assert told() == [
        "--user is-enabled difyfleet-drift-prod.timer",
        "--user is-active difyfleet-drift-prod.timer",
    ]
    assert "nothing to change" in capsys.readouterr().err

    assert (
        run(["schedule", "install", str(inventory), "--every", "30m", "--correct", "--limit", "two"])
        == Exit.OK
    )
    assert "--user restart difyfleet-drift-prod.timer" in told()
    assert "drift.correct says auto for no role" in capsys.readouterr().err
    assert "--limit two --correct --yes" in unit(tmp_path, "service").read_text()
    assert "TimeoutStartSec=21600" in unit(tmp_path, "service").read_text()

    inventory.unlink()
    assert run(["schedule", "remove", str(inventory)]) == Exit.OK
    assert told() == ["--user disable --now difyfleet-drift-prod.timer", "--user daemon-reload"]
    assert list(unit(tmp_path, "timer").parent.iterdir()) == []
    assert run(["schedule", "remove", str(inventory)]) == Exit.OK
    assert told() == []
    assert "was not installed" in capsys.readouterr().err


def test_show(inventory: Path, told: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schedule", "show", str(inventory)]) == Exit.OK
    assert capsys.readouterr().out == "difyfleet-drift-prod: not installed\n"
    assert run(["schedule", "install", str(inventory)]) == Exit.OK
    capsys.readouterr()
    assert run(["schedule", "show", str(inventory)]) == Exit.OK
    said = capsys.readouterr().out
    assert "next:  Tue 2026-11-24 12:00:00 UTC\n" in said
    assert "last:  Tue 2026-11-24 11:00:01 UTC (exit code 2, Tue 2026-11-24 11:00:09 UTC)\n" in said
    assert run(["schedule", "show", str(inventory), "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["installed"], found["state"]["service.ExecMainStatus"]) == (True, "2")


def test_units_of_another_inventory_of_that_name_are_left_alone(
    inventory: Path, told: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "prod.yml"
    other.parent.mkdir()
    other.write_text(inventory.read_text())
    assert run(["schedule", "install", str(inventory)]) == Exit.OK
    before = unit(tmp_path, "service").read_text()
    for verb in ("install", "remove"):
        assert run(["schedule", verb, str(other)]) == Exit.ERROR
        assert f"of another inventory: {inventory}" in capsys.readouterr().err
    assert unit(tmp_path, "service").read_text() == before


def test_what_is_wrong_is_said_before_anything_is_written(
    inventory: Path, told: Callable[[], list[str]], tmp_path: Path
) -> None:
    for wrong in (["--every", "7m"], ["--limit", "nobody"], ["--role", "dokcer"]):
        assert run(["schedule", "install", str(inventory), *wrong]) == Exit.USAGE
    inventory.write_text("hosts: {}\n")
    assert run(["schedule", "install", str(inventory)]) == Exit.USAGE
    assert not unit(tmp_path, "service").exists()
    assert told() == []


def test_a_machine_without_systemd(tmp_path: Path, environment: Environment) -> None:
    missing = Units("x", tmp_path / "units", (str(tmp_path / "no-systemctl"),))
    with pytest.raises(Exception, match="no systemd"):
        missing.install(
            environment.path,
            "[Service]\nType=oneshot\nExecStart=/bin/true\n",
            timer_text(environment, timing("1h")),
        )


def test_the_program_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "difyfleet"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(program)])
    assert schedule.program() == program
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    assert schedule.program() == program
