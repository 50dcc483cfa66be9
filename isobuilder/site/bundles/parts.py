"""Bundle -> where each byte lies in its parts, worked out from sizes alone.

A part is a tar archive of its own: bundle.json, then blobs by their digests; a blob that does not
fit is cut, and its pieces are named by where they begin. So parts are made, lost, made again and
taken in one by one and in any order, and a reader knows every header before it reads it. A bundle
of one part with images is an OCI layout as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isobuilder.content.archives import OCI_LAYOUT
from isobuilder.errors import InputError
from isobuilder.formats.archive import INDEX, LAYOUT, blob_name
from isobuilder.formats.oci import NAME_ANNOTATIONS
from isobuilder.formats.tar import BLOCK
from isobuilder.site.bundles.bundle import SMALLEST_PART, Bundle, Carried

BUNDLE = "bundle.json"
"""What every part begins with, and a folder has."""

END = 2 * BLOCK
"""Bytes of zeros that end a part."""

_MOST_PARTS = 9999


@dataclass(frozen=True, slots=True)
class Slot:
    """One file of a part: a text of the bundle, or a run of bytes of what is carried.

    bundle.json is made when somebody wants it: thousands of parts may have a long one each.
    """

    name: str
    size: int  # bytes
    of: bytes | Bundle | Carried
    start: int = 0  # where in the blob it begins

    @property
    def space(self) -> int:
        """Bytes that it takes in the part, header and padding included."""
        return BLOCK + self.size + -self.size % BLOCK

    @property
    def text(self) -> bytes | None:
        """All its bytes if it is a text of the bundle, which follows from bundle.json."""
        if isinstance(self.of, Carried):
            return None
        return self.of.to_bytes() if isinstance(self.of, Bundle) else self.of


@dataclass(frozen=True, slots=True)
class Part:
    """What lies in one part, in order."""

    number: int
    members: tuple[Slot, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(member.space for member in self.members) + END


def parts_of(bundle: Bundle) -> list[Part]:
    """Return the parts of ``bundle``.

    Raises:
        InputError: parts of that size cannot hold it.
    """
    limit = bundle.part_size
    bare = len(bundle.numbered(1).to_bytes()) - len("1")
    first = [Slot(name, len(text), text) for name, text in layout_of(bundle)]
    if limit is None:
        return [Part(1, (_about(bundle, 1, bare), *first, *map(_whole, bundle.contents)))]
    least = BLOCK * 4 + bare + len(str(_MOST_PARTS)) + END
    least += sum(slot.size + 2 * BLOCK for slot in first) + SMALLEST_PART
    if limit < least:
        raise InputError(
            f"parts of {limit} bytes are too small: {least} bytes hold what every part says",
            hint="choose larger parts with --part-size",
        )
    if bundle.size // (limit - least + SMALLEST_PART) >= _MOST_PARTS:
        raise InputError(
            f"parts of {limit} bytes: more than {_MOST_PARTS} of them for {bundle.size} bytes",
            hint="choose larger parts with --part-size",
        )
    return list(_cut(bundle, limit, bare, first))


def layout_of(bundle: Bundle) -> list[tuple[str, bytes]]:
    """Return the files that make an OCI layout of ``bundle``; none if it has no image.

    Source: OCI image specification, image-layout.md.
    """
    images = [
        {
            "annotations": dict.fromkeys(NAME_ANNOTATIONS, name),
            "digest": item.digest,
            "mediaType": item.media_type,
            "size": item.size,
        }
        for item in bundle.contents
        if item.media_type is not None
        for name in item.names
    ]
    if not images:
        return []
    index = {
        "manifests": images,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "schemaVersion": 2,
    }
    text = json.dumps(index, separators=(",", ":"), sort_keys=True).encode()
    return [(LAYOUT, OCI_LAYOUT), (INDEX, text)]


def _about(bundle: Bundle, number: int, bare: int) -> Slot:
    """Return bundle.json of one part; it has ``bare`` bytes and the digits of ``number``."""
    return Slot(BUNDLE, bare + len(str(number)), bundle.numbered(number))


def _whole(item: Carried) -> Slot:
    return Slot(blob_name(item.digest), item.size, item)


def _cut(bundle: Bundle, limit: int, bare: int, first: Sequence[Slot]) -> Iterator[Part]:
    """Give parts that are filled one after the other."""
    number = 1
    members = [_about(bundle, number, bare), *first]
    room = limit - END - sum(member.space for member in members)
    for item in bundle.contents:
        at = 0
        while at < item.size or not at:
            rest = Slot(f"pieces/sha256/{item.digest.hex}/{at}", item.size - at, item, at)
            if at == 0:
                rest = _whole(item)
            fits = (room - BLOCK) // BLOCK * BLOCK
            if rest.space > room and fits < min(item.size - at, SMALLEST_PART // 2):
                yield Part(number, tuple(members))
                number += 1
                members = [_about(bundle, number, bare)]
                room = limit - END - sum(member.space for member in members)
                continue
            if rest.space > room:
                name = f"pieces/sha256/{item.digest.hex}/{at}"
                rest = Slot(name, fits, item, at)
            members.append(rest)
            room -= rest.space
            at += rest.size
            if not item.size:
                break
    yield Part(number, tuple(members))
