"""Deltas of Go programs."""

from __future__ import annotations

import hashlib
import random

import pytest

from isobuilder.delta import golang
from isobuilder.delta.golang import format1, plain
from isobuilder.delta.golang.moves import Moves
from isobuilder.delta.golang.program import FORMS, read_program
from isobuilder.delta.methods import DeltaError, methods
from tests.delta.golang.golden import ARCHITECTURES, GO, MADE, base, delta, later


def both_ways() -> list[format1.Rewrite]:
    ways: list[format1.Rewrite] = [plain.rewritten]
    if golang.has_numpy():
        from isobuilder.delta.golang import fast

        ways.append(fast.rewritten)
    return ways


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_delta_that_was_made_once_applies_for_ever(architecture: str) -> None:
    size, digest = MADE[architecture]
    for way in both_ways():
        new = format1.applied(base(architecture), delta(architecture), size, way)
        assert hashlib.sha256(new).hexdigest() == digest


def test_the_method_is_in_the_table() -> None:
    assert methods()[10].name == "go"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_made_applies_and_has_not_grown(architecture: str) -> None:
    pytest.importorskip("numpy")
    old, new = base(architecture), later(architecture)
    made = GO.make(old, new)
    assert made is not None
    assert GO.apply(old, made, len(new)) == new
    assert len(made) <= len(delta(architecture)) * 1.02


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_way_back_is_a_delta_too(architecture: str) -> None:
    pytest.importorskip("numpy")
    old, new = later(architecture), base(architecture)
    made = GO.make(old, new)
    assert made is not None
    assert GO.apply(old, made, len(new)) == new


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_numpy_and_plain_python_rewrite_alike_wherever_things_move(architecture: str) -> None:
    fast = pytest.importorskip("isobuilder.delta.golang.fast", exc_type=ImportError)
    program = read_program(base(architecture), FORMS[0])
    for seed in range(6):
        chance = random.Random(seed)
        starts = [chance.randrange(program.low, program.high) for _ in range(200)]
        if seed % 2:
            starts += chance.sample(list(program.entries), 200)
        moves = Moves((start, 4 * chance.randrange(-5000, 5000)) for start in starts)
        one = plain.rewritten(program, moves, program.places)
        assert one == fast.rewritten(program, moves, program.places)
        assert one != program.data


@pytest.mark.parametrize("seed", range(4))
def test_whatever_runs_a_maker_finds_its_delta_applies(seed: int) -> None:
    make = pytest.importorskip("isobuilder.delta.golang.make", exc_type=ImportError)
    voting = pytest.importorskip("isobuilder.delta.golang.voting", exc_type=ImportError)
    old, new = base("amd64"), later("amd64")
    search = voting.Search(read_program(old, FORMS[0]), read_program(new, FORMS[0]))
    chance = random.Random(seed)
    text = search.old.text
    starts = [chance.randrange(text.address, text.end) for _ in range(200)]
    # Few differences: runs lead across each other, and many go on as the one before did.
    moves = Moves((start, chance.choice((0, 0, 0, 0, 8192, -65536))) for start in starts)
    delta = make.delta_by(search, moves)
    assert GO.apply(old, delta, len(new)) == new


def test_a_program_that_stays_as_it_is_costs_next_to_nothing() -> None:
    pytest.importorskip("numpy")
    old = base("amd64")
    made = GO.make(old, old)
    assert made is not None
    assert GO.apply(old, made, len(old)) == old
    assert len(made) < 200


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b""),
        (b"text", b"text"),
        (b"\x7fELF\x02\x01" + bytes(200), b"\x7fELF\x02\x01" + bytes(200)),
    ],
)
def test_what_is_no_program_of_go_is_left_to_other_methods(old: bytes, new: bytes) -> None:
    assert GO.make(old, new) is None
    assert GO.make(base("amd64"), new) is None
    assert GO.make(old, base("amd64")) is None


def test_programs_of_two_architectures_have_no_delta() -> None:
    assert GO.make(base("amd64"), base("arm64")) is None


def test_a_program_that_is_cut_off_is_left_to_other_methods() -> None:
    old = base("amd64")
    for size in (64, 4096, 400_000, len(old) - 200):
        assert GO.make(old[:size], old) is None


def test_without_numpy_nothing_is_made_and_everything_applies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(golang, "has_numpy", lambda: False)
    assert GO.make(base("amd64"), later("amd64")) is None
    new = GO.apply(base("amd64"), delta("amd64"), MADE["amd64"][0])
    assert hashlib.sha256(new).hexdigest() == MADE["amd64"][1]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return ``data`` with a few bytes changed, cut out or doubled."""
    made = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(made))
        match chance.randrange(5):
            case 0:
                del made[at : at + chance.randrange(1, 9)]
            case 1:
                made[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 2:
                del made[at:]
            case _:
                made[at] = chance.randrange(256)
        made = made or bytearray(b"x")
    return bytes(made)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_delta_is_refused_or_right(seed: int) -> None:
    chance = random.Random(seed)
    architecture = chance.choice(ARCHITECTURES)
    refused_or_right(base(architecture), damaged(delta(architecture), chance), architecture)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_base_is_refused_or_right(seed: int) -> None:
    chance = random.Random(seed)
    architecture = chance.choice(ARCHITECTURES)
    made = bytearray(base(architecture))
    program = read_program(bytes(made), FORMS[0])
    spots = [chance.randrange(1024), chance.randrange(len(made))]
    table = program.layout.offset(program.places.functions, 0)
    spots.append(chance.randrange(program.table.offset, program.table.offset + 72))
    spots.append(chance.randrange(table, len(made)))
    for spot in chance.sample(spots, chance.randrange(1, 4)):
        made[spot : spot + 4] = chance.choice((b"\xff\xff\xff\xff", bytes(4), chance.randbytes(4)))
    refused_or_right(bytes(made), delta(architecture), architecture)


def refused_or_right(old: bytes, told: bytes, architecture: str) -> None:
    size, digest = MADE[architecture]
    answers = set()
    for way in both_ways():
        try:
            answers.add(hashlib.sha256(format1.applied(old, told, size, way)).hexdigest())
        except DeltaError:
            answers.add("refused")
    assert answers in ({digest}, {"refused"})


@pytest.mark.parametrize("size", [0, 1, 64, 1_000_000])
def test_another_size_than_the_promised_one_is_refused(size: int) -> None:
    with pytest.raises(DeltaError):
        GO.apply(base("amd64"), delta("amd64"), size)


def test_another_base_is_refused() -> None:
    with pytest.raises(DeltaError):
        GO.apply(later("amd64"), delta("amd64"), MADE["amd64"][0])
