"""The bytes of an ISO that somebody else may have written: every read is bounded and checked."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from isobuilder.errors import InputError, IntegrityError
from isobuilder.files import disk_problem

BLOCK = 2048
"""Bytes of a logical sector, and of the only logical block size we read."""

_MAX_READ = 16 * 1024 * 1024  # bytes of structure in one piece; folders are read block by block


class Extent(NamedTuple):
    """A run of bytes of the image."""

    offset: int  # bytes from the beginning of the image
    size: int  # bytes

    @property
    def end(self) -> int:
        """The offset of the first byte behind it."""
        return self.offset + self.size


class RawIso:
    """An open image; safe to read from several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            mode = os.fstat(self._fd).st_mode
            self.size = os.lseek(self._fd, 0, os.SEEK_END) if not stat.S_ISFIFO(mode) else 0
        except OSError as error:
            raise disk_problem(error, path) from error
        self.is_device = stat.S_ISBLK(mode)
        if not stat.S_ISREG(mode) and not self.is_device:
            self.close()
            raise InputError(f"{path}: expected a file or a disc, got something else")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def wrong(self, offset: int, fact: str) -> IntegrityError:
        """Return the error for what is wrong at ``offset``."""
        return IntegrityError(f"{self.path}: byte {offset}: {fact}")

    def read(self, extent: Extent, what: str) -> bytes:
        """Return the bytes of a structure.

        Raises:
            IntegrityError: it is not wholly inside the image, or absurdly large.
        """
        self.check_inside(extent, what, at=extent.offset)
        if extent.size > _MAX_READ:
            raise self.wrong(extent.offset, f"{what}: {extent.size} bytes are too many")
        data = bytearray(extent.size)
        if self.read_into(memoryview(data), extent.offset) != extent.size:
            raise self.wrong(extent.offset, f"{what}: the file ends early")
        return bytes(data)

    def check_inside(self, extent: Extent, what: str, *, at: int) -> None:
        """Return if ``extent`` lies inside the image; ``at`` is where the image says so.

        Raises:
            IntegrityError: it does not.
        """
        if extent.end > self.size:
            raise self.wrong(
                at,
                f"{what}: {extent.size} bytes from {extent.offset} on "
                f"end behind the image, which has {self.size}",
            )

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill ``buffer`` from ``offset`` on and return how many bytes there were."""
        done = 0
        try:
            while done < len(buffer) and (
                count := os.preadv(self._fd, [buffer[done:]], offset + done)
            ):
                done += count
        except OSError as error:
            raise disk_problem(error, self.path) from error
        return done

    def stream(self, extents: Sequence[Extent]) -> BinaryIO:
        """Return the concatenation of ``extents`` as a file to read and seek in, unbuffered."""
        return cast("BinaryIO", _ExtentStream(self, extents))


class _ExtentStream(io.RawIOBase):
    def __init__(self, image: RawIso, extents: Sequence[Extent]) -> None:
        self._image = image
        self._extents = extents
        self._size = sum(extent.size for extent in extents)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        done, start = 0, 0
        for extent in self._extents:
            inside = self._position - start
            start += extent.size
            if done == len(view):
                break
            if inside >= extent.size:
                continue
            wanted = min(len(view) - done, extent.size - inside)
            count = self._image.read_into(view[done : done + wanted], extent.offset + inside)
            done += count
            self._position += count
            if count < wanted:
                raise self._image.wrong(extent.offset + inside + count, "the file ends early")
        return done


def both_endian(
    image: RawIso, data: bytes, at: int, offset: int, what: str, *, form: Literal["I", "H"] = "I"
) -> int:
    """Return the number at ``data[at:]`` that is written in both byte orders, 4 or 2 bytes each.

    ``offset`` is where ``data`` begins in the image. Source: ECMA-119, 7.3.3 and 7.2.3.

    Raises:
        IntegrityError: the two forms are not the same number.
    """
    half = 4 if form == "I" else 2
    little = int.from_bytes(data[at : at + half], "little")
    big = int.from_bytes(data[at + half : at + 2 * half], "big")
    if little != big:
        raise image.wrong(offset + at, f"{what}: {little} in one byte order and {big} in the other")
    return little
