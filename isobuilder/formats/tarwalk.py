"""A strict walk through a tar file: names and places of its members, nothing unpacked.

Reads what image tools write (POSIX ustar, GNU tar for large sizes, pax headers for single members)
and refuses everything an image archive has no use for. Source: POSIX.1-2017, pax, "ustar
Interchange Format"; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from isobuilder.errors import IntegrityError

MAX_MEMBERS = 4096

_BLOCK = 512
_MAX_PAX = 64 * 1024  # bytes of a pax header
_MAX_TAIL = 1024 * 1024  # zero bytes behind the end; tools pad to their block size
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"L": "a GNU long name",
    b"K": "a GNU long link name",
    b"g": "a global pax header",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file in a tar."""

    name: str
    offset: int  # of its first byte in the tar
    size: int  # bytes


def walk_tar(stream: BinaryIO, *, place: str) -> dict[str, Member]:
    """Return the regular files of the tar that ``stream`` is, by name.

    Raises:
        IntegrityError: not a tar, cut short, a name that leaves it or is there twice, a link, a
            device, a sparse file, a size beyond the file, or more than ``MAX_MEMBERS``.
    """
    total = stream.seek(0, os.SEEK_END)
    members: dict[str, Member] = {}
    seen: set[str] = set()
    renamed: dict[str, str] = {}
    at = 0
    while True:
        header = _read(stream, at, _BLOCK, total, place)
        if header == bytes(_BLOCK):
            _check_tail(stream, at, total, place)
            return members
        if len(seen) >= MAX_MEMBERS:
            raise IntegrityError(f"{place}: byte {at}: more than {MAX_MEMBERS} members")
        kind, name, size = _header(header, at, place)
        if kind == b"x":
            renamed = _pax(_read(stream, at + _BLOCK, size, total, place, most=_MAX_PAX), at, place)
            at += _BLOCK + size + -size % _BLOCK
            continue
        name, size = renamed.get("path", name), _number(renamed.get("size"), size, at, place)
        renamed = {}
        if size > total - at - _BLOCK:
            raise IntegrityError(
                f"{place}: byte {at}: {name[:120]!r} has {size} bytes, only "
                f"{total - at - _BLOCK} are left"
            )
        name = _plain(name, at, place)
        if name in seen:
            raise IntegrityError(f"{place}: byte {at}: {name!r} is there twice")
        seen.add(name)
        if kind != b"5":
            members[name] = Member(name, at + _BLOCK, size)
        elif size:
            raise IntegrityError(f"{place}: byte {at}: the folder {name!r} has {size} bytes")
        at += _BLOCK + size + -size % _BLOCK


def _read(
    stream: BinaryIO, at: int, size: int, total: int, place: str, *, most: int = _BLOCK
) -> bytes:
    if size > most:
        raise IntegrityError(f"{place}: byte {at}: a header of {size} bytes, at most {most}")
    if at + size > total:
        raise IntegrityError(f"{place}: byte {at}: the archive ends early, it has {total} bytes")
    stream.seek(at)
    return stream.read(size)


def _header(header: bytes, at: int, place: str) -> tuple[bytes, str, int]:
    """Return type, name and size."""
    if header[257:262] != b"ustar":
        raise IntegrityError(f"{place}: byte {at}: not a tar header: {header[:16]!r}")
    expected = _octal(header[148:156], at, place)
    actual = sum(header) - sum(header[148:156]) + 8 * 0x20
    if expected != actual:
        raise IntegrityError(f"{place}: byte {at}: tar header checksum {expected}, got {actual}")
    kind = b"0" if header[156:157] == b"\0" else header[156:157]
    if kind not in {b"0", b"5", b"x"}:
        what = _KINDS.get(kind, f"a member of type {kind!r}")
        raise IntegrityError(f"{place}: byte {at}: {what}, which no image archive needs")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345]:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return kind, name.decode("utf-8", "replace"), _octal(header[124:136], at, place)


def _octal(text: bytes, at: int, place: str) -> int:
    if text[0] == 0x80:  # GNU tar's base 256
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0")
    if digits.isdigit() and not digits.strip(b"01234567"):
        return int(digits, 8)
    raise IntegrityError(f"{place}: byte {at}: not an octal number: {text!r}")


def _pax(data: bytes, at: int, place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = data
    while rest:
        length, _, _ = rest.partition(b" ")
        if (
            not length.isdigit()
            or len(length) > 5
            or not len(length) + 3 < int(length) <= len(rest)
        ):
            raise IntegrityError(f"{place}: byte {at}: a malformed pax header")
        record, rest = rest[len(length) + 1 : int(length)], rest[int(length) :]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise IntegrityError(f"{place}: byte {at}: a sparse file, which no image archive needs")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found


def _number(text: str | None, otherwise: int, at: int, place: str) -> int:
    if text is None:
        return otherwise
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise IntegrityError(f"{place}: byte {at}: not a size: {text[:40]!r}")
    return int(text)


def _plain(name: str, at: int, place: str) -> str:
    plain = name.removeprefix("./").removesuffix("/")
    parts = plain.split("/")
    if name in {".", "./"}:
        return "."
    if name.startswith("/") or ".." in parts or "" in parts or not plain.isprintable():
        raise IntegrityError(f"{place}: byte {at}: a name that leaves the archive: {name[:120]!r}")
    return plain


def _check_tail(stream: BinaryIO, at: int, total: int, place: str) -> None:
    tail = total - at
    if tail < 2 * _BLOCK:
        raise IntegrityError(f"{place}: byte {at}: the end of the archive is cut off")
    stream.seek(at)
    if tail > _MAX_TAIL or stream.read(tail).strip(b"\0"):
        raise IntegrityError(f"{place}: byte {at}: {tail} bytes behind the end of the archive")
