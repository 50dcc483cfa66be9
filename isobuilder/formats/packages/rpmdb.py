"""The databases in which RPM keeps the headers of what is installed, in all three forms.

Sources: rpm's ``lib/backend/sqlite.c`` (``rpmdb.sqlite``), ``lib/backend/ndb/rpmpkg.c``
(``Packages.db``), and Berkeley DB's ``dbinc/db_page.h`` for its hash tables (``Packages``).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from isobuilder.errors import IntegrityError
from isobuilder.formats.packages.package import MAX_PACKAGES, Package
from isobuilder.formats.packages.rpm import MAX_HEADER, read_header

MAX_DATABASE = 1024**3
"""Bytes; a desktop with everything has some 300 MiB."""

_SQLITE = b"SQLite format 3\0"
_NDB = b"RpmP"
_HASH_MAGIC = 0x061561
_STEPS = 10_000_000  # of SQLite's machine; a real database takes some ten for a package

_SLOT, _BLOB = 16, 16  # bytes
_SLOTS_IN_PAGE = 256

_HASH_PAGES, _OVERFLOW = {2, 13}, 7
_PAGE_HEADER = 26
_INLINE, _OFF_PAGE = 1, 3


def read_rpmdb(path: Path) -> list[Package]:
    """Return the packages of a database that lies in a file of its own, where nobody changes it.

    Raises:
        IntegrityError: no such database, damaged, or beyond a limit; a sentence without place.
    """
    found: list[Package] = []
    passed = 0
    for header in _headers(path):
        passed += len(header)
        if len(found) >= MAX_PACKAGES or passed > MAX_DATABASE:
            raise IntegrityError(f"more than {MAX_PACKAGES} packages, or headers told twice")
        if (package := read_header(header)) is not None:
            found.append(package)
    return found


def _headers(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size > MAX_DATABASE:
            raise IntegrityError(f"{size} bytes, expected at most {MAX_DATABASE}")
        head = os.pread(file.fileno(), 512, 0)
        if head.startswith(_SQLITE):
            yield from _sqlite(path)
        elif head.startswith(_NDB):
            yield from _ndb(file, head, size)
        elif head:
            yield from _berkeley(file, head, size)


def _sqlite(path: Path) -> Iterator[bytes]:
    """Give the headers, by a query that may read the one table and nothing else."""
    try:
        import sqlite3
    except ImportError as error:
        raise IntegrityError("this Python cannot read SQLite") from error
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}

    def judge(action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY

    steps = iter(range(_STEPS // 1000))
    try:
        where = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(where, uri=True)
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA mmap_size = 0")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)
            connection.set_authorizer(judge)
            connection.set_progress_handler(lambda: next(steps, None) is None, 1000)
            kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'")
            if kind.fetchone() != ("table",):
                raise IntegrityError("a database without the table Packages")
            for (blob,) in connection.execute("SELECT blob FROM Packages"):
                if not isinstance(blob, bytes):
                    raise IntegrityError("a header that is no run of bytes")
                yield blob
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning, OverflowError, MemoryError) as error:
        raise IntegrityError(f"damaged: {error}") from error


def _ndb(file: BinaryIO, head: bytes, size: int) -> Iterator[bytes]:
    _, _, _, pages = struct.unpack_from("<4sIII", head)
    if not 0 < pages <= size // (_SLOT * _SLOTS_IN_PAGE) + 1:
        raise IntegrityError(f"damaged: {pages} pages of slots in {size} bytes")
    slots = _at(file, 2 * _SLOT, pages * _SLOT * _SLOTS_IN_PAGE - 2 * _SLOT)
    for start in range(0, len(slots) - _SLOT + 1, _SLOT):
        mark, index, offset, count = struct.unpack_from("<4sIII", slots, start)
        if mark != b"Slot":
            raise IntegrityError(f"damaged: slot {start // _SLOT} is none")
        if not index:
            continue
        begin = offset * _BLOB
        mark, number, _, length = struct.unpack("<4sIII", _at(file, begin, 16))
        if mark != b"BlbS" or number != index or length > min(count * _BLOB, MAX_HEADER):
            raise IntegrityError(f"damaged: package {index} is not where its slot says")
        yield _at(file, begin + 16, length)


def _berkeley(file: BinaryIO, head: bytes, size: int) -> Iterator[bytes]:
    order = next(
        (
            order
            for order in "<>"
            if len(head) >= 72 and struct.unpack_from(f"{order}I", head, 12) == (_HASH_MAGIC,)
        ),
        None,
    )
    if order is None:
        raise IntegrityError(f"not a database of RPM: it begins with {head[:16].hex()}")
    (page_size,) = struct.unpack_from(f"{order}I", head, 20)
    (last,) = struct.unpack_from(f"{order}I", head, 32)
    if page_size not in {1 << bits for bits in range(9, 17)} or last >= size // page_size + 1:
        raise IntegrityError(f"damaged: {last} pages of {page_size} bytes in {size}")
    for number in range(1, last + 1):
        page = _at(file, number * page_size, page_size)
        if page[25] in _HASH_PAGES:
            yield from _hash_page(file, page, order, last)


def _hash_page(file: BinaryIO, page: bytes, order: str, last: int) -> Iterator[bytes]:
    """Give the values of one page; keys and values take turns, values grow from its end."""
    (count,) = struct.unpack_from(f"{order}H", page, 20)
    if count % 2 or _PAGE_HEADER + 2 * count > len(page):
        raise IntegrityError(f"damaged: a page of {count} keys and values")
    places = struct.unpack_from(f"{order}{count}H", page, _PAGE_HEADER)
    for index in range(1, count, 2):
        at, end = places[index], places[index - 1]
        if at + 12 <= len(page) and page[at] == _OFF_PAGE:
            first, length = struct.unpack_from(f"{order}II", page, at + 4)
            yield _overflow(file, len(page), first, length, order, last)
        elif at < end <= len(page) and page[at] == _INLINE:
            value = page[at + 1 : end]
            if len(value) > 16:  # the one under key 0 is the number of packages
                yield value


def _overflow(
    file: BinaryIO, page_size: int, number: int, length: int, order: str, last: int
) -> bytes:
    """Return a value that lies on pages of its own, one naming the next."""
    if length > MAX_HEADER:
        raise IntegrityError(f"damaged: a header of {length} bytes")
    found = bytearray()
    for _ in range(last):  # a page is of one header only
        if len(found) >= length:
            return bytes(found[:length])
        if not 0 < number <= last:
            raise IntegrityError(f"damaged: a header goes on on page {number} of {last}")
        page = _at(file, number * page_size, page_size)
        (number,) = struct.unpack_from(f"{order}I", page, 16)
        (used,) = struct.unpack_from(f"{order}H", page, 22)
        if page[25] != _OVERFLOW or not 0 < used <= page_size - _PAGE_HEADER:
            raise IntegrityError("damaged: a header goes on on a page of another kind")
        found += page[_PAGE_HEADER : _PAGE_HEADER + used]
    raise IntegrityError("damaged: the pages of a header lead in a circle")


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    data = os.pread(file.fileno(), size, offset) if size > 0 else b""
    if len(data) != size:
        raise IntegrityError(f"damaged: {size} bytes at {offset} are promised, {len(data)} there")
    return data
