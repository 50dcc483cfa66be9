"""What ISOs hold of a registry: manifests in memory, and blobs as stretches of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from isobuilder.digest import Digest
from isobuilder.formats.oci import Platform, RegistryDocument
from isobuilder.formats.reference import ImageReference
from isobuilder.http.replies import FilePart


@dataclass(frozen=True, slots=True)
class HeldManifest:
    """A manifest or index whose bytes were hashed, and where what it lists lies."""

    data: bytes = field(repr=False)
    digest: Digest
    document: RegistryDocument = field(repr=False)
    platform: Platform | None  # of an image; None for everything else
    blobs: Mapping[Digest, FilePart] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """One entry of an archive's index: what it is called, and all that it leads to."""

    names: tuple[ImageReference, ...]
    top: Digest
    manifests: Mapping[Digest, HeldManifest] = field(repr=False)
    made: int  # seconds since 1970: the time of the archive on the ISO, which is that of its lock
