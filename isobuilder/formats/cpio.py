"""Where the files of a cpio archive lie, as an initramfs has them.

Format: "newc", with checksums or without. Source: Linux, ``Documentation/driver-api/
early-userspace/buffer-format.rst``: archives may follow each other, with zeros between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.errors import IntegrityError

MAGICS = (b"070701", b"070702")

MOST_MEMBERS = 100_000
"""Headers of one archive; an initramfs has some thousand."""

_HEADER = 110  # bytes: the magic, then 13 numbers of 8 hexadecimal digits
_LONGEST_NAME = 4096
_SIZE, _NAME = 6, 11  # which of the numbers
_FILE = 0o100000
_KINDS = 0o170000
_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class CpioFile:
    """A file with content."""

    name: str
    offset: int  # of its content
    size: int  # bytes


def cpio_files(stream: BinaryIO) -> Iterator[CpioFile]:
    """Give the files of the archive in ``stream`` up to its end; what follows is not looked at.

    Raises:
        IntegrityError: damaged, cut off, or of too many members; a sentence without place.
    """
    end = stream.seek(0, 2)
    at = 0
    for _ in range(MOST_MEMBERS):
        stream.seek(at)
        head = stream.read(_HEADER)
        if len(head) < _HEADER or head[:6] not in MAGICS:
            raise IntegrityError(f"no header of cpio at byte {at}")
        mode, size, length = (_number(head, which) for which in (1, _SIZE, _NAME))
        if not 0 < length <= _LONGEST_NAME:
            raise IntegrityError(f"a name of {length} bytes in a cpio archive")
        name = stream.read(length).rstrip(b"\0").decode(errors="replace")
        begin = _padded(at + _HEADER + length)
        if begin + size > end:
            raise IntegrityError(f"cut off: {begin + size} bytes are promised, there are {end}")
        if name == _END:
            return
        if mode & _KINDS == _FILE and size:
            yield CpioFile(name, begin, size)
        at = _padded(begin + size)
    raise IntegrityError(f"a cpio archive of more than {MOST_MEMBERS} members")


def _number(head: bytes, which: int) -> int:
    digits = head[6 + 8 * which : 14 + 8 * which]
    if not digits.isalnum():
        raise IntegrityError(f"{digits!r} for a number in a cpio archive")
    try:
        return int(digits, 16)
    except ValueError as error:
        raise IntegrityError(f"{digits!r} for a number in a cpio archive") from error


def _padded(place: int) -> int:
    return place + -place % 4
