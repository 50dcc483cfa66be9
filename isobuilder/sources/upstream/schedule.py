"""Kubernetes' schedule of patch releases: announced days and notes, no proof that anything is out.

Source: kubernetes/website ``data/releases/schedule.yaml``, the structures of kubernetes/release
``cmd/schedule-builder/cmd/model.go``. It is written by hand and weeks late, ahead of reality at
times: minors without quotes (1.30 is no number), days that are empty or ``N/A``, one minor twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from isobuilder.documents.nodes import Items, Map, Node, Scalar
from isobuilder.documents.plain_yaml import yaml_map
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.text import day_of, printable

URL = "https://raw.githubusercontent.com/kubernetes/website/main/data/releases/schedule.yaml"

_MINOR = re.compile(r"1\.[0-9]{1,4}")
_LONGEST_NOTE = 500  # characters


@dataclass(frozen=True, slots=True)
class ScheduledPatch:
    """A patch release as announced; what is not told or makes no sense is None."""

    version: ReleaseVersion
    day: date | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ScheduledMinor:
    """What the schedule says of one minor."""

    minor: str
    end: date | None
    next: ScheduledPatch | None
    released: tuple[ScheduledPatch, ...] = ()  # those it believes to be out


@dataclass(frozen=True, slots=True)
class Schedule:
    """The whole file, and what is odd about it, in words."""

    minors: tuple[ScheduledMinor, ...]
    odd: tuple[str, ...] = ()

    def minor(self, text: str) -> ScheduledMinor | None:
        """Return what it says of a minor."""
        return next((one for one in self.minors if one.minor == text), None)

    def patch(self, version: ReleaseVersion) -> ScheduledPatch | None:
        """Return what it says of a version, out or next."""
        minor = self.minor(version.line_text)
        if minor is None:
            return None
        known = (*minor.released, *((minor.next,) if minor.next else ()))
        return next((one for one in known if one.version == version), None)


def read_schedule(data: bytes, place: str) -> Schedule:
    """Return what a schedule says; entries that make no sense are left out and told as odd.

    Raises:
        InputErrors: it is no YAML, or none of keys and values.
    """
    root = yaml_map(data, place)
    found: dict[str, ScheduledMinor] = {}
    odd: list[str] = []
    for node in _maps(root.get("schedules")):
        minor = _text(node, "release")
        if not _MINOR.fullmatch(minor):
            odd.append(f"{node.mark}: {printable(minor)!r} is no minor version")
        elif minor in found:
            odd.append(f"{node.mark}: {minor} is there twice; the first counts")
        else:
            found[minor] = ScheduledMinor(
                minor,
                _day(node, "endOfLifeDate", odd),
                next(_patches([node.get("next")], odd), None),
                tuple(_patches(_maps(node.get("previousPatches")), odd)),
            )
    if not found:
        odd.append(f"{place}: no minor version in it")
    return Schedule(tuple(found.values()), tuple(odd))


def _patches(nodes: Iterator[Map] | list[Node | None], odd: list[str]) -> Iterator[ScheduledPatch]:
    for node in nodes:
        if not isinstance(node, Map) or not node.entries:
            continue
        version = version_of(_text(node, "release"))
        if version is None:
            odd.append(f"{node.mark}: {printable(_text(node, 'release'))!r} is no version")
            continue
        note = printable(" ".join(_text(node, "note").split()))[:_LONGEST_NOTE]
        yield ScheduledPatch(version, _day(node, "targetDate", odd), note)


def _day(node: Map, key: str, odd: list[str]) -> date | None:
    text = _text(node, key)
    if text in {"", "N/A"}:
        return None
    day = day_of(text)
    if day is None:
        odd.append(f"{node.mark}: {key} {printable(text)[:40]!r} is no day")
    return day


def _text(node: Map, key: str) -> str:
    """Return a value as it was written: 1.30 without quotes is a minor, no number."""
    value = node.get(key)
    return value.text.strip() if isinstance(value, Scalar) else ""


def _maps(node: Node | None) -> Iterator[Map]:
    if isinstance(node, Items):
        yield from (item for item in node.items if isinstance(item, Map))
