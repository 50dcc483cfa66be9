"""Targets that are parts of an OS payload: its file systems, and blocks to be made again."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

from isobuilder.delta.blocks import BLOCKED, UNBLOCKED
from isobuilder.delta.methods import methods
from isobuilder.formats.cpio import cpio_files
from isobuilder.formats.par2 import read_pieces
from isobuilder.formats.squashfs import read_squashfs
from tests.delta.test_blocks import CONTENT, FILE, PACK, UNPACK
from tests.formats.squashing import squashfs
from tests.formats.test_cpio import cpio
from tests.formats.test_par2 import PIECES, index
from tests.fuzz.mutation import Chance, edited
from tests.fuzz.samples import Samples
from tests.fuzz.target import Rig, Target, Wrong, of_bytes

_FILES = {"etc/a": b"one\n" * 40, "etc/b/c": b"two\n" * 3000, "d": bytes(5000), "e": b""}
_HEAD = 96


def _squashfs(_samples: Samples, _stack: ExitStack) -> Rig:
    whole = [squashfs(_FILES), squashfs(_FILES, plain=False), squashfs(_FILES, fragments=True)]

    def case(chance: Chance) -> bytes:
        data = chance.choice(whole)
        if chance.random() < 0.5:
            return edited(data[:_HEAD], chance) + data[_HEAD:]
        return edited(data, chance)

    def read(data: bytes, _folder: Path) -> object:
        found = read_squashfs(lambda at, size: data[at : at + size], len(data))
        end = 0
        for run in found.runs:
            if run.offset < end or run.offset + run.packed > len(data):
                raise Wrong(f"{run.path} lies in another file, or outside")
            end = run.offset + run.packed
        return len(found.runs)

    return Rig(case, read)


def _cpio(_samples: Samples, _stack: ExitStack) -> Rig:
    archive = cpio({"init": b"#!/bin/sh\n", "a/b.ko": bytes(300)})

    def read(data: bytes, _folder: Path) -> object:
        found = list(cpio_files(io.BytesIO(data)))
        if any(file.offset + file.size > len(data) for file in found):
            raise Wrong("a file that lies outside")
        return len(found)

    return Rig(lambda chance: edited(archive, chance), read)


def _blocks(_samples: Samples, _stack: ExitStack) -> Rig:
    told = {UNBLOCKED: UNPACK, BLOCKED: PACK}
    olds = {UNBLOCKED: (FILE, len(CONTENT)), BLOCKED: (CONTENT, len(FILE))}

    def case(chance: Chance) -> bytes:
        number = chance.choice((UNBLOCKED, BLOCKED))
        return bytes([number]) + edited(told[number], chance)

    def read(data: bytes, _folder: Path) -> object:
        number = UNBLOCKED if data[:1] == bytes([UNBLOCKED]) else BLOCKED
        old, size = olds[number]
        made = methods()[number].apply(old, data[1:], size)
        if len(made) != size:
            raise Wrong(f"{len(made)} bytes for {size}")
        return made

    return Rig(case, read)


def _par2(_samples: Samples, _stack: ExitStack) -> Rig:
    return of_bytes([index(16, PIECES), index(4096, [])], lambda data, _folder: read_pieces(data))


PAYLOADS = (
    Target("squashfs", ("formats/squashfs.py",), _squashfs),
    Target("cpio", ("formats/cpio.py",), _cpio),
    Target("par2", ("formats/par2.py",), _par2),
    Target("delta-blocks", ("delta/blocks.py",), _blocks),
)
