"""Until when upstream mends a minor version of Kubernetes: one table, and what it means on a day.

The table is ``support.json`` beside this module, with its sources and the day it was read. Minors
that it does not list are not judged, neither as old nor as new, but for those older than its
oldest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.model.base import Model
from isobuilder.model.validation import model_of

_FILE = Path(__file__).with_name("support.json")
_LONGEST_NUMBER = 9  # digits; no version has more, and int() of thousands of them fails
_SOON = 60  # days before the end from which on it is told

Ends = Mapping[str, date]
"""Minor versions, and the last day of upstream's support of each."""


class Minor(Model):
    """The life of one minor version."""

    released: date | None = None
    maintenance: date | None = None  # from then on only what is critical is mended
    end: date  # the last day


class Support(Model):
    """What ``support.json`` holds."""

    format: Annotated[Literal[1], Field(alias="schema")]
    as_of: date
    sources: tuple[str, ...]
    minors: dict[str, Minor]


@cache
def support() -> Support:
    """Return the table, its sources and the day it was read."""
    return model_of(_FILE.read_bytes(), str(_FILE), Support)


@cache
def ends() -> Ends:
    """Return when upstream's support of each minor version ends."""
    return {minor: life.end for minor, life in support().minors.items()}


def version_order(version: str) -> tuple[int, ...]:
    """Return what versions and minors are sorted by, the oldest first.

    Servers take versions that Kubernetes never had, such as ``1.34.12.1`` or ``01.34``, and answer
    whatever they please: a part that is no number counts as 0.
    """
    return tuple(
        int(part) if part.isascii() and part.isdecimal() and len(part) <= _LONGEST_NUMBER else 0
        for part in version.split(".")
    )


def minor_of(version: str) -> str:
    """Return the x.y of x.y.z."""
    return ".".join(version.split(".")[:2])


def end_of_life(version: str, table: Ends | None = None) -> date | None:
    """Return when upstream's support of a version ends or ended, None when that is not known.

    What is older than the oldest listed minor ended no later than that one.
    """
    table = ends() if table is None else table
    minor = minor_of(version)
    if minor in table:
        return table[minor]
    oldest = min(table, key=version_order, default=None)
    if oldest is not None and version_order(minor) < version_order(oldest):
        return table[oldest]
    return None


def ended(version: str, today: date, table: Ends | None = None) -> date | None:
    """Return the last day of a version's support if that day has passed."""
    end = end_of_life(version, table)
    return end if end is not None and end < today else None


def end_notice(version: str, today: date, table: Ends | None = None) -> str | None:
    """Return what a person should know before using a version, None while its end is far."""
    end = end_of_life(version, table)
    if end is None or (end - today).days > _SOON:
        return None
    verb = "ended" if end < today else "ends"
    return f"upstream's support of Kubernetes {minor_of(version)} {verb} on {end}"
