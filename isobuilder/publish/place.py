"""A place where files get a name for good: a folder here, a bucket in ``s3.py``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from isobuilder.digest import BUFFER_SIZE, Digest
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.files import as_environment_problem, is_file, locked, read_bytes, write_whole

_TRIES = 3  # of giving a name that another is about to give, or gives up
Change = Callable[[bytes | None], bytes]
"""What is there, or None -> what is to be there."""


class PublishedPlace(Protocol):
    """Files by their names. A name is only there when all of the file is.

    Every method raises ``EnvironmentProblem`` or ``UpstreamError`` for a place that cannot be used.
    """

    def __str__(self) -> str:
        """Where it is, for people."""

    def read(self, name: str, most: int) -> bytes | None:
        """Return a file of at most ``most`` bytes; None if there is none."""

    def size_of(self, name: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""

    def digest_of(self, name: str) -> Digest:
        """Return the digest of a file's bytes, all of them read."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give a file's bytes."""

    def add(self, source: Path, name: str) -> bool:
        """Give a file its name; False if that is taken, whatever by."""

    def update(self, name: str, change: Change, most: int) -> bytes:
        """Change one of our own lists, of at most ``most`` bytes, and return what it now is.

        What others changed meanwhile is not lost: ``change`` is asked again.
        """

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""


def publish_file(place: PublishedPlace, source: Path, name: str) -> bool:
    """Give a file its published name; False if it has it already.

    Raises:
        IntegrityError: other bytes have that name; they stay.
    """
    for _ in range(_TRIES):
        size = place.size_of(name)
        if size is None and place.add(source, name):
            return True
        size = place.size_of(name)
        if size is not None:
            break
    else:
        raise UpstreamError(
            f"{place}/{name}: refused {_TRIES} times as if the name were taken; nothing is there",
            hint="others may be at it; run it again",
        )
    if size == source.stat().st_size and place.digest_of(name) == Digest.of_file(source):
        return False
    raise IntegrityError(
        f"{place}/{name}: is published with other bytes", hint="raise the revision of the recipe"
    )


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder that a web server shows; files come from the same file system."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, name: str, most: int) -> bytes | None:
        """See ``PublishedPlace``."""
        path = self.folder / name
        return read_bytes(path, most) if is_file(path) else None

    def size_of(self, name: str) -> int | None:
        """See ``PublishedPlace``."""
        path = self.folder / name
        with as_environment_problem(path):
            return path.stat().st_size if os.path.lexists(path) else None

    def digest_of(self, name: str) -> Digest:
        """See ``PublishedPlace``."""
        with as_environment_problem(self.folder / name):
            return Digest.of_file(self.folder / name)

    def chunks(self, name: str) -> Iterator[bytes]:
        """See ``PublishedPlace``."""
        with as_environment_problem(self.folder / name), (self.folder / name).open("rb") as file:
            while chunk := file.read(BUFFER_SIZE):
                yield chunk

    def add(self, source: Path, name: str) -> bool:
        """See ``PublishedPlace``."""
        with as_environment_problem(self.folder / name):
            try:
                (self.folder / name).hardlink_to(source)
            except FileExistsError:
                return False
        return True

    def update(self, name: str, change: Change, most: int) -> bytes:
        """See ``PublishedPlace``."""
        with as_environment_problem(self.folder), locked(self.folder / ".index.lock"):
            before = self.read(name, most)
            after = change(before)
            if after != before:
                write_whole(self.folder / name, after)
        return after

    def remove(self, name: str) -> None:
        """See ``PublishedPlace``."""
        with as_environment_problem(self.folder / name):
            (self.folder / name).unlink(missing_ok=True)
