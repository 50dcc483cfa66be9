"""One walk over a tar archive, from a file or from a stream, within bounds.

Format: POSIX.1-2001 ustar and pax, GNU long names and base-256 sizes. Where readers differ (Go's
``archive/tar``, which containerd uses, GNU tar, which nodes use, libarchive), so that one archive
would be two, the walk refuses; what all of them read alike and only few archives need, it tells
(``Member.kind``, ``Member.extras``), and who calls it judges. Python's own reader takes the size of
an extension header on trust and follows chains of them by recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from isobuilder.errors import IntegrityError

BLOCK = 512
"""Bytes of a header; content is padded to a multiple of it."""

_MAX_EXTENSION = 64 * 1024
"""Bytes of a long name or of pax records; a path has at most 4 KiB."""

MAX_MEMBERS = 20_000
"""Headers of one archive; a release of Kubernetes has some hundred files."""

REGULAR, HARD_LINK, SYMBOLIC_LINK, FOLDER = b"0", b"1", b"2", b"5"
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a pipe",
}
"""What a member is that has no content."""

_LINKS = {HARD_LINK, SYMBOLIC_LINK}
_LONG_NAME, _LONG_LINK, _PAX, _GLOBAL = b"L", b"K", b"x", b"g"
_EXTENSIONS = {
    _LONG_NAME: "a GNU long name",
    _LONG_LINK: "a GNU long link name",
    _PAX: "a pax header",
    _GLOBAL: "a global pax header",
}
_DIFFERENT = {b"7": "a contiguous file", b"S": "a sparse file"}


class Source(Protocol):
    """Bytes in order."""

    position: int  # of the next byte

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""

    def advance(self, position: int) -> None:
        """Go on to ``position``, which lies ahead, or at most behind where it began to read.

        Raises:
            IntegrityError: the end comes before.
        """


class SeekSource:
    """A file that can seek: passing over content costs nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = stream.seek(0, 2)
        self.position = stream.seek(0)

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""
        data = self._stream.read(size)
        self.position += len(data)
        return data

    def advance(self, position: int) -> None:
        """Go on to ``position``.

        Raises:
            IntegrityError: the file ends before.
        """
        if position > self.size:
            raise IntegrityError(f"cut off: {position} bytes are promised, there are {self.size}")
        self.position = self._stream.seek(position)


class StreamSource:
    """Pieces of bytes in order, as an unpacked stream gives them."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._waiting = bytearray()
        self.position = 0

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end.

        Raises:
            IntegrityError: as the pieces do.
        """
        while len(self._waiting) < size and (piece := next(self._pieces, None)) is not None:
            self._waiting += piece
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        self.position += len(data)
        return data

    def some(self, most: int) -> bytes:
        """Return at least one and at most ``most`` of the next bytes, none only at the end.

        It gives what is at hand, which is not copied where it can be helped.

        Raises:
            IntegrityError: as the pieces do.
        """
        if not self._waiting:
            piece = next(self._pieces, b"")
            if len(piece) <= most:
                self.position += len(piece)
                return piece
            self._waiting += piece
        return self.read(min(most, len(self._waiting)))

    def advance(self, position: int) -> None:
        """Go on to ``position``; what lies before is unpacked all the same.

        Raises:
            IntegrityError: the stream ends before.
        """
        while self.position < position:
            if not self._waiting:
                piece = next(self._pieces, None)
                if piece is None:
                    raise IntegrityError("cut off inside a file")
                self._waiting += piece
            passed = min(position - self.position, len(self._waiting))
            del self._waiting[:passed]
            self.position += passed

    def finish(self) -> None:
        """Read to the end, where the checksum over everything is."""
        self._waiting.clear()
        for _ in self._pieces:
            pass


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive."""

    name: str  # as it is written, long names and pax records applied
    kind: bytes  # REGULAR, FOLDER or another of ``KINDS``
    size: int  # bytes of content
    mode: int
    header: int  # where its header is
    offset: int  # where its content begins
    extras: tuple[str, ...] = field(default=(), compare=False)  # what few archives need, in words
    link: str = field(default="", compare=False)  # where a link leads, as it is written

    @property
    def regular(self) -> bool:
        """Whether it is a file with content."""
        return self.kind == REGULAR

    @property
    def plain_name(self) -> str:
        """The name without ./ in front."""
        return self.name.removeprefix("./")


@dataclass(slots=True)
class _Ahead:
    """What extension headers say of the next member."""

    long_name: str | None = None
    long_link: str | None = None
    records: dict[bytes, bytes] = field(default_factory=dict)
    extras: list[str] = field(default_factory=list)


def walk(source: Source, most: int = MAX_MEMBERS) -> Iterator[Member]:
    """Give every member; its content may be read from ``source`` before the next is asked for.

    ``most`` is how many headers there may be.

    Afterwards ``source`` stands behind the block or two of zeros that end an archive; without them
    nothing is wrong, which every reader takes so.

    Raises:
        IntegrityError: no tar archive, damaged, cut off, beyond a limit, or read differently by
            different readers. A sentence without place.
    """
    ahead = _Ahead()
    for _ in range(most):
        at = source.position
        block = source.read(BLOCK)
        if not block.strip(b"\0"):
            _end(source, block, at)
            return
        if len(block) < BLOCK:
            raise IntegrityError(f"byte {at}: cut off inside a header")
        _check(block, at)
        kind = block[156:157]
        if kind in _EXTENSIONS:
            _extension(source, kind, _number(block[124:136], at), at, ahead)
            continue
        member = _member(block, kind, at, ahead)
        ahead = _Ahead()
        yield member
        if member.size:
            source.advance(member.offset + -(-member.size // BLOCK) * BLOCK)
    raise IntegrityError(f"more than {most} members")


def _end(source: Source, block: bytes, at: int) -> None:
    """Read the second block of zeros: Go's reader wants one or nothing there, others go on."""
    if len(block) % BLOCK:
        raise IntegrityError(f"byte {at}: cut off inside the blocks of zeros at the end")
    if block and source.read(BLOCK).strip(b"\0"):
        raise IntegrityError(f"byte {at}: one block of zeros and something behind it")


def _member(block: bytes, kind: bytes, at: int, ahead: _Ahead) -> Member:
    name = _name(block, at)
    if path := ahead.records.get(b"path"):
        name = _text(path)
    if ahead.long_name is not None:  # for Go it counts before a pax record
        name = ahead.long_name
    size = _number(block[124:136], at)
    if digits := ahead.records.get(b"size"):
        if not digits.isdigit() or len(digits) > 18:
            raise IntegrityError(f"byte {at}: not a size: {digits[:40]!r}")
        size = int(digits)
    if kind == b"\0":  # from before there were folders
        kind = FOLDER if name.endswith("/") else REGULAR
    elif kind == REGULAR and name.endswith("/"):
        raise IntegrityError(f"byte {at}: {name[:120]!r} is a file by its type, a folder by name")
    if kind != REGULAR and kind not in KINDS:
        what = _DIFFERENT.get(kind, f"a member of type {kind!r}")
        raise IntegrityError(f"byte {at}: {what}, which readers take for different things")
    if kind != REGULAR and size:
        raise IntegrityError(f"byte {at}: {KINDS[kind]}, {name[:120]!r}, has {size} bytes")
    mode = _number(block[100:108], at) & 0o7777
    link = _link(block, ahead) if kind in _LINKS else ""
    return Member(name, kind, size, mode, at, at + BLOCK, tuple(ahead.extras), link)


def _link(block: bytes, ahead: _Ahead) -> str:
    if ahead.long_link is not None:
        return ahead.long_link
    return _text(ahead.records.get(b"linkpath") or block[157:257].split(b"\0", 1)[0])


def _extension(source: Source, kind: bytes, size: int, at: int, ahead: _Ahead) -> None:
    if size > _MAX_EXTENSION:
        raise IntegrityError(
            f"byte {at}: an extension header of {size} bytes, at most {_MAX_EXTENSION}"
        )
    start = source.position
    data = source.read(size)
    if len(data) < size:
        raise IntegrityError(f"byte {at}: cut off inside an extension header")
    source.advance(start + -(-size // BLOCK) * BLOCK)
    if kind != _PAX:
        ahead.extras.append(_EXTENSIONS[kind])
    if kind == _LONG_NAME:
        ahead.long_name = _text(data.split(b"\0", 1)[0])
    elif kind == _LONG_LINK:
        ahead.long_link = _text(data.split(b"\0", 1)[0])
    elif kind == _PAX:
        ahead.records = _pax(data, at)  # of two headers, the second
    elif kind == _GLOBAL:
        if _pax(data, at).keys() & {b"path", b"size", b"linkpath"}:
            raise IntegrityError(f"byte {at}: a global pax header with a name or size for all")
        if ahead.long_name is not None or ahead.records:  # which Go then forgets
            raise IntegrityError(f"byte {at}: a global pax header between a member and its own")


def _check(block: bytes, at: int) -> None:
    if not block[148:156].strip(b" \0"):
        raise IntegrityError(f"byte {at}: not a tar header: {block[:16]!r}")
    promised = _number(block[148:156], at)
    found = sum(block) - sum(block[148:156]) + 8 * 0x20
    if found != promised:
        raise IntegrityError(
            f"byte {at}: not a tar header, or damaged: its checksum is {promised}, got {found}"
        )
    if block[257:263] == b"ustar\0" and block[508:512] == b"tar\0":
        raise IntegrityError(f"byte {at}: a header in the form of star, whose names are shorter")


def _number(digits: bytes, at: int) -> int:
    if digits[0] & 0x80:  # GNU: base 256, the first bit set; negative numbers begin with 0xff
        value = int.from_bytes(digits[1:], "big")
        if digits[0] != 0x80 or value >= 1 << 62:
            raise IntegrityError(f"byte {at}: damaged: an impossible number in a header")
        return value
    octal = digits.strip(b" \0") or b"0"
    if octal.strip(b"01234567"):
        raise IntegrityError(f"byte {at}: not a tar header, or damaged: not octal: {octal!r}")
    return int(octal, 8)


def _name(block: bytes, at: int) -> str:
    name = block[:100].split(b"\0", 1)[0]
    prefix = b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
    elif block[257:265] == b"ustar  \0":
        _number(block[345:357], at)  # a time; what is none, Go takes for the beginning of a name
        _number(block[357:369], at)
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _pax(data: bytes, at: int) -> dict[bytes, bytes]:
    """Return the pax records, which read ``<length> <key>=<value>`` and a newline."""
    found = {}
    start = 0
    while start < len(data):
        digits, space, _ = data[start : start + 8].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = data[start + len(digits) + 1 : start + length]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if start + length > len(data) or not record.endswith(b"\n") or not key or not equals:
            raise IntegrityError(f"byte {at}: a malformed pax header: {data[start : start + 40]!r}")
        if b"\0" in key or (key in {b"path", b"linkpath", b"size"} and b"\0" in value):
            raise IntegrityError(f"byte {at}: a malformed pax header: zeros in {key[:40]!r}")
        if key.startswith(b"GNU.sparse"):
            raise IntegrityError(f"byte {at}: a sparse file, which readers take for different ones")
        found[key] = value
        start += length
    return found
