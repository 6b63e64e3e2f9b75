"""Runs ON THE HOST (Python >= 3.6, standard library): Docker's static archive into /usr/bin, the Compose plugin beside it.

One JSON object on argv: version, archive, archive_sha256, compose, compose_sha256, compose_version, bin, plugin, manifest, source, pinned,
restart (reason for a restart of Docker that this brings, "" = none), pending (file it is written to).
Hashes are checked before anything is unpacked. Every file appears whole (copy beside the target, then rename), so running
programs go on with their old inode. The manifest is written last: an interrupted run shows as not installed and is repeated.
"""

import grp
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from typing import IO

JOB = json.loads(sys.argv[1])
NEEDED = {"containerd", "containerd-shim-runc-v2", "docker", "docker-init", "docker-proxy", "dockerd", "runc"}
KNOWN = NEEDED | {
    "ctr",
    "containerd-shim",
}  # nothing else of an archive goes into the system's program folder


def fail(text: str) -> None:
    sys.exit("difyfleet: " + text)


def sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def place(source: IO[bytes], target: str) -> None:
    """Copy an open file to its place: 0755 root:root, labelled, then renamed."""
    temp = target + ".difyfleet-new"
    with open(temp, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    os.chown(temp, 0, 0)
    os.chmod(temp, 0o755)  # noqa: S103 - programs
    os.rename(temp, target)


def entry(path: str) -> "dict[str, str]":
    # taken after restorecon: a new label changes ctime
    state = os.stat(path)
    stamp = f"{state.st_size} {int(state.st_mtime)} {int(state.st_ctime)} {state.st_ino}"
    return {"sha256": sha256(path), "stamp": stamp}


os.umask(0o022)
for kind in ("archive", "compose"):
    found = sha256(JOB[kind])
    if JOB[kind + "_sha256"] and found != JOB[kind + "_sha256"]:
        os.unlink(JOB[kind])
        fail(f"{JOB[kind]} has SHA-256 {found}, wanted {JOB[kind + '_sha256']}; nothing was unpacked")
    JOB[kind + "_sha256"] = found

try:
    grp.getgrnam("docker")
except KeyError:
    subprocess.run(["groupadd", "--system", "docker"], check=True)

installed = []
with tarfile.open(JOB["archive"]) as archive:
    members = {os.path.basename(member.name): member for member in archive.getmembers() if member.isfile()}
    members = {name: member for name, member in members.items() if name in KNOWN}
    missing = sorted(NEEDED - set(members))
    if missing:
        fail(f"{JOB['archive']} lacks {', '.join(missing)}: not Docker's static archive")
    if JOB["restart"]:
        os.makedirs(os.path.dirname(JOB["pending"]), mode=0o755, exist_ok=True)
        with open(JOB["pending"], "a") as out:
            out.write(JOB["restart"] + "\n")
    for name, member in sorted(members.items()):
        target = os.path.join(JOB["bin"], name)
        content = archive.extractfile(member)
        if content is None:  # cannot be: members holds regular files only
            fail(f"{name} cannot be read")
        else:
            place(content, target)
        installed.append(target)
os.makedirs(os.path.dirname(JOB["plugin"]), mode=0o755, exist_ok=True)
with open(JOB["compose"], "rb") as stream:
    place(stream, JOB["plugin"])
installed.append(JOB["plugin"])
if shutil.which("restorecon"):
    subprocess.run(["restorecon", "-F", *installed], check=False)

said = subprocess.run(
    [os.path.join(JOB["bin"], "dockerd"), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
)
words = said.stdout.decode("utf-8", "replace").strip()
if said.returncode != 0:
    fail(f"the new dockerd does not run: {words}")
if f"version {JOB['version']}" not in words:
    fail(f"the archive holds another version than wanted ({JOB['version']}): {words}")

record = {
    "method": "static",
    "version": JOB["version"],
    "compose_version": JOB["compose_version"],
    "archive_sha256": JOB["archive_sha256"],
    "compose_sha256": JOB["compose_sha256"],
    "source": JOB["source"],
    "hashes": "given" if JOB["pinned"] else "trusted on first use",
    "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    "files": {path: entry(path) for path in installed},
}
temp = JOB["manifest"] + ".difyfleet-new"
with open(temp, "w") as out:
    json.dump(record, out, indent=2, sort_keys=True)
    out.write("\n")
os.chmod(temp, 0o644)
os.rename(temp, JOB["manifest"])

# the archive stays, to mend a damaged program without a network; older ones only take room
folder = os.path.dirname(JOB["archive"])
for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if name.startswith("docker-") and path not in (JOB["archive"], JOB["compose"]):
        os.unlink(path)
