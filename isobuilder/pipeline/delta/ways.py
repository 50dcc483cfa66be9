"""What deltas that lie somewhere are good for: which ISO each makes of which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isobuilder.digest import Digest
from isobuilder.errors import IsobuilderError
from isobuilder.files import may_be_file
from isobuilder.text import printable

END = ".delta"
_MOST = 1000  # deltas of one folder
_LONGEST = 255  # characters of a name, which a stranger wrote


@dataclass(frozen=True, slots=True)
class DeltaWay:
    """That a delta makes one ISO of others, all of which it needs."""

    olds: tuple[tuple[str, Digest], ...]
    new: str
    new_digest: Digest
    new_size: int  # bytes

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "old": [{"name": name, "sha256": digest.hex} for name, digest in self.olds],
            "new": self.new,
            "new_sha256": self.new_digest.hex,
        }


@dataclass(frozen=True, slots=True)
class FoundDelta:
    """A whole delta."""

    name: str
    size: int  # bytes
    digest: Digest  # of the file
    ways: tuple[DeltaWay, ...]


def read_delta(path: Path) -> FoundDelta:
    """Return what a delta is good for.

    Raises:
        InputError: it is none, or of a newer format.
        IntegrityError: it is damaged.
        EnvironmentProblem: it cannot be read.
    """
    from isobuilder.delta.container import Delta  # most folders have no delta

    with Delta(path) as delta:
        links, size = [needed.link for needed in delta.links], delta.size
    ways = tuple(
        DeltaWay(
            tuple((printable(one.name, _LONGEST), one.digest) for one in link.given),
            printable(link.name, _LONGEST),
            link.digest,
            link.size,
        )
        for link in links
    )
    return FoundDelta(path.name, size, Digest.of_file(path), ways)


def deltas_in(folder: Path) -> list[Path]:
    """Return what is called a delta in a folder; what is hidden is still being made.

    Raises:
        OSError: the folder cannot be read.
    """
    paths = (path for path in folder.iterdir() if path.suffix == END and may_be_file(path))
    return sorted(path for path in paths if not path.name.startswith("."))[:_MOST]


def whole_deltas(folder: Path) -> Iterator[FoundDelta | IsobuilderError]:
    """Give the deltas of a folder, and why others cannot be used.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in deltas_in(folder):
        try:
            yield read_delta(path)
        except IsobuilderError as error:
            yield error
