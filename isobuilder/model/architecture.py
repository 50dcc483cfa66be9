"""Processor architectures: what each party calls them, and what a machine of each is like.

Light: the command line reads it before anything else.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traits:
    """One architecture, beside the name that Go, OCI and Debian have for it."""

    mold: str  # as ``uname -m`` has it: Mold's API, its ``arch``
    efi: Mapping[str, str]  # artifact -> file name below EFI/BOOT; shim has the firmware's own
    bios: bool  # machines that start by BIOS exist
    console: str  # the serial line, as the kernel calls it
    early: str  # so that a kernel too damaged to unpack itself can say so on the serial line too
    loaders: tuple[str, ...]  # Debian's packages of boot loaders beside shim
    qemu: str  # QEMU's program
    machine: str  # QEMU's machine type
    processor: str  # QEMU's name of the one it emulates, the most able
    firmware: str  # Debian's package of UEFI firmware for QEMU


ARCHITECTURES: Mapping[str, Traits] = {
    "amd64": Traits(
        mold="x86_64",
        efi={"shim": "BOOTX64.EFI", "grub": "grubx64.efi", "mok-manager": "mmx64.efi"},
        bios=True,
        console="ttyS0,115200n8",
        early="earlyprintk=ttyS0,115200 ",
        # libdevmapper is what grub-mkimage needs and the root file system has not.
        loaders=("grub-efi-amd64-signed", "grub-pc-bin", "grub-common", "libdevmapper1.02.1"),
        qemu="qemu-system-x86_64",
        machine="q35",
        processor="max",
        firmware="ovmf",
    ),
    "arm64": Traits(
        mold="aarch64",
        efi={"shim": "BOOTAA64.EFI", "grub": "grubaa64.efi", "mok-manager": "mmaa64.efi"},
        bios=False,
        console="ttyAMA0",
        early="",
        loaders=("grub-efi-arm64-signed",),
        qemu="qemu-system-aarch64",
        machine="virt",
        # The architecture's own cipher for signed pointers takes half of all time in emulation.
        processor="max,pauth-impdef=on",
        firmware="qemu-efi-aarch64",
    ),
}

DEFAULT = "amd64"

PATTERN = f"^({'|'.join(ARCHITECTURES)})$"

ETCD_ARCHIVE = "etcd/etcd-linux-amd64.tar.gz"
"""Nodes unpack etcd under this name on every architecture (docs/node-contract.md, A.10)."""


def host_architecture() -> str | None:
    """Return whose programs this machine can start, None for one that is none of ours."""
    return architecture_of(platform.machine())


def architecture_of(machine: str) -> str | None:
    """Return which one Linux and Mold call ``machine``, None for one that is none of ours."""
    return next((name for name, traits in ARCHITECTURES.items() if traits.mold == machine), None)
