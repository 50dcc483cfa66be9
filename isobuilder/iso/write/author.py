"""The head of an ISO: every byte before the first file body, made by pycdlib.

This is the only module that uses pycdlib. It relies on three of its inner parts, which
``tests/iso/test_author.py`` watches: the attribute ``inodes``, the layout being final after
``force_consistency``, and the clock being the module global ``time``.
"""

from __future__ import annotations

import gc
import io
import stat
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pycdlib

from isobuilder.iso.boot_names import CATALOG
from isobuilder.iso.names import names_of
from isobuilder.iso.write.entries import BLOCK, IsoEntry
from isobuilder.iso.write.hybrid import (
    BIOS_LOAD,
    SYSTEM_AREA,
    Boot,
    Places,
    disk_size,
    system_area,
    tail,
)

IDENTITY = "ISOBUILDER"
"""Application and data preparer in the volume descriptors: fixed, or versions would differ."""

_FOLDER_MODE = stat.S_IFDIR | 0o555
_CLOCKED: tuple[Any, ...] = (
    pycdlib.pycdlib,
    pycdlib.headervd,
    pycdlib.dates,
    pycdlib.utils,
    pycdlib.udf,
)
_CLOCK_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Authored:
    """Where everything goes: the head, then the bodies in this order, then nothing."""

    head: bytes
    bodies: tuple[tuple[int, IsoEntry], ...]  # byte offset and entry, ascending, without empty ones
    size: int  # bytes of the whole image
    tail: bytes = b""  # its last bytes
    places: Places | None = None  # of the boot images
    catalog: bytes = b""  # the boot catalogue, which lies in the head and is a file too


class _HeadSink(io.BytesIO):
    """Keeps the head alone: pycdlib ends with a zero at the last byte of the image."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self._size = size

    def write(self, data: Any) -> int:
        room = max(0, self._size - self.tell())
        return super().write(data[:room])


def author(
    entries: Sequence[IsoEntry], *, label: str, epoch: int, boot: Boot | None = None
) -> Authored:
    """Lay ``entries`` out and return the head of the ISO.

    ISO 9660 interchange level 3 (files over 4 GiB have several extents), Rock Ridge 1.09 with fixed
    owner and modes, Joliet level 3. The order of ``entries`` does not matter. With ``boot`` the
    image also starts machines, as a CD and as a disk.

    Raises:
        ValueError: two entries for one path, or a file where a folder is.
    """
    nothing = io.BytesIO()
    with fixed_clock(epoch), _no_collection():
        # pycdlib asks for nothing but the length of a body, so one empty file stands for all.
        iso = build(entries, dict.fromkeys((entry.path for entry in entries), nothing), label=label)
        try:
            if boot is not None:
                _add_boot_catalog(iso, entries, boot)
            placed = _placed(iso, entries)
            size = iso.pvd.space_size * BLOCK
            head_size = placed[0][0] if placed else size
            kept, iso.inodes = iso.inodes, []
            sink = _HeadSink(head_size)
            iso.write_fp(sink)
            iso.inodes = kept
            catalog_at = 0 if boot is None else iso.eltorito_boot_catalog.extent_location() * BLOCK
        finally:
            iso.close()
    authored = Authored(bytes(sink.getbuffer()), placed, size)
    return authored if boot is None else _hybrid(authored, boot, catalog_at)


def build(entries: Sequence[IsoEntry], files: Mapping[str, BinaryIO], *, label: str) -> Any:
    """Return a pycdlib object with the tree of ``entries``, its layout final."""
    names = names_of(entry.path for entry in entries)
    iso = pycdlib.PyCdlib()
    iso.new(
        interchange_level=3,
        vol_ident=label,
        app_ident_str=IDENTITY,
        preparer_ident_str=IDENTITY,
        joliet=3,
        rock_ridge="1.09",
    )
    for folder in names.folders:
        iso.add_directory(
            names.plain[folder],
            rr_name=folder.rpartition("/")[2],
            joliet_path=names.joliet[folder],
            file_mode=_FOLDER_MODE,
        )
    for entry in sorted(entries, key=lambda entry: entry.path):
        iso.add_fp(
            files[entry.path],
            entry.size,
            names.plain[entry.path],
            rr_name=entry.path.rpartition("/")[2],
            joliet_path=names.joliet[entry.path],
            file_mode=stat.S_IFREG | (0o555 if entry.mode & 0o111 else 0o444),
        )
    iso.force_consistency()
    return iso


def _add_boot_catalog(iso: Any, entries: Sequence[IsoEntry], boot: Boot) -> None:
    """Add El Torito's catalogue with an entry for BIOS, if there is one, and one for UEFI."""
    names = names_of([*(entry.path for entry in entries), CATALOG])
    common = {
        "bootcatfile": names.plain[CATALOG],
        "rr_bootcatname": CATALOG.rpartition("/")[2],
        "joliet_bootcatfile": names.joliet[CATALOG],
    }
    if boot.bios is not None:
        # The boot info table is in the image already: see hybrid.patched_bios.
        iso.add_eltorito(names.plain[boot.bios], boot_load_size=BIOS_LOAD, platform_id=0, **common)
    iso.add_eltorito(names.plain[boot.efi], efi=True, platform_id=0xEF, **common)
    iso.force_consistency()


def _hybrid(authored: Authored, boot: Boot, catalog_at: int) -> Authored:
    """Make a disk of a CD: a first and a last part with partition tables."""
    found = {entry.path: (offset // BLOCK, entry.size) for offset, entry in authored.bodies}
    efi, efi_size = found[boot.efi]
    places = Places(None if boot.bios is None else found[boot.bios][0], efi)
    size = disk_size(authored.size)
    first = system_area(boot, places, efi_size=efi_size, size=size)
    return Authored(
        head=first + _resized(authored.head, size)[SYSTEM_AREA:],
        bodies=authored.bodies,
        size=size,
        tail=tail(boot, places, efi_size=efi_size, size=size),
        places=places,
        catalog=authored.head[catalog_at : catalog_at + BLOCK],
    )


def _resized(head: bytes, size: int) -> bytes:
    """Let the volume be as long as the disk, so that nothing lies behind it (ECMA-119, 8.4.8)."""
    data = bytearray(head)
    at = SYSTEM_AREA
    while data[at] != 255:  # the end of the volume descriptors
        if data[at] in {1, 2}:  # primary, Joliet
            struct.pack_into("<I", data, at + 80, size // BLOCK)
            struct.pack_into(">I", data, at + 84, size // BLOCK)
        at += BLOCK
    return bytes(data)


def _placed(iso: Any, entries: Sequence[IsoEntry]) -> tuple[tuple[int, IsoEntry], ...]:
    # pycdlib keeps one inode for each add_fp, in the order of the calls.
    by_path = sorted(entries, key=lambda entry: entry.path)
    placed = [
        (inode.extent_location() * BLOCK, entry)
        for inode, entry in zip(iso.inodes, by_path, strict=True)
        if entry.size
    ]
    return tuple(sorted(placed, key=lambda pair: pair[0]))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from searching for cycles among objects that are all in use, time and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def fixed_clock(epoch: int) -> Iterator[None]:
    """Let pycdlib, and nothing else in the process, believe it is ``epoch`` and UTC.

    pycdlib stamps with ``time.time()`` and local time and has no argument for either.
    """
    now = time.gmtime(epoch)

    def broken_down(seconds: float) -> time.struct_time:
        return now if seconds == epoch else time.gmtime(seconds)  # asked for with every name

    class FixedClock:
        localtime = gmtime = staticmethod(broken_down)
        strftime, strptime = staticmethod(time.strftime), staticmethod(time.strptime)
        struct_time = time.struct_time

        @staticmethod
        def time() -> float:
            return float(epoch)

    with _CLOCK_LOCK:
        before = [module.time for module in _CLOCKED]
        for module in _CLOCKED:
            module.time = FixedClock
        try:
            yield
        finally:
            for module, clock in zip(_CLOCKED, before, strict=True):
                module.time = clock
