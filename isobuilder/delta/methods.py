"""What a method of a delta is, and which there are.

Numbers are for ever: what a number does with the bytes of a delta never changes, for a delta that
was made today is applied in ten years. What does something else gets another number.

A method knows two runs of bytes and nothing of where they lie. ``old`` is what whoever applies a
delta has by then: mostly what the piece was before; for a method that compresses, what the piece
unpacks to, which was put together before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Protocol

from isobuilder.errors import IntegrityError

MOST_HELD = 490 * 1000 * 1000
"""Bytes of memory that a method may take for one piece, whatever a delta says."""


class DeltaError(IntegrityError):
    """A delta is damaged, or of something else; a sentence without place."""


class UnknownMethod(DeltaError):
    """A delta needs a method of a newer isobuilder."""


class Method(Protocol):
    """One way to tell the difference of two pieces."""

    @property
    def number(self) -> int:
        """What a delta calls it, 1 to 255."""

    @property
    def name(self) -> str:
        """What people call it."""

    def make(self, old: bytes, new: bytes) -> bytes | None:
        """Return what makes ``new`` of ``old``; None if this is not for such bytes.

        Nothing counts before ``apply`` gave the same bytes in another process.
        """

    def apply(self, old: bytes, delta: bytes, size: int) -> bytes:
        """Return the ``size`` bytes that ``delta`` makes of ``old``.

        What comes from a stranger costs no more than its size and that of ``old`` promise.

        Raises:
            DeltaError: it makes something else of it, or is damaged.
        """


@cache
def methods() -> Mapping[int, Method]:
    """Return every method by its number.

    1 to 9 are for any bytes, 10 to 19 know Go programs, 20 to 29 compressed streams,
    30 to 39 blocks of file systems.
    """
    from isobuilder.delta.blocks import Blocked, Unblocked
    from isobuilder.delta.deflate.method import GzipMethod
    from isobuilder.delta.general import Edits, Whole, ZstdPatch
    from isobuilder.delta.golang import GoMethod
    from isobuilder.delta.sums import Sums

    known: tuple[Method, ...] = (
        *(Whole(), ZstdPatch(), Edits(), Sums()),
        *(GoMethod(), GzipMethod(), Unblocked(), Blocked()),
    )
    return {method.number: method for method in known}
