"""What came of building a program again: identical, or where the first difference is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field

from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.formats.elf import sections_of
from isobuilder.model.base import Architecture, FileModel, IsoPath, Model, Name


class ProofModule(Model):
    """One module that the program was compiled from."""

    path: str
    version: str
    h1: str  # its sum, as Go's checksum database has it


class RebuildProof(FileModel):
    """A released program, and the public source of which it is the build."""

    format: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    path: IsoPath
    architecture: Architecture
    sha256: Digest  # of the released program, and of what was built
    go: str  # the toolchain's version
    command: tuple[str, ...]  # as upstream builds, places left out
    commit: str
    date: str
    modules: tuple[ProofModule, ...]
    sums: str  # the checksum database that modules were compared with
    tool: str  # the version of isobuilder


def first_difference(released: BinaryIO, made: Path) -> str:
    """Return where two programs begin to differ: the section of the released one, and the byte.

    Raises:
        IntegrityError: that is no program.
    """
    with made.open("rb") as other:
        at = _differs_at(released, other)
    for name, (offset, size) in sections_of(released, "the released program").items():
        if offset <= at < offset + size:
            return f"{name}, byte {at}"
    return f"no section, byte {at}"


def _differs_at(one: BinaryIO, other: BinaryIO) -> int:
    one.seek(0)
    other.seek(0)
    at = 0
    while True:
        left, right = one.read(BUFFER_SIZE), other.read(BUFFER_SIZE)
        if left != right:
            least = min(len(left), len(right))
            return at + next((n for n in range(least) if left[n] != right[n]), least)
        if not left:
            return at
        at += len(left)
