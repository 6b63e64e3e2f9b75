"""Runs ON THE HOST (Python >= 3.6, standard library): one image into Docker or one model into Ollama's folder, from the pushed store.

One JSON object on argv: store, release (digests that nothing else needs afterwards), and `image` {tag, id, manifest, layers, diff_ids} or
`model` {name, manifest, path, layers} with `models` (folder). Every blob is hashed before any of them is used; a damaged one is removed,
so that the next push brings it again. Blobs of models are moved, not copied, where the file system is the same.
"""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from typing import Any

JOB = json.loads(sys.argv[1])
STORE = JOB["store"]
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def fail(text: str) -> None:
    print("difyfleet: " + text, flush=True)
    sys.exit(1)


def blob(digest: str) -> str:
    return os.path.join(STORE, digest[7:])


def proved(paths: "dict[str, str]") -> None:
    """Hash files against their digests; remove what is damaged, and end."""
    total, done, said = sum(os.path.getsize(path) for path in paths.values()) or 1, 0, 0.0
    for digest, path in paths.items():
        found = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                found.update(block)
                done += len(block)
                if time.time() - said > 1:
                    said = time.time()
                    print(f"proving {done * 100 // total} %", flush=True)
        if found.hexdigest() != digest[7:]:
            os.unlink(path)
            fail(f"blob {digest[7:19]} is damaged on the host; it was removed")


def missing(digests: "list[str]") -> None:
    lost = [digest for digest in digests if not os.path.isfile(blob(digest))]
    if lost:
        fail(f"{len(lost)} blobs are not on the host, the first is {lost[0][7:19]}")


def said_by(*argv: str) -> str:
    program = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return program.communicate()[0].decode("utf-8", "replace").strip()


def layers_there(diff_ids: "list[str]") -> int:
    """How many of the lowest layers Docker has already; its classic store does not read those of an archive."""
    if "io.containerd.snapshotter" in said_by("docker", "info", "--format", "{{json .DriverStatus}}"):
        return 0
    ids = sorted(set(said_by("docker", "image", "ls", "-aq", "--no-trunc").split()))
    best = 0
    for line in said_by(
        "docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", *ids
    ).splitlines():
        chain, same = json.loads(line) or [], 0
        while same < min(len(chain), len(diff_ids)) and chain[same] == diff_ids[same]:
            same += 1
        best = max(best, same)
    return best


def load(image: "dict[str, Any]") -> None:
    """An archive in both of Docker's forms, written straight into `docker load`."""
    name = image["tag"]
    wanted = [image["id"], image["manifest"], *image["layers"][layers_there(image["diff_ids"]) :]]
    wanted = list(dict.fromkeys(wanted))
    missing(wanted)
    proved({digest: blob(digest) for digest in wanted})
    path = "blobs/sha256/"
    classic = [
        {
            "Config": path + image["id"][7:],
            "RepoTags": [name],
            "Layers": [path + digest[7:] for digest in image["layers"]],
        }
    ]
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": MANIFEST_TYPE,
                "digest": image["manifest"],
                "size": os.path.getsize(blob(image["manifest"])),
                "annotations": {"io.containerd.image.name": image["full_name"]},
            }
        ],
    }
    small = {"oci-layout": {"imageLayoutVersion": "1.0.0"}, "index.json": index, "manifest.json": classic}
    total, done = sum(os.path.getsize(blob(digest)) for digest in wanted) or 1, 0
    docker = subprocess.Popen(
        ["docker", "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    words = ""
    try:
        with tarfile.open(
            fileobj=docker.stdin, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 18
        ) as archive:
            for file, content in small.items():
                data = json.dumps(content).encode()
                info = tarfile.TarInfo(file)
                info.size, info.mode = len(data), 0o644
                archive.addfile(info, io.BytesIO(data))
            for digest in wanted:
                info = tarfile.TarInfo(path + digest[7:])
                info.size, info.mode = os.path.getsize(blob(digest)), 0o644
                with open(blob(digest), "rb") as stream:
                    archive.addfile(info, stream)
                done += info.size
                print(f"loading {done * 100 // total} %", flush=True)
    except OSError:
        pass  # docker has ended before it had read all; it says why
    words = docker.communicate()[0].decode("utf-8", "replace").strip()
    if docker.returncode != 0:
        fail(f"docker load: {words.splitlines()[-1] if words else 'no words'}")
    found = said_by("docker", "image", "inspect", "--format", "{{.Id}}", name)
    if found not in (image["id"], image["manifest"]):
        fail(f"{name} is {found[7:19] or 'absent'} after the load, wanted {image['id'][7:19]}")


def place(source: str, target: str, digest: str) -> None:
    """A proved blob to its place, whole or not at all."""
    os.chmod(source, 0o644)
    try:
        os.rename(source, target)
    except OSError:  # another file system
        temp = target + ".difyfleet-new"
        shutil.copyfile(source, temp)
        os.chmod(temp, 0o644)
        proved({digest: temp})
        with open(temp, "rb") as stream:
            os.fsync(stream.fileno())
        os.rename(temp, target)
        os.unlink(source)


def bring_in(model: "dict[str, Any]", models: str) -> None:
    """Blobs first, the manifest last. What lies there under the right name is proved too."""
    os.umask(0o022)
    folder = os.path.join(models, "blobs")
    os.makedirs(folder, exist_ok=True)
    places = {digest: os.path.join(folder, digest.replace(":", "-")) for digest in model["layers"]}
    proved({digest: path for digest, path in places.items() if os.path.isfile(path)})
    lacking = [digest for digest, path in places.items() if not os.path.isfile(path)]
    missing([*lacking, model["manifest"]])
    proved({digest: blob(digest) for digest in [*lacking, model["manifest"]]})
    for digest in lacking:
        place(blob(digest), places[digest], digest)
    target = os.path.join(models, model["path"])
    os.makedirs(os.path.dirname(target), exist_ok=True)
    place(blob(model["manifest"]), target, model["manifest"])


if "image" in JOB:
    load(JOB["image"])
else:
    bring_in(JOB["model"], JOB["models"])
for spare in JOB["release"]:
    if os.path.isfile(blob(spare)):
        os.unlink(blob(spare))
print("done", flush=True)
