"""What was seen of upstream in one look, whatever could not be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from isobuilder.formats.version import ReleaseVersion
from isobuilder.sources.upstream.cves import Cve
from isobuilder.sources.upstream.own import OwnRelease
from isobuilder.sources.upstream.schedule import Schedule

_ZONES_APART = timedelta(days=1)  # what is no error of a clock


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a component."""

    version: ReleaseVersion
    day: date | None  # on which it was published, UTC; None where that is not told
    digests: Mapping[str, str] = field(default_factory=dict)  # sha256:<hex> by name of the file


@dataclass(frozen=True, slots=True)
class Trouble:
    """A source that gave no usable answer."""

    source: str
    fact: str


@dataclass(frozen=True, slots=True)
class Sight:
    """All that was seen. A source that failed has left its part empty and is among troubles."""

    day: date
    markers: Mapping[str, ReleaseVersion] = field(default_factory=dict)  # stable.txt is under ""
    index: tuple[Release, ...] = ()  # Kubernetes in the Go module index; a day only where asked
    components: Mapping[str, tuple[Release, ...]] = field(default_factory=dict)
    schedule: Schedule | None = None
    cves: tuple[Cve, ...] = ()
    own: Mapping[str, tuple[OwnRelease, ...]] = field(default_factory=dict)  # the newest first
    troubles: tuple[Trouble, ...] = ()
    # By which this machine's clock is ahead of upstream's.
    clock_off: timedelta | None = field(default=None, compare=False)

    @property
    def clock_is_right(self) -> bool | None:
        """Whether this machine's clock, by which days are counted, is upstream's; None: unknown."""
        return None if self.clock_off is None else abs(self.clock_off) <= _ZONES_APART

    @property
    def stable(self) -> ReleaseVersion | None:
        """The highest final version that a marker names."""
        return self.markers.get("")

    def newest(self, minor: str) -> ReleaseVersion | None:
        """Return the newest patch of a minor such as ``1.37`` that its marker names."""
        return self.markers.get(minor)

    def in_index(self, version: ReleaseVersion) -> Release | None:
        """Return what the module index says of a version of Kubernetes."""
        return next((one for one in self.index if one.version == version), None)
