"""Looking at registered versions and changing them, as the pages of Mold do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from isobuilder.errors import MoldError, UsageProblem
from isobuilder.mold.api.commands import Mold, newest_first
from isobuilder.mold.api.errors import AccessRefused
from isobuilder.mold.api.records import ClusterRecord, EventRecord, KubernetesVersion
from isobuilder.mold.registered import RegisteredVersion, entries_of, find_zones
from isobuilder.rules.support import version_order


@dataclass(frozen=True, slots=True)
class Filter:
    """Which versions are meant; None means any."""

    zones: tuple[str, ...] = ()  # names or ids; also versions of all zones
    arch: str | None = None
    state: str | None = None  # Enabled or Disabled
    version: str | None = None  # 1.34.12, or 1.34 for all its patches
    keyword: str | None = None
    ready: bool | None = None

    def takes(self, entry: RegisteredVersion) -> bool:
        """Tell whether an entry is meant; zones are ids by now."""
        version = entry.version
        if self.zones and version.zoneid and version.zoneid not in self.zones:
            return False
        if self.state and version.state.lower() != self.state.lower():
            return False
        if self.version:
            same_line = version.semanticversion.startswith(self.version + ".")
            if version.semanticversion != self.version and not same_line:
                return False
        if self.keyword and self.keyword.lower() not in version.name.lower():
            return False
        return (self.arch is None or version.assumed_arch == self.arch) and (
            self.ready is None or self.ready == _ready_everywhere(entry)
        )


def _ready_everywhere(entry: RegisteredVersion) -> bool:
    return bool(entry.rows) and all(row.isready for row in entry.rows)


def _newest_first(entry: RegisteredVersion) -> tuple[tuple[int, ...], str, str]:
    numbers = tuple(-number for number in version_order(entry.version.semanticversion))
    return numbers, entry.version.name, entry.version.id


def list_entries(mold: Mold, wanted: Filter = Filter()) -> list[RegisteredVersion]:
    """Return what is registered, newest version first.

    Raises:
        MoldError: the server refused, or has no such zone.
    """
    if wanted.zones:
        zones = find_zones(mold.zones(), wanted.zones, server=mold.name)
        wanted = replace(wanted, zones=tuple(zone.id for zone in zones))
    entries = _entries_seen(mold, mold.versions())
    return sorted((entry for entry in entries if wanted.takes(entry)), key=_newest_first)


def _entries_seen(
    mold: Mold, versions: Sequence[KubernetesVersion]
) -> tuple[RegisteredVersion, ...]:
    """Return versions with what this key may see of their ISOs: perhaps nothing."""
    try:
        return entries_of(mold, versions)
    except AccessRefused:
        return tuple(RegisteredVersion(version, ()) for version in versions)


def find_entry(mold: Mold, key: str) -> RegisteredVersion:
    """Return the one version with that id, name or version number.

    Raises:
        MoldError: there is none.
        UsageProblem: there is more than one; the hint names their ids.
    """
    versions = mold.versions()
    for field in ("id", "name", "semanticversion"):
        found = [version for version in versions if getattr(version, field) == key]
        if len(found) == 1:
            return _entries_seen(mold, found)[0]
        if found:
            raise UsageProblem(
                f"{mold.name}: {key} stands for {len(found)} versions",
                hint="give the id: " + ", ".join(_described(version) for version in found),
            )
    raise MoldError(
        f"{mold.name}: no version {key!r}", hint="isobuilder mold list shows what is there"
    )


def _described(version: KubernetesVersion) -> str:
    where = version.zonename or "all zones"
    return f"{version.id} ({version.name}, {version.assumed_arch}, {where})"


@dataclass(frozen=True, slots=True)
class Details:
    """Everything about one version that a key may see; what it may not is None."""

    entry: RegisteredVersion
    clusters: tuple[ClusterRecord, ...] | None
    events: tuple[EventRecord, ...] | None


def show(mold: Mold, key: str, *, events: int = 10) -> Details:
    """Return a version with its ISO in every zone, what uses it and its last events."""
    entry = find_entry(mold, key)
    clusters: tuple[ClusterRecord, ...] | None = None
    last: tuple[EventRecord, ...] | None = None
    with suppress(AccessRefused):
        clusters = users_of(mold, entry)
    with suppress(AccessRefused):
        last = _events_of(mold, entry)[:events]
    return Details(entry, clusters, last)


def users_of(mold: Mold, entry: RegisteredVersion) -> tuple[ClusterRecord, ...]:
    """Return the clusters that use a version."""
    version_id = entry.version.id
    return tuple(c for c in mold.clusters() if c.kubernetesversionid == version_id)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; None means any about versions and ISOs."""

    version: str | None = None  # id, name or number; also its ISO's
    kind: str | None = None
    level: str | None = None
    limit: int = 20  # the newest

    def takes(self, event: EventRecord) -> bool:
        """Tell whether an event is meant."""
        if self.level is not None and event.level != self.level.upper():
            return False
        if self.kind is not None:
            return event.type == self.kind
        return self.version is not None or event.type.startswith(_ABOUT_VERSIONS)


_ABOUT_VERSIONS = ("KUBERNETES.", "ISO.", "TEMPLATE.")


def list_events(mold: Mold, wanted: EventFilter) -> tuple[EventRecord, ...]:
    """Return the newest events that are meant, the newest first."""
    if wanted.version is not None:
        found = _events_of(mold, find_entry(mold, wanted.version))
        return tuple(event for event in found if wanted.takes(event))[: wanted.limit]
    params = {"type": wanted.kind} if wanted.kind else {}
    return mold.events(wanted.limit, wanted.takes, **params)


def _events_of(mold: Mold, entry: RegisteredVersion) -> tuple[EventRecord, ...]:
    """Return the events about a version and its ISO, newest first."""
    found = [
        event
        for resource, kind in (
            (entry.version.id, "KubernetesSupportedVersion"),
            (entry.version.isoid, "Iso"),
        )
        if resource
        for event in mold.events(resourceid=resource, resourcetype=kind)
        # A server that does not know the parameter lists everything.
        if event.resourceid in {None, resource}
    ]
    return tuple(newest_first(found))


def set_state(mold: Mold, key: str, *, enabled: bool, dry_run: bool = False) -> str:
    """Enable or disable a version and return what was done."""
    entry = find_entry(mold, key)
    version = entry.version
    state = "Enabled" if enabled else "Disabled"
    if version.state == state:
        return f"{version.name} is {state} already"
    if dry_run:
        return f"would make {version.name} ({version.id}) {state}"
    mold.set_state(version.id, enabled=enabled)
    return f"{version.name} is {state}"


def delete(mold: Mold, key: str, *, dry_run: bool = False) -> str:
    """Delete a version and its ISO, unless something uses it.

    Raises:
        MoldError: clusters use it; the text names them.
    """
    entry = find_entry(mold, key)
    version = entry.version
    refuse_if_used(mold, entry, users_of(mold, entry))
    if dry_run:
        return f"would delete {version.name} ({version.id}) and its ISO"
    mold.delete_version(version.id)
    if entry.version.isoid and mold.isos(entry.version.isoid):
        return f"deleted {version.name} ({version.id}); its ISO {version.isoid} is still there"
    return f"deleted {version.name} ({version.id}) and its ISO"


def refuse_if_used(mold: Mold, entry: RegisteredVersion, users: Sequence[ClusterRecord]) -> None:
    """Raise if clusters use a version.

    Raises:
        MoldError: they do.
    """
    if users:
        names = ", ".join(sorted(f"{user.name} ({user.zonename})" for user in users))
        raise MoldError(
            f"{mold.name}: {entry.version.name} is used by {names}",
            hint="upgrade or delete these clusters first, or disable the version: "
            f"isobuilder mold disable {entry.version.id}",
        )
