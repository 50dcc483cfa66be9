"""Whether the parts of a recipe or a lock fit together, and why not: every rule that judges."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion, version_of
from isobuilder.rules.book import Level, RuleBook

PROJECTS: Mapping[str, str] = {
    "containerd/containerd": "containerd",
    "opencontainers/runc": "runc",
    "containernetworking/plugins": "cni-plugins",
    "kubernetes-sigs/cri-tools": "crictl",
    "etcd-io/etcd": "etcd",
}
"""What a recipe pins beside Kubernetes, by the project on GitHub that releases it."""

_RELEASE = re.compile(r"/([^/]+/[^/]+)/releases/download/([^/]+)/")
_NAMED = re.compile(  # the same files on other servers; runc's name has no version
    r"/(containerd|crictl|etcd)-v?([0-9]+\.[0-9]+\.[0-9]+)-linux-|"
    r"/(cni-plugins)-linux-[a-z0-9]+-v([0-9]+\.[0-9]+\.[0-9]+)\.tgz"
)
_CALICO = re.compile(r"/calico/node:(v[0-9.]+)(?:@|$)")


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into one ISO, as far as versions are known."""

    kubernetes: KubeVersion
    components: Mapping[str, ReleaseVersion] = field(default_factory=dict)
    pins_pause: bool = False  # whether nodes write the pause image with its digest

    @classmethod
    def of(
        cls,
        kubernetes: KubeVersion,
        urls: Iterable[str],
        images: Iterable[str] = (),
        *,
        pins_pause: bool,
    ) -> Parts:
        """Read versions from the addresses of files and the names of images."""
        found = dict(_versions(urls))
        for image in images:
            tag = _CALICO.search(image)
            version = version_of(tag[1]) if tag else None
            if version is not None:
                found["calico"] = version
        return cls(kubernetes, found, pins_pause)


def _versions(urls: Iterable[str]) -> Iterator[tuple[str, ReleaseVersion]]:
    for url in urls:
        release = _RELEASE.search(url)
        named = _NAMED.search(url)
        if release and release[1] in PROJECTS:
            component, text = PROJECTS[release[1]], release[2]
        elif named:
            component, text = named[1] or named[3], named[2] or named[4]
        else:
            continue
        version = version_of(text)
        if version is not None:
            yield component, version


@dataclass(frozen=True, slots=True)
class Unfit:
    """One reason why parts do not fit together, or not well."""

    rule: str  # a word for the kind of rule
    level: Level  # an error cannot work; a warning is unwise
    fact: str
    hint: str
    source: str  # who says so, and the day on which it was looked up

    def __str__(self) -> str:
        return f"{self.fact} ({self.source})"

    def to_data(self) -> dict[str, Any]:
        """Return it for machines."""
        return {name: getattr(self, name) for name in ("rule", "level", "fact", "hint", "source")}


def unfit(parts: Parts, book: RuleBook, day: date) -> list[Unfit]:
    """Return all reasons why ``parts`` do not fit together on ``day``, errors first."""
    judge = _Judge(parts, book, day)
    found = [
        *judge.kubernetes(),
        *judge.etcd(),
        *judge.follows(),
        *(
            problem
            for component, version in sorted(parts.components.items())
            for problem in judge.component(component, version)
        ),
    ]
    return sorted(found, key=lambda one: one.level != "error")


@dataclass(frozen=True, slots=True)
class _Judge:
    parts: Parts
    book: RuleBook
    day: date

    def kubernetes(self) -> Iterator[Unfit]:
        version = self.parts.kubernetes
        minor = self.book.minor(version.minor_text)
        if minor is not None and minor.ended(self.day):
            yield self._unfit(
                "end-of-life",
                f"upstream's support of Kubernetes {minor.minor} ended on {minor.end}",
                "build a minor that is still mended",
                minor.source,
            )
        plain = ReleaseVersion(str(version))
        yield from self._bad("kubernetes", plain)
        for row in self.book.unsigned:
            if any(plain in span for span in row.versions):
                fact = f"Kubernetes {version}: {row.fact}"
                yield self._unfit("unsigned", fact, "take the next patch", row.source)

    def etcd(self) -> Iterator[Unfit]:
        """Yield a file of etcd that is another than the image kubeadm starts."""
        pairing = self.book.pairing(self.parts.kubernetes)
        file = self.parts.components.get("etcd")
        paired = pairing and version_of(pairing.etcd.partition("-")[0])
        if pairing and file and paired and file != paired:
            yield self._unfit(
                "etcd-pairing",
                f"the file is etcd {file}, kubeadm {self.parts.kubernetes} starts {pairing.etcd}",
                f"take etcd {paired}",
                pairing.source,
            )

    def follows(self) -> Iterator[Unfit]:
        """Yield what is released with each minor and was taken from another."""
        kubernetes = self.parts.kubernetes
        for row in self.book.follows:
            version = self.parts.components.get(row.component)
            if version is not None and abs(version.line[1] - kubernetes.minor) > row.within:
                fact = f"{row.component} {version} is for another minor than {kubernetes}"
                hint = f"take {row.component} {kubernetes.minor_text}"
                yield self._unfit("other-minor", fact, hint, row.source)

    def component(self, component: str, version: ReleaseVersion) -> Iterator[Unfit]:
        yield from self._bad(component, version)
        kubernetes = self.parts.kubernetes.minor_text
        for row in self.book.least:
            if (row.component, row.kubernetes) == (component, kubernetes) and not row.allows(
                version
            ):
                least = " or ".join(f"{one} of {one.line_text}" for one in row.any_of)
                yield self._unfit(
                    "least",
                    f"{component} {version} is older than its authors want for {kubernetes}",
                    f"take at least {least}",
                    row.source,
                )
        line = self.book.line(component, version)
        if line is None:
            return
        if line.end is not None and self.day > line.end:
            fact = f"{component} {line.line} is no longer mended since {line.end}"
            yield self._unfit("line-ended", fact, f"take a newer line of {component}", line.source)
        if line.tested and kubernetes not in line.tested:
            fact = f"{component} {line.line} is tested with {', '.join(line.tested)}"
            hint = f"Kubernetes {kubernetes} is not among them"
            yield self._unfit("untested", fact, hint, line.source)

    def _bad(self, component: str, version: ReleaseVersion) -> Iterator[Unfit]:
        name = "Kubernetes" if component == "kubernetes" else component
        for row in self.book.bad(component, version):
            if row.since is not None and self.day < row.since:
                continue
            if row.when == "pinned-pause" and not self.parts.pins_pause:
                continue
            hint = f"mended in {row.fixed}" if row.fixed else "take another version"
            fact = f"{name} {version}: {row.fact}"
            yield self._unfit("known-bad", fact, hint, row.source, row.level)

    def _unfit(
        self, rule: str, fact: str, hint: str, source: str, level: Level = "warning"
    ) -> Unfit:
        said = f"{self.book.sources[source]}; looked up on {self.book.as_of}"
        return Unfit(rule, level, fact, hint, said)
