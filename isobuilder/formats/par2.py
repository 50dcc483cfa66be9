"""PAR2: what the index calls a protected file, and what it says each piece of it hashes to.

Source: Parity Volume Set Specification 2.0, "Packet Header", "Main packet", "File Description
packet" and "Input File Slice Checksum packet". Only what belongs to one file is read; par2 itself
judges everything.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = b"PAR2\0PKT"
_HEADER = struct.Struct("<8sQ16s16s16s")  # magic, length, MD5 of the rest, set, type
_MAIN = b"PAR 2.0\0Main\0\0\0\0"
_SLICES = b"PAR 2.0\0IFSC\0\0\0\0"
_FILE = b"PAR 2.0\0FileDesc"
_FILE_ID = 16  # bytes
_NAME = 56  # bytes of a file's description before its name: ID, two MD5, length
_ONE = struct.Struct("<16sI")  # MD5 and CRC-32 of one piece

_LARGEST = 64 * 1024 * 1024  # bytes of a piece; 64 of such would be a DVD

MOST = 4 * 1024 * 1024
"""Bytes of an index: 32,768 pieces, the most there can be, have 0.7 MB."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of one file."""

    size: int  # bytes of each; the last one is filled up with zeros
    sums: tuple[bytes, ...]  # MD5
    name: str | None = None  # of the file when parity was made; None if no file can have it


def read_pieces(index: bytes) -> Pieces | None:
    """Return the pieces of the one file that an index is about; None if it cannot be told."""
    size, sums = 0, []
    names: set[bytes] = set()
    for kind, body in _packets(index[:MOST]):
        if kind == _MAIN and len(body) >= 8:
            size = int.from_bytes(body[:8], "little")
        if kind == _SLICES and len(body) > _FILE_ID and not (len(body) - _FILE_ID) % _ONE.size:
            sums.append(tuple(md5 for md5, _ in _ONE.iter_unpack(body[_FILE_ID:])))
        if kind == _FILE:
            names.add(body[_NAME:].rstrip(b"\0"))
    distinct = set(sums)  # packets may be there more than once
    if len(distinct) != 1 or not 4 <= size <= _LARGEST:
        return None
    return Pieces(size, distinct.pop(), _plain(names))


def _plain(names: set[bytes]) -> str | None:
    """Return the one name that leads to no other folder."""
    name = os.fsdecode(names.pop()) if len(names) == 1 else ""
    return None if {"/", "\0"} & set(name) or name in {"", ".", ".."} else name


def _packets(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give type and body of each packet that is whole and hashes to what it says."""
    at = data.find(_MAGIC)
    while 0 <= at <= len(data) - _HEADER.size:
        _, length, md5, _set, kind = _HEADER.unpack_from(data, at)
        whole = _HEADER.size <= length <= len(data) - at
        hashed = data[at + 32 : at + length] if whole else b""
        if whole and hashlib.md5(hashed, usedforsecurity=False).digest() == md5:
            yield kind, data[at + _HEADER.size : at + length]
            at = data.find(_MAGIC, at + length)
        else:
            at = data.find(_MAGIC, at + 1)
