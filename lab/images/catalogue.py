"""Which images the lab has, what each is made from and under which names a host finds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CONTEXTS = Path(__file__).parent
HUB = "hub"  # Docker Hub, which a lab host reaches through its mirror
GHCR = "ghcr"  # ghcr.io


@dataclass(frozen=True)
class Image:
    """One image of the lab.

    :param context: folder under lab/images with its Dockerfile.
    :param layer: the Debian layer it is FROM, see lab/images/layers.py.
    :param registry: :data:`HUB` or :data:`GHCR`.
    :param repository: as in the registry's URLs: official images of Docker Hub are under ``library/``.
    :param stand_in: true if it is our own program in the place of the real one.
    """

    context: str
    layer: str
    registry: str
    repository: str
    tags: tuple[str, ...]
    stand_in: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names a user types: ``nginx:latest``, ``ghcr.io/open-webui/open-webui:main``."""
        short = self.repository.removeprefix("library/")
        host = "ghcr.io/" if self.registry == GHCR else ""
        return tuple(f"{host}{short}:{tag}" for tag in self.tags)

    @property
    def local(self) -> str:
        """The name under which the local daemon builds it."""
        return f"difyfleet-lab/image/{self.context.replace('_', '-')}"


IMAGES = (
    Image("hello_world", "busybox", HUB, "library/hello-world", ("latest",)),
    Image("nginx", "nginx", HUB, "library/nginx", ("latest", "1.27.3")),
    Image("postgres", "postgres", HUB, "library/postgres", ("15-alpine",)),
    Image("redis", "redis", HUB, "library/redis", ("6-alpine",)),
    Image("squid", "squid", HUB, "ubuntu/squid", ("latest", "5.7-23.04_beta")),
    Image("ollama", "base", HUB, "ollama/ollama", ("0.4.7",)),
    Image("dify_api", "python-dify", HUB, "langgenius/dify-api", ("0.11.2",), stand_in=True),
    Image("dify_web", "python", HUB, "langgenius/dify-web", ("0.11.2",), stand_in=True),
    Image("dify_sandbox", "python-curl", HUB, "langgenius/dify-sandbox", ("0.2.10",), stand_in=True),
    Image("weaviate", "python", HUB, "semitechnologies/weaviate", ("1.19.0",), stand_in=True),
    Image("open_webui", "python-curl", GHCR, "open-webui/open-webui", ("0.4.7", "main"), stand_in=True),
)


def stand_ins(images: Iterable[Image] = IMAGES) -> list[str]:
    """Names of the images that are stand-ins, for reports that must say so."""
    return [name for image in images if image.stand_in for name in image.names]
