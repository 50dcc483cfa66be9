"""``site push``: the images of ISOs into the registry of the site, straight out of the files.

First blobs, two at once, each asked for before it is sent; then manifests, what they list before
them; then tags. What was sent is asked for again: a registry that said it took something and has it
not is told as such. Interrupted and run again it sends what is missing.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from isobuilder.cancel import pooled
from isobuilder.digest import Digest
from isobuilder.errors import IntegrityError, UpstreamError
from isobuilder.formats.oci import CONFIG_TYPES, Platform, parse_any, parse_config
from isobuilder.http.client import Http
from isobuilder.http.failure import HttpFailure
from isobuilder.http.replies import FilePart
from isobuilder.progress import SILENT, Progress, Task, task
from isobuilder.site.catalog import HeldRepository, described, entries_of, index_of
from isobuilder.site.held import HeldManifest
from isobuilder.site.names import (
    FULL_NAMES,
    PushTarget,
    is_private,
    registry_base,
    targets_for,
)
from isobuilder.site.shelf import read_isos
from isobuilder.sources.pushing import KeptManifest, RegistryWriter
from isobuilder.sources.registry_auth import Credentials

if TYPE_CHECKING:
    from isobuilder.sources.session import Session  # which asks upstream, and pushes nothing

_log = logging.getLogger(__name__)

_AT_ONCE = 2  # uploads: more wait for the registry's own hashing
_Kind = tuple[Platform, str]  # and the version of its system
_NOT_TAKEN = {400, 403, 404, 405, 406, 415, 422}  # for a manifest: it is of no kind it keeps


@dataclass(slots=True)
class PushReport:
    """What was done, and what was not: the registry would not keep it, or it could not be read."""

    blobs_sent: int = 0
    blobs_mounted: int = 0
    blobs_there: int = 0
    bytes_sent: int = 0
    manifests_sent: int = 0
    manifests_there: int = 0
    tags: int = 0
    moved: list[str] = field(default_factory=list)  # tags that named something else
    refused: list[str] = field(default_factory=list)  # what it does not keep, each with its words
    unread: list[str] = field(default_factory=list)  # what could not be read, so was not pushed


def push_isos(
    places: Iterable[Path],
    registry: str,
    session: Session,
    *,
    rule: str = FULL_NAMES,
    plain: bool = False,
) -> PushReport:
    """Bring the images of ISOs, or of each ISO in folders, into the registry at an address.

    ``rule`` says how they are called there; ``plain`` sends logins unencrypted, too. What of a
    folder cannot be read is in the report, as ``unread``.

    Raises:
        InputError: it is no address or no rule, or no ISO is in a folder.
        EnvironmentProblem, IntegrityError: a file that was named cannot be read, or is no ISO.
        UpstreamError, IntegrityError: as ``push``.
    """
    isos = read_isos(places)
    targets = targets_for(isos.catalog.repositories.values(), rule)
    with open_registry(registry_base(registry), session.http, plain=plain) as writer:
        report = push(writer, targets, progress=session.progress)
    report.unread.extend(isos.unread)
    return report


@contextmanager
def open_registry(base: str, http: Http, *, plain: bool) -> Iterator[RegistryWriter]:
    """Give who writes to a registry; without any login where it would go unencrypted."""
    if plain or is_private(base):
        yield RegistryWriter(base, http, Credentials(servers=http.settings.servers))
        return
    with Http(replace(http.settings, servers=()), netrc=False) as bare:
        yield RegistryWriter(base, bare, Credentials(()))


def push(
    writer: RegistryWriter, targets: Sequence[PushTarget], *, progress: Progress = SILENT
) -> PushReport:
    """Bring all of ``targets`` into a registry, and prove that it is there.

    Raises:
        UpstreamError: the registry refuses, fails again and again, or lost what it took.
        IntegrityError: an ISO is damaged, or was replaced meanwhile.
        EnvironmentProblem: an ISO cannot be read any more.
    """
    done = _Pushing(writer, PushReport())
    wanted: dict[Digest, list[tuple[str, FilePart]]] = defaultdict(list)
    for target in targets:
        for digest, part in target.held.blobs.items():
            wanted[digest].append((target.name, part))
    total = sum(places[0][1].size for places in wanted.values())
    largest = sorted(wanted.items(), key=lambda item: item[1][0][1].size, reverse=True)
    with (
        task(progress, "blobs", total=total) as work,
        pooled(_AT_ONCE, "push", end=writer.http.close) as pool,
    ):
        for _ in pool.map(lambda item: done.blob(item[0], item[1], work), largest):
            pass
    with task(progress, "manifests", total=len(targets)) as work:
        for target in targets:
            done.repository(target)
            work.advance(1)
    return done.report


@dataclass(slots=True)
class _Pushing:
    writer: RegistryWriter
    report: PushReport
    guard: threading.Lock = field(default_factory=threading.Lock)

    def blob(self, digest: Digest, places: Sequence[tuple[str, FilePart]], work: Task) -> None:
        """Let every repository have a blob: sent once at most, then mounted where that works."""
        writer, size = self.writer, places[0][1].size
        has = {name: writer.has_blob(name, digest, size) for name, _ in places}
        holder = next((name for name, there in has.items() if there), None)
        if holder is not None:
            work.advance(size)
        for name, part in places:
            if has[name]:
                self._count("blobs_there")
                continue
            if holder is not None and writer.mount(name, digest, size, holder):
                self._count("blobs_mounted")
                continue
            told = work.advance if holder is None else _ignore
            writer.put_blob(name, digest, part, told)
            self._count("blobs_sent")
            self._count("bytes_sent", size)
            if not writer.has_blob(name, digest, size):
                raise UpstreamError(
                    f"{name}@{digest}: the registry said that it has it, and has it not",
                    hint="look into the registry's log and at its disk, then push again",
                )
            holder = holder or name

    def repository(self, target: PushTarget) -> None:
        """Bring manifests and tags of one repository."""
        held = target.held
        for manifest in _ordered(held):
            self._manifest(target.name, manifest)
        for tag, digest in sorted(held.tags.items()):
            self._tag(target.name, tag, held.manifests[digest])
        for subject, about in held.about.items():
            self._referrers(target.name, held, subject, about)

    def _manifest(self, name: str, manifest: HeldManifest) -> None:
        writer = self.writer
        if (kept := writer.manifest(name, manifest.digest)) and kept.digest == manifest.digest:
            self._count("manifests_there")
            return
        if self._sent(name, manifest.digest, manifest):
            self._count("manifests_sent")

    def _tag(self, name: str, tag: str, manifest: HeldManifest) -> None:
        kept = self.writer.manifest(name, tag)
        if kept is not None:
            manifest = self._together(name, tag, kept, manifest)
            if kept.digest == manifest.digest:
                self._count("tags")
                return
        if self._sent(name, tag, manifest):
            self._count("tags")
            if kept is not None:
                said = f"{name}:{tag}: was {kept.digest}, is {manifest.digest}"
                self.report.moved.append(said)

    def _sent(self, name: str, reference: str, manifest: HeldManifest) -> bool:
        """Send a manifest, and ask for it again."""
        try:
            media_type = manifest.document.media_type
            self.writer.put_manifest(name, reference, manifest.data, media_type)
        except HttpFailure as failure:
            if _is_image(manifest) or failure.status not in _NOT_TAKEN:
                raise
            self.report.refused.append(f"{name}: {manifest.digest}: {failure}")
            return False
        kept = self.writer.manifest(name, reference)
        if kept is None or kept.digest != manifest.digest:
            found = "nothing" if kept is None else kept.digest
            raise UpstreamError(
                f"{name}: {reference}: the registry took {manifest.digest}, and has {found}"
            )
        return True

    def _together(
        self, name: str, tag: str, kept: KeptManifest, ours: HeldManifest
    ) -> HeldManifest:
        """Return what a tag shall name: ours, and what it has for other platforms."""
        try:
            document = parse_any(kept.data, place=f"{name}:{tag}")
        except IntegrityError as error:  # of schema 1, or whatever: something else
            _log.info("%s", error)
            return ours
        there = HeldManifest(kept.data, kept.digest, document, None, {})
        if kept.digest == ours.digest or any(
            entry.digest == ours.digest for entry in document.manifests
        ):
            return there
        mine = self._by_platform(name, ours)
        platforms = {platform for platform, _ in mine}
        others = [
            entry for platform, entry in self._by_platform(name, there) if platform not in platforms
        ]
        return index_of([*(entry for _, entry in mine), *others]) if mine and others else ours

    def _by_platform(
        self, name: str, manifest: HeldManifest
    ) -> list[tuple[_Kind, dict[str, object]]]:
        """Return the images of an index, or the one image, by platform; nothing of other kinds."""
        if manifest.document.manifests:
            return list(_platforms(name, manifest))
        platform = manifest.platform or self._platform(name, manifest)
        image = replace(manifest, platform=platform)
        return [] if platform is None else list(_platforms(name, index_of([described(image)])))

    def _platform(self, name: str, manifest: HeldManifest) -> Platform | None:
        config = manifest.document.blobs[0] if manifest.document.blobs else None
        if config is None or config.media_type not in CONFIG_TYPES:
            return None
        data = self.writer.small_blob(name, config.digest)
        try:
            place = f"{name}: {config.digest}"
            return None if data is None else parse_config(data, place=place).platform
        except IntegrityError as error:  # of no image that a node could run
            _log.info("%s", error)
            return None

    def _referrers(
        self, name: str, held: HeldRepository, subject: Digest, about: Sequence[HeldManifest]
    ) -> None:
        """See that what is about ``subject`` is found: by the API, or else by the fallback tag."""
        wanted = {manifest.digest for manifest in about}
        listed = self.writer.referrers(name, subject)
        if listed is not None:
            if missing := sorted(wanted - listed):
                said = f"{name}: {subject}: its referrers do not list {', '.join(missing)}"
                self.report.refused.append(said)
            return
        tag = subject.replace(":", "-")
        kept = self.writer.manifest(name, tag)
        try:
            known = entries_of(kept.data, name) if kept is not None else []
        except IntegrityError as error:  # no index, so it says nothing about the image
            _log.info("%s", error)
            known = []
        ours = entries_of(held.referrers(subject).data, name)
        index = index_of([*ours, *(one for one in known if one["digest"] not in wanted)])
        if kept is None or kept.digest != index.digest:
            self._sent(name, tag, index)

    def _count(self, what: str, number: int = 1) -> None:
        with self.guard:
            setattr(self.report, what, getattr(self.report, what) + number)


def _is_image(manifest: HeldManifest) -> bool:
    """Tell whether nodes pull it: an image, or an index over images."""
    return manifest.platform is not None or any(
        entry.platform is not None for entry in manifest.document.manifests
    )


def _platforms(name: str, manifest: HeldManifest) -> Iterator[tuple[_Kind, dict[str, object]]]:
    """Give the images of an index, each with what it is for, however that is written."""
    for entry in entries_of(manifest.data, name):
        if isinstance(platform := entry.get("platform"), dict):
            parts = (str(platform.get(key) or "") for key in ("os", "architecture", "variant"))
            kind = Platform(*parts).plain()
            # Windows has an image for each of its versions.
            version = platform.get("os.version") if kind.os == "windows" else None
            yield (kind, str(version)), entry


def _ignore(_count: int) -> None:
    """Bytes that are sent once more are no progress."""


def _ordered(held: HeldRepository) -> list[HeldManifest]:
    """Return the manifests so that what one lists, or is about, comes before it."""

    def rank(manifest: HeldManifest) -> tuple[bool, bool, str]:
        document = manifest.document
        return bool(document.manifests), document.subject is not None, manifest.digest

    return sorted(held.manifests.values(), key=rank)
