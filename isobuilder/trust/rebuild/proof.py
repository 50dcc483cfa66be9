"""What came of building a program again: identical, or where the first difference is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import Field, StringConstraints

from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.errors import IntegrityError
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

    A section that is longer or lies elsewhere changes the headers before all of them, so each is
    compared with the one of its name. The build's identity comes early and differs whatever else
    does, so the other sections that differ are named as well.

    Raises:
        IntegrityError: the released one is no program.
    """
    with made.open("rb") as other:
        ours = sections_of(released, "the released program")
        try:
            theirs = sections_of(other, "what was built")
        except IntegrityError as error:
            return f"no section, byte {_differs_at(released, other)}: {error}"
        found: list[tuple[str, int]] = []
        for name, (offset, size) in ours.items():
            begin, length = theirs.get(name, (0, 0))
            at = _differs_at(released, other, (offset, begin), (size, length))
            if at < max(size, length):
                found.append((name, offset + at))
        if not found:
            return f"no section but the headers, byte {_differs_at(released, other)}"
        more = ", ".join(name for name, _ in found[1:])
        return f"{found[0][0]}, byte {found[0][1]}" + (f"; {more} as well" if more else "")


def _differs_at(
    one: BinaryIO,
    other: BinaryIO,
    begin: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> int:
    """Return how many bytes are the same from where each begins; all of them if they are equal."""
    one.seek(begin[0])
    other.seek(begin[1])
    at = 0
    while True:
        ends = (BUFFER_SIZE, BUFFER_SIZE) if size is None else (size[0] - at, size[1] - at)
        left = one.read(min(max(ends[0], 0), BUFFER_SIZE))
        right = other.read(min(max(ends[1], 0), BUFFER_SIZE))
        if left != right:
            least = min(len(left), len(right))
            return at + next((n for n in range(least) if left[n] != right[n]), least)
        if not left:
            return at
        at += len(left)
