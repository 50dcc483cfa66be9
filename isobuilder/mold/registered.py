"""What is registered, seen as one thing: a version with its ISO in every zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from isobuilder.errors import MoldError
from isobuilder.mold.api.client import parse_time
from isobuilder.mold.api.commands import FAILED_STATES, Mold
from isobuilder.mold.api.errors import remedy_for
from isobuilder.mold.api.records import IsoInZone, KubernetesVersion, ZoneRecord
from isobuilder.mold.catalogue import Item

_UNDER_WAY = re.compile(
    r"|processing|queued|[0-9]{1,3}\s?% downloaded|installing (iso|template)|download complete",
    re.IGNORECASE,
)
_DONE = re.compile(r"successfully installed|bypassed secondary storage", re.IGNORECASE)
_NO_MORE = frozenset({"Failed", "Destroying", "Destroyed"})  # states of an ISO that gets nowhere
_SOUNDS_WRONG = re.compile(r"fail|error|refused|invalid|unable|timed? ?out|not (found|match)", re.I)


class Health(StrEnum):
    """How an ISO is doing in a zone."""

    READY = "ready"
    UNDER_WAY = "under way"
    FAILED = "failed"
    UNCLEAR = "unclear"  # a status text nobody told us about


def health_of(row: IsoInZone) -> Health:
    """Judge an ISO in a zone by its states, and by its text where they do not tell (contract D.10).

    Texts are many and change; those of a failure above all say what to do about it.
    """
    if row.isready:
        return Health.READY
    if row.downloadstate in FAILED_STATES:
        return Health.FAILED
    if row.downloadstate:
        return Health.UNDER_WAY
    text = row.status.strip()
    if _UNDER_WAY.fullmatch(text) or _DONE.fullmatch(text):
        return Health.UNDER_WAY
    if remedy_for(text) is not None or _SOUNDS_WRONG.search(text):
        return Health.FAILED
    return Health.UNCLEAR


def percent_of(row: IsoInZone) -> int:
    """Return how much is done, of 100."""
    if row.isready:
        return 100
    match = re.match(r"([0-9]{1,3})\s?%", row.status.strip())
    return min(int(match[1]), 99) if match else 0


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A registered version and its ISO wherever it is."""

    version: KubernetesVersion
    rows: tuple[IsoInZone, ...]

    @property
    def orphaned(self) -> bool:
        """Whether its ISO is gone."""
        return not self.version.isoid

    def health(self, row: IsoInZone) -> Health:
        """Judge it in a zone; also by the version's own state, which tells failures apart.

        That is the state in some zone, so of several it counts only where nothing else tells.
        """
        found, state = health_of(row), self.version.isostate
        if found is Health.UNCLEAR and (state == "Allocated" or state in _NO_MORE):
            return Health.FAILED
        untold = found is Health.UNDER_WAY and not row.downloadstate and len(self.rows) == 1
        return Health.FAILED if untold and state in _NO_MORE else found

    def faults(self, zone_ids: Iterable[str]) -> list[str]:
        """Return why it cannot be used in zones where it should be."""
        if self.orphaned:
            return ["its ISO is gone"]
        return [f"{row.zonename}: {row.status or 'failed'}" for row in self.failures(zone_ids)]

    @property
    def sha256(self) -> str | None:
        """The hash Mold reports for the ISO; None if none, or if zones disagree."""
        found = {row.sha256 for row in self.rows if row.sha256}
        return found.pop() if len(found) == 1 else None

    @property
    def scope(self) -> str | None:
        """The zone's id, or None for all zones."""
        return self.version.zoneid

    def covers(self, zone_id: str) -> bool:
        """Tell whether the version is meant for a zone."""
        return self.version.zoneid in {None, zone_id}

    def serves(self, zone: ZoneRecord) -> bool:
        """Tell whether it can become Ready in a zone; edge zones take only direct download."""
        return self.covers(zone.id) and (self.version.directdownload or not zone.edge)

    def row(self, zone_id: str) -> IsoInZone | None:
        """Return the ISO in a zone: that of its own, or else the one on a store of all zones."""
        own = (row for row in self.rows if row.zoneid == zone_id)
        shared = (row for row in self.rows if not row.zoneid and self.covers(zone_id))
        return next(own, None) or next(shared, None)

    def ready_in(self, zone_id: str) -> bool:
        """Tell whether a cluster could be made from it in a zone."""
        row = self.row(zone_id)
        return row is not None and row.isready

    @property
    def anywhere_ready(self) -> bool:
        """Whether it is Ready in some zone."""
        return any(row.isready for row in self.rows)

    def failures(self, zone_ids: Iterable[str]) -> list[IsoInZone]:
        """Return the ISOs in ``zone_ids`` that failed, each once."""
        places = {row.zoneid for zone_id in zone_ids if (row := self.row(zone_id)) is not None}
        return [r for r in self.rows if r.zoneid in places and self.health(r) is Health.FAILED]

    def is_same(self, item: Item) -> bool:
        """Tell whether it is that very ISO: same version, architecture and bytes.

        Mold keeps one of several kinds of hash; the ISO at hand tells its own of that kind. Where
        no hash can be compared the URL decides, and where Mold reports none either, the name: an
        ISO that is gone has neither, and no architecture. One that is not told says nothing.
        """
        version, registration = self.version, item.registration
        if version.semanticversion != str(registration.kubernetesversion):
            return False
        if self.orphaned:
            return version.name == item.name
        if version.arch not in {None, registration.arch}:
            return False
        told = [other for row in self.rows if (other := other_bytes(row, item)) is not None]
        if told:
            return not any(told)
        if version.isourl and item.url:
            return version.isourl == item.url
        return version.name == item.name


def other_bytes(row: IsoInZone, item: Item) -> bool | None:
    """Tell whether a zone has other bytes than an ISO; None where no hash can be compared.

    Raises:
        InputError: the ISO at hand cannot be read, or is not what its registration says.
    """
    if row.hash is None:
        return None
    algorithm, digits = row.hash
    ours = item.digits(algorithm)
    return None if ours is None else digits != ours


def entries_of(mold: Mold, versions: Sequence[KubernetesVersion]) -> tuple[RegisteredVersion, ...]:
    """Return ``versions`` with their ISOs; one call for each when few, one for all when many."""
    if len(versions) > 5:
        rows: dict[str, list[IsoInZone]] = {}
        for row in mold.isos():
            rows.setdefault(row.id, []).append(row)
        # A list of all leaves out what belongs to a project; asked for by its id it is told.
        return tuple(
            RegisteredVersion(v, tuple(rows.get(v.isoid, ())) or mold.isos_of(v)) for v in versions
        )
    return tuple(RegisteredVersion(v, mold.isos_of(v)) for v in versions)


def age_order(entry: RegisteredVersion) -> tuple[str, str]:
    """Sort key: the oldest first, the same on every client."""
    created = parse_time(entry.version.created)
    return (f"{created.timestamp():020.3f}" if created else "~", entry.version.id)


def zones_served(
    mold: Mold, zones: Sequence[ZoneRecord], *, direct: bool
) -> tuple[ZoneRecord, ...]:
    """Return the zones an all-zone version must become Ready in: those that take its download.

    That is, with a secondary storage, as far as this key may see which have one.
    """
    served = tuple(zone for zone in zones if zone.enabled and (direct or not zone.edge))
    stores = set() if direct else {store.zoneid for store in mold.image_stores()}
    if not stores or None in stores:  # one without a zone serves all
        return served
    return tuple(zone for zone in served if zone.id in stores)


def without_storage_vm(mold: Mold, zones: Sequence[ZoneRecord]) -> list[str]:
    """Return the names of zones in which nobody downloads at the moment; edge zones need none.

    Raises:
        MoldRefused: this key may not see that.
    """
    running = {
        vm.zoneid
        for vm in mold.storage_vms()
        if vm.state == "Running" and vm.agentstate in {"Up", ""}
    }
    return [zone.name for zone in zones if not zone.edge and zone.id not in running]


def find_zones(
    zones: Sequence[ZoneRecord], keys: Sequence[str], *, server: str
) -> tuple[ZoneRecord, ...]:
    """Return the zones that are meant by names or ids, each once.

    Raises:
        MoldError: there is none of that name, or more than one.
    """
    chosen: dict[str, ZoneRecord] = {}
    for key in keys:
        found = [zone for zone in zones if key in {zone.id, zone.name}]
        if len(found) != 1:
            known = ", ".join(sorted(zone.name for zone in zones))
            raise MoldError(
                f"{server}: {'no' if not found else 'more than one'} zone {key!r}",
                hint=f"known: {known}",
            )
        chosen.setdefault(found[0].id, found[0])
    return tuple(chosen.values())
