"""Is there room on a host for what is about to be pushed and loaded? Computed before a byte is sent."""

from __future__ import annotations

from dataclasses import dataclass

from difyfleet.errors import HostError
from difyfleet.facts.pushed import STORE, Contents, Installed

SPARE = 512 << 20  # bytes that stay free: logs, databases, the engine's programs
_COMPRESSED = 3  # an unpacked layer against a compressed one, roughly


@dataclass(frozen=True)
class Room:
    """What will be needed.

    Args:
        contents: what is pushed.
        send: bytes of blobs still to be sent.
        data_root: Docker's.
        models_dir: Ollama's folder `models`.
    """

    contents: Contents
    installed: Installed
    send: int
    data_root: str
    models_dir: str

    def needs(self) -> dict[str, int]:
        """Bytes below each folder, at the worst moment: all is pushed, the last image is in Docker's temporary folder, the others unpacked."""
        unpacked, largest = 0, 0
        for image in self.contents.images.values():
            if {image.id, image.manifest} & self.installed.ids:
                continue
            layers = image.layers_beyond(() if self.installed.containerd else self.installed.chains)
            packed = self.contents.size_of(layers)
            factor = (
                1 if set(layers) <= set(image.diff_ids) else _COMPRESSED
            )  # the classic store keeps them unpacked
            unpacked, largest = unpacked + packed * factor, max(largest, packed)
        found = {STORE: self.send, self.data_root: unpacked + largest, self.models_dir: 0}
        if self._apart(STORE, self.models_dir):  # else they are moved
            missing = {
                digest
                for model in self.contents.models.values()
                for digest in model.layers
                if self.installed.blobs.get(digest) != self.contents.sizes[digest]
            }
            found[self.models_dir] = self.contents.size_of(missing)
        return found

    def _apart(self, one: str, other: str) -> bool:
        room = self.installed.room
        return one in room and other in room and room[one].fs != room[other].fs


def require_room(room: Room, name: str) -> None:
    """Refuse a push that would fill a file system.

    Args:
        name: of the host.

    Raises:
        HostError: there is too little; nothing was sent.
    """
    by_system: dict[str, list[str]] = {}
    for folder, disk in room.installed.room.items():
        by_system.setdefault(disk.fs, []).append(folder)
    needs = room.needs()
    lost = []
    for folders in by_system.values():
        disk = room.installed.room[folders[0]]
        wanted = sum(needs.get(folder, 0) for folder in folders)
        if wanted and wanted + SPARE > disk.free:
            parts = ", ".join(
                f"{folder} {needs[folder] / 1e9:.2f} GB" for folder in folders if needs.get(folder)
            )
            lost.append(
                f"{disk.mount} has {disk.free / 1e9:.2f} GB free, wanted {(wanted + SPARE) / 1e9:.2f} GB ({parts}, spare {SPARE / 1e9:.2f} GB)"
            )
    if lost:
        raise HostError(
            "not room enough, nothing was sent: " + "; ".join(lost),
            where=name,
            hint="make room there (docker image prune, difyfleet models rm), or put docker.data_root or ollama.data_dir on a larger disk",
        )
