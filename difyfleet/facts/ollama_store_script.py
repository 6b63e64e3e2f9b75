"""Runs ON THE HOST (python3 >= 3.7, nothing but the standard library): reads Ollama's model store from disk.

    python3 - report  MODELS_DIR RECORD [deep]     prints what is there as one line of JSON; changes nothing
    python3 - record  MODELS_DIR RECORD            the same, and writes the hashes that it proved to RECORD
    python3 - answered MODELS_DIR RECORD NAME HEX  notes that model NAME with manifest digest HEX has answered

A blob is named by its SHA-256, but Ollama trusts the name and never hashes a blob again, so this does. Hashing gigabytes at every
look would be too slow: RECORD remembers size, mtime and ctime of each blob that was proved, and only others are hashed.
"""

from __future__ import annotations

import os

from difyfleet.light_script import dumps, loads, sha256

TYPE_CHECKING = False  # typing itself is not imported: it costs more than a question
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PREFIXES = ("registry.ollama.ai/library/", "registry.ollama.ai/")


def short_name(relative: str) -> str:
    """`registry.ollama.ai/library/qwen2.5/7b` -> `qwen2.5:7b`, as `ollama list` prints it."""
    path, _, tag = relative.rpartition("/")
    for prefix in DEFAULT_PREFIXES:
        if path.startswith(prefix):
            path = path[len(prefix) :]
            break
    return path + ":" + tag


def stamp(path: str) -> list[int]:
    """What changes when a file is written: size in bytes, mtime and ctime in nanoseconds."""
    info = os.stat(path)
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def hash_of(path: str) -> str:
    """Hash of a file in hex, read 4 MiB at a time."""
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 22), b""):
            digest.update(piece)
    return digest.hexdigest()


def read_record(path: str) -> dict[str, Any]:
    """What was proved before; empty where there is no (readable) record."""
    try:
        with open(path) as stream:
            found = loads(stream.read())
    except (OSError, ValueError):
        found = {}
    return {"blobs": dict(found.get("blobs", {})), "answered": dict(found.get("answered", {}))}


def write_record(path: str, record: dict[str, Any]) -> None:
    """Put a new record in place of the old one, root-only, whole or not at all."""
    import json

    temp = path + ".new"
    handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(json.dumps(record, indent=1, sort_keys=True))
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(temp, path)


def read_manifest(root: str, path: str) -> dict[str, Any]:
    """One model: name, digest of the manifest's bytes, and its blobs (config and layers) with the sizes they must have."""
    with open(path, "rb") as stream:
        raw = stream.read()
    model: dict[str, Any] = {
        "name": short_name(os.path.relpath(path, root)),
        "path": path,
        "digest": sha256(raw).hexdigest(),
        "modified": int(os.stat(path).st_mtime),
        "blobs": [],
        "error": None,
    }
    try:
        manifest = loads(raw.decode())
        for part in [manifest["config"], *manifest["layers"]]:
            if part.get("digest"):
                model["blobs"].append(
                    {"digest": part["digest"], "size": part["size"], "type": part.get("mediaType", "")}
                )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        model["error"] = f"{type(error).__name__}: {error}"
    return model


def blob_state(path: str, blob: dict[str, Any], recorded: Any, deep: bool) -> dict[str, Any]:
    """State of one blob and its stamp: ok, missing, size or hash; `proved` tells that it was hashed just now."""
    try:
        before = stamp(path)
    except OSError:
        return {"state": "missing", "size": None, "stamp": None, "proved": False}
    found: dict[str, Any] = {"state": "ok", "size": before[0], "stamp": before, "proved": False}
    if before[0] != blob["size"]:
        found["state"] = "size"
    elif deep or recorded != before:
        right = hash_of(path) == blob["digest"].split(":", 1)[-1] and stamp(path) == before
        found["state"] = "ok" if right else "hash"
        found["proved"] = right
    return found


def read_store(models_dir: str, record: dict[str, Any], deep: bool) -> dict[str, Any]:
    """All models with their blobs' states, and files that belong to none."""
    root = os.path.join(models_dir, "manifests")
    models: list[dict[str, Any]] = []
    blobs: dict[str, dict[str, Any]] = {}
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            models.append(read_manifest(root, os.path.join(folder, name)))
    for model in models:
        for blob in model["blobs"]:
            file_name = blob["digest"].replace(":", "-")
            if file_name not in blobs:
                path = os.path.join(models_dir, "blobs", file_name)
                blobs[file_name] = blob_state(path, blob, record["blobs"].get(file_name), deep)
    folder = os.path.join(models_dir, "blobs")
    present = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    strays = [name for name in present if name not in blobs]
    return {"models": models, "blobs": blobs, "strays": strays, "answered": record["answered"]}


def report(models_dir: str, record_path: str, *deep: str) -> bytes:
    """What is there as one line of JSON."""
    return (dumps(read_store(models_dir, read_record(record_path), deep=bool(deep))) + "\n").encode()


def main(arguments: list[str]) -> None:
    """One of the three actions above."""
    action, models_dir, record_path = arguments[:3]
    record = read_record(record_path)
    if action == "answered":
        record["answered"][arguments[3]] = arguments[4]
        write_record(record_path, record)
        return
    store = read_store(models_dir, record, deep="deep" in arguments[3:])
    if action == "record":
        proved = {name: blob["stamp"] for name, blob in store["blobs"].items() if blob["state"] == "ok"}
        names = {model["name"]: model["digest"] for model in store["models"]}
        answered = {name: digest for name, digest in record["answered"].items() if names.get(name) == digest}
        write_record(record_path, {"blobs": proved, "answered": answered})
    print(dumps(store))
