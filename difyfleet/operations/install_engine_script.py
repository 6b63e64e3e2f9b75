"""Runs ON THE HOST (Python >= 3.6, standard library): Docker's static archive into /usr/bin, the Compose plugin beside it.

One JSON object on argv: version, archive, archive_sha256, compose, compose_sha256, compose_version, bin, plugin, manifest, source, pinned.
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

JOB = json.loads(sys.argv[1])
NEEDED = {"containerd", "containerd-shim-runc-v2", "docker", "docker-init", "docker-proxy", "dockerd", "runc"}


def fail(text):
    sys.exit("difyfleet: " + text)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def place(source, target):
    """Copy an open file to its place: 0755 root:root, labelled, then renamed."""
    temp = target + ".difyfleet-new"
    with open(temp, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    os.chown(temp, 0, 0)
    os.chmod(temp, 0o755)
    os.rename(temp, target)


def entry(path):
    # taken after restorecon: a new label changes ctime
    state = os.stat(path)
    stamp = "%d %d %d %d" % (state.st_size, int(state.st_mtime), int(state.st_ctime), state.st_ino)
    return {"sha256": sha256(path), "stamp": stamp}


os.umask(0o022)
for kind in ("archive", "compose"):
    found = sha256(JOB[kind])
    if JOB[kind + "_sha256"] and found != JOB[kind + "_sha256"]:
        os.unlink(JOB[kind])
        fail("%s has SHA-256 %s, wanted %s; nothing was unpacked" % (JOB[kind], found, JOB[kind + "_sha256"]))
    JOB[kind + "_sha256"] = found

try:
    grp.getgrnam("docker")
except KeyError:
    subprocess.run(["groupadd", "--system", "docker"], check=True)

installed = []
with tarfile.open(JOB["archive"]) as archive:
    members = {os.path.basename(member.name): member for member in archive.getmembers() if member.isfile()}
    missing = sorted(NEEDED - set(members))
    if missing:
        fail("%s lacks %s: not Docker's static archive" % (JOB["archive"], ", ".join(missing)))
    for name, member in sorted(members.items()):
        target = os.path.join(JOB["bin"], name)
        place(archive.extractfile(member), target)
        installed.append(target)
os.makedirs(os.path.dirname(JOB["plugin"]), mode=0o755, exist_ok=True)
with open(JOB["compose"], "rb") as stream:
    place(stream, JOB["plugin"])
installed.append(JOB["plugin"])
if shutil.which("restorecon"):
    subprocess.run(["restorecon", "-F"] + installed, check=False)

said = subprocess.run([os.path.join(JOB["bin"], "dockerd"), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
words = said.stdout.decode("utf-8", "replace").strip()
if said.returncode != 0:
    fail("the new dockerd does not run: %s" % words)
if "version %s" % JOB["version"] not in words:
    fail("the archive holds another version than wanted (%s): %s" % (JOB["version"], words))

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
