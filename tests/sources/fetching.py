"""What the tests of fetching share."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from isobuilder.digest import Digest
from isobuilder.formats.oci import check_config, parse_config, parse_manifest
from isobuilder.sources.download import Download
from isobuilder.sources.fetch import Fetcher
from isobuilder.sources.registry import ImagePin, RegistryClient, fetch_manifests
from isobuilder.store import Store

Want = Callable[..., Download]

MIB = 1024 * 1024


def content_of(name: str, size: int) -> bytes:
    """Bytes that differ everywhere, the same for the same name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest())
    return random.Random(seed).randbytes(size)


def want(
    content: bytes,
    *urls: str,
    name: str = "kubelet",
    sized: bool = True,
    known: bool = True,
    ceiling: int = 16 * MIB,
) -> Download:
    """Ask for ``content``, with its digest and size as a lock has them, or without."""
    digest = Digest.of(content) if known else None
    return Download(name, urls, digest, len(content) if sized else None, ceiling)


def pull_images(
    client: RegistryClient,
    fetcher: Fetcher,
    store: Store,
    images: Sequence[ImagePin],
    architecture: str,
) -> None:
    """Bring whole images into the store, as fetching a lock does."""
    fetch_manifests(client, store, images)
    manifests = {pin: parse_manifest(_stored(store, pin.digest), place="") for pin in images}
    wanted = {
        blob.digest: client.blob_wanted(pin.reference, blob.digest, blob.size)
        for pin, manifest in manifests.items()
        for blob in manifest.blobs
    }
    fetcher.fetch(list(wanted.values()))
    for pin, manifest in manifests.items():
        config = parse_config(_stored(store, manifest.config.digest), place="")
        check_config(config, manifest, architecture, place=str(pin.reference))


def _stored(store: Store, digest: Digest) -> bytes:
    blob = store.find(digest)
    assert blob is not None
    return blob.read()
