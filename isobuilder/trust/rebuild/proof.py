"""What came of building a program again: identical, or where the first difference is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, StringConstraints

from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.formats.elf import sections_of
from isobuilder.model.base import ONE_LINE, Architecture, FileModel, IsoPath, Model, Name

Word = Annotated[str, StringConstraints(pattern=ONE_LINE, min_length=1, max_length=4000)]


class ProofModule(Model):
    """One module that the program was compiled from."""

    path: Word
    version: Word
    h1: Word  # its sum, as Go's checksum database has it


class RebuildProof(FileModel):
    """A released program, and the public source of which it is the build."""

    format: Annotated[Literal[1], Field(alias="schema")]
    name: Name
    path: IsoPath
    architecture: Architecture
    sha256: Digest  # of the released program, and of what was built
    go: Word  # the toolchain's version
    command: tuple[Word, ...]  # as upstream builds, places left out
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    date: Word
    modules: Annotated[tuple[ProofModule, ...], Field(min_length=1)]
    sums: Word  # the checksum database that modules were compared with
    tool: Word  # the version of isobuilder

    @property
    def source(self) -> tuple[object, ...]:
        """What two proofs of the same bytes must agree on."""
        return self.name, self.architecture, self.go, self.commit, self.modules

    def __str__(self) -> str:
        return (
            f"commit {self.commit}, Go {self.go}, {len(self.modules)} modules as {self.sums} "
            "has them"
        )


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
