"""The boot tree of an ISO: every file of it known before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from isobuilder.digest import BlobLike, Digest
from isobuilder.errors import InputError
from isobuilder.iso.boot_names import (
    BIOS,
    CATALOG,
    EFI,
    EFI_FOLDER,
    EFI_MENUS,
    FOLDER,
    INITRD,
    KERNEL,
    MENU,
    PAYLOAD,
    ROOT,
    UPGRADE,
)
from isobuilder.iso.write.author import author
from isobuilder.iso.write.entries import FileFact, IsoEntry, Piece, digest_of, size_of
from isobuilder.iso.write.fat import fat_image
from isobuilder.iso.write.hybrid import Boot, identifier, patched_bios


@dataclass(frozen=True, slots=True)
class BootParts:
    """An OS payload and the texts that fit it to one ISO."""

    identity: str  # letters and digits; the initramfs knows its ISO by a file of this name
    kernel: BlobLike
    initrd: BlobLike
    root: BlobLike  # a squashfs
    efi: Mapping[str, BlobLike]  # by file name below EFI/BOOT
    bios: BlobLike | None  # GRUB's image for BIOS, and its first sector for a disk
    mbr: BlobLike | None
    payload: bytes  # the description of the payload
    menu: bytes  # grub.cfg of the ISO
    finder: bytes  # grub.cfg of the FAT image, which leads to the other
    upgrade: bytes  # the script for nodes of a running cluster


@dataclass(frozen=True, slots=True)
class BootTree:
    """The boot files of one ISO, in their final form."""

    entries: tuple[IsoEntry, ...]
    facts: dict[str, FileFact]  # of the entries, and of the catalogue that the writer makes
    boot: Boot


def marker(identity: str) -> str:
    """Return the path of the file by which the initramfs knows its ISO."""
    return f"{FOLDER}/{identity}.id"


def boot_tree(
    parts: BootParts, others: Sequence[IsoEntry], *, planned: Sequence[str], epoch: int
) -> BootTree:
    """Return the boot files of an ISO that also has ``others`` and small files at ``planned``.

    Where a boot image lies depends on the names of all files, but not on the content of any, so
    what must hold its own place is finished, and has its digest, before the rest is described.

    Raises:
        InputError: the boot files for UEFI do not fit, or a path is taken.
    """
    try:
        efi = fat_image(
            {f"{EFI_FOLDER}/{name}": (blob,) for name, blob in parts.efi.items()}
            | dict.fromkeys(EFI_MENUS, (parts.finder,)),
            label="KISO",
            serial=identifier(parts.identity, "serial").fields[0],
            epoch=epoch,
        )
    except ValueError as error:
        raise InputError(f"{EFI}: {error}") from error
    files: dict[str, tuple[Piece, ...]] = {
        KERNEL: (parts.kernel,),
        INITRD: (parts.initrd,),
        ROOT: (parts.root,),
        PAYLOAD: (parts.payload,),
        UPGRADE: (parts.upgrade,),
        MENU: (parts.menu,),
        EFI: efi,
        marker(parts.identity): (f"{parts.identity}\n".encode(),),
    }
    boot = Boot(parts.identity, EFI)
    if parts.bios is not None and parts.mbr is not None:
        files[BIOS] = (parts.bios,)
        boot = Boot(parts.identity, EFI, bios=BIOS, mbr=parts.mbr.read())
    everything = [IsoEntry(path, 0o444, pieces) for path, pieces in files.items()]
    everything += [*others, *(IsoEntry(path, 0o444, (b"\0",)) for path in planned)]
    try:
        placed = author(everything, label="PLACES", epoch=epoch, boot=boot)
    except ValueError as error:
        raise InputError(f"ISO: {error}") from error
    if parts.bios is not None and placed.places is not None and placed.places.bios is not None:
        files[BIOS] = (patched_bios(parts.bios.read(), placed.places.bios),)
    facts = {path: _fact(pieces) for path, pieces in files.items()}
    facts[CATALOG] = Digest.of(placed.catalog), len(placed.catalog)
    entries = tuple(IsoEntry(path, 0o444, pieces) for path, pieces in sorted(files.items()))
    return BootTree(entries, facts, boot)


def _fact(pieces: tuple[Piece, ...]) -> FileFact:
    if len(pieces) == 1 and not isinstance(pieces[0], bytes):
        return pieces[0].digest, pieces[0].size
    return digest_of(pieces), size_of(pieces)
