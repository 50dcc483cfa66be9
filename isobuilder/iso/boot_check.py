"""What is wrong with an ISO as a boot medium, found from its bytes alone.

Shares the formats' numbers with the writer, but none of its code: what is expected is worked out
here from where the files really are.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.iso.boot_names import BIOS, CATALOG, EFI, INITRD, KERNEL, MENU, PAYLOAD, ROOT
from isobuilder.iso.fat import FatFile, read_fat
from isobuilder.iso.reader import IsoReader
from isobuilder.model.finding import Finding
from isobuilder.model.ospayload import UEFI_NAMES

_BLOCK, _SECTOR = 2048, 512
_AS_THEY_ARE = {KERNEL: "kernel", INITRD: "initrd", ROOT: "root"}
_ESP = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
_GRUB_DEFAULT = 2  # what GRUB's image has where its own place is filled in
_AGAIN = "build the ISO again; do not use this one"


def is_bootable(reader: IsoReader) -> bool:
    """Return whether the ISO wants to be a boot medium."""
    return PAYLOAD in reader.files or CATALOG in reader.files


def check_boot(reader: IsoReader, files: Mapping[str, Digest]) -> Iterator[Finding]:
    """Give what is wrong with the boot structure; nothing for an ISO that is none.

    ``files`` is the digest of every file on the ISO.
    """
    if not is_bootable(reader):
        return
    needed = [CATALOG, EFI, PAYLOAD, MENU, *_AS_THEY_ARE]
    missing = [path for path in needed if path not in reader.files]
    for path in missing:
        yield _wrong("boot.files", path, "it is not on the ISO")
    payload = _payload(reader)
    if payload is None:
        yield _wrong("boot.payload", PAYLOAD, "it does not describe an OS payload")
    if missing or payload is None:
        return
    with reader.open_image() as image:
        disk = _Disk(reader, image, payload)
        yield from disk.check_catalog()
        yield from disk.check_mbr()
        yield from disk.check_tables()
        if disk.bios is not None:
            yield from disk.check_bios()
    yield from _check_efi(reader, payload)
    for path, name in _AS_THEY_ARE.items():
        yield from _same(path, name, payload, files[path])
    yield from _check_identity(reader)


@dataclass(frozen=True, slots=True)
class _Disk:
    """The image as one run of bytes, and what the payload says of it."""

    reader: IsoReader
    image: BinaryIO
    payload: Mapping[str, Any]

    @property
    def bios(self) -> int | None:
        """The block of the BIOS image; None when there is none."""
        return self.block(BIOS) if BIOS in self.reader.files else None

    def block(self, path: str) -> int:
        return self.reader.files[path].extents[0].offset // _BLOCK

    def read(self, offset: int, size: int) -> bytes:
        self.image.seek(offset)
        return self.image.read(size)

    def check_catalog(self) -> Iterator[Finding]:
        """Check the boot record, the catalogue it points to, and where its entries lead."""
        record = self.read(17 * _BLOCK, _BLOCK)
        if record[:39] != b"\0CD001\1EL TORITO SPECIFICATION".ljust(39, b"\0"):
            yield _wrong("boot.record", "block 17", "no El Torito boot record")
            return
        (at,) = struct.unpack_from("<I", record, 71)
        if at != self.block(CATALOG):
            fact = f"it points to block {at}, {CATALOG} is at {self.block(CATALOG)}"
            yield _wrong("boot.record", "block 17", fact)
        data = self.read(at * _BLOCK, _BLOCK)
        if data[0] != 1 or data[30:32] != b"\x55\xaa" or sum(_words(data[:32])) & 0xFFFF:
            yield _wrong("boot.catalog", CATALOG, "its first entry is not valid")
            return
        wanted = []
        if self.bios is not None:
            wanted.append((0, self.bios, 4))
        efi_sectors = self.reader.files[EFI].size // _SECTOR
        wanted.append((0xEF, self.block(EFI), efi_sectors))
        got = list(_catalog_entries(data))
        if got != wanted:
            yield _wrong(
                "boot.catalog",
                CATALOG,
                f"expected (platform, block, sectors) {wanted}, got {got}",
            )

    def check_bios(self) -> Iterator[Finding]:
        """Check what the BIOS image knows of its own place, and that GRUB is the payload's."""
        block, size = self.block(BIOS), self.reader.files[BIOS].size
        data = bytearray(self.read(block * _BLOCK, size))
        if size < 4096:
            yield _wrong("boot.bios", BIOS, f"{size} bytes are too few")
            return
        padded = data[64:] + bytes(-size % 4)
        total = sum(struct.unpack(f"<{len(padded) // 4}I", padded)) & 0xFFFFFFFF
        wanted = (16, block, size, total)
        if (got := struct.unpack_from("<IIII", data, 8)) != wanted:
            fact = f"expected {wanted}, got {got} (descriptor, block, bytes, sum)"
            yield _wrong("boot.info-table", BIOS, fact)
        if (own := struct.unpack_from("<Q", data, 2548)[0]) != block * 4 + 5:
            fact = f"its code continues at sector {own}, expected {block * 4 + 5}"
            yield _wrong("boot.bios", BIOS, fact)
        data[8:64] = bytes(56)
        struct.pack_into("<Q", data, 2548, _GRUB_DEFAULT)
        yield from _same(BIOS, "bios", self.payload, Digest.of(bytes(data)))

    def check_mbr(self) -> Iterator[Finding]:
        """Check the first sector: GRUB's code, where it leads, and the two entries it has."""
        sector = self.read(0, _SECTOR)
        if sector[510:] != b"\x55\xaa":
            yield _wrong("boot.mbr", "sector 0", "it does not end in 55 AA")
        kind, start, length = struct.unpack_from("<4xB3xII", sector, 446)
        total = self.reader.size // _SECTOR
        if (kind, start) != (0xEE, 1) or length not in {total - 1, 0xFFFFFFFF}:
            fact = f"no protective entry over {total - 1} sectors"
            yield _wrong("boot.mbr", "sector 0", fact)
        if self.bios is None:
            return
        if sector[462] != 0x80:
            yield _wrong("boot.mbr", "sector 0", "no active entry; some BIOSes want one")
        (following,) = struct.unpack_from("<Q", sector, 432)
        if following != self.bios * 4 + 4:
            fact = f"it continues at sector {following}, expected {self.bios * 4 + 4}"
            yield _wrong("boot.mbr", "sector 0", fact)

    def check_tables(self) -> Iterator[Finding]:
        """Check both copies of the partition table, and that one partition is the FAT image."""
        last = self.reader.size // _SECTOR - 1
        if self.reader.size % _SECTOR:
            yield _wrong("boot.gpt", "end", f"{self.reader.size} bytes are no whole sectors")
        tables = []
        for place, own, other, entries in (
            ("sector 1", 1, last, 2),
            ("the last sector", last, 1, last - 32),
        ):
            table, fact = self._table(own, other, entries)
            if fact is not None:
                yield _wrong("boot.gpt", place, fact)
            tables.append(table)
        if tables[0] != tables[1]:
            yield _wrong("boot.gpt", "end", "the two partition tables differ")
        start = self.block(EFI) * 4
        wanted = (start, start + self.reader.files[EFI].size // _SECTOR - 1)
        esps = [
            struct.unpack_from("<QQ", tables[0], at + 32)
            for at in range(0, len(tables[0]), 128)
            if tables[0][at : at + 16] == _ESP
        ]
        if esps != [wanted]:
            yield _wrong("boot.gpt", "sector 2", f"the ESP should be {wanted}, there is {esps}")

    def _table(self, own: int, other: int, entries: int) -> tuple[bytes, str | None]:
        header = self.read(own * _SECTOR, _SECTOR)
        signature, _version, length, crc = struct.unpack_from("<8sIII", header)
        if signature != b"EFI PART" or length != 92:
            return b"", "no partition table header"
        if zlib.crc32(header[:16] + bytes(4) + header[20:92]) != crc:
            return b"", "the checksum of the header is wrong"
        found = struct.unpack_from("<QQ", header, 24)
        if found != (own, other):
            return b"", f"it says it is at sectors {found}, expected {(own, other)}"
        at, count, size, table_crc = struct.unpack_from("<QIII", header, 72)
        if (at, count, size) != (entries, 128, 128):
            return b"", f"{count} entries of {size} bytes at sector {at}, expected {entries}"
        table = self.read(at * _SECTOR, count * size)
        if zlib.crc32(table) != table_crc:
            return table, "the checksum of the entries is wrong"
        return table, None


def _catalog_entries(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Give platform, block and sectors of every entry of a boot catalogue that starts something."""
    platform, offset = data[1], 32
    while offset + 32 <= len(data) and data[offset] in {0x88, 0x90, 0x91}:
        entry = data[offset : offset + 32]
        if entry[0] == 0x88:
            sectors, block = struct.unpack_from("<HI", entry, 6)
            yield platform, block, sectors
        else:
            platform = entry[1]
        offset += 32


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 2}H", data)


def _check_efi(reader: IsoReader, payload: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the FAT image: its structure, and the chain shim, GRUB, kernel by name and digest."""
    with reader.open(EFI) as image:
        try:
            files = read_fat(image)
        except IntegrityError as error:
            yield _wrong("boot.efi", EFI, str(error))
            return
        names = UEFI_NAMES.get(str(payload.get("architecture")), {})
        for artifact, name in names.items():
            path = f"EFI/BOOT/{name}".upper()
            if path not in files:
                yield _wrong("boot.efi", EFI, f"no {path}, so Secure Boot cannot start")
                continue
            digest = _digest_within(image, files[path])
            yield from _same(f"{EFI}: {path}", artifact, payload, digest)
        for path in ("BOOT/GRUB/GRUB.CFG", "EFI/BOOT/GRUB.CFG"):
            if path not in files:
                yield _wrong("boot.efi", EFI, f"no {path}, so GRUB cannot find the ISO")


def _digest_within(image: BinaryIO, file: FatFile) -> Digest:
    image.seek(file.start)
    hasher, left = hashlib.sha256(), file.size
    while left and (chunk := image.read(min(left, 256 * 1024))):
        hasher.update(chunk)
        left -= len(chunk)
    return Digest.from_hex(hasher.hexdigest())


def _check_identity(reader: IsoReader) -> Iterator[Finding]:
    """Check that the menu asks for the ISO it is on."""
    with reader.open("boot/grub/grub.cfg") as file:
        menu = file.read().decode("utf-8", "replace")
    wanted = {word.partition("=")[2].rstrip('"') for word in menu.split() if "kiso.id=" in word}
    there = {
        path.removeprefix("boot/kiso/").removesuffix(".id")
        for path in reader.files
        if path.startswith("boot/kiso/") and path.endswith(".id")
    }
    if len(wanted) != 1 or wanted != there:
        fact = f"it asks for kiso.id {sorted(wanted)}, the ISO is {sorted(there)}"
        yield _wrong("boot.identity", "boot/grub/grub.cfg", fact)


def _payload(reader: IsoReader) -> Mapping[str, Any] | None:
    if PAYLOAD not in reader.files or reader.files[PAYLOAD].size > 16 * 1024 * 1024:
        return None
    with reader.open(PAYLOAD) as file:
        try:
            data = json.loads(file.read())
        except ValueError:
            return None
    return data if isinstance(data, dict) and isinstance(data.get("artifacts"), dict) else None


def _same(place: str, name: str, payload: Mapping[str, Any], digest: Digest) -> Iterator[Finding]:
    artifact = payload["artifacts"].get(name)
    wanted = artifact.get("digest") if isinstance(artifact, dict) else None
    if wanted != digest:
        fact = f"it is {digest}, the payload's {name} is {wanted}"
        yield _wrong("boot.payload", place, fact)


def _wrong(rule: str, place: str, fact: str) -> Finding:
    return Finding(rule=rule, place=place, fact=fact, remedy=_AGAIN)
