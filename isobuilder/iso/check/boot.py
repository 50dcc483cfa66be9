"""What is wrong with an ISO as a boot medium, found from its bytes alone.

What is expected is worked out here and in ``disk_check`` from where the files really are, not by
the code that writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.iso.boot_names import (
    BIOS,
    CATALOG,
    EFI,
    EFI_MENUS,
    INITRD,
    KERNEL,
    MENU,
    PAYLOAD,
    ROOT,
)
from isobuilder.iso.check.disk import DISK_HEAD, DISK_TAIL, DiskCheck, same
from isobuilder.iso.check.subject import Subject, wrong
from isobuilder.iso.read.fat import LIMIT, FatFile, read_fat
from isobuilder.iso.read.rawiso import BLOCK, Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import LABEL
from isobuilder.model.architecture import ARCHITECTURES
from isobuilder.model.finding import Finding
from isobuilder.model.payload import ArtifactName, OsPayload

_MEBIBYTE = 1024 * 1024
_LARGEST = {CATALOG: BLOCK, BIOS: _MEBIBYTE, EFI: LIMIT, MENU: _MEBIBYTE, PAYLOAD: 16 * _MEBIBYTE}
"""Bytes of what is read whole; real ones are far smaller."""

_AS_THEY_ARE: dict[str, ArtifactName] = {KERNEL: "kernel", INITRD: "initrd", ROOT: "root"}
_UEFI: tuple[ArtifactName, ...] = ("shim", "grub", "mok-manager")


def _is_bootable(reader: IsoReader) -> bool:
    """Return whether the ISO wants to be a boot medium."""
    return PAYLOAD in reader.files or CATALOG in reader.files


def check_boot(subject: Subject) -> Iterator[Finding]:
    """Give what is wrong with the boot structure, and what would start from an ISO without one."""
    bootable = _is_bootable(subject.reader)
    yield from _unclaimed(subject, bootable=bootable)
    if bootable:
        for finding in _findings(subject):
            if finding.place not in subject.told:
                yield finding


def _unclaimed(subject: Subject, *, bootable: bool) -> Iterator[Finding]:
    """Give bytes that no file has: firmware may start them, and programs take them for something.

    The first and last sectors of a boot medium, a disk's, are checked for themselves.
    """
    disk = (Extent(0, DISK_HEAD), Extent(subject.reader.size - DISK_TAIL, DISK_TAIL))
    for run in subject.unclaimed:
        if bootable and any(part.offset <= run.offset and run.end <= part.end for part in disk):
            continue
        fact = f"{run.size} bytes from here on belong to no file, folder or descriptor"
        yield wrong("iso.unclaimed", f"byte {run.offset}", fact)
    if subject.reader.volumes.boot and not bootable:
        yield wrong("boot.record", "block 17", "a boot record, and no OS payload that it starts")


def _findings(subject: Subject) -> Iterator[Finding]:
    reader, files = subject.reader, subject.files
    payload = _payload(subject)
    if payload is None and PAYLOAD in files:
        yield wrong("boot.payload", PAYLOAD, "it does not describe an OS payload")
    unusable = list(_unusable(reader, payload))
    yield from unusable
    if unusable or payload is None:
        return
    with reader.open_image() as image:
        yield from DiskCheck(reader, image, payload).findings()
    yield from _check_efi(reader, payload)
    for path, name in _AS_THEY_ARE.items():
        yield from same(path, name, payload, files[path])
    yield from _check_menu(reader)


def _unusable(reader: IsoReader, payload: OsPayload | None) -> Iterator[Finding]:
    """Give the boot files that are missing or cannot be what they should."""
    needed = [CATALOG, EFI, PAYLOAD, MENU, *_AS_THEY_ARE]
    if payload is not None and "bios" in payload.artifacts:
        needed.append(BIOS)
    for path in needed:
        entry = reader.files.get(path)
        if entry is None:
            yield wrong("boot.files", path, "it is not on the ISO")
        elif not entry.size:
            yield wrong("boot.files", path, "it is empty")
        elif entry.size > _LARGEST.get(path, entry.size):
            fact = f"{entry.size} bytes, expected at most {_LARGEST[path]}"
            yield wrong("boot.files", path, fact)
        elif len(entry.extents) > 1:
            yield wrong("boot.files", path, f"it lies in {len(entry.extents)} pieces")
    if payload is not None and "bios" not in payload.artifacts and BIOS in reader.files:
        yield wrong("boot.files", BIOS, f"{payload.name} starts nothing by BIOS")


def _check_efi(reader: IsoReader, payload: OsPayload) -> Iterator[Finding]:
    """Check the FAT image: its structure, and the chain shim, GRUB, kernel by name and digest."""
    with reader.open(EFI) as image:
        try:
            fat = read_fat(image)
        except IntegrityError as error:
            yield wrong("boot.efi", EFI, str(error))
            return
        files = fat.files
        if fat.label == LABEL:
            yield wrong("boot.efi", EFI, f"its label is {LABEL}, by which nodes look for the ISO")
        names = ARCHITECTURES[payload.architecture].efi.values()
        known = {f"EFI/BOOT/{name}".upper() for name in names} | {m.upper() for m in EFI_MENUS}
        for path in sorted(files.keys() - known):
            yield wrong("boot.efi", f"{EFI}: {path}", "nothing that starts a machine needs it")
        for artifact in _UEFI:
            path = f"EFI/BOOT/{ARCHITECTURES[payload.architecture].efi[artifact]}".upper()
            if path not in files:
                yield wrong("boot.efi", EFI, f"no {path}, so Secure Boot cannot start")
                continue
            digest = _digest_within(image, files[path])
            yield from same(f"{EFI}: {path}", artifact, payload, digest)
        for path in (menu.upper() for menu in EFI_MENUS):
            if path not in files:
                yield wrong("boot.efi", EFI, f"no {path}, so GRUB cannot find the ISO")
                continue
            image.seek(files[path].start)
            text = image.read(min(files[path].size, _MEBIBYTE)).decode("utf-8", "replace")
            if not any(f"/{marker}" in text.split() for marker in _markers(reader)):
                fact = "it does not look for the file by which this ISO is known"
                yield wrong("boot.identity", f"{EFI}: {path}", fact)


def _digest_within(image: BinaryIO, file: FatFile) -> Digest:
    image.seek(file.start)
    hasher, left = hashlib.sha256(), file.size
    while left and (chunk := image.read(min(left, 256 * 1024))):
        hasher.update(chunk)
        left -= len(chunk)
    return Digest.from_hex(hasher.hexdigest())


def _check_menu(reader: IsoReader) -> Iterator[Finding]:
    """Check that the menu asks for the ISO it is on, and starts what is there."""
    with reader.open(MENU) as file:
        words = file.read().decode("utf-8", "replace").split()
    wanted = {word.partition("=")[2].rstrip('"') for word in words if "kiso.id=" in word}
    there = {path.rpartition("/")[2].removesuffix(".id") for path in _markers(reader)}
    if len(wanted) != 1 or wanted != there:
        fact = f"it asks for kiso.id {sorted(wanted)}, the ISO is {sorted(there)}"
        yield wrong("boot.identity", MENU, fact)
    for path in (KERNEL, INITRD):
        if f"/{path}" not in words:
            yield wrong("boot.menu", MENU, f"it does not start /{path}")


def _markers(reader: IsoReader) -> list[str]:
    """Return the files by which an initramfs may know the ISO; there should be one."""
    paths = (path for path in reader.files if path.startswith("boot/kiso/"))
    return [path for path in paths if path.endswith(".id")]


def _payload(subject: Subject) -> OsPayload | None:
    payload = subject.medium.payload(PAYLOAD) if PAYLOAD in subject.files else None
    return None if isinstance(payload, IntegrityError) else payload
