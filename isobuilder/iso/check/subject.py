"""What the checks of an ISO look at, and how they tell what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from isobuilder.digest import Digest
from isobuilder.iso.read.rawiso import Extent
from isobuilder.iso.read.reader import IsoReader
from isobuilder.medium import Medium
from isobuilder.model.finding import Finding

AGAIN = "build the ISO again; do not use this one"
"""The remedy for what only another build mends."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An open ISO, its files, and the digest of each of them."""

    reader: IsoReader
    medium: Medium
    files: Mapping[str, Digest]
    label: str | None = None  # the volume label to expect; None if any will do
    unclaimed: tuple[Extent, ...] = ()  # bytes other than zero that nothing on the ISO claims
    told: frozenset[str] = frozenset()  # places of mistakes that were told and show again


Check = Callable[[Subject], Iterator[Finding]]


def wrong(rule: str, place: str, fact: str) -> Finding:
    """Return the finding for what only another build mends."""
    return Finding(rule=rule, place=place, fact=fact, remedy=AGAIN)
