"""Stand-ins for systemd and Docker in a sandbox host: as much of them as difyfleet's Docker service operations look at.

Their state is files below /run/stand-in: `enabled`, `active`, `unit` (the unit as systemd has read it), `info` (what the daemon says of
itself, that is the daemon.json it was started or reloaded with).
"""

from __future__ import annotations

import os

from tests.unit.fleet.sandbox import Sandbox

_SYSTEMCTL = r"""
S=$ROOT/run/stand-in; U=$ROOT/etc/systemd/system/docker.service
case "$1 $2" in
"show docker.service")
  load=not-found; reload=no; active=inactive; enabled=
  if [ -e $U ]; then load=loaded; enabled=disabled; cmp -s $U $S/unit || reload=yes; fi
  [ ! -e $S/active ] || active=active
  [ -z "$enabled" ] || [ ! -e $S/enabled ] || enabled=enabled
  printf '%s\n' LoadState=$load ActiveState=$active SubState=x UnitFileState=$enabled NeedDaemonReload=$reload Result=success ;;
"daemon-reload "*) cp $U $S/unit ;;
"enable docker.service") touch $S/enabled ;;
"start docker.service"|"restart docker.service"|"reload docker.service")
  cmp -s $U $S/unit || { echo 'systemd has not read the unit' >&2; exit 5; }
  [ $1 = reload ] || { touch $S/active; echo @PID@ >$ROOT/run/docker.pid; }
  python3 -S $ROOT/bin/daemon-info $ROOT >$S/info.new && mv $S/info.new $S/info ;;
"reset-failed docker.service") ;;
"is-enabled "*) echo disabled; exit 1 ;;
"is-active "*) echo inactive; exit 3 ;;
*) echo "no stand-in for: systemctl $*" >&2; exit 99 ;;
esac
"""
_DAEMON_INFO = """
import json, sys
try:
    settings = json.load(open(sys.argv[1] + "/etc/docker/daemon.json"))
except FileNotFoundError:
    settings = {}
print(json.dumps({
    "ServerVersion": "28.5.2",
    "LoggingDriver": settings.get("log-driver", "json-file"),
    "Log": ["json-file", "local"],
    "LiveRestoreEnabled": settings.get("live-restore", False),
    "DockerRootDir": settings.get("data-root", "/var/lib/docker"),
    "Mirrors": [url + "/" for url in settings.get("registry-mirrors", [])],
}))
"""
_DOCKERD = r"""
case "$1" in
--validate) exit 0 ;;
--config-file=*) exec python3 -S -c 'import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); time.sleep(20)' "$(dirname "${1#*=}")/docker.sock" ;;
esac
"""
_DOCKER = 'case "$1" in info) cat $ROOT/run/stand-in/info ;; run|-H) exit 0 ;; *) exit 99 ;; esac'


def install(box: Sandbox, host: str = "llm") -> None:
    """Put the programs and the kernel's switch in place; no service is there yet."""
    box.program("systemctl", _SYSTEMCTL.replace("@PID@", str(os.getpid())), host)
    box.program("daemon-info", _DAEMON_INFO, host)
    box.program("dockerd", _DOCKERD, host)
    box.program("docker", _DOCKER, host)
    box.program("iptables", "exit 0", host)
    root = box.host(host)
    (root / "run/stand-in").mkdir()
    for folder in ("etc/systemd/system", "etc/sysctl.d"):
        (root / folder).mkdir(parents=True)
    forward = root / "proc/sys/net/ipv4/ip_forward"
    forward.parent.mkdir(parents=True)
    forward.write_text("0\n")
