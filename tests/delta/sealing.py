"""Deltas taken to pieces and closed again, as a stranger could close them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from isobuilder.formats.zstd import compressed, decompressed

HEAD = struct.Struct("<8sIII32s")


def opened(path: Path) -> tuple[Any, bytes]:
    """Return what a delta says, and what its methods need."""
    data = path.read_bytes()
    _, _, packed, plain, _ = HEAD.unpack_from(data)
    text = decompressed(data[HEAD.size : HEAD.size + packed], plain)
    return json.loads(text), data[HEAD.size + packed :]


def sealed(text: bytes, needed: bytes) -> bytes:
    """Return a delta that is whole, whatever is in it."""
    packed = compressed(text, level=1)
    digest = hashlib.sha256(packed + needed).digest()
    return HEAD.pack(b"isodelta", 1, len(packed), len(text), digest) + packed + needed
