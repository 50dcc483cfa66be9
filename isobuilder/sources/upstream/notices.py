"""What is to be done about what upstream has: sight and rules against what we have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.profile import DEFAULT_PROFILE
from isobuilder.rules.book import RuleBook
from isobuilder.rules.fit import Parts, unfit
from isobuilder.sources.upstream.choose import Chooser
from isobuilder.sources.upstream.newest import newest
from isobuilder.sources.upstream.sight import Release, Sight

Level = Literal["todo", "wait", "warning", "notice"]
LEVELS: tuple[Level, ...] = ("todo", "wait", "warning", "notice")

_UNTIL_PUBLIC = timedelta(days=2)  # from a tag to its release; half of them take a night
_ZONES_APART = timedelta(days=1)  # what is no error of a clock
_SOON = 60  # days before the end of support from which on it is told


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that was noticed."""

    level: Level  # todo: somebody or something should act; wait: not yet; else to be known
    kind: str
    subject: str  # a version, a minor, a component with its version
    fact: str
    hint: str = ""

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {name: getattr(self, name) for name in ("level", "kind", "subject", "fact", "hint")}


@dataclass(frozen=True, slots=True)
class Held:
    """One recipe that we have, and the digests its locks name by the file's name."""

    place: str
    parts: Parts
    digests: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (component, file)
    # By architecture: what an ISO of its lock may be called, nothing where there is no lock.
    isos: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    added: Mapping[str, str] = field(default_factory=dict)  # of Mold's: component -> release
    flavour: str = DEFAULT_PROFILE  # profile and variant
    revision: int = 1

    @property
    def kubernetes(self) -> KubeVersion:
        """The version that it is of."""
        return self.parts.kubernetes


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier looks have seen: without it everything is new today."""

    first: Mapping[str, date] = field(default_factory=dict)  # a version's first day in a marker
    markers: Mapping[str, ReleaseVersion] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)  # by component, version and file
    told: frozenset[str] = frozenset()  # what is told only once


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """What a check expects; days are counted from the first sight."""

    hold: int = 1
    ended_minors: bool = False  # whether new patches of minors that have ended are wanted
    minors: tuple[str, ...] = ()  # those that are wanted though nobody has a recipe of them


def compare(
    sight: Sight, held: tuple[Held, ...], book: RuleBook, before: Before, policy: CheckPolicy
) -> list[Notice]:
    """Return what is to be done, to be waited for and to be known, the most urgent first."""
    told = _Comparison(sight, held, book, before, policy)
    found = dict.fromkeys(
        [
            *told.kubernetes(),
            *told.support(),
            *told.schedule(),
            *told.components(),
            *told.cves(),
            *told.replaced(),
            *told.clock(),
            *(Notice("notice", "unreachable", one.source, one.fact) for one in sight.troubles),
        ]
    )
    return in_order(found)


def in_order(notices: Iterable[Notice]) -> list[Notice]:
    """Return notices with the most urgent first."""
    return sorted(notices, key=lambda one: LEVELS.index(one.level))


def followed(held: tuple[Held, ...], book: RuleBook, day: date, policy: CheckPolicy) -> list[Held]:
    """Return the newest recipe of each kind, of minors that are mended or wanted all the same."""
    return _Comparison(Sight(day), held, book, Before(), policy).followed()


@dataclass(frozen=True, slots=True)
class _Comparison:
    sight: Sight
    held: tuple[Held, ...]
    book: RuleBook
    before: Before
    policy: CheckPolicy

    # --- Kubernetes itself ---

    def kubernetes(self) -> Iterator[Notice]:
        ours = self._newest_of_ours()
        for minor in self._minors():
            newest = self.sight.newest(minor)
            highest = self.before.markers.get(minor)
            if newest and highest and newest < highest:
                fact = f"its marker went back from {highest} to {newest}"
                hint = (
                    "propose nothing of this minor until it is there again; if it never was, take "
                    f'"{minor}" out of markers in upstream/seen.json of the store'
                )
                yield Notice("warning", "marker-back", minor, fact, hint)
                continue
            yield from self._only_in_index(minor, newest)
            newest = newest or self._index_alone(minor)
            have = ours.get(minor)
            if newest is None or (have is not None and newest <= have):
                continue
            below = bool(ours) and _order(minor) < _order(max(ours, key=_order))
            if have is None and below and minor not in self.policy.minors:
                continue  # a minor that nobody follows here
            yield self._new(minor, newest, have)

    def _new(self, minor: str, newest: ReleaseVersion, have: ReleaseVersion | None) -> Notice:
        kind = "new-minor" if have is None else "new-patch"
        life = self.book.minor(minor)
        first = min(self.before.first.get(str(newest), self.sight.day), self.sight.day)
        tagged = self.sight.in_index(newest)
        fact = f"Kubernetes {newest} is out, first seen on {first}"
        if tagged is not None and tagged.day is not None:
            fact += f", tagged on {tagged.day}"
            # What was tagged long ago was out before we looked for the first time.
            first = min(first, tagged.day + _UNTIL_PUBLIC)
        fact += f"; we have {have or 'none of it'}"
        until = first + timedelta(days=self.policy.hold)
        fact += self._pairing(newest, have)
        if life is not None and life.ended(self.sight.day) and not self.policy.ended_minors:
            fact += f"; {minor} ended on {life.end}, so this is its last"
            return Notice("notice", kind, str(newest), fact, "wanted only where ended minors are")
        if self.sight.day < until:
            return Notice("wait", kind, str(newest), fact, f"held until {until}")
        hint = f"isobuilder upstream propose {newest}"
        return Notice("todo", kind, str(newest), fact, hint)

    def _pairing(self, newest: ReleaseVersion, have: ReleaseVersion | None) -> str:
        """Say how the images of kubeadm change, as far as that is written down."""
        now = self.book.pairing(KubeVersion(str(newest)))
        if now is None:
            return "; nobody wrote down its etcd, CoreDNS and pause: ask that kubeadm"
        then = self.book.pairing(KubeVersion(str(have))) if have else None
        if then is None:
            return f"; etcd {now.etcd}, CoreDNS {now.coredns}, pause {now.pause}"
        moves = [
            f"{name} moves from {getattr(then, key)} to {getattr(now, key)}"
            for name, key in (("etcd", "etcd"), ("CoreDNS", "coredns"), ("pause", "pause"))
            if getattr(then, key) != getattr(now, key)
        ]
        return "".join(f"; {move}" for move in moves)

    def _only_in_index(self, minor: str, newest: ReleaseVersion | None) -> Iterator[Notice]:
        tagged = self._of_index(minor)
        if newest is not None and tagged is not None and tagged.version > newest:
            day = f" of {tagged.day}" if tagged.day else ""
            fact = f"tagged{day}, but its marker still names {newest}"
            yield Notice("wait", "tagged", str(tagged.version), fact, "wait for the marker")

    def _index_alone(self, minor: str) -> ReleaseVersion | None:
        """Return what the index has where no marker could be read."""
        unread = {one.source for one in self.sight.troubles}
        if f"stable-{minor}.txt" not in unread:
            return None
        tagged = self._of_index(minor)
        return tagged.version if tagged else None

    def _of_index(self, minor: str) -> Release | None:
        return next((one for one in self.sight.index if one.version.line_text == minor), None)

    def _minors(self) -> list[str]:
        found = {minor for minor in self.sight.markers if minor}
        found |= {one.version.line_text for one in self.sight.index}
        return sorted(found, key=_order)

    def _newest_of_ours(self) -> dict[str, ReleaseVersion]:
        ours: dict[str, ReleaseVersion] = {}
        for one in self.held:
            version = ReleaseVersion(str(one.parts.kubernetes))
            ours[version.line_text] = max(version, ours.get(version.line_text, version))
        return ours

    # --- support, schedule ---

    def support(self) -> Iterator[Notice]:
        day = self.sight.day
        for minor in sorted(self._newest_of_ours(), key=_order):
            life = self.book.minor(minor)
            if life is None or life.end is None:
                fact = "until when upstream mends it is not known"
                yield Notice("notice", "support-unknown", minor, fact)
            elif life.ended(day):
                following = f"1.{_order(minor)[1] + 1}"
                fact = f"upstream's support ended on {life.end}; ISOs that are there stay usable"
                yield Notice("warning", "end-of-life", minor, fact, f"upgrade to {following}")
            elif (life.end - day).days <= _SOON:
                fact = f"upstream's support ends on {life.end}"
                yield Notice("warning", "end-near", minor, fact)
            planned = self.sight.schedule.minor(minor) if self.sight.schedule else None
            if life and planned and planned.end and life.end and planned.end != life.end:
                fact = f"ends on {life.end} by our rules, on {planned.end} by the schedule"
                yield Notice("notice", "sources-differ", minor, fact, "retire on neither alone")

    def schedule(self) -> Iterator[Notice]:
        if self.sight.schedule is None:
            return
        for odd in self.sight.schedule.odd:
            yield Notice("notice", "schedule-odd", "schedule.yaml", odd)
        for planned in self.sight.schedule.minors:
            newest = self.sight.newest(planned.minor)
            if newest is None:
                continue
            for patch in planned.released:
                if patch.version > newest:
                    out = f"out on {patch.day}" if patch.day else "out"
                    fact = f"the schedule has it {out}, its marker names {newest}"
                    yield Notice("notice", "schedule-ahead", str(patch.version), fact)
            late = planned.next
            if late and late.day and late.version > newest and late.day < self.sight.day:
                key = f"late {late.version} {late.day}"
                if key not in self.before.told:
                    fact = f"announced for {late.day}, and not out"
                    yield Notice("notice", "late", str(late.version), fact)

    # --- components ---

    def components(self) -> Iterator[Notice]:
        for one in self.followed():
            parts = one.parts
            chooser = Chooser(
                parts.kubernetes, self.sight, self.book, self.policy.hold, parts.pins_pause
            )
            for problem in unfit(parts, self.book, self.sight.day):
                if problem.rule != "end-of-life":  # told for the minor
                    level: Level = "todo" if problem.level == "error" else "warning"
                    yield Notice(level, problem.rule, one.place, problem.fact, problem.hint)
            for component, current in sorted(parts.components.items()):
                yield from self._withdrawn(one.place, component, current)
                choice = chooser.choose(component, current)
                if choice.version is not None and choice.version != current:
                    fact = f"{component} {current} could be {choice.version}: {choice.reason}"
                    yield Notice("todo", "component", one.place, fact)

    def followed(self) -> list[Held]:
        """See ``followed``."""
        found = []
        for one in newest(self.held, lambda held: held):
            life = self.book.minor(one.kubernetes.minor_text)
            ended = life is not None and life.ended(self.sight.day)
            if not ended or self.policy.ended_minors:
                found.append(one)
        return found

    def _withdrawn(self, place: str, component: str, current: ReleaseVersion) -> Iterator[Notice]:
        releases = self.sight.components.get(component, ())
        versions = [one.version for one in releases if one.day is not None]  # not of the index
        if versions and current not in versions and min(versions) < current < max(versions):
            fact = f"{component} {current} is not among its releases"
            hint = "it was withdrawn, or never released"
            yield Notice("warning", "withdrawn", place, fact, hint)

    def cves(self) -> Iterator[Notice]:
        """Yield what is known against what we have, and once what no patch is known to mend."""
        for version in dict.fromkeys(one.parts.kubernetes for one in self.followed()):
            for cve in self.sight.cves:
                patch = cve.mends(ReleaseVersion(str(version)))
                if patch is not None:
                    fact = f"{cve.id}: {cve.summary}; mended in {patch}"
                    yield Notice("warning", "cve", str(version), fact, cve.url)
        for cve in self.sight.cves:
            if not cve.fixed and cve.status != "fixed" and f"cve {cve.id}" not in self.before.told:
                fact = f"{cve.summary}; {cve.status}, and no patch of it is known"
                yield Notice("notice", "cve-open", cve.id, fact, cve.url)

    def clock(self) -> Iterator[Notice]:
        """Yield that this machine's clock, by which days are counted, is not that of others."""
        off = self.sight.clock_off
        if off is not None and not self.sight.clock_is_right:
            way = "ahead of" if off > timedelta() else "behind"
            fact = f"its clock is {abs(off).days} days {way} upstream's"
            yield Notice("warning", "clock", "this machine", fact, "set its clock, by NTP")
            return
        seen = [(day, f"Kubernetes {version}") for version, day in self.before.first.items()]
        seen += [
            (one.day, f"{component} {one.version}")
            for component, releases in self.sight.components.items()
            for one in releases
            if one.day is not None
        ]
        day, what = max(seen, default=(self.sight.day, ""))
        if day - self.sight.day > _ZONES_APART:
            fact = f"it is {self.sight.day} here, but {what} is of {day}"
            yield Notice("warning", "clock", "this machine", fact, "set its clock, by NTP")

    def replaced(self) -> Iterator[Notice]:
        """Yield files that are others than were locked or seen before: a person decides."""
        for component, releases in self.sight.components.items():
            for release in releases:
                for name, digest in release.digests.items():
                    for old, where in self._known(component, release.version, name):
                        if old != digest:
                            fact = f"{name} is now {digest}, was {old} ({where})"
                            hint = "replaced after its release; keep what is locked until known why"
                            subject = f"{component} {release.version}"
                            yield Notice("todo", "replaced", subject, fact, hint)

    def _known(
        self, component: str, version: ReleaseVersion, name: str
    ) -> Iterator[tuple[str, str]]:
        """Yield the digests by which a file is known, and where from."""
        key = component, name
        yield from {one.digests[key]: one.place for one in self.held if key in one.digests}.items()
        seen = self.before.digests.get(f"{component} {version} {name}")
        if seen is not None:
            yield seen, "seen before"


def _order(minor: str) -> tuple[int, ...]:
    return tuple(int(part) for part in minor.split("."))
