"""Where everything lies in a program that Go built, read from its bytes with a bound on each step.

Formats: System V ABI (ELF header and sections); Go's runtime, ``runtime/symtab.go`` (``pcHeader``,
``moduledata``) and ``runtime/runtime2.go`` (``_func``), in the form of Go 1.20 to 1.27. A program
without what is looked for, or with something else in its place, is refused: nothing is guessed.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_right
from dataclasses import dataclass, fields
from itertools import pairwise

from isobuilder.delta.methods import DeltaError

AMD64, ARM64 = 62, 183  # e_machine
UNLOADED = 1 << 48
"""What lies in the file and is never loaded (headers, what follows the last section) has its offset
plus this for an address, so that everything has one."""

NONE = 0xFFFFFFFF  # an offset that says: there is none
FUNCTION_HEAD = 44  # bytes of a _func before its two lists of offsets
INLINE_TREE = 3  # which funcdata holds the calls that were inlined

_HEADER = struct.Struct("<16xHHIQQQIHHHHHH")  # type machine version entry phoff shoff ...
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name type flags addr offset size link info align entsize
_NO_BITS = 8
_MOST_SECTIONS = 200  # cgo programs have some 40
_MAGIC = b"\xf1\xff\xff\xff\0\0"  # of .gopclntab since Go 1.20
_HIGHEST = 1 << 40  # no address of a program that we take is beyond

_WORDS = 64  # of moduledata, whose known part is no longer


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between versions of Go: word numbers in ``moduledata``, and one size.

    A delta tells the form of the old program, so that a new form needs no new reader.
    """

    text: int
    find: int
    types: int
    types_end: int
    constants: int  # moduledata.rodata
    funcdata: int
    descriptors: int  # bytes of descriptors at the beginning of the types; 0 where not told
    map_size: int  # bytes of an abi.MapType, or of its like before Go 1.24


FORMS = (
    Form(22, 19, 37, 38, 39, 40, 0, 112),  # Go 1.24 to 1.26
    Form(22, 19, 37, 38, 39, 40, 0, 88),  # Go 1.20 to 1.23
    Form(22, 19, 37, 39, 42, 43, 38, 112),  # Go 1.27
)
"""The forms that are tried by whoever makes a delta."""


@dataclass(frozen=True, slots=True)
class Section:
    """A run of the program's memory, or of its file."""

    name: bytes
    address: int
    offset: int  # in the file
    size: int  # in memory
    stored: int  # bytes in the file: all or none

    @property
    def end(self) -> int:
        """The address behind it."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Anchors:
    """The addresses that offsets inside the program count from; the same list in every program."""

    text: int
    names: int  # of functions, each ended by a zero
    units: int  # lists of files, one for each compilation unit; counted in fours of bytes
    files: int  # names of files
    tables: int  # what a program counter stands for: lines, files, stack
    functions: int  # pairs of entry and offset, then what they lead to
    records: int  # behind the pairs
    funcdata: int
    types: int
    constants: int
    find: int  # the table by which a function is found quickly, which is computed
    count: int  # of functions; a number among addresses, so that all travel alike

    def all(self) -> tuple[int, ...]:
        """Return the places in their order."""
        return tuple(getattr(self, field.name) for field in fields(self))


class Layout:
    """Sections in the order of their addresses, and what of the file is in none of them."""

    def __init__(self, sections: list[Section], size: int) -> None:
        self.size = size
        self.sections = tuple(sections)
        pieces = [*sections, *_unloaded(sections, size)]
        self.pieces = tuple(sorted(pieces, key=lambda piece: (piece.address, piece.offset)))
        self._starts = [piece.address for piece in self.pieces]

    def piece_at(self, address: int) -> Section | None:
        """Return what holds ``address``."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address < self.pieces[at].end:
            return self.pieces[at]
        return None

    def offset(self, address: int, size: int) -> int:
        """Return where the ``size`` bytes from ``address`` on are in the file.

        Raises:
            DeltaError: they are not in it, or not in one piece.
        """
        piece = self.piece_at(address)
        if piece is None or size < 0 or address + size > piece.address + piece.stored:
            raise DeltaError(f"{size} bytes at address {address:#x} are not in the program")
        return piece.offset + address - piece.address


def _unloaded(sections: list[Section], size: int) -> list[Section]:
    gaps: list[Section] = []
    at = 0
    stored = sorted((s for s in sections if s.stored), key=lambda section: section.offset)
    for section in stored:
        if section.offset > at:
            gaps.append(Section(b"", UNLOADED + at, at, section.offset - at, section.offset - at))
        at = max(at, section.offset + section.stored)
    if size > at:
        gaps.append(Section(b"", UNLOADED + at, at, size - at, size - at))
    return gaps


@dataclass(frozen=True, slots=True)
class Program:
    """A program, its layout, and what its function tables say."""

    data: bytes
    machine: int
    form: Form
    layout: Layout
    text: Section
    table: Section  # .gopclntab
    places: Anchors
    types_end: int
    descriptors: range  # addresses at which there may be the descriptor of a type
    low: int  # the lowest address
    high: int  # behind the highest
    entries: array[int]  # addresses of functions, and behind the last one; ascending
    records: array[int]  # of functions: offsets in the file of their _func; ascending

    def section(self, name: bytes) -> Section | None:
        """Return the section of that name."""
        return next((s for s in self.layout.sections if s.name == name), None)


def read_program(data: bytes, form: Form) -> Program:
    """Return what ``data`` is, if it is of that form.

    Raises:
        DeltaError: no program of Go, or none of a form that is known.
    """
    machine, sections = _sections(data)
    layout = Layout(sections, len(data))
    by_name = {section.name: section for section in sections}
    text, table = by_name.get(b".text"), by_name.get(b".gopclntab")
    if text is None or table is None or not text.stored or table.stored < 72:
        raise DeltaError("no program of Go: it has no .text or no .gopclntab")
    head = data[table.offset : table.offset + 72]
    if not head.startswith(_MAGIC) or head[7] != 8:
        raise DeltaError("its function tables are not of a form that is known")
    count, _, _, names, units, files, tables, functions = struct.unpack_from("<8Q", head, 8)
    if not 72 <= names <= units <= files <= tables <= functions <= table.stored:
        raise DeltaError("its function tables overlap")
    if not 0 < count <= (table.stored - functions - 4) // 8:
        raise DeltaError(f"its function tables have no room for {count} functions")
    words = _moduledata(data, by_name, table, text, form)
    places = Anchors(
        text=words[form.text],
        names=table.address + names,
        units=table.address + units,
        files=table.address + files,
        tables=table.address + tables,
        functions=table.address + functions,
        records=table.address + functions + 8 * count + 4,
        funcdata=words[form.funcdata],
        types=words[form.types],
        constants=words[form.constants],
        find=words[form.find],
        count=count,
    )
    for place in (places.funcdata, places.types, places.constants, places.find):
        layout.offset(place, 0)
    entries, records = _functions(data, table.offset + functions, count, table, places.text)
    types_end = _end_of_types(layout, places.types, words[form.types_end])
    told = words[form.descriptors] if form.descriptors else 0
    return Program(
        data,
        machine,
        form,
        layout,
        text,
        table,
        places,
        types_end,
        range(places.types, min(places.types + told, types_end - 80), 8),
        min(section.address for section in sections),
        max(section.end for section in sections),
        entries,
        records,
    )


def _end_of_types(layout: Layout, types: int, end: int) -> int:
    """Return the end of the types, or of what they are in where that is not told."""
    piece = layout.piece_at(types)
    if piece is None or not piece.stored:
        raise DeltaError("its types are not in the file")
    return end if types < end <= piece.end else piece.end


def _sections(data: bytes) -> tuple[int, list[Section]]:
    if len(data) < 64 or data[:6] != b"\x7fELF\x02\x01" or len(data) >= _HIGHEST:
        raise DeltaError("no program of 64 bits")
    _, machine, _, _, _, start, _, _, _, _, entry, number, names_at = _HEADER.unpack_from(data)
    if machine not in {AMD64, ARM64}:
        raise DeltaError(f"machine {machine} is no machine whose code is known")
    end = start + number * _SECTION.size
    if entry != _SECTION.size or names_at >= number or number > _MOST_SECTIONS or end > len(data):
        raise DeltaError("a program without a list of sections that can be read")
    rows = list(_SECTION.iter_unpack(data[start:end]))
    names = data[rows[names_at][4] : rows[names_at][4] + min(rows[names_at][5], 65536)]
    found: list[Section] = []
    for name, kind, _, address, offset, size, *_ in rows:
        if address == 0 or size == 0:
            continue
        stored = 0 if kind == _NO_BITS else size
        if address + size > _HIGHEST or (stored and offset + stored > len(data)):
            raise DeltaError("a program that is cut off")
        found.append(Section(names[name:].split(b"\0", 1)[0], address, offset, size, stored))
    found.sort(key=lambda section: section.address)
    if any(a.end > b.address for a, b in pairwise(found)):
        raise DeltaError("its sections overlap")
    return machine, found


def _moduledata(
    data: bytes, sections: dict[bytes, Section], table: Section, text: Section, form: Form
) -> tuple[int, ...]:
    """Return the words of ``moduledata``: its first is the address of the function tables.

    It is in a section of its own since Go 1.26, and among the data before.
    """
    wanted = table.address.to_bytes(8, "little")
    for name in (b".go.module", b".noptrdata", b".data"):
        section = sections.get(name)
        if section is None or not section.stored:
            continue
        end = section.offset + section.stored
        at = data.find(wanted, section.offset, end)
        while at >= 0 and at + 8 * _WORDS <= end:
            words = struct.unpack_from(f"<{_WORDS}Q", data, at)
            if at % 8 == 0 and text.address <= words[form.text] < text.end:
                return words
            at = data.find(wanted, at + 1, end)
    raise DeltaError("it does not say where its types are")


def _functions(
    data: bytes, start: int, count: int, table: Section, text: int
) -> tuple[array[int], array[int]]:
    """Return the entries of all functions, and where their records begin in the file.

    Both ascend and no record reaches into the next, so all of them cost no more than the file.
    """
    pairs = unsigned("I", data[start : start + 8 * count + 4])
    entries = array("Q", (text + entry for entry in pairs[0::2]))
    records = array("Q", (start + offset for offset in pairs[1::2]))
    last = table.offset + table.stored
    for at, (record, following) in enumerate(zip(records, [*records[1:], last], strict=True)):
        if record + FUNCTION_HEAD > last or entries[at] > entries[at + 1]:
            raise DeltaError("its function tables lead out of themselves")
        lists = int.from_bytes(data[record + 28 : record + 32], "little") + data[record + 43]
        if record + FUNCTION_HEAD + 4 * lists > following:
            raise DeltaError("its functions overlap")
    return entries, records


def find_table(entries: array[int], size: int) -> bytes:
    """Return the table by which Go finds the function of an address: ``runtime.findfunctab``.

    For each 4,096 of ``size`` bytes of code the number of the function at their beginning, and how
    many more it is at each 256th byte; ``entries`` count from the beginning of the code.
    Source: ``findfunctab`` of ``cmd/link/internal/ld/pcln.go``.
    """
    made = bytearray()
    last = len(entries) - 2
    at = 0
    for bucket in range(0, size, 4096):
        base = None
        for start in range(bucket, min(bucket + 4096, size), 256):
            while at < last and entries[at + 1] <= start:
                at += 1
            if base is None:
                base = at
                made += base.to_bytes(4, "little")
            made.append((at - base) & 255)
    return bytes(made)


def unsigned(kind: str, data: bytes | bytearray) -> array[int]:
    """Return the little-endian numbers of which ``data`` consists."""
    words = array(kind)
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    return words
