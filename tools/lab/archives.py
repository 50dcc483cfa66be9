"""Tar archives whose bytes depend on their content only."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from tools.lab.place import EPOCH


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: a file with content, a link with a target, or a directory with neither."""

    name: str
    content: Path | bytes | None = None
    link: str | None = None
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written: sizes in bytes, hashes in hex."""

    sha256: str
    size: int
    uncompressed_sha256: str


class Hashing:
    """A write-only stream that hashes and counts what passes through it."""

    def __init__(self, inner: BinaryIO | gzip.GzipFile) -> None:
        self._inner = inner
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass ``data`` on."""
        self.hash.update(data)
        self.size += len(data)
        return self._inner.write(data)

    def flush(self) -> None:
        """Pass on what is kept back."""
        self._inner.flush()


def tree(root: Path, *, under: str = "") -> Iterator[Entry]:
    """Yield every file and link below ``root``, named below ``under``."""
    for path in sorted(root.rglob("*")):
        name = f"{under}{path.relative_to(root).as_posix()}"
        if path.is_symlink():
            yield Entry(name, link=str(path.readlink()))
        elif path.is_file():
            yield Entry(name, path, mode=0o755 if path.stat().st_mode & 0o100 else 0o644)


def pack(entries: Iterable[Entry], target: Path, *, compress: bool = True) -> Packed:
    """Write ``entries`` as they come to ``target``: owner root, one time stamp, fixed modes."""
    with target.open("wb") as raw:
        outer = Hashing(raw)
        if compress:
            with gzip.GzipFile(
                filename="", mode="wb", compresslevel=6, fileobj=cast("BinaryIO", outer), mtime=0
            ) as squeezed:
                inner = Hashing(squeezed)
                _write(entries, inner)
        else:
            inner = outer
            _write(entries, outer)
    return Packed(outer.hash.hexdigest(), outer.size, inner.hash.hexdigest())


def _write(entries: Iterable[Entry], stream: Hashing) -> None:
    with tarfile.open(
        fileobj=cast("BinaryIO", stream), mode="w|", format=tarfile.USTAR_FORMAT
    ) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.name)
            member.mtime = EPOCH
            member.mode = entry.mode
            if entry.link is not None:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, entry.link, 0o777
                archive.addfile(member)
            elif entry.content is None:
                member.type, member.mode = tarfile.DIRTYPE, max(entry.mode, 0o755)
                archive.addfile(member)
            elif isinstance(entry.content, bytes):
                member.size = len(entry.content)
                archive.addfile(member, io.BytesIO(entry.content))
            else:
                member.size = entry.content.stat().st_size
                with entry.content.open("rb") as content:
                    archive.addfile(member, content)
