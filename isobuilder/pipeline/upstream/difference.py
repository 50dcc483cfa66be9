"""What another version means for those who run it, in words fit for a merge request."""

from __future__ import annotations

from collections.abc import Iterator

from isobuilder.formats.kube import KubeVersion
from isobuilder.formats.version import ReleaseVersion
from isobuilder.model.lock import Lock
from isobuilder.pipeline.lock import changed_lines
from isobuilder.rules.book import RuleBook
from isobuilder.rules.fit import Parts, unfit
from isobuilder.sources.upstream.sight import Sight

_MIB = 1024 * 1024


def news(before: Parts, after: Parts, sight: Sight, book: RuleBook) -> tuple[str, ...]:
    """Return what ``after`` brings or mends that ``before`` has not, each as one sentence."""
    old, new = before.kubernetes, after.kubernetes
    return (
        *_core_images(old, new, book),
        *_configuration(old, new, book),
        *_notes(old, new, sight),
        *_mended(before, after, sight, book),
        *(
            f"{problem.level}: {problem.fact} ({problem.source})"
            for problem in unfit(after, book, sight.day)
        ),
    )


def _core_images(old: KubeVersion, new: KubeVersion, book: RuleBook) -> Iterator[str]:
    then, now = book.pairing(old), book.pairing(new)
    if now is None:
        yield f"images: which etcd, CoreDNS and pause {new} starts is not written down: ask kubeadm"
        return
    for name, key in (("etcd", "etcd"), ("CoreDNS", "coredns"), ("pause", "pause")):
        has, had = getattr(now, key), getattr(then, key, None)
        if has != had:
            yield f"images: {name} {f'{had} -> {has}' if had else has}"


def _configuration(old: KubeVersion, new: KubeVersion, book: RuleBook) -> Iterator[str]:
    """Yield which configuration is read or no longer read, and what nodes now need."""

    def read_by(version: KubeVersion) -> set[str]:
        return {
            row.api
            for row in book.kubeadm_api
            if _minor(row.first) <= version.minor
            and (row.last is None or version.minor <= _minor(row.last))
        }

    for api in sorted(read_by(old) - read_by(new)):
        yield f"configuration: kubeadm {new} no longer reads {api}"
    for api in sorted(read_by(new) - read_by(old)):
        yield f"configuration: kubeadm {new} also reads {api}"
    for row in book.node:
        if old.minor < _minor(row.kubernetes) <= new.minor:
            yield f"nodes, from {row.kubernetes} on: {row.fact}"


def _notes(old: KubeVersion, new: KubeVersion, sight: Sight) -> Iterator[str]:
    """Yield the schedule's notes on the patches that are skipped or taken."""
    first, last = ReleaseVersion(str(old)), ReleaseVersion(str(new))
    for planned in sight.schedule.minors if sight.schedule else ():
        for patch in (*planned.released, *((planned.next,) if planned.next else ())):
            if patch.note and first < patch.version <= last and patch.version.line == last.line:
                yield f"schedule: {patch.version}: {patch.note}"


def _mended(before: Parts, after: Parts, sight: Sight, book: RuleBook) -> Iterator[str]:
    """Yield the vulnerabilities and regressions that ``before`` has and ``after`` has not."""
    still = {problem.fact.partition(": ")[2] for problem in unfit(after, book, sight.day)}
    for problem in unfit(before, book, sight.day):
        if problem.rule == "known-bad" and problem.fact.partition(": ")[2] not in still:
            yield f"mended: {problem.fact} ({problem.source})"
    old, new = (ReleaseVersion(str(one.kubernetes)) for one in (before, after))
    for cve in sight.cves:
        last = max((one for one in cve.fixed if one.line == new.line), default=None)
        if last is not None and old < last <= new:
            yield f"mended: {cve.id} in {last}: {cve.summary} {cve.url}"


def of_locks(before: Lock | None, after: Lock) -> tuple[str, ...]:
    """Return how files, images and sizes change, for one architecture."""
    size = _size(after)
    if before is None:
        return (f"{after.architecture}: {len(after.images)} images, {size // _MIB} MiB",)
    growth = size - _size(before)
    lines = [f"{after.architecture}: {line}" for line in changed_lines(before, after)]
    total = f"{size // _MIB} MiB to download, {growth / _MIB:+.1f} MiB against {before.kubernetes}"
    return (*lines, f"{after.architecture}: {total}")


def _size(lock: Lock) -> int:
    """Return the bytes of a lock whose sizes are known."""
    known = [one.size for one in lock.files] + [one.size for one in lock.manifests]
    return sum(size or 0 for size in (*known, *(image.size for image in lock.images)))


def _minor(text: str) -> int:
    return int(text.partition(".")[2])
