"""No secret goes on an ISO: its files, and what is inside images and archives, are searched.

What was searched is not searched again: that of a blob is noted by its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.cancel import pooled
from isobuilder.content.blobs import BlobSource
from isobuilder.digest import BUFFER_SIZE, BlobLike, Digest
from isobuilder.documents.json import NOTE, parse
from isobuilder.documents.plain_yaml import read_yaml
from isobuilder.errors import InputError, IntegrityError
from isobuilder.formats.inflate import can_unpack, looks_like, unpacked
from isobuilder.formats.oci import Compression
from isobuilder.formats.tar import StreamSource, walk
from isobuilder.iso.write.entries import IsoEntry
from isobuilder.medium import MAX_UNPACKED
from isobuilder.model.base import ONE_LINE, Model, canonical_json
from isobuilder.model.validation import build
from isobuilder.progress import SILENT, Progress, task
from isobuilder.trust.leaks import VERSION, Leak, search

_NOTED = f"searched-{VERSION}"
_WORKERS = 2


class AllowedLeak(Model):
    """Something that looks like a secret and is none: a key of a test, of an example."""

    text: Digest  # as the error names it
    why: Annotated[str, Field(pattern=ONE_LINE, min_length=1, max_length=500)]


class _AllowedLeaks(Model):
    """What may be on an ISO though it looks like a secret."""

    format: Annotated[Literal[1], Field(alias="schema")]
    allowed: tuple[AllowedLeak, ...]


def read_allowed(path: Path) -> frozenset[Digest]:
    """Return the texts that a file allows, by their digests.

    Raises:
        InputErrors: all that is wrong with it.
        InputError: it cannot be read.
    """
    return frozenset(one.text for one in build(read_yaml(path), _AllowedLeaks).allowed)


@dataclass(frozen=True, slots=True)
class PlacedLeak:
    """Something of the form of a secret, and where it lies."""

    place: str  # a path on the ISO, and inside a layer or archive the member
    leak: Leak

    def __str__(self) -> str:
        return (
            f"{self.place}: byte {self.leak.at}: it looks like a secret ({self.leak.form}, "
            f"its text is {self.leak.digest})"
        )


def refuse_leaks(
    entries: Sequence[IsoEntry],
    notes: BlobSource,
    allowed: frozenset[Digest] = frozenset(),
    progress: Progress = SILENT,
) -> None:
    """Return if nothing on an ISO of ``entries`` looks like a secret, but what is allowed.

    Raises:
        IntegrityError: everything that does, with file, layer and place; the text itself is not
            told.
        EnvironmentProblem: a blob cannot be read.
    """
    found = [one for one in leaks_of(entries, notes, progress) if one.leak.digest not in allowed]
    if found:
        raise IntegrityError(
            *dict.fromkeys(map(str, found)),
            hint="take it out of what the recipe names; what is no secret goes by its digest into "
            "the file of the setting allowed_leaks",
        )


def leaks_of(
    entries: Sequence[IsoEntry], notes: BlobSource, progress: Progress = SILENT
) -> Iterator[PlacedLeak]:
    """Give what looks like a secret, in the order of ``entries``."""
    work = [(entry.path, piece) for entry in entries for piece in entry.pieces]
    fresh = sum(
        piece.size
        for _, piece in work
        if not isinstance(piece, bytes) and notes.recall(_NOTED, piece.digest) is None
    )
    with (
        task(progress, "searching for secrets", total=fresh) as told,
        pooled(_WORKERS, "secrets") as pool,
    ):

        def look(item: tuple[str, bytes | BlobLike]) -> list[PlacedLeak]:
            path, piece = item
            if isinstance(piece, bytes):
                return [PlacedLeak(path, leak) for leak in search([piece])]
            known = _recalled(notes, piece.digest)
            if known is None:
                known = list(_inside(piece))
                notes.remember(_NOTED, piece.digest, _note(known))
                told.advance(piece.size)
            layer = f"{path}: {piece.digest}" if path.endswith(".tar") else path
            return [PlacedLeak(f"{layer}: {name}" if name else layer, leak) for name, leak in known]

        for found in pool.map(look, work):
            yield from found


_Found = tuple[str, Leak]


def _inside(blob: BlobLike) -> Iterator[_Found]:
    """Give what is found in a blob: in the members of a packed tar, else in its bytes."""
    with blob.open() as file:
        head = file.read(512)
    compression = looks_like(head)
    if compression == "none" or not can_unpack(compression):
        if head[257:262] == b"ustar":
            yield from _members(blob, "none")
        else:
            yield from (("", leak) for leak in search(_pieces(blob)))
        return
    yield from _members(blob, compression)


def _members(blob: BlobLike, compression: Compression) -> Iterator[_Found]:
    source = StreamSource(_unpacked(blob, compression))
    try:
        for member in walk(source):
            if member.regular and member.size:
                pieces = _content(source, member.size)
                yield from ((member.plain_name, leak) for leak in search(pieces))
    except IntegrityError:
        # No tar, or one of a kind that nodes are told about elsewhere: the bytes as they come.
        try:
            yield from (("", leak) for leak in search(_unpacked(blob, compression)))
        except IntegrityError:
            return  # damaged, which verify tells


def _unpacked(blob: BlobLike, compression: Compression) -> Iterator[bytes]:
    return unpacked(_pieces(blob), compression, limit=MAX_UNPACKED, why="no layer is so large")


def _content(source: StreamSource, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := source.some(size)):
        size -= len(piece)
        yield piece


def _pieces(blob: BlobLike) -> Iterator[bytes]:
    with blob.open() as file:
        while chunk := file.read(BUFFER_SIZE):
            yield chunk


def _note(found: Iterable[_Found]) -> bytes:
    rows = [[name, leak.form, leak.at, str(leak.digest)] for name, leak in found]
    return canonical_json(rows)


def _recalled(notes: BlobSource, digest: Digest) -> list[_Found] | None:
    note = notes.recall(_NOTED, digest)
    if note is None:
        return None
    try:
        return [
            (str(name), Leak(str(form), int(at), Digest(text)))
            for name, form, at, text in parse(note, "note", NOTE)
        ]
    except (InputError, ValueError, TypeError):
        return None  # a damaged note; what it said can be found out again
