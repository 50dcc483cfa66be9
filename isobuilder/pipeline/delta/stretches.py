"""Files of a squashfs that changed, in a row: taken together, and what their blocks unpack to.

What did not change stays a piece of its own, which is copied. So a file is compressed again only
where it, and nothing beside it, is new.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from isobuilder.delta.assembling import Workbench
from isobuilder.delta.blocks import Unblocked
from isobuilder.delta.methods import DeltaError
from isobuilder.digest import Digest, Hasher
from isobuilder.pipeline.delta.pieces import Apart, Piece

_LONGEST = 24 * 1024 * 1024  # bytes that the blocks of a stretch unpack to
_MOST = 4000  # stretches; each has two runs of a delta


@dataclass(frozen=True, slots=True)
class Stretched:
    """A file taken apart, in which stretches of what changed are one piece each."""

    apart: Apart
    contents: Mapping[int, Apart]  # by where a stretch begins
    unpacking: Mapping[int, bytes]  # what method 30 needs

    @property
    def joined(self) -> Iterator[Piece]:
        """Those pieces."""
        return (one for one in self.apart.pieces if one.blocks and one.offset in self.contents)


def stretched(apart: Apart, known: Collection[Digest], bench: Workbench) -> Stretched:
    """Return ``apart`` with one piece for each stretch that the other side does not know."""
    together = list(_stretches(apart.pieces, known))
    found = [pieces for pieces in together if pieces[0].blocks and pieces[0].digest not in known]
    found = found[:_MOST]
    unpacking = [_unblocked(pieces) for pieces in found]
    try:
        contents = _contents(apart, found, unpacking, bench)
    except DeltaError:  # tables that lie about what blocks hold
        return Stretched(apart, {}, {})
    joined = {pieces[0].offset: _joined(apart, pieces) for pieces in found}
    pieces: list[Piece] = []
    for group in together:
        one = joined.get(group[0].offset) if group[0].blocks else None
        pieces += group if one is None else [one]
    places = [group[0].offset for group in found]
    return Stretched(
        replace(apart, pieces=tuple(pieces)),
        dict(zip(places, contents, strict=True)),
        dict(zip(places, unpacking, strict=True)),
    )


def _stretches(pieces: Sequence[Piece], known: Collection[Digest]) -> Iterator[list[Piece]]:
    """Give the pieces, those together that changed and are unpacked together."""
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        long = sum(block.size for block in piece.blocks)
        changed = bool(piece.blocks) and piece.digest not in known
        if group and not (
            changed and size + long <= _LONGEST and group[0].packing == piece.packing
        ):
            yield group
            group = []
        if changed:
            size = size + long if group else long
            group.append(piece)
        else:
            yield [piece]
    if group:
        yield group


def _unblocked(pieces: Sequence[Piece]) -> bytes:
    blocks = [block for piece in pieces for block in piece.blocks]
    return Unblocked(blocks, pieces[0].packing).make(b"", b"") or b""


def _contents(
    apart: Apart, found: Sequence[Sequence[Piece]], unpacking: Sequence[bytes], bench: Workbench
) -> list[Apart]:
    sizes = [sum(block.size for piece in group for block in piece.blocks) for group in found]

    def unpacked() -> Iterator[bytes]:
        for group, told, size in zip(found, unpacking, sizes, strict=True):
            yield Unblocked().apply(_packed(apart, group), told, size)

    whole = bench.hold(unpacked())
    contents = []
    at = 0
    for group, size in zip(found, sizes, strict=True):
        run = whole.part(at, size)
        at += size
        hasher = Hasher()
        inside: list[Piece] = []
        for piece in group:
            begin = inside[-1].end if inside else 0
            long = sum(block.size for block in piece.blocks)
            data = run.read(begin, long)
            hasher.update(data)
            zeros = data.count(0) == long
            inside.append(Piece(piece.place, piece.path, begin, long, Digest.of(data), zeros=zeros))
        contents.append(Apart(run, hasher.digest(), tuple(inside)))
    return contents


def _packed(apart: Apart, group: Sequence[Piece]) -> bytes:
    return apart.run.read(group[0].offset, group[-1].end - group[0].offset)


def _joined(apart: Apart, group: Sequence[Piece]) -> Piece:
    first = group[0]
    name = first.place if len(group) == 1 else f"{len(group)} files from {first.place} on"
    return Piece(
        name,
        "",
        first.offset,
        group[-1].end - first.offset,
        Digest.of(_packed(apart, group)),
        blocks=tuple(block for piece in group for block in piece.blocks),
        packing=first.packing,
    )
