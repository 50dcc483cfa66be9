"""Until when upstream mends a minor version of Kubernetes, by the rules, and what it means.

Minors that the rules do not list are not judged, neither as old nor as new, but for those older
than the oldest of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache

from isobuilder.rules.book import shipped_rules

_LONGEST_NUMBER = 9  # digits; no version has more, and int() of thousands of them fails
_SOON = 60  # days before the end from which on it is told

Ends = Mapping[str, date]
"""Minor versions, and the last day of upstream's support of each."""


@cache
def ends() -> Ends:
    """Return when upstream's support of each minor version ends."""
    return {row.minor: row.end for row in shipped_rules().minors if row.end is not None}


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
