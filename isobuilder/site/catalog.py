"""The images of several ISOs as one registry: repositories by name, looked up and never searched.

Several ISOs may have one tag. For one platform the image of the newest ISO has it; images for
several platforms get an index of ours over them, which is the same bytes whoever makes it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from isobuilder.digest import Digest
from isobuilder.documents.json import OCI, parse
from isobuilder.errors import IntegrityError
from isobuilder.formats.oci import OCI_INDEX, Platform, parse_any
from isobuilder.http.replies import FilePart
from isobuilder.pipeline.delta.ways import FoundDelta
from isobuilder.site.held import HeldEntry, HeldManifest
from isobuilder.site.holding import Holding

FALLBACK_TAG = re.compile("sha256-([0-9a-f]{64})")
"""Where clients look for what is about a manifest, at registries without the referrers API."""


@dataclass(frozen=True)
class HeldRepository:
    """All that the ISOs have under one name."""

    name: str  # with its registry, e.g. registry.k8s.io/pause
    manifests: dict[Digest, HeldManifest] = field(default_factory=dict, repr=False)
    blobs: dict[Digest, FilePart] = field(default_factory=dict, repr=False)
    tags: dict[str, Digest] = field(default_factory=dict)

    def find(self, reference: str) -> HeldManifest | None:
        """Return what a tag or a digest names, or None."""
        digest = self.tags.get(reference)
        if digest is None:
            try:
                digest = Digest(reference)
            except ValueError:
                return self._fallback(reference)
        return self.manifests.get(digest)

    @cached_property
    def about(self) -> Mapping[Digest, Sequence[HeldManifest]]:
        """The manifests that are about another one, by that one's digest."""
        found = defaultdict(list)
        for manifest in self.manifests.values():
            if manifest.document.subject is not None:
                found[manifest.document.subject].append(manifest)
        return found

    def referrers(self, subject: Digest, artifact_type: str | None = None) -> HeldManifest:
        """Return the index of what is about ``subject``, perhaps of nothing."""
        return index_of(
            described(manifest, referrer=True)
            for manifest in self.about.get(subject, ())
            if artifact_type in {None, manifest.document.artifact_type}
        )

    def _fallback(self, tag: str) -> HeldManifest | None:
        match = FALLBACK_TAG.fullmatch(tag)
        subject = Digest.from_hex(match[1]) if match else None
        return self.referrers(subject) if subject in self.about and subject else None


@dataclass(frozen=True, slots=True)
class ServedDelta:
    """A delta, and where its bytes are."""

    part: FilePart
    found: FoundDelta


@dataclass(frozen=True, slots=True)
class Catalog:
    """What is served at one time."""

    holdings: tuple[Holding, ...] = ()
    deltas: tuple[ServedDelta, ...] = ()
    repositories: Mapping[str, HeldRepository] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # what lies on an ISO and is not among its images, and why
    shared: tuple[str, ...] = ()  # tags of which one ISO has another image than the one that counts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever looks after the ISOs has to know."""
        return (*self.problems, *self.shared)

    @property
    def images(self) -> int:
        """How many tags there are."""
        return sum(len(repository.tags) for repository in self.repositories.values())


def catalog_of(holdings: Sequence[Holding], deltas: Sequence[ServedDelta] = ()) -> Catalog:
    """Return the images of ``holdings`` together, and what else is served."""
    repositories: dict[str, HeldRepository] = {}
    tagged: dict[tuple[str, str], list[tuple[HeldEntry, Holding]]] = defaultdict(list)
    for holding in holdings:
        for entry in holding.entries:
            for name in entry.names:
                repository = repositories.setdefault(name.name, HeldRepository(name.name))
                for manifest in entry.manifests.values():
                    repository.manifests.setdefault(manifest.digest, manifest)
                    for digest, place in manifest.blobs.items():
                        repository.blobs.setdefault(digest, place)
                if name.tag is not None:
                    tagged[name.name, name.tag].append((entry, holding))
    shared: list[str] = []
    for (home, tag), found in sorted(tagged.items()):
        newest = sorted(found, key=lambda one: (one[0].made, one[1].name), reverse=True)
        top, others = _chosen(newest)
        repositories[home].manifests.setdefault(top.digest, top)
        repositories[home].tags[tag] = top.digest
        if others:
            said = f"{home}:{tag} is {top.digest} of {newest[0][1].name}"
            shared.append(f"{said}; {', '.join(sorted(others))} has another")
    problems = tuple(f"{h.name}: {problem}" for h in holdings for problem in h.problems)
    return Catalog(tuple(holdings), tuple(deltas), repositories, problems, tuple(shared))


def _chosen(found: Sequence[tuple[HeldEntry, Holding]]) -> tuple[HeldManifest, set[str]]:
    """Return what a tag means, and the names of the ISOs whose image has to stand back."""
    by_platform: dict[Platform | None, HeldManifest] = {}  # written plainly
    others = set()
    for entry, holding in found:
        manifest = entry.manifests[entry.top]
        platform = manifest.platform and manifest.platform.plain()
        if by_platform.setdefault(platform, manifest).digest != manifest.digest:
            others.add(holding.name)
    if len(by_platform) == 1 or None in by_platform:  # an index, or no image at all
        return found[0][0].manifests[found[0][0].top], others
    return index_of(described(manifest) for manifest in by_platform.values()), others


def index_of(described: Iterable[Mapping[str, object]]) -> HeldManifest:
    """Return an index over manifests: the same bytes for the same manifests."""
    entries = sorted(described, key=lambda entry: str(entry["digest"]))
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    data = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
    return HeldManifest(data, Digest.of(data), parse_any(data, place="index"), None, {})


def entries_of(data: bytes, place: str) -> list[dict[str, object]]:
    """Return what an index says of each manifest, as it says it.

    Raises:
        IntegrityError: it is no index.
    """
    parse_any(data, place=place)  # which looks at every entry
    listed = parse(data, place, OCI, IntegrityError).get("manifests")
    if listed is None:
        raise IntegrityError(f"{place}: expected an index, got a manifest")
    return list(listed)


def described(manifest: HeldManifest, *, referrer: bool = False) -> dict[str, object]:
    """Return what an index says of a manifest."""
    document = manifest.document
    found: dict[str, object] = {
        "mediaType": document.media_type,
        "digest": manifest.digest,
        "size": len(manifest.data),
    }
    if manifest.platform is not None and not referrer:
        platform = manifest.platform
        parts = {name: getattr(platform, name) for name in ("os", "architecture", "variant")}
        found["platform"] = {name: value for name, value in parts.items() if value}
    if referrer:
        found["artifactType"] = document.artifact_type
        if document.annotations:
            found["annotations"] = dict(document.annotations)
    return found
