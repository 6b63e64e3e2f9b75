"""A small bundle in the real form: two images that share a layer, a model, an engine archive, a wheel and a document."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from difyfleet.offline import minisign
from difyfleet.offline.layout import image_manifest
from difyfleet.offline.manifest import File, Image, Manifest, Model, digest_of
from difyfleet.offline.store import Store


def layer(name: str, content: bytes) -> bytes:
    """A layer with one file, uncompressed as the classic store keeps it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@functools.cache
def noise(seed: str, size: int) -> bytes:
    """Bytes that differ everywhere, always the same ones."""
    return b"".join(hashlib.sha256(f"{seed}{i}".encode()).digest() for i in range(size // 32))


def small(architecture: str = "amd64") -> tuple[Manifest, dict[str, bytes]]:
    """The manifest, and the blobs by digest."""
    blobs: dict[str, bytes] = {}

    def keep(data: bytes) -> str:
        digest = digest_of(data)
        blobs[digest] = data
        return digest

    base = keep(layer("etc/os-release", b"ID=debian\n" + noise("base", 4096)))
    images = []
    for reference, content in (("nginx:1.27.3", b"nginx"), ("ghcr.io/open-webui/open-webui:0.4.7", b"webui")):
        own = keep(layer("app", noise(reference, 2048) + content))
        config = keep(
            json.dumps(
                {
                    "architecture": architecture,
                    "os": "linux",
                    "config": {"Labels": {"org.opencontainers.image.licenses": "BSD-2-Clause"}},
                    "rootfs": {"type": "layers", "diff_ids": [base, own]},
                }
            ).encode()
        )
        descriptors = [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": len(blobs[one]), "digest": one}
            for one in (base, own)
        ]
        manifest = keep(
            image_manifest(
                {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "size": len(blobs[config]),
                    "digest": config,
                },
                descriptors,
            )
        )
        images.append(
            Image(
                reference=reference,
                id=config,
                manifest=manifest,
                layers=[base, own],
                registry=digest_of(reference.encode()),
                license="BSD-2-Clause",
            )
        )
    weights, licence = keep(noise("weights", 8192)), keep(b"Apache License\nVersion 2.0\n")
    settings = keep(b'{"model_format":"gguf"}')
    text = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": settings,
            "size": 23,
        },
        "layers": [
            {
                "mediaType": "application/vnd.ollama.image.model",
                "digest": weights,
                "size": len(blobs[weights]),
            },
            {
                "mediaType": "application/vnd.ollama.image.license",
                "digest": licence,
                "size": len(blobs[licence]),
            },
        ],
    }
    model = Model(
        name="qwen2.5:7b",
        manifest=keep(json.dumps(text).encode()),
        path="manifests/registry.ollama.ai/library/qwen2.5/7b",
        layers=[settings, weights, licence],
        license="Apache License",
    )
    files = [
        File(
            kind="engine",
            name="docker-28.5.2.tgz",
            digest=keep(noise("engine", 1024)),
            version="28.5.2",
            target="/var/lib/difyfleet/downloads/docker-28.5.2.tgz",
            license="Apache-2.0",
        ),
        File(
            kind="wheel",
            name="click-8.1.8-py3-none-any.whl",
            digest=keep(noise("wheel", 512)),
            version="8.1.8",
            license="BSD-3-Clause",
        ),
        File(kind="document", name="handbook/假期.md", digest=keep("# 假期\n十天\n".encode())),
    ]
    sizes = {digest: len(data) for digest, data in blobs.items()}
    return (
        Manifest(
            created_by="difyfleet 0",
            environment="prod",
            architecture=architecture,  # type: ignore[arg-type]
            images=images,
            models=[model],
            files=files,
            blobs=sizes,
        ),
        blobs,
    )


def write(
    folder: Path, sign: Callable[[bytes], bytes] | None = None, architecture: str = "amd64"
) -> Manifest:
    """The small bundle as a folder."""
    manifest, blobs = small(architecture)
    store = Store(folder)
    for data in blobs.values():
        store.put_bytes(data)
    store.finish(manifest, sign)
    return manifest


# a pair of throw-away keys that minisign 0.11 made (-W: not encrypted), and its signature of b"hello\n"
SECRET_KEY = """\
untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAhLfoECwRpDFHVRqrC7fUFbxeq6m7reHX193luFvaJBTCf/GDA0RlkcE0z8EJ+cNYxDBh9j3vsLxDLVipfiWHno6o4IzFRbqTAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""
PUBLIC_KEY = "RWSEt+gQLBGkMcE0z8EJ+cNYxDBh9j3vsLxDLVipfiWHno6o4IzFRbqT"
SIGNATURE_OF_HELLO = b"""\
untrusted comment: signature from minisign secret key
RUSEt+gQLBGkMcTww5EJ67qMZE39+bOl+vpoGD3CqTzLpMT6bJCM6VVgtVLiqvCzGLA4C5NLugDzF8/3y9kmINwCzbEFtTM7qAY=
trusted comment: trusted words
sjjxBVJuR5gmxgTmjwdpNxdntYzMZWntdDdhS7CSMBHnnKc2ybkGkx0s0P5X4jaD4SvGqGhnqhIDBQlHGQp1Dg==
"""


def signer(folder: Path) -> Callable[[bytes], bytes]:
    """Signs with SECRET_KEY."""
    path = folder / "test.key"
    path.write_text(SECRET_KEY)
    key = minisign.read_secret_key(path)
    return lambda data: minisign.sign(data, key, "difyfleet bundle of prod")
