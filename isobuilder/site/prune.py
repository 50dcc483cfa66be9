"""What of a registry only old ISOs needed: found first, deleted when that is wanted.

Only manifests are deleted, by digest, and what a tag that stays leads to stays: whoever has another
name for it needs it. An index over several platforms goes when nothing of it stays. Their blobs go
when the registry collects its garbage.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from isobuilder.digest import Digest
from isobuilder.errors import EnvironmentProblem, IntegrityError, UpstreamError
from isobuilder.formats.oci import DOCKER_INDEX, OCI_INDEX, parse_any
from isobuilder.http.failure import HttpFailure
from isobuilder.progress import SILENT, Progress, task
from isobuilder.site.catalog import FALLBACK_TAG, HeldRepository
from isobuilder.site.names import PushTarget
from isobuilder.sources.pushing import KeptManifest, RegistryWriter

_log = logging.getLogger(__name__)

_ABOUT = re.compile("sha256-([0-9a-f]{64})")  # tags of signatures and of the fallback begin so
_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}(?![0-9a-f])")
_DEEPEST = 2  # indexes within an index


@dataclass(frozen=True, slots=True)
class Doomed:
    """A manifest that only old ISOs needed."""

    repository: str
    digest: Digest
    tags: tuple[str, ...]  # which go with it


@dataclass(slots=True)
class PrunePlan:
    """What would be deleted, in an order that registries take, and what stays and why."""

    doomed: list[Doomed] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def plan_prune(
    writer: RegistryWriter,
    old: Sequence[PushTarget],
    still_needed: Sequence[PushTarget],
    *,
    progress: Progress = SILENT,
) -> PrunePlan:
    """Return what the registry has of ``old`` that ``still_needed`` does not need.

    Raises:
        UpstreamError: the registry does not answer, or not as one.
    """
    needed = {target.name: target.held for target in still_needed}
    plan = PrunePlan()
    with task(progress, "looking", total=len(old)) as work:
        for target in old:
            _plan_repository(writer, target, needed.get(target.name), plan)
            work.advance(1)
    return plan


def carry_out(writer: RegistryWriter, plan: PrunePlan, *, progress: Progress = SILENT) -> None:
    """Delete what a plan says, and look that it is gone.

    Raises:
        EnvironmentProblem: the registry deletes nothing.
        UpstreamError: it fails, or what it deleted is still there.
    """
    with task(progress, "deleting", total=len(plan.doomed)) as work:
        for doomed in plan.doomed:
            place = f"{doomed.repository}@{doomed.digest}"
            try:
                writer.delete_manifest(doomed.repository, doomed.digest)
            except HttpFailure as failure:
                if failure.status != 405:
                    raise
                raise EnvironmentProblem(
                    f"{place}: {failure}",
                    hint="for docker-registry set storage.delete.enabled to true",
                ) from failure
            if writer.manifest(doomed.repository, doomed.digest) is not None:
                raise UpstreamError(f"{place}: the registry deleted it, and still has it")
            work.advance(1)


def _plan_repository(
    writer: RegistryWriter, target: PushTarget, needed: HeldRepository | None, plan: PrunePlan
) -> None:
    candidates = {
        digest: manifest
        for digest, manifest in target.held.manifests.items()
        if (needed is None or digest not in needed.manifests)
        and writer.manifest(target.name, digest) is not None
    }
    if not candidates:
        return
    own_tags: dict[Digest, list[str]] = {}
    others: dict[Digest, str] = {}  # what tags that stay lead to
    hollow: set[Digest] = set()  # indexes, perhaps of ours, of which nothing would stay
    for tag, top, below in _tags(writer, target.name):
        fallback = FALLBACK_TAG.fullmatch(tag)
        about = Digest.from_hex(fallback[1]) if fallback else None
        is_old = about in candidates or (
            tag in target.held.tags and (needed is None or tag not in needed.tags)
        )
        if is_old and fallback is None and top not in candidates:  # an index over it, or another's
            is_old = _is_hollow(writer, target.name, below, candidates)
            is_old = is_old and (needed is None or top not in needed.manifests)
            hollow |= {top} if is_old else set()
        if not is_old:
            others |= dict.fromkeys((top, *below), tag)
            continue
        own_tags.setdefault(top, []).append(tag)
    staying = {digest for digest in candidates if digest in others}
    for digest in sorted(staying):
        plan.kept.append(f"{target.name}@{digest}: the tag {others[digest]} needs it")
    doomed = []
    for digest in {**dict.fromkeys(own_tags), **candidates}:
        tags = tuple(own_tags.get(digest, ()))
        found = candidates.get(digest)
        subjects = {Digest.from_hex(match[1]) for tag in tags if (match := _ABOUT.match(tag))}
        if found is not None and found.document.subject is not None:
            subjects.add(found.document.subject)
        is_ours = found is not None or digest in hollow
        is_ours = is_ours or all(FALLBACK_TAG.fullmatch(tag) for tag in tags)
        if is_ours and digest not in others and not subjects & staying:
            first = found is None or bool(found.document.manifests)  # indexes before what they list
            doomed.append((not first, Doomed(target.name, digest, tags)))
    plan.doomed += [one for _, one in sorted(doomed, key=lambda pair: (pair[0], pair[1].digest))]


def _is_hollow(
    writer: RegistryWriter, name: str, below: Sequence[Digest], candidates: Collection[Digest]
) -> bool:
    """Tell whether an index lists candidates, and nothing else that is there."""
    return any(digest in candidates for digest in below) and all(
        digest in candidates or writer.manifest(name, digest) is None for digest in below
    )


def _tags(writer: RegistryWriter, name: str) -> Iterator[tuple[str, Digest, tuple[Digest, ...]]]:
    """Give every tag with what it names, and what that lists, also through further indexes."""
    for tag in writer.tags(name):
        kept = writer.manifest(name, tag)
        if kept is None:
            continue
        below: dict[Digest, None] = {}
        waiting = [(kept, _DEEPEST)]
        while waiting:
            one, depth = waiting.pop()
            for digest, is_index in _listed(one, f"{name}:{tag}"):
                if digest in below:
                    continue
                below[digest] = None
                inner = writer.manifest(name, digest) if is_index and depth else None
                if inner is not None:
                    waiting.append((inner, depth - 1))
        yield tag, kept.digest, tuple(below)


def _listed(kept: KeptManifest, place: str) -> list[tuple[Digest, bool]]:
    """Return what a manifest lists, and whether that is an index."""
    try:
        document = parse_any(kept.data, place=place)
    except IntegrityError as error:  # of schema 1, or whatever: all that it names, it needs
        _log.info("%s", error)
        return [(Digest(found.decode()), False) for found in _DIGEST.findall(kept.data)]
    return [
        (entry.digest, entry.media_type in {OCI_INDEX, DOCKER_INDEX})
        for entry in document.manifests
    ]
