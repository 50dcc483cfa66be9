"""The head of an ISO: every byte before the first file body, made by pycdlib.

This is the only module that uses pycdlib. It relies on three of its inner parts, which
``tests/iso/test_author.py`` watches: the attribute ``inodes``, the layout being final after
``force_consistency``, and the clock being the module global ``time``.
"""

from __future__ import annotations

import io
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import pycdlib

from isobuilder.iso.entries import IsoEntry
from isobuilder.iso.names import names_of

BLOCK = 2048
"""Bytes of a logical block; everything on the ISO begins at a multiple of it."""

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


class _HeadSink(io.BytesIO):
    """Keeps the head alone: pycdlib ends with a zero at the last byte of the image."""

    def __init__(self, size: int) -> None:
        super().__init__(bytes(size))
        self._size = size

    def write(self, data: Any) -> int:
        room = max(0, self._size - self.tell())
        return super().write(data[:room])


def author(entries: Sequence[IsoEntry], *, label: str, epoch: int) -> Authored:
    """Lay ``entries`` out and return the head of the ISO.

    ISO 9660 interchange level 3 (files over 4 GiB have several extents), Rock Ridge 1.09 with fixed
    owner and modes, Joliet level 3. The order of ``entries`` does not matter.

    Raises:
        ValueError: two entries for one path, or a file where a folder is.
    """
    nothing = io.BytesIO()
    with fixed_clock(epoch):
        # pycdlib asks for nothing but the length of a body, so one empty file stands for all.
        iso = build(entries, dict.fromkeys((entry.path for entry in entries), nothing), label=label)
        try:
            placed = _placed(iso, entries)
            size = iso.pvd.space_size * BLOCK
            head_size = placed[0][0] if placed else size
            kept, iso.inodes = iso.inodes, []
            sink = _HeadSink(head_size)
            iso.write_fp(sink)
            iso.inodes = kept
        finally:
            iso.close()
    return Authored(bytes(sink.getbuffer()), placed, size)


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
def fixed_clock(epoch: int) -> Iterator[None]:
    """Let pycdlib, and nothing else in the process, believe it is ``epoch`` and UTC.

    pycdlib stamps with ``time.time()`` and local time and has no argument for either.
    """

    class Clock:
        localtime = gmtime = staticmethod(time.gmtime)
        strftime, strptime = staticmethod(time.strftime), staticmethod(time.strptime)
        struct_time = time.struct_time

        @staticmethod
        def time() -> float:
            return float(epoch)

    with _CLOCK_LOCK:
        before = [module.time for module in _CLOCKED]
        for module in _CLOCKED:
            module.time = Clock
        try:
            yield
        finally:
            for module, clock in zip(_CLOCKED, before, strict=True):
                module.time = clock
