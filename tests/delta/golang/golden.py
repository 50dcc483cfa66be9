"""Two small programs for each architecture, built once and thinned out, and deltas made once.

``base`` is a program of Go 1.26 with most of its code and tables zeroed, so that it is small; the
delta makes the like of a later version of it. tests/golden/delta/README has how they were made.
"""

from __future__ import annotations

import lzma
from functools import cache
from pathlib import Path

from isobuilder.delta.golang import GoMethod

GOLDEN = Path(__file__).parents[2] / "golden" / "delta"
ARCHITECTURES = ("amd64", "arm64")
GO = GoMethod()
MADE = {
    "amd64": (
        1212542,
        "39c0a757f6828b77d09405e169d4bb8fd1b8b35e54c09a8a21e53afc5b933d5d",
    ),
    "arm64": (
        1245310,
        "0bbb355171d3dba5f6fa0407f5fb07b1e1714cb6120f55430ed8039ea5b9c4a2",
    ),
}
"""Size and SHA-256 of what the golden deltas make; both are for ever."""


@cache
def base(architecture: str) -> bytes:
    return lzma.decompress((GOLDEN / f"{architecture}.base.xz").read_bytes())


@cache
def delta(architecture: str) -> bytes:
    return (GOLDEN / f"{architecture}.go1").read_bytes()


@cache
def later(architecture: str) -> bytes:
    return GO.apply(base(architecture), delta(architecture), MADE[architecture][0])
