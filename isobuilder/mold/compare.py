"""What a server has, compared with what it should have: one judgement for registration and audit.

Nothing here talks to a server. Registering acts on what differs for its own ISO, an audit tells all
of it and plans what would mend it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import pairwise

from isobuilder.mold.api.records import ClusterRecord, ZoneRecord
from isobuilder.mold.catalogue import Item
from isobuilder.mold.plan import Action, PlanTarget, Reason
from isobuilder.mold.registered import Health, RegisteredVersion, age_order
from isobuilder.rules.support import Ends, ended, minor_of, version_order

_MOST_GAPS = 20  # minors; a server may list a version 1.999999999.0


class Kind(StrEnum):
    """What differs."""

    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    WRONG_CHECKSUM = "wrong checksum"
    WRONG_ARCHITECTURE = "wrong architecture"
    NOT_READY = "not ready"
    DISABLED = "disabled"
    END_OF_LIFE = "end of life"
    SUPERSEDED = "superseded"
    CLUSTER = "cluster"
    UPGRADE_GAP = "upgrade gap"
    UNFIT = "unfit"
    ZONE = "zone"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One difference, or a notice: something only people can mend, such as what clusters use."""

    kind: Kind
    subject: str
    fact: str
    notice: bool = False
    actions: tuple[Action, ...] = ()
    entry: RegisteredVersion | None = None  # what it is about, if that is registered
    zones: tuple[ZoneRecord, ...] = ()  # where something is missing, each to be mended alone


@dataclass(frozen=True, slots=True)
class Registered:
    """What a server has; without ``clusters`` nobody asked what uses it."""

    entries: tuple[RegisteredVersion, ...]
    clusters: tuple[ClusterRecord, ...] | None
    ours: frozenset[str] = frozenset()  # ids just registered: their failure is a result, and stays

    def users(self, entry: RegisteredVersion) -> list[ClusterRecord]:
        """Return the clusters that use an entry, as far as is known."""
        version_id = entry.version.id
        return [c for c in self.clusters or () if c.kubernetesversionid == version_id]

    def has_to_stay(self, entry: RegisteredVersion) -> bool:
        """Tell whether a failed entry may not be replaced: of what is Ready nobody may take it."""
        if entry.version.id in self.ours:
            return True
        return entry.anywhere_ready if self.clusters is None else bool(self.users(entry))

    def rank(self, entry: RegisteredVersion, zones: Sequence[ZoneRecord]) -> tuple[object, ...]:
        """Return the sort key of equal entries, the one to keep first; every client ranks alike."""
        served = [zone for zone in zones if entry.serves(zone)]
        return (
            not self.users(entry),
            sum(not entry.ready_in(zone.id) for zone in served),
            entry.scope is not None,
            entry.version.state == "Disabled",
            age_order(entry),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """What is wished for, beside the catalogue."""

    today: date
    ends: Ends | None = None  # of life; None: those that are shipped
    zones: tuple[str, ...] = ()  # names or ids; with any, one version for each zone, and no other's
    keep_extra: bool = False  # what the catalogue does not know is left alone


def same_iso(entries: Iterable[RegisteredVersion], item: Item) -> list[RegisteredVersion]:
    """Return the entries that are this very ISO."""
    return [entry for entry in entries if entry.is_same(item)]


def compare(
    registered: Registered, wanted: Sequence[Item], zones: Sequence[ZoneRecord], policy: Policy
) -> list[Deviation]:
    """Return what differs between what is registered and what is wanted in ``zones``."""
    run = _Comparison(registered, wanted, zones, policy)
    run.clusters_on_old_versions()
    for item in wanted:
        run.item(item)
    run.strangers()
    run.gaps()
    return run.found


class _Comparison:
    def __init__(
        self,
        registered: Registered,
        wanted: Sequence[Item],
        zones: Sequence[ZoneRecord],
        policy: Policy,
    ) -> None:
        self.registered = registered
        self.entries = registered.entries
        asked = {*policy.zones, *(zone.id for zone in zones)}
        # What is of other zones alone is left alone.
        self.judged = [
            entry
            for entry in registered.entries
            if not policy.zones
            or entry.scope is None
            or asked & {entry.scope, entry.version.zonename}
        ]
        self.users = registered.users
        self.wanted = wanted
        self.zones = zones
        self.policy = policy
        self.found: list[Deviation] = []
        self.claimed: set[str] = set()  # ids of entries that are of the catalogue
        self.wished: dict[str, set[str]] = {}  # architecture -> minors that will be Enabled

    def ended(self, version: str) -> date | None:
        """Return the end of life if it has passed."""
        return ended(version, self.policy.today, self.policy.ends)

    def needed_as_step(self, version: str, arch: str) -> bool:
        """Tell whether clusters below need this old minor on their way to a supported one."""
        own = version_order(minor_of(version))
        below = any(
            version_order(minor_of(entry.version.semanticversion)) < own
            for entry in self.entries
            if entry.version.assumed_arch == arch and self.users(entry)
        )
        listed = [
            str(item.registration.kubernetesversion)
            for item in self.wanted
            if item.registration.arch == arch
        ]
        patches = [version_order(other) for other in listed if minor_of(other) == minor_of(version)]
        above = any(
            version_order(minor_of(other)) > own and not self.ended(other) for other in listed
        )
        newest = not patches or version_order(version) >= max(patches)
        return below and above and newest

    def say(
        self,
        kind: Kind,
        subject: str,
        fact: str,
        *actions: Action,
        notice: bool = False,
        entry: RegisteredVersion | None = None,
    ) -> None:
        self.found.append(
            Deviation(kind, subject, fact, notice=notice, actions=actions, entry=entry)
        )

    def drop(
        self, kind: Kind, entry: RegisteredVersion, fact: str, reason: Reason | None = None
    ) -> None:
        """Say that an entry should go, as long as ``reason`` holds; what clusters use stays."""
        name = entry.version.name
        if users := self.users(entry):
            self.say(kind, name, f"{fact}; {_stays(users)}", notice=True, entry=entry)
        else:
            action = _act("delete", entry, f"{kind}: {fact}", reason)
            self.say(kind, name, fact, action, entry=entry)

    def item(self, item: Item) -> None:
        """Compare one ISO of the catalogue."""
        same = same_iso(self.judged, item)
        self.claimed |= {entry.version.id for entry in same}
        version, arch = str(item.registration.kubernetesversion), item.registration.arch
        ended = self.ended(version)
        if ended and not self.needed_as_step(version, arch):
            self._retire(same, ended)
            if missing := self._missing_zones(same):
                names = ", ".join(zone.name for zone in missing)
                fact = f"not registered in {names}; support ended {ended}, so it need not be"
                self.say(Kind.END_OF_LIFE, item.name, fact, notice=True)
            return
        if (newer := self._superseded_by(item.name, version, arch)) is not None:
            self._supersede(same, newer)
            if missing := self._missing_zones(same):
                names = ", ".join(zone.name for zone in missing)
                fact = f"not registered in {names}; {newer} is in its place"
                self.say(Kind.SUPERSEDED, item.name, fact, notice=True)
            return
        if ended:
            fact = f"support ended {ended}; kept, as clusters upgrade by way of it"
            self.say(Kind.END_OF_LIFE, item.name, fact, notice=True)
        self.wished.setdefault(arch, set()).add(minor_of(version))
        for one in item.unfit:
            fact = f"{one}; {one.hint}"
            self.say(Kind.UNFIT, item.name, fact, notice=one.level == "warning")
        kept = self._weed(same)
        if not any(one.level == "error" for one in item.unfit):  # no server is to get that one
            self._complete(item, kept)
        for entry in kept:
            if entry.version.state == "Disabled":
                name, fact = entry.version.name, "Disabled, so no cluster can be made from it"
                self.say(Kind.DISABLED, name, fact, _act("enable", entry, fact), entry=entry)

    def _retire(self, same: Iterable[RegisteredVersion], ended: date) -> None:
        for entry in same:
            fact, name = f"support ended {ended}", entry.version.name
            if users := self.users(entry):
                self.say(Kind.END_OF_LIFE, name, f"{fact}; {_stays(users)}", notice=True)
            elif entry.version.state != "Disabled":
                self.say(Kind.END_OF_LIFE, name, fact, _act("disable", entry, fact))

    def _missing_zones(self, same: Sequence[RegisteredVersion]) -> list[ZoneRecord]:
        return [zone for zone in self.zones if not any(entry.serves(zone) for entry in same)]

    def _superseded_by(self, name: str, version: str, arch: str) -> str | None:
        """Return the name of a newer revision of the same ISO that can be used everywhere."""
        line, revision = _revision(name)
        for item in self.wanted:
            other_line, other = _revision(item.name)
            same_version = str(item.registration.kubernetesversion) == version
            if other_line != line or other <= revision or not same_version:
                continue
            entries = [e for e in same_iso(self.entries, item) if e.version.assumed_arch == arch]
            usable = [e for e in entries if e.version.state != "Disabled"]
            if self.zones and all(
                any(entry.ready_in(zone.id) for entry in usable) for zone in self.zones
            ):
                return item.name
        return None

    def _supersede(self, same: Iterable[RegisteredVersion], newer: str) -> None:
        for entry in same:
            fact, name = f"superseded by {newer}", entry.version.name
            if entry.version.state == "Disabled":
                continue
            if users := self.users(entry):
                self.say(Kind.SUPERSEDED, name, f"{fact}; {_stays(users)}", notice=True)
            else:
                self.say(Kind.SUPERSEDED, name, fact, _act("disable", entry, fact))

    def _weed(self, same: Sequence[RegisteredVersion]) -> list[RegisteredVersion]:
        """Keep one entry for every zone, the best; the others are doubles or have failed."""
        kept: list[RegisteredVersion] = []
        covered: set[str] = set()
        for entry in sorted(same, key=lambda e: self.registered.rank(e, self.zones)):
            zones = {zone.id for zone in self.zones if entry.serves(zone)}
            faults = entry.faults(zones)
            if faults and not self.registered.has_to_stay(entry):
                # What takes its place is planned where the zone is found missing.
                reason = Reason(failed_in=tuple(sorted(zones)))
                self.drop(Kind.NOT_READY, entry, faults[0], reason)
            elif zones and not zones - covered:
                reason = Reason(keeps=tuple(other.version.id for other in kept))
                fact = f"the same ISO as {kept[0].version.id}"
                self.drop(Kind.DUPLICATE, entry, fact, reason)
            else:
                for fault in faults:
                    fact = f"{fault}; stays, as clusters use it"
                    self.say(Kind.NOT_READY, entry.version.name, fact, notice=True, entry=entry)
                kept.append(entry)
                covered |= zones
        return kept

    def _complete(self, item: Item, kept: Sequence[RegisteredVersion]) -> None:
        missing: list[ZoneRecord] = []
        for zone in self.zones:
            entry = next((entry for entry in kept if entry.serves(zone)), None)
            row = entry.row(zone.id) if entry else None
            if entry is None:
                missing.append(zone)
            elif entry.orphaned:
                continue  # told above: only what clusters use is kept without its ISO
            elif row is None or entry.health(row) in {Health.UNDER_WAY, Health.UNCLEAR}:
                status = (row.status if row else "") or "not begun"
                fact = f"{zone.name}: still under way ({status})"
                self.say(Kind.NOT_READY, entry.version.name, fact, notice=True, entry=entry)
        if missing:
            self._missing(item, missing)

    def _missing(self, item: Item, missing: Sequence[ZoneRecord]) -> None:
        everywhere = len(missing) == len(self.zones) and not self.policy.zones
        fact = f"not registered in {', '.join(zone.name for zone in missing)}"
        actions: list[Action] = []
        if item.url is None:
            fact = f"{fact}; no URL to register it from, give --url-base"
        else:
            actions = [
                Action.model_validate(
                    {
                        "do": "register",
                        "why": fact,
                        "registration": item.registration,
                        "url": item.url,
                        "zone": target,
                    }
                )
                for target in ([None] if everywhere else [zone.name for zone in missing])
            ]
        self.found.append(
            Deviation(
                Kind.MISSING,
                item.name,
                fact,
                actions=tuple(actions),
                zones=() if everywhere else tuple(missing),
            )
        )

    def strangers(self) -> None:
        """Judge the entries that are not in the catalogue."""
        for entry in sorted(self.judged, key=age_order):
            if entry.version.id not in self.claimed:
                self._stranger(entry)

    def _stranger(self, entry: RegisteredVersion) -> None:
        version = entry.version
        for item in self.wanted:
            registration = item.registration
            digits = registration.checksum.hex
            if entry.sha256 == digits and version.arch not in {None, registration.arch}:
                fact = f"registered for {version.arch}, the ISO is for {registration.arch}"
                self.drop(Kind.WRONG_ARCHITECTURE, entry, fact)
                return
            same_version = version.semanticversion == str(registration.kubernetesversion)
            if version.name == item.name or (
                same_version and (version.isourl or "").endswith(f"/{registration.filename}")
            ):
                fact = f"SHA-256 {entry.sha256 or 'not reported'}, the catalogue has {digits}"
                self.drop(Kind.WRONG_CHECKSUM, entry, fact)
                return
        ended = self.ended(version.semanticversion)
        if self.policy.keep_extra:
            newer = self._superseded_by(version.name, version.semanticversion, version.assumed_arch)
            if ended:
                self._retire([entry], ended)
            elif newer is not None:
                self._supersede([entry], newer)
            elif version.state == "Enabled":
                minors = self.wished.setdefault(version.assumed_arch, set())
                minors.add(minor_of(version.semanticversion))
        elif ended:
            self.drop(Kind.END_OF_LIFE, entry, f"support ended {ended}, and not in the catalogue")
        else:
            self.drop(Kind.EXTRA, entry, "not in the catalogue")

    def clusters_on_old_versions(self) -> None:
        """Tell which clusters have to move."""
        known = {entry.version.id: entry for entry in self.entries}
        for cluster in self.registered.clusters or ():
            entry = known.get(cluster.kubernetesversionid or "")
            if entry is None:
                if cluster.clustertype != "ExternalManaged":
                    fact = "its version is no longer registered"
                    self.say(Kind.CLUSTER, cluster.name, fact, notice=True)
                continue
            ended = self.ended(entry.version.semanticversion)
            if ended:
                fact = f"on {entry.version.semanticversion}, whose support ended {ended}"
                self.say(Kind.CLUSTER, cluster.name, fact, notice=True)

    def gaps(self) -> None:
        """Find minors that are missing between two others: upgrades go one minor at a time."""
        there = {entry.version.assumed_arch for entry in self.entries}
        for arch in sorted(there | set(self.wished)):
            minors = set(self.wished.get(arch, set()))
            minors |= {
                minor_of(entry.version.semanticversion)
                for entry in self.entries
                if entry.version.assumed_arch == arch and self.users(entry)
            }
            ordered = sorted(order for minor in minors if len(order := version_order(minor)) == 2)
            for low, high in pairwise(ordered):
                if low[0] != high[0]:
                    continue
                fact = (
                    f"none for {arch} between {low[0]}.{low[1]} and {high[0]}.{high[1]}; "
                    "clusters upgrade one minor at a time: build one"
                )
                for middle in range(low[1] + 1, high[1])[:_MOST_GAPS]:
                    self.say(Kind.UPGRADE_GAP, f"{low[0]}.{middle}", fact)


def _act(do: str, entry: RegisteredVersion, why: str, reason: Reason | None = None) -> Action:
    version = entry.version
    subject = PlanTarget(
        id=version.id,
        name=version.name,
        semanticversion=version.semanticversion,
        arch=version.assumed_arch,
    )
    return Action.model_validate({"do": do, "why": why, "version": subject, "reason": reason})


def _revision(name: str) -> tuple[str, int]:
    """Return a name without its revision, and the revision; -1 for a name that has none."""
    found = re.fullmatch(r"(.+)-r([0-9]{1,9})", name)
    return (found[1], int(found[2])) if found else (name, -1)


def _stays(users: Iterable[ClusterRecord]) -> str:
    return f"stays, as {', '.join(sorted(user.name for user in users))} uses it"
