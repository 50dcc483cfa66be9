"""Recipe -> Lock: ask upstream which bytes a recipe means, and keep the evidence."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from isobuilder import __version__
from isobuilder.cancel import pooled
from isobuilder.digest import BlobLike, Digest
from isobuilder.documents.mistakes import InputErrors
from isobuilder.errors import InputError
from isobuilder.formats.manifests import MAX_MANIFEST, Manifest, read_manifest
from isobuilder.formats.reference import ImageReference, spelled_out
from isobuilder.http.addresses import redact
from isobuilder.http.failure import http_date
from isobuilder.model.architecture import host_architecture
from isobuilder.model.base import LAST_EPOCH
from isobuilder.model.config import mirror_urls
from isobuilder.model.lock import (
    Evidence,
    Lock,
    LockedFile,
    LockedImage,
    LockedManifest,
    is_of,
    one_for_each_digest,
    released_epoch,
)
from isobuilder.model.recipe import FileEntry, ManifestEntry, Recipe
from isobuilder.rules.pairings import core_images
from isobuilder.sources import kubeadm
from isobuilder.sources.beside import addresses_of
from isobuilder.sources.checksums import Checksum, ChecksumFile, parse
from isobuilder.sources.download import FILE_IS_LARGER, TEXT_IS_LARGER, Download
from isobuilder.sources.mirrors import OfNoUse, first_good
from isobuilder.sources.named import check_labels, named_images, unlocked_mentions
from isobuilder.sources.registry import ResolvedImage
from isobuilder.sources.rendering.render import lock_rendered
from isobuilder.sources.session import Session

log = logging.getLogger(__name__)

_CHECKSUM_FILE_LIMIT = 4 * 1024 * 1024  # bytes; etcd's and Kubernetes' lists have some 10 KiB

Entry = FileEntry | ManifestEntry
Locked = LockedFile | LockedManifest
T = TypeVar("T")


@dataclass(slots=True)
class _Promise:
    """What is known of a file before it was seen."""

    entry: Entry
    url: str
    checksum: Checksum | None
    evidence: Evidence
    vouched: bool = (
        False  # by more than a mirror: the recipe, or a checksum of its own https origin
    )


def resolve(
    recipe: Recipe,
    architecture: str,
    session: Session,
    *,
    folder: Path,
    stem: str,
    previous: Lock | None = None,
    update: Iterable[str] = (),
    strict: bool = False,
) -> Lock:
    """Return the lock that answers ``recipe`` for one architecture.

    What the recipe names by ``file:`` is in ``folder``. What is rendered is to be written beside
    the lock, under names that begin with ``stem``.

    With ``previous`` and ``update`` only the entries named in ``update`` (names of files and
    manifests, references or repositories of images) are asked for again; all else stays as locked.

    What manifests name outside the image fields of pods, and the lock does not have, is a warning,
    or with ``strict`` a mistake.

    Raises:
        InputError: the recipe names something that upstream does not have in that form.
        UpstreamError: upstream could not be reached.
        IntegrityError: bytes are not what their checksum promises.
    """
    return _Resolution(
        recipe, architecture, session, folder, stem, previous, frozenset(update), strict
    ).run()


@dataclass(slots=True)
class _Resolution:
    recipe: Recipe
    architecture: str
    session: Session
    folder: Path
    stem: str
    previous: Lock | None
    update: frozenset[str]
    strict: bool
    checksum_files: dict[str, ChecksumFile] = field(default_factory=dict)
    vouched: set[str] = field(default_factory=set)  # names of files, see _Promise
    kept: dict[str, Locked] = field(default_factory=dict)

    def run(self) -> Lock:
        recipe, progress = self.recipe, self.session.progress
        self._refuse_unknown_updates()
        progress.step(f"checksums of Kubernetes {recipe.kubernetes} for {self.architecture}")
        entries: list[Entry] = [*recipe.files, *recipe.manifests]
        self.kept = self._kept(entries)
        asked = [entry for entry in entries if entry.name not in self.kept]
        promises = [self._promise(entry, entry.url) for entry in asked if entry.url is not None]
        progress.step("files and manifests")
        locked = {**self.kept, **self._see(promises)}
        for entry in asked:
            if isinstance(entry, ManifestEntry) and entry.url is None:
                locked[entry.name] = lock_rendered(
                    entry, recipe, self.folder, self.stem, self.session
                )
        progress.step("images")
        core = self._core(locked)
        manifests = self._manifests(locked)
        images = self._images(manifests, core.names)
        self._tell_unlocked(manifests, images)
        return _checked(
            {
                "schema": 1,
                "kubernetes": recipe.kubernetes,
                "revision": recipe.revision,
                "profile": recipe.profile,
                "variant": recipe.variant,
                "architecture": self.architecture,
                "recipe": recipe.digest,
                "epoch": self._epoch(),
                "tool": __version__,
                "files": tuple(locked[entry.name] for entry in recipe.files),
                "manifests": tuple(locked[entry.name] for entry in recipe.manifests),
                "images": images,
                "render": recipe.render,
                "components": recipe.components,
                "registration": recipe.registration,
                "core_from": "kubeadm" if core.of_kubeadm else None,
                "ignored": recipe.images.ignore,
            }
        )

    def _refuse_unknown_updates(self) -> None:
        if not self.update:
            return
        if self.previous is None:
            raise InputError(
                "there is no lock to update", hint="run isobuilder lock without --update first"
            )
        names = {file.name for file in self.recipe.files}
        names |= {manifest.name for manifest in self.recipe.manifests}
        for image in self.previous.images:
            for text in image.references:
                names |= {text, ImageReference.parse(text).name}
        unknown = sorted(self.update - names)
        if unknown:
            raise InputError(
                f"nothing in the lock is called {unknown[0]!r}",
                hint=_nearest_of(unknown[0], sorted(names)),
            )

    def _kept(self, entries: Sequence[Entry]) -> dict[str, Locked]:
        """Return the locked entries that stay: asked for in the same way and not to be updated."""
        if self.previous is None or not self.update:
            return {}
        asked = {entry.name: entry for entry in entries}
        kept: dict[str, Locked] = {}
        previous: tuple[Locked, ...] = (*self.previous.files, *self.previous.manifests)
        for locked in previous:
            entry = asked.get(locked.name)
            if entry is None or locked.name in self.update:
                continue
            if locked.path == entry.path and is_of(locked, entry):
                kept[locked.name] = locked
        return kept

    # --- files ---

    def _promise(self, entry: Entry, url: str) -> _Promise:
        signature = entry.signature if isinstance(entry, FileEntry) else None
        if entry.checksum is None:
            return _Promise(entry, url, None, Evidence(source="first-seen", signature=signature))
        if entry.checksum.startswith("sha256:"):
            known = Checksum("sha256", entry.checksum.removeprefix("sha256:"))
            evidence = Evidence(source="recipe", signature=signature)
            return _Promise(entry, url, known, evidence, vouched=True)
        checksum, listed, canonical = self._listed(entry.checksum, url)
        evidence = Evidence(
            source="checksum-file", url=entry.checksum, dialect=listed.dialect, signature=signature
        )
        return _Promise(entry, url, checksum, evidence, vouched=canonical)

    def _listed(self, url: str, file: str) -> tuple[Checksum, ChecksumFile, bool]:
        """Return what a checksum file says about another, and if it came from ``url`` itself."""

        def ask(at: str) -> tuple[Checksum, ChecksumFile, bool]:
            listed = self.checksum_files.get(at)
            if listed is None:
                data = self.session.http.get_small(at, limit=_CHECKSUM_FILE_LIMIT).body
                listed = self.checksum_files[at] = parse(data, place=redact(at))
            try:
                return listed.checksum_for(urlsplit(file).path), listed, at == url
            except InputError as error:  # a mirror may have an older one
                raise OfNoUse(str(error), hint=error.hint) from error

        return self._from_any(url, ask)

    def _from_any(self, url: str, ask: Callable[[str], T]) -> T:
        """Ask each mirror in turn; the first answer that is of use counts."""
        return first_good(url, mirror_urls(self.session.config, url), ask)

    def _addresses(self, url: str) -> tuple[str, ...]:
        return addresses_of(self.session.config, url, self.folder, self.session.http)

    def _see(self, promises: Sequence[_Promise]) -> dict[str, Locked]:
        """Fetch what was promised and return it locked, with its size."""
        locked: dict[str, Locked] = {}
        for promise, blob in zip(promises, self._fetch(promises), strict=True):
            locked[promise.entry.name] = _locked(promise, blob)
            source = promise.evidence.url or promise.evidence.source
            log.info("%s: %s, known by %s", promise.entry.name, blob.digest, source)
            if promise.vouched:
                self.vouched.add(promise.entry.name)
        return locked

    def _fetch(self, promises: Sequence[_Promise]) -> list[BlobLike]:
        config = self.session.config
        wanted = [
            Download(
                name=promise.entry.name,
                urls=self._addresses(promise.url),
                digest=_sha256_of(promise),
                size=None,
                ceiling=MAX_MANIFEST if is_manifest else config.max_file_size,
                if_larger=TEXT_IS_LARGER if is_manifest else FILE_IS_LARGER,
            )
            for promise in promises
            for is_manifest in [isinstance(promise.entry, ManifestEntry)]
        ]
        blobs = self.session.fetcher.fetch(wanted)
        for promise, blob in zip(promises, blobs, strict=True):
            if promise.checksum is not None:
                promise.checksum.check(promise.entry.name, blob)
        return blobs

    # --- images ---

    def _core(self, locked: Mapping[str, Locked]) -> kubeadm.CoreImages:
        """Return the images that kubeadm asks for, if the recipe wants them."""
        if "kubeadm" not in self.recipe.images.sources:
            return kubeadm.CoreImages((), of_kubeadm=False)
        entry = self._entry_of_kubeadm()
        if self.previous is not None and entry is not None and entry.name in self.kept:
            # The same kubeadm would answer the same.
            names = tuple(image.reference for image in self.previous.images if image.core)
            if names:
                return kubeadm.CoreImages(names, self.previous.core_from == "kubeadm")
        version, progress = self.recipe.kubernetes, self.session.progress
        return kubeadm.wanted_images(version, self._program(entry, locked), progress)

    def _program(self, entry: FileEntry | None, locked: Mapping[str, Locked]) -> BlobLike | str:
        """Return a kubeadm to ask, or why there is none."""
        if entry is None:
            return f"the recipe has no {kubeadm.PATH}"
        if entry.checksum is None:
            return "the recipe names no checksum of kubeadm, so it is not run"
        if host_architecture() != self.architecture:
            return self._program_of_this_machine(entry, entry.checksum)
        if entry.name not in self.vouched:
            return "only a mirror vouches for kubeadm, so it is not run"
        found = self.session.store.find(locked[entry.name].sha256)
        return "kubeadm is not in the store" if found is None else found

    def _program_of_this_machine(self, entry: FileEntry, checksum: str) -> BlobLike | str:
        """Return the same version's kubeadm for this machine: its images are the same."""
        why = f"kubeadm is for {self.architecture}, this machine is not"
        host = host_architecture()
        old, new = f"/{self.architecture}/", f"/{host}/"
        # A table costs no download; and a digest in the recipe is that of one architecture.
        if core_images(self.recipe.kubernetes) or host is None or old not in checksum:
            return why
        other = {"url": entry.url.replace(old, new), "checksum": checksum.replace(old, new)}
        copy = entry.model_copy(update={**other, "name": f"kubeadm-{host}"})
        promise = self._promise(copy, copy.url)
        return self._fetch([promise])[0] if promise.vouched else why

    def _entry_of_kubeadm(self) -> FileEntry | None:
        return next((file for file in self.recipe.files if file.path == kubeadm.PATH), None)

    def _images(
        self, manifests: Sequence[Manifest], core: Collection[str]
    ) -> tuple[LockedImage, ...]:
        named = named_images(self.recipe.images, manifests)
        asked = [*core, *named, *self.recipe.images.extra]
        asked += [component.image for component in self.recipe.components.values()]
        core = {spelled_out(text) for text in core}
        with pooled(self.session.registry.jobs, "resolve", end=self.session.http.close) as pool:
            images = list(
                pool.map(
                    lambda text: self._image(
                        text, core=text in core, originals=named.get(text, ())
                    ),
                    dict.fromkeys(spelled_out(text) for text in asked),
                )
            )
        return one_for_each_digest(images, self.recipe.profile)

    def _manifests(self, locked: Mapping[str, Locked]) -> list[Manifest]:
        found = []
        for entry in self.recipe.manifests if "manifests" in self.recipe.images.sources else ():
            manifest = locked[entry.name]
            blob = self.session.store.find(manifest.sha256)
            if blob is None:  # kept from the previous lock, and never fetched here
                blob = self.session.fetcher.fetch([self._wanted_again(manifest)])[0]
            found.append(read_manifest(blob.read(), entry.source))
        return found

    def _tell_unlocked(self, manifests: Sequence[Manifest], images: Sequence[LockedImage]) -> None:
        mistakes = unlocked_mentions(manifests, images, self.recipe.images)
        if mistakes and self.strict:
            raise InputErrors(mistakes)
        for mistake in mistakes:
            log.warning("%s; %s", mistake, mistake.hint)

    def _wanted_again(self, locked: Locked) -> Download:
        return Download(
            name=locked.name,
            urls=self._addresses(locked.url),
            digest=locked.sha256,
            size=locked.size,
            ceiling=self.session.config.max_file_size,
        )

    def _image(self, text: str, *, core: bool, originals: Collection[str]) -> LockedImage:
        reference = ImageReference.parse(text)
        if (old := self._kept_image(reference)) is not None:
            told = {"reference": text, "core": core, "original": tuple(sorted(originals))}
            return old.model_copy(update=told | {"also": ()})
        resolved = self.session.registry.resolve(reference, self.architecture)
        log.info("%s: %s for %s", text, resolved.digest, self.architecture)
        self._check_component(text, resolved)
        self.session.store.add_bytes(resolved.manifest_bytes)  # so that a plan knows the layers
        return LockedImage(
            reference=str(reference),
            index=resolved.index,
            digest=resolved.digest,
            size=resolved.size,
            archive=f"docker/{resolved.digest.hex}.tar",
            original=tuple(sorted(originals)),
            core=core,
        )

    def _kept_image(self, reference: ImageReference) -> LockedImage | None:
        if self.previous is None or not self.update:
            return None
        if self.update & {str(reference), reference.name}:
            return None
        for image in self.previous.images:
            if str(reference) in image.references:
                return image
        return None

    def _check_component(self, text: str, resolved: ResolvedImage) -> None:
        for name, component in self.recipe.components.items():
            if spelled_out(component.image) == text:
                check_labels(name, component, self.session.registry.labels(resolved))

    # --- time ---

    def _epoch(self) -> int:
        """Return the time of the upstream release, in seconds since 1970-01-01 UTC."""
        if self.recipe.released is not None:
            return released_epoch(self.recipe.released)
        if self.previous is not None:
            return self.previous.epoch
        if (entry := self._entry_of_kubeadm()) is not None:
            with contextlib.suppress(OfNoUse):
                return int(self._from_any(entry.url, self._last_modified).timestamp())
        raise InputError(
            "when was this version released? upstream sends no Last-Modified for kubeadm",
            hint='write the day of the release into the recipe, such as released: "2025-11-12"',
        )

    def _last_modified(self, url: str) -> datetime:
        with self.session.http.get(url) as response:  # closed at once: the body is not wanted
            moment = http_date(response.headers.get("Last-Modified"))
        if moment is None or moment.timestamp() > LAST_EPOCH:
            raise OfNoUse(f"{redact(url)}: no Last-Modified")
        return moment


def _checked(answers: Mapping[str, object]) -> Lock:
    try:
        return Lock.model_validate(answers)
    except ValidationError as error:  # two answers that do not go together
        facts = [detail["msg"].removeprefix("Value error, ") for detail in error.errors()]
        raise InputError("; ".join(facts), hint="change one of the recipe's entries") from error


def _nearest_of(word: str, names: Sequence[str]) -> str:
    """Return the hint for a name of nothing: the nearest one first, then all."""
    close = get_close_matches(word, names, n=1)
    listed = f"names are {', '.join(names)}"
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def _sha256_of(promise: _Promise) -> Digest | None:
    if promise.checksum is None or promise.checksum.algorithm != "sha256":
        return None
    return Digest.from_hex(promise.checksum.hex)


def _locked(promise: _Promise, blob: BlobLike) -> Locked:
    entry = promise.entry
    told = {
        "name": entry.name,
        "path": entry.path,
        "url": promise.url,
        "sha256": blob.digest,
        "size": blob.size,
        "evidence": promise.evidence,
    }
    if isinstance(entry, FileEntry):
        return LockedFile.model_validate({**told, "mode": entry.mode})
    return LockedManifest.model_validate({**told, "images": entry.images})
