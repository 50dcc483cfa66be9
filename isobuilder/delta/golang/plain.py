"""The old program with everything in it that names a place rewritten, in plain Python.

What is rewritten is found by its look alone, so a delta needs no list of it. Where a look deceives,
the bytes are told in the delta as any others that the prediction missed. What is read is always the
old program and what is written the new one, so the order matters only where two looks disagree.

Sources: Intel's manual, volume 2 (ModRM, RIP-relative addresses); Arm's manual, C6.2 (B, BL, ADRP,
ADD, LDR, STR); Go's ``internal/abi/type.go``, ``internal/abi/symtab.go``, ``runtime/stack.go``
(``stackObjectRecord``), ``runtime/symtabinl.go`` (``inlinedCall``).
"""

from __future__ import annotations

import re
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from isobuilder.delta.golang.moves import Moves
from isobuilder.delta.golang.program import (
    AMD64,
    FUNCTION_HEAD,
    NONE,
    Anchors,
    Program,
    Section,
    unsigned,
)
from isobuilder.delta.methods import DeltaError

STACK_OBJECTS, INLINE_TREE, WRAPPED = 2, 3, 7
"""Kinds of funcdata that have places in them."""

SIZES = {17: 72, 18: 64, 19: 56, 20: 80, 22: 56, 23: 56, 25: 80}
"""Bytes of the descriptor of a type of each kind; of others 48. Maps differ: ``Form.map_size``."""

MAP, INTERFACE = 21, 20
MOST_METHODS = 4000
AFTER = {0x80: 1, 0x83: 1, 0xC0: 1, 0xC1: 1, 0xC6: 1, 0x81: 4, 0xC7: 4}
"""Opcodes with bytes between the address and the end of the instruction, and how many."""

RELATIVE = bytes.fromhex("01030b131b2931333839 3b63 8081 838485 88898a8b 8d c6c7 f7 ff 2b")
"""Opcodes of one byte behind which an address relative to the program counter is believed."""

# CALL, JMP, what is relative to the program counter, and jumps on a condition.
_CANDIDATE = re.compile(rb"[\xe8\xe9\x05\x0d\x15\x1d\x25\x2d\x35\x3d]|\x0f[\x80-\x8f]")
_DESCRIPTOR = struct.Struct("<QQIBBBBQQII")  # abi.Type


def rewritten(program: Program, moves: Moves, after: Anchors) -> bytearray:
    """Return the bytes of ``program`` as they are where ``moves`` tells that everything went.

    Raises:
        DeltaError: the program is not what it says that it is.
    """
    work = _Rewriting(program, moves, after)
    if program.machine == AMD64:
        work.code_amd64()
    else:
        work.code_arm64()
    for section in data_sections(program):
        work.pointers(section)
    work.type_descriptors()
    work.function_tables()
    return work.out


def data_sections(program: Program) -> Iterator[Section]:
    """Yield the sections whose words may be addresses."""
    for section in program.layout.sections:
        other = section.name in {b".text", b".gopclntab", b".typelink"}
        if section.stored and not other and not section.name.startswith(b".note"):
            yield section


class _Rewriting:
    def __init__(self, program: Program, moves: Moves, after: Anchors) -> None:
        self.program, self.moves = program, moves
        self.before, self.after = program.places, after
        self.data = program.data
        self.out = bytearray(program.data)
        self.targets: set[int] = set()  # where there may be the descriptor of a type

    # -- code --

    def code_amd64(self) -> None:
        """Rewrite calls and jumps to functions, and what is relative to the program counter."""
        program, data, out, moves = self.program, self.data, self.out, self.moves
        text, entries = program.text, program.entries
        starts_of_functions = set(entries)
        first, low, high = text.offset, program.low, program.high
        text_low, text_high = text.address, text.end
        types_low, types_high = self.before.types, program.types_end - 80
        base = text.address - first
        free = 0  # the first byte that no field has yet
        stop = first + text.stored - 4
        for match in _CANDIDATE.finditer(data, first, stop):
            at = match.end()
            if at < free or at > stop:
                continue
            opcode = data[at - 1]
            more = 0
            target = base + at + 4 + int.from_bytes(data[at : at + 4], "little", signed=True)
            if opcode & 0x80:
                if not text_low <= target < text_high:
                    continue
                same = bisect_right(entries, base + at) == bisect_right(entries, target)
                if same == (opcode == 0xE8) and (
                    opcode & 0xFE != 0xE8 or target not in starts_of_functions
                ):
                    continue
            else:
                before = data[at - 2]
                if before not in RELATIVE and not _is_long(data, at):
                    continue
                more = AFTER.get(before, 0)
                target += more
                if not low <= target < high:
                    continue
                if text_low <= target < text_high:
                    if target not in starts_of_functions:
                        continue
                elif types_low <= target < types_high and target % 8 == 0:
                    self.targets.add(target)
            free = at + 4
            value = moves(target) - more - moves(base + at) - 4
            out[at : at + 4] = (value & NONE).to_bytes(4, "little")

    def code_arm64(self) -> None:
        """Rewrite branches to other functions, and pairs that begin with ADRP."""
        program, moves = self.program, self.moves
        text = program.text
        size = text.stored // 4 * 4
        words = unsigned("I", self.data[text.offset : text.offset + size])
        types_low, types_high = self.before.types, program.types_end - 80
        made = array("I", words)
        for number, word in enumerate(words):
            here = text.address + 4 * number
            if word & 0x14000000 and (form := _jump_form(word)) is not None:
                bits, shift = form
                mask = (1 << bits) - 1
                half = 1 << bits - 1
                target = here + 4 * (((word >> shift & mask) ^ half) - half)
                if text.address <= target < text.end:
                    goes = (moves(target) - moves(here)) >> 2 & mask
                    made[number] = word & ~(mask << shift) | goes << shift
            elif word & 0x9F000000 == 0x90000000 and number + 1 < len(words):  # ADRP
                second = words[number + 1]
                scale = _second_scale(second, word & 31)
                if scale is None:
                    continue
                pages = ((word >> 29 & 3 | word >> 3 & 0x1FFFFC) ^ 0x100000) - 0x100000
                target = (here & ~0xFFF) + (pages << 12) + ((second >> 10 & 0xFFF) << scale)
                if not program.low <= target < program.high:
                    continue
                if types_low <= target < types_high and target % 8 == 0:
                    self.targets.add(target)
                goal = moves(target)
                pages = (goal >> 12) - (moves(here) >> 12) & 0x1FFFFF
                made[number] = word & 0x9F00001F | (pages & 3) << 29 | pages >> 2 << 5
                made[number + 1] = second & ~0x3FFC00 | (goal & 0xFFF) >> scale << 10
        if sys.byteorder == "big":
            made.byteswap()
        self.out[text.offset : text.offset + size] = made.tobytes()

    # -- data --

    def pointers(self, section: Section) -> None:
        """Rewrite the words of a section that may be addresses."""
        program, moves, out = self.program, self.moves, self.out
        start = section.offset + -section.offset % 8
        count = max(section.offset + section.stored - start, 0) // 8
        low, high = program.text.address, program.high
        types_low, types_high = self.before.types, program.types_end - 80
        for number, word in enumerate(unsigned("Q", self.data[start : start + 8 * count])):
            if low <= word < high:
                at = start + 8 * number
                out[at : at + 8] = moves(word).to_bytes(8, "little", signed=True)
                if types_low <= word < types_high and word % 8 == 0:
                    self.targets.add(word)

    def _offsets(self, places: Iterable[int], base: int, goal: int, unit: int = 1) -> None:
        """Rewrite offsets of 32 bits, in ``unit`` bytes from ``base`` on, at places of the file."""
        data, out, moves = self.data, self.out, self.moves
        for at in places:
            raw = data[at : at + 4]
            value = int.from_bytes(raw, "little")
            if value not in (0, NONE) and len(raw) == 4:
                moved = (moves(base + unit * value) - goal) // unit & NONE
                out[at : at + 4] = moved.to_bytes(4, "little")

    def type_descriptors(self) -> None:
        """Rewrite what descriptors of types say of names, types and methods."""
        before = self.before
        linked: range = range(0)
        if section := self.program.section(b".typelink"):
            linked = range(section.offset, section.offset + section.stored // 4 * 4, 4)
            for at in linked:
                target = before.types + int.from_bytes(self.data[at : at + 4], "little")
                if target < self.program.types_end - 80 and target % 8 == 0:
                    self.targets.add(target)
        self.targets.update(self.program.descriptors)
        of_types: list[int] = []
        of_text: list[int] = []
        first = self.program.layout.offset(before.types, 0)
        end = first + self.program.types_end - before.types
        for target in sorted(self.targets):
            self._descriptor(first + target - before.types, end, of_types, of_text)
            if len(of_types) > len(self.data) // 8:
                raise DeltaError("the types of the program overlap")
        self.targets.clear()
        self._offsets(linked, before.types, self.after.types)
        self._offsets(sorted(of_types), before.types, self.after.types)
        self._offsets(sorted(of_text), before.text, self.after.text)

    def _descriptor(self, at: int, end: int, of_types: list[int], of_text: list[int]) -> None:
        """Note the offsets of the descriptor at ``at``, if it is one; types end at ``end``."""
        program, data = self.program, self.data
        size, pointers, _, flags, align, field_align, kind, equal, mask, name, pointer = (
            _DESCRIPTOR.unpack_from(data, at)
        )
        kind &= 31
        span = program.types_end - self.before.types
        if (
            flags >= 128
            or align not in (1, 2, 4, 8)
            or field_align not in (1, 2, 4, 8)
            or not 1 <= kind <= 26
            or size >= 1 << 32
            or pointers > size
            or (equal and not program.low <= equal < program.high)
            or (mask and not program.low <= mask < program.high)
            or not 0 < name < span
            or pointer >= span
        ):
            return
        of_types += (at + 40, at + 44)
        if flags & 1:
            more = at + (program.form.map_size if kind == MAP else SIZES.get(kind, 48))
            if more + 16 <= end:
                path, count, _, methods, _ = struct.unpack_from("<IHHII", data, more)
                if count < MOST_METHODS and 16 <= methods < 1 << 20 and path < span:
                    of_types.append(more)
                    begin = more + methods
                    for method in range(begin, min(begin + 16 * count, end - 15), 16):
                        of_types += (method, method + 4)
                        of_text += (method + 8, method + 12)
        if kind == INTERFACE:
            start, count = struct.unpack_from("<QQ", data, at + 56)
            if count < MOST_METHODS and self.before.types <= start < program.types_end:
                begin = end - span + start - self.before.types
                for method in range(begin, min(begin + 8 * count, end - 7), 8):
                    of_types += (method, method + 4)

    # -- function tables --

    def function_tables(self) -> None:
        """Rewrite what is told of functions: entries, names, files, tables and funcdata."""
        program, data, before, after = self.program, self.data, self.before, self.after
        offset = program.layout.offset
        pairs = offset(before.functions, 0)
        end = pairs + 8 * before.count
        self._offsets(range(pairs, end + 1, 8), before.text, after.text)
        self._offsets(range(pairs + 4, end, 8), before.functions, after.functions)
        records = program.records
        self._offsets(records, before.text, after.text)
        self._offsets((at + 4 for at in records), before.names, after.names)
        self._offsets((at + 32 for at in records), before.units, after.units, 4)
        tables = (at + field for at in records for field in (16, 20, 24))
        self._offsets(tables, before.tables, after.tables)
        all_data: set[int] = set()
        special: dict[int, list[int]] = {STACK_OBJECTS: [], INLINE_TREE: [], WRAPPED: []}
        for at in records:
            count = int.from_bytes(data[at + 28 : at + 32], "little")
            start = at + FUNCTION_HEAD + 4 * count
            stop = start + 4 * data[at + 43]
            self._offsets(range(at + FUNCTION_HEAD, start, 4), before.tables, after.tables)
            self._offsets(range(start, stop, 4), before.funcdata, after.funcdata)
            for kind, value in enumerate(unsigned("I", data[start:stop])):
                if value != NONE:
                    all_data.add(value)
                    if kind in special:
                        special[kind].append(value)
        units = range(offset(before.units, 0), offset(before.files, 0) - 3, 4)
        self._offsets(units, before.files, after.files)
        self._funcdata(sorted(all_data), special)

    def _funcdata(self, everything: list[int], special: dict[int, list[int]]) -> None:
        data, before, after = self.data, self.before, self.after
        first = self.program.layout.offset(before.funcdata, 0)
        begins = array("Q", everything)
        names: list[int] = []
        masks: list[int] = []
        for value in sorted(set(special[INLINE_TREE])):
            following = bisect_right(begins, value)
            if following < len(begins):
                count = (begins[following] - value) // 16
                names += range(first + value + 4, first + value + 4 + 16 * count, 16)
        for value in sorted(set(special[STACK_OBJECTS])):
            following = bisect_right(begins, value)
            if following < len(begins) and first + value + 8 <= len(data):
                count = int.from_bytes(data[first + value : first + value + 8], "little")
                most = (begins[following] - value - 8) // 16
                if count <= most:
                    start = first + value + 20
                    masks += range(start, start + 16 * count, 16)
        wrapped = sorted({first + value for value in special[WRAPPED]})
        size = len(data) - 3
        self._offsets((at for at in names if at < size), before.names, after.names)
        self._offsets((at for at in masks if at < size), before.constants, after.constants)
        self._offsets((at for at in wrapped if at < size), before.text, after.text)


def _is_long(data: bytes, at: int) -> bool:
    """Return whether an opcode of several bytes and its ModRM seem to end before ``at``."""
    return (
        (data[at - 3] == 0x0F and data[at - 2] & 0xF0 != 0x80)
        or (data[at - 3] == 0x38 and data[at - 4] == 0x0F)
        or data[at - 4] == 0xC5
        or data[at - 5] == 0xC4
        or data[at - 6] == 0x62
    )


JUMPS = (
    (0x7C000000, 0x14000000, 26, 0),  # B, BL
    (0xFF000010, 0x54000000, 19, 5),  # B on a condition
    (0x7E000000, 0x34000000, 19, 5),  # CBZ, CBNZ
    (0x7E000000, 0x36000000, 14, 5),  # TBZ, TBNZ
)
"""Branches of arm64: which bits tell them, and how many from which on tell where to, in words."""


def _jump_form(word: int) -> tuple[int, int] | None:
    """Return how many bits of ``word`` from which on tell where it branches to."""
    for mask, wanted, bits, shift in JUMPS:
        if word & mask == wanted:
            return bits, shift
    return None


def _second_scale(word: int, register: int) -> int | None:
    """Return by what the number in ``word`` is shifted, if it goes on with an address of ADRP."""
    if word >> 5 & 31 != register:
        return None
    if word & 0xFFC00000 == 0x91000000:  # ADD, not shifted
        return 0
    if word & 0x3B000000 == 0x39000000:  # LDR, STR with a number without sign
        size = word >> 30
        return 4 if word & 0x04800000 == 0x04800000 and size == 0 else size
    return None
