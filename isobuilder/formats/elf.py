"""What a Linux program is, read from its bytes and never by running it.

Formats: System V ABI (ELF header, program and section headers) and Go's ``debug/buildinfo``
(the block Go 1.13 and later put into every program; inline since 1.18).
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from isobuilder.digest import BUFFER_SIZE
from isobuilder.errors import IntegrityError

MACHINES = {
    3: "386",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "amd64",
    183: "arm64",
    243: "riscv64",
}
_LITTLE_64 = b"\x7fELF\x02\x01"
_PROGRAMS = {b"\2\0", b"\3\0"}  # at a fixed address or anywhere, which shared libraries are too
_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")  # type machine version entry phoff shoff ...
_PROGRAM = struct.Struct("<IIQQQQQQ")  # type flags offset vaddr paddr filesz memsz align
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name type flags addr offset size link info align entsize
_LOAD, _INTERPRETER = 1, 3
_WRITABLE, _EXECUTABLE = 2, 1
_NO_BITS = 8
_MAX_HEADERS = 512
_MAX_NAMES = 64 * 1024

_MAGIC = b"\xff Go buildinf:"
_MAX_INFO = 1024 * 1024  # kubelet's, with 200 modules, has 20 KiB
_POINTERS_BIG_ENDIAN, _INLINE = 1, 2

_LDFLAGS_VERSION = re.compile(r"component-base/version\.gitVersion=([^\s'\"]+)")
_VERSION = r"v[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:[-+][0-9A-Za-z.+~-]{1,60})?"
_STAMP = re.compile(_VERSION.encode() + rb"(?=\x00)")
_IN_A_WORD = re.compile(rb"[0-9A-Za-z.+~_-]")
_OVERLAP = 128  # bytes; more than the longest stamp and its two neighbours


@dataclass(frozen=True, slots=True)
class BinaryFacts:
    """What a program says about itself."""

    architecture: str  # in Go's spelling, e.g. "amd64"; "machine 8" for one we have no name for
    kind: Literal["static", "dynamic"]  # dynamic: it asks for a loader, so for libraries
    go_version: str | None = None  # e.g. "go1.24.6"; None: not built by Go
    package: str | None = None  # of func main, e.g. "k8s.io/kubernetes/cmd/kubeadm"
    module: str | None = None
    module_version: str | None = None  # "(devel)" when it was not built from a tagged tree
    settings: Mapping[str, str] = field(default_factory=dict)  # e.g. GOARCH, -ldflags
    stamped: tuple[str, ...] = ()  # strings of the form of a version that the linker put in

    @property
    def kubernetes_version(self) -> str | None:
        """The version the program reports, without the leading v; None when it does not tell.

        Kubernetes stamps it with ``-ldflags -X``. The flags are recorded unless ``-trimpath`` was
        given (https://go.dev/issue/52372), which releases do; then the main module's version tells
        (Go 1.24 and later), else the stamp itself: a string with a zero byte behind it, which
        strings of the source code do not have, and twice, as client-go has a copy.
        """
        if match := _LDFLAGS_VERSION.search(self.settings.get("-ldflags", "")):
            return match[1].removeprefix("v")
        if self.module == "k8s.io/kubernetes" and self.module_version:
            version = self.module_version
            if re.fullmatch(_VERSION, version) and not version.startswith("v0."):
                return version.removeprefix("v")
        counted = Counter(self.stamped).most_common(2)
        if len(counted) == 1 or (len(counted) == 2 and counted[0][1] > counted[1][1]):
            return counted[0][0].removeprefix("v")
        return None


def describe(head: bytes) -> str:
    """Return what a file that begins with ``head`` seems to be, for a sentence about it."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "an empty file"
    for start, name in (
        (b"<!doctype html", "an HTML page"),
        (b"<html", "an HTML page"),
        (b"<?xml", "an XML document"),
        (b"#!", "a script"),
        (b"{", "JSON text"),
        (b"\x7felf", "a Linux program (ELF)"),
        (b"\x1f\x8b", "gzip data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"\xfd7zxz", "xz data"),
        (b"pk\x03\x04", "a zip archive"),
        (b"mz", "a Windows program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
    ):
        if text.startswith(start):
            return name
    printable = sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)
    return "text" if printable == len(head) else "data of an unknown kind"


@dataclass(frozen=True, slots=True)
class _Segment:
    flags: int
    offset: int
    address: int
    size: int  # in the file


def inspect_binary(stream: BinaryIO, place: str) -> BinaryFacts:
    """Return what the Linux program in ``stream`` says about itself.

    Reads headers, Go's build information and, when that does not tell the version, the read-only
    data once, a buffer at a time. ``place`` names the file in errors.

    Raises:
        IntegrityError: not a Linux program, or cut off.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(64)
    if head[:4] != b"\x7fELF":
        raise IntegrityError(
            f"{place}: expected a Linux program (ELF), found {describe(head)}",
            hint="what was downloaded is not the program; check the address it came from",
        )
    if len(head) < 20:
        raise IntegrityError(f"{place}: cut off after {size} bytes")
    big_endian = head[5] == 2
    machine = int.from_bytes(head[18:20], "big" if big_endian else "little")
    name = MACHINES.get(machine, f"machine {machine}")
    if head[4] != 2 or big_endian:  # 32 bits or big-endian: no architecture of ours
        return BinaryFacts(f"{name} (32 bit)" if head[4] == 1 and machine == 62 else name, "static")
    if len(head) < 64:
        raise IntegrityError(f"{place}: cut off after {size} bytes")
    return _Elf(stream, size, head, place).facts(name)


def go_build_info(stream: BinaryIO, place: str) -> tuple[str, str] | None:
    """Return Go's version and the text about modules of a program that Go built; None of others.

    Of programs for 32 bits and of those that are no little-endian ones nothing is read.

    Raises:
        IntegrityError: cut off.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(64)
    if len(head) < 64 or not head.startswith(_LITTLE_64) or head[16:18] not in _PROGRAMS:
        return None
    return _Elf(stream, size, head, place).build_info()


def sections_of(stream: BinaryIO, place: str) -> dict[str, tuple[int, int]]:
    """Return offset and size of each section that has bytes, in their order in the file.

    Raises:
        IntegrityError: not a 64-bit Linux program, or cut off.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(64)
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2 or head[5] != 1:
        raise IntegrityError(f"{place}: expected a Linux program (ELF), found {describe(head)}")
    found = _Elf(stream, size, head, place).sections.items()
    return {
        name.decode("ascii", "replace"): where
        for name, where in sorted(found, key=lambda item: item[1])
    }


class _Elf:
    """A 64-bit little-endian ELF file; every read is checked against the file's size."""

    def __init__(self, stream: BinaryIO, size: int, head: bytes, place: str) -> None:
        self._stream, self._size, self._place = stream, size, place
        kind, _, _, _, phoff, shoff, _, _, phentsize, phnum, shentsize, shnum, shstrndx = (
            _HEADER.unpack(head)
        )
        if kind not in {2, 3} or phnum == 0:
            raise IntegrityError(f"{place}: ELF, but not a program (type {kind})")
        if phentsize != _PROGRAM.size or phnum > _MAX_HEADERS:
            raise IntegrityError(f"{place}: ELF with {phnum} program headers of {phentsize} bytes")
        self._segments: list[_Segment] = []
        self.dynamic = False
        for row in _PROGRAM.iter_unpack(self._read(phoff, phnum * phentsize)):
            type_, flags, offset, address, _, in_file, _, _ = row
            if type_ == _LOAD:
                self._demand(offset + in_file)
                self._segments.append(_Segment(flags, offset, address, in_file))
            self.dynamic = self.dynamic or type_ == _INTERPRETER
        self.sections: dict[bytes, tuple[int, int]] = {}
        if shnum and shentsize == _SECTION.size and shnum <= _MAX_HEADERS:
            self._name_sections(self._read(shoff, shnum * shentsize), shstrndx)

    def _name_sections(self, table: bytes, names_index: int) -> None:
        rows = list(_SECTION.iter_unpack(table))
        if names_index >= len(rows):
            return
        names = self._read(rows[names_index][4], min(rows[names_index][5], _MAX_NAMES))
        for row in rows:
            if row[1] != _NO_BITS and row[0] < len(names):
                self._demand(row[4] + row[5])
                self.sections[names[row[0] :].split(b"\0", 1)[0]] = (row[4], row[5])

    def _demand(self, end: int) -> None:
        if end > self._size:
            raise IntegrityError(
                f"{self._place}: cut off: its headers speak of {end} bytes, it has {self._size}",
                hint="fetch the file again",
            )

    def _read(self, offset: int, size: int) -> bytes:
        self._demand(offset + size)
        self._stream.seek(offset)
        return self._stream.read(size)

    def facts(self, architecture: str) -> BinaryFacts:
        kind: Literal["static", "dynamic"] = "dynamic" if self.dynamic else "static"
        found = self.build_info()
        if found is None:
            return BinaryFacts(architecture, kind)
        go_version, text = found
        facts = _from_build_info(architecture, kind, go_version, text)
        if facts.kubernetes_version is not None:
            return facts
        return _from_build_info(architecture, kind, go_version, text, tuple(self._stamps()))

    def build_info(self) -> tuple[str, str] | None:
        """Return Go's version and its module text. Source: readRawBuildInfo of Go."""
        if where := self.sections.get(b".go.buildinfo"):
            data = self._read(where[0], min(where[1], _MAX_INFO))
        else:
            writable = [s for s in self._segments if s.flags & _WRITABLE]
            if not writable:
                return None
            data = self._read(writable[0].offset, min(writable[0].size, _MAX_INFO))
        at = data.find(_MAGIC)
        while at % 16 and at >= 0:
            at = data.find(_MAGIC, at + 1)
        block = data[at : at + _MAX_INFO] if at >= 0 else b""
        if len(block) < 32:
            return None
        if block[15] & _INLINE:
            version, rest = _inline_string(block[32:])
            module, _ = _inline_string(rest)
        else:
            order: Literal["big", "little"] = (
                "big" if block[15] & _POINTERS_BIG_ENDIAN else "little"
            )
            width = block[14]
            if width not in {4, 8}:
                return None
            version, module = (
                self._string_at(int.from_bytes(block[start : start + width], order), width, order)
                for start in (16, 16 + width)
            )
        sentinels = len(module) >= 33 and module[-17:-16] == b"\n"  # 16 bytes at both ends
        module = module[16:-16] if sentinels else b""
        if not version:
            return None
        return version.decode("utf-8", "replace"), module.decode("utf-8", "replace")

    def _string_at(self, address: int, width: int, order: Literal["big", "little"]) -> bytes:
        header = self._memory(address, 2 * width)
        start = int.from_bytes(header[:width], order)
        length = int.from_bytes(header[width:], order)
        return self._memory(start, length) if length <= _MAX_INFO else b""

    def _memory(self, address: int, size: int) -> bytes:
        for segment in self._segments:
            if segment.address <= address and address + size <= segment.address + segment.size:
                return self._read(segment.offset + address - segment.address, size)
        return b""

    def _stamps(self) -> Iterator[str]:
        if where := self.sections.get(b".rodata"):
            ranges = [where]
        else:
            data = [s for s in self._segments if not s.flags & _EXECUTABLE] or self._segments
            ranges = [(s.offset, s.size) for s in data]
        budget = self._size  # headers that make segments overlap cannot make us read for ever
        for offset, size in ranges:
            left = min(size, budget)
            budget -= left
            yield from self._stamps_within(offset, left)

    def _stamps_within(self, offset: int, left: int) -> Iterator[str]:
        self._stream.seek(offset)
        kept = b""
        while left > 0 and (chunk := self._stream.read(min(BUFFER_SIZE, left))):
            left -= len(chunk)
            window = kept + chunk
            # A stamp that begins in the last bytes is left for the next window.
            end = max(len(window) - _OVERLAP, 1) if left > 0 else len(window)
            for match in _STAMP.finditer(window, 1 if kept else 0):
                start = match.start()
                if start < end and not (start and _IN_A_WORD.match(window, start - 1)):
                    yield match[0].decode("ascii")
            kept = window[end - 1 :]


def _inline_string(data: bytes) -> tuple[bytes, bytes]:
    """Return the string that a variable-length number precedes, and what follows it."""
    length = shift = 0
    for at, byte in enumerate(data[:10]):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            end = at + 1 + length
            return (data[at + 1 : end], data[end:]) if end <= len(data) else (b"", b"")
    return b"", b""


def _from_build_info(
    architecture: str,
    kind: Literal["static", "dynamic"],
    go_version: str,
    text: str,
    stamped: tuple[str, ...] = (),
) -> BinaryFacts:
    package = module = module_version = None
    settings: dict[str, str] = {}
    for line in text.splitlines():
        word, _, rest = line.partition("\t")
        if word == "path":
            package = rest
        elif word == "mod":
            module, _, more = rest.partition("\t")
            module_version = more.partition("\t")[0]
        elif word == "build":
            key, _, value = rest.partition("=")
            settings[key] = _unquoted(value)
    return BinaryFacts(
        architecture, kind, go_version, package, module, module_version, settings, stamped
    )


def _unquoted(value: str) -> str:
    """Undo Go's strconv.Quote, which build settings with spaces went through."""
    if value.startswith('"'):
        try:
            plain = json.loads(value)  # Go's \a, \v and \x.. aside, the two notations agree
        except ValueError:
            return value[1:].removesuffix('"')
        return plain if isinstance(plain, str) else value
    return value[1:-1] if value.startswith("`") and value.endswith("`") else value
