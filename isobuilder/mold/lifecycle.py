"""Until when upstream mends a minor version of Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter

from isobuilder.mold.jsonfile import read_json_file

# Source: kubernetes/website data/releases/schedule.yaml, checked against endoflife.date on
# 2026-11-21. Versions not listed here are not judged, neither as old nor as new.
END_OF_LIFE: Mapping[str, date] = {
    "1.33": date(2026, 6, 28),
    "1.34": date(2026, 10, 27),
    "1.35": date(2027, 2, 28),
    "1.36": date(2027, 6, 28),
}


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
    oldest = min(table, key=_order, default=None)
    if oldest is not None and _order(minor) < _order(oldest):
        return table[oldest]
    return None


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in minor.split("."))


def read_table(path: Path) -> Mapping[str, date]:
    """Return a table from a JSON file such as ``{"1.34": "2026-10-27"}``.

    Raises:
        InputError: the file is missing or holds something else.
    """
    return read_json_file(
        path,
        TypeAdapter(dict[str, date]).validate_json,
        hint='expected minor versions and dates: {"1.34": "2026-10-27"}',
    )
