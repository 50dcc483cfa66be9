"""What a gzip file is made of besides what it unpacks to, as a value and as bytes.

Format 1, frozen: what is written here stays readable. Everything but headers is a number of
LEB128. First the format, then how many members there are; for each: whether header and making
are those of the member before; if not, the header with its length in front, the number of the
model, how many parameters it has, and these; then the size of the content, its CRC-32, how many
joins there are, and each as the distance to the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from isobuilder.delta.methods import DeltaError, UnknownMethod

FORMAT = 1

MAX_MEMBERS = 10_000
"""Members of a file; images that can be fetched file by file have one for each of their files."""

MAX_HEADER = 64 * 1024
"""Bytes of a header: names and comments have no end of their own."""

MAX_JOINS = 10_000
"""Joins of all members; each costs a block of its own."""

MAX_SIZE = 1 << 40
"""Bytes of all content; counting ends somewhere."""

_MOST_PARAMETERS = 8


class Compressor(IntEnum):
    """Who compressed; what a number stands for never changes."""

    ZLIB = 1  # level, memory level, bits of the window, strategy
    GO = 2  # compress/flate up to Go 1.26: 3 + level, -2 to 9
    PIGZ = 3  # level, KiB of a block, 1 if blocks know the one before
    GO_127 = 5  # compress/flate from Go 1.27 on: level, which is 6
    GZIP = 4  # GNU gzip from 1.5 on: level


@dataclass(frozen=True, slots=True)
class Making:
    """A model and what it was told."""

    model: Compressor
    parameters: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GzipMember:
    """One member of a gzip file. Source: RFC 1952, 2.2."""

    header: bytes
    making: Making
    size: int  # bytes of content
    check: int  # their CRC-32
    joins: tuple[int, ...] = ()  # places in the content where the compressor was told to flush


@dataclass(frozen=True, slots=True)
class GzipRecipe:
    """Everything about a gzip file that its content does not say."""

    members: tuple[GzipMember, ...]

    @property
    def size(self) -> int:
        """Bytes of all content."""
        return sum(member.size for member in self.members)

    def to_bytes(self) -> bytes:
        """Return it in format 1: the same value gives the same bytes."""
        out = bytearray(_number(FORMAT) + _number(len(self.members)))
        before: GzipMember | None = None
        for member in self.members:
            same = before is not None and (before.header, before.making) == (
                member.header,
                member.making,
            )
            out += _number(int(same))
            if not same:
                out += _number(len(member.header)) + member.header
                out += _number(member.making.model) + _number(len(member.making.parameters))
                for parameter in member.making.parameters:
                    out += _number(parameter)
            out += _number(member.size) + _number(member.check) + _number(len(member.joins))
            place = 0
            for join in member.joins:
                out += _number(join - place)
                place = join
            before = member
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes) -> GzipRecipe:
        """Return the recipe that ``data`` is.

        Raises:
            UnknownMethod: it is of a newer format, or of a model that is not known here.
            DeltaError: it is none, or beyond what one may be.
        """
        return _Reader(data).recipe()


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0
        self._joins = 0

    def recipe(self) -> GzipRecipe:
        found = self._number("format")
        if found != FORMAT:
            raise UnknownMethod(f"how a gzip file is made: expected format {FORMAT}, got {found}")
        count = self._number("members", MAX_MEMBERS)
        recipe = GzipRecipe(tuple(self._members(count)))
        if not recipe.members or recipe.size > MAX_SIZE:
            raise DeltaError(f"how a gzip file is made: {count} members of {recipe.size} bytes")
        if self._place != len(self._data):
            raise DeltaError(f"how a gzip file is made: bytes behind the end at {self._place}")
        return recipe

    def _members(self, count: int) -> Iterator[GzipMember]:
        header, making = None, None
        for _ in range(count):
            if not self._number("sameness", 1):
                header = self._bytes(self._number("bytes of a header", MAX_HEADER))
                making = self._making()
            if header is None or making is None:
                raise DeltaError("how a gzip file is made: the first member has nothing before it")
            size = self._number("size", MAX_SIZE)
            check = self._number("check", 0xFFFFFFFF)
            yield GzipMember(header, making, size, check, tuple(self._places(size)))

    def _making(self) -> Making:
        number = self._number("model")
        try:
            model = Compressor(number)
        except ValueError as error:
            raise UnknownMethod(f"how a gzip file is made: unknown model {number}") from error
        count = self._number("parameters", _MOST_PARAMETERS)
        return Making(model, tuple(self._number("a parameter") for _ in range(count)))

    def _places(self, size: int) -> Iterator[int]:
        count = self._number("joins", MAX_JOINS)
        self._joins += count
        if self._joins > MAX_JOINS:
            raise DeltaError(f"how a gzip file is made: more than {MAX_JOINS} joins")
        place = 0
        for _ in range(count):
            place += self._number("a join", size)
            if place > size:
                raise DeltaError(f"how a gzip file is made: a join at {place} of {size}")
            yield place

    def _number(self, what: str, most: int = MAX_SIZE) -> int:
        value = shift = 0
        while True:
            if self._place >= len(self._data) or shift > 63:
                raise DeltaError(f"how a gzip file is made: cut short, or no number: {what}")
            byte = self._data[self._place]
            self._place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if value > most:
            raise DeltaError(f"how a gzip file is made: {what}: at most {most}, got {value}")
        return value

    def _bytes(self, count: int) -> bytes:
        data = self._data[self._place : self._place + count]
        if len(data) != count:
            raise DeltaError("how a gzip file is made: cut short in a header")
        self._place += count
        return data
