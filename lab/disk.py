"""What a lab VM boots: a kernel beside the disk, a tiny initrd, and the look-alike's root file system as an ext4 image."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path

from lab import cache, debian, engine, rootfs

SIZE = "40G"  # sparse
# Order counts: virtio needs virtio_ring, the transports need virtio.
_BOOT_MODULES = (
    "virtio/virtio_ring", "virtio/virtio", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci", "virtio/virtio_mmio", "block/virtio_blk",
)  # fmt: skip
# Left out of the disk: 6 of 7 parts of the modules, none of which a virtual machine with Docker and firewalld loads.
_UNUSED = (
    "sound", "net/ceph", "net/sunrpc", "net/openvswitch", "net/tipc", "net/sctp", "net/rds", "net/batman-adv",
    "net/mac80211", "net/bluetooth",
    *(f"drivers/{name}" for name in (
        "gpu", "media", "infiniband", "net/ethernet", "net/wireless", "scsi", "usb", "hid", "md", "nvme", "crypto", "staging",
    )),
    *(f"fs/{name}" for name in (
        "ceph", "cifs", "nfs", "ocfs2", "xfs", "btrfs", "gfs2", "jfs", "f2fs", "smb", "bcachefs", "ntfs3",
    )),
)  # fmt: skip

_INIT = """\
#!/bin/sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in /m/*.ko; do $b insmod $m; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 200 ]; do $b usleep 10000; n=$((n + 1)); done
$b mount -t ext4 -o rw /dev/vda /root || exec $b sh
$b umount /proc
$b umount /sys
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
"""


def _modules(kernel_tree: Path, target: Path) -> Path:
    """Copy the kernel's modules without those nobody loads; returns ``.../lib/modules/VERSION``."""
    (source,) = (kernel_tree / "lib" / "modules").iterdir()
    copy = target / "lib" / "modules" / source.name
    shutil.copytree(source, copy, symlinks=True)
    for name in ("build", "source"):
        (copy / name).unlink(missing_ok=True)
    for name in _UNUSED:
        shutil.rmtree(copy / "kernel" / name, ignore_errors=True)
    files = [str(path) for path in sorted(copy.rglob("*.ko"))]
    engine.run(["strip", "--strip-debug", *files], timeout=300)
    engine.run(["depmod", "-b", str(target), source.name], timeout=120)
    return copy


def _initrd(modules: Path, busybox: Path, target: Path) -> None:
    """busybox, seven modules and a script that mounts /dev/vda: 1.2 MB, built in a moment, no initramfs tools."""
    with tempfile.TemporaryDirectory(prefix="difyfleet-lab-initrd-") as work:
        tree = Path(work)
        for name in ("bin", "m", "proc", "sys", "dev", "root"):
            (tree / name).mkdir()
        shutil.copyfile(busybox, tree / "bin" / "busybox")
        (tree / "bin" / "busybox").chmod(0o755)
        (tree / "bin" / "sh").symlink_to("busybox")
        for number, name in enumerate(_BOOT_MODULES):
            source = modules / "kernel" / "drivers" / f"{name}.ko"
            if source.exists():  # else it is built in
                shutil.copyfile(source, tree / "m" / f"{number}-{source.name}")
        (tree / "init").write_text(_INIT)
        (tree / "init").chmod(0o755)
        archive = tree.parent / f"{tree.name}.cpio"
        try:
            command = 'cd "$1" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible --owner=0:0 > "$2"'
            engine.run(["sh", "-c", command, "sh", str(tree), str(archive)], timeout=60)
            target.write_bytes(gzip.compress(archive.read_bytes(), 1, mtime=0))
        finally:
            archive.unlink(missing_ok=True)


def kernel() -> Path:
    """Cached: ``vmlinuz``, ``initrd.gz`` and the tree ``lib/modules``, from Debian's kernel package for clouds."""

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-kernel-", dir=rootfs.scratch(2 << 30)) as work:
            archive = debian.Archive(Path(work, "apt"), debian.SUITE)
            package = archive.depends("linux-image-cloud-amd64", "linux-image-")
            trees = archive.download(Path(work, "x"), package, "busybox-static")
            modules = _modules(trees[package], folder)
            (image,) = (trees[package] / "boot").glob("vmlinuz-*")
            shutil.copyfile(image, folder / "vmlinuz")
            _initrd(modules, trees["busybox-static"] / "bin" / "busybox", folder / "initrd.gz")

    engine.ensure("dpkg-deb", "cpio", "depmod", "strip")
    return cache.step("kernel", [debian.SUITE, *_UNUSED, *_BOOT_MODULES, _INIT], build)


def base() -> Path:
    """Cached: ``base.qcow2``, the disk under the overlays of all VMs (compressed, about 140 MB)."""
    tarball, modules = rootfs.tarball(), kernel()

    def build(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="difyfleet-lab-disk-", dir=rootfs.scratch(4 << 30)) as work:
            tree, raw = Path(work, "root"), Path(work, "base.raw")
            tree.mkdir()
            engine.run(
                [
                    "tar",
                    "--numeric-owner",
                    "--xattrs",
                    "--xattrs-include=*",
                    "-xpf",
                    str(tarball),
                    "-C",
                    str(tree),
                ],
                timeout=300,
            )
            engine.run(
                ["cp", "-a", "--no-preserve=ownership", f"{modules}/lib/modules", f"{tree}/usr/lib/"],
                timeout=120,
            )
            options = "root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1"
            engine.run(
                ["mke2fs", "-q", "-t", "ext4", "-E", options, "-O", "^metadata_csum_seed", "-m", "0", "-L", "root",
                 "-d", str(tree), str(raw), SIZE],
                timeout=300,
            )  # fmt: skip
            engine.run(
                ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd",
                 str(raw), str(folder / "base.qcow2")],
                timeout=600,
            )  # fmt: skip

    engine.ensure("mke2fs", "qemu-img")
    return cache.step("disk", [tarball, modules, SIZE], build) / "base.qcow2"


def overlay(backing: Path, target: Path) -> None:
    """A fresh copy-on-write disk on top of a backing qcow2."""
    target.unlink(missing_ok=True)
    # An absolute path: qemu-img takes a relative one as relative to the new disk.
    backing = Path(os.path.abspath(backing))
    engine.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(backing), str(target)])
