"""Differences of programs that Go built: the new layout is predicted, and what is wrong is told.

Nearly everything that changes between two builds of a program is addresses. So the old program is
rewritten as if everything in it had moved to where the new one has it (``plain``, or ``fast`` where
numpy is there), which takes a short list of runs that moved (``moves``); then follow the bytes that
are still wrong (``format1``). docs/deltas.md has the method and the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from isobuilder.delta.golang import format1, plain


@dataclass(frozen=True, slots=True)
class GoMethod:
    """The method for programs that Go 1.20 or later built for amd64 or arm64."""

    number: int = 10
    name: str = "go"

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return a delta; None for other bytes, and where numpy is not installed."""
        if not has_numpy():
            return None
        from isobuilder.delta.golang.make import made

        return made(old, new)

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the new program: the same bytes with numpy and without.

        Raises:
            DeltaError: the delta is damaged, or of another program.
        """
        return format1.applied(old, delta, size, _rewriter())


def has_numpy() -> bool:
    """Return whether the extra ``fast`` is installed."""
    return find_spec("numpy") is not None


def _rewriter() -> format1.Rewrite:
    """Return the quickest way to rewrite that this machine has."""
    if has_numpy():
        from isobuilder.delta.golang import fast

        return fast.rewritten
    return plain.rewritten
