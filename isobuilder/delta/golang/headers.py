"""What the head of a program says of its segments and sections, as the new layout has it.

Format: System V ABI, ELF header, program headers and section headers of 64 bits.
"""

from __future__ import annotations

import struct

from isobuilder.delta.golang.moves import Moves
from isobuilder.delta.golang.program import UNLOADED, Layout, Program, Section

_ENTRY = struct.Struct("<Q")  # at 24
_TABLES = struct.Struct("<QQ")  # offsets of program and section headers, at 32
_COUNTS = struct.Struct("<HHHH")  # size and number of program and section headers, at 54
_LOADED = struct.Struct("<QQQQQ")  # offset, address, the same again, sizes in file and memory
_PROGRAM, _SECTION = 56, 64
_MOST = (1 << 64) - 1
_PLACE = struct.Struct("<QQQ")  # address, offset, size; at 16 of a section header


def rewrite_headers(out: bytearray, program: Program, moves: Moves, layout: Layout) -> None:
    """Rewrite in ``out`` the headers of ``program`` for a program that lies like ``layout``."""
    data, pairs = program.data, list(zip(program.layout.sections, layout.sections, strict=False))
    _ENTRY.pack_into(out, 24, moves(_ENTRY.unpack_from(data, 24)[0]) & _MOST)
    segments, sections = _TABLES.unpack_from(data, 32)
    size, number, other_size, other_number = _COUNTS.unpack_from(data, 54)
    if size == _PROGRAM and segments + size * number <= len(data):
        for at in range(segments, segments + size * number, size):
            told = _LOADED.unpack_from(data, at + 8)
            if told[3] or told[4]:
                moved = _segment(told, pairs)
                _LOADED.pack_into(out, at + 8, *(value & _MOST for value in moved))
    if other_size == _SECTION and sections + other_size * other_number <= len(data):
        for at in range(sections, sections + other_size * other_number, other_size):
            address, offset, length = _PLACE.unpack_from(data, at + 16)
            like = next((new for old, new in pairs if old.address == address), None)
            if like is not None:
                _PLACE.pack_into(out, at + 16, like.address, like.offset, like.size)
            elif not address and offset:
                goal = max(moves(UNLOADED + offset) - UNLOADED, 0)
                _PLACE.pack_into(out, at + 16, address, goal, length)


def _segment(told: tuple[int, ...], pairs: list[tuple[Section, Section]]) -> tuple[int, ...]:
    """Return a segment that begins and ends with the like of the sections that it did with."""
    offset, address, physical, stored, size = told
    end, end_stored = address + size, address + stored
    shift = offset_shift = 0
    for old, new in pairs:
        if old.address == address:
            shift, offset_shift = new.address - old.address, new.offset - old.offset
    for old, new in pairs:
        if old.end == address + size:
            end = new.end
        if old.address + old.stored == address + stored and old.stored:
            end_stored = new.address + new.stored
    start = address + shift
    if end < start or end_stored < start:
        return told
    return offset + offset_shift, start, physical + shift, end_stored - start, end - start
