"""What looks have seen so far: a note that stays small enough to be read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from isobuilder.documents.json import JsonLimits
from isobuilder.documents.mistakes import InputErrors
from isobuilder.files import read_bytes, write_whole
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.model.base import Model, canonical_json
from isobuilder.model.validation import parse_json
from isobuilder.sources.upstream.notices import Before
from isobuilder.sources.upstream.sight import Sight

_LIMITS = JsonLimits(size=16 * 1024 * 1024, items=100_000)
_MOST_DIGESTS = 20_000  # a hundred releases of seven components have some 10,000 files
_MOST_TOLD = 10_000
_LONGEST_NAME = 255  # characters of a file's name

_ANEW = "take it away, and days are counted anew from the next look"


class Seen(Model):
    """What looks have seen so far; beside the store's blobs."""

    format: Annotated[Literal[1], Field(alias="schema")] = 1
    first: dict[str, date] = {}
    markers: dict[str, ReleaseVersion] = {}
    digests: dict[str, str] = {}
    told: tuple[str, ...] = ()

    @property
    def before(self) -> Before:
        """The same for the comparison."""
        return Before(self.first, self.markers, self.digests, frozenset(self.told))

    def after(self, sight: Sight) -> Seen:
        """Return this with what ``sight`` adds; what was seen first stays.

        What a source that answered no longer names is forgotten, and never more is kept than
        ``load_seen`` reads.
        """
        right = sight.clock_is_right
        # Days that are still to come were noted by a clock that was ahead.
        first = {v: min(day, sight.day) if right else day for v, day in self.first.items()}
        markers = dict(self.markers)
        for minor, version in sight.markers.items():
            if right is not False:
                first.setdefault(str(version), sight.day)
            markers[minor] = max(version, markers.get(minor, version))
        digests = dict(islice(self._digests_after(sight), _MOST_DIGESTS))
        return self.model_copy(update={"first": first, "markers": markers, "digests": digests})

    def with_told(self, sight: Sight) -> Seen:
        """Return this once somebody was told of what ``sight`` has and is told only once."""
        told = tuple(islice(sorted(self._told_after(sight)), _MOST_TOLD))
        return self.model_copy(update={"told": told})

    def _digests_after(self, sight: Sight) -> Iterator[tuple[str, str]]:
        """Yield what stays known, then what is new.

        A component's answer has its newest releases; one that is older than all of them is gone
        from it, and one that lacks between them may come back as another.
        """
        failed = {one.source for one in sight.troubles}
        oldest = {
            component: min(one.version for one in releases)
            for component, releases in sight.components.items()
            if releases and component not in failed
        }
        for key, digest in self.digests.items():
            component, _, rest = key.partition(" ")
            version = version_of(rest.partition(" ")[0])
            if component not in oldest or (version and version >= oldest[component]):
                yield key, digest
        for component, releases in sight.components.items():
            for release in releases:
                for name, digest in release.digests.items():
                    key = f"{component} {release.version} {name}"
                    if key not in self.digests and name.isascii() and len(name) <= _LONGEST_NAME:
                        yield key, digest

    def _told_after(self, sight: Sight) -> set[str]:
        told = set(self.told)
        if sight.schedule is not None:
            told = {one for one in told if not one.startswith("late ")}
            for planned in sight.schedule.minors:
                if planned.next and planned.next.day and planned.next.day < sight.day:
                    told.add(f"late {planned.next.version} {planned.next.day}")
        if sight.cves:
            told = {one for one in told if not one.startswith("cve ")}
            told |= {f"cve {cve.id}" for cve in sight.cves if not cve.fixed}
        return told


def write_seen(path: Path, seen: Seen) -> None:
    """Write the note, whole or not at all.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    write_whole(path, canonical_json(seen.model_dump(mode="json", by_alias=True)))


def load_seen(path: Path) -> Seen:
    """Return what looks have seen so far; nothing if there was none.

    Raises:
        InputErrors: the note is damaged.
    """
    if not path.exists():
        return Seen()
    try:
        return parse_json(read_bytes(path, _LIMITS.size), str(path), Seen, _LIMITS)
    except InputErrors as error:
        mistakes = (replace(one, hint=_ANEW) for one in error.mistakes)
        raise InputErrors(mistakes) from None
