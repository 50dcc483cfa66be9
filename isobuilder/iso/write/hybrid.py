"""What makes an ISO start a machine: El Torito, and a first and last part that make it a disk too.

Sources: El Torito 1.0; UEFI 2.10, section 5 (GPT) and 13.3; GRUB's boot_hybrid.img and
eltorito.img, which have places for the block they continue from.
"""

from __future__ import annotations

import struct
import uuid
from binascii import crc32
from dataclasses import dataclass
from typing import NamedTuple

SECTOR = 512
SYSTEM_AREA = 32 * 1024
"""Bytes before the first volume descriptor, which ISO 9660 leaves to others."""

BIOS_LOAD = 4
"""Sectors the BIOS loads of its image; that part loads the rest."""

_INFO_TABLE = 8
"""Where in a BIOS image the boot info table is: volume descriptor, image, length, sum."""

_SELF_AT = 2548
"""Where GRUB's eltorito.img wants the number of its sixth sector: behind the part that CDs start
from and the first sector of the part that disks start from, which has this place."""

_MBR_CODE = 432
_NEXT_AT = 432
"""Where GRUB's boot_hybrid.img wants the number of the sector to continue from, the fifth."""

_SELF_UNSET, _NEXT_UNSET = 2, 1  # what GRUB's files have in these places
_PRIMARY_BLOCK = 16  # of the primary volume descriptor
_ENTRIES, _ENTRY = 128, 128
_TABLE = _ENTRIES * _ENTRY // SECTOR  # sectors of one partition table
_TAIL = 1 + _TABLE
_STEP = 32  # sectors: partitions begin and end at multiples, or tools complain
_ALIGNMENT = 1024 * 1024
_NAMES = uuid.UUID("8f1c8a2e-6b0f-5a53-9c0b-6d1d6f5a7e11")  # ours, for derived identifiers
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_BASIC_DATA = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
_READ_ONLY = 1 << 60 | 1 << 63  # and never given a drive letter


@dataclass(frozen=True, slots=True)
class Boot:
    """Which files of an ISO start a machine."""

    identity: str  # all identifiers are derived from it
    efi: str  # path of the FAT image
    bios: str | None = None  # path of GRUB's image; None where there is no BIOS
    mbr: bytes = b""  # GRUB's first sector


class Places(NamedTuple):
    """Where the boot images are, in blocks of 2048 bytes."""

    bios: int | None
    efi: int


class Run(NamedTuple):
    """One partition, in sectors of 512 bytes, both ends included."""

    kind: uuid.UUID
    first: int
    last: int
    flags: int
    name: str


def disk_size(size: int) -> int:
    """Return how long an ISO of ``size`` bytes is as a disk: whole mebibytes, room for a table."""
    return -(-(size + (_TAIL + _STEP) * SECTOR) // _ALIGNMENT) * _ALIGNMENT


def patched_bios(image: bytes, block: int) -> bytes:
    """Return GRUB's BIOS image as it has to be when it begins at ``block``.

    The boot info table is written last, because its sum is over everything behind it.
    """
    data = bytearray(image.ljust(-(-len(image) // 4) * 4, b"\0"))
    struct.pack_into("<Q", data, _SELF_AT, block * 4 + BIOS_LOAD + 1)
    struct.pack_into("<III", data, _INFO_TABLE, _PRIMARY_BLOCK, block, len(image))
    struct.pack_into("<I40x", data, _INFO_TABLE + 12, _word_sum(bytes(data[64:])))
    return bytes(data[: len(image)])


def without_place(image: bytes) -> bytes:
    """Return GRUB's BIOS image as it was before ``patched_bios``."""
    data = bytearray(image)
    if len(data) >= _SELF_AT + 8:
        data[_INFO_TABLE : _INFO_TABLE + 56] = bytes(56)
        struct.pack_into("<Q", data, _SELF_AT, _SELF_UNSET)
    return bytes(data)


def without_places(sector: bytes) -> bytes:
    """Return GRUB's first sector as it was before ``system_area``."""
    return sector[:_NEXT_AT] + struct.pack("<Q70x", _NEXT_UNSET) + b"\x55\xaa"


def _word_sum(data: bytes) -> int:
    """Return the sum of all little-endian words, cut to 32 bits; missing bytes are zero."""
    padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
    words: tuple[int, ...] = struct.unpack(f"<{len(padded) // 4}I", padded)
    return sum(words) & 0xFFFFFFFF


def system_area(boot: Boot, places: Places, *, efi_size: int, size: int) -> bytes:
    """Return the first 32 KiB: what a BIOS starts of a disk, and the partition table.

    ``size`` is that of the whole disk, see ``disk_size``; ``efi_size`` that of the FAT image.
    """
    sectors = size // SECTOR
    first = bytearray(boot.mbr[:_MBR_CODE].ljust(SECTOR, b"\0"))
    if places.bios is not None:
        struct.pack_into("<Q", first, _NEXT_AT, places.bios * 4 + BIOS_LOAD)
    first[440:444] = identifier(boot.identity, "disk").bytes[:4]
    protective = min(sectors - 1, 0xFFFFFFFF)
    struct.pack_into("<B3sB3sII", first, 446, 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, protective)
    if places.bios is not None:
        # Some BIOSes start a disk only when a partition is active; this one is of no type.
        struct.pack_into("<B3sB3sII", first, 462, 0x80, b"\0\1\0", 0, b"\0\1\0", 0, 1)
    first[510:512] = b"\x55\xaa"
    table = _partition_table(boot, places, efi_size=efi_size, size=size)
    header = _header(boot, table, own=1, other=sectors - 1, entries=2, sectors=sectors)
    return bytes(first) + (header + table).ljust(SYSTEM_AREA - SECTOR, b"\0")


def tail(boot: Boot, places: Places, *, efi_size: int, size: int) -> bytes:
    """Return the last 33 sectors: the second copy of the partition table."""
    sectors = size // SECTOR
    table = _partition_table(boot, places, efi_size=efi_size, size=size)
    header = _header(
        boot, table, own=sectors - 1, other=1, entries=sectors - _TAIL, sectors=sectors
    )
    return table + header


def partitions(places: Places, *, efi_size: int, size: int) -> tuple[Run, ...]:
    """Return the partitions: the FAT image, and the rest of the ISO before and behind it.

    The rest is there so that a tool that adds a partition does not put it into the ISO.
    """
    start, end = places.efi * 4, places.efi * 4 + efi_size // SECTOR
    last = (size // SECTOR - _TAIL) // _STEP * _STEP - 1
    return (
        Run(_BASIC_DATA, SYSTEM_AREA // SECTOR, start - 1, _READ_ONLY, "Gap0"),
        Run(_ESP, start, end - 1, 0, "EFI boot"),
        Run(_BASIC_DATA, end, last, _READ_ONLY, "Gap1"),
    )


def _partition_table(boot: Boot, places: Places, *, efi_size: int, size: int) -> bytes:
    """Return the 128 entries of the partition table."""
    table = b"".join(
        struct.pack(
            "<16s16sQQQ72s",
            run.kind.bytes_le,
            identifier(boot.identity, run.name).bytes_le,
            run.first,
            run.last,
            run.flags,
            run.name.encode("utf-16-le"),
        )
        for run in partitions(places, efi_size=efi_size, size=size)
    )
    return table.ljust(_ENTRIES * _ENTRY, b"\0")


def identifier(identity: str, name: str) -> uuid.UUID:
    """Return the identifier of one thing on one ISO: derived, so never random."""
    return uuid.uuid5(_NAMES, f"{identity}/{name}")


def _header(boot: Boot, table: bytes, *, own: int, other: int, entries: int, sectors: int) -> bytes:
    def packed(crc: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x00010000,
            92,
            crc,
            0,
            own,
            other,
            2 + _TABLE,  # the first and the last sector a partition may have
            sectors - _TAIL - 1,
            identifier(boot.identity, "disk").bytes_le,
            entries,
            _ENTRIES,
            _ENTRY,
            crc32(table),
        )

    return packed(crc32(packed(0))).ljust(SECTOR, b"\0")
