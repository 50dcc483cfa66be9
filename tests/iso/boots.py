"""A small boot medium with stand-ins for kernel and loaders, and places to spoil it."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from isobuilder.content.tree import sums
from isobuilder.digest import Digest
from isobuilder.iso.write.bootable import BootParts, BootTree, boot_tree
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.iso.write.writer import WrittenIso, write_iso
from isobuilder.medium import MANIFEST, SUMS
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.store import Store
from tests.iso.makers import EPOCH, entry

IDENTITY = "0123456789abcdef"
OTHERS = (entry("k8s/kubeadm", b"kubeadm", 0o755), entry("docker/" + "d" * 64 + ".tar", b"image"))


def bios_image(size: int = 30_001) -> bytes:
    """What GRUB's image looks like to us: a jump, zeros, code, and the 2 that is replaced."""
    data = bytearray(b"\xe8\0\0\xeb\x3c".ljust(64, b"\0") + bytes(range(1, 251)) * 200)[:size]
    struct.pack_into("<Q", data, 2548, 2)
    return bytes(data)


def mbr_image() -> bytes:
    """What GRUB's first sector looks like to us: code, and the 1 that is replaced."""
    return b"M" * 432 + struct.pack("<Q70x", 1) + b"\x55\xaa"


@dataclass(frozen=True)
class Booted:
    """A written boot medium."""

    written: WrittenIso
    tree: BootTree
    parts: BootParts

    @property
    def path(self) -> Path:
        return self.written.path


def boot_parts(store: Store, *, architecture: str = "amd64") -> BootParts:
    names = ["kernel", "initrd", "root", "shim", "grub", "mok-manager"]
    blobs = {name: store.add_bytes(f"{name} ".encode() * 1000) for name in names}
    if architecture == "amd64":  # no other has a BIOS
        blobs |= {"bios": store.add_bytes(bios_image()), "bios-mbr": store.add_bytes(mbr_image())}
    payload = {
        "schema": 1,
        "os": "debian-13",
        "suite": "trixie",
        "kernel": "cloud",
        "kernel_version": "6.12.1",
        "architecture": architecture,
        "epoch": EPOCH,
        "tool": "1",
        "artifacts": {
            name: {"digest": blob.digest, "size": blob.size} for name, blob in blobs.items()
        },
        "packages": [],
    }
    return BootParts(
        identity=IDENTITY,
        kernel=blobs["kernel"],
        initrd=blobs["initrd"],
        root=blobs["root"],
        efi={ARCHITECTURES[architecture].efi[name]: blobs[name] for name in names[3:]},
        bios=blobs.get("bios"),
        mbr=blobs.get("bios-mbr"),
        payload=json.dumps(payload).encode(),
        menu=(
            f'set kiso_options="boot=kiso kiso.id={IDENTITY} quiet"\n'
            "linux /boot/kiso/vmlinuz $kiso_options\ninitrd /boot/kiso/initrd.img\n"
        ).encode(),
        finder=f"search --file /boot/kiso/{IDENTITY}.id\n".encode(),
        upgrade=b"#!/bin/bash\n",
    )


def boot_medium(store: Store, target: Path, parts: BootParts | None = None) -> Booted:
    """Write an ISO of ``OTHERS`` and boot files, with SHA256SUMS over all of them."""
    parts = parts or boot_parts(store)
    tree = boot_tree(parts, OTHERS, planned=(MANIFEST, SUMS), epoch=EPOCH)
    facts = dict(tree.facts)
    for other in OTHERS:
        data = b"".join(bytes(piece) for piece in other.pieces if isinstance(piece, bytes))
        facts[other.path] = Digest.of(data), len(data)
    described = [*OTHERS, *tree.entries, entry(MANIFEST, b"{}")]
    facts[MANIFEST] = Digest.of(b"{}"), 2
    described.append(IsoEntry(SUMS, 0o444, (sums(facts),)))
    written = write_iso(described, target, label="CDROM", epoch=EPOCH, boot=tree.boot)
    return Booted(written, tree, parts)
