"""What is wrong with an ISO as a disk: boot catalogue, BIOS image, MBR, both partition tables.

Shares the formats' numbers with the writer, but none of its code. Sources: El Torito 1.0; UEFI
2.10, section 5 (GPT).
"""

from __future__ import annotations

import struct
import uuid
from binascii import crc32
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.digest import Digest
from isobuilder.iso.boot_names import BIOS, CATALOG, EFI
from isobuilder.iso.check.subject import wrong
from isobuilder.iso.read.rawiso import BLOCK as _BLOCK
from isobuilder.iso.read.reader import IsoReader
from isobuilder.model.finding import Finding
from isobuilder.model.payload import ArtifactName, OsPayload

_SECTOR = 512
_BIOS_LOAD = 4  # sectors that a BIOS loads of its image
_CODE = 432  # bytes of GRUB's first sector before the place for where it continues
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
_GRUB_DEFAULT = 2  # what GRUB's image has where its own place is filled in
_GRUB_MBR_DEFAULT = 1  # and its first sector
_COUNT, _ENTRY = 128, 128  # entries of a partition table, and bytes of one
_TABLE = _COUNT * _ENTRY // _SECTOR
DISK_HEAD, DISK_TAIL = (2 + _TABLE) * _SECTOR, (1 + _TABLE) * _SECTOR
"""Bytes of an MBR and the first partition table, and of the last one."""


@dataclass(frozen=True, slots=True)
class DiskCheck:
    """The image as one run of bytes, and what the payload says of it.

    The boot files are on the ISO, not empty, and small enough to be read whole where that is done.
    """

    reader: IsoReader
    image: BinaryIO
    payload: OsPayload

    def findings(self) -> Iterator[Finding]:
        """Give all that is wrong."""
        yield from self._catalog()
        yield from self._mbr()
        yield from self._tables()
        if self._bios is not None:
            yield from self._bios_image()

    @property
    def _bios(self) -> int | None:
        """The block of the BIOS image; None when there is none."""
        return self._block(BIOS) if BIOS in self.reader.files else None

    def _block(self, path: str) -> int:
        return self.reader.files[path].extents[0].offset // _BLOCK

    def _read(self, offset: int, size: int) -> bytes:
        """Return bytes of the image, zeros for those behind its end."""
        self.image.seek(max(offset, 0))
        return self.image.read(size).ljust(size, b"\0")

    def _catalog(self) -> Iterator[Finding]:
        """Check the boot record, the catalogue it points to, and where its entries lead."""
        record = self._read(17 * _BLOCK, _BLOCK)
        if record[:39] != b"\0CD001\1EL TORITO SPECIFICATION".ljust(39, b"\0"):
            yield wrong("boot.record", "block 17", "no El Torito boot record")
            return
        (at,) = struct.unpack_from("<I", record, 71)
        if at != self._block(CATALOG):
            fact = f"it points to block {at}, {CATALOG} is at {self._block(CATALOG)}"
            yield wrong("boot.record", "block 17", fact)
            return
        data = self._read(at * _BLOCK, _BLOCK)
        if data[0] != 1 or data[30:32] != b"\x55\xaa" or sum(_words(data[:32])) & 0xFFFF:
            yield wrong("boot.catalog", CATALOG, "its first entry is not valid")
            return
        wanted = [(0xEF, 0, 0, self._block(EFI), self.reader.files[EFI].size // _SECTOR)]
        if self._bios is not None:
            wanted.insert(0, (0, 0, 0, self._bios, _BIOS_LOAD))
        got = list(_catalog_entries(data))
        if got != wanted:
            fact = f"expected (platform, medium, segment, block, sectors) {wanted}, got {got}"
            yield wrong("boot.catalog", CATALOG, fact)

    def _bios_image(self) -> Iterator[Finding]:
        """Check what the BIOS image knows of its own place, and that GRUB is the payload's."""
        block, size = self._block(BIOS), self.reader.files[BIOS].size
        if size < 4096:
            yield wrong("boot.bios", BIOS, f"{size} bytes are too few")
            return
        data = bytearray(self._read(block * _BLOCK, size))
        padded = data[64:] + bytes(-size % 4)
        total = sum(struct.unpack(f"<{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        wanted = (16, block, size, total)
        if (got := struct.unpack_from("<IIII", data, 8)) != wanted:
            fact = f"expected {wanted}, got {got} (descriptor, block, bytes, sum)"
            yield wrong("boot.info-table", BIOS, fact)
        if (own := struct.unpack_from("<Q", data, 2548)[0]) != block * 4 + 5:
            fact = f"its code continues at sector {own}, expected {block * 4 + 5}"
            yield wrong("boot.bios", BIOS, fact)
        data[8:64] = bytes(56)
        struct.pack_into("<Q", data, 2548, _GRUB_DEFAULT)
        yield from same(BIOS, "bios", self.payload, Digest.of(bytes(data)))

    def _mbr(self) -> Iterator[Finding]:
        """Check the first sector: GRUB's code, where it leads, and its partition entries."""
        sector = self._read(0, _SECTOR)
        if sector[510:] != b"\x55\xaa":
            yield wrong("boot.mbr", "sector 0", "it does not end in 55 AA")
        total = self.reader.size // _SECTOR
        if _mbr_entry(sector, 446) not in {(0, 0xEE, 1, total - 1), (0, 0xEE, 1, 0xFFFFFFFF)}:
            fact = f"no protective entry over {total - 1} sectors"
            yield wrong("boot.mbr", "sector 0", fact)
        if any(sector[444:446]) or any(sector[478:510]):
            yield wrong("boot.mbr", "sector 0", "there is something where nothing should be")
        second = _mbr_entry(sector, 462)
        if self._bios is None:
            if any(sector[:440]) or any(second):
                yield wrong(
                    "boot.mbr", "sector 0", "it starts something, and there is no BIOS image"
                )
            return
        if second != (0x80, 0, 0, 1):
            yield wrong("boot.mbr", "sector 0", "no active entry; some BIOSes want one")
        (following,) = struct.unpack_from("<Q", sector, _CODE)
        if following != self._bios * 4 + 4:
            fact = f"it continues at sector {following}, expected {self._bios * 4 + 4}"
            yield wrong("boot.mbr", "sector 0", fact)
        code = sector[:_CODE] + struct.pack("<Q70x", _GRUB_MBR_DEFAULT) + b"\x55\xaa"
        yield from same("sector 0", "bios-mbr", self.payload, Digest.of(code))

    def _tables(self) -> Iterator[Finding]:
        """Check both copies of the partition table, and that one partition is the FAT image."""
        last = self.reader.size // _SECTOR - 1
        if self.reader.size % _SECTOR:
            yield wrong("boot.gpt", "end", f"{self.reader.size} bytes are no whole sectors")
        tables = []
        for place, own, other, entries in (
            ("sector 1", 1, last, 2),
            ("the last sector", last, 1, last - _TABLE),
        ):
            table, fact = self._table(own, other, entries)
            if fact is not None:
                yield wrong("boot.gpt", place, fact)
            tables.append(table)
        if b"" in tables:
            return  # which was told
        if tables[0] != tables[1]:
            yield wrong("boot.gpt", "end", "the two partition tables differ")
        yield from self._partitions(tables[0], first=2 + _TABLE, last=last - _TABLE - 1)

    def _partitions(self, table: bytes, *, first: int, last: int) -> Iterator[Finding]:
        """Check that partitions lie between ``first`` and ``last``, one behind the other."""
        start = self._block(EFI) * 4
        wanted = (start, start + self.reader.files[EFI].size // _SECTOR - 1)
        found = sorted(
            (*struct.unpack_from("<QQ", table, at + 32), table[at : at + 16])
            for at in range(0, len(table), _ENTRY)
            if any(table[at : at + 16])
        )
        before = first - 1
        for begin, end, _kind in found:
            if not before < begin <= end <= last:
                fact = f"a partition of sectors {begin} to {end}, free were {before + 1} to {last}"
                yield wrong("boot.gpt", "sector 2", fact)
            before = max(before, end)
        esps = [(begin, end) for begin, end, kind in found if kind == _ESP]
        if esps != [wanted]:
            yield wrong("boot.gpt", "sector 2", f"the ESP should be {wanted}, there is {esps}")

    def _table(self, own: int, other: int, entries: int) -> tuple[bytes, str | None]:
        """Return a table's disk GUID and entries, or nothing; and what is wrong."""
        header = self._read(own * _SECTOR, _SECTOR)
        signature, revision, length, crc = struct.unpack_from("<8sIII", header)
        if (signature, revision, length) != (b"EFI PART", 0x10000, 92) or any(header[92:]):
            return b"", "no partition table header"
        if crc32(header[:16] + bytes(4) + header[20:92]) != crc:
            return b"", "the checksum of the header is wrong"
        places = struct.unpack_from("<QQQQ", header, 24)
        last = max(own, other)
        wanted = (own, other, 2 + _TABLE, last - _TABLE - 1)
        if places != wanted:
            fact = f"it is for sectors (own, other, first, last) {places}, expected {wanted}"
            return b"", fact
        at, count, size, table_crc = struct.unpack_from("<QIII", header, 72)
        if (at, count, size) != (entries, _COUNT, _ENTRY):
            return b"", f"{count} entries of {size} bytes at sector {at}, expected {entries}"
        table = self._read(at * _SECTOR, _COUNT * _ENTRY)
        if crc32(table) != table_crc:
            return b"", "the checksum of the entries is wrong"
        return table, None


def same(place: str, name: ArtifactName, payload: OsPayload, digest: Digest) -> Iterator[Finding]:
    """Give a finding if ``digest`` is not that of an artifact of ``payload``."""
    artifact = payload.artifacts.get(name)
    wanted = artifact.digest if artifact is not None else None
    if wanted != digest:
        fact = f"it is {digest}, the payload's {name} is {wanted}"
        yield wrong("boot.payload", place, fact)


def _catalog_entries(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Give every entry of a boot catalogue that starts something.

    Each is platform, emulated medium, load segment, block and sectors.
    """
    platform, offset = data[1], 32
    while offset + 32 <= len(data) and data[offset] in {0x88, 0x90, 0x91}:
        entry = data[offset : offset + 32]
        if entry[0] == 0x88:
            segment, sectors, block = struct.unpack_from("<H2xHI", entry, 2)
            yield platform, entry[1], segment, block, sectors
        else:
            platform = entry[1]
        offset += 32


def _mbr_entry(sector: bytes, at: int) -> tuple[int, int, int, int]:
    """Return flag, kind, first sector and sectors of a partition."""
    flag, kind, start, length = struct.unpack_from("<B3xB3xII", sector, at)
    return flag, kind, start, length


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 2}H", data)
