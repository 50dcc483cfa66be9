"""Archives as ``docker save`` wrote them before version 25: images that no registry ever had.

They have a configuration and layers and no manifest, so one is made, the same bytes each time: the
layers are tars as they are, and their digests are those that the configuration promises. Whoever
pulls compares them. Source: moby, ``image/tarexport``; contract of the node's import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import IntegrityError
from isobuilder.formats.archive import DOCKER_INDEX, ImageArchive, cleaned
from isobuilder.formats.oci import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    Platform,
    parse_config,
)
from isobuilder.formats.tar import Member

_MOST = 1000  # images of one archive, tags of one image


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image of such an archive."""

    tags: tuple[str, ...]
    manifest: bytes
    platform: Platform
    blobs: dict[Digest, Member]


def saved_images(archive: ImageArchive) -> Iterator[SavedImage]:
    """Give the images of an archive.

    Raises:
        IntegrityError: it does not say what its images consist of, or that is not there.
    """
    listed = parse(archive.documents[DOCKER_INDEX], DOCKER_INDEX, OCI, IntegrityError)
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST:
        raise IntegrityError(f"{DOCKER_INDEX}: expected a list of images")
    for entry in listed:
        found = entry if isinstance(entry, dict) else {}
        config, layers = _member(archive, found.get("Config")), found.get("Layers")
        data = archive.documents.get(cleaned(config.name))
        tags = found.get("RepoTags") or []
        if data is None or not isinstance(layers, list) or not isinstance(tags, list):
            raise IntegrityError(f"{DOCKER_INDEX}: an image without configuration, layers or tags")
        told = parse_config(data, place=config.name)
        if len(told.diff_ids) != len(layers):
            fact = f"{len(layers)} layers, its configuration tells {len(told.diff_ids)}"
            raise IntegrityError(f"{DOCKER_INDEX}: an image of {fact}")
        members = [_member(archive, path) for path in layers]
        described = [_descriptor(DOCKER_CONFIG, Digest.of(data), config.size)]
        for digest, member in zip(told.diff_ids, members, strict=True):
            described.append(_descriptor(DOCKER_LAYER, digest, member.size))
        body = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        manifest = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        blobs = {Digest.of(data): config, **dict(zip(told.diff_ids, members, strict=True))}
        names = tuple(tag for tag in tags[:_MOST] if isinstance(tag, str))
        yield SavedImage(names, manifest, told.platform, blobs)


def _member(archive: ImageArchive, path: object) -> Member:
    member = archive.files.get(cleaned(path)) if isinstance(path, str) else None
    if member is None:
        raise IntegrityError(f"{str(path)[:80]!r}, named by {DOCKER_INDEX}, is missing")
    return member


def _descriptor(media_type: str, digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}
