"""Where the parts of a bundle come from: a provisioned host through SSH, or this machine. Reads only, streamed, nothing staged in /tmp."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pyinfra.facts.server import Arch

from difyfleet.errors import FleetError
from difyfleet.facts.engine import DOWNLOADS, FileHashes
from difyfleet.facts.images import LocalImages
from difyfleet.facts.ollama import HASH_TIMEOUT, OllamaStore, StoredModel, parse_store, store_script
from difyfleet.remote.stream import output_of
from difyfleet.spec.engine_files import EngineFile
from difyfleet.spec.models import HostSpec
from difyfleet.spec.values import repository, stands_for

SAVE_SCRIPT = Path(__file__).with_name("save_script.py")


@dataclass(frozen=True)
class FoundImage:
    """An image at the source.

    Args:
        digests: of manifests in registries, by `repository@sha256:...`.
    """

    id: str
    digests: frozenset[str]


class Source(Protocol):
    """A machine that has what a bundle needs. `downloads`: Docker's files may be fetched from their URL."""

    name: str
    downloads: bool

    def machine(self) -> str | None:
        """The architecture that it runs, as `uname -m` says it; None = that says nothing of what it has."""

    def images(self, references: Sequence[str]) -> dict[str, FoundImage]:
        """Those of the images that it has."""

    def save(self, reference: str, known: Sequence[str]) -> AbstractContextManager[BinaryIO]:
        """An image's archive, from which layers that are known already may be missing."""

    def models(self) -> dict[str, StoredModel]:
        """Ollama's models by name, their blobs hashed there where nobody did so before."""

    def file(self, path: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """A file's content from byte `start` on."""

    def engine(self, wanted: EngineFile) -> str | None:
        """The digest that a file of this kind and version has in DOWNLOADS; None = it is not there."""


class Host:
    """A provisioned host. Docker's files are taken from what difyfleet keeps there, so that they are the ones that were tried.

    Args:
        on: pyinfra's host, connected.
    """

    downloads = False

    def __init__(self, on: Any, spec: HostSpec) -> None:
        self._on, self._spec = on, spec
        self.name = spec.name

    def machine(self) -> str:
        return str(self._on.get_fact(Arch))

    def images(self, references: Sequence[str]) -> dict[str, FoundImage]:
        there = self._on.get_fact(LocalImages, names=tuple(references))
        if there is None:
            raise FleetError("Docker is down", where=self.name, hint="systemctl start docker on the host")
        return _by_reference(references, [(one.id, one.tags, one.digests) for one in there])

    def save(self, reference: str, known: Sequence[str]) -> AbstractContextManager[BinaryIO]:
        command = f"python3 -c {shlex.quote(SAVE_SCRIPT.read_text())} {shlex.quote(reference)}"
        return output_of(self._on, command, f"docker save {reference}", stdin="\n".join(known).encode())

    def models(self) -> dict[str, StoredModel]:
        store = self._on.get_fact(OllamaStore, data_dir=self._spec.ollama.data_dir, _timeout=HASH_TIMEOUT)
        return dict(store.models)

    def file(self, path: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        return output_of(self._on, f"tail -c +{start + 1} -- {shlex.quote(path)}", f"read {path}")

    def engine(self, wanted: EngineFile) -> str | None:
        path = f"{DOWNLOADS}/{wanted.kept_as}"
        found = self._on.get_fact(FileHashes, paths=(path,)).get(path)
        return f"sha256:{found}" if found else None


class Here:
    """This machine: its Docker, and a folder of Ollama's if one is named.

    Args:
        ollama: the folder that holds `models/`.
    """

    name = "this machine"
    downloads = True

    def __init__(self, ollama: Path | None) -> None:
        self._ollama = ollama

    def machine(self) -> None:
        return None  # an arm64 laptop may hold amd64 images

    def images(self, references: Sequence[str]) -> dict[str, FoundImage]:
        form = "{{json .Id}} {{json .RepoTags}} {{json .RepoDigests}}"
        there = []
        for reference in references:
            argv = ["docker", "image", "inspect", "--format", form, reference]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                image, tags, digests = (json.loads(part) for part in done.stdout.split())
                there.append((image, frozenset(tags or ()), frozenset(digests or ())))
            elif "no such image" not in done.stderr.lower():
                raise FleetError(f"Docker: {done.stderr.strip()}", where=self.name, hint="docker version")
        return _by_reference(references, there)

    @contextmanager
    def save(self, reference: str, known: Sequence[str]) -> Iterator[BinaryIO]:
        with subprocess.Popen(
            [sys.executable, str(SAVE_SCRIPT), reference],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as saving:
            assert saving.stdin is not None
            assert saving.stdout is not None
            assert saving.stderr is not None
            saving.stdin.write("\n".join(known).encode())
            saving.stdin.close()
            try:
                yield saving.stdout  # type: ignore[misc]
            except BaseException:
                saving.kill()
                raise
            words = saving.stderr.read().decode(errors="replace").strip()
            if saving.wait() != 0:
                raise FleetError(f"docker save failed: {words}", where=f"image {reference}")

    def models(self) -> dict[str, StoredModel]:
        if self._ollama is None:
            return {}
        arguments = ["report", str(self._ollama / "models"), ""]
        text = self._run([sys.executable, "-", *arguments], stdin=store_script())
        return dict(parse_store(text).models)

    @contextmanager
    def file(self, path: str, start: int = 0) -> Iterator[BinaryIO]:
        with Path(path).open("rb") as file:
            file.seek(start)
            yield file

    def engine(self, wanted: EngineFile) -> str | None:
        return None

    def _run(self, argv: list[str], stdin: str = "") -> str:
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, timeout=HASH_TIMEOUT, check=True
            )
        except subprocess.SubprocessError as error:
            words = getattr(error, "stderr", "") or str(error)
            raise FleetError(f"{argv[0]} failed: {words.strip()}", where=self.name) from error
        return done.stdout


def _by_reference(
    references: Sequence[str], there: Sequence[tuple[str, frozenset[str], frozenset[str]]]
) -> dict[str, FoundImage]:
    found = {}
    for reference in references:
        for image, tags, digests in there:
            if stands_for(reference, tags, digests):
                found[reference] = FoundImage(image, digests)
    return found


def registry_digest(reference: str, image: FoundImage) -> str | None:
    """The digest of an image in the registry that its reference names; None = it was never pulled from there."""
    own = f"{repository(reference)}@"
    named = reference.partition("@")[2]
    digests = sorted(one.partition("@")[2] for one in image.digests if one.startswith(own))
    return named or (digests[0] if digests else None)
