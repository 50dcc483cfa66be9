"""Format 1 of a delta of Go programs: what is written, and how the new program is made of it.

docs/deltas.md describes it byte for byte. It is frozen: what these lines make of a delta never
changes, and what shall be made otherwise gets another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256

from isobuilder.delta import borrowed, streams
from isobuilder.delta.borrowed import Borrowed
from isobuilder.delta.golang.headers import rewrite_headers
from isobuilder.delta.golang.moves import Moves, copies, expected
from isobuilder.delta.golang.program import (
    Anchors,
    Form,
    Layout,
    Program,
    Section,
    find_table,
    read_program,
    unsigned,
)
from isobuilder.delta.methods import DeltaError

_NUMBER = 1
_CHECK = 8  # bytes of the SHA-256 of the new program
_STREAMS = 8
_FURTHEST = 1 << 50  # no difference of two addresses is more
_FORM, _PLACES = len(fields(Form)), len(fields(Anchors))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of the new file."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class GoDelta:
    """What is told of the new program."""

    check: bytes
    form: Form
    layout: Layout  # of the new program
    places: tuple[int, ...]  # of the new program, each less that of the old one
    starts: Sequence[int]  # of runs of addresses that moved
    shifts: Sequence[int]  # how far
    pieces: list[Borrowed]  # taken from the rewritten old file, over what moved
    dense: list[Stretch]  # told as they are, over all that
    spots: Sequence[int]  # bytes of the new file that differ from what was predicted
    values: bytes  # and by how much
    literals: bytes


def check_of(new: bytes) -> bytes:
    """Return what a delta tells of the program that it makes."""
    return sha256(new).digest()[:_CHECK]


# -- writing --


def to_bytes(delta: GoDelta, old: Layout) -> bytes:
    """Return the bytes of a delta."""
    head = [getattr(delta.form, field.name) for field in fields(Form)]
    head += delta.places
    for number, section in enumerate(delta.layout.sections):
        head += [a - b for a, b in zip(_told(section), _like(old, number), strict=True)]
    dense: list[int] = []
    end = 0
    for run in delta.dense:
        dense += [run.start - end, run.size]
        end = run.start + run.size
    return (
        bytes([_NUMBER])
        + delta.check
        + streams.packed(
            (
                streams.signed(head),
                streams.numbers(streams.steps(delta.starts)),
                streams.signed(streams.steps(delta.shifts)),
                borrowed.written(delta.pieces),
                streams.numbers(dense),
                streams.numbers(streams.steps(delta.spots)),
                delta.values,
                delta.literals,
            )
        )
    )


def _told(section: Section) -> tuple[int, int, int, int]:
    return section.address, section.offset, section.size, section.size - section.stored


def _like(old: Layout, number: int) -> tuple[int, int, int, int]:
    """Return what a section of the new program is told against: the old one of that number."""
    return _told(old.sections[number]) if number < len(old.sections) else (0, 0, 0, 0)


# -- reading --


def form_of(data: bytes, size: int) -> tuple[Form, list[bytes]]:
    """Return the form of the program that a delta is for, and the delta's streams.

    Raises:
        DeltaError: no delta of format 1, or a damaged one.
    """
    if data[:1] != bytes([_NUMBER]) or len(data) < 1 + _CHECK:
        raise DeltaError(f"its format is {data[0] if data else 'none'}, and {_NUMBER} is known")
    parts = streams.unpacked(data[1 + _CHECK :], _STREAMS, size + size // 8 + 65536)
    # A number costs some twenty bytes of memory, a run or piece some two hundred; what a maker
    # writes of the next minor release of a program is half of this.
    if sum(map(len, parts[:6])) > size // 16 + 65536 or any(
        len(part) > size // 64 + 16384 for part in parts[1:5]
    ):
        raise DeltaError("the delta has more numbers than it may")
    head = streams.read_signed(parts[0])
    if len(head) < _FORM + _PLACES or not all(0 <= number < 256 for number in head[:_FORM]):
        raise DeltaError("the delta has no head that can be read")
    return Form(*head[:_FORM]), parts


def read_delta(data: bytes, parts: list[bytes], form: Form, old: Layout, size: int) -> GoDelta:
    """Return what a delta tells of the new program, which has ``size`` bytes."""
    head = streams.read_signed(parts[0])[_FORM:]
    starts = streams.summed(streams.read_numbers(parts[1]))
    shifts = streams.summed(streams.read_signed(parts[2]))
    spots = streams.summed(streams.read_numbers(parts[5]))
    if len(starts) != len(shifts) or any(abs(shift) > _FURTHEST for shift in shifts):
        raise DeltaError("the delta has runs that go nowhere")
    if len(spots) != len(parts[6]) or (spots and spots[-1] >= size):
        raise DeltaError("the delta corrects bytes that there are not")
    return GoDelta(
        check=data[1 : 1 + _CHECK],
        form=form,
        layout=Layout(list(_sections(head[_PLACES:], old, size)), size),
        places=tuple(head[:_PLACES]),
        starts=starts,
        shifts=shifts,
        pieces=list(borrowed.read(parts[3], old.size, size)),
        dense=list(_runs(streams.read_numbers(parts[4]), size)),
        spots=spots,
        values=parts[6],
        literals=parts[7],
    )


def _sections(told: Sequence[int], old: Layout, size: int) -> Iterator[Section]:
    if len(told) % 4 or len(told) > 4 * 256:
        raise DeltaError("the delta has sections that cannot be read")
    end = 0
    for number in range(len(told) // 4):
        values = zip(told[4 * number : 4 * number + 4], _like(old, number), strict=True)
        address, offset, length, absent = (a + b for a, b in values)
        stored = length - absent
        if not (end <= address < _FURTHEST and 0 <= absent <= length <= _FURTHEST):
            raise DeltaError("the delta has sections that overlap")
        if offset < 0 or (stored and offset + stored > size):
            raise DeltaError("the delta has sections that are not in the file")
        end = address + length
        yield Section(b"", address, offset, length, stored)


def _runs(told: Sequence[int], size: int) -> Iterator[Stretch]:
    end = 0
    if len(told) % 2:
        raise DeltaError("the delta has a run that is cut off")
    for gap, length in zip(told[0::2], told[1::2], strict=True):
        if end + gap + length > size:
            raise DeltaError("the delta has a run beyond the end")
        yield Stretch(end + gap, length)
        end += gap + length


# -- applying --


def _moves_of(delta: GoDelta, program: Program) -> tuple[Moves, Anchors]:
    """Return where everything went, and the new places."""
    pairs = zip(program.places.all(), delta.places, strict=True)
    after = Anchors(*(place + difference for place, difference in pairs))
    if any(not 0 <= place < _FURTHEST for place in after.all()):
        raise DeltaError("the delta has a place that no program has")
    known = expected(program.layout, delta.layout, program.places, after)
    return Moves([*known.items(), *zip(delta.starts, delta.shifts, strict=True)]), after


def copied(rewritten: bytearray, taken: list[Borrowed], size: int) -> bytearray:
    """Return a file of what is taken from another one, in that order, and zeros elsewhere."""
    made = bytearray(size)
    source = memoryview(rewritten)
    for copy in taken:
        made[copy.target : copy.target + copy.size] = source[copy.source : copy.source + copy.size]
    return made


def find_run(layout: Layout, after: Anchors) -> Stretch:
    """Return where the table that is computed lies: 4 bytes for 4,096 of code, and 1 for 256."""
    text = layout.piece_at(after.text)
    if text is None:
        raise DeltaError("the delta has no code")
    code = text.end - after.text
    size = (code + 4095) // 4096 * 4 + (code + 255) // 256
    return Stretch(layout.offset(after.find, size), size)


def computed(made: bytes | bytearray, layout: Layout, after: Anchors) -> bytes:
    """Return the table by which functions are found, of the function tables in ``made``."""
    text = layout.piece_at(after.text)
    start = layout.offset(after.functions, 8 * after.count + 4)
    pairs = unsigned("I", made[start : start + 8 * after.count + 4])
    end = after.text if text is None else text.end
    return find_table(pairs[0::2], end - after.text)


def untold(taken: list[Borrowed], dense: list[Stretch], find: Stretch, size: int) -> list[Stretch]:
    """Return the runs of the new file that are told as they are, in its order.

    They are what nothing was copied to and what is not computed, and all of ``dense``.
    """
    covered = [Stretch(copy.target, copy.size) for copy in taken]
    covered = sorted([*covered, find], key=lambda run: run.start)
    told = list(dense)
    at = 0
    for run in (*covered, Stretch(size, 0)):
        if run.start > at:
            told.append(Stretch(at, run.start - at))
        at = max(at, run.start + run.size)
    return _joined(told)


def _joined(runs: list[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for run in sorted(runs, key=lambda run: run.start):
        if joined and run.start <= joined[-1].start + joined[-1].size:
            last = joined[-1]
            end = max(last.start + last.size, run.start + run.size)
            joined[-1] = Stretch(last.start, end - last.start)
        elif run.size:
            joined.append(run)
    return joined


Rewrite = Callable[[Program, Moves, Anchors], bytearray]
"""``plain.rewritten``, or what gives the same bytes."""


def applied(old: bytes, data: bytes, size: int, rewritten: Rewrite) -> bytes:
    """Return the ``size`` bytes that a delta of format 1 makes of ``old``.

    Raises:
        DeltaError: it is damaged, or of another program.
    """
    form, parts = form_of(data, size)
    program = read_program(old, form)
    delta = read_delta(data, parts, form, program.layout, size)
    moves, after = _moves_of(delta, program)
    find = find_run(delta.layout, after)
    taken = [*copies(moves, program.layout, delta.layout), *delta.pieces]
    out = rewritten(program, moves, after)
    rewrite_headers(out, program, moves, delta.layout)
    made = copied(out, taken, size)
    del out
    runs = untold(taken, delta.dense, find, size)
    if sum(run.size for run in runs) != len(delta.literals):
        raise DeltaError("the delta tells more or fewer bytes than it shall")
    at = 0
    for run in runs:
        made[run.start : run.start + run.size] = delta.literals[at : at + run.size]
        at += run.size
    last = find.start + find.size
    for spot, value in zip(delta.spots, delta.values, strict=True):
        if not find.start <= spot < last:
            made[spot] = made[spot] + value & 255
    made[find.start : last] = computed(made, delta.layout, after)
    for spot, value in zip(delta.spots, delta.values, strict=True):
        if find.start <= spot < last:
            made[spot] = made[spot] + value & 255
    new = bytes(made)
    if len(new) != size or check_of(new) != delta.check:
        raise DeltaError("the delta makes something else of this: it is damaged or of another base")
    return new
