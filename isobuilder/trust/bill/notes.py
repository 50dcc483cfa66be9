"""What was found in a layer, as the store keeps it: small beside the layer, read in its place."""

from __future__ import annotations

from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from isobuilder.digest import Digest
from isobuilder.documents.json import JsonLimits, parse
from isobuilder.errors import InputError
from isobuilder.model.base import canonical_json
from isobuilder.trust.bill.look import SCANNER, LayerContents

_KIND = "inside"
_LAYER = TypeAdapter(LayerContents)
_LIMITS = JsonLimits(size=16 * 1024 * 1024, items=1_000_000)
"""The note of a layer with 200,000 files has 14 MiB; of a larger one none is kept."""


class NoteKeeper(Protocol):
    """Remembers small facts; a ``Store`` is one."""

    def recall(self, kind: str, key: Digest, /) -> bytes | None:
        """Return what was remembered, or None."""

    def remember(self, kind: str, key: Digest, value: bytes, /) -> None:
        """Keep a small fact, or do nothing."""


class Notes:
    """What was found in blobs, by digest; without a keeper nothing is remembered."""

    def __init__(self, keeper: NoteKeeper | None = None) -> None:
        self._keeper = keeper

    def recall(self, digest: Digest) -> LayerContents | None:
        """Return what is in a blob; None when nobody looked, or what is noted makes no sense."""
        data = self._keeper.recall(_KIND, _key(digest)) if self._keeper else None
        if data is None:
            return None
        try:
            return _LAYER.validate_python(parse(data, "note", _LIMITS))
        except (InputError, ValidationError):
            return None

    def remember(self, digest: Digest, layer: LayerContents) -> None:
        """Keep what is in a blob, unless something of it could not be read: another may read it."""
        if self._keeper is None or layer.trouble:
            return
        data = _LAYER.dump_json(layer)
        if len(data) <= _LIMITS.size:
            self._keeper.remember(_KIND, _key(digest), data)


def _key(digest: Digest) -> Digest:
    return Digest.of(canonical_json([SCANNER, digest]))
