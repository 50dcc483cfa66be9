"""What the tag of a blob names in a shared store: where the blob is, or who fetches it.

Source: OCI image specification 1.1, manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import IntegrityError, UpstreamError

_log = logging.getLogger(__name__)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
NOTHING = b"{}"
EMPTY = Digest.of(NOTHING)
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_KIND = "application/vnd.isobuilder.blob.v1"
_AGAIN = 5.0  # seconds between two words of a claim


@dataclass(frozen=True, slots=True)
class SharedEntry:
    """What the tag of a blob names."""

    document: Digest  # of the manifest
    layer: Digest

    @property
    def is_claim(self) -> bool:
        """Whether the blob is not there, but announced."""
        return self.layer == EMPTY


def read_entry(data: bytes, place: str) -> SharedEntry:
    """Return what a manifest of a shared store says.

    Raises:
        IntegrityError: it is none.
    """
    document = parse(data, place, OCI, IntegrityError)
    layers = document.get("layers") if isinstance(document, dict) else None
    one = layers[0] if isinstance(layers, list) and len(layers) == 1 else None
    text = one.get("digest") if isinstance(one, dict) else None
    try:
        return SharedEntry(Digest.of(data), Digest(text if isinstance(text, str) else ""))
    except ValueError:
        raise IntegrityError(
            f"{place}: expected a manifest with one layer and its digest, got something else"
        ) from None


class Claim:
    """This machine's word that it fetches a blob, repeated while bytes come; or none at all."""

    def __init__(self, announce: Callable[[int | None], Digest] | None) -> None:
        self._announce = announce
        self._number = 0
        self._last = 0.0
        self._guard = threading.Lock()
        self.document: Digest | None = None  # what stands there as our word

    @property
    def is_held(self) -> bool:
        """Whether it is this machine that fetches, and shares."""
        return self._announce is not None

    def say(self) -> None:
        """Say it once more.

        Raises:
            UpstreamError: the registry does not take it.
        """
        if self._announce is not None:
            self._number += 1
            self._last = time.monotonic()
            self.document = self._announce(self._number)

    def drop(self) -> None:
        """Hold it no more, whatever stands there."""
        self._announce = None

    def free(self) -> None:
        """Say that another machine may try."""
        if self._announce is not None:
            announce, self._announce = self._announce, None
            try:
                announce(None)
            except UpstreamError as error:
                _log.info("a claim stays until it is old: %s", error)

    def advance(self, _amount: int) -> None:
        """Bytes came: say it once more, if the last word is some time ago."""
        if self._announce is None or time.monotonic() - self._last < _AGAIN:
            return
        if self._guard.acquire(blocking=False):  # others that bring bytes meanwhile go on
            try:
                self.say()
            except UpstreamError as error:
                _log.info("a claim was not repeated: %s", error)
            finally:
                self._guard.release()

    def set_total(self, total: int) -> None:
        """Do as a task of progress does."""

    def done(self) -> None:
        """Do as a task of progress does."""


def tag_of(digest: Digest) -> str:
    """Return the tag of a blob."""
    return f"sha256-{digest.hex}"


def manifest_of(layer: tuple[Digest, int] | None, claim: str = "") -> bytes:
    """Return the manifest of a blob, digest and size, or of a claim: the same every time."""
    empty = {"mediaType": _EMPTY_TYPE, "digest": EMPTY, "size": len(NOTHING)}
    blob = layer and {
        "mediaType": "application/octet-stream",
        "digest": layer[0],
        "size": layer[1],
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": _KIND,
        "config": empty,
        "layers": [blob or empty],
        **({} if blob else {"annotations": {"io.isobuilder.claim": claim}}),
    }
    return json.dumps(document).encode()


FREE = manifest_of(None)
"""What stands in the place of a claim that was given up."""
