"""What servers have, compared with what was built; and the plan that would mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from itertools import pairwise

from isobuilder.mold.api.commands import Mold
from isobuilder.mold.api.records import ClusterRecord, ZoneRecord
from isobuilder.mold.catalogue import Item
from isobuilder.mold.lifecycle import END_OF_LIFE, end_of_life, minor_of
from isobuilder.mold.plan import Action, ServerPlan, Subject
from isobuilder.mold.registered import (
    Health,
    RegisteredVersion,
    age_order,
    entries_of,
    health_of,
    zones_served,
)


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
    CLUSTER = "cluster"
    UPGRADE_GAP = "upgrade gap"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One difference, or a notice: something only people can mend, such as what clusters use."""

    server: str
    kind: Kind
    subject: str
    fact: str
    notice: bool = False
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What is wished for, beside the catalogue."""

    today: date
    table: Mapping[str, date] = field(default_factory=lambda: END_OF_LIFE)
    zones: tuple[str, ...] = ()  # names or ids; none is all that take downloads
    keep_extra: bool = False  # what the catalogue does not know is left alone


def audit(
    mold: Mold, catalogue: Sequence[Item], policy: Policy
) -> tuple[list[Deviation], ServerPlan]:
    """Compare one server with the catalogue; return what differs, and what would mend it."""
    run = _Audit(mold, catalogue, policy)
    run.clusters_on_old_versions()
    for item in catalogue:
        run.item(item)
    run.strangers()
    run.gaps()
    actions = tuple(action for finding in run.findings for action in finding.actions)
    plan = ServerPlan(server=mold.name, endpoint=mold.client.endpoint, actions=actions)
    return run.findings, plan


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in minor.split("."))


class _Audit:
    def __init__(self, mold: Mold, catalogue: Sequence[Item], policy: Policy) -> None:
        self.mold = mold
        self.catalogue = catalogue
        self.policy = policy
        self.findings: list[Deviation] = []
        self.entries = entries_of(mold, mold.versions())
        self.clusters = mold.clusters()
        zones = mold.zones()
        if policy.zones:
            zones = tuple(z for z in zones if {z.id, z.name}.intersection(policy.zones))
        self.zones = zones_served(zones, direct=False)
        self.claimed: set[str] = set()  # ids of entries that are of the catalogue
        self.wished: dict[str, set[str]] = {}  # architecture -> minors that will be Enabled

    def users(self, entry: RegisteredVersion) -> list[ClusterRecord]:
        return [c for c in self.clusters if c.kubernetesversionid == entry.version.id]

    def ended(self, version: str) -> date | None:
        """Return the end of life if it has passed."""
        end = end_of_life(version, self.policy.table)
        return end if end is not None and end < self.policy.today else None

    def needed_as_step(self, version: str, arch: str) -> bool:
        """Tell whether clusters below need this old minor on their way to a supported one."""
        own = _order(minor_of(version))
        below = any(
            _order(minor_of(entry.version.semanticversion)) < own
            for entry in self.entries
            if entry.version.arch == arch and self.users(entry)
        )
        patches = [
            _order(item.registration.kubernetesversion)
            for item in self.catalogue
            if item.registration.arch == arch
            and minor_of(item.registration.kubernetesversion) == minor_of(version)
        ]
        above = any(
            _order(minor_of(item.registration.kubernetesversion)) > own
            and not self.ended(item.registration.kubernetesversion)
            for item in self.catalogue
            if item.registration.arch == arch
        )
        newest = not patches or _order(version) >= max(patches)
        return below and above and newest

    def say(
        self,
        kind: Kind,
        subject: str,
        fact: str,
        *actions: Action,
        notice: bool = False,
    ) -> None:
        self.findings.append(
            Deviation(self.mold.name, kind, subject, fact, notice=notice, actions=actions)
        )

    @staticmethod
    def act(do: str, entry: RegisteredVersion, why: str) -> Action:
        version = entry.version
        subject = Subject(
            id=version.id,
            name=version.name,
            semanticversion=version.semanticversion,
            arch=version.arch,
        )
        return Action.model_validate({"do": do, "why": why, "version": subject})

    def drop(self, kind: Kind, entry: RegisteredVersion, fact: str) -> None:
        """Say that an entry should go; what clusters use stays."""
        name = entry.version.name
        users = self.users(entry)
        if users:
            names = ", ".join(sorted(user.name for user in users))
            self.say(kind, name, f"{fact}; stays, as {names} uses it", notice=True)
        else:
            self.say(kind, name, fact, self.act("delete", entry, f"{kind}: {fact}"))

    def item(self, item: Item) -> None:
        """Compare one ISO of the catalogue."""
        registration = item.registration
        same = [
            entry
            for entry in self.entries
            if entry.is_same(registration, name=registration.name, url=item.url)
        ]
        self.claimed |= {entry.version.id for entry in same}
        version, arch = registration.kubernetesversion, registration.arch
        ended = self.ended(version)
        if ended and not self.needed_as_step(version, arch):
            self._retire(same, ended)
            return
        if ended:
            fact = f"support ended {ended}; kept, as clusters upgrade by way of it"
            self.say(Kind.END_OF_LIFE, registration.name, fact, notice=True)
        self.wished.setdefault(arch, set()).add(minor_of(version))
        kept = self._weed(same)
        self._complete(item, kept)
        for entry in kept:
            if entry.version.state == "Disabled":
                name, fact = entry.version.name, "Disabled, so no cluster can be made from it"
                self.say(Kind.DISABLED, name, fact, self.act("enable", entry, fact))

    def _retire(self, same: Iterable[RegisteredVersion], ended: date) -> None:
        for entry in same:
            fact = f"support ended {ended}"
            users = self.users(entry)
            if users:
                names = ", ".join(sorted(user.name for user in users))
                text = f"{fact}; stays, as {names} uses it"
                self.say(Kind.END_OF_LIFE, entry.version.name, text, notice=True)
            elif entry.version.state != "Disabled":
                action = self.act("disable", entry, fact)
                self.say(Kind.END_OF_LIFE, entry.version.name, fact, action)

    def _weed(self, same: Sequence[RegisteredVersion]) -> list[RegisteredVersion]:
        """Keep one entry for every zone, the best; the others are doubles or have failed."""
        kept: list[RegisteredVersion] = []
        covered: set[str] = set()
        for entry in sorted(same, key=self._rank):
            zones = {zone.id for zone in self.zones if entry.serves(zone)}
            failed = entry.failures(zones)
            if zones and not zones - covered:
                self.drop(Kind.DUPLICATE, entry, f"the same ISO as {kept[0].version.id}")
            elif failed and not self.users(entry):
                # What takes its place is planned where the zone is found missing.
                self.drop(Kind.NOT_READY, entry, f"{failed[0].zonename}: {failed[0].status}")
            else:
                for row in failed:
                    fact = f"{row.zonename}: {row.status}; stays, as clusters use it"
                    self.say(Kind.NOT_READY, entry.version.name, fact, notice=True)
                kept.append(entry)
                covered |= zones
        return kept

    def _rank(self, entry: RegisteredVersion) -> tuple[object, ...]:
        zones = [zone for zone in self.zones if entry.serves(zone)]
        return (
            not self.users(entry),
            not all(entry.ready_in(zone.id) for zone in zones),
            entry.scope is not None,
            entry.version.state == "Disabled",
            age_order(entry),
        )

    def _complete(self, item: Item, kept: Sequence[RegisteredVersion]) -> None:
        missing: list[ZoneRecord] = []
        for zone in self.zones:
            entry = next((entry for entry in kept if entry.serves(zone)), None)
            row = entry.row(zone.id) if entry else None
            if entry is None:
                missing.append(zone)
            elif row is None or health_of(row) is not Health.READY:
                status = (row.status if row else "") or "not begun"
                waiting = row is None or health_of(row) is not Health.FAILED
                if waiting:
                    fact = f"{zone.name}: still under way ({status})"
                    self.say(Kind.NOT_READY, entry.version.name, fact, notice=True)
        if not missing:
            return
        everywhere = len(missing) == len(self.zones) and not self.policy.zones
        names = ", ".join(zone.name for zone in missing)
        targets = [None] if everywhere else [zone.name for zone in missing]
        fact = f"not registered in {names}"
        if item.url is None:
            text = f"{fact}; no URL to register it from, give --url-base"
            self.say(Kind.MISSING, item.registration.name, text)
            return
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
            for target in targets
        ]
        self.say(Kind.MISSING, item.registration.name, fact, *actions)

    def strangers(self) -> None:
        """Judge the entries that are not in the catalogue."""
        for entry in sorted(self.entries, key=age_order):
            if entry.version.id not in self.claimed:
                self._stranger(entry)

    def _stranger(self, entry: RegisteredVersion) -> None:
        version = entry.version
        for item in self.catalogue:
            registration = item.registration
            digits = registration.checksum.split("}")[-1]
            if entry.sha256 == digits and version.arch != registration.arch:
                fact = f"registered for {version.arch}, the ISO is for {registration.arch}"
                self.drop(Kind.WRONG_ARCHITECTURE, entry, fact)
                return
            same_version = version.semanticversion == registration.kubernetesversion
            if version.name == registration.name or (
                same_version and (version.isourl or "").endswith(f"/{registration.filename}")
            ):
                fact = f"SHA-256 {entry.sha256 or 'not reported'}, the catalogue has {digits}"
                self.drop(Kind.WRONG_CHECKSUM, entry, fact)
                return
        ended = self.ended(version.semanticversion)
        if self.policy.keep_extra:
            if ended:
                self._retire([entry], ended)
            elif version.state == "Enabled":
                minors = self.wished.setdefault(version.arch, set())
                minors.add(minor_of(version.semanticversion))
            return
        if ended:
            self.drop(Kind.END_OF_LIFE, entry, f"support ended {ended}, and not in the catalogue")
        else:
            self.drop(Kind.EXTRA, entry, "not in the catalogue")

    def clusters_on_old_versions(self) -> None:
        """Tell which clusters have to move."""
        known = {entry.version.id: entry for entry in self.entries}
        for cluster in self.clusters:
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
        for arch in sorted({entry.version.arch for entry in self.entries} | set(self.wished)):
            minors = set(self.wished.get(arch, set()))
            minors |= {
                minor_of(entry.version.semanticversion)
                for entry in self.entries
                if entry.version.arch == arch and self.users(entry)
            }
            ordered = sorted(_order(minor) for minor in minors if len(_order(minor)) == 2)
            for low, high in pairwise(ordered):
                if low[0] != high[0]:
                    continue
                for middle in range(low[1] + 1, high[1]):
                    minor = f"{low[0]}.{middle}"
                    fact = (
                        f"none for {arch} between {low[0]}.{low[1]} and {high[0]}.{high[1]}; "
                        "clusters upgrade one minor at a time: build one"
                    )
                    self.say(Kind.UPGRADE_GAP, minor, fact)
