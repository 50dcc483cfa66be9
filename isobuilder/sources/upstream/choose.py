"""Which version of each component a recipe should have on a day, by the rules and what is out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.rules.book import RuleBook
from isobuilder.sources.upstream.sight import Release, Sight


@dataclass(frozen=True, slots=True)
class ChosenVersion:
    """A version, or None where nobody can say, and why."""

    component: str
    version: ReleaseVersion | None
    reason: str


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses for one version of Kubernetes; a release counts when it is out for ``hold`` days."""

    kubernetes: KubeVersion
    sight: Sight
    book: RuleBook
    hold: int
    pins_pause: bool = True

    def choose(self, component: str, current: ReleaseVersion | None) -> ChosenVersion:
        """Return what to take: no newer line than needed, and in it the newest patch."""
        if component == "etcd":
            return self._paired()
        if any(row.component == component for row in self.book.follows):
            return self._follower(component, current)
        good = [one for one in self._out(component) if not self._unfit(component, one.version)]
        kept = [one for one in good if current is not None and one.version.line == current.line]
        if current is not None and kept and kept[0].version >= current:
            return ChosenVersion(component, kept[0].version, f"newest patch of {current.line_text}")
        if not good:
            reason = "nothing that fits is known to be out" if self._out(component) else "not seen"
            return ChosenVersion(component, current, f"{reason}; kept")
        best = max(good, key=lambda one: (self._rank(component, one.version), one.version))
        return ChosenVersion(component, best.version, self._why(component, best.version, current))

    def _paired(self) -> ChosenVersion:
        pairing = self.book.pairing(self.kubernetes)
        if pairing is None:
            reason = f"ask that kubeadm: nobody wrote down what {self.kubernetes} starts"
            return ChosenVersion("etcd", None, reason)
        version = version_of(pairing.etcd.partition("-")[0])
        return ChosenVersion("etcd", version, f"kubeadm {self.kubernetes} starts {pairing.etcd}")

    def _follower(self, component: str, current: ReleaseVersion | None) -> ChosenVersion:
        wanted = self.kubernetes.minor_text
        out = self._out(component)
        same = [one.version for one in out if one.version.line_text == wanted]
        if current is not None and current.line_text == wanted:
            same = [max([current, *same])]
        if same:
            return ChosenVersion(component, same[0], f"of the same minor, {wanted}")
        older = [one.version for one in out if one.version.line[1] < self.kubernetes.minor]
        if older:
            return ChosenVersion(component, older[0], f"none for {wanted} is out yet")
        return ChosenVersion(component, current, "not seen; kept")

    def _out(self, component: str) -> Sequence[Release]:
        latest = self.sight.day - timedelta(days=self.hold)
        releases = self.sight.components.get(component, ())
        return [one for one in releases if one.day is None or one.day <= latest]

    def _unfit(self, component: str, version: ReleaseVersion) -> str | None:
        """Return why a version is not taken, or None."""
        for row in self.book.bad(component, version):
            known = row.since is None or row.since <= self.sight.day
            if known and (row.when != "pinned-pause" or self.pins_pause):
                return row.fact
        minor = self.kubernetes.minor_text
        for least in self.book.least:
            if (least.component, least.kubernetes) == (component, minor) and not least.allows(
                version
            ):
                return f"older than {minor} needs"
        line = self.book.line(component, version)
        if line is not None and line.end is not None and self.sight.day > line.end:
            return f"{line.line} is no longer mended"
        return None

    def _rank(self, component: str, version: ReleaseVersion) -> int:
        line = self.book.line(component, version)
        return int(line.long_term) if line else 0

    def _why(self, component: str, version: ReleaseVersion, current: ReleaseVersion | None) -> str:
        line = self.book.line(component, version)
        long_term = f", mended until {line.end}" if line and line.long_term and line.end else ""
        why = f"newest patch of {version.line_text}{long_term}"
        if current is None:
            return why
        unfit = self._unfit(component, current)
        return f"{why}; {current}: {unfit}" if unfit else why
