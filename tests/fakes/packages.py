"""Databases of packages and layers that have them, made by hand and small."""

from __future__ import annotations

import io
import sqlite3
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

STATUS = b"""Package: libssl3t64
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.5.1-1
Depends: libc6 (>= 2.38)
Description: Secure Sockets Layer toolkit
 with a line of
 .
 its own

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: bash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2+b5
Source: bash (5.2.37-2)
"""

INSTALLED = b"""C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:musl
V:1.2.5-r0
A:x86_64
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1xxx=

P:ssl_client
V:1.36.1-r29
A:x86_64
L:GPL-2.0-only
o:busybox
"""

DEP5 = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: somebody
License: Apache-2.0

License: GPL-2+
 On Debian systems, see /usr/share/common-licenses/GPL-2.
"""

OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'


def rpm_header(name: str, version: str, release: str, *, epoch: int | None = None) -> bytes:
    """Return the header of an installed package."""
    texts = {1000: name, 1001: version, 1002: release, 1014: "GPLv2+", 1022: "x86_64"}
    texts[1044] = f"{name}-{version}-{release}.src.rpm"
    data, entries = b"", []
    if epoch is not None:
        entries.append(struct.pack(">IIII", 1003, 4, 0, 1))
        data = struct.pack(">I", epoch)
    for tag, text in sorted(texts.items()):
        entries.append(struct.pack(">IIII", tag, 6, len(data), 1))
        data += text.encode() + b"\0"
    return struct.pack(">II", len(entries), len(data)) + b"".join(entries) + data


def rpm_sqlite(path: Path, headers: Sequence[bytes]) -> Path:
    """Write a database as RPM 4.16 and later do."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
        )
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(h,) for h in headers])
    connection.close()
    return path


def rpm_ndb(headers: Sequence[bytes]) -> bytes:
    """Return a database as SUSE's RPM has it."""
    slots, blobs = b"", b""
    begin = 4096 // 16
    for number, header in enumerate(headers, 1):
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(header)) + header
        blob += bytes(-len(blob) % 16)
        at = begin + len(blobs) // 16
        slots += struct.pack("<4sIII", b"Slot", number, at, len(blob) // 16)
        blobs += blob
    slots += struct.pack("<4sIII", b"Slot", 0, 0, 0) * (254 - len(headers))
    return struct.pack("<4sIII", b"RpmP", 0, 1, 1) + bytes(16) + slots + blobs


def rpm_berkeley(headers: Sequence[bytes], *, order: str = "<", page: int = 512) -> bytes:
    """Return a hash table of Berkeley DB whose values lie on pages of their own."""
    overflow: list[bytes] = []
    items = []
    for header in headers:
        pieces = [header[at : at + page - 26] for at in range(0, len(header), page - 26)]
        first = 2 + len(overflow)
        for number, piece in enumerate(pieces):
            following = first + number + 1 if number + 1 < len(pieces) else 0
            overflow.append(_page(first + number, following, 0, len(piece), 7, piece, order, page))
        items.append((b"\x01key!", struct.pack(f"{order}B3xII", 3, first, len(header))))
    table, places = bytearray(page), []
    end = page
    for key, value in items:
        for item in (key, value):
            end -= len(item)
            table[end : end + len(item)] = item
            places.append(end)
    table[:26] = _page(1, 0, len(places), 0, 13, b"", order, page)[:26]
    struct.pack_into(f"{order}{len(places)}H", table, 26, *places)
    meta = bytearray(page)
    last = 1 + len(overflow)
    struct.pack_into(f"{order}QIIII", meta, 0, 0, 0, 0x061561, 9, page)
    meta[25] = 8
    struct.pack_into(f"{order}I", meta, 32, last)
    return bytes(meta) + bytes(table) + b"".join(overflow)


def _page(
    number: int,
    following: int,
    count: int,
    used: int,
    kind: int,
    data: bytes,
    order: str,
    size: int,
) -> bytes:
    head = struct.pack(f"{order}QIIIHHBB", 0, number, 0, following, count, used, 0, kind)
    return (head + data).ljust(size, b"\0")


def layer_of(files: Mapping[str, bytes | str | None]) -> bytes:
    """Return a tar: bytes are a file, text where a symbolic link leads, None a folder.

    A text that begins with ``=`` is another name of the file behind it.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                hard = content.startswith("=")
                info.type = tarfile.LNKTYPE if hard else tarfile.SYMTYPE
                info.linkname = content.removeprefix("=")
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()
