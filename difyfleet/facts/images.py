"""Images in the Docker daemon, and pulls that the host has under way."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra.api import FactBase

from difyfleet.facts.docker import RUNNING
from difyfleet.facts.fitness import sections
from difyfleet.host_calls import Command

PULLS = "/run/difyfleet/pulls"  # log and exit code of each pull; gone after a reboot, as the pulls themselves


@dataclass(frozen=True)
class Image:
    """One image in the daemon."""

    id: str  # "sha256:..." (config digest with the classic store, manifest digest with containerd's)
    tags: frozenset[str]  # "nginx:1.27.3"
    digests: frozenset[str]  # "nginx@sha256:..."
    size: int = 0  # bytes unpacked


class LocalImages(FactBase[tuple[Image, ...] | None]):
    """Those of the named images (references or IDs) that are there; None = Docker is down, nobody can say."""

    def command(self, names: tuple[str, ...]) -> Command:
        form = '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}},"size":{{json .Size}}}'
        listed = " ".join(map(shlex.quote, names))
        text = f"if {RUNNING}; then echo '##up'; timeout 60 docker image inspect --format {shlex.quote(form)} {listed} 2>/dev/null; fi; true"
        return Command(text, "difyfleet.facts.docker_script", "images", *names)

    @staticmethod
    def default() -> None:
        return None

    def process(self, output: Iterable[str]) -> tuple[Image, ...] | None:
        lines = sections(output).get("up")
        if lines is None:
            return None
        found = {}
        for raw in map(json.loads, filter(None, lines)):
            found[raw["id"]] = Image(
                raw["id"], frozenset(raw["tags"] or ()), frozenset(raw["digests"] or ()), raw["size"] or 0
            )
        return tuple(found.values())


@dataclass(frozen=True)
class Pull:
    """One pull on the host."""

    active: bool = False
    exit_code: int | None = None  # None = not ended (or never begun)
    layers: int = 0
    ready: int = 0  # layers unpacked, or there before
    words: tuple[str, ...] = ()  # its last lines


@dataclass(frozen=True)
class PullState:
    """All pulls that were asked about, and how much is being downloaded."""

    pulls: Mapping[str, Pull] = field(default_factory=dict)
    in_flight: int = 0  # bytes of layers downloaded but not unpacked yet


class ImagePulls(FactBase[PullState]):
    """Pulls by their short hash (operations.image_pulls.short)."""

    def command(self, hashes: tuple[str, ...], data_root: str) -> str:
        return (
            f'(export LC_ALL=C; cd {PULLS} 2>/dev/null || exit 0; for h in {" ".join(map(shlex.quote, hashes))}; do echo "##$h"; '
            'systemctl show "difyfleet-pull-$h.service" -p ActiveState --value; cat "$h.rc" 2>/dev/null || echo -; '
            'if [ -e "$h.log" ]; then grep -cE "Pulling fs layer|Already exists" "$h.log"; grep -cE "Pull complete|Already exists" "$h.log"; '
            'tail -n 3 "$h.log"; fi; done; echo "##bytes"; '
            f"du -sb {shlex.quote(data_root)}/tmp 2>/dev/null | cut -f1; true)"
        )

    @staticmethod
    def default() -> PullState:
        return PullState()

    def process(self, output: Iterable[str]) -> PullState:
        part = sections(output)
        volume = part.pop("bytes", [])
        pulls = {}
        for name, lines in part.items():
            code = lines[1].strip() if len(lines) > 1 else "-"
            pulls[name] = Pull(
                active=bool(lines) and lines[0].strip() in ("active", "activating", "reloading"),
                exit_code=int(code) if code.isdigit() else None,
                layers=int(lines[2]) if len(lines) > 2 else 0,
                ready=int(lines[3]) if len(lines) > 3 else 0,
                words=tuple(line.strip() for line in lines[4:] if line.strip()),
            )
        return PullState(pulls, int(volume[0]) if volume and volume[0].strip().isdigit() else 0)
