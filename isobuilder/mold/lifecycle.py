"""Until when upstream mends a minor version of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pydantic import RootModel

from isobuilder.mold.jsonfile import read_json_file

# Source: kubernetes/website data/releases/schedule.yaml, checked against endoflife.date on
# 2026-11-21. Versions not listed here are not judged, neither as old nor as new.
END_OF_LIFE: Mapping[str, date] = {
    "1.33": date(2026, 6, 28),
    "1.34": date(2026, 10, 27),
    "1.35": date(2027, 2, 28),
    "1.36": date(2027, 6, 28),
}


_LONGEST_NUMBER = 9  # digits; no version has more, and int() of thousands of them fails


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


def end_of_life(version: str, table: Mapping[str, date] = END_OF_LIFE) -> date | None:
    """Return when upstream's support of a version ends or ended, None when that is not known.

    What is older than the oldest listed minor ended no later than that one.
    """
    minor = minor_of(version)
    if minor in table:
        return table[minor]
    oldest = min(table, key=version_order, default=None)
    if oldest is not None and version_order(minor) < version_order(oldest):
        return table[oldest]
    return None


def end_notice(version: str, today: date, table: Mapping[str, date] = END_OF_LIFE) -> str | None:
    """Return what a person should know before using a version, None while upstream mends it."""
    end = end_of_life(version, table)
    if end is None or end >= today:
        return None
    return f"upstream's support of Kubernetes {minor_of(version)} ended on {end}"


class _Table(RootModel[dict[str, date]]):
    """Minor versions, and when upstream's support of each ends."""


def read_table(path: Path) -> Mapping[str, date]:
    """Return a table from a JSON file such as ``{"1.34": "2026-10-27"}``.

    Raises:
        InputError: the file is missing or holds something else.
    """
    return read_json_file(
        path,
        _Table,
        hint='expected minor versions and dates: {"1.34": "2026-10-27"}',
    ).root
