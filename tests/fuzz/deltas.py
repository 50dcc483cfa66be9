"""Targets that are deltas of single files, and what they are for."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

from isobuilder.delta import streams
from isobuilder.delta.sums import Sums
from tests.delta.golang.golden import GO, MADE, base, delta
from tests.delta.test_sums import GOLDEN as SUMS
from tests.delta.test_sums import MADE as SUMS_MADE
from tests.fuzz.mutation import Chance, edited
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, Wrong

_HEAD = 9  # bytes of a delta before its streams
_ELF = b"\x7fELF"


def _edited_streams(data: bytes, chance: Chance) -> bytes:
    """Return a delta of which one stream says something else, packed as it should be."""
    parts = streams.unpacked(data[_HEAD:], 8, 1 << 24)
    number = chance.randrange(8)
    told = streams.read_numbers(parts[number]) if number < 6 else []
    if told:
        for _ in range(chance.randrange(1, 4)):
            told[chance.randrange(len(told))] = chance.randrange(1 << chance.choice((3, 8, 24, 62)))
        parts[number] = streams.numbers(told)
    else:
        parts[number] = edited(parts[number], chance)
    plain = b"".join(streams.numbers([0, len(part)]) + part for part in parts)
    return data[:_HEAD] + plain


def _golang(_samples: Samples, _stack: ExitStack) -> Rig:
    def case(chance: Chance) -> bytes:
        match chance.randrange(3):
            case 0:
                return edited(delta("amd64"), chance)
            case 1:
                return _edited_streams(delta("amd64"), chance)
        made = bytearray(base("amd64"))
        for _ in range(chance.randrange(1, 4)):
            spot = chance.randrange(4, chance.choice((1024, len(made))))
            made[spot : spot + 4] = chance.choice((b"\xff" * 4, bytes(4), chance.randbytes(4)))
        return bytes(made)

    def read(data: bytes, _folder: Path) -> object:
        size, digest = MADE["amd64"]
        pair = (data, delta("amd64")) if data.startswith(_ELF) else (base("amd64"), data)
        new = GO.apply(*pair, size)
        if hashlib.sha256(new).hexdigest() != digest:
            raise Wrong("a delta made another program than it is for")
        return new

    return Rig(case, read)


def _sums(_samples: Samples, _stack: ExitStack) -> Rig:
    old, made = (SUMS / "old").read_bytes(), (SUMS / "format1.sums").read_bytes()

    def case(chance: Chance) -> bytes:
        parts = [streams.signed([0, 40, 0]), b"", b"\x80", chance.randbytes(32)]
        number = chance.randrange(4)
        parts[number] = edited(parts[number], chance)
        return chance.choice((edited(made, chance), made[:8] + b"\0" + streams.packed(parts)))

    def read(data: bytes, _folder: Path) -> object:
        new = Sums().apply(old, data, SUMS_MADE[0])
        if hashlib.sha256(new).hexdigest() != SUMS_MADE[1]:
            raise Wrong("a delta made other bytes than it is for")
        return new

    return Rig(case, read)


DELTAS = (
    Target("delta-sums", ("delta/sums.py", "delta/streams.py"), _sums),
    Target(
        "delta-go",
        (
            "delta/golang/format1.py",
            "delta/streams.py",
            "delta/golang/program.py",
            "delta/golang/plain.py",
            "delta/golang/fast.py",
            "delta/golang/moves.py",
            "delta/golang/headers.py",
        ),
        _golang,
    ),
)
