"""What ``plain`` does, with numpy: the same bytes in a third of the time, and fields for makers.

Needs the extra ``fast``. A test holds that both rewrite alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobuilder.delta.golang import plain
from isobuilder.delta.golang.moves import Moves
from isobuilder.delta.golang.program import AMD64, FUNCTION_HEAD, NONE, Anchors, Program
from isobuilder.delta.methods import DeltaError

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

Goes = Callable[[Ints], Ints]
"""Where what was at addresses is."""

_CHUNK = 1 << 22  # bytes of code looked at together: what is kept for each is many times that


@dataclass(frozen=True, slots=True)
class Code:
    """NamingFields of code that name an address."""

    places: Ints  # in the file; ascending
    targets: Ints  # addresses
    more: Ints  # amd64: bytes that follow; arm64: how far the second number is shifted, -1: none


@dataclass(frozen=True, slots=True)
class Offsets:
    """NamingFields of 32 bits that count ``unit`` bytes from a place on."""

    places: Ints  # in the file; ascending
    base: str  # of ``Anchors``
    unit: int = 1


@dataclass(frozen=True, slots=True)
class NamingFields:
    """Everything in a program that names a place, in the order in which it is rewritten."""

    code: Code
    pointers: Ints  # places in the file
    offsets: tuple[Offsets, ...]


def view(data: bytes | bytearray | Bytes, kind: str) -> NDArray[Any]:
    """Return the little-endian numbers that begin at each byte of ``data``."""
    size = np.dtype(kind).itemsize
    return np.ndarray((max(len(data) - size + 1, 0),), kind, data, 0, (1,))


def read(data: bytes | bytearray | Bytes, kind: str, places: Ints) -> Ints:
    """Return the numbers at ``places``."""
    return view(data, kind)[places].astype(np.int64)


class Mapping:
    """``Moves`` for many addresses at once."""

    def __init__(self, moves: Moves) -> None:
        self._starts = np.array(moves.starts, np.int64)
        self._shifts = np.array(moves.shifts, np.int64)

    def __call__(self, addresses: Ints) -> Ints:
        """Return where what was at ``addresses`` is."""
        at = np.searchsorted(self._starts, addresses, "right") - 1
        return addresses + self._shifts[np.maximum(at, 0)]


def rewritten(program: Program, moves: Moves, after: Anchors) -> bytearray:
    """Return what ``plain.rewritten`` returns.

    Raises:
        DeltaError: the program is not what it says that it is.
    """
    return rewrite(program, fields_of(program), moves, after)


def rewrite(program: Program, fields: NamingFields, moves: Moves, after: Anchors) -> bytearray:
    """Return the bytes of a program whose fields were found, rewritten."""
    out = bytearray(program.data)
    mapping = Mapping(moves)
    if program.machine == AMD64:
        _write_amd64(program, fields.code, mapping, out)
    else:
        _write_arm64(program, fields.code, mapping, out)
    words = view(out, "<i8")
    words[fields.pointers] = mapping(read(program.data, "<i8", fields.pointers))
    halves = view(out, "<u4")
    for group in fields.offsets:
        values = read(program.data, "<u4", group.places)
        told = (values != 0) & (values != NONE)
        base, goal = getattr(program.places, group.base), getattr(after, group.base)
        moved = (mapping(base + group.unit * values[told]) - goal) // group.unit
        halves[group.places[told]] = moved & NONE
    return out


def without_places(program: Program, fields: NamingFields) -> bytearray:
    """Return the bytes of a program with the same in all fields of its code."""
    out = bytearray(program.data)
    write = _write_amd64 if program.machine == AMD64 else _write_arm64
    write(program, fields.code, np.zeros_like, out)
    return out


def fields_of(program: Program) -> NamingFields:
    """Return what of ``program`` names a place."""
    code = _amd64(program) if program.machine == AMD64 else _arm64(program)
    pointers, words = _pointers(program)
    low, high = program.places.types, program.types_end - 80
    seen = np.concatenate([code.targets, words])
    seen = seen[(seen >= low) & (seen < high) & (seen % 8 == 0)]
    return NamingFields(code, pointers, (*_types(program, seen), *_functions(program)))


# -- code --


def _table(values: dict[int, int]) -> Bytes:
    made = np.zeros(256, np.uint8)
    for key, value in values.items():
        made[key] = value
    return made


_KINDS = _table(
    {0xE8: 1, 0xE9: 1} | dict.fromkeys(range(5, 64, 8), 2) | dict.fromkeys(range(0x80, 0x90), 3)
)
_MORE = _table(plain.AFTER)
_RELATIVE = _table(dict.fromkeys(plain.RELATIVE, 1))


def _amd64(program: Program) -> Code:
    data = np.frombuffer(program.data, np.uint8)
    entries = np.array(program.entries, np.int64)
    first, stop = program.text.offset, program.text.offset + program.text.stored - 4
    found: list[tuple[Ints, Ints, Ints]] = []
    free = 0
    for start in range(first, stop, _CHUNK):
        places, targets, more = _amd64_chunk(
            program, data, entries, start, min(start + _CHUNK, stop)
        )
        kept = _without_overlap(places, free)
        found.append((places[kept], targets[kept], more[kept]))
        if len(kept):
            free = int(places[kept[-1]]) + 4
    empty = np.zeros(0, np.int64)
    columns = [np.concatenate([empty, *column]) for column in zip(*found, strict=True)]
    return Code(*columns) if columns else Code(empty, empty, empty)


def _amd64_chunk(
    program: Program, data: Bytes, entries: Ints, start: int, end: int
) -> tuple[Ints, Ints, Ints]:
    text, base = program.text, program.text.address - program.text.offset
    kinds = _KINDS[data[start:end]]
    calls = np.flatnonzero(kinds & 1) + start + 1
    jumps = data[calls - 1] < 0x90
    calls = calls[~jumps | ((data[calls - 2] == 0x0F) & (calls > text.offset + 1))]
    targets = base + calls + 4 + read(program.data, "<i4", calls)
    inside = (targets >= text.address) & (targets < text.end)
    calls, targets = calls[inside], targets[inside]
    opcode = data[calls - 1]
    whose = np.searchsorted(entries, targets, "right")
    begins = (entries[np.maximum(whose - 1, 0)] == targets) & (opcode >= 0xE8)
    same = np.searchsorted(entries, base + calls, "right") == whose
    good = begins | (same != (opcode == 0xE8))
    relative = np.flatnonzero(kinds == 2) + start + 1
    relative = relative[_is_relative(data, relative)]
    more = _MORE[data[relative - 2]].astype(np.int64)
    named = base + relative + 4 + more + read(program.data, "<i4", relative)
    valid = (named >= program.low) & (named < program.high)
    relative, named, more = relative[valid], named[valid], more[valid]
    in_text = np.flatnonzero((named >= text.address) & (named < text.end))
    whose = np.searchsorted(entries, named[in_text], "right")
    valid = np.ones(len(named), bool)
    valid[in_text] = entries[np.maximum(whose - 1, 0)] == named[in_text]
    places = np.concatenate([calls[good], relative[valid]])
    order = np.argsort(places, kind="stable")
    all_targets = np.concatenate([targets[good], named[valid]])
    all_more = np.concatenate([np.zeros(int(good.sum()), np.int64), more[valid]])
    return places[order], all_targets[order], all_more[order]


def _is_relative(data: Bytes, at: Ints) -> NDArray[np.bool_]:
    before = data[at - 2]
    good: NDArray[np.bool_] = _RELATIVE[before] == 1
    good |= (data[at - 3] == 0x0F) & (before & 0xF0 != 0x80)
    good |= (data[at - 3] == 0x38) & (data[at - 4] == 0x0F)
    good |= (data[at - 4] == 0xC5) | (data[at - 5] == 0xC4) | (data[at - 6] == 0x62)
    return good


def _without_overlap(places: Ints, free: int) -> Ints:
    """Return the numbers of the places that are no less than 4 behind the one taken before."""
    taken = np.ones(len(places), bool)
    near = np.flatnonzero(np.diff(places, prepend=free - 4) < 4)
    for at in near.tolist():
        before = at - 1
        while before >= 0 and not taken[before]:
            before -= 1
        last = int(places[before]) if before >= 0 else free - 4
        taken[at] = places[at] - last >= 4
    return np.flatnonzero(taken)


def _write_amd64(program: Program, code: Code, mapping: Goes, out: bytearray) -> None:
    base = program.text.address - program.text.offset
    numbers = view(out, "<u4")
    for start in range(0, len(code.places), _CHUNK // 8):
        part = slice(start, start + _CHUNK // 8)
        places = code.places[part]
        values = mapping(code.targets[part]) - code.more[part] - mapping(base + places) - 4
        numbers[places] = values & NONE


def _arm64(program: Program) -> Code:
    text = program.text
    found: list[tuple[Ints, Ints, Ints]] = []
    words = np.frombuffer(program.data, "<u4", text.stored // 4, text.offset)
    for start in range(0, len(words), _CHUNK // 4):
        end = min(start + _CHUNK // 4, len(words))
        found.append(_arm64_chunk(program, words, start, end))
    empty = np.zeros(0, np.int64)
    columns = [np.concatenate([empty, *column]) for column in zip(*found, strict=True)]
    return Code(*columns) if columns else Code(empty, empty, empty)


def _arm64_chunk(
    program: Program, words: NDArray[np.uint32], start: int, end: int
) -> tuple[Ints, Ints, Ints]:
    text = program.text
    part = words[start : end + 1].astype(np.int64)
    own = part[: end - start]
    places, goals, more = [], [], []
    for number, (mask, wanted, bits, shift) in enumerate(plain.JUMPS):
        jumps = np.flatnonzero(own & mask == wanted)
        distance = ((own[jumps] >> shift & (1 << bits) - 1) ^ 1 << bits - 1) - (1 << bits - 1)
        targets = text.address + 4 * (start + jumps + distance)
        good = (targets >= text.address) & (targets < text.end)
        places.append(jumps[good])
        goals.append(targets[good])
        more.append(np.full(int(good.sum()), -1 - number, np.int64))
    pages = np.flatnonzero(part[:-1] & 0x9F000000 == 0x90000000)
    pages = pages[pages < len(own)]
    word, second = part[pages], part[pages + 1]
    is_add = second & 0xFFC00000 == 0x91000000
    fits = (second >> 5 & 31 == word & 31) & (is_add | (second & 0x3B000000 == 0x39000000))
    scale = np.where((second & 0x04800000 == 0x04800000) & (second >> 30 == 0), 4, second >> 30)
    scale = np.where(is_add, 0, scale)
    distance = ((word >> 29 & 3 | word >> 3 & 0x1FFFFC) ^ 0x100000) - 0x100000
    page = (text.address + 4 * (start + pages)) & ~0xFFF
    named = page + (distance << 12) + ((second >> 10 & 0xFFF) << scale)
    fits &= (named >= program.low) & (named < program.high)
    all_places = text.offset + 4 * (start + np.concatenate([*places, pages[fits]]))
    order = np.argsort(all_places, kind="stable")
    all_targets = np.concatenate([*goals, named[fits]])
    all_more = np.concatenate([*more, scale[fits]])
    return all_places[order], all_targets[order], all_more[order]


def _write_arm64(program: Program, code: Code, mapping: Goes, out: bytearray) -> None:
    base = program.text.address - program.text.offset
    numbers = view(out, "<u4")
    here, goal = mapping(base + code.places), mapping(code.targets)
    for number, (_, _, bits, shift) in enumerate(plain.JUMPS):
        own = code.more == -1 - number
        places = code.places[own]
        word = read(program.data, "<u4", places)
        mask = (1 << bits) - 1
        told = (goal[own] - here[own]) >> 2 & mask
        numbers[places] = word & ~(mask << shift) | told << shift
    jump = code.more < 0
    places, here, goal, scale = code.places[~jump], here[~jump], goal[~jump], code.more[~jump]
    word, second = read(program.data, "<u4", places), read(program.data, "<u4", places + 4)
    pages = (goal >> 12) - (here >> 12) & 0x1FFFFF
    numbers[places] = word & 0x9F00001F | (pages & 3) << 29 | pages >> 2 << 5
    numbers[places + 4] = second & ~0x3FFC00 | (goal & 0xFFF) >> scale << 10


# -- data --


def _pointers(program: Program) -> tuple[Ints, Ints]:
    places: list[Ints] = [np.zeros(0, np.int64)]
    words: list[Ints] = [np.zeros(0, np.int64)]
    for section in plain.data_sections(program):
        start = section.offset + -section.offset % 8
        count = max(section.offset + section.stored - start, 0) // 8
        values = np.frombuffer(program.data, "<u8", count, start)
        good = np.flatnonzero((values >= program.text.address) & (values < program.high))
        places.append(start + 8 * good)
        words.append(values[good].astype(np.int64))
    return np.concatenate(places), np.concatenate(words)


def _types(program: Program, seen: Ints) -> Sequence[Offsets]:
    places, data = program.places, program.data
    linked = np.zeros(0, np.int64)
    if section := program.section(b".typelink"):
        linked = section.offset + 4 * np.arange(section.stored // 4)
        values = places.types + read(data, "<u4", linked)
        seen = np.concatenate([seen, values])
        seen = seen[(seen < program.types_end - 80) & (seen % 8 == 0)]
    seen = np.concatenate([seen, np.array(program.descriptors, np.int64)])
    first = program.layout.offset(places.types, 0)
    at = _descriptors(program, first + np.unique(seen) - places.types)
    span = program.types_end - places.types
    of_types = [at + 40, at + 44]
    of_text = []
    kind = read(data, "u1", at + 23) & 31
    sizes = np.full(32, 48)
    for number, size in (plain.SIZES | {plain.MAP: program.form.map_size}).items():
        sizes[number] = size
    named = read(data, "u1", at + 20) & 1 == 1
    more = at[named] + sizes[kind[named]]
    more = more[more + 16 <= first + span]
    count, methods = read(data, "<u2", more + 4), read(data, "<u4", more + 8)
    good = (count < plain.MOST_METHODS) & (methods >= 16) & (methods < 1 << 20)
    good &= read(data, "<u4", more) < span
    of_types.append(more[good])
    method = _series(more[good] + methods[good], count[good], 16)
    method = method[method < first + span - 15]
    of_types += [method, method + 4]
    of_text += [method + 8, method + 12]
    faces = at[kind == plain.INTERFACE]
    start, count = read(data, "<i8", faces + 56), read(data, "<u8", faces + 64)
    good = (count >= 0) & (count < plain.MOST_METHODS)
    good &= (start >= places.types) & (start < program.types_end)
    method = _series(first + start[good] - places.types, count[good], 8)
    method = method[method < first + span - 7]
    of_types += [method, method + 4]
    if sum(map(len, of_types)) > len(data) // 8:
        raise DeltaError("the types of the program overlap")
    return (
        Offsets(linked, "types"),
        Offsets(np.unique(np.concatenate(of_types)), "types"),
        Offsets(np.unique(np.concatenate(of_text)), "text"),
    )


def _descriptors(program: Program, at: Ints) -> Ints:
    """Return which of the places in the file look like the descriptor of a type."""
    data, span = program.data, program.types_end - program.places.types
    kind = read(data, "u1", at + 23) & 31
    size, pointers = read(data, "<i8", at), read(data, "<i8", at + 8)
    good = (read(data, "u1", at + 20) < 128) & (kind >= 1) & (kind <= 26)
    for field in (21, 22):
        good &= np.isin(read(data, "u1", at + field), (1, 2, 4, 8))
    good &= (size >= 0) & (size < 1 << 32) & (pointers >= 0) & (pointers <= size)
    for field in (24, 32):
        value = read(data, "<i8", at + field)
        good &= (value == 0) | ((value >= program.low) & (value < program.high))
    name, pointer = read(data, "<u4", at + 40), read(data, "<u4", at + 44)
    good &= (name > 0) & (name < span) & (pointer < span)
    return at[good]


def _series(starts: Ints, counts: Ints, step: int) -> Ints:
    """Return ``counts`` numbers from each of ``starts`` on."""
    if int(counts.sum()) > 1 << 27:
        raise DeltaError("the types of the program overlap")
    begins = np.repeat(starts, counts)
    return begins + step * (np.arange(len(begins)) - np.repeat(np.cumsum(counts) - counts, counts))


# -- function tables --


def _functions(program: Program) -> Sequence[Offsets]:
    data, places = program.data, program.places
    offset = program.layout.offset
    pairs = offset(places.functions, 0) + 8 * np.arange(places.count + 1)
    records = np.array(program.records, np.int64)
    lists, kinds = read(data, "<u4", records + 28), read(data, "u1", records + 43)
    after = records + FUNCTION_HEAD
    tables = [records + 16, records + 20, records + 24, _series(after, lists, 4)]
    fields = _series(after + 4 * lists, kinds, 4)
    kind = fields - np.repeat(after + 4 * lists, kinds) >> 2
    values = read(data, "<u4", fields)
    told = values != NONE
    begins = np.unique(values[told])
    first = offset(places.funcdata, 0)
    ends = np.append(begins[1:], begins[-1:])

    def special(number: int) -> tuple[Ints, Ints]:
        own = np.unique(values[told & (kind == number)])
        return own, ends[np.searchsorted(begins, own)] - own

    own, room = special(plain.INLINE_TREE)
    names = first + _series(own + 4, room // 16, 16)
    own, room = special(plain.STACK_OBJECTS)
    own, room = own[room > 0], room[room > 0]
    inside = first + own + 8 <= len(data)
    own, room = own[inside], room[inside]
    count = read(data, "<u8", first + own)
    good = (count >= 0) & (count <= (room - 8) // 16)
    masks = first + _series(own[good] + 20, count[good], 16)
    wrapped = first + special(plain.WRAPPED)[0]
    limit = len(data) - 3
    units = np.arange(offset(places.units, 0), offset(places.files, 0) - 3, 4)
    return (
        Offsets(pairs, "text"),
        Offsets(pairs[:-1] + 4, "functions"),
        Offsets(records, "text"),
        Offsets(records + 4, "names"),
        Offsets(records + 32, "units", 4),
        Offsets(np.sort(np.concatenate(tables)), "tables"),
        Offsets(fields, "funcdata"),
        Offsets(units, "files"),
        Offsets(names[names < limit], "names"),
        Offsets(masks[masks < limit], "constants"),
        Offsets(wrapped[wrapped < limit], "text"),
    )
