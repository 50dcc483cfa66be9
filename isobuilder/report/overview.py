"""The pages about many ISOs: the table, two side by side, ends of life, ways of upgrades."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from isobuilder.formats.kube import KubeVersion
from isobuilder.report.catalogue import CatalogueEntry, IsoCatalogue
from isobuilder.report.rendering import Language, render
from isobuilder.rules.book import Minor
from isobuilder.rules.support import version_order

SCRIPT = "catalogue.js"
_WIDTH = 1000  # units of the drawing of lives


def index_page(catalogue: IsoCatalogue, language: Language) -> bytes:
    """Return the table of all ISOs."""
    entries = catalogue.entries
    return _page(
        "index",
        catalogue,
        language,
        minors=_minors(catalogue)[::-1],
        architectures=sorted({one.manifest.architecture for one in entries}),
        flavours=sorted({one.flavour for one in entries}),
        servers=sorted({at.server for one in entries for at in one.servers}),
    )


def compare_page(catalogue: IsoCatalogue, language: Language) -> bytes:
    """Return the page on which two ISOs are chosen."""
    return _page("compare", catalogue, language)


def compare_data(entry: CatalogueEntry) -> bytes:
    """Return what that page loads of an ISO: a call of its script with plain data.

    A script, for pages that are opened from a disk may load nothing else.
    """
    contents = entry.subject.contents
    files = {
        path: [digest, contents.releases.get(path), contents.sizes.get(path)]
        for path, digest in contents.files.items()
        if not path.startswith("docker/") or not path.endswith(".tar")  # the images tell of these
    }
    images: dict[str, list[str | None]] = {}
    for image in entry.manifest.images:
        name, _, tag = image.import_alias.rpartition(":")
        images[name if name not in images else image.import_alias] = [image.digest, tag]
    facts = {name: [value, None] for name, value in contents.facts.items()}
    data = {"name": entry.name, "facts": facts, "files": files, "images": images}
    # As a text that is parsed: a key of an object in a script could mean more than its name.
    text = json.dumps(json.dumps(data, sort_keys=True))
    return f"isobuilder(JSON.parse({text}));\n".encode("ascii")


# --- ends of life ---


@dataclass(frozen=True, slots=True)
class _LifeRow:
    """One minor version."""

    number: int
    minor: str
    life: Minor | None
    newest: CatalogueEntry | None
    count: int
    bar: tuple[float, float] | None  # where it begins and how long it is

    @property
    def released(self) -> date | None:
        """When it came out, or will."""
        return (self.life.released or self.life.planned) if self.life else None

    @property
    def maintenance(self) -> date | None:
        """From when on only what is serious is mended."""
        return self.life.maintenance if self.life else None

    @property
    def end(self) -> date | None:
        """The last day of support."""
        return self.life.end if self.life else None


@dataclass(frozen=True, slots=True)
class _LifeSpan:
    """What the drawing shows."""

    first: date
    last: date

    def place(self, day: date) -> float:
        """Return where a day is."""
        return round(_WIDTH * (day - self.first).days / max((self.last - self.first).days, 1), 1)

    @property
    def years(self) -> list[tuple[int, float]]:
        """Where each year begins."""
        return [
            (year, self.place(max(date(year, 1, 1), self.first)))
            for year in range(self.first.year, self.last.year + 1)
        ]


def calendar_page(catalogue: IsoCatalogue, language: Language) -> bytes:
    """Return the page that says until when upstream mends what."""
    lives = [
        life
        for name in _minors(catalogue)
        if (life := catalogue.rules.minor(name)) and life.released and life.end
    ]
    begins = [life.released for life in lives if life.released]
    ends = [life.end for life in lives if life.end]
    span = _LifeSpan(date(min(begins).year, 1, 1), max(ends)) if begins and ends else None
    newest: dict[str, CatalogueEntry] = {}
    for entry in reversed(catalogue.entries):
        newest[entry.minor] = entry
    rows = [
        _LifeRow(
            number,
            name,
            catalogue.rules.minor(name),
            newest.get(name),
            sum(one.minor == name for one in catalogue.entries),
            _bar(catalogue.rules.minor(name), span),
        )
        for number, name in enumerate(_minors(catalogue))
    ]
    return _page("calendar", catalogue, language, rows=rows, span=span)


def _bar(life: Minor | None, span: _LifeSpan | None) -> tuple[float, float] | None:
    if life is None or span is None or not life.released or not life.end:
        return None
    begin = span.place(life.released)
    return begin, round(span.place(life.end) - begin, 1)


# --- upgrades ---


@dataclass(frozen=True, slots=True)
class WayFrom:
    """How one version gets to the newest."""

    version: KubeVersion
    way: tuple[KubeVersion, ...]


@dataclass(frozen=True, slots=True)
class _WayStep:
    """The ISOs of one minor version."""

    minor: str
    entries: tuple[CatalogueEntry, ...]
    gap: str | None  # the minor that is missing before it
    versions: tuple[WayFrom, ...]


def upgrades_page(catalogue: IsoCatalogue, language: Language) -> bytes:
    """Return the page that says which version can go where.

    Clusters go on within a minor version or to the next, as kubeadm does and Mold demands. Where
    servers were asked, only what some of them has can be a goal.
    """
    asked = any(entry.servers for entry in catalogue.entries)
    kinds = [(kind, _ways(entries, asked=asked)) for kind, entries in catalogue.by_kind.items()]
    return _page("upgrades", catalogue, language, kinds=[one for one in kinds if one[1]])


def _ways(entries: Sequence[CatalogueEntry], *, asked: bool) -> list[_WayStep]:
    by_minor: dict[int, list[CatalogueEntry]] = {}
    for entry in entries:
        if entry.servers or not asked:
            by_minor.setdefault(entry.version.minor, []).append(entry)
    newest = {minor: max(one.version for one in found) for minor, found in by_minor.items()}
    steps: list[_WayStep] = []
    for minor, found in sorted(by_minor.items()):
        missing = bool(steps) and minor - 1 not in by_minor
        versions = sorted({one.version for one in found})
        steps.append(
            _WayStep(
                found[0].minor,
                tuple(found),
                f"1.{minor - 1}" if missing else None,
                tuple(WayFrom(version, way_from(version, newest)) for version in versions),
            )
        )
    return steps


def way_from(version: KubeVersion, newest: Mapping[int, KubeVersion]) -> tuple[KubeVersion, ...]:
    """Return the fewest upgrades that bring ``version`` to the newest that it can reach.

    ``newest`` has the newest patch of each minor that there is. kubeadm goes from any patch to any
    patch of the next minor.
    """
    way = []
    minor = version.minor
    while minor + 1 in newest:
        minor += 1
        way.append(newest[minor])
    if not way and newest.get(minor, version) > version:
        way.append(newest[minor])
    return tuple(way)


# --- what all have ---


def _minors(catalogue: IsoCatalogue) -> list[str]:
    return sorted({one.minor for one in catalogue.entries}, key=version_order)


def _page(name: str, catalogue: IsoCatalogue, language: Language, **values: Any) -> bytes:
    file = f"{name}.html"
    return render(f"{file}.j2", language, script=SCRIPT, catalogue=catalogue, here=file, **values)
