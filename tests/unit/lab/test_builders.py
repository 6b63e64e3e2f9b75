"""Command lines and texts that the lab builds, without running them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lab import container, debian, own_image, packages, pki, qemu, services
from lab.qemu import Machine

ALL, WITHOUT_SYS_RESOURCE = "000001ffffffffff", "000001fffeffffff"


def test_privileged_where_root_has_every_capability() -> None:
    assert container.capabilities(f"Name:\tbash\nCapBnd:\t{ALL}\nCapAmb:\t0\n") == ["--privileged"]


def test_every_capability_but_the_missing_one() -> None:
    flags = container.capabilities(f"CapBnd:\t{WITHOUT_SYS_RESOURCE}\n")
    assert "--privileged" not in flags
    assert flags[:4] == ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("26.1.5+dfsg1-9+deb13u1+b1", "26.1.5"),
        ("1.7.24~ds1-6+deb13u1", "1.7.24"),
        ("2.26.1-4", "2.26.1"),
        ("1:9.2p1-2", "9.2p1"),
    ],
)
def test_upstream_version(version: str, upstream: str) -> None:
    assert debian.upstream_version(version) == upstream


def test_configured_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFYFLEET_LAB_DEBIAN_MIRROR", "http://mirror.example/debian/")
    assert debian.sources("bookworm") == [
        f"deb [signed-by={debian.KEYRING}] http://mirror.example/debian bookworm main",
        f"deb [signed-by={debian.KEYRING}] http://mirror.example/debian bookworm-updates main",
        f"deb [signed-by={debian.KEYRING}] http://mirror.example/debian-security bookworm-security main",
    ]


def test_subject_alt_name_tells_names_from_addresses() -> None:
    assert pki.subject_alt_name(["ghcr.io", "10.0.2.4"]) == "DNS:ghcr.io,IP:10.0.2.4"


def test_spec_lists_the_tree(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/docker").touch()
    (tmp_path / "usr/bin/link").symlink_to("nowhere")
    spec = packages.Rpm("docker-ce-cli", "26.1.5", "1.el8", tmp_path, epoch=1, requires=["/bin/sh"]).spec()
    assert "Name: docker-ce-cli\nVersion: 26.1.5\nRelease: 1.el8\nEpoch: 1\n" in spec
    assert "Requires: /bin/sh\n" in spec
    assert spec.endswith("%files\n/usr/bin/docker\n/usr/bin/link\n")


def test_no_package_of_the_base_is_tar() -> None:
    """A minimal openEuler has none: docker-ce's requirement has to bring it from the repository."""
    assert not [item for item in packages.BASE_PROVIDES if item.split()[0] == "tar"]


@pytest.mark.parametrize(
    ("header", "window"),
    [
        (None, None),
        ("bytes=0-99", (0, 99)),
        ("bytes=900-", (900, 999)),
        ("bytes=0-5000", (0, 999)),
        ("lines=1-2", None),
    ],
)
def test_byte_range(header: str | None, window: tuple[int, int] | None) -> None:
    assert services.byte_range(header, 1000) == window


def test_byte_range_outside_the_file() -> None:
    with pytest.raises(ValueError, match="outside 1000 bytes"):
        services.byte_range("bytes=1000-", 1000)


def test_accelerator_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFYFLEET_LAB_ACCEL", "kvm")
    assert Machine("a", Path("/x"), "10.0.2.11", "t11").hardware()[:4] == ["-accel", "kvm", "-cpu", "host"]


def test_own_bootloader_gets_no_kernel_and_the_known_mac() -> None:
    argv = Machine("own", Path("/x"), "10.0.2.11", "t11").argv()
    assert "-kernel" not in argv
    assert any(word.endswith("mac=52:54:00:00:02:0b") for word in argv)


def test_identity_is_on_the_kernel_command_line() -> None:
    words = qemu.direct_boot(Path("/k"), "vm1", "10.0.2.11", "ssh-ed25519 AAAA lab\n")
    append = words[words.index("-append") + 1].split()
    assert "lab.ip=10.0.2.11/24" in append
    key = next(word for word in append if word.startswith("lab.key="))
    assert base64.b64decode(key.removeprefix("lab.key=")) == b"ssh-ed25519 AAAA lab\n"


def test_image_password_reaches_ssh_by_its_environment_only(tmp_path: Path) -> None:
    environment = own_image._with_password("s3cret", tmp_path)
    assert environment[own_image.PASSWORD] == "s3cret"
    assert "s3cret" not in (tmp_path / "askpass").read_text()
    assert environment["SSH_ASKPASS_REQUIRE"] == "force"
