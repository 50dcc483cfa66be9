"""An image archive, read once: its members, and the small documents among them.

No judgement: ``iso.check.archives`` says what is wrong with an archive of ours, down to its layers,
and ``contract.archives`` what containerd makes of an archive of anybody.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import MAX_DOCUMENT
from isobuilder.formats.tar import BLOCK, Member, SeekSource, walk

MAX_MEMBERS = 4096
"""Members of an image archive: an image has at most 127 layers, each one blob."""

MAX_KEPT = 16 * 1024 * 1024
"""Bytes of all documents of an archive; those of real ones have some ten KiB."""

LAYOUT, INDEX, DOCKER_INDEX = "oci-layout", "index.json", "manifest.json"

_MAX_TAIL = 1024 * 1024  # zero bytes behind the end; tools pad to their block size
_HEAD = 64  # bytes that show whether it may be JSON


@dataclass(frozen=True)
class ImageArchive:
    """What lies in one archive."""

    members: tuple[Member, ...]  # in their order
    documents: Mapping[str, bytes]  # what may be JSON and is small, by its plain name
    ending: str | None  # what is odd behind the last member, in words

    @cached_property
    def files(self) -> Mapping[str, Member]:
        """The regular files by their plain names, of equal names the last: so reads containerd."""
        return {cleaned(member.name): member for member in self.members if member.regular}


def read_archive(stream: BinaryIO) -> ImageArchive:
    """Return what lies in the archive, having walked through it once.

    Raises:
        IntegrityError: no tar archive that all readers read alike, or beyond a limit; a sentence
            without place.
    """
    source = SeekSource(stream)
    members: list[Member] = []
    documents: dict[str, bytes] = {}
    kept = end = 0
    for member in walk(source):
        if len(members) >= MAX_MEMBERS:
            raise IntegrityError(f"byte {member.header}: more than {MAX_MEMBERS} members")
        members.append(member)
        end = member.offset + -(-member.size // BLOCK) * BLOCK
        if not member.regular:
            continue
        name = cleaned(member.name)
        documents.pop(name, None)
        if member.size <= MAX_DOCUMENT:
            data = source.read(min(member.size, _HEAD))
            if name in {LAYOUT, INDEX, DOCKER_INDEX} or data.lstrip()[:1] in {b"{", b"["}:
                data += source.read(member.size - len(data))
                kept += len(data)
                if kept > MAX_KEPT:
                    raise IntegrityError(f"more than {MAX_KEPT} bytes of JSON in one archive")
                documents[name] = data
    return ImageArchive(tuple(members), documents, _ending(source, end))


def cleaned(name: str) -> str:
    """Return a member's name as Go's ``path.Clean`` gives it; by that containerd looks."""
    # Of two slashes at the beginning Python keeps both.
    return posixpath.normpath(re.sub("/+", "/", name) if name.startswith("//") else name)


def blob_name(digest: Digest) -> str:
    """Return where an OCI layout keeps a blob."""
    return f"blobs/sha256/{digest.hex}"


def _ending(source: SeekSource, end: int) -> str | None:
    if source.position - end < 2 * BLOCK:
        return f"byte {end}: the end of the archive is cut off"
    behind = source.size - source.position
    if behind > _MAX_TAIL or source.read(behind).strip(b"\0"):
        return f"byte {source.position}: {behind} bytes behind the end of the archive"
    return None
