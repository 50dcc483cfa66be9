"""One layer, archive or program -> the packages that are in it, and what it does to those below.

A function of the bytes and of ``SCANNER`` alone, so it is found out once for each digest. Nothing
is unpacked onto the disk but a database that only SQLite can read and a large program, each alone.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import IntegrityError
from isobuilder.formats.archive import cleaned
from isobuilder.formats.elf import go_build_info
from isobuilder.formats.packages.alpine import read_installed
from isobuilder.formats.packages.debian import MAX_COPYRIGHT, read_copyright, read_status
from isobuilder.formats.packages.golang import read_modules
from isobuilder.formats.packages.node import PACKAGE_JSON, read_package
from isobuilder.formats.packages.package import MAX_DATABASE, Package
from isobuilder.formats.packages.python import MAX_METADATA, read_metadata
from isobuilder.formats.packages.rpmdb import MAX_DATABASE as MAX_RPMDB
from isobuilder.formats.packages.rpmdb import read_rpmdb
from isobuilder.formats.tar import FOLDER, HARD_LINK, SYMBOLIC_LINK, Member, StreamSource, walk
from isobuilder.text import printable

SCANNER = 1
"""Raised with every change of what is found in the same bytes."""

MAX_MEMBERS = 500_000
"""Headers of one layer; the largest images that we know have 200,000 files in one."""

MAX_FOUND = 200_000
"""Packages of one layer, all its databases and programs together."""

_MAX_TROUBLE = 100
_IN_MEMORY = 16 * 1024 * 1024  # bytes of a program; a larger one lies on the disk while it is read
_MAX_OS = 64 * 1024
_HEAD = 20
_ELF = b"\x7fELF"
_HIDES, _HIDES_ALL, _OF_AUFS = ".wh.", ".wh..wh..opq", ".wh..wh."
_OS_LINE = re.compile(r"(ID|VERSION_ID|NAME|PRETTY_NAME)=(.*)")


@dataclass(frozen=True, slots=True)
class Found:
    """What one file tells."""

    packages: tuple[Package, ...] = ()
    licences: tuple[str, ...] = ()  # of the package whose documentation it is
    system: tuple[tuple[str, str], ...] = ()  # what os-release says
    program: bool = False  # whether it tells of itself, whatever it is called


@dataclass(slots=True)
class LayerContents:
    """What is in one layer. Paths have no ``/`` in front and are those of the layer itself."""

    found: dict[str, Found] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # everything else
    symbolic: dict[str, str] = field(default_factory=dict)  # path -> where it leads, as written
    hard: dict[str, str] = field(default_factory=dict)  # path -> the path it is another name of
    removed: list[str] = field(default_factory=list)  # of the layers below
    emptied: list[str] = field(default_factory=list)  # folders, of all that layers below have there
    trouble: list[tuple[str, str]] = field(default_factory=list)  # what could not be read, and why


def look_into(open_pieces: Callable[[], Iterable[bytes]]) -> LayerContents:
    """Return what is in the layer whose bytes, unpacked, ``open_pieces`` gives from the beginning.

    It is called a second time when a file is known by another name than the one its bytes have.

    Raises:
        IntegrityError: the layer itself cannot be read; a sentence without place.
    """
    layer = _once(open_pieces(), {})
    meant = {
        target: path
        for path, target in layer.hard.items()
        if _reader_of(path) is not None and target not in layer.found
    }
    if meant:
        layer = _once(open_pieces(), meant)
    for path, target in layer.hard.items():
        if target in layer.found:
            layer.found[path] = layer.found[target]
    return layer


def look_at(stream: BinaryIO, name: str) -> LayerContents:
    """Return what the program in ``stream`` tells of itself.

    Raises:
        IntegrityError: cut off; a sentence without place.
    """
    layer = LayerContents()
    packages = _of_program(stream, name)
    if packages:
        layer.found[name] = Found(packages, program=True)
    return layer


def _once(pieces: Iterable[bytes], meant: dict[str, str]) -> LayerContents:
    source = StreamSource(pieces)
    layer = LayerContents()
    count = 0
    for member in walk(source, MAX_MEMBERS):
        path = cleaned(member.name).lstrip("/")
        if path in {"", "."} or path.startswith("../") or path == "..":
            continue
        folder, _, name = path.rpartition("/")
        if name.startswith(_HIDES):
            if name == _HIDES_ALL:
                layer.emptied.append(folder)
            elif not name.startswith(_OF_AUFS) and name != _HIDES:
                layer.removed.append(f"{folder}/{name[4:]}" if folder else name[4:])
            continue
        layer.found.pop(path, None)  # of two members of one name, the last counts
        layer.symbolic.pop(path, None)
        layer.hard.pop(path, None)
        found = _member(source, member, path, meant.get(path, path), layer)
        if found is not None:
            count += len(found.packages)
            if count > MAX_FOUND:
                raise IntegrityError(f"more than {MAX_FOUND} packages")
            layer.found[path] = found
    source.finish()
    return layer


def _member(
    source: StreamSource, member: Member, path: str, known_as: str, layer: LayerContents
) -> Found | None:
    if member.kind == FOLDER:
        layer.folders.append(path)
        return None
    layer.others.append(path)
    if member.kind == SYMBOLIC_LINK:
        layer.symbolic[path] = member.link
    elif member.kind == HARD_LINK:
        layer.hard[path] = cleaned(member.link).lstrip("/")
    if not member.regular or not member.size:
        return None
    reader = _reader_of(known_as)
    if reader is None:
        head = source.read(_HEAD) if member.size > _HEAD else b""
        return _program(source, member, head) if head.startswith(_ELF) else None
    if member.size > reader.most:
        _tell(layer, path, f"{member.size} bytes, expected at most {reader.most}")
        return None
    return _by_name(source, member, path, reader, layer)


def _by_name(
    source: StreamSource, member: Member, path: str, reader: _Reader, layer: LayerContents
) -> Found | None:
    """Read a file whose name says what it is; what is wrong with it ends only that file."""
    pieces = _pieces(source, member.size)
    if reader.of_file is None:
        data = b"".join(pieces)
        return _tried(lambda: reader.of_bytes(data), path, layer)
    read = reader.of_file
    with tempfile.NamedTemporaryFile(prefix="isobuilder-") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        return _tried(lambda: read(Path(file.name)), path, layer)


def _tried(read: Callable[[], Found | None], path: str, layer: LayerContents) -> Found | None:
    try:
        return read()
    except IntegrityError as error:
        _tell(layer, path, str(error))
        return None


def _tell(layer: LayerContents, path: str, fact: str) -> None:
    if len(layer.trouble) < _MAX_TROUBLE:
        layer.trouble.append((printable(path), fact))


def _reader_of(path: str) -> _Reader | None:
    """Return who reads the file at ``path``, if its name tells that somebody should."""
    folder, _, name = f"/{path}".rpartition("/")
    if (by_name := _NAMES.get(name)) is not None:
        folders, reader = by_name
        return reader if folder.endswith(folders) else None
    if name == "copyright" and folder.startswith("/usr/share/doc/"):
        return _COPYRIGHT
    if folder.endswith("/lib/dpkg/status.d") and not name.endswith(".md5sums"):
        return _DPKG
    if name.endswith(".egg-info"):
        return _PYTHON
    told = name.startswith("os-release") or folder.endswith("/os-release.d")
    if told and folder.startswith(("/etc", "/usr/lib")):
        return _SYSTEM
    return None


def _node(data: bytes) -> Found | None:
    package = read_package(data)
    return None if package is None else Found((package,))


def _system(data: bytes) -> Found:
    """Return what ``os-release(5)`` says: lines as a shell reads them, without its expansions."""
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if match := _OS_LINE.fullmatch(line.strip()):
            found[match[1]] = printable(match[2].strip("\"'"), 200)
    return Found(system=tuple(sorted(found.items())))


def _program(source: StreamSource, member: Member, head: bytes) -> Found | None:
    """Look at a program that begins with ``head``, with its bytes where one can go back."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, prefix="isobuilder-") as file:
        file.write(head)
        for piece in _pieces(source, member.size - len(head)):
            file.write(piece)
        packages = _of_program(file, member.name)  # type: ignore[arg-type]
    return Found(packages, program=True) if packages else None


def _of_program(stream: BinaryIO, name: str) -> tuple[Package, ...]:
    try:
        told = go_build_info(stream, name)
    except IntegrityError:
        # Debug symbols, firmware and test data look like programs, and no loader would take them.
        return ()
    return () if told is None else tuple(read_modules(*told))


def _pieces(source: StreamSource, left: int) -> Iterator[bytes]:
    while left > 0:
        piece = source.read(min(left, BUFFER_SIZE))
        if not piece:
            raise IntegrityError("cut off inside a file")
        left -= len(piece)
        yield piece


@dataclass(frozen=True, slots=True)
class _Reader:
    """Who reads files of one form: their bytes, or the file where bytes are too many."""

    most: int  # bytes
    of_bytes: Callable[[bytes], Found | None] = lambda _: None
    of_file: Callable[[Path], Found] | None = None


_DPKG = _Reader(MAX_DATABASE, lambda data: Found(tuple(read_status(data))))
_APK = _Reader(MAX_DATABASE, lambda data: Found(tuple(read_installed(data))))
_RPM = _Reader(MAX_RPMDB, of_file=lambda path: Found(tuple(read_rpmdb(path))))
_PYTHON = _Reader(MAX_METADATA, lambda data: Found((read_metadata(data),)))
_NODE = _Reader(PACKAGE_JSON.size, _node)
_COPYRIGHT = _Reader(MAX_COPYRIGHT, lambda data: Found(licences=read_copyright(data)))
_SYSTEM = _Reader(_MAX_OS, _system)

_RPM_FOLDERS = ("/lib/rpm", "/sysimage/rpm", "/share/rpm")
_NAMES: dict[str, tuple[tuple[str, ...], _Reader]] = {
    "status": (("/lib/dpkg",), _DPKG),
    "installed": (("/lib/apk/db",), _APK),
    "Packages": (_RPM_FOLDERS, _RPM),
    "Packages.db": (_RPM_FOLDERS, _RPM),
    "rpmdb.sqlite": (_RPM_FOLDERS, _RPM),
    "METADATA": ((".dist-info",), _PYTHON),
    "PKG-INFO": ((".egg-info", "/EGG-INFO"), _PYTHON),
    "package.json": (("",), _NODE),
}
